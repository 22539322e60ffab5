"""What every embedder promises (holdfast.embed.base), as one suite for each of them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from holdfast.embed.base import Embedder
from holdfast.embed.choose import Settings, make
from holdfast.embed.local import PACKAGED
from holdfast.model import Input
from tests import tiny_onnx
from tests.embed_server import Server, serving

TEXTS = ["ant bee", "cow", "dog dog eel. " * 40, "fox\ngnu", "", "  \n", "hen \udce4 ant", "bee " * 5_000, "cow"]

KINDS = ["packaged", "packaged-folder", "states", "sentences", "openai", "ollama"]
WITH_TOKENS = ("packaged", "packaged-folder")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def settings(kind: str, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    if kind == "packaged":
        return Settings()
    if kind in ("openai", "ollama"):
        return Settings(f"{kind}:{server.url}", model="m")
    where = tmp_path_factory.mktemp("model") / kind
    if kind == "packaged-folder":
        shutil.copytree(PACKAGED, where)
    else:
        tiny_onnx.folder(where, below="onnx" if kind == "states" else "", pooled=kind == "sentences")
    return Settings(f"onnx:{where}")


@pytest.fixture(scope="module")
def embedder(settings: Settings) -> Iterator[Embedder]:
    made = make(settings, {})
    assert made is not None
    yield made
    made.close()


def whole(text: str, *, is_turn: bool = False) -> Input:
    return Input(text, 0, len(text), is_turn, b"")


def test_vectors_are_of_length_one_and_in_order(embedder: Embedder) -> None:
    found = embedder.encode([whole(text) for text in TEXTS])
    assert found.vectors.dtype == np.float32
    assert found.vectors.shape[0] == len(TEXTS) == len(found.tokens)
    assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    assert set(found.tokens) == {None}
    for text, vector in zip(TEXTS, found.vectors, strict=True):
        (alone,) = embedder.encode([whole(text)]).vectors
        assert vector @ alone > 0.99999


def test_different_words_have_different_vectors(embedder: Embedder) -> None:
    ant, cow = embedder.encode([whole("ant bee"), whole("cow")]).vectors
    assert ant @ cow < 0.95


def test_no_texts_have_no_vectors(embedder: Embedder) -> None:
    found = embedder.encode([])
    assert len(found.vectors) == len(found.tokens) == 0


def test_a_question_is_seen_as_a_text(embedder: Embedder, kind: str) -> None:
    (vector,) = embedder.encode([whole("ant bee cow")]).vectors
    asked = embedder.ask("ant bee cow")
    assert asked.vector.shape == vector.shape
    assert asked.vector.dtype == np.float32
    assert asked.vector @ vector > 0.99999
    assert (asked.tokens is not None) == (kind in WITH_TOKENS)
    assert len(asked.words) == (0 if asked.tokens is None else len(asked.tokens))


def test_only_a_model_of_ours_has_tokens_and_only_for_turns(embedder: Embedder, kind: str) -> None:
    text = "ant bee\ncow dog\neel"
    turn = Input(text, text.index("cow"), text.index("\neel"), True, b"")
    found = embedder.encode([turn, whole("ant"), whole("", is_turn=True), whole("gnu hen", is_turn=True)])
    if kind not in WITH_TOKENS:
        assert list(found.tokens) == [None] * 4
        return
    shapes = [None if codes is None else codes.shape for codes in found.tokens]
    assert shapes == [(2, 64), None, (0, 64), (2, 64)]
    assert {codes.dtype for codes in found.tokens if codes is not None} == {np.dtype(np.int8)}


def test_the_identity_stands_and_tells_embedders_apart(embedder: Embedder, settings: Settings, kind: str) -> None:
    again = make(settings, {})
    assert again is not None
    assert again.identity == embedder.identity
    prefixed = make(Settings(settings.embedder, settings.model, passage_prefix="p: "), {})
    other = make(Settings(settings.embedder, settings.model, query_prefix="p: "), {})
    assert prefixed is not None
    assert other is not None
    assert len({embedder.identity, prefixed.identity, other.identity}) == 3
    assert embedder.identity.startswith("onnx:" if kind not in ("openai", "ollama") else f"{kind}:http://127.0.0.1:")
    assert embedder.is_remote == (kind in ("openai", "ollama"))


def test_several_threads_may_ask_at_once(embedder: Embedder) -> None:
    expected = {text: embedder.encode([whole(text)]).vectors[0] for text in TEXTS[:4]}
    wrong: list[str] = []

    def work(seed: int) -> None:
        for n in range(8):
            text = TEXTS[(n + seed) % 4]
            if embedder.encode([whole(text), whole("hen")]).vectors[0] @ expected[text] < 0.99999:
                wrong.append(text)
            embedder.ask(text)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_after_close_it_can_be_used_again(embedder: Embedder) -> None:
    before = embedder.ask("ant").vector
    embedder.close()
    embedder.close()
    assert np.array_equal(embedder.ask("ant").vector, before)

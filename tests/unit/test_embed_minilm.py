"""The packaged model: its vectors against those of the float32 network, and what its folder says of it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from holdfast.embed.local import PACKAGED, LocalEmbedder, folder_digest
from holdfast.model import Input

REFERENCE = Path(__file__).resolve().parent.parent / "data" / "minilm-reference.json"
"""Vectors of the float32 network, written by tools/build_minilm.py --reference."""

NEAR = 0.98


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return LocalEmbedder()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [item["text"] for item in json.loads(REFERENCE.read_text(encoding="utf-8"))]


def whole(text: str, *, is_turn: bool = False) -> Input:
    return Input(text, 0, len(text), is_turn, b"")


@pytest.mark.parametrize(("name", "is_turn"), [("vector", False), ("line", True)])
def test_vectors_are_those_of_the_original(embedder: LocalEmbedder, texts: list[str], name: str, is_turn: bool) -> None:
    stored = np.array([item[name] for item in json.loads(REFERENCE.read_text(encoding="utf-8"))])
    cosines = (embedder.encode([whole(text, is_turn=is_turn) for text in texts]).vectors * stored).sum(axis=1)
    assert cosines.min() >= NEAR
    assert cosines.mean() >= 0.995


def test_questions_are_seen_as_the_original_sees_texts(embedder: LocalEmbedder) -> None:
    for item in json.loads(REFERENCE.read_text(encoding="utf-8")):
        assert embedder.ask(item["text"]).vector @ np.array(item["vector"]) >= NEAR


def test_a_vector_does_not_depend_on_the_batch(embedder: LocalEmbedder, texts: list[str]) -> None:
    items = [whole(text, is_turn=n % 3 == 0) for n, text in enumerate(texts)]
    alone = np.concatenate([embedder.encode([item]).vectors for item in items])
    order = random.Random(3).sample(range(len(items)), len(items))
    mixed = embedder.encode([items[n] for n in order]).vectors
    assert (mixed * alone[order]).sum(axis=1).min() > 0.9999


def test_own_words_are_pooled_as_they_stand_in_their_context(embedder: LocalEmbedder) -> None:
    before, own = "Ann: Where is the key?\n", "Jon: In the blue jar."
    text = before + own
    found = embedder.encode([Input(text, len(before), len(text), True, b""), whole(own, is_turn=True)]).vectors
    assert 0.4 < found[0] @ found[1] < 0.98
    assert found[0] @ embedder.ask("Where is the key?").vector > found[1] @ embedder.ask("Where is the key?").vector


def test_the_product_of_a_row_and_a_code_is_a_cosine(embedder: LocalEmbedder) -> None:
    text = "Jon: I keep the spare key in the blue jar."
    (codes,) = embedder.encode([whole(text, is_turn=True)]).tokens
    asked = embedder.ask(text)
    assert codes is not None
    assert asked.tokens is not None
    assert asked.words[:5] == ("jon", ":", "i", "keep", "the")
    products = asked.tokens @ codes.astype(np.float32).T
    assert np.allclose(np.diag(products), 1, atol=0.02)
    assert products.max() < 1.02
    assert (products.argmax(axis=1) == np.arange(len(codes))).all()


def test_the_stored_digest_is_that_of_the_files(embedder: LocalEmbedder) -> None:
    assert embedder.identity == f"onnx:{folder_digest(PACKAGED)}"


def test_the_models_licence_goes_with_it() -> None:
    assert "Apache License" in (Path(PACKAGED) / "LICENSE").read_text(encoding="utf-8")
    assert "sentence-transformers/all-MiniLM-L6-v2" in (Path(PACKAGED) / "NOTICE").read_text(encoding="utf-8")


def test_nothing_is_loaded_before_it_is_used() -> None:
    code = (
        "import sys; from holdfast.embed.choose import Settings, make;"
        "one = make(Settings(), {}); one.identity;"
        "two = make(Settings('openai:http://127.0.0.1:9', 'm'), {}); two.identity;"
        "print([name for name in ('onnxruntime', 'tokenizers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Models that others export: which output is used and what is pooled; settings in the tokenizer file do not apply."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from holdfast.embed.local import LocalEmbedder
from holdfast.errors import EmbedderWrong
from holdfast.model import Input
from tests.tiny_onnx import WORDS, folder, state_of

LONG = " ".join(WORDS[4:12] * 3)


def vector(embedder: LocalEmbedder, text: str, start: int = 0, end: int | None = None) -> np.ndarray:
    item = Input(text, start, len(text) if end is None else end, True, b"")
    padding = Input(LONG * 2, 0, len(LONG), False, b"")
    return embedder.encode([item, padding]).vectors[0]


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("types", [False, True])
def test_a_text_is_the_mean_of_all_its_tokens(tmp_path: Path, pooled: bool, types: bool) -> None:
    embedder = LocalEmbedder(folder(tmp_path / "m", pooled=pooled, types=types))
    expected = state_of("[CLS]", *LONG.split(), "[SEP]")
    assert vector(embedder, LONG) @ expected > 0.99999
    assert embedder.ask(LONG).vector @ expected > 0.99999


def test_states_are_pooled_over_own_words(tmp_path: Path) -> None:
    embedder = LocalEmbedder(folder(tmp_path / "m"))
    assert vector(embedder, "ant bee cow dog", 4, 11) @ state_of("bee", "cow") > 0.99999


def test_a_model_that_pools_sees_own_words_alone(tmp_path: Path) -> None:
    embedder = LocalEmbedder(folder(tmp_path / "m", pooled=True))
    assert vector(embedder, "ant bee cow dog", 4, 11) @ state_of("[CLS]", "bee", "cow", "[SEP]") > 0.99999


def test_a_model_may_say_that_its_first_state_counts(tmp_path: Path) -> None:
    where = tmp_path / "m"
    folder(where)
    (where / "1_Pooling").mkdir()
    (where / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert vector(LocalEmbedder(str(where)), "ant bee") @ state_of("[CLS]") > 0.99999


def test_prefixes_are_part_of_the_text(tmp_path: Path) -> None:
    where = folder(tmp_path / "m")
    embedder = LocalEmbedder(where, query_prefix="query ", passage_prefix="passage ")
    assert embedder.ask("ant").vector @ state_of("[CLS]", "query", "ant", "[SEP]") > 0.99999
    assert vector(embedder, "ant bee") @ state_of("[CLS]", "passage", "ant", "bee", "[SEP]") > 0.99999
    assert vector(embedder, "ant bee cow", 4, 7) @ state_of("bee") > 0.99999


def test_a_model_without_a_usable_output_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = LocalEmbedder(folder(tmp_path / "m"))._loaded()
    flat = SimpleNamespace(name="flat", shape=["n"])
    monkeypatch.setattr(network, "session", SimpleNamespace(get_outputs=lambda: [flat]))
    with pytest.raises(EmbedderWrong, match="no output"):
        network._chosen_output("there")

"""Settings to an embedder, addresses and keys, and the check of vectors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.embed.base import checked
from holdfast.embed.choose import Settings, make
from holdfast.embed.local import LocalEmbedder
from holdfast.embed.post import Address, Secret
from holdfast.embed.remote import BATCH_BYTES, BATCH_TEXTS, OLLAMA, OPENAI, RemoteEmbedder, batches
from holdfast.errors import ConfigError, EmbedderDown, EmbedderWrong
from tests import tiny_onnx


def test_none_is_none() -> None:
    assert make(Settings("none"), {}) is None


def test_the_packaged_model_is_the_default() -> None:
    made = make(Settings(), {})
    assert isinstance(made, LocalEmbedder)
    assert 1 <= made.threads <= 2


def test_threads_are_as_asked() -> None:
    made = make(Settings(threads=1), {})
    assert isinstance(made, LocalEmbedder)
    assert made.threads == 1


@pytest.mark.parametrize(
    "settings",
    [
        Settings(""),
        Settings("locale"),
        Settings("none:x"),
        Settings("onnx:"),
        Settings("openai:", "m"),
        Settings("openai:http://h"),
        Settings("openai:h:80", "m"),
        Settings("openai:ftp://h", "m"),
        Settings("openai:http://", "m"),
        Settings("openai:http://h:99999", "m"),
        Settings("openai:http://[::1", "m"),
        Settings("openai:http://h/a b", "m"),
        Settings("openai:http://h/\r\nX: y", "m"),
        Settings("cohere:http://h", "m"),
        Settings(dimensions=-1),
        Settings(threads=-1),
        Settings(timeout_s=0),
        Settings(timeout_s=math.nan),
    ],
)
def test_what_cannot_be_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError) as caught:
        make(settings, {})
    assert caught.value.message.endswith(".")


def test_a_folder_needs_model_and_tokenizer(tmp_path: Path) -> None:
    folder = Path(tiny_onnx.folder(tmp_path / "m"))
    assert isinstance(make(Settings(f"onnx:{folder}"), {}), LocalEmbedder)
    (folder / "tokenizer.json").unlink()
    made = make(Settings(f"onnx:{folder}"), {})
    assert made, "what is not there now is said when it is first used"
    with pytest.raises(EmbedderDown, match=r"tokenizer\.json"):
        assert made.identity
    gone = make(Settings("onnx:/no/such/folder"), {})
    assert gone
    with pytest.raises(EmbedderDown, match="/no/such/folder"):
        assert gone.identity


def test_the_identity_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    one = make(Settings(f"onnx:{tiny_onnx.folder(tmp_path / 'one')}"), {})
    same = make(Settings(f"onnx:{tiny_onnx.folder(tmp_path / 'same')}"), {})
    other = make(Settings(f"onnx:{tiny_onnx.folder(tmp_path / 'other', pooled=True)}"), {})
    beside = Path(tiny_onnx.folder(tmp_path / "beside"))
    (beside / "model.onnx.data").write_bytes(b"weights")
    with_weights = make(Settings(f"onnx:{beside}"), {})
    assert one
    assert same
    assert other
    assert with_weights
    assert one.identity == same.identity
    pools = Path(tiny_onnx.folder(tmp_path / "pools"))
    (pools / "1_Pooling").mkdir()
    (pools / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    with_pooling = make(Settings(f"onnx:{pools}"), {})
    assert with_pooling
    assert len({one.identity, other.identity, with_weights.identity, with_pooling.identity}) == 4


@pytest.mark.parametrize(
    ("dialect", "url", "shown"),
    [
        (OPENAI, "http://h", "http://h:80/v1/embeddings"),
        (OPENAI, "http://h/", "http://h:80/v1/embeddings"),
        (OPENAI, "https://API.example.com/v1/", "https://api.example.com:443/v1/embeddings"),
        (OPENAI, "http://h:8080/v1/embeddings", "http://h:8080/v1/embeddings"),
        (OPENAI, "https://h/beta/openai?version=2&secret=s3", "https://h:443/beta/openai/embeddings"),
        (OPENAI, "http://[::1]:11434", "http://[::1]:11434/v1/embeddings"),
        (OLLAMA, "http://h:11434", "http://h:11434/api/embed"),
        (OLLAMA, "http://h:11434/api/embed", "http://h:11434/api/embed"),
        (OLLAMA, "https://h/proxy", "https://h:443/proxy/api/embed"),
    ],
)
def test_addresses(dialect: Any, url: str, shown: str) -> None:
    assert Address.parse(url, dialect.place).shown == shown


def test_a_query_is_sent_but_not_shown() -> None:
    address = Address.parse("https://h/v1?secret=s3", OPENAI.place)
    assert address.target == "/v1/embeddings?secret=s3"
    assert "s3" not in address.shown


def test_an_address_with_a_password_is_refused_without_saying_it() -> None:
    with pytest.raises(ConfigError) as caught:
        make(Settings("openai:https://me:hunter22@h/v1", "m"), {})
    assert "hunter22" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("key", ["two\nlines-canary", "naïve-canary", "\x7fcanary"])
def test_a_key_that_no_header_can_hold_is_refused_without_saying_it(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(Settings("openai:http://h", "m", key_variable="MY_KEY"), {"MY_KEY": key})
    assert "MY_KEY" in caught.value.message
    assert "canary" not in str(caught.value)


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret.parse(" sk-canary-12345\n", "MY_KEY")
    assert secret.value == "sk-canary-12345"
    assert "canary" not in repr(secret)
    assert secret.is_in("you sent ...canary-1... to us")
    assert not secret.is_in("no key here: sk-")
    assert not Secret("", "MY_KEY").is_in("anything")


def test_a_remote_identity_has_what_vectors_depend_on() -> None:
    def identity(url: str = "http://h", model: str = "m", dimensions: int = 0) -> str:
        made = make(Settings(f"openai:{url}", model, dimensions), {"HOLDFAST_EMBEDDER_KEY": "sk-canary"})
        assert isinstance(made, RemoteEmbedder)
        return made.identity

    assert identity() == "openai:http://h:80/v1/embeddings:m:"
    assert identity(dimensions=256) == "openai:http://h:80/v1/embeddings:m:256"
    assert identity("http://h?key=1") == identity()
    assert len({identity(), identity(model="n"), identity("https://h"), identity("http://h:81")}) == 4


def test_batches_hold_64_texts_and_32_kilobytes() -> None:
    texts = [f"{n}" for n in range(150)] + ["é" * 10_000] * 4 + ["x" * 50_000, "y"]
    found = list(batches(texts))
    assert [text for batch in found for text in batch] == texts
    assert all(len(batch) <= BATCH_TEXTS for batch in found)
    assert all(len(batch) == 1 or sum(len(t.encode()) for t in batch) <= BATCH_BYTES for batch in found)
    assert [len(batch) for batch in found] == [64, 64, 23, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("vectors", "named"),
    [
        ([[1, 0]], "1 vectors for 2"),
        ([], "0 vectors"),
        (None, "0 vectors"),
        ({}, "none"),
        ([[1, 0], [1]], "different lengths"),
        ([[1, 0], ["x", 0]], "different lengths"),
        ([[1, 0], [10**400, 0]], "different lengths"),
        ([[1, 0], [math.nan, 0]], "NaN"),
        ([[1, 0], [math.inf, 0]], "NaN"),
        ([[1, 0], [None, 0]], "NaN"),
        ([[1, 0], [0, 0]], "zeros"),
        ([[], []], "0 numbers"),
        ([[1], [1]], "1 numbers instead of 2"),
        ([[[1, 0]], [[1, 0]]], "vectors"),
    ],
)
def test_what_is_no_set_of_vectors_is_named(vectors: Any, named: str) -> None:
    with pytest.raises(EmbedderWrong, match=named):
        checked(vectors, 2, 2, "It")


def test_vectors_of_any_size_get_length_one() -> None:
    out = checked([[3, 4], [1e300, 1e300], [3e-5, 0]], 3, None, "It")
    assert np.allclose(out, [[0.6, 0.8], [0.5**0.5, 0.5**0.5], [1, 0]])
    assert out.dtype == np.float32

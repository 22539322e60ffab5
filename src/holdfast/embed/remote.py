"""Embedders behind HTTP: the OpenAI-compatible `/v1/embeddings`, and Ollama's `/api/embed`.

Only a chunk's own words are sent, in batches; there are no token vectors. What comes back is checked: one vector for
each text, all of one dimension, finite and not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.embed.base import Asked, Encoded, Floats, checked, prefix_mark
from holdfast.embed.post import Address, Post, Secret
from holdfast.errors import EmbedderWrong
from holdfast.model import Input

BATCH_TEXTS = 64
BATCH_BYTES = 32_000
TEXT_CHARS = 8_000
"""More of one text is cut off: servers refuse a whole batch for one text that is too long."""

NO_WORDS = "."
"""Stands for a text without words: servers refuse an empty one."""

QUERY_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of server is asked: `place` as `Address.parse` takes it."""

    name: str
    place: tuple[str, str]
    payload: Callable[[str, list[str], int], dict[str, Any]]
    vectors: Callable[[Any], list[Any]]


class RemoteEmbedder:
    """A model on a server. Costs nothing until it is first used, and has no state: which dimension it gives is compared
    with the vectors' by who has those, since a server may come to serve another model under one name."""

    is_remote = True

    def __init__(
        self,
        dialect: Dialect,
        address: Address,
        model: str,
        *,
        key: Secret,
        dimensions: int = 0,
        query_prefix: str = "",
        passage_prefix: str = "",
        timeout_s: float = 30.0,
        query_timeout_s: float = QUERY_TIMEOUT_S,
        post: Post | None = None,
    ) -> None:
        self._dialect, self._model, self._asked_dimensions = dialect, model, dimensions
        self._dimension = dimensions or None
        self._prefixes = query_prefix, passage_prefix
        self._timeout_s, self._query_timeout_s = timeout_s, min(query_timeout_s, timeout_s)
        self._post = post or Post(address, key)
        self.identity = f"{dialect.name}:{address.shown}:{model}:{dimensions or ''}{prefix_mark(*self._prefixes)}"

    def encode(self, inputs: Sequence[Input]) -> Encoded:
        texts = [_sendable(self._prefixes[1], item.own) for item in inputs]
        if not texts:
            return Encoded(np.empty((0, 0), np.float32), ())
        found: list[Floats] = []
        for batch in batches(texts):
            dimension = found[0].shape[1] if found else self._dimension
            found.append(self._vectors(batch, self._timeout_s, dimension))
        return Encoded(np.concatenate(found), [None] * len(inputs))

    def ask(self, question: str) -> Asked:
        texts = [_sendable(self._prefixes[0], question)]
        return Asked(self._vectors(texts, self._query_timeout_s, self._dimension)[0])

    def close(self) -> None:
        """Nothing is kept open."""

    def _vectors(self, texts: list[str], timeout_s: float, dimension: int | None) -> Floats:
        answer = self._post(self._dialect.payload(self._model, texts, self._asked_dimensions), timeout_s)
        who = self._post.address.shown
        try:
            found = self._dialect.vectors(answer)
        except (KeyError, TypeError, AttributeError):
            raise EmbedderWrong(f"{who} answered with JSON that has no vectors in it.") from None
        return checked(found, len(texts), dimension, who)


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """`texts` in order, in batches of at most BATCH_TEXTS and BATCH_BYTES, or of one text."""
    batch: list[str] = []
    size = 0
    for text in texts:
        weight = len(text.encode("utf-8"))
        if batch and (len(batch) == BATCH_TEXTS or size + weight > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += weight
    if batch:
        yield batch


def _sendable(prefix: str, text: str) -> str:
    """`text` as it is sent; lone surrogates are "?", which no server needs to understand."""
    text = prefix + (text[:TEXT_CHARS] if text.strip() else NO_WORDS)
    return text.encode("utf-8", "replace").decode("utf-8")


def _openai_payload(model: str, texts: list[str], dimensions: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"model": model, "input": texts, "encoding_format": "float"}
    return payload | ({"dimensions": dimensions} if dimensions else {})


def _openai_vectors(answer: Any) -> list[Any]:
    """The vectors in the order of `index`; of servers that leave it out, in the order given."""
    rows = answer["data"]
    places = [row.get("index", n) for n, row in enumerate(rows)]
    if sorted(places) != list(range(len(rows))):
        raise EmbedderWrong("The embedder's answer has an index twice, or one that was not asked.")
    return [row["embedding"] for _, row in sorted(zip(places, rows, strict=True), key=lambda pair: pair[0])]


def _ollama_payload(model: str, texts: list[str], dimensions: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"model": model, "input": texts, "truncate": True}
    return payload | ({"dimensions": dimensions} if dimensions else {})


def _ollama_vectors(answer: Any) -> list[Any]:
    found = answer["embeddings"]
    if not isinstance(found, list):
        raise TypeError
    return found


OPENAI = Dialect("openai", ("/v1/embeddings", "/embeddings"), _openai_payload, _openai_vectors)
OLLAMA = Dialect("ollama", ("/api/embed", "/api/embed"), _ollama_payload, _ollama_vectors)

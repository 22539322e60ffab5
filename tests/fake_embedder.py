"""An embedder for tests: shared words mean nearness, the same text gives the same bits, and it fails when told to.
to.

Every word has a direction of its own, drawn from a hash of the embedder's name and the word; a text is the sum of its
words'. What it gives passes through `checked`, as with any embedder.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np

from holdfast import Vault
from holdfast.embed.base import Asked, Encoded, checked
from holdfast.engine.record import read_note
from holdfast.index.vectors.codes import VectorRow, rows
from holdfast.model import Input, key_path

TOKEN_DIMENSION = 64
CONTEXT = np.float32(0.25)
"""What the words of neighbouring turns count."""


class FakeEmbedder:
    """See holdfast.embed.base.Embedder.

    `encoded` counts the inputs by digest, `encodes` and `asks` the calls; `last` has the digests of the last batch.
    `fail` is raised by every call, or by the next `fail_times`; `spoil` changes what is checked (the raw matrix, before
    `checked`); `hook` runs before an encode.
    """

    is_remote = False

    def __init__(
        self, dimension: int = 32, name: str = "fake", *, tokens: bool = True, sleep_s: float = 0.0, identity: str = ""
    ) -> None:
        self.dimension, self.name, self.tokens, self.sleep_s = dimension, name, tokens, sleep_s
        self.identity = identity or f"{name}:{dimension}"
        self.encoded: Counter[bytes] = Counter()
        self.last: list[bytes] = []
        self.encodes = self.asks = self.closed = 0
        self.fail: Exception | None = None
        self.fail_times = -1
        self.spoil: Callable[[Any], Any] = lambda raw: raw
        self.hook: Callable[[Sequence[Input]], None] = lambda inputs: None
        self._guard = threading.Lock()

    @property
    def calls(self) -> int:
        return self.encodes + self.asks

    def encode(self, inputs: Sequence[Input]) -> Encoded:
        self.encodes += 1
        self._maybe_fail()
        self.hook(inputs)
        with self._guard:
            self.last = [x.digest for x in inputs]
            self.encoded.update(self.last)
        return self._encode(inputs)

    def ask(self, question: str) -> Asked:
        self.asks += 1
        self._maybe_fail()
        vector = checked(self.spoil([self._text(question)]), 1, None, "the fake")[0]
        return Asked(vector)

    def close(self) -> None:
        self.closed += 1

    def row(self, input_: Input) -> VectorRow:
        """What the index must hold for `input_`; nothing is counted, and nothing fails."""
        spoil, self.spoil = self.spoil, lambda raw: raw
        try:
            encoded = self._encode([input_])
        finally:
            self.spoil = spoil
        return rows([input_.digest], encoded.vectors, encoded.tokens)[0]

    def _encode(self, inputs: Sequence[Input]) -> Encoded:
        if self.sleep_s:
            time.sleep(self.sleep_s)
        raw = [self._input(x) for x in inputs]
        vectors = checked(self.spoil(raw), len(inputs), None, "the fake")
        return Encoded(vectors, [self._tokens(x) for x in inputs])

    def _maybe_fail(self) -> None:
        if self.fail is None or self.fail_times == 0:
            return
        self.fail_times -= 1
        raise self.fail

    def _input(self, x: Input) -> Any:
        out = self._text(x.own)
        if x.text != x.own:
            out = out + CONTEXT * (self._text(x.text[: x.start]) + self._text(x.text[x.end :]))
        return out

    def _text(self, text: str) -> Any:
        out = self._direction("") * np.float32(0.1)
        for word in re.findall(r"\w+", text.lower()):
            out = out + self._direction(word)
        return out

    def _tokens(self, x: Input) -> Any:
        words = re.findall(r"\w+", x.own.lower())[:8]
        if not (self.tokens and x.is_turn and words):
            return None
        return np.array([_codes(f"{self.name}\0{w}") for w in words], dtype=np.int8)

    def _direction(self, word: str) -> Any:
        return _direction(f"{self.name}\0{word}", self.dimension)


@lru_cache(100_000)
def _direction(seed: str, dimension: int) -> Any:
    rng = np.random.default_rng(int.from_bytes(blake2b(seed.encode("utf-8", "replace"), digest_size=8).digest()))
    return rng.standard_normal(dimension).astype(np.float32)


@lru_cache(100_000)
def _codes(seed: str) -> Any:
    values = _direction(seed, TOKEN_DIMENSION)
    return np.rint(values * (127 / np.abs(values).max())).astype(np.int8)


def use(vault: Vault, embedder: FakeEmbedder | None) -> Vault:
    """Let `vault` embed with `embedder`, whatever its settings name."""
    vault._ws._embedder, vault._ws._has_embedder = embedder, True
    return vault


def inputs_of(vault: Vault) -> dict[bytes, list[Input]]:
    """The inputs of every note that is indexed, by sort key, made again from the bytes on disk."""
    ws = vault._ws
    index: Any = ws.index()
    out = {}
    for row in index.list_notes(b"", b"\xff" * 256, b"", 1_000_000):
        path = key_path(row.key)
        if not row.digest:
            continue  # listed and never opened
        with open(f"{ws.root}/{path}", "rb") as f:
            out[row.key] = read_note(f.read(), path, ws.config.chunk_tokens).inputs
    return out


def stored_rows(index: Any, identity: str) -> dict[bytes, VectorRow]:
    """Every vector of an embedder, by the digest of its input."""
    id_ = index.vectors.find(identity)
    return {r.input: r for _, r in index.vectors.rows(id_, 0, 1_000_000)} if id_ is not None else {}


def recount(index: Any, identity: str) -> int:
    """How many chunks have a vector, the plain way."""
    have = stored_rows(index, identity)
    db = index._db
    return sum(input_ in have for (input_,) in db.execute("select input from chunk").fetchall())


def assert_vectors_are_true(vault: Vault, fake: FakeEmbedder, *, complete: bool = True) -> None:
    """Every chunk's vector is what the embedder gives for the input that the notes give; all have one if `complete`.

    And what is remembered of them is so, and nothing of any other embedder is left.
    """
    index: Any = vault._ws.index()
    have = stored_rows(index, fake.identity)
    chunks = 0
    for key, inputs in inputs_of(vault).items():
        known = index._db.execute(
            "select input from chunk where note = (select id from file where key = ?) order by ord", (key,)
        ).fetchall()
        assert [x.digest for x in inputs] == [d for (d,) in known], key_path(key)
        chunks += len(inputs)
        for x in inputs:
            row = have.get(x.digest)
            assert row is None or (row.is_whole and row == fake.row(x)), (key_path(key), x)
            assert row is not None or not complete, f"{key_path(key)} lacks a vector"
    id_ = index.vectors.find(fake.identity)
    if id_ is not None:
        assert index.vectors.ready(id_) == recount(index, fake.identity) == index.vectors.counts(id_)[0]
    if complete and chunks:
        live = index.vectors.live()
        assert live is not None
        assert (live.identity, live.dimension, index.vectors.ready(live.id)) == (fake.identity, fake.dimension, chunks)
        assert_nothing_is_left_of_others(index, fake.identity)


def assert_nothing_is_left_of_others(index: Any, identity: str) -> None:
    """No row, token, block or name of any embedder but this one."""
    id_ = index.vectors.find(identity)
    for sql in (
        "select count(*) from embedder where id <> ?",
        "select count(*) from vector where embedder <> ?",
        "select count(*) from vector_block where embedder <> ?",
    ):
        assert index._db.execute(sql, (id_,)).fetchall() == [(0,)], sql
    assert not index._db.execute("select id from token where id not in (select id from vector)").fetchall()

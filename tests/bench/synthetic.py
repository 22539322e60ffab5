"""An index of many chunks put in through the index port, without files: terms are drawn by law.

The law is that of the measurements in docs/decisions/0002: 90 words a chunk, notes of 3 to 30 chunks (11.6 on average),
a Zipf tail over a vocabulary that grows with the notes, 30 words of its own a note, a unique key in every fifth chunk.

Vectors are of unit length and in clusters: ten chunks share a middle, and many middles a topic (cosine .6 within the
ten, .3 within the topic). Not all directions are as likely: the spread falls along the axes of a basis that is turned
against the one whose signs are stored, as it does with real vectors.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import holdfast
from holdfast.index.asking import ChunkRow
from holdfast.index.base import NoteRecord
from holdfast.index.sqlite import db
from holdfast.index.sqlite.store import SqliteIndex
from holdfast.index.vectors.codes import rows
from holdfast.model import sort_key

WORDS = 90
TOPIC = 30
FREQUENT = 120
BATCH = 64
DATABASE = "bench"

DIMENSION = 384
CLUSTER = 10
TOPICS = 500
PUT = 5_000
"""Vectors of one transaction; a multiple of CLUSTER."""

Floats = NDArray[np.float32]


def vocabulary_size(chunks: int) -> int:
    return int(122_000 * (chunks / 30_000) ** 0.52)


def index_path(cache: Path, chunks: int, what: str = "words") -> Path:
    """Where the index lies; another name whenever the code that makes it is another, whose file is then removed."""
    code = hashlib.blake2b(digest_size=6)
    for path in sorted((Path(holdfast.__file__).parent / "index").rglob("*")):
        if path.suffix in (".py", ".sql"):
            code.update(path.read_bytes())
    code.update(Path(__file__).read_bytes())
    path = cache / f"synthetic-{what}-{chunks}-{code.hexdigest()}.db"
    for other in cache.glob(f"synthetic-{what}-{chunks}-*"):
        if path.stem not in other.name:
            other.unlink()
    return path


def records(chunks: int, seed: int = 3) -> Iterator[NoteRecord]:
    """Notes until there are `chunks` chunks."""
    rng = np.random.default_rng(seed)
    size = vocabulary_size(chunks)
    names = [f"w{i:06d}" for i in range(size)]
    weights = 1.0 / np.arange(5, size + 5)
    edges = np.cumsum(weights) / weights.sum()
    made = 0
    while made < chunks:
        count = int(min(30, max(3, rng.gamma(3.0, 3.9))))
        topic = rng.integers(FREQUENT, size, TOPIC)
        drawn = np.searchsorted(edges, rng.random(count * WORDS))
        own = rng.random(count * WORDS) < 0.2
        drawn[own] = topic[rng.integers(0, TOPIC, int(own.sum()))]
        terms = [[names[i] for i in part] for part in drawn.reshape(count, WORDS).tolist()]
        for i in range(count):
            if (made + i) % 5 == 0:
                terms[i].append(f"k{made + i:07d}")
        title = [names[i] for i in topic[:4].tolist()]
        yield _record(made, title, terms)
        made += count


def _record(number: int, title: list[str], terms: list[list[str]]) -> NoteRecord:
    digests = [(number + i).to_bytes(16, "big") for i in range(len(terms))]
    chunks = [
        ChunkRow(i * 700, 700, 10 * i + 1, 9, f"Part {i}", digest, input=input_digest(number + i))
        for i, digest in enumerate(digests)
    ]
    return NoteRecord(
        digest=digests[0], title=" ".join(title), type="note", permalink=None, trust="own", tags=(), author=None,
        session=None, modified_ns=None, valid_from_ns=None, valid_to_ns=None, chunks=chunks, terms=[title, *terms],
    )  # fmt: skip


def number_of(row: ChunkRow) -> int:
    """The number of a chunk of the index, from 0."""
    return int.from_bytes(row.digest, "big")


def input_digest(number: int) -> bytes:
    """What stands for the input of a chunk; its lowest bit says that it is no turn."""
    raw = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).digest()
    return bytes([raw[0] & 0xFE]) + raw[1:]


@cache
def _basis() -> Floats:
    """(axes, dimensions): orthogonal, the first axes the longest."""
    rng = np.random.default_rng(23)
    turned, _ = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))
    spread = (np.arange(DIMENSION) + 20.0) ** -0.5
    return np.asarray(spread[:, None] * turned, dtype=np.float32)


def _drawn(seed: tuple[int, ...], count: int) -> Floats:
    return unit(np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32) @ _basis())


def unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@cache
def _topics() -> Floats:
    return _drawn((29,), TOPICS)


def vectors(first: int) -> Floats:
    """The vectors of the PUT chunks from number `first` on, a multiple of PUT."""
    middles = _drawn((31, first), PUT // CLUSTER)
    topics = _topics()[np.random.default_rng((37, first)).integers(0, TOPICS, PUT // CLUSTER)]
    shared = np.repeat(0.3**0.5 * topics + 0.3**0.5 * middles, CLUSTER, axis=0)
    return unit(shared + 0.4**0.5 * _drawn((41, first), PUT))


def asked_vectors(chunks: int, count: int, seed: int = 43) -> Floats:
    """Vectors of questions, each near some chunk's: cosine .65, as a question and a passage that answers it have."""
    rng = np.random.default_rng(seed)
    homes = rng.integers(0, chunks, count)
    found = np.concatenate([vectors(int(n) // PUT * PUT)[int(n) % PUT][None] for n in homes])
    return unit(0.65 * found + (1 - 0.65**2) ** 0.5 * _drawn((seed, 1), count))


def nearest(chunks: int, asked: Floats, k: int) -> NDArray[np.int64]:
    """(questions, k): the numbers of the chunks with the highest cosines, from the vectors before they were rounded."""
    best = np.full((len(asked), k), -2, dtype=np.float32)
    who = np.zeros((len(asked), k), dtype=np.int64)
    for first in range(0, chunks, PUT):
        said = asked @ vectors(first)[: chunks - first].T
        values = np.concatenate([best, said], axis=1)
        numbers = np.concatenate([who, np.broadcast_to(np.arange(said.shape[1]) + first, said.shape)], axis=1)
        at = np.argpartition(-values, k, axis=1)[:, :k]
        best, who = np.take_along_axis(values, at, 1), np.take_along_axis(numbers, at, 1)
    return who


def build(path: Path, chunks: int) -> None:
    making = path.with_suffix(".making")
    making.unlink(missing_ok=True)
    db.create(str(making), DATABASE)
    index = SqliteIndex(str(making), 1, DATABASE)
    batch: list[NoteRecord] = []
    number = 0

    def put() -> None:
        nonlocal number
        with index.begin() as tx:
            for record in batch:
                number += 1
                key = sort_key(f"n{number // 100:05d}/n{number:07d}.md")
                tx.replace_note((key, 8_000, number, number, number), 0, record)
        batch.clear()
        index.flush(20_000)

    for record in records(chunks):
        batch.append(record)
        if len(batch) == BATCH:
            put()
    put()
    index.flush(1)
    index.checkpoint()
    index.close()
    making.rename(path)


def opened(cache: Path, chunks: int) -> SqliteIndex:
    """The index, made now if it is not there."""
    path = index_path(cache, chunks)
    if not path.exists():
        began = time.perf_counter()
        build(path, chunks)
        print(f"{chunks:,} chunks put in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return SqliteIndex(str(path), 1, DATABASE)


def opened_with_vectors(cache: Path, chunks: int, identity: str) -> SqliteIndex:
    """The same index with vectors and their scan copy, as if the embedder of that identity had made them."""
    path = index_path(cache, chunks, "vectors")
    if not path.exists():
        opened(cache, chunks).close()
        began = time.perf_counter()
        making = path.with_suffix(".making")
        shutil.copyfile(index_path(cache, chunks), making)
        index = SqliteIndex(str(making), 1, DATABASE)
        embedder = index.vectors.add_embedder(identity, DIMENSION)
        last = index.counts().chunks
        for first in range(0, last, PUT):
            digests = [input_digest(n) for n in range(first, min(last, first + PUT))]
            index.vectors.put(embedder, rows(digests, vectors(first)[: len(digests)], [None] * len(digests)))
        index.checkpoint()
        index.close()
        making.rename(path)
        index = SqliteIndex(str(path), 1, DATABASE)
        index.vectors.remember_ready()
        index.vectors.write_copy()
        index.checkpoint()
        index.close()
        print(f"{last:,} vectors put in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return SqliteIndex(str(path), 1, DATABASE)


def questions(chunks: int, count: int, seed: int = 7) -> list[str]:
    """Words by frequency from a chunk (60 %) and those beside it, 5 % rare keys; the most frequent words left out."""
    rng = np.random.default_rng(seed)
    out: list[str] = []
    # Notes of the same law, a few thousand in: every (total / count)-th would cost a whole build to find.
    for i, record in enumerate(records(chunks)):
        if len(out) == count or i > 40 * count:
            break
        if rng.random() > 0.1:
            continue
        parts = record.terms[1:]
        home = int(rng.integers(0, len(parts)))
        chosen = []
        wanted = int(rng.integers(2, 9))
        for _ in range(200):
            near = home if rng.random() < 0.6 else min(len(parts) - 1, max(0, home + int(rng.choice([-2, -1, 1, 2]))))
            word = parts[near][int(rng.integers(0, WORDS))]
            if int(word[1:]) >= FREQUENT:
                chosen.append(word)
            if len(chosen) == wanted:
                break
        keys = [t for t in parts[home] if t.startswith("k")]
        if keys and rng.random() < 0.25:  # a fifth of the chunks has one: 5 % in all
            chosen[-1] = keys[0]
        out.append(" ".join(chosen))
    return out

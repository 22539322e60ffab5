"""An index of many chunks put in through the index port, without files: terms are drawn by law.

The law is that of the measurements in docs/decisions/0002: 90 words a chunk, notes of 3 to 30 chunks (11.6 on average),
a Zipf tail over a vocabulary that grows with the notes, 30 words of its own a note, a unique key in every fifth chunk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import holdfast
from holdfast.index.asking import ChunkRow
from holdfast.index.base import NoteRecord
from holdfast.index.sqlite import db
from holdfast.index.sqlite.store import SqliteIndex
from holdfast.model import sort_key

WORDS = 90
TOPIC = 30
FREQUENT = 120
BATCH = 64
DATABASE = "bench"


def vocabulary_size(chunks: int) -> int:
    return int(122_000 * (chunks / 30_000) ** 0.52)


def index_path(cache: Path, chunks: int) -> Path:
    """Where the index lies; another name whenever the code that makes it is another."""
    code = hashlib.blake2b(digest_size=6)
    for path in sorted((Path(holdfast.__file__).parent / "index").rglob("*")):
        if path.suffix in (".py", ".sql"):
            code.update(path.read_bytes())
    code.update(Path(__file__).read_bytes())
    return cache / f"synthetic-{chunks}-{code.hexdigest()}.db"


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
    rows = [ChunkRow(i * 700, 700, 10 * i + 1, 9, f"Part {i}", digest) for i, digest in enumerate(digests)]
    return NoteRecord(
        digest=digests[0], title=" ".join(title), type="note", permalink=None, trust="own", tags=(), author=None,
        session=None, modified_ns=None, valid_from_ns=None, valid_to_ns=None, chunks=rows, terms=[title, *terms],
    )  # fmt: skip


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
        build(path, chunks)
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

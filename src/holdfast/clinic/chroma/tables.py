"""Reads Chroma's tables: collections with their two segments, rows, and what waits in the queue.

What chromadb does with the queue was measured with chromadb 1.5.9: a row is in `embeddings_queue` until both segments
are past it (`max_seq_id`), then it is deleted and its vector is only in the graph files. A segment without an id list
starts again from the first row of the queue, whatever `max_seq_id` says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import apsw

DOCUMENT = "chroma:document"
ADD, UPDATE, UPSERT, DELETE = 0, 1, 2, 3
DEFAULT_THRESHOLD = 1000
_PAGE = 2_000


@dataclass(slots=True)
class Collection:
    """A collection and its segments; `vector` and `rows` are the ids of the graph's and the rows' segment."""

    id: str
    name: str
    dimension: int | None
    vector: str | None = None
    rows: str | None = None
    threshold: int = DEFAULT_THRESHOLD
    space: str = "l2"
    vector_seq: int | None = None
    rows_seq: int | None = None
    topics: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Waiting:
    """What the queue holds for a collection.

    `late_rows`: what its unapplied part does to the rows (id -> there or not). `late`: the same for the graph, given
    what it holds. `kept` are the ids that a graph rebuilt from the queue alone would hold.
    """

    total: int = 0
    unapplied: int = 0
    last_seq: int = 0
    late_rows: dict[str, bool] = field(default_factory=dict)
    late: dict[str, bool] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)


def collections(db: apsw.Connection) -> list[Collection]:
    """The collections, by name."""
    topics = _topics(db)
    found: dict[str, Collection] = {}
    for key, name, dimension in db.execute("SELECT id, name, dimension FROM collections ORDER BY name, id"):
        c = Collection(str(key), str(name), dimension if isinstance(dimension, int) else None)
        c.topics = topics.get(c.id, [])
        threshold, space = _setting(db, c.id, "sync_threshold"), _setting(db, c.id, "space")
        c.threshold = threshold if isinstance(threshold, int) else DEFAULT_THRESHOLD
        c.space = space if isinstance(space, str) else "l2"
        found[c.id] = c
    reached = {str(segment): sequence(seq) for segment, seq in db.execute("SELECT segment_id, seq_id FROM max_seq_id")}
    for segment, kind, scope, owner in db.execute("SELECT id, type, scope, collection FROM segments"):
        collection = found.get(str(owner))
        if collection is None:
            continue
        if scope == "VECTOR" and "hnsw" in str(kind):
            collection.vector, collection.vector_seq = str(segment), reached.get(str(segment))
        elif scope == "METADATA":
            collection.rows, collection.rows_seq = str(segment), reached.get(str(segment))
    return list(found.values())


def sequence(value: Any) -> int | None:
    """A sequence number; old versions kept it as bytes, highest first."""
    if isinstance(value, bytes):
        return int.from_bytes(value, "big")
    return value if isinstance(value, int) else None


def _topics(db: apsw.Connection) -> dict[str, list[str]]:
    """The queue's names of each collection, by the collection's id at their end."""
    out: dict[str, list[str]] = {}
    for (topic,) in db.execute("SELECT DISTINCT topic FROM embeddings_queue"):
        out.setdefault(str(topic).rpartition("/")[2], []).append(str(topic))
    return out


def _setting(db: apsw.Connection, collection: str, key: str) -> Any:
    """A setting of the graph: from the collection's metadata (old versions), else from its schema or configuration."""
    statement = "SELECT coalesce(int_value, str_value) FROM collection_metadata WHERE collection_id = ? AND key = ?"
    value = db.execute(statement, (collection, f"hnsw:{key}")).get
    if value is not None:
        return value
    for column in ("schema_str", "config_json_str"):
        try:
            text = db.execute(f"SELECT {column} FROM collections WHERE id = ?", (collection,)).get
            value = _first_under(json.loads(text), key) if isinstance(text, str) else None
        except (apsw.SQLError, ValueError, RecursionError):
            continue  # Older databases have no such column; what is no JSON tells nothing.
        if value is not None:
            return value
    return None


def _first_under(tree: Any, key: str, depth: int = 0) -> Any:
    """The first plain value under `key`; of a schema that of the collection's own vectors."""
    if depth > 12 or not isinstance(tree, dict):
        return None
    keys = tree.get("keys")
    if depth == 0 and isinstance(keys, dict) and (found := _first_under(keys.get("#embedding"), key, 1)) is not None:
        return found
    if isinstance(tree.get(key), (int, str)):
        return tree[key]
    return next((v for part in tree.values() if (v := _first_under(part, key, depth + 1)) is not None), None)


def waiting(db: apsw.Connection, collection: Collection, labels: dict[str, int], start: int) -> Waiting:
    """What the queue would do to a graph that holds `labels` and has applied all up to `start`."""
    out = Waiting()
    rows_start = collection.rows_seq or 0
    statement = (
        "SELECT seq_id, operation, id, vector IS NOT NULL FROM embeddings_queue WHERE topic = ? AND seq_id > ?"
        " ORDER BY seq_id LIMIT ?"
    )
    for topic in collection.topics:
        last = -1
        while page := list(db.execute(statement, (topic, last, _PAGE))):
            for seq, operation, key, has_vector in page:
                out.total += 1
                out.last_seq = max(out.last_seq, seq)
                _follow(out.kept, operation, key, has_vector=bool(has_vector))
                if seq > start:
                    out.unapplied += 1
                    _apply(out.late, labels, operation, key, has_vector=bool(has_vector))
                if seq > rows_start and operation in (ADD, UPSERT, DELETE):
                    out.late_rows[key] = operation != DELETE
            last = page[-1][0]
    return out


def _follow(held: set[str], operation: int, key: str, *, has_vector: bool) -> None:
    if operation == DELETE:
        held.discard(key)
    elif operation in (ADD, UPSERT) and has_vector:
        held.add(key)


def _apply(late: dict[str, bool], labels: dict[str, int], operation: int, key: str, *, has_vector: bool) -> None:
    if operation == DELETE:
        late[key] = False
    elif has_vector and (operation in (ADD, UPSERT) or late.get(key, key in labels)):
        late[key] = True


def row_ids(db: apsw.Connection, segment: str) -> Iterator[str]:
    """The ids of all rows of a segment, page by page, so that no read lasts long."""
    last = ""
    statement = (
        "SELECT embedding_id FROM embeddings WHERE segment_id = ? AND embedding_id > ? ORDER BY embedding_id LIMIT ?"
    )
    first = statement.replace("> ?", ">= ?", 1)
    while page := [str(key) for (key,) in db.execute(first if last == "" else statement, (segment, last, _PAGE))]:
        yield from page
        last = page[-1]
        if last == "":
            return


def last_row_seq(db: apsw.Connection, segment: str) -> int:
    """The highest sequence number that a row of the segment carries."""
    kinds = db.execute(
        "SELECT max(seq_id), max(CASE typeof(seq_id) WHEN 'integer' THEN seq_id END) FROM embeddings"
        " WHERE segment_id = ?",
        (segment,),
    )
    return max((sequence(v) or 0 for v in next(iter(kinds), (0, 0))), default=0)


def is_palace(db: apsw.Connection, found: list[Collection]) -> bool:
    """Whether MemPalace wrote this database: by its collections' names, or by what it says of each row."""
    if any(c.name.startswith("mempalace") for c in found):
        return True
    for key in ("wing", "room"):
        statement = "SELECT 1 FROM embedding_metadata WHERE key = ? AND string_value IS NOT NULL LIMIT 1"
        if db.execute(statement, (key,)).get is None:
            return False
    return True

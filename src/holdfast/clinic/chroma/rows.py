"""Reads every row of a Chroma database, past damaged pages and with what still waits in the queue, in bounded memory.

A plan of what goes where is kept in a temporary database, so that neighbours of one source come out together.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import apsw

from holdfast.clinic.chroma.examining import Broken
from holdfast.clinic.chroma.notes import Row
from holdfast.clinic.chroma.tables import ADD, DELETE, DOCUMENT, UPSERT, Collection

_PAGE = 500
_LOST_PAGES = 200
_SOURCES = ("source_file", "source", "file_path")
_CHUNKS = ("chunk_index", "chunk")
_ASKED = ("wing", "room", *_SOURCES, *_CHUNKS)
_PLAN = """
CREATE TABLE plan (collection INTEGER, wing TEXT, room TEXT, source TEXT, chunk INTEGER, key TEXT, row INTEGER);
CREATE TABLE late (collection INTEGER, key TEXT, state TEXT, seen INTEGER DEFAULT 0, PRIMARY KEY (collection, key));
"""
_VALUES = (
    "SELECT CAST(key AS BLOB), CAST(string_value AS BLOB), int_value, float_value, bool_value FROM embedding_metadata"
    " WHERE id = ?"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row belongs: neighbours of one source share a place; `source` is None for a row that stands alone."""

    collection: int
    wing: str
    room: str
    source: str | None


@dataclass(slots=True)
class Reader:
    """A pass over all rows of `db`; what could not be read is counted in `unread`, by what it is."""

    db: apsw.Connection
    found: list[Collection]
    unread: Counter[str] = field(default_factory=Counter)
    strays: int = 0
    late: Counter[int] = field(default_factory=Counter)
    plan: apsw.Connection = field(init=False)
    has_arrays: bool = False

    def __post_init__(self) -> None:
        # An empty name: a temporary database on disk, gone when it is closed.
        self.plan = apsw.Connection("")
        self.plan.pragma("cache_size", -8_000)
        self.plan.execute(_PLAN)
        try:
            self.has_arrays = self.db.execute("SELECT 1 FROM embedding_metadata_array LIMIT 1").get is not None
        except Broken:
            self.has_arrays = False  # Older databases have no such table.

    def prepare(self) -> None:
        """Read what waits, then plan all rows."""
        with self.plan:
            for n, collection in enumerate(self.found):
                try:
                    self._read_late(n, collection)
                except Broken:
                    self.unread["parts of the queue"] += 1
            self._plan_rows()
            for n, key, state in list(self.plan.execute("SELECT collection, key, state FROM late WHERE NOT seen")):
                if state is not None:
                    self._add(n, key, None, json.loads(state)["metadata"])

    def rows(self) -> Iterator[tuple[Place, Row]]:
        """Every row with its place, neighbours in order of their chunks."""
        order = "SELECT * FROM plan ORDER BY collection, wing, room, source IS NULL, source, chunk, key, row"
        for n, wing, room, source, chunk, key, row in self.plan.execute(order):
            place = Place(n, wing, room, source)
            state = self.plan.execute("SELECT state FROM late WHERE collection = ? AND key = ?", (n, key)).get
            if state is not None:
                known = json.loads(state)
                document = known["document"]
                yield (
                    place,
                    Row(
                        key,
                        None if document is None else document.encode("utf-8", "surrogatepass"),
                        known["metadata"],
                        chunk,
                    ),
                )
                continue
            try:
                yield place, Row(key, *self._values(row), chunk)
            except Broken:
                self.unread["documents"] += 1

    def _values(self, row: int) -> tuple[bytes | None, dict[str, Any]]:
        document, metadata = None, {}
        for name, text, number, real, flag in self.db.execute(_VALUES, (row,)):
            key = _text(name)
            if key == DOCUMENT:
                document = text
            else:
                metadata[key] = _value(text, number, real, flag)
        if self.has_arrays:
            statement = _VALUES.replace("embedding_metadata", "embedding_metadata_array") + " ORDER BY rowid"
            arrays: dict[str, list[Any]] = {}
            for name, text, number, real, flag in self.db.execute(statement, (row,)):
                arrays.setdefault(_text(name), []).append(_value(text, number, real, flag))
            metadata |= arrays
        return document, metadata

    def _plan_rows(self) -> None:
        owners = {c.rows: n for n, c in enumerate(self.found) if c.rows}
        for row, segment, key in self._all_rows():
            n = owners.get(segment)
            if n is None:
                self.strays += 1
                continue
            name = _text(key)
            if self.plan.execute(
                "UPDATE late SET seen = 1 WHERE collection = ? AND key = ? RETURNING 1", (n, name)
            ).get:
                state = self.plan.execute("SELECT state FROM late WHERE collection = ? AND key = ?", (n, name)).get
                if state is not None:
                    self._add(n, name, row, json.loads(state)["metadata"])
                continue
            try:
                self._add(n, name, row, self._asked(row))
            except Broken:
                self._add(n, name, row, {})

    def _all_rows(self) -> Iterator[tuple[int, str, bytes]]:
        """Row number, segment and id of all rows; over a damaged page, those that can still be reached one by one."""
        statement = (
            "SELECT id, segment_id, CAST(embedding_id AS BLOB) FROM embeddings WHERE id {} ? ORDER BY id LIMIT ?"
        )
        last, lost = -1, 0
        end = self._last_row()
        while True:
            try:
                page = list(self.db.execute(statement.format(">"), (last, _PAGE)))
                if not page:
                    return
                yield from page
                last, lost = page[-1][0], 0
            except Broken:
                lost += 1
                if last >= end or lost > _LOST_PAGES:
                    self.unread["further rows, how many is not known"] += 1
                    return
                for row in range(last + 1, last + 1 + _PAGE):
                    try:
                        yield from self.db.execute(statement.format("="), (row, 1))
                    except Broken:
                        self.unread["rows"] += 1
                last += _PAGE

    def _last_row(self) -> int:
        for table in ("embeddings", "embedding_metadata"):
            try:
                return int(self.db.execute(f"SELECT max(id) FROM {table}").get or 0)
            except Broken:
                continue
        return 0

    def _asked(self, row: int) -> dict[str, Any]:
        marks = ", ".join("?" * len(_ASKED))
        found = self.db.execute(f"{_VALUES} AND key IN ({marks})", (row, *_ASKED))
        return {_text(key): _value(*values) for key, *values in found}

    def _add(self, n: int, key: str, row: int | None, metadata: dict[str, Any]) -> None:
        source = next((v for k in _SOURCES if isinstance(v := metadata.get(k), str) and v), None)
        chunk = next((v for k in _CHUNKS if type(v := metadata.get(k)) is int), None)
        wing, room = (v if isinstance(v := metadata.get(k), str) else "" for k in ("wing", "room"))
        if chunk is None or not -(2**63) <= chunk < 2**63:
            source = chunk = None
        self.plan.execute("INSERT INTO plan VALUES (?, ?, ?, ?, ?, ?, ?)", (n, wing, room, source, chunk, key, row))

    def _read_late(self, n: int, collection: Collection) -> None:
        """Apply to the rows, in the plan only, what the queue holds and the rows do not have yet."""
        statement = (
            "SELECT seq_id, operation, id, metadata FROM embeddings_queue WHERE topic = ? AND seq_id > ?"
            " ORDER BY seq_id LIMIT ?"
        )
        for topic in collection.topics:
            last = collection.rows_seq or 0
            while page := list(self.db.execute(statement, (topic, last, _PAGE))):
                for seq, operation, key, text in page:
                    last = seq
                    self.late[n] += 1
                    self._apply(n, collection, operation, key, text)

    def _apply(self, n: int, collection: Collection, operation: int, key: str, text: str | None) -> None:
        told = list(self.plan.execute("SELECT state FROM late WHERE collection = ? AND key = ?", (n, key)))
        before = (json.loads(told[0][0]) if told[0][0] else None) if told else self._stored(collection, key)
        after = before
        if operation == DELETE:
            after = None
        elif before is None or operation != ADD:
            try:
                change = json.loads(text) if text else {}
            except (ValueError, RecursionError):
                change = None
            if not isinstance(change, dict):
                self.unread["changes in the queue"] += 1
                return
            if before is None and operation not in (ADD, UPSERT):
                return
            after = {"document": None, "metadata": {}} if before is None else before
            for name, value in change.items():
                if name == DOCUMENT:
                    after["document"] = value if isinstance(value, str) else after["document"]
                elif value is None:
                    after["metadata"].pop(name, None)
                else:
                    after["metadata"][name] = value
        state = None if after is None else json.dumps(after)
        self.plan.execute("INSERT OR REPLACE INTO late (collection, key, state) VALUES (?, ?, ?)", (n, key, state))

    def _stored(self, collection: Collection, key: str) -> dict[str, Any] | None:
        statement = "SELECT id FROM embeddings WHERE segment_id = ? AND embedding_id = ?"
        row = self.db.execute(statement, (collection.rows, key)).get
        if row is None:
            return None
        document, metadata = self._values(row)
        return {"document": None if document is None else _text(document), "metadata": metadata}


def _text(raw: Any) -> str:
    return raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else str(raw)


def _value(text: Any, number: Any, real: Any, flag: Any) -> Any:
    if text is not None:
        return _text(text)
    if number is not None:
        return number
    return real if real is not None else (None if flag is None else bool(flag))

"""Saves every document with its metadata out of the database, as notes of a vault, whatever state the graph is in.

Nothing is written into DIR. The notes are made in a folder beside OUT and take its name when all are there and on disk,
so that OUT is whole or not there. Memory is that of one note, not of the database.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import apsw

from holdfast.clinic.chroma.aside import sync_directory
from holdfast.clinic.chroma.case import shown
from holdfast.clinic.chroma.examining import KIND, SEEN_AS, Broken
from holdfast.clinic.chroma.notes import BODY_BYTES, HEADER_BYTES, Note, Row, fingerprint, notes_of, safe_name
from holdfast.clinic.chroma.place import DATABASE, find, opened
from holdfast.clinic.chroma.rows import Place, Reader
from holdfast.clinic.chroma.tables import Collection, collections
from holdfast.clinic.report import Chart, Report, Step, nothing
from holdfast.errors import Conflict, DiskFull
from holdfast.results import Finding

_NOTE_BYTES = 16 << 20
_NAMES = "CREATE TABLE names (folder TEXT, name TEXT, PRIMARY KEY (folder, name)) WITHOUT ROWID"


def rescue(path: str, out: str) -> Report:
    """Write all documents of the Chroma directory `path` as notes into the folder `out`, which must be new or empty.

    Raises Conflict if `out` holds something or lies in the directory, DiskFull if there is no room; then nothing is
    left.
    """
    directory = find(path)
    if directory is None:
        return nothing(KIND, path, f"there is no {DATABASE} in {path}.")
    _refuse(directory, out)
    chart = Chart(KIND, path, SEEN_AS)
    parent = os.path.dirname(os.path.abspath(out))
    os.makedirs(parent, exist_ok=True)
    scratch = tempfile.mkdtemp(prefix=".holdfast-tmp-", dir=parent)
    try:
        os.chmod(scratch, 0o777 & ~_umask())
        writer = _Writer(scratch)
        try:
            with opened(directory) as db:
                _write_all(chart, db, writer)
        except Broken as e:
            _failed(chart, directory, e)
        if chart.wrong and not writer.notes:
            return chart.report(f"Nothing could be saved; {out} was not made.")
        # One call for all files: a hundred thousand times fsync would take minutes.
        os.sync()
        os.rename(scratch, out)
        sync_directory(parent)
    except OSError as e:
        if e.errno == errno.ENOSPC:
            raise DiskFull(f"The disk has no room for the notes; {out} was not made.") from e
        raise
    finally:
        if os.path.isdir(scratch):
            shutil.rmtree(scratch)
    chart.done = True
    chart.plan.append(Step("write", out, writer.written))
    chart.remarks.append(f"`holdfast init {shown(out)}` makes the folder a vault.")
    rows = sum(s["rows"] for s in chart.seen)
    return chart.report(f"{rows:,} entries saved in {writer.notes:,} notes in {out}.")


def _refuse(directory: str, out: str) -> None:
    inside = os.path.realpath(directory)
    if os.path.commonpath([inside, os.path.realpath(out)]) == inside:
        raise Conflict(f"{out} lies in the directory that is to be saved.", hint="Name a folder somewhere else.")
    if not os.path.lexists(out):
        return
    if os.path.islink(out) or not os.path.isdir(out) or os.listdir(out):
        raise Conflict(f"{out} exists and is no empty folder.", hint="Name a new folder, or empty this one.")


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _failed(chart: Chart, directory: str, error: Exception) -> None:
    place = shown(os.path.join(directory, DATABASE))
    chart.wrong.append(
        Finding(
            "database", None, f"The database {place} cannot be read: {shown(error)}.",
            "`sqlite3 chroma.sqlite3 .recover` on a copy may get more out of it.",
        )
    )  # fmt: skip


@dataclass(slots=True)
class _Tally:
    """What was saved of one collection."""

    rows: int = 0
    notes: int = 0
    joined: int = 0
    without_document: int = 0
    without_metadata: int = 0


@dataclass(slots=True)
class _Writer:
    """Writes notes under names that are safe and used once."""

    root: str
    notes: int = 0
    written: int = 0
    too_large: int = 0
    names: apsw.Connection = field(default_factory=lambda: apsw.Connection(""))

    def __post_init__(self) -> None:
        self.names.execute(_NAMES)
        self.names.execute("BEGIN")

    def write(self, folder: str, wanted: str, note: Note) -> None:
        os.makedirs(os.path.join(self.root, folder), exist_ok=True)
        name = self._name(folder, wanted, note.rows[0].key)
        self._write(os.path.join(folder, f"{name}.md"), note.content)
        if note.companion:
            self._write(os.path.join(folder, f"{name}.json"), note.companion)
        self.notes += 1
        self.too_large += len(note.content) > _NOTE_BYTES

    def _write(self, path: str, content: bytes) -> None:
        with open(os.path.join(self.root, path), "xb") as file:
            file.write(content)
        self.written += len(content)

    def _name(self, folder: str, wanted: str, key: str) -> str:
        """A name that no other note of the folder has, on file systems that fold case too."""
        stem, name, n = safe_name(wanted), "", 0
        while True:
            name = (stem, f"{stem}-{fingerprint(key)}")[n] if n < 2 else f"{stem}-{fingerprint(key)}-{n}"
            taken = self.names.execute(
                "INSERT OR IGNORE INTO names VALUES (?, ?) RETURNING 1", (folder.casefold(), name.casefold())
            )
            if taken.get:
                return name
            n += 1


def _write_all(chart: Chart, db: apsw.Connection, writer: _Writer) -> None:
    try:
        found = collections(db)
    except Broken as e:
        found = _by_segment(db)
        chart.unknown.append(f"The list of collections cannot be read ({shown(e)}); segments stand in its place.")
    reader = Reader(db, found)
    tallies = [_Tally() for _ in found]
    reader.prepare()
    for place, rows in _grouped(reader.rows()):
        collection, tally = found[place.collection], tallies[place.collection]
        parts = [safe_name(part) for part in (collection.name, place.wing, place.room) if part]
        for note in notes_of(rows, collection.name, place.source):
            writer.write(os.path.join(*parts), _stem(place.source or rows[0].key), note)
            tally.notes += 1
        tally.rows += len(rows)
        tally.joined += len(rows) if len(rows) > 1 else 0
        tally.without_document += sum(r.document is None for r in rows)
        tally.without_metadata += sum(not r.metadata for r in rows)
    for n, (collection, tally) in enumerate(zip(found, tallies, strict=True)):
        _tell(chart, collection, tally, reader.late[n])
    _tell_unread(chart, reader.unread)
    if reader.strays:
        chart.remarks.append(f"{reader.strays:,} rows of deleted collections were left out.")
    if writer.too_large:
        chart.remarks.append(f"{writer.too_large:,} notes are over 16 MiB: Holdfast lists them and does not open them.")


def _by_segment(db: apsw.Connection) -> list[Collection]:
    """Collections made up from the rows' segments, where their own table cannot be read."""
    segments = [str(s) for (s,) in db.execute("SELECT DISTINCT segment_id FROM embeddings")]
    return [Collection(s, s, None, rows=s) for s in segments]


def _stem(text: str) -> str:
    """The name of a note for a source or id: its last part, without the ending of a text file."""
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    for ending in (".md", ".markdown", ".txt"):
        last = last.removesuffix(ending)
    return last


def _grouped(rows: Iterator[tuple[Place, Row]]) -> Iterator[tuple[Place, list[Row]]]:
    """Neighbours of one source together, as many as one note can hold."""
    group: list[Row] = []
    at: Place | None = None
    size = weight = 0
    for place, row in rows:
        length = len(row.document or b"")
        full = size + length > BODY_BYTES or weight + row.weight > 4 * HEADER_BYTES
        if at is not None and group and (place != at or place.source is None or full):
            yield at, group
            group, size, weight = [], 0, 0
        at = place
        group.append(row)
        size += length
        weight += row.weight
    if at is not None and group:
        yield at, group


def _tell(chart: Chart, collection: Collection, tally: _Tally, late: int) -> None:
    name = shown(collection.name)
    chart.seen.append(
        {
            "collection": name,
            "segment": collection.rows or "",
            "rows": tally.rows,
            "notes": tally.notes,
            "joined": tally.joined,
            "without_document": tally.without_document,
            "without_metadata": tally.without_metadata,
            "from_queue": late,
            "what": f"{tally.rows:,} entries in {tally.notes:,} notes.",
        }
    )
    if tally.without_document:
        chart.remarks.append(f"{tally.without_document:,} entries of {name} have no document; their notes say so.")
    if tally.without_metadata:
        chart.remarks.append(f"{tally.without_metadata:,} entries of {name} have no metadata.")
    if late:
        chart.remarks.append(f"{late:,} changes of {name} were still in the queue and are in the notes.")


def _tell_unread(chart: Chart, unread: Counter[str]) -> None:
    for part, count in unread.items():
        chart.wrong.append(
            Finding(
                "unread", None, f"The database is damaged: {count:,} {part} could not be read.",
                "`sqlite3 chroma.sqlite3 .recover` on a copy may get more out of it.",
            )
        )  # fmt: skip

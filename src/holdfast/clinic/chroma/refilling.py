"""Puts the vectors of old graph files back into the queue, so that chromadb builds a new graph without embedding.

Measured with chromadb 1.5.9: a segment without files starts again from the first row of `embeddings_queue`. So each
vector that exists only in the files goes back there, under a free number before all that waits, and the mark of how far
the graph had come is taken away. The database is copied first, the files are set aside, not deleted. If anything
fails before the commit, the directory is as it was but for the copy.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import apsw
import numpy as np

from holdfast.clinic.chroma.aside import attend, changing, move, sync_directory
from holdfast.clinic.chroma.case import BEHIND, LOST, Case, shown
from holdfast.clinic.chroma.examining import KIND, SEEN_AS, Broken, cases, entry
from holdfast.clinic.chroma.graph import ELEMENTS, LENGTHS, MOST_DIMENSIONS, Graph, read
from holdfast.clinic.chroma.place import DATABASE, find, opened
from holdfast.clinic.chroma.tables import ADD, row_ids, waiting
from holdfast.clinic.report import Chart, Report, Step, nothing
from holdfast.errors import Conflict

_BLOCK = 4 << 20
_LINKS0 = 32
"""chromadb's default number of links on the ground level, where the header is gone."""


def refill(path: str, *, apply: bool, force: bool) -> Report:
    """Have chromadb build new graphs for sick segments from the vectors in their files, and in those set aside.

    Without `apply` it says how many vectors would be saved and which rows would still need embedding again. Raises
    VaultBusy while another process has the files open, unless forced.
    """
    directory = find(path)
    if directory is None:
        return nothing(KIND, path, f"there is no {DATABASE} in {path}.")
    chart = Chart(KIND, path, SEEN_AS)
    attend(chart, directory, apply=apply, force=force)
    found = [case for case, _ in cases(directory, chart)]
    chart.seen += [entry(case) for case in found]
    sound = not chart.wrong and all(case.is_sound for case in found)
    sick = [(case, savable) for case in found if case.can_be_refilled and (savable := _gain(directory, case))]
    if not sick:
        return chart.report("Nothing to refill: no files hold vectors that the graph is without.", ok=sound)
    if apply:
        with changing(directory):
            backup = _back_up(directory)
        chart.plan.append(Step("copy", backup, os.stat(backup).st_size))
        chart.remarks.append(
            f"Start the program as ever: it builds the new graph when it opens, which takes a while. {backup} is the"
            f" database as it was; delete it when all is well."
        )
    for case, savable in sick:
        with changing(directory):
            saved = _refill(directory, case) if apply else savable
        _tell(chart, directory, case, saved, apply=apply)
    chart.done = apply
    n = f"{len(sick)} {'segment' if len(sick) == 1 else 'segments'}"
    if apply:
        return chart.report(f"{n} refilled.", ok=not chart.loses)
    return chart.report(f"{n} would be refilled; `--apply` does it.", ok=sound)


def _tell(chart: Chart, directory: str, case: Case, saved: int, *, apply: bool) -> None:
    gone = case.rows - case.kept - saved
    name = shown(case.collection.name)
    chart.plan.append(Step("refill", os.path.join(directory, case.segment), case.graph.bytes))
    chart.remarks.append(f"Collection {name}: {saved:,} vectors {'went' if apply else 'would go'} back into the queue.")
    if case.aside:
        chart.unknown.append(
            "Vectors out of files that were set aside are as old as those; later updates are not in them."
        )
    if gone:
        chart.loses.append(
            f"{gone:,} rows of collection {name} have no vector in the files; they must be embedded again."
        )


def _gain(directory: str, case: Case) -> int:
    """How many vectors a refill would save; 0 where search would find no more than before."""
    with opened(directory) as db:
        saved = sum(1 for _ in _vectors(directory, case, _wanted(db, case)))
    if case.verdict in (BEHIND, LOST) and case.rows - case.kept - saved >= case.missing and case.skips_after is None:
        return 0
    return saved


def _back_up(directory: str) -> str:
    source = os.path.join(directory, DATABASE)
    stem = f"{source}.before-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    backup, n = stem, 0
    while os.path.lexists(backup):
        n += 1
        backup = f"{stem}-{n}"
    # SQLite makes the copy, so that what a log or journal still holds is in it.
    try:
        with apsw.Connection(source) as db, apsw.Connection(backup) as copy, copy.backup("main", db, "main") as work:
            work.step()
    except (apsw.FullError, apsw.BusyError, apsw.CantOpenError, apsw.ReadOnlyError):
        _discard(backup)
        raise
    except Broken as e:
        _discard(backup)
        raise Conflict(
            f"The database cannot be copied: {e}.",
            hint="Save the texts with `--rescue OUT`; a damaged database is not refilled.",
        ) from e
    shutil.copystat(source, backup)
    sync_directory(directory)
    return backup


def _discard(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _wanted(db: apsw.Connection, case: Case) -> set[str]:
    """The ids of the rows whose vector a graph rebuilt from the queue alone would not have."""
    c = case.collection
    kept = waiting(db, c, {}, 0).kept
    return {key for key in row_ids(db, c.rows) if key not in kept} if c.rows else set()


def _refill(directory: str, case: Case) -> int:
    """Put the vectors of one segment into the queue, then set its files aside. Returns how many were put there."""
    c = case.collection
    with apsw.Connection(os.path.join(directory, DATABASE), flags=apsw.SQLITE_OPEN_READWRITE) as db:
        db.set_busy_timeout(5_000)
        with db:
            numbers = _free_numbers(db, case)
            topic = c.topics[0] if c.topics else f"persistent://default/default/{c.id}"
            saved = 0
            statement = (
                "INSERT INTO embeddings_queue (seq_id, operation, topic, id, vector, encoding, metadata)"
                " VALUES (?, ?, ?, ?, ?, 'FLOAT32', NULL)"
            )
            for key, vector in _vectors(directory, case, _wanted(db, case)):
                number = next(numbers, None)
                if number is None:
                    raise Conflict(
                        f"The queue of collection {shown(c.name)} has no free numbers before its first change.",
                        hint="Nothing was changed; save the texts with `--rescue OUT` and have them embedded again.",
                    )
                db.execute(statement, (number, ADD, topic, key, vector))
                saved += 1
            db.execute("DELETE FROM max_seq_id WHERE segment_id = ?", (c.vector,))
        # Only now: a stop in between leaves old files and a queue that holds their vectors too, which harms nothing.
        if case.can_be_set_aside:
            move(directory, case)
    return saved


def _free_numbers(db: apsw.Connection, case: Case) -> Iterator[int]:
    """Unused sequence numbers before all that waits for this collection, so that what waits is applied after."""
    c = case.collection
    if c.rows_seq is None:
        return
    firsts = [db.execute("SELECT min(seq_id) FROM embeddings_queue WHERE topic = ?", (t,)).get for t in c.topics]
    end = min([n for n in firsts if isinstance(n, int)], default=c.rows_seq + 1)
    used = {n for (n,) in db.execute("SELECT seq_id FROM embeddings_queue WHERE seq_id < ?", (end,))}
    yield from (n for n in range(1, end) if n not in used)


def _vectors(directory: str, case: Case, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Id and float32 bytes of each wanted row: from the graph, else from what was set aside, newest first."""
    for name in (case.segment, *case.aside):
        folder = os.path.join(directory, name)
        graph = case.graph if name == case.segment else read(folder)
        if graph.entries is not None and wanted:
            labels = {label: key for key, label in graph.entries.labels.items() if key in wanted}
            for key, vector in _vectors_in(folder, graph, case, labels):
                wanted.discard(key)
                yield key, vector


def _vectors_in(folder: str, graph: Graph, case: Case, left: dict[int, str]) -> Iterator[tuple[str, bytes]]:
    header, c = graph.header, case.collection
    dimension = header.dimension if header else c.dimension
    if not dimension or (c.dimension or dimension) != dimension or dimension > MOST_DIMENSIONS:
        return
    start = 4 * (header.links0 if header else _LINKS0) + 4
    label_at = start + 4 * dimension
    element = label_at + 8
    per_block = max(1, _BLOCK // element)
    with _open(folder, ELEMENTS) as elements, _open(folder, LENGTHS, needed=c.space == "cosine") as lengths:
        while block := elements.read(per_block * element):
            whole = len(block) // element
            rows = np.frombuffer(block, np.uint8, whole * element).reshape(whole, element)
            vectors = rows[:, start:label_at].copy().view(np.float32)
            norms = np.frombuffer(lengths.read(4 * whole), np.float32)
            # hnswlib keeps vectors of a cosine space at length 1, their lengths apart; other spaces leave those unset.
            scale = np.ones(whole, np.float32)
            scale[: len(norms)] = np.where(np.isfinite(norms) & (norms > 0), norms, 1)
            dead = (rows[:, 2] & 1).astype(bool)
            good = np.isfinite(vectors).all(axis=1) & ~dead
            labels = rows[:, label_at:].copy().view(np.uint64)[:, 0]
            for n in np.flatnonzero(good):
                key = left.pop(int(labels[n]), None)
                if key is not None:
                    yield key, (vectors[n] * scale[n]).astype("<f4").tobytes()


def _open(folder: str, name: str, *, needed: bool = True) -> BinaryIO:
    """The file `name`, or an empty one where it is not needed or not there."""
    if not needed:
        return io.BytesIO()
    try:
        fd = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return io.BytesIO()
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return io.BytesIO()
    return os.fdopen(fd, "rb")

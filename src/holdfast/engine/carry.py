"""Vectors from elsewhere into an index: from the generation before, from one that was set aside, from an export.

A vector is of a text, not of a place: whatever live chunk has that text takes it, and no text is embedded twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from holdfast.engine.workspace import Workspace
from holdfast.errors import EmbedderDown, IndexFault, NotFound, UserError
from holdfast.files.fs import TEMP_PREFIX
from holdfast.index.base import Index
from holdfast.index.sqlite.salvage import rows_of
from holdfast.index.vectors import archive
from holdfast.index.vectors.codes import VectorRow
from holdfast.results import Carried

BATCH = 512
Rows = Iterable[tuple[str, int, VectorRow]]
"""(identity of the embedder, dimension, row)"""


@dataclass(slots=True)
class _Count:
    read: int = 0
    stored: int = 0


def carry(index: Index, given: Rows, only: str | None = None) -> _Count:
    """Put those of the `given` vectors into `index` that its chunks lack; `only` of one embedder, if named."""
    count = _Count()
    batches: dict[tuple[str, int], list[VectorRow]] = {}

    def store(key: tuple[str, int]) -> None:
        rows = batches.pop(key)
        lacking = index.vectors.lacking(index.vectors.find(*key) or 0, (r.input for r in rows))
        fresh = [r for r in rows if r.input in lacking and index.vectors.is_wanted(r.input)]
        if fresh:
            count.stored += index.vectors.put(index.vectors.add_embedder(*key), fresh)

    for identity, dimension, row in given:
        count.read += 1
        if only is not None and identity != only:
            continue
        rows = batches.setdefault((identity, dimension), [])
        rows.append(row)
        if len(rows) >= BATCH:
            store((identity, dimension))
    for key in list(batches):
        store(key)
    return count


def rows_in(index: Index, identity: str = "") -> Iterator[tuple[str, int, VectorRow]]:
    """Every vector of an index that can be read: of the live embedder, or also of the one with this identity."""
    live = index.vectors.live()
    known = [(live.id, live.identity, live.dimension)] if live is not None else []
    other = index.vectors.find(identity)
    if other is not None and (live is None or live.id != other):
        known.append((other, identity, 0))
    for id_, name, dimension in known:
        after = 0
        while found := index.vectors.rows(id_, after, BATCH):
            for after, row in found:  # noqa: B007 - `after` is where the next page begins
                if row.is_whole:
                    yield name, dimension or len(row.code), row


def carry_over(ws: Workspace, new: Index) -> None:
    """The vectors of the generations before, as far as they can be read; the others are made again.

    Those that answer questions first, so that they still do when only some are there of the embedder that is to
    replace theirs. What is made while they are read is taken along by who makes it (engine/embed.py).
    """
    stored = 0
    try:
        names = _identities(ws)
        for path in ws.generations.databases(but=new.generation):
            stored += sum(carry(new, rows_of(path), name).stored for name in names)
    except (IndexFault, EmbedderDown) as e:
        ws.count(f"carry_{e.kind}", e)
    if stored:
        write_copy(ws, new)


def _identities(ws: Workspace) -> list[str]:
    """Whose vectors are of use: of the embedder that answers now, and of the one that is to."""
    names: dict[str, None] = {}
    try:
        index = ws.index()
        live = index.vectors.live() if index is not None else None
        names |= dict.fromkeys([live.identity] if live is not None else [])
    except IndexFault as e:
        ws.count(f"carry_{e.kind}", e)
    embedder = ws.embedder()
    names |= dict.fromkeys([embedder.identity] if embedder is not None else [])
    return list(names)


def write_copy(ws: Workspace, index: Index) -> None:
    """Write the scan copy; without it everything works, and a new process takes longer to begin."""
    try:
        index.vectors.write_copy()
    except OSError:
        ws.count("scan_copy_failed")


def salvage_quarantine(ws: Workspace, index: Index, identity: str) -> None:
    """Once for each generation: the vectors of what was set aside before it was made."""
    if index.meta("salvaged"):
        return
    for path in ws.generations.quarantined():
        carry(index, rows_of(path, identity), identity)
    index.put_meta({"salvaged": 1})


def salvage(ws: Workspace, paths: Iterable[str]) -> Carried:
    """Vectors from exports or databases at `paths`, or from what was set aside if none is named.

    Those of another embedder than the settings name are of no use, and are not taken. Raises VaultBusy while another
    process embeds.
    """
    index = ws.index()
    if index is None:
        raise NotFound("There is no index yet.", hint="Run `holdfast sync --no-vectors` first.")
    total, embedder = _Count(), ws.embedder()
    only = embedder.identity if embedder is not None else None
    with ws.embedding():
        for path in list(paths) or ws.generations.quarantined():
            # Pages are looked at one by one in a file that is not open here.
            is_open = os.path.realpath(path) == os.path.realpath(index.path)
            found = carry(index, _rows_of_file(path, None if is_open else only or ""), only)
            total.read += found.read
            total.stored += found.stored
        if total.stored:
            write_copy(ws, index)
    return Carried(total.read, total.stored)


def _rows_of_file(path: str, meant: str | None) -> Iterator[tuple[str, int, VectorRow]]:
    if path.endswith(".db"):
        if not os.path.exists(path):
            raise NotFound(f"There is no file {path}.", hint="Name an export, or the .db file of an index.")
        yield from rows_of(path, meant)
        return
    try:
        file = open(path, "rb")  # noqa: SIM115
    except OSError as e:
        raise NotFound(f"{path} cannot be read: {e.strerror}.", hint="Name an export, or the .db of an index.") from e
    with file:
        identity, dimension = archive.read_head(file)
        for row in archive.read_rows(file):
            if len(row.code) == dimension:
                yield identity, dimension, row


def export(ws: Workspace, path: str) -> Carried:
    """Write the vectors of the live embedder to a file at `path`, whole or not at all."""
    index = ws.index()
    live = index.vectors.live() if index is not None else None
    if index is None or live is None:
        raise NotFound("There are no vectors yet.", hint="Run `holdfast sync` first.")
    folder, name = os.path.split(os.path.abspath(path))
    temp = f"{folder}/{TEMP_PREFIX}{name}"
    count = 0
    try:
        with open(temp, "wb") as file:
            archive.write_head(file, live.identity, live.dimension)
            for _, _, row in rows_in(index):
                archive.write_row(file, row)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, path)
    except OSError as e:
        if os.path.exists(temp):
            os.unlink(temp)
        raise UserError(f"{path} cannot be written: {e.strerror}.", hint="Name a file in a folder of yours.") from e
    return Carried(count, count)

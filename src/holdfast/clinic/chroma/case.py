"""The verdict on one collection: its rows in the database against the entries of its graph, by id.

Counts are never compared: ghosts and gaps cancel in them. A row that waits in the queue is no gap, an id whose delete
waits is no ghost, and files without an id list are none to chromadb, which starts again from the queue.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import apsw
import numpy as np

from holdfast.clinic.chroma.graph import FILES, IDS, Graph
from holdfast.clinic.chroma.graph import read as read_graph
from holdfast.clinic.chroma.place import DATABASE, folders, set_aside
from holdfast.clinic.chroma.tables import Collection, last_row_seq, row_ids, waiting

EXAMPLES = 1_000
"""How many ids of a gap are kept for the evidence."""

HEALTHY, BEHIND, AHEAD, DAMAGED, LOST, EMPTY = "healthy", "behind", "ahead", "damaged", "lost", "empty"


@dataclass(slots=True)
class Case:
    """What was found about one collection.

    `missing` rows are neither in the graph nor coming from the queue; `ghosts` are in the graph and no row; `spared` of
    the missing still have a vector in the queue, in a part that chromadb will not read again; `kept` rows would come
    back from the queue if the graph files were gone.
    """

    collection: Collection
    graph: Graph
    verdict: str = EMPTY
    rows: int = 0
    entries: int = 0
    missing: int = 0
    ghosts: int = 0
    queued: int = 0
    kept: int = 0
    spared: int = 0
    only_in_graph: int = 0
    missing_ids: list[str] = field(default_factory=list)
    ghost_ids: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    is_only_bloated: bool = False
    is_torn: bool = False
    aside: tuple[str, ...] = ()
    """Folders of this segment that were set aside, the newest first."""
    skips_after: int | None = None
    """The poisoned sequence number up to which chromadb skips all that is written."""

    @property
    def is_sound(self) -> bool:
        """Nothing has to be done about it."""
        return self.verdict in (HEALTHY, EMPTY)

    @property
    def segment(self) -> str:
        return self.collection.vector or ""

    @property
    def can_be_set_aside(self) -> bool:
        """Whether there are files to set aside and a reason to; never where the files are sound."""
        if not self.graph.is_there or not self.graph.files or self.is_only_bloated:
            return False
        return self.verdict in (DAMAGED, BEHIND, AHEAD)

    @property
    def can_be_refilled(self) -> bool:
        """Whether its files, or those set aside from it, may hold vectors out of which a better graph can be built."""
        if self.is_only_bloated or self.collection.rows_seq is None:
            return False
        gains = self.can_be_set_aside and self.entries > 0 and (self.verdict in (DAMAGED, AHEAD) or self.spared > 0)
        return gains or (self.verdict in (DAMAGED, BEHIND, LOST) and bool(self.aside))


def witness(directory: str, collection: Collection) -> list[tuple[int, int]]:
    """Size and time of what a verdict is made of: if they change meanwhile, it was made of two moments."""
    folder = os.path.join(directory, collection.vector or "")
    out = []
    for path in (os.path.join(directory, DATABASE), *(os.path.join(folder, name) for name in FILES)):
        try:
            st = os.lstat(path)
        except OSError:
            continue
        out.append((st.st_size, st.st_mtime_ns))
    return out


def look(db: apsw.Connection, directory: str, collection: Collection) -> Case:
    """The case of `collection`. Errors of the database pass through."""
    graph = read_graph(os.path.join(directory, collection.vector)) if collection.vector else Graph()
    case = Case(collection, graph)
    entries = graph.entries
    labels = entries.labels if entries else {}
    start = 0
    if entries is not None and labels:
        start = collection.vector_seq if collection.vector_seq is not None else entries.max_seq_id or 0
    queue = waiting(db, collection, labels, start)
    case.entries, case.queued = len(labels), queue.unapplied
    unseen = set(labels)
    coming = {key for key, there in queue.late.items() if there}

    def row(key: str) -> None:
        case.rows += 1
        unseen.discard(key)
        coming.discard(key)
        is_kept = key in queue.kept
        case.kept += is_kept
        if not queue.late.get(key, key in labels):
            case.missing += 1
            case.spared += is_kept
            if len(case.missing_ids) < EXAMPLES:
                case.missing_ids.append(key)
        elif key in labels and not is_kept:
            case.only_in_graph += 1

    if collection.rows:
        late = dict(queue.late_rows)
        for key in row_ids(db, collection.rows):
            if late.pop(key, True):
                row(key)
        for key, there in late.items():
            if there:
                row(key)
    ghosts = {key for key in unseen if queue.late.get(key, True)} | coming
    case.ghosts, case.ghost_ids = len(ghosts), sorted(ghosts)[:EXAMPLES]
    mine = [name for name in folders(directory).aside if (set_aside(name) or ("",))[0] == case.segment]
    case.aside = tuple(sorted(mine, reverse=True))
    _poison(db, case, queue.last_seq)
    _judge(case)
    return case


def _poison(db: apsw.Connection, case: Case, last_seq: int) -> None:
    """Whether the graph claims to have applied more than was ever written (a known fault of old conversions)."""
    c = case.collection
    if c.vector_seq is None or c.rows is None or not case.rows:
        return
    highest = max(last_seq, c.rows_seq or 0)
    if c.vector_seq > highest and c.vector_seq > last_row_seq(db, c.rows):
        case.skips_after = c.vector_seq


def _judge(case: Case) -> None:
    graph = case.graph
    if graph.entries is None and IDS not in graph.files and not (graph.is_there and not graph.files and graph.wrong):
        _judge_unlisted(case)
        return
    _compare_elements(case)
    case.is_only_bloated = bool(graph.excess) and not (
        graph.wrong or case.wrong or case.is_torn or case.missing or case.ghosts
    )
    if graph.excess:
        case.wrong.append(
            f"link_lists.bin is {graph.excess:,} bytes longer than its {graph.header.count if graph.header else 0:,}"
            f" elements can need"
        )
    case.wrong[:0] = graph.wrong
    if case.wrong:
        case.verdict = DAMAGED
    elif case.missing:
        case.verdict = BEHIND
    elif case.ghosts:
        case.verdict = AHEAD
    else:
        case.verdict = HEALTHY if case.rows or case.entries else EMPTY


def _judge_unlisted(case: Case) -> None:
    """Without an id list the graph files say nothing to chromadb: it starts a new graph from the queue."""
    graph = case.graph
    count = graph.header.count if graph.header else 0
    if not case.missing:
        case.verdict = HEALTHY if case.rows else EMPTY
        if count or graph.wrong:
            case.remarks.append(
                f"The first flush of collection {shown(case.collection.name)} was cut off; nothing is lost, for all its"
                f" vectors are still in the queue, and chromadb starts these files anew."
            )
        return
    if count or graph.wrong:
        case.verdict = DAMAGED
        case.wrong.append(f"{IDS} is missing: nothing says whose the {count:,} vectors in the files are")
        case.wrong += graph.wrong
    else:
        case.verdict = LOST


def _compare_elements(case: Case) -> None:
    """Every id must have its element in the graph, and every live element its id."""
    graph, entries = case.graph, case.graph.entries
    if entries is None or graph.header is None or graph.unchecked:
        return
    listed = np.fromiter(entries.labels.values(), np.uint64, len(entries.labels))
    gone = int(np.count_nonzero(~np.isin(listed, graph.live)))
    newer = graph.live[graph.live > entries.added]
    stray = int(np.count_nonzero(~np.isin(graph.live, listed))) - len(newer)
    case.is_torn = graph.header.count > entries.added and bool(case.queued)
    if gone and not graph.wrong:
        case.wrong.append(f"{gone:,} ids have no element in the graph")
    if stray > 0 and not case.is_torn:
        case.wrong.append(f"{stray:,} elements of the graph have no id: a search that meets one fails")
    if len(newer) and not case.queued:
        case.wrong.append(f"{len(newer):,} elements of the graph are newer than its id list")
    if case.is_torn and not graph.wrong and not case.wrong:
        case.remarks.append(
            f"A flush of collection {shown(case.collection.name)} was cut off before its id list was written; nothing"
            f" is lost, for the queue holds what it wrote, and chromadb does it again."
        )


def shown(name: Any) -> str:
    """A name from somebody else's file, fit for a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(name))[
        :200
    ]

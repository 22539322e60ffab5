"""What is wrong with the links of the whole vault: targets that lead nowhere or to several notes, notes on their own.

One pass over all links in their order on disk; a target is resolved once for each thing that it can mean, so the time
is linear in the number of links, also where a thousand notes share a name. What is held grows with the distinct
targets and with the notes, not with the links.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

from holdfast.engine.lines import check_limit
from holdfast.engine.links import Folders, Others
from holdfast.engine.resolve import Resolver
from holdfast.errors import QueryError
from holdfast.graph import Problems, Spot, Tangle
from holdfast.index.base import Index
from holdfast.index.graph import Step
from holdfast.model import fold, key_path, show_path
from holdfast.text.names import bare, join

STEPS = 2_000
PLACES = 3


@dataclass(slots=True)
class _Group:
    """Links with one target: how many, how it is written, where the first of them stand."""

    target: str
    candidates: tuple[str, ...] = ()
    links: int = 0
    places: list[tuple[bytes, int]] = field(default_factory=list)

    def add(self, target: str, key: bytes, line: int) -> None:
        self.target = min(self.target, target)
        self.links += 1
        if len(self.places) < PLACES or (key, line) < self.places[-1]:
            insort(self.places, (key, line))
            del self.places[PLACES:]

    def shown(self) -> Tangle:
        spots = tuple(Spot(show_path(key_path(key)), line) for key, line in self.places)
        return Tangle(self.target, self.links, spots, self.candidates)


class _Walk:
    """One pass over the links. Notes that no resolved link joins to another are orphans; of those that are too large to
    be opened nothing is known."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.keys = dict(index.graph.note_keys())
        self._resolver, self.others, self._folders = Resolver(index), Others(index), Folders()
        self._meant: dict[tuple[str, str | None], int | _Group | None] = {}
        self.dangling: dict[str, _Group] = {}
        self.ambiguous: dict[tuple[str, tuple[str, ...]], _Group] = {}
        self.joined: set[int] = set()
        self.links = 0

    def run(self) -> None:
        at = (-1, -1)
        while found := self._index.graph.steps(at, STEPS):
            self._resolver.learn({step[3] for _, step in found}, self._index.graph.named)
            for _, step in found:
                if step[2]:
                    self._take(step)
            at = found[-1][0]

    def _take(self, step: Step) -> None:
        note, line, target, _, relative = step
        key = self.keys.get(note)
        if key is None:
            return
        self.links += 1
        folder = self._folders.of(key) if relative else ""
        asked = (target, folder if relative else None)
        if asked not in self._meant:
            self._meant[asked] = self._mean(target, folder, bool(relative))
        meant = self._meant[asked]
        if isinstance(meant, _Group):
            meant.add(_spelled(target, folder, bool(relative)), key, line)
        elif meant is not None and meant != note:
            self.joined |= {note, meant}

    def _mean(self, target: str, folder: str, relative: bool) -> int | _Group | None:
        """The note that it leads to, None for a file that is no note, else the group of what it belongs to."""
        notes = self._resolver.resolve(target, folder, relative=relative)
        if len(notes) == 1:
            return notes[0]
        paths = tuple(show_path(key_path(self.keys[n])) for n in notes)
        if not paths:
            paths = tuple(self.others.find(target, folder, relative=relative))
            if len(paths) == 1:
                return None
        spelled = _spelled(target, folder, relative)
        if paths:
            return self.ambiguous.setdefault((fold(spelled), paths), _Group(spelled, paths))
        return self.dangling.setdefault(fold(bare(spelled)), _Group(spelled))


def _spelled(target: str, folder: str, relative: bool) -> str:
    """The target as written, a relative one as the path that it means."""
    return (join(folder, target) if relative else None) or target.strip("/") or target


def problems(index: Index, *, limit: int = 50, after: str = "") -> Problems:
    """Dangling targets, the most frequent first, ambiguous ones, and orphans: `limit` of them behind `after`.

    Each page costs a pass over all links.
    """
    check_limit(limit)
    if after and (not after.isdecimal() or len(after) > 9):
        raise QueryError(f"“{after[:80]}” is no place to go on from.", hint="Pass the `next` of the page before.")
    with index.snapshot():
        walk = _Walk(index)
        walk.run()
        unread = set(walk.others.keys)
    dangling = sorted(walk.dangling.values(), key=lambda g: (-g.links, g.target))
    ambiguous = sorted(walk.ambiguous.values(), key=lambda g: (-g.links, g.target, g.candidates))
    orphans = [key for note, key in walk.keys.items() if note not in walk.joined and key not in unread]
    begin = int(after or 0)
    end = begin + limit
    sizes = len(dangling), len(dangling) + len(ambiguous), len(dangling) + len(ambiguous) + len(orphans)
    return Problems(
        dangling=tuple(g.shown() for g in dangling[begin:end]),
        ambiguous=tuple(g.shown() for g in ambiguous[max(0, begin - sizes[0]) : max(0, end - sizes[0])]),
        orphans=tuple(show_path(key_path(key)) for key in orphans[max(0, begin - sizes[1]) : max(0, end - sizes[1])]),
        dangling_count=len(dangling),
        ambiguous_count=len(ambiguous),
        orphan_count=len(orphans),
        links=walk.links,
        next=str(end) if end < sizes[2] else None,
    )

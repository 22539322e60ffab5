"""A note and what is linked with it, step by step, cut to a number of tokens.

Breadth first, from what links say in both directions. Of each step the best notes are kept and gone on from: those with
the most weight of links to the step before (a relation weighs RELATION, any other link 1), then those that changed
last, then by path. Everything is bounded: how many links of a note are looked at, in each direction, how many notes are
kept and gone on from, and texts are read only as far as the budget reaches. What a bound left out is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import translate

from holdfast.engine.budget import size_bytes
from holdfast.engine.lines import note_of, shown_line
from holdfast.engine.links import Folders, names_to
from holdfast.engine.passages import Passage, read_passages
from holdfast.engine.rank import Ranked
from holdfast.engine.resolve import Resolver
from holdfast.engine.workspace import Workspace
from holdfast.errors import NotFound, QueryError
from holdfast.graph import Context, Piece, Why
from holdfast.index.asking import ChunkRow
from holdfast.index.base import Index, NoteRow
from holdfast.index.graph import Tie
from holdfast.model import fold, key_path, show_path
from holdfast.text.permalink import permalink

RELATION = 3
DEPTH_MAX = 5
SEEDS = 20
STARTS = 30
"""So many notes of a step are gone on from."""
LINKS = 300
"""So many links of a note are looked at in each direction: a hub has ten thousand, of which few can be shown."""
KEPT = 100
"""So many notes of a step are kept."""
WHYS = 3
READ = 25
FIRST_PASSAGES = 4
"""So many passages of the notes that are asked for are shown, if they are not more."""


@dataclass(slots=True)
class _Near:
    """A note that was come to, and the links that led there."""

    note: int
    distance: int
    weight: int = 0
    links: int = 0
    whys: list[tuple[int, Tie, bool]] = field(default_factory=list)
    """(weight, link, whether it points here), the heaviest first."""

    def add(self, tie: Tie, points_here: bool) -> None:
        weight = RELATION if tie.relation not in (None, "links_to") else 1
        self.weight += weight
        self.links += 1
        self.whys.append((weight, tie, points_here))
        self.whys.sort(key=lambda w: (-w[0], w[1].note, w[1].ord))
        del self.whys[WHYS:]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A passage to show, and the line of it where a link stands (0: none), as the index knows it.

    `first` is the line where the passage began then.
    """

    near: _Near
    ord: int
    line: int
    first: int = 0


def context(
    ws: Workspace, index: Index, identifiers: Sequence[str], *, depth: int = 2, budget: int | None = None
) -> Context:
    """The notes that `identifiers` name, and those around them up to `depth` links away, within `budget` tokens.

    An identifier is a path, a permalink, memory://permalink, a unique title, or has a `*` and matches paths or
    permalinks. Notes one link away show the passage that is linked or links; those further away a line.
    """
    budget = ws.config.budget_tokens if budget is None else budget
    if not 0 <= depth <= DEPTH_MAX:
        raise QueryError(f"The depth is {depth}.", hint=f"Ask for 0 to {DEPTH_MAX} links away.")
    if budget < 1:
        raise QueryError(f"The budget is {budget} tokens.", hint="Allow for at least one token.")
    if not identifiers:
        raise QueryError("No note was named.", hint="Name a path, a permalink, a title, or memory://folder/*.")
    degraded: list[str] = []
    with index.snapshot():
        seeds = _seeds(ws, index, identifiers, degraded)
        near = _Spread(index, degraded).run(seeds, depth)
        rows = index.notes({n.note for n in near} | {w[1].note for n in near for w in n.whys})
        near = [n for n in near if n.note in rows]
        wanted = _wanted(index, near)
        chunks = index.chunks([(w.near.note, w.ord) for w in wanted])
    there = [(replace(w, first=c.line), c) for w, c in zip(wanted, chunks, strict=True) if c is not None]
    return _fit(ws, rows, seeds, there, budget, degraded)


def _seeds(ws: Workspace, index: Index, identifiers: Sequence[str], degraded: list[str]) -> list[int]:
    found: list[int] = []
    for identifier in identifiers:
        if "*" in identifier:
            found += _matching(index, identifier)
        else:
            found.append(note_of(ws, index, identifier).id)
    once = list(dict.fromkeys(found))
    if len(once) > SEEDS:
        degraded.append(f"{len(once):,} notes are meant; only the {SEEDS} of them that changed last were taken")
        stamps = index.graph.stamps(once)
        once = sorted(once, key=lambda n: (-stamps[n][1], stamps[n][0]))[:SEEDS]
    return once


def _matching(index: Index, pattern: str) -> list[int]:
    """The notes whose path or permalink `pattern` matches, whatever the case, in path order; `*` is any text."""
    plain = fold(pattern.strip().removeprefix("memory://").strip("/"))
    # A bracket is no pattern here: names of notes have them.
    matches = re.compile(translate(plain.replace("[", "[[]"))).match
    head = re.split(r"[*?]", plain, maxsplit=1)[0]
    stated = {note: value for note, _, value in index.graph.stated(["permalink"])}
    folders: dict[str, str] = {}
    out = []
    for note, key in index.graph.note_keys():
        path = show_path(key_path(key))
        if matches(fold(path)):
            out.append(note)
            continue
        folder, slash, name = path.rpartition("/")
        if folder not in folders:
            folders[folder] = permalink(folder) if folder else ""
        # What the pattern begins with is compared first: a permalink costs more than all else here.
        if note in stated:
            is_meant = bool(matches(stated[note]))
        else:
            above = folders[folder] + slash
            is_meant = above.startswith(head[: len(above)]) and bool(matches(above + permalink(name)))
        if is_meant:
            out.append(note)
    if not out:
        raise NotFound(f"No note matches “{pattern[:80]}”.")
    return out


class _Spread:
    """Goes from notes to those that they are linked with. Within one snapshot."""

    def __init__(self, index: Index, degraded: list[str]) -> None:
        self._index, self._degraded = index, degraded
        self._resolver, self._folders = Resolver(index), Folders()
        self._keys: dict[int, bytes] = {}
        self._left = self._hubs = 0

    def run(self, seeds: Sequence[int], depth: int) -> list[_Near]:
        """Every note that is kept, nearest first and best first."""
        out = [_Near(note, 0) for note in seeds]
        known = set(seeds)
        step = out
        for distance in range(1, depth + 1):
            starts = step[:STARTS]
            self._left += max(0, len(step) - STARTS) if distance > 1 else 0
            found = self._around([n.note for n in starts], distance, known)
            known |= found.keys()
            step = self._best(found.values())
            out += step
            if not step:
                break
        if self._hubs:
            notes = "1 note has" if self._hubs == 1 else f"{self._hubs} notes have"
            self._degraded.append(f"{notes} more than {LINKS} links; {LINKS} in each direction were looked at")
        if self._left:
            notes = "1 note" if self._left == 1 else f"{self._left:,} notes"
            self._degraded.append(f"{notes} with fewer links to these: left out, or not gone on from")
        return out

    def _best(self, found: Iterable[_Near]) -> list[_Near]:
        stamps = self._index.graph.stamps(n.note for n in found)
        step = [n for n in found if n.note in stamps]
        step.sort(key=lambda n: (-n.weight, -stamps[n.note][1], stamps[n.note][0]))
        self._left += max(0, len(step) - KEPT)
        return step[:KEPT]

    def _around(self, notes: list[int], distance: int, known: set[int]) -> dict[int, _Near]:
        """What is linked with these notes and is not known yet, with all links in between."""
        graph = self._index.graph
        found: dict[int, _Near] = {}

        def meet(note: int, tie: Tie, points_here: bool) -> None:
            if note not in known:
                found.setdefault(note, _Near(note, distance)).add(tie, points_here)

        out = graph.ties_from(notes, LINKS + 1)
        self._resolver.learn((tie.name for tie in out), graph.named)
        self._learn_keys(notes)
        full = {tie.note for tie in out if tie.ord >= LINKS}
        for tie in out:
            if tie.ord < LINKS and (to := self._resolved(tie)) is not None:
                meet(to, tie, True)
        paths = {note: show_path(key_path(self._keys[note])) for note in notes if note in self._keys}
        names = names_to(self._index, self._resolver, paths)
        pairs = [(note, name) for note in paths for name in names[note]]
        back = graph.ties_to([name for _, name in pairs], LINKS + 1)
        self._learn_keys(tie.note for ties in back for tie in ties if tie.relative)
        for (note, _), ties in zip(pairs, back, strict=True):
            if len(ties) > LINKS:
                full.add(note)
            for tie in ties[:LINKS]:
                if tie.note not in known and self._resolved(tie) == note:
                    meet(tie.note, tie, False)
        self._hubs += len(full)
        return found

    def _learn_keys(self, notes: Iterable[int]) -> None:
        unknown = {n for n in notes if n not in self._keys}
        self._keys |= self._index.keys(unknown) if unknown else {}

    def _resolved(self, tie: Tie) -> int | None:
        if not tie.target or (tie.relative and tie.note not in self._keys):
            return None
        folder = self._folders.of(self._keys[tie.note]) if tie.relative else ""
        notes = self._resolver.resolve(tie.target, folder, relative=tie.relative)
        return notes[0] if len(notes) == 1 else None


def _wanted(index: Index, near: list[_Near]) -> list[_Wanted]:
    """Which passage of each note is shown: the one that links, the one under the heading that is linked, the first."""
    links = [(n.note, n.whys[0][1].line) for n in near if n.whys and not n.whys[0][2]]
    at = dict(zip(links, index.graph.passages_at(links), strict=True))
    starts = max(1, FIRST_PASSAGES // max(1, sum(n.distance == 0 for n in near)))
    out: list[_Wanted] = []
    for n in near:
        if not n.whys:
            out += [_Wanted(n, i, 0) for i in range(starts)]
            continue
        _, tie, points_here = n.whys[0]
        if not points_here:
            out.append(_Wanted(n, at[n.note, tie.line], tie.line))
        else:
            heading = tie.heading if n.distance == 1 else None
            out.append(_Wanted(n, _under(index, n.note, heading) if heading else 0, 0))
    return out


def _under(index: Index, note: int, heading: str) -> int:
    """The first passage under that heading; the first of all where it is not among the first hundred."""
    for at, chunk in enumerate(index.chunks([(note, i) for i in range(KEPT)])):
        if chunk is None:
            break
        if fold(chunk.heading.rpartition(" > ")[2].strip()) == fold(heading.strip()):
            return at
    return 0


def _fit(
    ws: Workspace,
    rows: dict[int, NoteRow],
    seeds: Sequence[int],
    wanted: list[tuple[_Wanted, ChunkRow]],
    budget: int,
    degraded: list[str],
) -> Context:
    """The pieces that fit, in order: a text that does not is cut to a line; where that does not either, it ends."""
    names = tuple(_path(rows[n]) for n in seeds if n in rows)
    room = 4 * budget - size_bytes(Context(names, (), 0, tuple(degraded)).to_dict())
    place = {(w.near.note, w.ord): i for i, (w, _) in enumerate(wanted)}
    pieces: list[Piece] = []
    cut, left = 0, 0
    for at in range(0, len(wanted), READ):
        part = [(Ranked(w.near.note, w.ord, 0.0), chunk) for w, chunk in wanted[at : at + READ]]
        for passage in read_passages(ws, rows, part, len(part), degraded):
            i = place[passage.ranked.note, passage.ranked.ord]
            piece, size = _piece_within(room, wanted[i][0], passage, rows)
            if piece is None:
                left = len({w.near.note for w, _ in wanted[i:]} - {w.near.note for w, _ in wanted[:i]})
                cut += not left  # it was not the first passage of the note that was asked for
                break
            cut += piece.count < passage.count and piece.distance < 2
            pieces.append(piece)
            room -= size
        if left:
            break
    while True:
        # What was said while the texts were read is emitted too, and so is the remark on what was left out.
        done = Context(names, tuple(pieces), 0, tuple(dict.fromkeys([*degraded, *_remark(cut, left, budget)])))
        # Four more bytes are room for the number of tokens itself.
        tokens = -(-(size_bytes(done.to_dict()) + 4) // 4)
        if tokens <= budget or not pieces:
            return replace(done, tokens=tokens)
        last = pieces.pop()
        left += last.distance > 0 or not any(p.path == last.path for p in pieces)


def _remark(cut: int, left: int, budget: int) -> list[str]:
    words = [f"{cut} text{'s' * (cut != 1)} cut"] * bool(cut)
    words += [f"{left} note{'s' * (left != 1)} left out"] * bool(left)
    return [f"{' and '.join(words)} to fit {budget} tokens"] if words else []


def _piece_within(room: int, wanted: _Wanted, passage: Passage, rows: dict[int, NoteRow]) -> tuple[Piece | None, int]:
    """The piece and its size: the passage if it is near and has room, else its line, else None."""
    near, row = wanted.near, rows[wanted.near.note]
    whys = tuple(
        Why(_path(rows[tie.note]), tie.line, tie.relation, points_here)
        for _, tie, points_here in near.whys
        if tie.note in rows
    )
    text = passage.text.rstrip("\n") if passage.text is not None else None
    whole = Piece(_path(row), passage.line, passage.count, row.title, near.distance, near.links, whys, text)
    if near.distance < 2 and (size := size_bytes(whole.to_dict()) + 1) <= room:
        return whole, size
    lines = (text or "").split("\n")
    # The passage may have moved since it was cut; the line that links moved with it.
    at = wanted.line - wanted.first if wanted.line else next((i for i, x in enumerate(lines) if _says(x)), 0)
    at = at if 0 <= at < len(lines) else 0
    short = replace(whole, line=passage.line + at, count=1, text=None if text is None else shown_line(lines[at]))
    size = size_bytes(short.to_dict()) + 1
    return (short, size) if size <= room else (None, 0)


def _says(line: str) -> bool:
    """Whether a line is more than a heading or a blank: the title is shown anyway."""
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _path(row: NoteRow) -> str:
    return show_path(key_path(row.key))

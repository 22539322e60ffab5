"""Links of one note: what links to it, what it links to, and where it is named without a link.

Everything is resolved as it is asked, once for each thing that can mean something of its own: a target, and for a
relative one its folder. A link with an empty target stays in its note and counts nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from heapq import nsmallest

from holdfast.engine.lines import Reader, check_limit, note_of, shown_line
from holdfast.engine.resolve import Resolver
from holdfast.engine.scope import make_search
from holdfast.engine.workspace import Workspace
from holdfast.errors import QueryError
from holdfast.files.paths import safe_path
from holdfast.graph import Backlink, Backlinks, Mention, Mentions, Outgoing, Outlink
from holdfast.index.base import Index, LinkRow
from holdfast.model import fold, key_path, show_path, sort_key
from holdfast.text.names import bare, join, tail
from holdfast.text.permalink import permalink
from holdfast.text.query import parse_query
from holdfast.text.tokens import terms

MENTION_LETTERS = 3
MENTION_NAMES = 8
MENTION_LINES = 500
LATER = 1 << 62

At = tuple[bytes, int, int]
"""(key of the note, which of its links, note id): a link to a note, in the order of pages."""


class Folders:
    """The folder of a note as people see it, by the note's key; worked out once for each folder."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}

    def of(self, key: bytes) -> str:
        head = key.rpartition(b"\0")[0]
        if head not in self._known:
            self._known[head] = show_path(key_path(key)).rpartition("/")[0]
        return self._known[head]


def names_to(index: Index, resolver: Resolver, paths: dict[int, str]) -> dict[int, list[str]]:
    """The folded last parts that a link must have to lead to each of these notes, by their ids; `paths` are theirs."""
    names = index.graph.names_of(paths)
    resolver.learn((tail(permalink(path)) for path in paths.values()), index.graph.named)
    numbers = {note: resolver.number(note, path) for note, path in paths.items()}
    return {note: [*names.get(note, ()), *filter(None, [numbers[note]])] for note in paths}


def links_to(index: Index, note: int, path: str) -> list[At]:
    """Every link that leads to that note and to no other, in no order. Within a snapshot."""
    resolver, folders = Resolver(index), Folders()
    names = names_to(index, resolver, {note: path})[note]
    # A note that is too large to be opened has no names, and is found as other files are.
    others = None if names else Others(index)
    meant: dict[object, bool] = {}
    out: list[At] = []
    for key, at, target, relative, source in index.graph.sources(names or [tail(path)]):
        asked = (target, folders.of(key)) if relative else target
        is_meant = meant.get(asked)
        if is_meant is None:
            folder = folders.of(key) if relative else ""
            found = resolver.resolve(target, folder, relative=bool(relative))
            is_meant = found == [note]
            if others is not None and not found:
                is_meant = others.find(target, folder, relative=bool(relative)) == [path]
            meant[asked] = is_meant
        if is_meant:
            out.append((key, at, source))
    return out


def backlinks(ws: Workspace, index: Index, note: str, *, limit: int = 50, after: str = "") -> Backlinks:
    """The links to the note that `note` names, by path, `limit` of them behind `after`. Links of its own count too."""
    check_limit(limit)
    behind = _cursor(ws, after)
    degraded: list[str] = []
    with index.snapshot():
        row = note_of(ws, index, note)
        path = show_path(key_path(row.key))
        found = links_to(index, row.id, path)
        page = nsmallest(limit + 1, (at for at in found if at > behind) if after else found)
        rows = index.notes({source for _, _, source in page})
        links = index.graph.links([(source, at) for _, at, source in page])
    reader, out = Reader(ws, degraded), []
    for (_, _, source), link in list(zip(page, links, strict=True))[:limit]:
        there = rows.get(source)
        if link is not None and there is not None and (now := reader.link(there, link)) is not None:
            out.append(
                Backlink(
                    show_path(key_path(there.key)), now.line, there.title, kind_of(link.relation, embed=link.embed),
                    link.relation, link.heading, link.block, now.text,
                )
            )  # fmt: skip
    last = page[limit - 1] if len(page) > limit else None
    more = f"{show_path(key_path(last[0]))}:{last[1]}" if last else None
    return Backlinks(path, tuple(out), len(found), more, tuple(degraded))


def kind_of(relation: str | None, *, embed: bool) -> str:
    """What a link is called: relation, embed or link."""
    return "relation" if relation is not None else "embed" if embed else "link"


def _cursor(ws: Workspace, after: str) -> At:
    if not after:
        return b"", -1, 0
    path, colon, number = after.rpartition(":")
    if not colon or not number.isdecimal() or len(number) > 9:
        raise QueryError(f"“{after[:80]}” is no place to go on from.", hint="Pass the `next` of the page before.")
    return sort_key(safe_path(ws.root, path)), int(number), LATER


class Others:
    """Files without a name in the index, which links can lead to: pictures, PDFs, notes that are set aside.

    They are listed once, when the first link is met that leads to no note.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._by_name: dict[str, list[str]] | None = None

    @cached_property
    def keys(self) -> list[bytes]:
        return self._index.graph.other_keys()

    def find(self, target: str, folder: str, *, relative: bool) -> list[str]:
        """The paths that `target` leads to: that path, that path whatever its case, else files of that name."""
        if self._by_name is None:
            self._by_name = {}
            for key in self.keys:
                path = show_path(key_path(key))
                self._by_name.setdefault(tail(path.rpartition("/")[2]), []).append(path)
        same = self._by_name.get(tail(target), []) if target else []
        for wanted in [join(folder, target), join("", target)] if relative else [target.strip("/")]:
            for form in (str, bare, fold, lambda p: fold(bare(p))) if wanted is not None and same else ():
                if found := [p for p in same if form(p) == form(wanted or "")]:
                    return found
        named = fold(target)
        return [] if relative or "/" in target else [p for p in same if _is_named(p, named)]


def _is_named(path: str, named: str) -> bool:
    name = fold(path.rpartition("/")[2])
    return named in (name, bare(name))


def outgoing(ws: Workspace, index: Index, note: str, *, limit: int = 200, after: str = "") -> Outgoing:
    """The links of the note that `note` names, with what each of them resolves to now."""
    check_limit(limit)
    if after and (not after.isdecimal() or len(after) > 9):
        raise QueryError(f"“{after[:80]}” is no place to go on from.", hint="Pass the `next` of the page before.")
    first = int(after or 0)
    with index.snapshot():
        row = note_of(ws, index, note)
        path = show_path(key_path(row.key))
        links = index.links_from(row.id)
        part = links[first : first + limit]
        resolver, others = Resolver(index), Others(index)
        resolver.learn((link.name for link in part), index.graph.named)
        folder = path.rpartition("/")[0]
        found = [resolver.resolve(x.target, folder, relative=x.relative) if x.target else [row.id] for x in part]
        keys = index.keys({n for notes in found for n in notes})
        out = [_outlink(x, notes, keys, others, folder) for x, notes in zip(part, found, strict=True)]
    more = str(first + limit) if first + limit < len(links) else None
    return Outgoing(path, tuple(out), len(links), more)


def _outlink(link: LinkRow, notes: list[int], keys: dict[int, bytes], others: Others, folder: str) -> Outlink:
    to = [show_path(key_path(keys[n])) for n in notes] or others.find(link.target, folder, relative=link.relative)
    state = "dangling" if not to else "resolved" if len(to) == 1 else "ambiguous"
    return Outlink(
        link.line, link.target, kind_of(link.relation, embed=link.embed), link.relation, link.heading, link.block,
        state, tuple(to),
    )  # fmt: skip


def mentions(ws: Workspace, index: Index, note: str, *, limit: int = 20) -> Mentions:
    """Notes that have the title or an alias of the note that `note` names, and no link to it; newest first.

    Names of fewer than 3 letters are not looked for. Of each note one line is shown.
    """
    check_limit(limit)
    degraded: list[str] = []
    with index.snapshot():
        row = note_of(ws, index, note)
        path = show_path(key_path(row.key))
        linked = {row.id, *(source for _, _, source in links_to(index, row.id, path))}
        names = _phrases(row.title, [value for _, _, value in index.graph.stated(["aliases"], [row.id])])
        if len(names) > MENTION_NAMES:
            degraded.append(f"only {MENTION_NAMES} of {len(names)} names were looked for")
        found: dict[int, tuple[int, str]] = {}
        for name in names[:MENTION_NAMES]:
            search = make_search(parse_query(f'"{name}"'))
            if search.phrases:
                said = index.newest(search, limit + len(linked) + 1)
                degraded += [r for r in said.remarks if r not in degraded]
                for source, at in said.places:
                    if source not in linked:
                        found.setdefault(source, (at, name))
        rows = index.notes(found)
        order = sorted(rows.values(), key=lambda r: (-r.modified_ns, r.key))
        chunks = index.chunks([(r.id, found[r.id][0]) for r in order])
    out: list[Mention] = []
    reader = Reader(ws, degraded)
    for there, chunk in zip(order, chunks, strict=True):
        if len(out) == limit:
            degraded.append(f"only the newest {limit} notes that mention it are shown")
            break
        _, name = found[there.id]
        if (hit := _mentioning(reader.lines(there), chunk.line if chunk else 1, name)) is not None:
            line, text = hit
            out.append(Mention(show_path(key_path(there.key)), line, there.title, name, shown_line(text, name)))
    return Mentions(path, tuple(out), tuple(degraded))


def _phrases(title: str, aliases: Iterable[str]) -> list[str]:
    """Names that can be looked for, each once; a comma string of aliases is taken apart."""
    names = [title, *(part.strip() for alias in aliases for part in alias.split(","))]
    plain = [" ".join(name.replace('"', " ").split()) for name in names]
    once = {fold(name): name for name in reversed(plain)}
    return [name for name in reversed(once.values()) if sum(map(str.isalpha, name)) >= MENTION_LETTERS]


def _mentioning(lines: list[str] | None, first: int, name: str) -> tuple[int, str] | None:
    """The first line that has all words of `name` one after another, from line `first` on, else before it."""
    wanted = terms(name)
    for at in (*range(first, min(len(lines or ()), first + MENTION_LINES) + 1), *range(1, min(first, MENTION_LINES))):
        line = (lines or [])[at - 1]
        if _holds(terms(line), wanted):
            return at, line
    return None


def _holds(said: list[str], wanted: list[str]) -> bool:
    return any(said[i : i + len(wanted)] == wanted for i in range(len(said) - len(wanted) + 1))

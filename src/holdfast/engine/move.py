"""Move a note, and rewrite the links that would not lead to it any more: one group, which `undo` takes back.

A link that still means the note under its new path (by title, alias, or a permalink that it states) is left as it is.
The relative links of the note itself are written for its new folder.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from holdfast.changes import Moved, Relinked
from holdfast.engine.links import links_to
from holdfast.engine.read import find_exact, usable
from holdfast.engine.resolve import resolve
from holdfast.engine.versions import undo
from holdfast.engine.workspace import Workspace
from holdfast.engine.write import Terms, change, check_new, rename
from holdfast.errors import Conflict, HoldfastError, NotFound
from holdfast.files import notes
from holdfast.files.paths import safe_path
from holdfast.history.rows import By
from holdfast.index.base import Index
from holdfast.model import Link, fold, key_path, show_path, sort_key
from holdfast.text.names import bare
from holdfast.text.note import parse
from holdfast.text.permalink import stem
from holdfast.text.relink import Key, relative, relinked


@dataclass(frozen=True, slots=True)
class _Names:
    """What the note is called after the move: a link to any of these need not change."""

    names: frozenset[str]

    @classmethod
    def of(cls, body: bytes, path: str) -> _Names:
        parsed = parse(body, path).parsed
        called = [path, bare(path), parsed.permalink, parsed.title, *parsed.aliases, stem(path)]
        return cls(frozenset(fold(name) for name in called))

    def have(self, target: str) -> bool:
        return fold(target.strip("/")) in self.names


def move(
    ws: Workspace, identifier: str, to: str, by: By, *, expect: bytes | None = None, dry_run: bool = False
) -> Moved:
    """Give a note the path `to`, and rewrite what links to it. Raises NotFound, Conflict and what a write raises.

    If a link cannot be rewritten, everything is taken back.
    """
    index = usable(ws)
    old = find_exact(ws, index, identifier)
    new = _target(ws, old, to)
    check_new(ws, new)
    plan = _plan(ws, index, old, new) if index is not None else {}
    told = tuple(Relinked(show_path(new if p == old else p), len(keys)) for p, keys in sorted(plan.items()))
    if dry_run:
        return Moved(show_path(old), show_path(new), None, 0, False, None, told, False)
    group = By(by.author, by.session or f"move-{uuid.uuid4().hex[:12]}", by.reason or f"move of {show_path(old)}")
    done = rename(ws, old, new, Terms(group, expect))
    try:
        for path, keys in plan.items():
            done_one = change(ws, new if path == old else path, lambda body, k=keys: relinked(body, k), Terms(group))  # type: ignore[misc]
            done = done_one if path == old else done
    except HoldfastError as e:
        if by.session:
            raise  # The session has other work, which is not to be taken back with this.
        undo(ws, group.session, group)
        raise Conflict(
            f"The links in {show_path(path)} could not be rewritten: {e.message}", hint="Everything was taken back."
        ) from e
    return Moved(
        show_path(old), show_path(new), done.digest, done.seq, done.indexed, done.rev, told, True, group.session
    )


def _target(ws: Workspace, old: str, to: str) -> str:
    """The new path: a folder takes the note under its name, and a name without a suffix gets the old one's."""
    if to.endswith("/"):
        return safe_path(ws.root, to + old.rpartition("/")[2])
    new = safe_path(ws.root, to)
    suffix = old[len(bare(old)) :]
    return new if new != bare(new) else new + suffix


def _plan(ws: Workspace, index: Index, old: str, new: str) -> dict[str, dict[Key, str]]:
    """For each note, which of its links get which target."""
    row = index.note_by_key(sort_key(old))
    if row is None:
        return {}
    body = notes.read_note(ws.fs, ws.root, old, max_bytes=ws.config.note_bytes).data
    after = _Names.of(body, show_path(new))
    plan: dict[str, dict[Key, str]] = {}
    with index.snapshot():
        sources = sorted(links_to(index, row.id, old))
    for path in dict.fromkeys(key_path(key) for key, _, _ in sources):
        keys = _links(ws, index, path, row.id, old, new, after)
        if keys:
            plan[path] = keys
    own = _own(index, body, old, new)
    if own:
        plan[old] = plan.get(old, {}) | own
    return plan


def _links(ws: Workspace, index: Index, path: str, note: int, old: str, new: str, after: _Names) -> dict[Key, str]:
    try:
        source = notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes).data
    except FileNotFoundError as e:
        raise NotFound(f"{show_path(path)} has just gone.", hint="Try again.") from e
    shown = show_path(new if path == old else path)
    folder_now, folder = show_path(path).rpartition("/")[0], shown.rpartition("/")[0]
    out: dict[Key, str] = {}
    for link in parse(source, show_path(path)).parsed.links:
        if not link.target or resolve(index, link.target, folder_now, relative=link.relative) != [note]:
            continue
        target = _written(link, show_path(new), folder, after)
        if target != link.target:
            out[link.line, link.target, link.relative] = target
    return out


def _written(link: Link, new: str, folder: str, after: _Names) -> str:
    has_suffix = link.target != bare(link.target)
    if link.relative:
        return relative(new if has_suffix else bare(new), folder)
    if after.have(link.target):
        return link.target
    if "/" in link.target.strip("/"):
        return new if has_suffix else bare(new)
    return new.rpartition("/")[2] if has_suffix else stem(new)


def _own(index: Index, body: bytes, old: str, new: str) -> dict[Key, str]:
    """The relative links of the note itself, which mean something else from another folder."""
    was, now = show_path(old).rpartition("/")[0], show_path(new).rpartition("/")[0]
    if was == now:
        return {}
    out: dict[Key, str] = {}
    for link in parse(body, show_path(old)).parsed.links:
        if not link.relative or not link.target or link.target.startswith("/"):
            continue
        found = resolve(index, link.target, was, relative=True)
        row = index.notes(found).get(found[0]) if len(found) == 1 else None
        if row is None or key_path(row.key) == old:
            continue
        path = show_path(key_path(row.key))
        out[link.line, link.target, True] = relative(path if link.target != bare(link.target) else bare(path), now)
    return out

"""Find one note by any of its names, read it, list notes."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass

from holdfast.engine.apart import refuse_poison
from holdfast.engine.resolve import resolve
from holdfast.engine.times import bounds, rfc3339
from holdfast.engine.workspace import Workspace
from holdfast.errors import IndexFault, NoteMalformed, NotFound, PathNotAllowed, QueryError, ResourceFault, UserError
from holdfast.files import notes
from holdfast.files.look import look_at
from holdfast.files.paths import is_note, safe_path
from holdfast.index.base import Index, NoteRow
from holdfast.model import KEY_END, Parsed, Value, key_path, show_digest, show_path, sort_key
from holdfast.results import Listed, Listing, Note
from holdfast.text.names import NOTE_SUFFIXES
from holdfast.text.note import parse
from holdfast.text.permalink import permalink, stem

_PLACE = re.compile(r"^(?P<note>.+?):(?P<line>\d+)(?::(?P<count>\d+))?$")


@dataclass(frozen=True, slots=True)
class Address:
    """What an identifier names: a path in the vault, and the lines asked for (count 0: to the end)."""

    path: str
    line: int = 1
    count: int = 0


def find(ws: Workspace, index: Index | None, identifier: str) -> Address:
    """The note that `identifier` names: path, permalink, memory://permalink, unique title, or path:line[:count].

    Raises NotFound, PathNotAllowed, or QueryError where it names several.
    """
    text = identifier.strip().removeprefix("memory://")
    tries = [(text, 1, 0)]
    if place := _PLACE.match(text):
        tries.append((place["note"], int(place["line"]), int(place["count"] or 0)))
    refused: UserError | None = None
    for name, line, count in tries:
        try:
            path = _path(ws, name) or _named(index, name, identifier)
        except PathNotAllowed as e:
            refused, path = e, _named(index, name, identifier)
        if path is not None:
            return Address(path, max(line, 1), count)
    raise refused or NotFound(f"There is no note “{identifier}”.")


def address(ws: Workspace, identifier: str) -> str | None:
    """The path that `identifier` is, of a note that is there; None where it is a name, or names nothing."""
    try:
        return _path(ws, identifier.strip().removeprefix("memory://"))
    except PathNotAllowed:
        return None


def find_exact(ws: Workspace, index: Index | None, identifier: str) -> str:
    """As `find`, the path; but a name with a note's suffix is that path, so that nothing else is changed.

    Test: fault/test_versions.py::test_a_path_means_that_path_alone.
    """
    name = identifier.strip().removeprefix("memory://")
    if not is_note(name.rpartition("/")[2]):
        return find(ws, index, identifier).path
    path = _path(ws, name)
    if path is None or path != safe_path(ws.root, name):
        raise NotFound(f"There is no note {name}.")
    return path


def _path(ws: Workspace, name: str) -> str | None:
    """`name` as the path of a file of the vault that is there."""
    path = safe_path(ws.root, name)
    for tried in (path, *(path + suffix for suffix in NOTE_SUFFIXES)):
        if is_note(tried.rpartition("/")[2]) and _is_file(ws, tried):
            if look_at(ws.fs, ws.root, tried) is None:
                raise PathNotAllowed(
                    f"The note {show_path(tried)} is excluded by the vault's ignore rules.",
                    hint="Change .gitignore or .holdfastignore if it is to be part of the vault.",
                )
            return tried
    return None


def _is_file(ws: Workspace, path: str) -> bool:
    try:
        return stat.S_ISREG(ws.fs.stat(f"{ws.root}/{path}").st_mode)
    except OSError:
        return False


def _named(index: Index | None, name: str, identifier: str) -> str | None:
    if index is None:
        return None
    # Only a path can hold bytes that are no text; a name cannot.
    rows = index.notes(resolve(index, name.encode("utf-8", "replace").decode()))
    if len(rows) > 1:
        paths = sorted(show_path(key_path(r.key)) for r in rows.values())
        raise QueryError(f"“{identifier}” names {len(rows)} notes.", hint=f"Say which: {', '.join(paths[:5])}.")
    return next((key_path(r.key) for r in rows.values()), None)


def read(ws: Workspace, index: Index | None, identifier: str, line: int | None, count: int | None) -> Note:
    """The note that `identifier` names, or `count` of its lines from `line` on."""
    address = find(ws, index, identifier)
    first = address.line if line is None else line
    wanted = count if count is not None else address.count
    if first < 1 or wanted < 0:
        raise QueryError(f"There is no line {first} with {wanted} lines.", hint="Lines begin at 1.")
    try:
        body = notes.read_note(ws.fs, ws.root, address.path, max_bytes=ws.config.note_bytes)
    except FileNotFoundError as e:
        raise NotFound(f"There is no note “{identifier}”.") from e
    whole = not (line or count or address.count or address.line > 1)
    return shown(ws, address.path, body.data, body.witness[2], first, wanted, is_whole=whole)


def shown(
    ws: Workspace, path: str, data: bytes, changed_ns: int, first: int, wanted: int, *, is_whole: bool = False
) -> Note:
    """A note with these bytes, or `wanted` of its lines (0: all) from `first` on; raises NotFound if it is shorter."""
    digest = notes.digest_of(data)
    parsed = _parsed(ws, path, data, digest)
    lines = data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\0", "").split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    if first > max(len(lines), 1):
        raise NotFound(f"{show_path(path)} has {len(lines)} lines.", hint="Ask for an earlier line.")
    part = lines[first - 1 :][: wanted or None]
    text = "\n".join(x.removesuffix("\r") for x in part) + ("\n" if is_whole and lines else "")
    stated = _first(parsed.frontmatter.get("modified"))
    span = bounds(stated) if stated else None
    return Note(
        path=show_path(path), title=parsed.title, line=first, count=len(part), text=text, digest=show_digest(digest),
        frontmatter=parsed.frontmatter, modified=rfc3339(span[0] if span else changed_ns), trust=parsed.trust,
    )  # fmt: skip


def _parsed(ws: Workspace, path: str, data: bytes, digest: bytes) -> Parsed:
    """What the note says; of one that is set aside, for who parses it comes to harm, what its path says."""
    try:
        refuse_poison(ws, sort_key(path), digest)
    except NoteMalformed:
        shown = show_path(path)
        return Parsed(title=stem(shown), type="note", permalink=permalink(shown), trust="external")
    return parse(data, show_path(path)).parsed


def _first(value: Value | None) -> str | None:
    if isinstance(value, list):
        return _first(value[0]) if value else None
    return value if isinstance(value, str) else None


def list_notes(ws: Workspace, index: Index, under: str, after: str, limit: int) -> Listing:
    """Notes in path order: all, or those in the folder `under`; at most `limit` of them, behind the path `after`."""
    if limit < 1:
        raise QueryError(f"The limit is {limit}.", hint="Ask for at least one note.")
    lo, hi = b"", KEY_END
    if under.strip("/") not in ("", "."):
        path = safe_path(ws.root, under)
        row = index.note_by_key(sort_key(path))
        lo = sort_key(path + "/x")[:-2]
        hi = lo[:-1] + b"\1"
        if row is not None:
            return Listing((_listed(row),), None)
    rows = index.list_notes(lo, hi, sort_key(safe_path(ws.root, after)) if after else b"", limit + 1)
    if not rows and under and not after and not _is_folder(ws, under):
        raise NotFound(f"There is no folder “{under}” in the vault.")
    page = rows[:limit]
    more = len(rows) > limit
    return Listing(tuple(map(_listed, page)), show_path(key_path(page[-1].key)) if more else None)


def _is_folder(ws: Workspace, path: str) -> bool:
    try:
        return stat.S_ISDIR(ws.fs.stat(f"{ws.root}/{path}").st_mode)
    except OSError:
        return False


def _listed(row: NoteRow) -> Listed:
    return Listed(
        show_path(key_path(row.key)), row.title, row.type, row.tags, rfc3339(row.modified_ns), row.size,
        show_digest(row.digest) if row.digest else None,
    )  # fmt: skip


def usable(ws: Workspace) -> Index | None:
    """The published index, or None where it cannot be used; paths can be read without."""
    try:
        return ws.index()
    except (IndexFault, ResourceFault) as e:
        ws.count(f"index_{e.kind}", e)
        return None

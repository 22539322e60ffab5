"""Change notes: compare-and-swap on the file, the versions kept, the index told at once.

A change is a function of what the note holds; it is applied to what is there at that moment, and made again on what
another hand wrote meanwhile, unless the caller named the version that it is for. What a note held is in the history
before it is taken away. Neither the index nor the history can fail a write; a deletion needs the history.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from holdfast.changes import Written
from holdfast.engine.commit import commit
from holdfast.engine.hints import leave
from holdfast.engine.passes import Options
from holdfast.engine.privacy import redacted, refuse_secrets
from holdfast.engine.sync import sync
from holdfast.engine.workspace import Workspace
from holdfast.errors import Conflict, HoldfastError, NoteTooLarge, NotFound, QueryError
from holdfast.files import notes
from holdfast.files.paths import is_note
from holdfast.files.swap import Changed, Swap
from holdfast.history.rows import By, Change, Kind
from holdfast.model import show_digest, show_path, sort_key
from holdfast.text.merge import diff3_text, merge, unified

LOCK = "write.lock"
_PREFIX = "b2-"
_WAIT_S = 15.0
_TRIES = 50
NOBODY = By()

Make = Callable[[bytes], bytes]
Secrets = Literal["refuse", "redact", "allow"]


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a note is changed: `expect` is the digest that it must have, `merges` whether a clean three-way
    merge with what somebody else wrote meanwhile will do, `secrets` what becomes of those that are new in it."""

    by: By = NOBODY
    expect: bytes | None = None
    merges: bool = False
    secrets: Secrets = "allow"


def digest_from(text: str | None) -> bytes | None:
    """A digest as it is shown, `b2-` and 32 hex, as bytes; raises QueryError."""
    if text is None:
        return None
    try:
        raw = bytes.fromhex(text.removeprefix(_PREFIX))
    except ValueError:
        raw = b""
    if not text.startswith(_PREFIX) or len(raw) != notes.DIGEST_BYTES:
        raise QueryError(f"“{text}” is no digest.", hint="Give it as `read --json` does: b2- and 32 hex digits.")
    return raw


def create(
    ws: Workspace, path: str, body: bytes, by: By, kind: Kind = Kind.WRITTEN, secrets: Secrets = "allow"
) -> Written:
    """Make a new note; raises Conflict if there is one at `path` already, and SecretFound."""
    body = _vetted(path, body, b"", secrets)
    check_new(ws, path, body)
    try:
        Swap(ws.fs, ws.root).put(path, body, None)
    except Changed as e:
        raise _conflict(path, e.met, body, None, f"There is a note at {show_path(path)} already.") from e
    return _done(ws, Change(kind, path, body, ws.fs.time_ns(), by))


def put(ws: Workspace, path: str, body: bytes, terms: Terms) -> Written:
    """Make `body` the content of a note that is there, or of a new one."""
    if _read(ws, path) is None and terms.expect is None:
        return create(ws, path, body, terms.by, secrets=terms.secrets)
    return change(ws, path, lambda _: body, terms)


def change(ws: Workspace, path: str, make: Make, terms: Terms, kind: Kind = Kind.WRITTEN) -> Written:
    """Change a note by `make`, from what it holds to what it is to hold.

    Without `terms.expect`, it is made again on whatever others write meanwhile. Raises NotFound where there is no
    note, Conflict, whatever `make` raises, and what a write raises; the note is unchanged then.
    """
    with _turn(ws, path):
        met = _read(ws, path)
        for _ in range(_TRIES):
            if met is None:
                raise NotFound(f"There is no note {show_path(path)}.")
            body = _vetted(path, _made(ws, path, met, make, terms), met, terms.secrets)
            if body == met:
                return _told(ws, path, met, None)
            check_new(ws, path, body)
            _keep(ws, path, met)
            try:
                Swap(ws.fs, ws.root).put(path, body, notes.digest_of(met))
            except Changed as e:
                _strays(ws, path, e.strays)
                met = e.met
                continue
            return _done(ws, Change(kind, path, body, ws.fs.time_ns(), terms.by))
    raise Conflict(f"{show_path(path)} was changed by others each of the {_TRIES} times it was tried.")


def _vetted(path: str, body: bytes, before: bytes, how: Secrets) -> bytes:
    """The content, with secrets that are new masked if that was asked; raises SecretFound where they are refused."""
    if how == "refuse":
        refuse_secrets(path, body, before=before)
    return redacted(body, before) if how == "redact" else body


def _made(ws: Workspace, path: str, met: bytes, make: Make, terms: Terms) -> bytes:
    """What the note is to hold; raises Conflict where it is another than was expected and merging does not do."""
    if terms.expect is None or notes.digest_of(met) == terms.expect:
        return make(met)
    base = _kept(ws, terms.expect)
    if base is None:
        raise _conflict(path, met, None, None, _changed(path))
    ours = make(base)
    merged = merge(base, ours, met) if terms.merges else None
    if merged is None:
        raise _conflict(path, met, ours, base, _changed(path))
    return merged


def _kept(ws: Workspace, digest: bytes) -> bytes | None:
    """What had this digest, None where nobody has kept it: then there is nothing to merge with."""
    if not ws.past.is_on:
        return None
    try:
        with ws.past.store() as store:
            return store.body(digest)
    except NotFound:
        return None
    except (HoldfastError, OSError) as e:
        ws.count("history_failed", e)
        return None


def delete(ws: Workspace, path: str, terms: Terms) -> Written:
    """Remove a note; the history keeps what it held. Raises NotFound, Conflict, and what the history raises."""
    with _turn(ws, path):
        met = _read(ws, path)
        for _ in range(_TRIES):
            if met is None:
                raise NotFound(f"There is no note {show_path(path)}.")
            if terms.expect is not None and notes.digest_of(met) != terms.expect:
                raise _conflict(path, met, None, None, _changed(path))
            _keep(ws, path, met, must=True)
            try:
                Swap(ws.fs, ws.root).take(path, notes.digest_of(met))
            except Changed as e:
                met = e.met
                continue
            return _done(ws, Change(Kind.DELETED, path, None, ws.fs.time_ns(), terms.by))
    raise Conflict(f"{show_path(path)} was changed by others each of the {_TRIES} times it was tried.")


def rename(ws: Workspace, old: str, new: str, terms: Terms) -> Written:
    """Give a note another path; raises NotFound, and Conflict where something is there, or it is not as expected."""
    check_new(ws, new)
    with _turn(ws, old):  # The new name is taken in one step, and needs none.
        met = _read(ws, old)
        if met is None:
            raise NotFound(f"There is no note {show_path(old)}.")
        if terms.expect is not None and notes.digest_of(met) != terms.expect:
            raise _conflict(old, met, None, None, _changed(old))
        _keep(ws, old, met)
        Swap(ws.fs, ws.root).move(old, new)
        return _done(ws, Change(Kind.MOVED, new, None, ws.fs.time_ns(), terms.by, old_path=old), old)


def _turn(ws: Workspace, path: str) -> AbstractContextManager[None]:
    return Swap(ws.fs, ws.root).turn(path, f"{ws.directory}/{LOCK}", _WAIT_S)


def _read(ws: Workspace, path: str) -> bytes | None:
    try:
        return notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes).data
    except FileNotFoundError:
        return None


def check_new(ws: Workspace, path: str, body: bytes = b"") -> None:
    """Raise QueryError unless the path can be a note's, NoteTooLarge where it would be too large."""
    if not is_note(path.rpartition("/")[2]):
        raise QueryError(f"{show_path(path)} is no name of a note.", hint="End it with .md, .markdown or .txt.")
    if len(body) > ws.config.note_bytes:
        raise NoteTooLarge(
            f"{show_path(path)} would have {len(body):,} bytes; a note has at most {ws.config.note_bytes:,}.",
            hint="Split it, or raise `note_bytes` in .holdfast/config.toml.",
        )


def _keep(ws: Workspace, path: str, met: bytes, *, must: bool = False) -> None:
    """See to it that the history has what the note holds, before that is replaced."""
    if not ws.past.is_on:
        return
    try:
        with ws.past.store() as store:
            last = store.last(path)
            if last is None or last.digest != notes.digest_of(met):
                store.record([Change(Kind.FOUND, path, met, ws.fs.time_ns())])
    except (HoldfastError, OSError) as e:
        if must:
            raise
        ws.count("history_failed", e)


def _strays(ws: Workspace, path: str, bodies: tuple[bytes, ...]) -> None:
    """What others wrote and overwrote in the moment of an exchange: it was never ours to lose."""
    ws.past.found([Change(Kind.FOUND, path, body, ws.fs.time_ns()) for body in bodies])


def _done(ws: Workspace, what: Change, *also: str) -> Written:
    """Keep the change, tell the index, and say what came of it."""
    rev = None
    if ws.past.is_on:
        try:
            with ws.past.store() as store:
                (rev,) = store.record([what])
        except (HoldfastError, OSError) as e:
            ws.count("history_failed", e)
    if ws.config.history == "commit":
        commit(ws, (what.path, *also), what.kind.name.lower(), what.by)
    return _told(ws, what.path, what.body if what.kind is not Kind.MOVED else _read(ws, what.path), rev, *also)


def _told(ws: Workspace, path: str, body: bytes | None, rev: int | None, *also: str) -> Written:
    digest = notes.digest_of(body) if body is not None else None
    seq, indexed = _index(ws, (path, *also), digest)
    return Written(show_path(path), show_digest(digest) if digest else None, seq, indexed, rev)


def _index(ws: Workspace, paths: tuple[str, ...], digest: bytes | None) -> tuple[int, bool]:
    """Bring the change into the index; (its seq, whether it has it). What hinders is counted, and left as a hint."""
    try:
        done = sync(ws, Options(paths=paths))
        index = ws.index()
        row = index.note_by_key(sort_key(paths[0])) if index is not None else None
        return done.seq, (row.digest if row is not None else None) == digest
    except (HoldfastError, OSError) as e:
        ws.count("write_not_indexed", e)
        leave(ws, paths)
        return 0, False


def _changed(path: str) -> str:
    return f"{show_path(path)} is not what was expected: somebody changed it."


def _conflict(path: str, met: bytes | None, ours: bytes | None, base: bytes | None, message: str) -> Conflict:
    name = show_path(path)
    if met is None or ours is None:
        diff = ""
    elif base is None:
        diff = unified(met, ours, f"{name} (now)", f"{name} (yours)")
    else:
        diff = diff3_text(base, ours, met, ("expected", "yours", "now"))
    current = show_digest(notes.digest_of(met)) if met is not None else None
    return Conflict(message, current_digest=current, diff=diff)

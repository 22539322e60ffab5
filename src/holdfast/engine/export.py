"""The history as something else: a git repository, or a copy of the store.

The repository is written as a stream of `git fast-import` (git-scm.com/docs/git-fast-import): a commit a change, in
order, with the author, session and reason; what a first sync saw is one commit. Needs git.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import IO

from holdfast.engine.workspace import Workspace
from holdfast.errors import ConfigError, Conflict, NotFound
from holdfast.history.rows import Entry, Kind
from holdfast.history.store import History
from holdfast.model import show_path

_SEEN = (Kind.FOUND,)
_FIRST = "What was there when the history began"


def export_git(ws: Workspace, directory: str) -> int:
    """Write the history into a new git repository at `directory`, with the newest state checked out; its commits.

    Raises Conflict where something is there, ConfigError without git, NotFound without a history.
    """
    git = shutil.which("git")
    if git is None:
        raise ConfigError("There is no git here.", hint="Install git, or use `holdfast history backup`.")
    if os.path.exists(directory) and (not os.path.isdir(directory) or os.listdir(directory)):
        raise Conflict(f"{directory} is not empty.", hint="Name a new folder.")
    if not ws.past.is_begun():
        raise NotFound("There is no history yet.", hint="It begins with the first sync or write.")
    os.makedirs(directory, exist_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    run = {"cwd": directory, "env": env, "check": True, "capture_output": True}
    subprocess.run([git, "init", "-q", "-b", "main"], **run)  # type: ignore[call-overload]  # noqa: S603
    made = subprocess.Popen(  # noqa: S603
        [git, "fast-import", "--quiet", "--done"], cwd=directory, env=env, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert made.stdin is not None
    commits = 0
    try:
        with ws.past.store() as store, made.stdin as out:
            for group in _groups(store):
                commits += 1
                _commit(out, store, group, commits)
            out.write(b"done\n")
    except BrokenPipeError:
        pass  # git ended: it says why below.
    with made:
        said = made.stderr.read() if made.stderr else b""
    if made.returncode != 0:
        raise ConfigError(f"git could not take the history: {said.decode(errors='replace').strip()[-300:]}.")
    subprocess.run([git, "reset", "-q", "--hard"], **run)  # type: ignore[call-overload]  # noqa: S603
    return commits


def _groups(store: History) -> Iterator[list[Entry]]:
    """Entries that are one commit: what a sync found together (within a second), anything else alone."""
    group: list[Entry] = []
    for entry in store.everything():
        is_found = entry.kind in _SEEN
        together = group and is_found and group[-1].kind in _SEEN and entry.time_ns - group[0].time_ns < 10**9
        if group and not together:
            yield group
            group = []
        group.append(entry)
    if group:
        yield group


def _commit(out: IO[bytes], store: History, group: list[Entry], number: int) -> None:
    first = group[0]
    who = first.by.author or "unknown"
    address = "".join(c for c in who if c.isascii() and c.isalnum()) or "unknown"
    person = f"{who.translate({60: None, 62: None, 10: None})} <{address}@holdfast>"
    stamp = f"{first.time_ns // 10**9} +0000"
    plain = _FIRST if number == 1 and first.kind in _SEEN else f"{first.kind.name.lower()} {show_path(first.path)}"
    words = (first.by.reason or plain) + (f"\n\nSession: {first.by.session}" if first.by.session else "")
    message = words.encode("utf-8", "replace")
    out.write(f"commit refs/heads/main\nauthor {person} {stamp}\ncommitter {person} {stamp}\n".encode())
    out.write(b"data %d\n%s\n" % (len(message), message))
    for entry in group:
        if entry.kind is Kind.MOVED and (before := store.before(entry)) is not None:
            out.write(b"D %s\n" % _quoted(before.path))
        if entry.digest is None:
            out.write(b"D %s\n" % _quoted(entry.path))
            continue
        body = store.body(entry.digest)
        out.write(b"M 100644 inline %s\ndata %d\n" % (_quoted(entry.path), len(body)))
        out.write(body)
        out.write(b"\n")


def _quoted(path: str) -> bytes:
    """A path in the C style that fast-import reads."""
    raw = os.fsencode(path).replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + raw + b'"'


def backup(ws: Workspace, path: str) -> int:
    """Copy the store to `path`, whole at one moment; its bytes. Raises Conflict where something is there."""
    if os.path.exists(path):
        raise Conflict(f"{path} is there already.", hint="Name a new file.")
    if not ws.past.is_begun():
        raise NotFound("There is no history yet.", hint="It begins with the first sync or write.")
    with ws.past.store() as store:
        store.backup(path)
    return os.stat(path).st_size

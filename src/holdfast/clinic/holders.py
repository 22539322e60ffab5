"""Which other processes have files of a directory open: no cure runs under the feet of the owner.

On Linux from /proc (descriptors and maps), elsewhere from `lsof`. What cannot be seen, such as a Python of
another user, is said rather than taken for nobody.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.errors import VaultBusy

_LSOF_S = 30
_SHOWN = 3
_OWNERS = re.compile(r"python|node|bun|deno|java|ruby|electron|everos|lance|chroma|mempalace", re.IGNORECASE)
"""Programs that may hold such an index. Others that cannot be looked into, such as init and sshd, are no concern."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process with an open file of the directory."""

    pid: int
    command: str
    path: str

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Holders:
    """Who holds files open; `unseen` says why somebody may have been missed, in words, or is empty."""

    found: tuple[Holder, ...]
    unseen: str = ""


def holders(directory: str) -> Holders:
    """The other processes that have something below `directory` open."""
    root = os.path.realpath(directory)
    return _from_proc(root) if os.path.isdir("/proc/self/fd") else _from_lsof(root)


def refuse_if_held(directory: str, *, force: bool) -> Holders:
    """Raise VaultBusy if another process has files of `directory` open, unless forced; else who was seen."""
    seen = holders(directory)
    if seen.found and not force:
        names = ", ".join(str(h) for h in seen.found[:_SHOWN])
        more = f" and {len(seen.found) - _SHOWN} more" if len(seen.found) > _SHOWN else ""
        raise VaultBusy(
            f"{names}{more} has files of {directory} open.",
            hint="End it and try again; `--force` goes on all the same, at your risk.",
        )
    return seen


def has_loaded(libraries: tuple[str, ...]) -> bool:
    """Whether another process has a shared library loaded whose name begins so, or might have (it cannot be seen)."""
    if not os.path.isdir("/proc/self/fd"):
        return True
    return any(_has_loaded(process, libraries) for process in _processes())


def _has_loaded(process: str, libraries: tuple[str, ...]) -> bool:
    try:
        return any(_is_library(path, libraries) for path in _mapped(process))
    except PermissionError:
        return bool(_OWNERS.search(_command(process)))
    except (FileNotFoundError, ProcessLookupError):
        return False


def _is_library(path: str, libraries: tuple[str, ...]) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith(libraries) and any(x in name for x in (".so", ".node", ".dylib"))


def _processes() -> Iterator[str]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield entry.path


def _from_proc(root: str) -> Holders:
    found: list[Holder] = []
    unseen: list[str] = []
    for process in _processes():
        path = None
        for look in (_opened, _mapped):
            try:
                path = path or next((p for p in look(process) if _is_below(p, root)), None)
            except PermissionError:
                if _OWNERS.search(_command(process)):
                    unseen.append(_command(process))
            except (FileNotFoundError, ProcessLookupError):
                break  # It ended meanwhile.
        if path is not None:
            found.append(Holder(int(process.rpartition("/")[2]), _command(process), path))
    names = ", ".join(sorted(set(unseen))[:_SHOWN])
    return Holders(tuple(sorted(found, key=lambda h: h.pid)), f"Cannot be looked into: {names}." if names else "")


def _opened(process: str) -> Iterator[str]:
    for fd in os.listdir(f"{process}/fd"):
        try:
            yield os.readlink(f"{process}/fd/{fd}")
        except (FileNotFoundError, ProcessLookupError):
            continue


def _mapped(process: str) -> Iterator[str]:
    with open(f"{process}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            # What follows the first slash is the path; a newline in a name is written \\012.
            path = line.rstrip("\n").partition("/")[2]
            if path:
                yield f"/{path}".replace("\\012", "\n")


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _command(process: str) -> str:
    try:
        with open(f"{process}/cmdline", encoding="utf-8", errors="replace") as file:
            words = file.read().rstrip("\0").split("\0")
    except OSError:
        return "a process"
    return re.sub(r"\s+", " ", " ".join(w.rpartition("/")[2] for w in words[:2]))[:60] or "a process"


def _from_lsof(root: str) -> Holders:
    program = shutil.which("lsof", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        return Holders((), "There is no `lsof` here to see which processes have the files open.")
    try:
        done = subprocess.run(  # noqa: S603
            [program, "-w", "-n", "-P", "-F", "pcn", "+D", root],
            capture_output=True, text=True, errors="replace", timeout=_LSOF_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Holders((), f"`lsof` did not answer within {_LSOF_S} s.")
    found: dict[int, Holder] = {}
    pid, command = 0, ""
    for line in done.stdout.splitlines():
        kind, text = line[:1], line[1:]
        if kind == "p":
            pid, command = int(text), ""
        elif kind == "c":
            command = text
        elif kind == "n" and pid not in (0, os.getpid()):
            found.setdefault(pid, Holder(pid, command, text))
    return Holders(tuple(found.values()), "" if os.geteuid() == 0 else "Processes of other users may be missing.")

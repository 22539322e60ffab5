"""Dirty paths: looked at without a walk, and left for the process that scans by those that may not.

Hints are only ever a hurry: whatever becomes of them, the next full pass sees every file. So they are few, small, and
not written through to the disk. `hints/` of the index directory holds one file of each process that left some (JSON, a
list of paths) and `all`, which says that there were too many. Only the holder of job.lock takes them.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.engine.apply import Apply
from holdfast.engine.workspace import Workspace
from holdfast.files.fs import TEMP_PREFIX, Entry, FileSystem
from holdfast.files.look import look_at
from holdfast.index.base import Index
from holdfast.model import Witness, fold, key_path, show_path, sort_key
from holdfast.text.names import tail

FILES = 3
PATHS = 1_000
BYTES = 64 << 10
ALL = "all"

IN_THE_MAKING_NS = 60 * 10**9

# A pid alone may be another container's.
_TOKEN = uuid.uuid4().hex[:8]


@dataclass(frozen=True, slots=True)
class Left:
    """What was left: paths, and whether there was more than could be named."""

    paths: tuple[str, ...]
    is_all: bool


def leave(ws: Workspace, paths: Sequence[str]) -> None:
    """Leave `paths` for whoever scans; with what this process left before that nobody has taken yet."""
    home, mine = _home(ws), f"{os.getpid()}-{_TOKEN}.json"
    try:
        ws.fs.makedirs(home)
        known, _ = _read(ws.fs, f"{home}/{mine}")
        merged = sorted({*known, *paths})
        text = json.dumps(merged)
        others = {e.name for e in ws.fs.scandir(home) if e.name.endswith(".json")} - {mine}
        if len(merged) > PATHS or len(text) > BYTES or len(others) >= FILES:
            ws.fs.write_new(f"{home}/{ALL}", b"", durable=False)
        else:
            ws.fs.write_new(f"{home}/{mine}", text.encode(), durable=False)
    except OSError:
        ws.count("hints_not_left")


def take(ws: Workspace, *, keep_all: bool = False) -> Left:
    """What was left, which is then gone; `keep_all` leaves it said that there was more. Needs the job lock."""
    home, paths, is_all = _home(ws), dict[str, None](), False
    try:
        for entry in ws.fs.scandir(home):
            if entry.name == ALL:
                is_all = True
                if keep_all:
                    continue
            elif entry.name.endswith(".json"):
                # Moved first: what its process leaves from now on makes a new file.
                ws.fs.rename(f"{home}/{entry.name}", f"{home}/taken")
                found, is_whole = _read(ws.fs, f"{home}/taken")
                paths.update(dict.fromkeys(found))
                is_all = is_all or not is_whole
                ws.fs.unlink(f"{home}/taken")
                continue
            elif entry.name.startswith(TEMP_PREFIX) and _age_ns(ws.fs, entry) < IN_THE_MAKING_NS:
                continue
            ws.fs.unlink(f"{home}/{entry.name}")
    except FileNotFoundError:
        pass  # nobody ever left any, or one was replaced meanwhile
    except OSError:
        ws.count("hints_not_taken")
    return Left(tuple(paths), is_all)


def _age_ns(fs: FileSystem, entry: Entry) -> int:
    return fs.time_ns() - entry.stat(follow_symlinks=False).st_mtime_ns


def _home(ws: Workspace) -> str:
    return f"{ws.directory}/hints"


def _read(fs: FileSystem, path: str) -> tuple[list[str], bool]:
    """The paths in a file, none where there is no such file, and whether it was whole."""
    try:
        fd = fs.open_read(path)
    except FileNotFoundError:
        return [], True
    try:
        found = json.loads(fs.read_all(fd, BYTES))
        return [str(x) for x in found], isinstance(found, list)
    except (ValueError, TypeError, RecursionError):
        return [], False
    finally:
        fs.close(fd)


def look_closely(ws: Workspace, apply: Apply, path: str) -> tuple[Witness | None, bool]:
    """What is at `path` (None: no file of the vault), and whether that could be told."""
    try:
        witness = look_at(ws.fs, ws.root, path, ws.inode_mask)
        if witness is not None and not apply.spelling.is_exact(path):
            return None, True  # another name of a file that is met under its own
        return witness, True
    except FileNotFoundError:
        return None, True
    except OSError:
        apply.counts.skip("unverified", path)
        return None, False


def look_at_paths(ws: Workspace, index: Index, apply: Apply, paths: Sequence[str]) -> None:
    """Bring in what differs at these paths."""
    found: dict[bool, list[Witness]] = {True: [], False: []}
    gone = []
    looks = apply.each(paths, lambda path: look_closely(ws, apply, path))
    for path, (witness, is_known) in zip(paths, looks, strict=True):
        key = sort_key(path)
        row = index.file_row(key)
        if witness is not None:
            found[row is None].append(witness)
        elif is_known and row is not None:
            gone.append(key)
    for is_new, part in found.items():
        apply.files(part, is_new=is_new)
    if gone:
        ws.prove_vault()
    apply.drop(k for k in gone if k not in apply.counts.moved_from)
    _tell_twins(index, apply, [w[0] for w in found[True]])


def _tell_twins(index: Index, apply: Apply, added: list[bytes]) -> None:
    """Name those notes that are one with another where case does not count, as the scan does for whole folders."""
    for key in added:
        path = show_path(key_path(key))
        paths = [show_path(key_path(row.key)) for row in index.named(tail(path))]
        twins = [p for p in paths if p != path and fold(p) == fold(path)]
        for twin in dict.fromkeys([path, *twins] if twins else []):
            apply.counts.explain("name_collision", twin)

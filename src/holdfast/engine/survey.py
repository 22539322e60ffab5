"""What is worth knowing about the files of a vault, seen on the way of a walk: none of it is damage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from holdfast.engine.diff import is_note_key
from holdfast.engine.times import rfc3339
from holdfast.files.conflicts import conflict_of
from holdfast.files.scan import Directory, Scan
from holdfast.model import fold, show_path

Report = Callable[[str, str | None, str], None]
"""Called with (kind, path, message)."""

SKEW_NS = 300 * 10**9
"""A clock that stamps files may be ahead of ours by so much."""

DAY_NS = 86_400 * 10**9

_LINKS = {
    "symlink_broken": "It is a link to nothing.",
    "symlink_outside": "It is a link out of the vault, and is not followed.",
    "symlink_loop": "It is a link that leads back to itself.",
    "symlink_directory": "It is a link to a folder, and is not followed.",
    "not_regular": "It is neither a file nor a folder, and is never opened.",
    "too_deep": "It lies in too many folders, and is not looked at.",
}


class Survey:
    """A walk whose directories are looked at as they pass by."""

    def __init__(self, walk: Scan, now_ns: int, report: Report) -> None:
        self._walk, self._now_ns, self._report = walk, now_ns, report
        self._siblings: dict[str, dict[str, str]] = {}

    def __iter__(self) -> Iterator[Directory]:
        for directory in self._walk:
            self._look_at(directory)
            yield directory

    def _look_at(self, found: Directory) -> None:
        self._look_beside(found.path)
        if found.error is not None:
            why = found.error.strerror or str(found.error)
            self._report("unreadable", show_path(found.path) or None, f"The folder cannot be read: {why}.")
        for key, error in found.unreadable:
            name = os.fsdecode(key[len(found.key_prefix) :])
            self._report("unreadable", _shown(found.path, name), f"It cannot be looked at: {error.strerror}.")
        for path, reason in found.skipped_paths:
            if reason in _LINKS:
                self._report(reason, show_path(path), _LINKS[reason])
        seen: dict[str, str] = {}
        for key, _, mtime_ns, _, _ in found.files:
            name = os.fsdecode(key[len(found.key_prefix) :])
            if found.rules is not None and found.rules.ignores(name):
                continue
            self._collide(seen, found.path, name)
            if is_note_key(key):
                self._look_at_note(_shown(found.path, name), name, mtime_ns)

    def _look_at_note(self, path: str, name: str, mtime_ns: int) -> None:
        if conflict_of(name) is not None:
            words = "Another machine changed the same note; this copy of it was kept by the tool that syncs the folder."
            self._report("conflict_copy", path, words)
        if mtime_ns > self._now_ns + SKEW_NS or mtime_ns < DAY_NS:
            where = "in the future" if mtime_ns > 0 and mtime_ns >= DAY_NS else "of 1970 or before"
            self._report("odd_time", path, f"Its time of change is {where}: {rfc3339(mtime_ns)}.")

    def _look_beside(self, path: str) -> None:
        """Compare the name of a folder with those of its neighbours, of which all that are above it are kept."""
        if not path:
            return
        parent, _, name = path.rpartition("/")
        self._siblings = {p: names for p, names in self._siblings.items() if not p or f"{parent}/".startswith(f"{p}/")}
        self._collide(self._siblings.setdefault(parent, {}), parent, name)

    def _collide(self, seen: dict[str, str], folder: str, name: str) -> None:
        other = seen.setdefault(fold(name), name)
        if other != name:
            words = f"Where case and accents are not told apart, it is the same as {show_path(other)}."
            self._report("name_collision", _shown(folder, name), words)


def _shown(folder: str, name: str) -> str:
    return show_path(f"{folder}/{name}" if folder else name)

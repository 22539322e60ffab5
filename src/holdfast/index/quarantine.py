"""Indexes that were set aside: moved by rename, never copied, each with a .json that says why.

Names begin with the time in nanoseconds, and no two are one. At most KEPT stay, the newest, so that quarantine itself
cannot fill the disk.
"""

from __future__ import annotations

import json
from typing import Any

from holdfast.files.fs import FileSystem

KEPT = 2
STAMP = 20


def names(fs: FileSystem, folder: str) -> list[str]:
    """What is in a folder, sorted; nothing if it cannot be listed."""
    try:
        return sorted(e.name for e in fs.scandir(folder))
    except OSError:
        return []


class Quarantine:
    """The quarantine of one index directory."""

    def __init__(self, fs: FileSystem, directory: str) -> None:
        self._fs, self._directory, self._home = fs, directory, f"{directory}/quarantine"

    def stamp(self) -> str:
        """What the names of what comes next begin with; the folder is there from now on."""
        self._fs.makedirs(self._home)
        # Later than what is there already, whatever the clock says: the newest is kept, and no two are one.
        newest = max((int(n[:STAMP]) for n in names(self._fs, self._home) if n[:STAMP].isdigit()), default=0)
        return f"{max(self._fs.time_ns(), newest + 1):020d}"

    def take(self, name: str, stamp: str, evidence: dict[str, Any]) -> None:
        """Move a file of the index directory here, if it is there; its size goes into the evidence."""
        source = f"{self._directory}/{name}"
        try:
            size = self._fs.lstat(source).st_size
            self._fs.rename(source, f"{self._home}/{stamp}-{name}")
        except FileNotFoundError:
            return
        evidence["files"][name] = size

    def keep(self, stamp: str, evidence: dict[str, Any]) -> None:
        """Write down why; of what was set aside before, remove all but the newest."""
        text = json.dumps(evidence, indent=1) + "\n"
        self._fs.write_new(f"{self._home}/{stamp}.json", text.encode(), durable=False)
        stamps = sorted({e.name[:STAMP] for e in self._fs.scandir(self._home)})
        for entry in self._fs.scandir(self._home):
            if entry.name[:STAMP] in stamps[:-KEPT]:
                self._fs.unlink(f"{self._home}/{entry.name}")

    def databases(self) -> list[str]:
        """The databases that are here, newest first."""
        return [f"{self._home}/{name}" for name in reversed(names(self._fs, self._home)) if name.endswith(".db")]

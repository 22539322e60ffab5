"""Whether a path is spelled as its file is.

Where case or the form of accents does not count, a file answers to many names. After `A.md` was renamed to `a.md`, a
stat of the old name still succeeds there: without this look, the note would stay under both names for ever.
"""

from __future__ import annotations

import unicodedata

from holdfast.files.fs import FileSystem

_FOLDERS = 16


class Spelling:
    """Compares names with those in listings; a listing is kept as long as its folder's times stay."""

    def __init__(self, fs: FileSystem, root: str) -> None:
        self._fs, self._root = fs, root
        self._listed: dict[str, tuple[int, int, frozenset[str]]] = {}

    def is_exact(self, path: str) -> bool:
        """Whether each part of `path`, at which a file was just seen, is the name that its folder gives it.

        Costs a stat or two for each part where names are told apart, and a listing where they are not. Raises OSError.
        """
        folder = self._root
        for part in path.split("/"):
            if self._may_differ(folder, part) and part not in self._names(folder):
                return False
            folder = f"{folder}/{part}"
        return True

    def _may_differ(self, folder: str, name: str) -> bool:
        """Whether the file called `name` answers to another spelling too."""
        others = {name.swapcase()}
        if not name.isascii():
            others |= {unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)}
        others.discard(name)
        if not others:
            return False
        st = self._fs.lstat(f"{folder}/{name}")
        for other in others:
            try:
                twin = self._fs.lstat(f"{folder}/{other}")
            except (OSError, ValueError):
                continue  # nothing is called so
            if (twin.st_dev, twin.st_ino) == (st.st_dev, st.st_ino):
                return True
        return False

    def _names(self, folder: str) -> frozenset[str]:
        st = self._fs.stat(folder)
        known = self._listed.get(folder)
        if known is None or known[:2] != (st.st_mtime_ns, st.st_ctime_ns):
            if len(self._listed) >= _FOLDERS:
                self._listed.clear()
            names = frozenset(entry.name for entry in self._fs.scandir(folder))
            self._listed[folder] = known = (st.st_mtime_ns, st.st_ctime_ns, names)
        return known[2]

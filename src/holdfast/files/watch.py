"""Notices of the system about changes in a vault: hints, never proof.

They are lost without a word when the system's queue is full (watchfiles passes no word of it on), so whoever listens
scans the vault from time to time all the same. Folders are watched one by one, not with all below them: what the walk
does not enter (`.git`, `node_modules`, ignored folders, whatever a symbolic link leads to) is not watched at all and
costs nothing, and a watch with all below would follow links out of the vault.
"""

from __future__ import annotations

import errno
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from holdfast.errors import WatchLimit
from holdfast.files.fs import FileSystem, Notifier
from holdfast.files.ignore import IGNORE_FILES, Rules
from holdfast.files.paths import is_hidden, is_note

TRIES = 3
HELD = 5
"""While changes go on and on, they are passed on after so many times the time of quiet that is waited for."""

_LIMITS = (errno.ENOSPC, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, slots=True)
class Noticed:
    """What was noticed since the last time: `paths` of notes to look at again.

    `must_scan` says that there was more than can be told by paths: folders that came or went, rules that changed, too
    many paths at once. `must_place` says that other folders are to be watched from now on, or the same ones anew.
    """

    paths: frozenset[str] = frozenset()
    must_scan: bool = False
    must_place: bool = False


class Notices:
    """Listens in a thread of its own and collects what it hears until `take`.

    `wake` is called whenever there is something new. `quiet_ms` is how long a note must be left alone before it is
    told of; `most` paths are kept, more are a scan.
    """

    def __init__(self, fs: FileSystem, root: str, wake: Callable[[], None], *, quiet_ms: int, most: int) -> None:
        self._fs, self._root, self._wake, self._quiet_ms, self._most = fs, root, wake, quiet_ms, most
        self._guard = threading.Lock()
        self._paths: set[str] = set()
        self._must_scan = self._must_place = False
        self._listener: _Listener | None = None
        self.heard = 0
        """How many times anything was heard."""
        self.unwatched = 0
        """How many folders cannot be watched, because their names are no UTF-8."""

    @property
    def is_placed(self) -> bool:
        """Whether anything is listened to."""
        return self._listener is not None

    def place(self, folders: Mapping[str, Rules | None]) -> int:
        """Watch these folders ("" is the root) instead of those before, and return how many they are.

        From its return on no change is missed but by the system itself; what happened just before it may be. Raises
        WatchLimit, and OSError where the system announces nothing or a folder goes away whenever it is looked at.
        """
        for left in reversed(range(TRIES)):
            wanted = self._watchable(folders)
            if not wanted:
                raise OSError(errno.ENOENT, "no folder of the vault can be watched")
            paths = [f"{self._root}/{folder}" if folder else self._root for folder in wanted]
            try:
                # FSEvents takes whole trees only, at no cost for what is in them.
                is_tree = sys.platform == "darwin"
                notifier = self._fs.notifier([self._root] if is_tree else paths, recursive=is_tree)
                break
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                if not left:
                    raise
            except OSError as e:
                if e.errno in _LIMITS:
                    raise WatchLimit(f"{len(paths):,} folders are to be watched, more than the system allows.") from e
                raise
        before = self._listener
        with self._guard:
            self._listener = _Listener(notifier, folders, self)
            self._must_place = False
        self._listener.start()
        if before is not None:
            before.stop()
        return len(wanted)

    def take(self) -> Noticed:
        """What was heard since the last time."""
        with self._guard:
            noticed = Noticed(frozenset(self._paths), self._must_scan, self._must_place)
            self._paths = set()
            self._must_scan = self._must_place = False
        return noticed

    def close(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def _watchable(self, folders: Mapping[str, Rules | None]) -> list[str]:
        found, self.unwatched = [], 0
        for folder in folders:
            try:
                folder.encode("utf-8")
                self._root.encode("utf-8")
                if stat.S_ISDIR(self._fs.lstat(f"{self._root}/{folder}" if folder else self._root).st_mode):
                    found.append(folder)
            except UnicodeEncodeError:
                self.unwatched += 1
            except OSError:
                continue  # gone since the scan; its going is noticed in the folder above
        return found

    def _hear(self, changes: set[tuple[int, str]], folders: Mapping[str, Rules | None]) -> None:
        """Sort out what was told: notes to look at, or a reason to scan. Names of no interest cost nothing more."""
        paths: set[str] = set()
        is_more = is_folder = False
        for _, full in changes:
            path = full[len(self._root) + 1 :] if full != self._root else ""
            if not path or path in folders:
                is_folder = True  # it came, went, or changed its permissions
                continue
            folder, _, name = path.rpartition("/")
            if name in IGNORE_FILES:
                is_more = True
                continue
            if folder not in folders or any(map(is_hidden, path.split("/"))):
                continue  # the walk does not get there
            rules, is_dir = folders[folder], self._is_folder(full)
            if rules is not None and rules.ignores(name, is_dir=is_dir):
                continue
            if is_dir:
                is_folder = True
            elif is_note(name):
                paths.add(path)
        with self._guard:
            self.heard += 1
            self._paths |= paths
            if len(self._paths) > self._most:
                self._paths.clear()
                is_more = True
            self._must_scan = self._must_scan or is_more or is_folder
            self._must_place = self._must_place or is_folder
            is_new = bool(self._paths or self._must_scan)
        if is_new:
            self._wake()

    def _is_folder(self, full: str) -> bool:
        try:
            return stat.S_ISDIR(self._fs.lstat(full).st_mode)
        except OSError:
            return False

    def _lose(self) -> None:
        """What was told could not be understood, and what comes is not told any more: look at everything."""
        with self._guard:
            self._must_scan = self._must_place = True
        self._wake()


class _Listener(threading.Thread):
    """Passes on what one notifier tells until it is stopped, or the notifier fails."""

    def __init__(self, notifier: Notifier, folders: Mapping[str, Rules | None], notices: Notices) -> None:
        super().__init__(name="holdfast-notices", daemon=True)
        self._notifier, self._folders, self._notices = notifier, dict(folders), notices
        self._ended = threading.Event()

    def run(self) -> None:
        quiet_ms = self._notices._quiet_ms
        # Quiet is: nothing new from one step to the next. No time limit: what comes just then would be dropped.
        step_ms = max(quiet_ms // 2, 10)
        try:
            while True:
                changes = self._notifier.watch(HELD * quiet_ms, step_ms, 0, self._ended)
                if isinstance(changes, str):
                    return
                self._notices._hear(changes, self._folders)
        except (RuntimeError, OSError):
            if not self._ended.is_set():
                self._notices._lose()
        finally:
            self._notifier.close()

    def stop(self) -> None:
        """Returns once the thread has ended."""
        self._ended.set()
        self.join()

"""Which notes are being read right now: so that a note at which a process dies is not the end of the next one too.

One small file in the index directory, `reading`, written over in place before each batch and emptied at the end of a
pass; docs/index-format.md has its form. Only the holder of the job lock writes it. It is not flushed to the disk: what
it guards against is the death of a process, and the kernel keeps what that has written. Whatever stands in it that
cannot be read, after a power loss, is nothing known. Test: tests/fault/test_poison.py.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from types import TracebackType
from zlib import crc32

from holdfast.files.fs import FileSystem

NAME = "reading"

DEATHS = 2
"""A note at which the process died so often is not read again in it."""

BYTES_MAX = 16 << 20


class Journal:
    """The journal of one pass, as a context: open it under the job lock, or to look only.

    `suspects` are notes whose reading a process did not survive, by how many times: 0 if it was interrupted.
    """

    def __init__(self, fs: FileSystem, path: str, count: Callable[[str], None], *, is_writer: bool) -> None:
        self._fs, self._path, self._count, self._is_writer = fs, path, count, is_writer
        self._fd: int | None = None
        self._is_blank = True  # the file says nothing
        self._reading: list[bytes] = []
        self.suspects: dict[bytes, int] = {}
        self.is_done = False

    def __enter__(self) -> Journal:
        reading, suspects = self._load()
        self.suspects = suspects | {key: suspects.get(key, 0) + 1 for key in reading}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget what was read. What is still suspect stays, unless the pass `is_done` and did not meet it."""
        if kind is not None and not issubclass(kind, Exception):
            # Interrupted, maybe by somebody who waited for a note that hangs.
            self.suspects = dict.fromkeys(self._reading, 0) | self.suspects
        if self.is_done:
            self.suspects = {}
        if self._is_writer and not self._is_blank:
            if self.suspects:
                self._write([])
            else:
                self._attempt(lambda fd: self._fs.truncate(fd, 0))
        if self._fd is not None:
            fd, self._fd = self._fd, None
            try:
                self._fs.close(fd)
            except OSError:
                self._count("journal_not_closed")  # The pass is over, and what it did stands.

    def begin(self, *keys: bytes, is_trial: bool = False) -> None:
        """These notes are parsed and stored in this process from here on, until the next call.

        Suspects among them are not, unless this is their trial: nothing is done with them but to read their bytes.
        """
        reading = [key for key in keys if is_trial or key not in self.suspects]
        if reading or self._reading:
            self._reading = reading
            self._write(reading)

    def settle(self, key: bytes) -> None:
        """This note is in the index, or is set aside: it is no suspect any more."""
        self.suspects.pop(key, None)

    def _load(self) -> tuple[list[bytes], dict[bytes, int]]:
        """What the file says: the notes of the batch at hand, and the suspects."""
        try:
            if not self._fs.lstat(self._path).st_size:
                return [], {}
            self._is_blank = False
            fd = self._fs.open_read(self._path)
            try:
                raw = self._fs.read_all(fd, BYTES_MAX)
            finally:
                self._fs.close(fd)
            head, _, rest = raw.partition(b"\n")
            size, check = head.split(b" ")
            body = rest[: int(size)]
            if len(body) != int(size) or crc32(body) != int(check):
                raise ValueError(head)
            said = json.loads(body)
            suspects = {_key(key): int(deaths) for key, deaths in said["suspects"].items()}
            return [_key(key) for key in said["reading"]], suspects
        except FileNotFoundError:
            return [], {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._count("journal_unreadable")
            return [], {}

    def _write(self, reading: list[bytes]) -> None:
        if not self._is_writer:
            return
        suspects = {key.decode("latin-1"): deaths for key, deaths in self.suspects.items()}
        body = json.dumps({"reading": [key.decode("latin-1") for key in reading], "suspects": suspects}).encode()
        data = b"%d %d\n" % (len(body), crc32(body)) + body

        def put(fd: int) -> None:
            at = 0
            while at < len(data):
                taken = self._fs.pwrite(fd, memoryview(data)[at:], at)
                if taken <= 0:
                    raise OSError(errno.EIO, "nothing was written")
                at += taken

        self._is_blank = False
        self._attempt(put)

    def _attempt(self, call: Callable[[int], None]) -> None:
        """Without its journal a sync is as good as ever, as long as it lives."""
        try:
            if self._fd is None:
                self._fd = self._fs.open_lock(self._path)
            call(self._fd)
        except OSError:
            self._count("journal_failed")


def _key(text: str) -> bytes:
    """A key as it stands in the file: one character for each byte."""
    return text.encode("latin-1")

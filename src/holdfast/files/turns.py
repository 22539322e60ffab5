"""One of our own processes at a time changes the notes of a folder.

An exchange of names shows a new content for a moment before it is known whether it may stay (files/swap.py). Another
of ours that read it then would build upon what is taken back, and the change in between would be lost. It is the
folder itself that is locked (flock), so there is no file to make, and everybody means the same one; the lock ends with
its process. Where a folder cannot be locked, a file beside the index is.
Test: fault/test_swap.py::test_many_hands, and fault/test_writers.py.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.errors import VaultBusy
from holdfast.files.fs import FileSystem

_FIRST_S, _MOST_S = 0.0005, 0.008
_CANNOT = (errno.EBADF, errno.EINVAL, errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS)


@contextmanager
def turn(fs: FileSystem, folder: str, spare: str, wait_s: float) -> Iterator[None]:
    """Be the one that changes notes in `folder`; raises VaultBusy after `wait_s`, and OSError where it is not there.

    `spare` is the file that is locked where folders cannot be.
    """
    fd = fs.open_read(folder, follow=True)
    try:
        try:
            _wait(fs, fd, folder, wait_s)
        except OSError as e:
            if e.errno not in _CANNOT:
                raise
            fs.close(fd)
            fd = fs.open_lock(spare)
            _wait(fs, fd, folder, wait_s)
        yield
    finally:
        fs.close(fd)


def _wait(fs: FileSystem, fd: int, folder: str, wait_s: float) -> None:
    until, pause = fs.monotonic_ns() + int(wait_s * 1e9), _FIRST_S
    while not fs.flock(fd, exclusive=True):
        if fs.monotonic_ns() >= until:
            raise VaultBusy(f"Another process is changing notes in {folder}.", hint="Try again in a moment.")
        fs.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that waiting processes do not march in step
        pause = min(pause * 1.5, _MOST_S)

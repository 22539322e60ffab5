"""What is expected of a mount, and the step in which it counts time."""

from __future__ import annotations

import sys

import pytest

from holdfast.files.fs import FileSystem
from holdfast.files.mounts import SECOND_NS, TICK_NS, Traits, grain_ns, traits

TABLE = rb"""22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/nas\040one rw,relatime shared:7 - nfs4 nas:/x rw,vers=4.2
31 22 0:41 / /mnt/usb rw - vfat /dev/sdb1 rw
32 22 0:42 / /mnt/ssh rw - fuse.sshfs me@host:/ rw
33 32 0:43 / /mnt/ssh/inner rw - tmpfs none rw
34 22 0:44 / /over rw - ext4 /dev/sdc rw
35 34 0:45 / /over rw - 9p share rw
36 22 0:46 / /new rw - brandnewfs x rw
broken line
"""
GOOD, CAREFUL = Traits(False, True, True), Traits(True, False, False)


class TableFS(FileSystem):
    def read_all(self, fd: int, size_hint: int = 0) -> bytes:
        return TABLE

    def realpath(self, path: str) -> str:
        return path


@pytest.mark.skipif(sys.platform != "linux", reason="mount tables are read on Linux only")
@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("/home/me/vault", GOOD),
        ("/mnt/nas one/vault", CAREFUL),
        ("/mnt/nas one", CAREFUL),
        ("/mnt/nas one-b", GOOD),
        ("/mnt/usb/v", Traits(False, False, True)),
        ("/mnt/ssh/v", CAREFUL),
        ("/mnt/ssh/inner/v", GOOD),
        ("/over/v", CAREFUL),
        ("/new/v", CAREFUL),
    ],
)
def test_the_nearest_mount_counts(root: str, expected: Traits) -> None:
    assert traits(TableFS(), root) == expected


def test_without_a_table_the_careful_answer() -> None:
    class NoProc(FileSystem):
        def open_read(self, path: str, *, follow: bool = False) -> int:
            raise FileNotFoundError

    if sys.platform == "linux":
        assert traits(NoProc(), "/x") == CAREFUL


@pytest.mark.parametrize(
    ("ctimes", "expected"),
    [
        ([], 2 * SECOND_NS),
        ([1_700_000_000_123_456_789] * 3, 2 * SECOND_NS),
        ([2 * n * SECOND_NS for n in range(50)], 2 * SECOND_NS),
        ([n * SECOND_NS for n in range(50)], SECOND_NS),
        ([n * SECOND_NS for n in range(50)] + [5_123_000_000], TICK_NS),
        ([n * 123_456_789 for n in range(50)], TICK_NS),
    ],
)
def test_grain(ctimes: list[int], expected: int) -> None:
    assert grain_ns(ctimes) == expected

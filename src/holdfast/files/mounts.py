"""What can be expected of the file system that a vault lies on.

Where it is not known, the answer is the careful one: it costs a poll or a digest, the other one costs a missed change.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.files.fs import FileSystem

SECOND_NS = 1_000_000_000
TICK_NS = 10_000_000
"""A kernel's clock tick at HZ=100: file times are taken from it, so two changes within one may bear the same time."""

SAMPLES = 8

_LOCAL = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlay", "bcachefs", "jfs", "nilfs2"}
)
_SYNTHETIC_INODES = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "hfs", "hfsplus", "udf"})


@dataclass(frozen=True, slots=True)
class Traits:
    """What a mount is like.

    `network`: a stat may take milliseconds, and others change files without this machine knowing. `stable_inodes`: a
    file keeps its inode number from one mount, or one look, to the next. `events`: changes are announced.
    """

    network: bool
    stable_inodes: bool
    events: bool


_CAREFUL = Traits(network=True, stable_inodes=False, events=False)
_GOOD = Traits(network=False, stable_inodes=True, events=True)


def traits(fs: FileSystem, root: str) -> Traits:
    """The traits of the mount that `root` is on."""
    if sys.platform == "darwin":
        return _GOOD
    kind = _mount_type(fs, fs.realpath(root))
    if kind in _LOCAL:
        return _GOOD
    if kind in _SYNTHETIC_INODES:
        return Traits(network=False, stable_inodes=False, events=True)
    return _CAREFUL


def _mount_type(fs: FileSystem, path: str) -> str:
    """The type of the file system `path` is on, "" if unknown."""
    try:
        fd = fs.open_read("/proc/self/mountinfo")
        try:
            table = fs.read_all(fd)
        finally:
            fs.close(fd)
    except OSError:
        return ""
    best, kind = -1, ""
    for line in table.decode("utf-8", "surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4]).rstrip("/")
        # Of mounts on one point the last covers the others.
        if len(point) >= best and (path == point or path.startswith(point + "/")):
            best, kind = len(point), right.split(" ")[0]
    return kind


def grain_ns(ctimes: Iterable[int]) -> int:
    """The step in which this file system counts time, judged by the times it gave: 2 s, 1 s or a clock tick.

    Few samples prove nothing; then it is 2 s, the coarsest in use (FAT).
    """
    count, is_seconds, is_two = 0, True, True
    for ctime in ctimes:
        count += 1
        if is_seconds and ctime % SECOND_NS:
            is_seconds = is_two = False
        elif is_two and ctime % (2 * SECOND_NS):
            is_two = False
    if count < SAMPLES or is_two:
        return 2 * SECOND_NS
    return SECOND_NS if is_seconds else TICK_NS

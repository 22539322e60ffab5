"""What is on the disk, all the time: the largest size of an index that was ever seen."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def allocated(directory: str) -> tuple[int, int]:
    """(bytes allocated below `directory`, files there), with what is deleted and still open in a process of ours."""
    size, files = 0, 0
    seen: set[tuple[int, int]] = set()
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                st = os.lstat(f"{folder}/{name}")
            except FileNotFoundError:
                continue
            size, files = size + st.st_blocks * 512, files + 1
            seen.add((st.st_dev, st.st_ino))
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        for link in links:
            try:
                if not os.readlink(link).startswith(directory):
                    continue
                st = os.stat(link)
            except OSError:
                continue
            if (st.st_dev, st.st_ino) not in seen:
                seen.add((st.st_dev, st.st_ino))
                size += st.st_blocks * 512
    return size, files


class Sampler(threading.Thread):
    """Looks each `every_s`; `peak` and `most_files` are the largest that it saw."""

    def __init__(self, directory: str, every_s: float = 0.1) -> None:
        super().__init__(daemon=True)
        self._directory, self._every_s, self._ended = directory, every_s, threading.Event()
        self.peak = self.most_files = self.looks = 0

    def run(self) -> None:
        while True:
            size, files = allocated(self._directory)
            self.peak, self.most_files = max(self.peak, size), max(self.most_files, files)
            self.looks += 1
            if self._ended.wait(self._every_s):
                return

    def stop(self) -> None:
        self._ended.set()
        self.join()


@contextmanager
def sampled(directory: str, every_s: float = 0.1) -> Iterator[Sampler]:
    sampler = Sampler(directory, every_s)
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()

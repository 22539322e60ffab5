"""Reads the graph files of a segment as bytes: header, elements, lengths and link lists, without chromadb or hnswlib.

The layout is hnswlib's persisted index (hnswalg.h: persistHeader, persistDirty, loadPersistedIndex). hnswlib trusts
every number in it, so each is checked here against the size of its file before anything is read. Memory is one block
and eight bytes for each element. Symlinks and special files are not opened.
"""

from __future__ import annotations

import math
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from holdfast.clinic.chroma.pickled import MAX_BYTES, Entries, Refused, entries

HEADER = "header.bin"
ELEMENTS = "data_level0.bin"
LENGTHS = "length.bin"
LINKS = "link_lists.bin"
IDS = "index_metadata.pickle"
FILES = (HEADER, ELEMENTS, LENGTHS, LINKS, IDS)

_LAYOUT = struct.Struct("<i6QiI3QdQ")
_BLOCK = 4 << 20
_MOST_ELEMENTS = 20_000_000
_MOST_LINKS = 1 << 15
MOST_DIMENSIONS = 1 << 20
_MOST_LEVELS = 64
_NOWHERE = 0xFFFFFFFF

Labels = npt.NDArray[np.uint64]


class Unreadable(Exception):
    """A file of the segment cannot be read; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What `header.bin` says, checked within itself."""

    room: int
    count: int
    element_bytes: int
    label_offset: int
    levels: int
    links: int
    links0: int
    dimension: int

    @property
    def most_link_bytes(self) -> int:
        """The longest `link_lists.bin` that these counts allow."""
        return self.count * (4 + max(0, self.levels) * (4 * self.links + 4))


@dataclass(slots=True)
class Graph:
    """What the files of one segment hold. `wrong` says in words what is damaged."""

    is_there: bool = False
    files: list[str] = field(default_factory=list)
    bytes: int = 0
    disk_bytes: int = 0
    newest_ns: int = 0
    header: Header | None = None
    entries: Entries | None = None
    wrong: list[str] = field(default_factory=list)
    hostile: bool = False
    live: Labels = field(default_factory=lambda: np.empty(0, np.uint64))
    dead: Labels = field(default_factory=lambda: np.empty(0, np.uint64))
    links_end: int = 0
    """Where the link lists end that the header counts; 0 if they could not be walked."""
    excess: int = 0
    """Bytes of `link_lists.bin` past the most that the header allows."""
    unchecked: str = ""


def read(folder: str) -> Graph:
    """What is in `folder`; nothing in it can make this fail, run code, or use memory without bound."""
    graph = Graph()
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            graph.is_there = True
            graph.wrong.append(
                "the place of its folder is taken by something that is no folder (a link is not followed)"
            )
            return graph
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return graph
    except OSError as e:
        graph.is_there = True
        graph.wrong.append(f"its folder cannot be read: {e.strerror}")
        return graph
    graph.is_there = True
    try:
        _measure(graph, fd)
        for step in (_ids, _header, _elements, _links):
            try:
                step(graph, fd)
            except Unreadable as e:
                graph.wrong.append(str(e))
    finally:
        os.close(fd)
    return graph


def _measure(graph: Graph, folder: int) -> None:
    for name in sorted(os.listdir(folder)):
        try:
            st = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(st.st_mode):
            graph.bytes += st.st_size
            graph.disk_bytes += st.st_blocks * 512
            graph.newest_ns = max(graph.newest_ns, st.st_mtime_ns)
        graph.files.append(name)


@contextmanager
def _opened(folder: int, name: str) -> Iterator[tuple[int, int]]:
    """A descriptor of the regular file `name` and its size."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError as e:
        raise Unreadable(f"{name} is missing") from e
    except OSError as e:
        raise Unreadable(f"{name} cannot be opened: {e.strerror}") from e
    try:
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode):
            raise Unreadable(f"{name} is no file")
        yield fd, st.st_size
    except OSError as e:
        raise Unreadable(f"{name} cannot be read: {e.strerror}") from e
    finally:
        os.close(fd)


def _ids(graph: Graph, folder: int) -> None:
    """The id list; that there is none is for the caller to judge."""
    if IDS not in graph.files:
        return
    with _opened(folder, IDS) as (fd, size):
        if size > MAX_BYTES:
            raise Unreadable(f"{IDS} has {size:,} bytes, more than an id list does")
        try:
            graph.entries = entries(_whole(fd, size))
        except Refused as e:
            graph.hostile = e.hostile
            raise Unreadable(f"{IDS} cannot be used: {e}") from e


def _whole(fd: int, size: int) -> bytes:
    parts = []
    at = 0
    while at < size and (part := os.pread(fd, min(_BLOCK, size - at), at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _header(graph: Graph, folder: int) -> None:
    if HEADER not in graph.files and graph.entries is None and IDS not in graph.files:
        return
    with _opened(folder, HEADER) as (fd, size):
        if size < _LAYOUT.size:
            raise Unreadable(f"{HEADER} has {size} of {_LAYOUT.size} bytes")
        values = _LAYOUT.unpack(os.pread(fd, _LAYOUT.size, 0))
    version, start, room, count, element, label, vector, levels, entry, links, links0, m, spread, _ = values
    if version != 1:
        raise Unreadable(f"{HEADER} has version {version}; only 1 is known")
    dimension, rest = divmod(label - vector, 4)
    sound = (
        start == 0
        and 0 < links <= _MOST_LINKS
        and 0 < links0 <= _MOST_LINKS
        and m == links
        and vector == 4 * links0 + 4
        and rest == 0
        and 0 < dimension <= MOST_DIMENSIONS
        and element == label + 8
        and count <= room
        and -1 <= levels < _MOST_LEVELS
        and (entry < count if count else entry in (0, _NOWHERE))
        and (links < 2 or math.isclose(spread, 1 / math.log(links), rel_tol=1e-6))
    )
    if not sound:
        raise Unreadable(f"the numbers in {HEADER} contradict each other")
    graph.header = Header(room, count, element, label, levels, links, links0, dimension)


def _elements(graph: Graph, folder: int) -> None:
    header = graph.header
    if header is None or header.count == 0:
        return
    with _opened(folder, LENGTHS) as (_, size):
        if size < 4 * header.count:
            graph.wrong.append(f"{LENGTHS} holds {size // 4:,} of {header.count:,} lengths")
    with _opened(folder, ELEMENTS) as (fd, size):
        held = min(header.count, size // header.element_bytes)
        if held < header.count:
            share = size / (header.count * header.element_bytes)
            graph.wrong.append(f"{ELEMENTS} is cut off: it holds {held:,} of {header.count:,} elements ({share:.0%})")
        if held > _MOST_ELEMENTS:
            graph.unchecked = f"Its {held:,} elements are too many to look at one by one."
            return
        _scan(graph, header, fd, held)


def _scan(graph: Graph, header: Header, fd: int, held: int) -> None:
    """Labels of all elements, live and delete-marked; links that lead nowhere."""
    per_block = max(1, _BLOCK // header.element_bytes)
    every = np.empty(held, np.uint64)
    marked = np.empty(held, np.bool_)
    slots = np.arange(header.links0, dtype=np.uint32)
    dangling = 0
    for first in range(0, held, per_block):
        n = min(per_block, held - first)
        block = np.frombuffer(_exactly(fd, n * header.element_bytes, first * header.element_bytes), np.uint8)
        rows = block.reshape(n, header.element_bytes)
        links = rows[:, : 4 * header.links0 + 4].copy().view(np.uint32)
        sizes = links[:, 0] & 0xFFFF
        used = slots[None, :] < sizes[:, None]
        dangling += int(np.count_nonzero((sizes > header.links0) | ((links[:, 1:] >= header.count) & used).any(axis=1)))
        every[first : first + n] = rows[:, header.label_offset :].copy().view(np.uint64)[:, 0]
        marked[first : first + n] = (links[:, 0] >> 16) & 1
    if dangling:
        graph.wrong.append(f"{dangling:,} elements of {ELEMENTS} have links that lead nowhere")
    graph.live, graph.dead = every[~marked], every[marked]


def _exactly(fd: int, size: int, offset: int) -> bytes:
    out = os.pread(fd, size, offset)
    while len(out) < size and (more := os.pread(fd, size - len(out), offset + len(out))):
        out += more
    if len(out) < size:
        raise Unreadable(f"{ELEMENTS} became shorter while it was read")
    return out


def _links(graph: Graph, folder: int) -> None:
    header = graph.header
    if header is None or header.count == 0 or graph.unchecked:
        return
    with _opened(folder, LINKS) as (fd, size):
        _walk(graph, header, fd, size)
        graph.excess = max(0, size - header.most_link_bytes)


def _walk(graph: Graph, header: Header, fd: int, size: int) -> None:
    level_bytes = 4 * header.links + 4
    window = _Window(fd, size)
    dangling = 0
    for n in range(header.count):
        length = window.number()
        if length is None:
            raise Unreadable(f"{LINKS} is cut off: it holds the links of {n:,} of {header.count:,} elements")
        if not length:
            continue
        levels, rest = divmod(length, level_bytes)
        if rest or levels > header.levels:
            raise Unreadable(f"{LINKS} says that element {n:,} has {length:,} bytes of links, which cannot be")
        lists = window.numbers(length)
        if lists is None:
            raise Unreadable(f"{LINKS} is cut off: it holds the links of {n:,} of {header.count:,} elements")
        dangling += _is_dangling(lists.reshape(levels, header.links + 1), header)
    graph.links_end = window.at
    if dangling:
        graph.wrong.append(f"{dangling:,} elements of {LINKS} have links that lead nowhere")


def _is_dangling(lists: Any, header: Header) -> bool:
    sizes = lists[:, 0] & 0xFFFF
    used = np.arange(header.links, dtype=np.uint32)[None, :] < sizes[:, None]
    return bool((sizes > header.links).any() or ((lists[:, 1:] >= header.count) & used).any())


class _Window:
    """A file read from its start, block by block."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd, self._size = fd, size
        self._block, self._from = b"", 0
        self.at = 0

    def _take(self, size: int) -> int | None:
        """Where in the block the next `size` bytes begin; None if the file ends before."""
        inside = self.at - self._from
        if inside + size > len(self._block):
            if self.at + size > self._size:
                return None
            self._block, self._from, inside = os.pread(self._fd, max(size, 1 << 20), self.at), self.at, 0
            if len(self._block) < size:
                return None
        self.at += size
        return inside

    def number(self) -> int | None:
        inside = self._take(4)
        return None if inside is None else int.from_bytes(self._block[inside : inside + 4], "little")

    def numbers(self, size: int) -> npt.NDArray[np.uint32] | None:
        inside = self._take(size)
        return None if inside is None else np.frombuffer(self._block, np.uint32, size // 4, inside)

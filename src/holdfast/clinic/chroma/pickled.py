"""Reads the id list of a segment, `index_metadata.pickle`, without unpickling: no class is imported, no code can run.

An interpreter of its own for the few instructions that chromadb's files are made of. It builds dictionaries, lists,
strings and numbers; a class is only ever chromadb's `PersistentData`, and that becomes a dictionary. Whatever else
the file asks for is refused by name. Memory is bounded by the size of the file, never by a number in it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_BYTES = 512 << 20
_MAX_CONTAINERS = 64
_LABELS = 1 << 63


class Refused(Exception):
    """The file is no id list; the text says why, and `hostile` that it would run code."""

    def __init__(self, why: str, *, hostile: bool = False) -> None:
        super().__init__(why)
        self.hostile = hostile


@dataclass(frozen=True, slots=True)
class Entries:
    """The id list: the label in the graph of each id; `added` is the last label given out."""

    labels: dict[str, int]
    added: int
    dimension: int | None
    max_seq_id: int | None


class _Mark:
    """Where a list of arguments begins."""


class _Persistent(dict[str, Any]):
    """An instance of chromadb's class, as what it holds."""


_MARK = _Mark()
_CLASS = object()


class _Stack:
    """The state of the interpreter."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.containers = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.content):
            raise Refused("it is cut off")
        out = self.content[self.at : end]
        self.at = end
        return out

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def pop(self) -> Any:
        if not self.stack:
            raise Refused("it is no pickle")
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        for n in range(len(self.stack) - 1, -1, -1):
            if self.stack[n] is _MARK:
                items = self.stack[n + 1 :]
                del self.stack[n:]
                return items
        raise Refused("it is no pickle")

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise Refused("it is no pickle")
        return self.stack[-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def contain(self, value: Any) -> None:
        """Push a container; an id list has a handful, a bomb has millions."""
        self.containers += 1
        if self.containers > _MAX_CONTAINERS:
            raise Refused("it holds more than an id list does")
        self.stack.append(value)


def _text(s: _Stack, width: int) -> None:
    try:
        s.push(s.take(s.number(width)).decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError as e:
        raise Refused("an id in it is no text") from e


def _put(s: _Stack, pairs: list[Any]) -> None:
    target = s.top(dict)
    if len(pairs) % 2:
        raise Refused("it is no pickle")
    keys = pairs[::2]
    for key in keys:
        if type(key) is not str and type(key) is not int:
            raise Refused("a key in it is neither text nor number")
    target.update(zip(keys, pairs[1::2], strict=True))


def _named(s: _Stack, module: Any, name: Any) -> None:
    if not (name == "PersistentData" and isinstance(module, str) and module.split(".")[0] == "chromadb"):
        shown = ascii(f"{module}.{name}"[:80])
        raise Refused(f"it asks for {shown}, which is no part of an id list and could run code", hostile=True)
    s.push(_CLASS)


def _global(s: _Stack) -> None:
    end = s.content.find(b"\n", s.at, s.at + 300)
    last = s.content.find(b"\n", end + 1, end + 300) if end >= 0 else -1
    if last < 0:
        raise Refused("it is no pickle")
    module, name = (s.content[a:b].decode("latin-1") for a, b in ((s.at, end), (end + 1, last)))
    s.at = last + 1
    _named(s, module, name)


def _stack_global(s: _Stack) -> None:
    name, module = s.pop(), s.pop()
    _named(s, module, name)


def _new(s: _Stack) -> None:
    arguments, kind = s.pop(), s.pop()
    if kind is not _CLASS or arguments != ():
        raise Refused("it makes an object that is no id list", hostile=True)
    s.contain(_Persistent())


def _build(s: _Stack) -> None:
    state = s.pop()
    if not isinstance(state, dict):
        raise Refused("it is no id list")
    s.top(_Persistent).update(state)


def _recall(s: _Stack, key: int) -> None:
    if key not in s.memo:
        raise Refused("it is no pickle")
    s.push(s.memo[key])


def _remember(s: _Stack, key: int) -> None:
    s.memo[key] = s.top(object)


def _append(s: _Stack, items: list[Any]) -> None:
    s.top(list).extend(items)


def _skip(s: _Stack, size: int) -> None:
    s.take(size)


def _pair(s: _Stack) -> None:
    value, key = s.pop(), s.pop()
    _put(s, [key, value])


_STEPS: dict[int, Callable[[_Stack], None]] = {
    0x80: lambda s: _skip(s, 1),
    0x95: lambda s: _skip(s, 8),
    ord("}"): lambda s: s.contain({}),
    ord("]"): lambda s: s.contain([]),
    ord(")"): lambda s: s.push(()),
    ord("("): lambda s: s.push(_MARK),
    ord("X"): lambda s: _text(s, 4),
    0x8C: lambda s: _text(s, 1),
    0x8D: lambda s: _text(s, 8),
    ord("J"): lambda s: s.push(struct.unpack("<i", s.take(4))[0]),
    ord("K"): lambda s: s.push(s.number(1)),
    ord("M"): lambda s: s.push(s.number(2)),
    0x8A: lambda s: s.push(int.from_bytes(s.take(s.number(1)), "little", signed=True)),
    ord("G"): lambda s: s.push(struct.unpack(">d", s.take(8))[0]),
    ord("N"): lambda s: s.push(None),
    0x88: lambda s: s.push(True),
    0x89: lambda s: s.push(False),
    ord("s"): _pair,
    ord("u"): lambda s: _put(s, s.since_mark()),
    ord("a"): lambda s: _append(s, [s.pop()]),
    ord("e"): lambda s: _append(s, s.since_mark()),
    ord("q"): lambda s: _remember(s, s.number(1)),
    ord("r"): lambda s: _remember(s, s.number(4)),
    0x94: lambda s: _remember(s, len(s.memo)),
    ord("h"): lambda s: _recall(s, s.number(1)),
    ord("j"): lambda s: _recall(s, s.number(4)),
    ord("c"): _global,
    0x93: _stack_global,
    0x81: _new,
    ord("b"): _build,
}
_STOP = ord(".")
# What makes a pickle run code: REDUCE, INST, OBJ, NEWOBJ_EX, the extension registry, persistent ids.
_CODE = frozenset(b"RioPQ\x92\x82\x83\x84")


def plain(content: bytes) -> Any:
    """The value in `content`, made of plain things. Raises Refused."""
    s = _Stack(content)
    while True:
        if s.at >= len(content):
            raise Refused("it is cut off")
        step = content[s.at]
        s.at += 1
        if step == _STOP:
            return s.pop()
        act = _STEPS.get(step)
        if act is None:
            hostile = step in _CODE
            raise Refused("it would run code" if hostile else "it is no pickle of chromadb's", hostile=hostile)
        act(s)


def entries(content: bytes) -> Entries:
    """The id list in `content`. Raises Refused if it is none, or if its two directions disagree."""
    root = plain(content)
    if not isinstance(root, dict):
        raise Refused("it is no id list")
    labels, ids = root.get("id_to_label"), root.get("label_to_id")
    if not isinstance(labels, dict) or not isinstance(ids, dict):
        raise Refused("it is no id list")
    for key, label in labels.items():
        if type(key) is not str or type(label) is not int or not 0 <= label < _LABELS:
            raise Refused("an id in it has no label")
    # A strong claim, and cheap: every id is found again by its label.
    if len(ids) != len(labels) or any(ids.get(label) != key for key, label in labels.items()):
        raise Refused("its two directions, id to label and label to id, disagree")
    return Entries(labels, _count(root.get("total_elements_added")) or 0,
                   _count(root.get("dimensionality")), _count(root.get("max_seq_id")))  # fmt: skip


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None

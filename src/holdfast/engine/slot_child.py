"""What runs in the slot: a process that parses one note after the other and does nothing else.

It reads requests from its input and writes replies to its output, both length-prefixed pickles between two ends that
are ours. It ends when its input does; in the middle of a note when its leash does, a pipe of which the other end is
held by who started it: the kernel says so by SIGIO, whose default is death; and by SIGALRM a while after a note's time,
should nobody be left to end it. It loads neither numpy nor SQLite.
Test: tests/fault/test_slot.py.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import struct
import sys
from operator import attrgetter
from typing import Any, BinaryIO

from holdfast.engine.record import read_record
from holdfast.index.asking import ChunkRow
from holdfast.index.base import FactRow, LinkRow, NoteRecord

LENGTH = struct.Struct(">Q")
"""What stands before each message: its size."""

GRACE_S = 5.0
"""How much longer than a note's time the slot lives by itself."""

WORDS_CHARS = 300

READY, PARSED, FAILED = "ready", "parsed", "failed"

NO_MEMORY = 12
"""The exit code where a note takes more memory than there is: what is left of the process is no good for another."""

# Rows cross as tuples: a pickled dataclass costs ten times as much.
_ROWS: dict[str, type] = {"chunks": ChunkRow, "links": LinkRow, "facts": FactRow}
_NAMES: tuple[str, ...] = tuple(NoteRecord.__slots__)


def pack(record: NoteRecord, cut: str) -> tuple[str, str, list[Any]]:
    """The reply for a note that was parsed."""
    values = []
    for name in _NAMES:
        value = getattr(record, name)
        if name in _ROWS:
            value = list(map(attrgetter(*_ROWS[name].__slots__), value))  # type: ignore[attr-defined]
        values.append(value)
    return PARSED, cut, values


def unpack(cut: str, values: list[Any]) -> tuple[NoteRecord, str]:
    """What `pack` was given."""
    named = dict(zip(_NAMES, values, strict=True))
    for name, kind in _ROWS.items():
        named[name] = [kind(*row) for row in named[name]]
    return NoteRecord(**named), cut


def in_words(error: Exception) -> str:
    """What an error of the parser says, without end: it may quote the whole note."""
    return f"{type(error).__name__}: {error}"[:WORDS_CHARS]


def serve(memory_bytes: int, leash: int = -1) -> None:
    """Answer requests until there are no more; never returns."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.dup(1)
    # Whatever else writes to the output would be taken for a reply.
    os.dup2(2, 1)
    _limit(memory_bytes)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with(leash)
    try:
        # What is loaded late is loaded now, within the limit: if that is too low, it is no note's fault.
        read_record(b"- [a] [[b]] \xc3\xa4\n", "a.md", 250, b"")
        _write(sink, pickle.dumps((READY,), 5))
        _answer(source, sink)
    except MemoryError:
        os._exit(NO_MEMORY)
    os._exit(0)


def _answer(source: BinaryIO, sink: int) -> None:
    while (request := _receive(source)) is not None:
        data, path, chunk_tokens, digest, limit_s = request
        signal.setitimer(signal.ITIMER_REAL, limit_s + GRACE_S)
        try:
            reply: tuple[Any, ...] = pack(*read_record(data, path, chunk_tokens, digest))
            body = pickle.dumps(reply, 5)
        except MemoryError:
            raise
        except Exception as e:  # noqa: BLE001 - whatever a note does to the parser: it is counted by who asked
            body = pickle.dumps((FAILED, in_words(e)), 5)
        reply = request = data = None  # type: ignore[assignment]
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(sink, body)


def _limit(memory_bytes: int) -> None:
    import resource

    for kind, most in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)):
        try:
            soft, hard = resource.getrlimit(kind)
            least = min(x for x in (most, soft, hard) if x != resource.RLIM_INFINITY)
            resource.setrlimit(kind, (least, hard))
        except (OSError, ValueError):
            pass  # a system without this limit: then the machine's own must do


def _die_with(leash: int) -> None:
    """Let the end of the leash end this process, also while it is busy: whoever asked is gone.

    It is a pipe of its own because nothing else ever comes through it: of a request the kernel may tell late, after it
    was read, when the process is at the note. Three of 5,000 notes of a watch on two busy cores died of that
    (fault/test_watch_process.py::test_a_watch_that_was_stopped_finds_what_happened_meanwhile).
    """
    import fcntl

    if leash < 0:
        return
    try:
        fcntl.fcntl(leash, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)
    except (OSError, AttributeError):
        return  # no such thing here: the end of the input does it, or the alarm, later
    poll = select.poll()
    poll.register(leash, select.POLLIN)
    if any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0)):
        os._exit(0)  # it ended before


def _receive(source: BinaryIO) -> Any:
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    body = source.read(size)
    return pickle.loads(body) if len(body) == size else None  # noqa: S301 - from the process that started this one


def _write(sink: int, body: bytes) -> None:
    try:
        for part in (LENGTH.pack(len(body)), body):
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(sink, rest) :]
    except OSError:
        os._exit(0)  # nobody is left to read it


if __name__ == "__main__":
    serve(int(sys.argv[1]))

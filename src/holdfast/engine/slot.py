"""A process of its own in which notes are parsed that could do harm: one that hangs, dies or eats memory takes nothing
with it but its slot.

Started when it is first needed, reused, and ended with the pass, or with the vault in programs that stay. A note that
does not answer in its time is given up with its process. Where no process can be started, notes are parsed where they
always were, under the journal's eyes (engine/journal.py).
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from holdfast.engine.slot_child import FAILED, LENGTH, NO_MEMORY, PARSED, READY, unpack
from holdfast.errors import NoteMalformed
from holdfast.index.base import NoteRecord
from holdfast.model import show_path

T = TypeVar("T")

START_S = 30.0
"""How long a new process may take until it can be used; a busy machine needs a second or two."""

REPLY_SCALE, REPLY_BYTES = 16, 64 << 20
"""What a note says is at most so many times its bytes, and so much more."""

BLOCK = 1 << 18

# -P keeps the current directory off the path: a vault may hold a `yaml.py`. Where this package was found goes last.
_START = (
    "import sys; sys.path.append(sys.argv[1]); from holdfast.engine.slot_child import serve; "
    "serve(int(sys.argv[2]), int(sys.argv[3]))"
)


REST_S = 60.0
"""After a process that could not be started, how long none is tried."""

DYING_S = 2.0
"""How long a process that closed its output may take to end."""


class SlowError(Exception):
    """The note did not answer in its time."""


class UnavailableError(Exception):
    """No process could be started, or none that works; no fault of the note."""


class _DiedError(Exception):
    """The process ended, or closed its output."""


class Slots:
    """The slots of one vault: a thread takes one that is idle, or a new one. Nobody waits for another's note."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._guard = threading.Lock()
        self._idle: list[Slot] = []
        self._rest_until_s = 0.0

    def read(self, data: bytes, path: str, chunk_tokens: int, digest: bytes, limit_s: float) -> tuple[NoteRecord, str]:
        """See `Slot.read`."""
        return self._use(lambda slot: slot.read(data, path, chunk_tokens, digest, limit_s))

    def warm(self) -> None:
        """Start a process before it is needed. Raises UnavailableError."""
        self._use(Slot.start)

    def close(self) -> None:
        """End the processes that are idle, and let the next one be tried at once."""
        with self._guard:
            idle, self._idle = self._idle, []
            self._rest_until_s = 0.0
        for slot in idle:
            slot.close()

    def _use(self, work: Callable[[Slot], T]) -> T:
        with self._guard:
            if time.monotonic() < self._rest_until_s:
                raise UnavailableError("it could not be started a moment ago")
            slot = self._idle.pop() if self._idle else Slot(self._memory_bytes)
        try:
            return work(slot)
        except UnavailableError:
            self._rest_until_s = time.monotonic() + REST_S
            raise
        finally:
            with self._guard:
                self._idle.append(slot)


class Slot:
    """At most one process at a time, for one thread at a time."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._child: subprocess.Popen[bytes] | None = None
        self._end: Any = None
        self._held = -1

    @property
    def pid(self) -> int | None:
        """Of the process, None while there is none."""
        return self._child.pid if self._child is not None else None

    def start(self) -> None:
        """Start the process, if there is none. Raises UnavailableError."""
        self._started()

    def read(self, data: bytes, path: str, chunk_tokens: int, digest: bytes, limit_s: float) -> tuple[NoteRecord, str]:
        """What engine.record.read_record says of the note, within `limit_s`.

        Raises SlowError, NoteMalformed (it breaks the parser, kills its process, or needs too much memory) and
        UnavailableError.
        """
        child = self._started()
        body = pickle.dumps((data, path, chunk_tokens, digest, limit_s), 5)
        try:
            reply = _exchange(child, body, REPLY_SCALE * len(data) + REPLY_BYTES, time.monotonic() + limit_s)
        except _DiedError as e:
            code = self._stop(DYING_S)
            if code == -signal.SIGALRM:
                raise SlowError from e
            if code == NO_MEMORY:
                raise NoteMalformed(
                    f"Parsing {show_path(path)} takes more than {self._memory_bytes >> 20:,} MiB."
                ) from e
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise NoteMalformed(f"The parser died at {show_path(path)} ({how}).") from e
        except BaseException:
            self._stop()  # it is in the middle of a note, and what it says next nobody waits for
            raise
        if reply[0] == PARSED:
            return unpack(*reply[1:])
        assert reply[0] == FAILED
        raise NoteMalformed(f"{show_path(path)} could not be parsed: {reply[1]}.")

    def close(self) -> None:
        """End the process, if there is one, and wait for it."""
        self._stop()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._stop()
        if os.name != "posix":
            raise UnavailableError("there are no processes of this kind here")
        # The folder in which this package lies: of `src/holdfast/engine/slot.py`, `src`.
        where = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        leash = held = -1
        try:
            leash, held = os.pipe()
            command = [sys.executable, "-P", "-c", _START, where, str(self._memory_bytes), str(leash)]
            child = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # ^C in a terminal is for the command, which then ends the slot
                pass_fds=(leash,),
            )
        except (OSError, ValueError, subprocess.SubprocessError) as e:
            if held >= 0:
                os.close(held)
            raise UnavailableError(str(e)) from e
        finally:
            if leash >= 0:
                os.close(leash)
        self._child = child
        # Whoever forgets to close: the process ends with this object, and leaves no zombie.
        self._held = held
        self._end = weakref.finalize(self, _end, child, held)
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        try:
            if _receive(child, BLOCK, time.monotonic() + START_S) != (READY,):
                raise _DiedError
        except (_DiedError, SlowError) as e:
            code = self._stop(DYING_S if isinstance(e, _DiedError) else 0.0)
            raise UnavailableError(f"it did not start (exit code {code})") from e
        except BaseException:
            self._stop()
            raise
        return child

    def _stop(self, patience_s: float = 0.0) -> int:
        """End the process and give its exit code, negative for a signal; 0 if there is none."""
        child, self._child = self._child, None
        if child is None:
            return 0
        self._end.detach()
        return _end(child, self._held, patience_s)


def _end(child: subprocess.Popen[bytes], held: int, patience_s: float = 0.0) -> int:
    """Wait for the process to end by itself within `patience_s`, else kill it; its exit code. `held` is its leash."""
    try:
        return child.wait(patience_s)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
    finally:
        os.close(held)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _exchange(child: subprocess.Popen[bytes], body: bytes, most: int, until_s: float) -> Any:
    """The reply of at most `most` bytes to the request `body`."""
    assert child.stdin is not None
    fd = child.stdin.fileno()
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    rest = memoryview(LENGTH.pack(len(body)) + body)
    while rest:
        _wait(poll, until_s)
        try:
            rest = rest[os.write(fd, rest[:BLOCK]) :]
        except BlockingIOError:
            continue
        except OSError as e:
            raise _DiedError from e
    return _receive(child, most, until_s)


def _receive(child: subprocess.Popen[bytes], most: int, until_s: float) -> Any:
    """The next message; raises SlowError, _DiedError, and NoteMalformed where it has more than `most` bytes."""
    (size,) = LENGTH.unpack(_take(child, LENGTH.size, until_s))
    if size > most:
        raise NoteMalformed(f"What the note says takes {size:,} bytes, more than the {most:,} allowed.")
    return pickle.loads(_take(child, size, until_s))  # noqa: S301 - from a process that this one started


def _take(child: subprocess.Popen[bytes], size: int, until_s: float) -> bytearray:
    assert child.stdout is not None
    fd = child.stdout.fileno()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    found = bytearray()
    while len(found) < size:
        _wait(poll, until_s)
        try:
            part = os.read(fd, min(BLOCK, size - len(found)))
        except BlockingIOError:
            continue
        except OSError as e:
            raise _DiedError from e
        if not part:
            raise _DiedError
        found += part
    return found


def _wait(poll: select.poll, until_s: float) -> None:
    left_s = until_s - time.monotonic()
    if left_s <= 0 or not poll.poll(left_s * 1000):
        raise SlowError

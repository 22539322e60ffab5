"""A bounded pool of threads for calls that wait on a slow mount.

The threads are daemons and `close` waits for none of them: a call that hangs in the kernel must not hold up the one who
asked, nor the end of the process. (The pool of `concurrent.futures` joins its threads at exit.)
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from holdfast.errors import FileLimit
from holdfast.files.fs import FileSystem

FEW_FILES = "fewer_files_at_a_time"
"""What is counted when there were too few descriptors for all that would go at once."""

A = TypeVar("A")
T = TypeVar("T")


def few_files(fs: FileSystem) -> str:
    """What to say then."""
    limit = fs.open_files_limit()
    return f"files were read fewer at a time: the limit of open files is {limit}. {FileLimit.hint_default}"


class NotYetError(Exception):
    """The result did not come in time. No OSError: a stat may time out by itself, and that is its result."""


class Pending(Generic[T]):
    """A result to come."""

    __slots__ = ("_call", "_error", "_lock", "_result")

    def __init__(self, call: Callable[[], T]) -> None:
        self._call: Callable[[], T] | None = call
        self._result: T | None = None
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def run(self) -> None:
        call, self._call = self._call, None
        assert call is not None
        try:
            self._result = call()
        except BaseException as e:  # noqa: BLE001 - it is recorded, and raised again by `result` in the thread that asked
            self._error = e
        self._lock.release()

    def result(self, timeout_ns: int | None = None) -> T:
        """What the call returned or raised; NotYetError if that is not known in time. Asked once."""
        if not self._lock.acquire(timeout=-1 if timeout_ns is None else timeout_ns / 1e9):
            raise NotYetError
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


class Pool:
    """Up to `width` calls at a time, started in the order in which they were given by one thread."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._threads = 0
        self._todo: queue.SimpleQueue[Pending[Any] | None] = queue.SimpleQueue()
        self._is_closed = False

    def submit(self, call: Callable[[], T]) -> Pending[T]:
        pending = Pending(call)
        self._todo.put(pending)
        if self._threads < self._width:
            try:
                threading.Thread(target=self._work, name="holdfast-slow", daemon=True).start()
                self._threads += 1
            except (RuntimeError, MemoryError):
                # A memory limit allows no further thread: go on with those there are, or do it here.
                self._width = self._threads
        if not self._threads:
            self._todo.get_nowait()
            pending.run()
        return pending

    def narrow(self) -> None:
        """Let at most half as many calls run at a time from now on, and at least one."""
        for _ in range(self._threads - max(self._threads // 2, 1)):
            self._todo.put(None)
            self._threads -= 1
        self._width = max(min(self._width, self._threads), 1)

    def close(self) -> None:
        """Let no more calls begin and the threads end, each after the call it is in. Waits for nothing."""
        self._is_closed = True
        for _ in range(self._threads):
            self._todo.put(None)

    def _work(self) -> None:
        while (pending := self._todo.get()) is not None and not self._is_closed:
            pending.run()


def each(pool: Pool | None, items: Sequence[A], call: Callable[[A], T], count: Callable[[str], None]) -> list[T]:
    """The results of `call` in order, side by side where there is a `pool`.

    Where that takes more descriptors than there are, it is fewer at a time from then on: those that found none are
    done again, one by one. Raises FileLimit if there is none for one alone. Test: fault/test_resources.py.
    """
    if pool is None:
        return [call(x) for x in items]
    pending = [pool.submit(lambda x=x: call(x)) for x in items]  # type: ignore[misc]
    out: dict[int, T] = {}
    left = []
    for i, p in enumerate(pending):
        try:
            out[i] = p.result()
        except FileLimit:
            left.append(i)
    if left:
        count(FEW_FILES)
        pool.narrow()
        out |= {i: call(items[i]) for i in left}
    return [out[i] for i in range(len(items))]

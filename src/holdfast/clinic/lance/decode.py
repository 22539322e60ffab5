"""Reads rows of a Lance dataset through a process of its own, which is ended where it does not answer.

On damaged offsets Lance (14.0) was seen to wait for ever and to ask for 24 GB: neither must reach whoever looks for
help.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from holdfast.clinic.lance.child import FRAME
from holdfast.clinic.lance.library import LanceRefused, library, translated

BATCH_ROWS = 1024
STALL_S = 20.0
"""A batch that has not come after this never will."""
_BYTES_PER_S = 1_000_000
_PIPE_BYTES = 1 << 20


class LanceStalled(LanceRefused):
    """Lance does not answer."""


@dataclass(frozen=True, slots=True)
class About:
    """What a dataset says of itself: `fragments` as (id, live rows)."""

    fragments: tuple[tuple[int, int], ...]
    storage_version: str
    stable_row_ids: bool
    config: dict[str, str]


class Decoder:
    """An open dataset. Memory here is O(one batch); the process is started when it is needed, and again if it died."""

    def __init__(self, path: str, size_bytes: int, version: int | None = None) -> None:
        """`size_bytes` is what its live files weigh: it bounds the memory and the time that a step may take."""
        library()  # Says at once, and in our words, that it is not installed.
        self._path, self._version, self._bytes = path, version, size_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self.about: About
        self.schema: Any = None
        self._start()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.communicate()

    def batches(
        self,
        what: str,
        *,
        fragment: int | None = None,
        columns: Sequence[str] | None = None,
        offset: int | None = None,
        limit: int | None = None,
        stall_s: float = STALL_S,
    ) -> Iterator[Any]:
        """Live rows as record batches; raises LanceRefused, LanceStalled where one does not come. `what` begins it."""
        import pyarrow as pa

        request = {"op": "read", "fragment": fragment, "columns": columns, "offset": offset, "limit": limit}
        for frame in self._ask(what, {**request, "rows": BATCH_ROWS}, stall_s):
            with pa.ipc.open_stream(frame) as stream:
                yield from stream

    def compact(self) -> None:
        """Merge small fragments; raises LanceRefused, DiskFull and FileLimit."""
        for _ in self._ask("Compaction fails", {"op": "compact"}, STALL_S + self._bytes / _BYTES_PER_S):
            pass

    def _start(self) -> None:
        import pyarrow as pa

        self._process = subprocess.Popen(
            [sys.executable, "-m", "holdfast.clinic.lance.child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        request = {"op": "open", "path": self._path, "version": self._version, "bytes": self._bytes}
        what = f"{self._path} cannot be opened"
        self._send(what, request)
        value = json.loads(self._frame(what, STALL_S + self._bytes / _BYTES_PER_S)[1])
        fragments = tuple((int(i), int(n)) for i, n in value["fragments"])
        self.about = About(fragments, value["storage_version"], value["stable_row_ids"], value["config"] or {})
        self.schema = pa.ipc.read_schema(pa.py_buffer(self._frame(what, STALL_S)[1]))

    def _ask(self, what: str, request: dict[str, Any], stall_s: float) -> Iterator[bytes]:
        if self._process is None:
            self._start()
        self._send(what, request)
        is_done = False
        try:
            while True:
                kind, data = self._frame(what, stall_s)
                if kind == b"D":
                    is_done = True
                    return
                yield data
        except LanceRefused as e:
            # After a message of its own the process is as good as before.
            is_done = not isinstance(e, LanceStalled) and self._process is not None
            raise
        finally:
            if not is_done:
                self.close()

    def _send(self, what: str, request: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died(what) from None

    def _frame(self, what: str, stall_s: float) -> tuple[bytes, bytes]:
        """The next frame; an E frame is raised."""
        until = time.monotonic() + stall_s
        kind, size = FRAME.unpack(self._exactly(what, FRAME.size, until, stall_s))
        data = self._exactly(what, size, until, stall_s)
        if kind == b"E":
            raise translated(what, data.decode("utf-8", "replace"))
        return kind, data

    def _exactly(self, what: str, size: int, until: float, stall_s: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        fd, parts, left = self._process.stdout.fileno(), bytearray(), size
        while left:
            ready, _, _ = select.select([fd], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self.close()
                raise LanceStalled(f"{what}: Lance has not answered for {stall_s:.0f} s.")
            part = os.read(fd, min(left, _PIPE_BYTES))
            if not part:
                raise self._died(what)
            parts += part
            left -= len(part)
        return bytes(parts)

    def _died(self, what: str) -> LanceStalled:
        process, self._process = self._process, None
        assert process is not None
        process.communicate()
        code = process.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return LanceStalled(
            f"{what}: Lance died ({how}), as it does when damaged data make it ask for too much memory."
        )

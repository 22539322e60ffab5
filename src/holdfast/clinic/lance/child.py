"""A process of its own in which Lance decodes: on damaged files it may wait for ever, abort, or ask for all memory.

Run as `python -m holdfast.clinic.lance.child`. Requests come as JSON lines on stdin; answers go to stdout as frames, a
letter and a length (4 bytes, little-endian) each: J with JSON, B with an Arrow stream of one batch, E with a message, D
at the end of batches. What Lance prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator
from typing import Any

FRAME = struct.Struct("<cI")
_SPARE_BYTES = 512 << 20


def main() -> None:
    """Serve until stdin ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import lance
    import pyarrow as pa

    dataset: Any = None
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            if request["op"] == "open":
                _limit_memory(request["bytes"])
                dataset = lance.dataset(request["path"], version=request["version"])
                _send(out, b"J", json.dumps(_about(dataset)).encode())
                _send(out, b"B", dataset.schema.empty_table().schema.serialize().to_pybytes())
            elif request["op"] == "compact":
                dataset.optimize.compact_files()
                _send(out, b"D", b"")
            else:
                for batch in _read(dataset, request):
                    sink = pa.BufferOutputStream()
                    with pa.ipc.new_stream(sink, batch.schema) as writer:
                        writer.write_batch(batch)
                    _send(out, b"B", sink.getvalue())
                _send(out, b"D", b"")
        except Exception as e:  # noqa: BLE001 - handed on to the parent, which raises it
            _send(out, b"E", str(e).encode("utf-8", "replace"))


def _about(dataset: Any) -> dict[str, Any]:
    return {
        "fragments": [[f.fragment_id, f.count_rows()] for f in dataset.get_fragments()],
        "storage_version": dataset.data_storage_version,
        "stable_row_ids": bool(dataset.has_stable_row_ids),
        "config": dataset.config(),
    }


def _read(dataset: Any, request: dict[str, Any]) -> Iterator[Any]:
    fragment = request["fragment"]
    source = dataset if fragment is None else dataset.get_fragment(fragment)
    return source.to_batches(  # type: ignore[no-any-return]
        columns=request["columns"], offset=request["offset"], limit=request["limit"], batch_size=request["rows"]
    )


def _send(out: Any, kind: bytes, data: Any) -> None:
    out.write(FRAME.pack(kind, len(data)))
    out.write(data)
    out.flush()


def _limit_memory(spare_bytes: int) -> None:
    """Let this process have so much more than it has now, where the system knows such a limit."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (now + _SPARE_BYTES + spare_bytes, hard))
    except (ImportError, OSError, ValueError):
        return


if __name__ == "__main__":
    main()

"""A digest of rows: the same rows in the same order have the same digest, however they are stored or cut into batches.

Each column is taken apart into streams - which values are there, how long each is, their bytes - down to the leaves of
nested types, and each stream is hashed on its own (BLAKE2b-128), so that borders of batches leave no trace.
"""

from __future__ import annotations

import hashlib
from typing import Any

_BYTES = 16


class RowDigest:
    """Takes Arrow record batches one after the other; memory is O(columns)."""

    def __init__(self) -> None:
        self.rows = 0
        self._streams: dict[str, Any] = {}

    def add(self, batch: Any) -> None:
        """Take the next batch."""
        self.rows += batch.num_rows
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self._column(name, column)

    def column(self, name: str) -> str:
        """The digest of one column, nested ones included."""
        return self._sum(s for s in self._streams if s == name or s.startswith((f"{name}\0", f"{name}/")))

    def digest(self) -> str:
        """The digest of all columns, as `b2-` and 32 hex."""
        return self._sum(iter(self._streams))

    def _sum(self, names: Any) -> str:
        whole = hashlib.blake2b(str(self.rows).encode(), digest_size=_BYTES)
        for name in sorted(names):
            whole.update(name.encode("utf-8", "surrogateescape") + b"\0" + self._streams[name].digest())
        return f"b2-{whole.hexdigest()}"

    def _put(self, name: str, part: str, data: Any) -> None:
        stream = self._streams.get(f"{name}\0{part}")
        if stream is None:
            stream = self._streams[f"{name}\0{part}"] = hashlib.blake2b(digest_size=_BYTES)
        stream.update(data)

    def _column(self, name: str, values: Any) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = values.type
        if isinstance(kind, pa.BaseExtensionType):
            return self._column(name, values.storage)
        if pa.types.is_dictionary(kind):
            return self._column(name, values.dictionary_decode())
        self._put(name, "there", values.is_valid().to_numpy(zero_copy_only=False).tobytes())
        if pa.types.is_null(kind):
            return None
        if pa.types.is_struct(kind):
            for field, child in zip(kind, values.flatten(), strict=True):
                self._column(f"{name}/{field.name}", child)
        elif pa.types.is_map(kind):
            # Taken first: the keys of a slice are those of the whole array.
            taken = values.take(pa.array(range(len(values)), pa.int64()))
            self._put(name, "length", _bytes(pc.pairwise_diff(taken.offsets.cast(pa.int64()))[1:]))
            self._column(f"{name}/key", taken.keys)
            self._column(f"{name}/item", taken.items)
        elif pa.types.is_fixed_size_list(kind):
            self._column(f"{name}/item", values.flatten())
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            self._put(name, "length", _bytes(pc.fill_null(pc.list_value_length(values).cast(pa.int64()), 0)))
            self._column(f"{name}/item", values.flatten())
        elif pa.types.is_binary(kind) or pa.types.is_string(kind) or _is_large(kind):
            self._text(name, values)
        elif pa.types.is_boolean(kind):
            self._put(name, "value", pc.fill_null(values, False).to_numpy(zero_copy_only=False).tobytes())
        else:
            self._fixed(name, values)
        return None

    def _text(self, name: str, values: Any) -> None:
        import numpy as np
        import pyarrow as pa

        there = values.drop_null().cast(pa.large_binary())
        if not len(there):
            return
        _, positions, letters = there.buffers()
        at = np.frombuffer(positions, np.int64)[there.offset : there.offset + len(there) + 1]
        self._put(name, "length", np.diff(at).tobytes())
        if letters is not None:
            self._put(name, "value", letters.slice(int(at[0]), int(at[-1] - at[0])))

    def _fixed(self, name: str, values: Any) -> None:
        """Numbers, dates and times: what is there, in the machine's bytes."""
        there = values.drop_null()
        width = there.type.bit_width // 8
        buffer = there.buffers()[1] if len(there) else None
        if buffer is not None:
            self._put(name, "value", buffer.slice(there.offset * width, len(there) * width))


def _is_large(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_large_string(kind) or pa.types.is_large_binary(kind))


def _bytes(numbers: Any) -> bytes:
    out: bytes = numbers.to_numpy(zero_copy_only=False).tobytes()
    return out

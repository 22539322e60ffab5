"""Make vectors again and compare them with those that are stored: no checksum tells a vector of another text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from holdfast.embed.base import Embedder
from holdfast.engine.survey import Report
from holdfast.engine.workspace import Workspace
from holdfast.errors import ResourceFault
from holdfast.index.base import Index
from holdfast.index.vectors.codes import rows
from holdfast.model import Input

BATCH = 64
LEAST = 0.999
"""The cosine below which two vectors are not of one text: rounding and the company of a batch cost less."""


class Again:
    """Compares in batches; does nothing where the embedder is not this machine's, or gave no vectors here."""

    def __init__(self, ws: Workspace, index: Index, report: Report) -> None:
        self._ws, self._index, self._report = ws, index, report
        embedder, live = ws.embedder(), index.vectors.live()
        is_ours = embedder is not None and live is not None and embedder.identity == live.identity
        self._embedder: Embedder | None = embedder if is_ours and embedder and not embedder.is_remote else None
        self._waiting: dict[bytes, tuple[str, Input]] = {}

    def add(self, path: str, inputs: Sequence[Input]) -> None:
        """Have the vectors of a note's inputs compared, now or with the next batch."""
        if self._embedder is None:
            return
        for x in inputs:
            self._waiting.setdefault(x.digest, (path, x))
            if len(self._waiting) >= BATCH:
                self.finish()

    def finish(self) -> None:
        """Compare what waits."""
        stored = self._index.proofs.vectors_of(self._waiting)
        batch = [(path, x, stored[d]) for d, (path, x) in self._waiting.items() if d in stored]
        self._waiting.clear()
        if self._embedder is None or not batch:
            return
        try:
            made = self._embedder.encode([x for _, x, _ in batch])
        except ResourceFault as e:
            self._ws.count(f"check_{e.kind}")
            self._report("embedder_down", None, f"Vectors could not be made again: {e.message}")
            self._embedder = None
            return
        fresh = rows([x.digest for _, x, _ in batch], made.vectors, made.tokens)
        for (path, x, old), new in zip(batch, fresh, strict=True):
            if len(old.code) == len(new.code) and _cosine(old.code, new.code) < LEAST:
                self._report("vector", path, f"The vector of {x.digest.hex()} is not that of its text.")


def _cosine(a: bytes, b: bytes) -> float:
    x, y = (np.frombuffer(code, np.int8).astype(np.float32) for code in (a, b))
    return float(x @ y / max(float(np.linalg.norm(x) * np.linalg.norm(y)), 1e-6))

"""Seconds and peak memory of `examine` and `rescue` on a Chroma directory of 100,000 rows: python measure_chroma.py."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS, DIMENSIONS, PER_SOURCE = 100_000, 48, 25

BUILD = """
import sys
import chromadb
import numpy
from chromadb.config import Settings

rows, dimensions, per_source = map(int, sys.argv[2:])
client = chromadb.PersistentClient(sys.argv[1], Settings(anonymized_telemetry=False))
metadata = {"hnsw:sync_threshold": 50000, "hnsw:batch_size": 50000, "hnsw:space": "cosine"}
drawers = client.create_collection("mempalace_drawers", embedding_function=None, metadata=metadata)
random = numpy.random.default_rng(7)
for start in range(0, rows, 5000):
    ids = range(start, min(rows, start + 5000))
    drawers.add(
        ids=[f"drawer_wing_room_{n:024x}" for n in ids],
        embeddings=random.random((len(ids), dimensions), dtype=numpy.float32),
        documents=[f"Chunk {n} of a conversation. " + "Words upon words. " * 25 for n in ids],
        metadatas=[
            {
                "wing": f"wing{n // 10000}", "room": f"room{n // 1000 % 10}", "chunk_index": n % per_source,
                "source_file": f"/home/user/notes/file{n // per_source}.md", "added_by": "mempalace",
                "filed_at": "2026-11-02T09:14:03", "hall": "general", "source_mtime": 1700000000.5,
            }
            for n in ids
        ],
    )
"""


def main() -> None:
    """Build once, measure each verb in a process of its own."""
    if sys.argv[1:2] == ["--one"]:
        _one(sys.argv[2], sys.argv[3])
        return
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="measure-chroma-"))
    palace = where / "palace"
    if not palace.exists():
        numbers = [str(n) for n in (ROWS, DIMENSIONS, PER_SOURCE)]
        subprocess.run([sys.executable, "-W", "ignore", "-c", BUILD, str(palace), *numbers], check=True)
    for verb in ("import", "examine", "rescue"):
        subprocess.run([sys.executable, __file__, "--one", verb, str(palace)], check=True)
    if len(sys.argv) == 1:
        shutil.rmtree(where)


def _one(verb: str, palace: str) -> None:
    from holdfast.clinic import chroma

    start = time.perf_counter()
    summary = ""
    if verb == "examine":
        summary = chroma.examine(palace).summary
    elif verb == "rescue":
        out = tempfile.mkdtemp(prefix="measure-rescue-")
        summary = chroma.rescue(palace, out).summary
        shutil.rmtree(out)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{verb:8} {seconds:6.2f} s  {peak:6.1f} MB peak  {summary}")


if __name__ == "__main__":
    main()

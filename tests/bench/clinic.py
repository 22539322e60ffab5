"""What the clinic costs and gives back, on real Lance datasets and Chroma databases, built by their own libraries."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.measure import Ran, Row, holdfast_command, run
from tests.bench.setup import Bench, Skipped
from tests.clinic import lance_patients as lance

FAMILY = "clinic"
RATIO, LOOK_S, LOOK_BYTES = 1.5, 20.0, 200 << 20
CAP_BYTES = 20_000_000

_CHROMA = """
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


def build_chroma(path: str, rows: int) -> None:
    """A database as MemPalace writes it, of so many rows with 48 dimensions, 25 a source."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", _CHROMA, path, str(rows), "48", "25"], check=True)


def _lance(*args: str, limit: int = 0) -> Ran:
    command = [*holdfast_command(), "clinic", "lance", *args, "--json"]
    return run(["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *command] if limit else command, check=False)


def measure(bench: Bench) -> Iterator[Row]:
    try:
        import chromadb  # noqa: F401
        import lancedb  # noqa: F401
    except ImportError as e:
        raise Skipped(f"{e.name} is not installed: the extra `test` has it") from e
    yield from _pruned(bench)
    yield from _full_disk(bench)
    yield from _watched(bench)
    yield from _looked(bench)


def _cached(bench: Bench, name: str, build: Any) -> Path:
    path = bench.cache / name
    if not path.exists():
        making = bench.cache / f"making-{name}-{os.getpid()}"
        build(str(making))
        making.rename(path)
    return path


def _pruned(bench: Bench) -> Iterator[Row]:
    count = bench.size(2_000, 300)
    for kind, build in (("appends", lance.appends), ("upserts", lance.upserts)):
        patient = _cached(bench, f"lance-{kind}-{count}", lambda path, b=build: b(path, count))
        for limit in (0, 256):
            copy = bench.copy(patient)
            before, rows = _lance(str(copy)).json()["datasets"][0], lance.rows(f"{copy}/t.lance")
            done = _lance(str(copy), "--prune", "--apply", limit=limit)
            after = done.json()["datasets"][0]
            same = lance.rows(f"{copy}/t.lance") == rows
            shutil.rmtree(copy)
            yield Row(
                FAMILY, f"prune {count:,} {kind}{f', ulimit -n {limit}' if limit else ''}",
                f"<= {RATIO} x the live bytes, the same rows",
                f"{after['ratio']:.2f} x in {done.cpu_s:.1f} s CPU; rows {'the same' if same else 'DIFFER'}",
                f"before: {before['ratio']:.0f} x, {before['bytes'] / 1e6:.0f} MB in {before['files']:,} files",
                after["ratio"] <= RATIO and same, {"ratio": after["ratio"], "cpu_s": done.cpu_s},
            )  # fmt: skip


def _full_disk(bench: Bench) -> Iterator[Row]:
    disk = bench.folder("disk")
    if os.geteuid() != 0:
        raise Skipped("mounting a small file system needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], check=True)
    try:
        lance.appends(f"{disk}/db", 500)
        rows = lance.rows(f"{disk}/db/t.lance")
        subprocess.run(["sh", "-c", f"cat /dev/zero > {disk}/filler"], stderr=subprocess.DEVNULL, check=False)
        free = os.statvfs(disk).f_bavail
        after = _lance(f"{disk}/db", "--prune", "--apply").json()["datasets"][0]
        same = lance.rows(f"{disk}/db/t.lance") == rows
        yield Row(
            FAMILY, "prune on a tmpfs of 20 MB, full to the last byte", f"<= {RATIO} x, the same rows",
            f"{after['ratio']:.2f} x; rows {'the same' if same else 'DIFFER'}", f"{free} blocks were free",
            after["ratio"] <= RATIO and same and free == 0, {"ratio": after["ratio"]},
        )  # fmt: skip
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def _watched(bench: Bench) -> Iterator[Row]:
    """A writer appends for two minutes; the cap is held if the files never weigh more at any look, each 0.2 s."""
    seconds = bench.size(120, 10)
    for what, pause, every in (("5 appends a second", 0.2, "60s"), ("20 appends a second", 0.05, "5s")):
        path, state = bench.folder("watched"), bench.folder("state")
        writer = lance.writer(f"{path}/db", seconds, pause)
        while not (path / "db" / "t.lance").exists():
            time.sleep(0.05)
        command = [*holdfast_command(), "clinic", "lance", f"{path}/db", "--watch", "--apply", "--cap", "20MB"]
        command += ["--ratio", "1000000", "--every", every, "--state-dir", str(state), "--json"]
        watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        peak = 0
        while writer.poll() is None:
            peak = max(peak, lance.weight(f"{path}/db"))
            time.sleep(0.2)
        out, err = writer.communicate()
        watch.send_signal(signal.SIGTERM)
        events = [json.loads(line) for line in watch.communicate()[0].splitlines()]
        rows, freed = len(lance.rows(f"{path}/db/t.lance")), sum(e["freed_bytes"] for e in events)
        wrote = int(out or 0)
        failed = f"; the writer failed: {err.splitlines()[-1]}" if writer.returncode else ""
        yield Row(
            FAMILY, f"watch with a cap of 20 MB, {what} for {seconds} s, --every {every}", "<= 20 MB at any time",
            f"at most {peak / 1e6:.1f} MB; {rows:,} of {wrote:,} rows{failed}",
            f"without it: {(freed + lance.weight(f'{path}/db')) / 1e6:.0f} MB",
            peak <= CAP_BYTES and rows == wrote > 0, {"peak_bytes": peak},
        )  # fmt: skip
        shutil.rmtree(path)


def _looked(bench: Bench) -> Iterator[Row]:
    # Manifests grow with the number of commits: 84 bytes a fragment, each in each version after it.
    commits, rows = bench.size(5_000, 300), bench.size(100_000, 2_000)
    big = _cached(bench, f"lance-appends-{commits}", lambda path: lance.appends(path, commits))
    chroma = _cached(bench, f"chroma-{rows}", lambda path: build_chroma(path, rows))
    for what, path, kind in (
        (f"{lance.weight(str(big)) / 1e6:,.0f} MB of Lance files", big, "lance"),
        (f"{rows:,} Chroma rows", chroma, "chroma"),
    ):
        done = run([*holdfast_command(), "clinic", kind, str(path), "--json"], check=False)
        listed = run(["du", "-s", str(path)])
        yield Row(
            FAMILY, f"look at {what}", "<= 20 s, <= 200 MB",
            f"{done.wall_s:.1f} s ({done.cpu_s:.1f} s CPU), {done.peak_bytes / 1e6:.0f} MB",
            f"du -s: {listed.cpu_s:.2f} s CPU", done.wall_s <= LOOK_S and done.peak_bytes <= LOOK_BYTES,
            {"wall_s": done.wall_s, "peak_bytes": done.peak_bytes},
        )  # fmt: skip
    out = bench.folder("rescued") / "notes"
    done = run([*holdfast_command(), "clinic", "chroma", str(chroma), "--rescue", str(out), "--json"], check=False)
    files = sum(len(names) for _, _, names in os.walk(out))
    yield Row(
        FAMILY, f"rescue {rows:,} Chroma rows", "",
        f"{done.cpu_s:.1f} s CPU, {done.peak_bytes / 1e6:.0f} MB, {files:,} notes", "", None,
        {"cpu_s": done.cpu_s, "peak_bytes": done.peak_bytes},
    )  # fmt: skip


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])

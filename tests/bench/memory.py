"""Peak memory of the sync command without vectors: with large binaries, under a limit, and as notes become more."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.bench.measure import Row, mebibytes, run
from tests.bench.setup import Bench, Skipped
from tests.bench.syncs import opened_files

FAMILY = "memory"

LIMIT_AS = 512 << 20


def measure(bench: Bench) -> Iterator[Row]:
    bare = run([sys.executable, "-c", "import numpy, apsw"]).peak_bytes
    yield from _binaries(bench, bare)
    yield _growth(bench, bare)


def _binaries(bench: Bench, bare: int) -> Iterator[Row]:
    vault = bench.corpus("binaries", bench.size(2_600, 500))
    for limit in (0, LIMIT_AS):
        command = bench.command("sync", vault, bench.folder("state"), "--no-vectors", "--json")
        ran = run(command, limit_as_bytes=limit, check=not limit)
        notes = ran.json()["notes"] if ran.code == 0 else 0
        yield Row(
            FAMILY,
            f"{bench.size(2_600, 500):,} notes + 31 binaries of 80 MB{', RLIMIT_AS 512 MiB' if limit else ''}",
            "peak resident <= 150 MB" if not limit else "ends well",
            f"{mebibytes(ran.peak_bytes)} peak, {notes:,} notes, exit {ran.code}",
            f"import numpy, apsw: {mebibytes(bare)}",
            ran.code == 0 and ran.peak_bytes <= 150e6,
            {"peak_mib": ran.peak_bytes / 2**20, "exit": ran.code},
        )
    try:
        command = bench.command("sync", vault, bench.folder("state"), "--no-vectors", "--json")
        names = opened_files(command, bench.folder("trace") / "log")
    except Skipped as e:
        yield Row(FAMILY, "binaries opened", "0", str(e), "", None)
        return
    binaries = sum(n.endswith(".pdf") for n in names)
    notes = sum(n.endswith(".md") for n in names)
    yield Row(
        FAMILY, "binaries opened", "0", f"{binaries} ({notes:,} notes opened)", "strace", not binaries,
        {"opened": binaries},
    )  # fmt: skip


def _growth(bench: Bench, bare: int) -> Row:
    sizes = (250, 1_000) if bench.quick else (1_000, 10_000, 100_000)
    peaks = {n: bench.synced(bench.corpus("notes", n))[1].peak_bytes for n in sizes}
    grown = (peaks[sizes[-1]] - peaks[sizes[0]]) / 1e6
    return Row(
        FAMILY,
        f"peak resident of the first sync, {sizes[0]:,} to {sizes[-1]:,} notes",
        "+ 32 MB at most",
        f"+ {grown:.0f} MB (" + ", ".join(f"{n:,}: {mebibytes(p)}" for n, p in peaks.items()) + ")",
        f"import numpy, apsw: {mebibytes(bare)}",
        grown <= 32,
        {"grown_mb": grown, **{f"peak_mib_{n}": p / 2**20 for n, p in peaks.items()}},
    )


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])

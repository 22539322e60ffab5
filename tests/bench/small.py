"""A small machine: two cores and 1 GiB for a first sync with vectors, and for another process that asks meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from holdfast import Config, Vault
from tests.bench.limits import memory_limit
from tests.bench.measure import Row, mebibytes, median, percentile, run
from tests.bench.setup import Bench

FAMILY = "small"

LIMIT = 1 << 30
FIRST_S = 2.0
VECTORS_S = 300.0
_TOGETHER = Path(__file__).with_name("together.py")


def measure(bench: Bench) -> Iterator[Row]:
    notes = bench.size(2_600, 200)
    source = bench.corpus("binaries", notes)
    state = bench.folder("state")
    with memory_limit(LIMIT) as (before, how):
        # Without a limit of the system's, the parent watches and ends both as one would.
        watched = 0 if how else LIMIT
        command = [sys.executable, str(_TOGETHER), str(watched), str(source), str(state)]
        done = run([*before, *command, *bench.command("sync", source, state, "--json")], check=False)
    what = f"{notes:,} notes + 31 binaries, 2 cores, 1 GiB ({how or 'no cgroup to be had: watched, not limited'})"
    if done.code:
        yield Row(FAMILY, what, "no kill", f"**ended with {done.code}**: {done.err[-200:]}", "", False)
        return
    found = done.json()
    ready = found["synced"]["vectors"]["ready"] if found["synced"] else 0
    chunks = found["synced"]["chunks"] if found["synced"] else 0
    peak, bound = found["together_bytes"], found["sync_peak_bytes"] + found["asker_peak_bytes"]
    is_well = not (found["sync_code"] or found["asker_code"] or found["killed"])
    yield Row(
        FAMILY, f"{what}: peak memory of sync, embedding and asking", "<= 1024 MiB, no kill",
        f"{mebibytes(peak)} (proportional, sampled; the two peaks added up: {mebibytes(bound)}), exit "
        f"{found['sync_code']} and {found['asker_code']}{', KILLED' if found['killed'] else ''}",
        f"sync {mebibytes(found['sync_peak_bytes'])}, asking {mebibytes(found['asker_peak_bytes'])}",
        is_well and max(peak, bound) <= LIMIT, {"peak_mib": peak / 2**20, "bound_mib": bound / 2**20},
    )  # fmt: skip
    yield _first(found, what)
    yield Row(
        FAMILY, f"{what}: until all have vectors", f"< {VECTORS_S / 60:.0f} min",
        f"{found['wall_s']:.0f} s wall ({ready:,} of {chunks:,} chunks)",
        f"{found['sync_cpu_s']:.0f} s CPU, {1000 * found['sync_cpu_s'] / max(1, chunks):.1f} ms a chunk",
        is_well and ready == chunks > 0 and found["wall_s"] < VECTORS_S,
        {"wall_s": found["wall_s"], "cpu_s": found["sync_cpu_s"]},
    )  # fmt: skip
    if is_well:
        # The same notes as those of the family `hybrid`: these vectors need not be made again.
        with Vault.open(source, state_dir=state, config=Config(background=False)) as vault:
            vault.export_vectors(bench.vectors(f"notes-{notes}"))


def _first(found: dict[str, object], what: str) -> Row:
    began, answers = found["began"], found["answers"]
    assert isinstance(began, float)
    assert isinstance(answers, list)
    good = [a for a in answers if a.get("hits")]
    indexed = [a["at"] - began for a in good if "keyword" in a["via"]]
    scanned = [a["at"] - began for a in good if "scan" in a["via"]]
    errors = [a["error"] for a in answers if "error" in a]
    similar = [a["at"] - began for a in good if a["similar"]]
    took = [1000 * a["took_s"] for a in answers if "took_s" in a] or [float("inf")]
    first = min([*indexed, *scanned], default=float("inf"))
    return Row(
        FAMILY,
        f"{what}: the first answer by words after the start",
        f"<= {FIRST_S:.0f} s",
        f"{first:.2f} s (from the index {min(indexed, default=float('inf')):.2f} s, first with a cosine "
        f"{min(similar, default=float('inf')):.2f} s)" + (f", **{len(errors)} errors, {errors[0]}**" if errors else ""),
        f"{len(answers)} questions meanwhile, each p50 {median(took):.0f}, p95 {percentile(took, 0.95):.0f} ms wall, "
        "their looks included",
        first <= FIRST_S and not errors,
        {"first_s": first, "index_s": min(indexed, default=float("inf"))},
    )


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])

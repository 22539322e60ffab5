"""Whether a key is found that stands in one note of ten thousand, among others that differ by a digit."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from holdfast import Config, Vault
from tests.bench.measure import Row
from tests.bench.setup import Bench, note_files

KEYS = 30
TOP = 5
CHUNKS_A_NOTE = 4


def measure(bench: Bench, family: str) -> Iterator[Row]:
    notes, near = bench.size(10_000, 1_000), bench.size(1_000, 50)
    source = bench.copy(bench.corpus("notes", notes))
    homes = _write_keys(source, near)
    with Vault.open(source, state_dir=bench.folder("state"), config=Config(background=False)) as vault:
        vault.sync(vectors=False)
        _embed_newest(bench, vault, f"keys-{notes}", CHUNKS_A_NOTE * near)
        ready = vault.recall("REF", sync=False).receipt.vectors
        for mode in ("hybrid", "keyword"):
            found = {how: sum(_is_found(vault, key, text, home, mode) for key, home in homes.items()) for how, text in (
                ("the key alone", "{}"), ("in a question", "what did we file under {} last year?"),
            )}  # fmt: skip
            yield Row(
                family,
                f"{KEYS} keys such as REF-000123, each in one of {notes:,} notes, {mode}"
                + (f" (vectors for {near:,} notes, all with a key among them)" if mode == "hybrid" else ""),
                f"{KEYS} of {KEYS} in the top {TOP}",
                ", ".join(f"{how}: {count}" for how, count in found.items()),
                f"{ready.ready:,} of {ready.total:,} chunks have a vector" if mode == "hybrid" else "",
                min(found.values()) == KEYS,
                {how.replace(" ", "_"): float(count) for how, count in found.items()},
            )


def _write_keys(source: Path, near: int) -> dict[str, str]:
    """Put a line with a key into some notes, and make these and others the newest, `near` in all; key -> path."""
    rng = random.Random(59)
    chosen = rng.sample(note_files(source), near)
    homes = {}
    for i, path in enumerate(chosen):
        if i < KEYS:
            key = f"REF-{117 + i:06d}"
            lines = path.read_text(encoding="utf-8").split("\n")
            at = next(n for n, line in enumerate(lines) if len(line) > 120)
            lines[at] += f" Filed under {key}."
            path.write_text("\n".join(lines), encoding="utf-8")
            homes[key] = str(path.relative_to(source))
        os.utime(path)
    return homes


def _embed_newest(bench: Bench, vault: Vault, name: str, wanted: int) -> None:
    """Vectors for the notes that changed last, which are embedded first."""
    kept = bench.vectors(name)
    if kept.exists() and vault.salvage_vectors(kept).stored >= wanted:
        return
    stop = threading.Event()

    def progress(done: int, _: int) -> None:
        if done >= wanted:
            stop.set()

    done = vault.embed(progress=progress, stop=stop)
    print(f"{name}: {done.made:,} vectors made in {done.seconds:.0f} s", file=sys.stderr, flush=True)
    vault.export_vectors(kept)


def _is_found(vault: Vault, key: str, text: str, home: str, mode: str) -> bool:
    hits = vault.recall(text.format(key), k=TOP, sync=False, mode=mode).hits  # type: ignore[arg-type]
    return any(h.path == home and key in (h.text or "") for h in hits)

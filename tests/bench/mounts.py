"""A slow mount, through the seam: 1,460 files, 220 ms a stat or open, 5 ms a listing. Wall time: it is all waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from holdfast import Vault
from holdfast.files.notes import digest_of
from holdfast.model import show_digest
from tests.bench.measure import Row, median
from tests.bench.setup import Bench, note_files
from tests.bench.slow_fs import SlowMount

FAMILY = "mount"

FILES = 1_460
STAT_MS = 220
LIST_S = 0.005


def measure(bench: Bench) -> Iterator[Row]:
    files, stat_s = bench.size(FILES, 300), bench.size(STAT_MS, 40) / 1000
    source = bench.copy(bench.corpus("notes", bench.size(2_600, 1_000)))
    for path in note_files(source)[files:]:
        path.unlink()
    for folder in source.iterdir():
        if not any(folder.iterdir()):
            folder.rmdir()
    state = bench.folder("state")
    with Vault.open(source, state_dir=state) as vault:  # quickly, so that only looks are slow
        vault.sync(vectors=False)
        time.sleep(0.05)
        vault.sync(vectors=False)
    yield _no_change(bench, source, state, files, stat_s)
    yield _listed(bench, source, state, files, stat_s)
    yield from _hinted(source, state, stat_s)
    yield _recall(bench, source, state, stat_s)
    yield _first(bench, source, files)


def _mount(source: Path, stat_s: float, *, carries: bool = False) -> SlowMount:
    return SlowMount(source, stat_s, LIST_S, listing_carries_stat=carries)


def _wall(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _no_change(bench: Bench, source: Path, state: Path, files: int, stat_s: float) -> Row:
    fs = _mount(source, stat_s)
    with Vault.open(source, state_dir=state, fs=fs) as vault:
        look = partial(vault.sync, vectors=False)
        surprised = _wall(look)  # the first look at a mount that turned slow
        fs.reset()
        took = [_wall(look) for _ in range(bench.size(3, 1))]
    looks, most = fs.looks / len(took), fs.most_a_file
    bound = files * stat_s / 64
    return Row(
        FAMILY,
        f"no-change sync, {files:,} files, {1000 * stat_s:.0f} ms a stat",
        "<= 8 s; at most one stat a file",
        f"{median(took):.2f} s wall ({surprised:.2f} s when the mount has just turned slow), at most {most} "
        f"stat a file and sync, {looks:.0f} in all, {fs.most} at a time",
        f"all stats by 64 at a time: {bound:.2f} s, ratio {median(took) / bound:.2f}",
        median(took) <= 8 and most <= 1,
        {"wall_s": median(took), "stats": looks, "at_a_time": fs.most},
    )


def _listed(bench: Bench, source: Path, state: Path, files: int, stat_s: float) -> Row:
    fs = _mount(source, stat_s, carries=True)
    with Vault.open(source, state_dir=state, fs=fs) as vault:
        look = partial(vault.sync, vectors=False)
        look()
        took = [_wall(look) for _ in range(bench.size(3, 1))]
    return Row(
        FAMILY,
        f"the same where the listing carries size and time, {files:,} files",
        "<= 3 s",
        f"{median(took):.2f} s wall",
        f"one stat: {stat_s:.2f} s",
        median(took) <= 3,
        {"wall_s": median(took)},
    )


def _hinted(source: Path, state: Path, stat_s: float) -> Iterator[Row]:
    chosen = note_files(source)[7::100][:10]
    paths = tuple(str(p.relative_to(source)) for p in chosen)
    for busy in (False, True):
        for path in chosen:
            path.write_text(path.read_text(encoding="utf-8") + f"\nOne more line {busy}.\n", encoding="utf-8")
        time.sleep(0.05)
        with (
            Vault.open(source, state_dir=state, fs=_mount(source, stat_s)) as vault,
            Vault.open(source, state_dir=state, fs=_mount(source, stat_s)) as other,
        ):
            full = threading.Thread(target=partial(other.sync, vectors=False))
            if busy:
                full.start()
                time.sleep(2 * stat_s)
            began = time.perf_counter()
            vault.sync(vectors=False, paths=paths)
            took = time.perf_counter() - began
            is_still = busy and full.is_alive()
            known = {n.path: n.digest for n in vault.list(limit=10_000, sync=False).notes}
            digests = [show_digest(digest_of(p.read_bytes())) for p in chosen]
            fresh = sum(known[n] == digest for n, digest in zip(paths, digests, strict=True))
            if busy:
                full.join()
        yield Row(
            FAMILY,
            f"{len(paths)} hinted paths" + (" while a full pass runs" if busy else ", nobody else at work"),
            "<= 3 s",
            f"{took:.2f} s wall, {fresh} of {len(paths)} then in the index"
            + (", the pass still at work" if is_still else ""),
            f"one stat and one open after the other: {2 * stat_s:.2f} s",
            took <= 3 and fresh == len(paths),
            {"wall_s": took},
        )


def _recall(bench: Bench, source: Path, state: Path, stat_s: float) -> Row:
    with Vault.open(source, state_dir=state, fs=_mount(source, stat_s)) as vault:
        questions = ["Note 000123", "karen lomi", "tor vas ulpem", "observations relations", "fact method risk"]
        took = [_wall(lambda q=q: vault.recall(q, k=10)) for q in questions]  # type: ignore[misc]
        hits = len(vault.recall(questions[3], k=10).hits)
    return Row(
        FAMILY,
        "recall k = 10, with the look before it",
        "<= 1.5 s",
        f"{median(took):.2f} s wall, worst {max(took):.2f} s ({hits} hits)",
        f"one open: {stat_s:.2f} s",
        max(took) <= 1.5,
        {"wall_s": median(took), "worst_s": max(took)},
    )


def _first(bench: Bench, source: Path, files: int) -> Row:
    """A tenth of the delay, for whatever is not done side by side shows just as well."""
    stat_s = bench.size(STAT_MS // 10, 3) / 1000
    fs = _mount(source, stat_s)
    with Vault.open(source, state_dir=bench.folder("state"), fs=fs) as vault:
        took = _wall(partial(vault.sync, vectors=False))
    bound = 2 * files * stat_s / 64
    return Row(
        FAMILY,
        f"first sync of a slow mount, {files:,} files, {1000 * stat_s:.0f} ms a stat or open",
        "",
        f"{took:.2f} s wall, {fs.most} at a time",
        f"a stat and an open a file, 64 at a time: {bound:.2f} s, ratio {took / bound:.1f}",
        None,
        {"wall_s": took, "ratio": took / bound},
    )


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])

"""How large the index is beside the notes, and whether it stays so while the same notes change again and again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from holdfast import Vault
from tests.bench.measure import Row, cpu_s, disk_bytes, megabytes
from tests.bench.setup import Bench, index_directory, note_files
from tests.bench.syncs import edit, some_words

FAMILY = "size"

EDITED = 100


def measure(bench: Bench) -> Iterator[Row]:
    for kind, notes in (("notes", 10_000), ("flat", 10_000), ("lognormal", 10_000), ("notes", 100_000)):
        if bench.quick and notes > 10_000:
            continue
        yield _at_rest(bench, kind, bench.size(notes, 1_000))
    yield _churn(bench, together=1)
    yield _churn(bench, together=10)


def _at_rest(bench: Bench, kind: str, notes: int) -> Row:
    vault = bench.corpus(kind, notes)
    text = sum(p.stat().st_size for p in note_files(vault))
    state, _ = bench.synced(vault)
    size, files = disk_bytes(index_directory(state))
    return Row(
        FAMILY,
        f"index of {notes:,} notes ({kind})",
        "<= 3 x the notes' bytes, <= 16 files",
        f"{megabytes(size)}, {size / text:.2f} x, {files} files",
        f"the notes: {megabytes(text)}",
        size <= 3 * text and files <= 16,
        {"ratio": size / text, "files": files, "bytes": size},
    )


def _churn(bench: Bench, together: int) -> Row:
    """10,000 edits of 100 notes: each synced by its path, or by plain syncs after a few."""
    notes, wanted = bench.size(10_000, 1_000), bench.size(10_000, 500)
    source = bench.copy(bench.corpus("notes", notes))
    state = bench.folder("state")
    rng = random.Random(11)
    files = rng.sample(note_files(source), EDITED)
    words = some_words(source, rng)
    with Vault.open(source, state_dir=state) as vault:
        vault.sync(vectors=False)
    # Without anybody who has it open, the index is at rest: what SQLite keeps beside it is put in.
    start, _ = disk_bytes(index_directory(state))
    most = most_files = done = 0
    spent = 0.0
    with Vault.open(source, state_dir=state) as vault:
        while done < wanted:
            part = [files[(done + i) % EDITED] for i in range(together)]
            for path in part:
                edit(path, rng, words, done)
            done += together
            spent += cpu_s(lambda part=part: _bring_in(vault, source, part if together == 1 else []))  # type: ignore[misc]
            if (done // together) % 20 == 0:
                size, count = disk_bytes(index_directory(state))
                most, most_files = max(most, size), max(most_files, count)
    end, count = disk_bytes(index_directory(state))
    change = end / start - 1
    how = "each synced by its path" if together == 1 else f"a plain sync after each {together}"
    return Row(
        FAMILY,
        f"after {wanted:,} edits of the same {EDITED} notes among {notes:,}, {how}",
        "same size +- 10 %, <= 16 files",
        f"{100 * change:+.1f} % ({megabytes(start)} to {megabytes(end)}), at most {megabytes(max(most, end))} "
        f"({100 * (max(most, end) / start - 1):+.0f} %) and {max(most_files, count)} files on the way",
        f"{1000 * spent / (wanted / together):.1f} ms CPU a sync",
        abs(change) <= 0.1 and max(most_files, count) <= 16,
        {"change": change, "most": max(most, end) / start - 1, "cpu_ms_a_sync": 1000 * spent / (wanted / together)},
    )


def _bring_in(vault: Vault, source: Path, part: list[Path]) -> None:
    vault.sync(vectors=False, paths=tuple(str(p.relative_to(source)) for p in part))


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])

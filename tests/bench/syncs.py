"""What a sync costs: the first, one with nothing to do, one after edits, one after a rename."""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import apsw

from holdfast import Config, Vault
from tests.bench.measure import Row, cpu_s, median, percentile, run, take_turns, walk
from tests.bench.setup import Bench, Skipped, index_directory, note_files

FAMILY = "sync"

# Read every note, put it whole into one FTS5 table: about the least that a full text index costs.
FTS5_BUILD = """
import apsw, pathlib, sys
db = apsw.Connection(sys.argv[2])
db.execute("create virtual table d using fts5(path unindexed, body, tokenize='porter unicode61')")
with db:
    for p in pathlib.Path(sys.argv[1]).rglob("*.md"):
        db.execute("insert into d values (?,?)", (str(p), p.read_text(encoding="utf-8", errors="replace")))
"""

# When a file in the vault was opened: strace's line for it.
_OPENED = re.compile(r'openat2?\([^,]*, "([^"]*)"')


def measure(bench: Bench) -> Iterator[Row]:
    yield from first_sync(bench)
    yield first_batch(bench)
    yield from no_change(bench)
    yield edits(bench)
    yield from renames(bench)


def first_sync(bench: Bench) -> Iterator[Row]:
    for kind, must in (("notes", "<= 1.8 ms CPU a note"), ("flat", ""), ("lognormal", "")):
        if bench.quick and not must:
            continue
        notes = bench.size(10_000, 1_000)
        vault = bench.corpus(kind, notes)
        bytes_ = sum(p.stat().st_size for p in note_files(vault))
        empty = run([sys.executable, "-c", "import numpy, apsw"]).cpu_s

        def ours(vault: Path = vault) -> float:
            return bench.sync(vault, bench.folder("first")).cpu_s

        def fts5(vault: Path = vault) -> float:
            target = bench.folder("fts5") / "index.db"
            return run([sys.executable, "-c", FTS5_BUILD, str(vault), str(target)]).cpu_s

        took = take_turns({"ours": ours, "fts5": fts5}, bench.size(3 if must else 1, 1))
        a_note, theirs = (1000 * median(took[name]) / notes for name in ("ours", "fts5"))
        share = a_note / (bytes_ / notes) * 1024
        yield Row(
            FAMILY,
            f"first sync, {notes:,} notes ({kind}, {bytes_ / notes / 1024:.1f} KiB a note)",
            must,
            f"{a_note:.2f} ms CPU a note ({share:.2f} a KiB; start {1000 * empty:.0f} ms included)",
            f"FTS5 of whole notes: {theirs:.2f} ms, ratio {a_note / theirs:.1f}",
            a_note <= 1.8 if must else None,
            {"cpu_ms_a_note": a_note, "fts5_ms_a_note": theirs, "cpu_ms_a_kib": share},
        )


class _Stop(Exception):
    """Enough was seen of a first sync."""


def first_batch(bench: Bench) -> Row:
    """How soon a first sync can be asked: in the first call of its progress, another vault object asks for a word."""
    notes = bench.size(10_000, 1_000)
    source = bench.corpus("notes", notes)
    state = bench.folder("batch")
    seen: dict[str, float] = {}
    via: list[str] = []
    alone = Config(background=False)  # asked too early, it would start a sync of its own that outlives this one
    with Vault.open(source, state_dir=state) as vault, Vault.open(source, state_dir=state, config=alone) as other:
        began = time.process_time()

        def progress(done: int, _: int) -> None:
            if not seen:
                seen["cpu_ms"], seen["notes"] = 1000 * (time.process_time() - began), done
                asked = time.process_time()
                answer = other.recall("Note 000001", k=1, sync=False)
                seen["ask_ms"] = 1000 * (time.process_time() - asked)
                via.extend(answer.hits[0].via if answer.hits else ["nothing"])
                raise _Stop

        try:
            vault.sync(vectors=False, progress=progress)
        except _Stop:
            pass
    return Row(
        FAMILY,
        f"first sync, {notes:,} notes: searchable after the first batch",
        "searchable after the first batch",
        f"after {seen['cpu_ms']:.0f} ms CPU ({seen['notes']:.0f} notes); asked then: via {via[0]}, "
        f"{seen['ask_ms']:.0f} ms CPU",
        "",
        via[0] == "keyword",
        seen,
    )


def no_change(bench: Bench) -> Iterator[Row]:
    for kind, full in (("notes", 10_000), ("flat", 10_000), ("lognormal", 10_000), ("notes", 100_000)):
        if bench.quick and (full > 10_000 or kind == "lognormal"):
            continue
        vault = bench.corpus(kind, bench.size(full, 1_000))
        state, _ = bench.synced(vault)
        yield _looks(vault, state, kind, bench.size(9, 7))
        yield _opened(bench, vault, state, kind)


def _looks(source: Path, state: Path, kind: str, times: int) -> Row:
    with Vault.open(source, state_dir=state) as vault:
        done = vault.sync(vectors=False)
        look = partial(vault.sync, vectors=False)
        took = take_turns({"sync": lambda: cpu_s(look), "walk": lambda: cpu_s(lambda: walk(str(source)))}, times)
    sync, bare = median(took["sync"]), median(took["walk"])
    clean = not (done.added or done.changed or done.removed)
    return Row(
        FAMILY,
        f"no-change sync, {done.notes:,} notes ({kind})",
        "<= 2 x the bare walk",
        f"{1000 * sync:.1f} ms CPU, ratio {sync / bare:.2f}" + ("" if clean else " (NOT without change)"),
        f"scandir + stat walk: {1000 * bare:.1f} ms",
        sync <= 2 * bare and clean,
        {"sync_ms": 1000 * sync, "walk_ms": 1000 * bare, "ratio": sync / bare},
    )


def opened_files(command: list[str], trace: Path, env: dict[str, str] | None = None) -> list[str]:
    """The paths that a command opens, by strace."""
    strace = shutil.which("strace")
    if strace is None:
        raise Skipped("strace is not installed, so opened files are not counted")
    traced = [strace, "-f", "--seccomp-bpf", "-qq", "-e", "trace=open,openat,openat2", "-o", str(trace), *command]
    run(traced, env=env)
    return [m[1] for line in trace.read_text(errors="replace").splitlines() if (m := _OPENED.search(line))]


def _opened(bench: Bench, vault: Path, state: Path, kind: str) -> Row:
    command = bench.command("sync", vault, state, "--no-vectors", "--json")
    try:
        # The scrub hashes its share of notes by time; without it nothing at all may be opened.
        names = opened_files(command, bench.folder("trace") / "log", {"HOLDFAST_SCRUB_DAYS": "1e9"})
    except Skipped as e:
        return Row(FAMILY, f"notes opened by a no-change sync ({kind})", "0 outside the scrub", str(e), "", None)
    notes = [n for n in names if n.endswith(".md")]
    return Row(
        FAMILY,
        f"notes opened by a no-change sync ({vault.name})",
        "0 outside the scrub",
        f"{len(notes)} of {len(names)} opens, scrub off",
        "strace",
        not notes,
        {"opened": len(notes)},
    )


def edit(path: Path, rng: random.Random, words: list[str], revision: int) -> None:
    """Another sentence in place of one of the note's, in the vault's own words, with a number that was never there."""
    lines = path.read_text(encoding="utf-8").split("\n")
    prose = [i for i, line in enumerate(lines) if len(line) > 120]
    if prose:
        lines[rng.choice(prose)] = f"{' '.join(rng.choices(words, k=34)).capitalize()}. Revision {revision}."
    path.write_text("\n".join(lines), encoding="utf-8")


def some_words(vault: Path, rng: random.Random) -> list[str]:
    """Words of some notes, as frequent as they are there."""
    text = " ".join(p.read_text(encoding="utf-8") for p in rng.sample(note_files(vault), 50))
    return re.findall(r"[a-z]{3,}", text)


def edits(bench: Bench) -> Row:
    """Ten notes change, then nothing does, turn by turn: the difference is what the edits cost."""
    source = bench.copy(bench.corpus("notes", bench.size(10_000, 1_000)))
    rng = random.Random(5)
    files, words = note_files(source), some_words(source, rng)
    counted = 0
    with Vault.open(source, state_dir=bench.folder("state")) as vault:
        look = partial(vault.sync, vectors=False)
        look()
        after: list[float] = []
        still: list[float] = []
        for i in range(bench.size(15, 7)):
            for path in rng.sample(files, 10):
                edit(path, rng, words, i)
            time.sleep(0.05)  # older than the grain of file times, so that one look settles them
            began = time.process_time()
            counted += look().changed
            after.append(time.process_time() - began)
            look()
            still.append(cpu_s(look))
    extra = 1000 * (median(after) - median(still))
    return Row(
        FAMILY,
        f"after 10 edits among {len(files):,} notes",
        "the no-change time + <= 50 ms",
        f"+ {extra:.1f} ms CPU (p90 + {1000 * (percentile(after, 0.9) - median(still)):.1f}; "
        f"{counted / len(after):.1f} changed a time)",
        f"no-change sync: {1000 * median(still):.1f} ms",
        extra <= 50,
        {"extra_ms": extra, "no_change_ms": 1000 * median(still)},
    )


def renames(bench: Bench) -> Iterator[Row]:
    """A folder with all notes goes to another name and back."""
    notes = bench.size(10_000, 1_000)
    for kind in ("notes", "flat"):
        source = bench.copy(bench.corpus(kind, notes), "here")
        with Vault.open(source, state_dir=(state := bench.folder("state"))) as vault:
            look = partial(vault.sync, vectors=False)
            look()
            time.sleep(0.05)
            look()
            before = _newest_term_row(state), look().chunks
            moved: set[tuple[int, int, int, int]] = set()
            calls = {"rename": partial(_rename, vault, source, moved), "still": partial(cpu_s, look)}
            took = take_turns(calls, 7)
            after = _newest_term_row(state), look().chunks
        rename_ms, still_ms = 1000 * median(took["rename"]), 1000 * median(took["still"])
        is_clean = moved == {(notes, 0, 0, 0)} and before == after
        yield Row(
            FAMILY,
            f"rename of a folder with {notes:,} notes ({kind})",
            "moves only, nothing read, no chunk rewritten; <= 4 x no-change",
            f"{rename_ms:.0f} ms CPU, ratio {rename_ms / still_ms:.2f}; (moved, read, added, removed) = "
            f"{', '.join(map(str, sorted(moved)))}; term rows {'same' if before == after else 'REWRITTEN'}",
            f"no-change sync: {still_ms:.1f} ms",
            is_clean and rename_ms <= 4 * still_ms,
            {"rename_ms": rename_ms, "ratio": rename_ms / still_ms},
        )


def _rename(vault: Vault, source: Path, moved: set[tuple[int, int, int, int]]) -> float:
    """Rename the one folder of the vault, and return the CPU seconds of the sync that follows."""
    old, new = ("here", "there") if (source / "here").exists() else ("there", "here")
    (source / old).rename(source / new)
    return cpu_s(lambda: moved.add(_moves(vault)))


def _moves(vault: Vault) -> tuple[int, int, int, int]:
    done = vault.sync(vectors=False)
    return done.moved, done.files_read, done.added, done.removed


def _newest_term_row(state: Path) -> tuple[int, int]:
    """(highest change number of a term row, number of them): neither moves unless a note's content is written."""
    (path,) = index_directory(state).glob("gen-*.db")
    db = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        ((newest, count),) = db.execute("select max(seq), count(*) from doc").fetchall()
    finally:
        db.close()
    return int(str(newest)), int(str(count))


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])

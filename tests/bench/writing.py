"""What it costs to write notes: alone, from eight processes at once, and what the history weighs beside git."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from holdfast import Config, Vault
from holdfast.history.rows import Change, Kind
from holdfast.history.store import History
from tests.bench.measure import Row, median
from tests.bench.setup import Bench

FAMILY = "writing"
CONFIG = Config(background=False, embedder="none")

_REMEMBER = """
import json, sys, time
from holdfast import Config, Vault
root, state, name, count = sys.argv[1:]
vault = Vault.open(root, state_dir=state, config=Config(background=False, embedder="none"))
vault.recall("warm", sync=False)
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(count)):
    began = time.perf_counter()
    done = vault.remember(f"item {name}{i} lies on shelf {i * 7 + len(name)} of room {name}", author=name)
    print(json.dumps([(time.perf_counter() - began) * 1000, done.stored, done.indexed]), flush=True)
"""

_EDIT = """
import json, random, sys
from holdfast import Config, Vault, errors
root, state, name, count = sys.argv[1:]
vault = Vault.open(root, state_dir=state, config=Config(background=False, embedder="none"))
chance = random.Random(name)
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(count)):
    note, token = f"shared/{chance.randrange(20)}.md", f"{name}-{i}"
    try:
        vault.edit(note, append=f"line {token}.", author=name)
        print(json.dumps([note, token]), flush=True)
    except (errors.Conflict, errors.VaultBusy) as e:
        print(json.dumps([note, None]), flush=True)
"""


def measure(bench: Bench) -> Iterator[Row]:
    yield _alone(bench)
    yield _remembering(bench)
    yield _editing(bench)
    yield _versions(bench)
    yield _beside_git(bench)


def _vault(bench: Bench, name: str) -> tuple[Path, Path]:
    root, state = bench.folder(name), bench.folder("state")
    os.environ["HOLDFAST_DATA"] = str(bench.folder("history"))
    return root, state


def _alone(bench: Bench) -> Row:
    root = bench.copy(bench.corpus("notes", bench.size(10_000, 500)))
    os.environ["HOLDFAST_DATA"] = str(bench.folder("history"))
    with Vault.open(root, state_dir=bench.folder("state"), config=CONFIG) as vault:
        vault.sync(vectors=False)
        body = b"A note of some words about kalo and mirentor, written now.\n" * 20
        took: dict[str, list[float]] = {"write": [], "fsync": []}
        for i in range(bench.size(200, 30)):
            began = time.perf_counter()
            vault.write(f"new/{i}.md", body + str(i).encode())
            took["write"].append(time.perf_counter() - began)
            began = time.perf_counter()
            fd = os.open(f"{root}/bare-{i}.bin", os.O_CREAT | os.O_WRONLY)
            os.write(fd, body)
            os.fsync(fd)
            os.close(fd)
            folder = os.open(root, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
            took["fsync"].append(time.perf_counter() - began)
    write, bare = (1000 * median(took[k]) for k in ("write", "fsync"))
    return Row(
        FAMILY, "write a note of 1.2 KB, found at once", "p50 <= 10 ms beyond the fsync of the same bytes",
        f"+ {write - bare:.1f} ms", f"bare write, fsync of file and folder: {bare:.1f} ms", write - bare <= 10,
        {"over_ms": write - bare},
    )  # fmt: skip


def _processes(bench: Bench, code: str, root: Path, state: Path, count: int) -> list[list[object]]:
    made = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(root), str(state), f"p{i}", str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for i in range(8)
    ]  # fmt: skip
    for p in made:
        assert p.stdout is not None
        p.stdout.readline()
    for p in made:
        assert p.stdin is not None
        p.stdin.write("\n")
        p.stdin.flush()
    return [json.loads(line) for p in made for line in p.communicate()[0].splitlines()]


def _remembering(bench: Bench) -> Row:
    root, state = _vault(bench, "remembered")
    with Vault.open(root, state_dir=state, config=CONFIG) as vault:
        vault.sync(vectors=False)
    each = bench.size(125, 10)
    done = _processes(bench, _REMEMBER, root, state, each)
    times = sorted(float(str(x[0])) for x in done)
    with Vault.open(root, state_dir=state, config=CONFIG) as vault:
        vault.sync(vectors=False)
        found = sum(bool(vault.recall(f'"item p{p}{i}"', sync=False).hits) for p in range(8) for i in range(each))
    p50 = times[len(times) // 2]
    return Row(
        FAMILY, f"{8 * each:,} remember from 8 processes at once", "p50 <= 25 ms beyond fsync, all recallable",
        f"{p50:.1f} ms wall (p95 {times[int(len(times) * 0.95)]:.0f}); {found:,} recallable",
        f"{sum(bool(x[2]) for x in done):,} indexed when they returned", p50 <= 25 and found == 8 * each,
        {"p50_ms": p50},
    )  # fmt: skip


def _editing(bench: Bench) -> Row:
    root, state = _vault(bench, "edited")
    (root / "shared").mkdir()
    for i in range(20):
        (root / f"shared/{i}.md").write_text(f"# Note {i}\n")
    with Vault.open(root, state_dir=state, config=CONFIG) as vault:
        vault.sync(vectors=False)
    each = bench.size(500, 20)
    began = time.perf_counter()
    done = _processes(bench, _EDIT, root, state, each)
    seconds = time.perf_counter() - began
    texts = {f"shared/{i}.md": (root / f"shared/{i}.md").read_text() for i in range(20)}
    kept = sum(x[1] is not None and texts[str(x[0])].count(f"line {x[1]}.\n") == 1 for x in done)
    refused = sum(x[1] is None for x in done)
    return Row(
        FAMILY, f"8 processes with {each} edits each of the same 20 notes", "no lost update, no half note",
        f"{kept:,} of {len(done):,} there once, {refused} refused, in {seconds:.0f} s", "",
        kept + refused == 8 * each, {"seconds": seconds},
    )  # fmt: skip


def _versions(bench: Bench) -> Row:
    root, state = _vault(bench, "versions")
    count = bench.size(1_000, 100)
    (root / "a.md").write_text("x")
    with Vault.open(root, state_dir=state, config=CONFIG) as vault:
        vault.sync(vectors=False)
        with vault._ws.past.store() as store:
            store.record([Change(Kind.WRITTEN, "a.md", f"version {i}\n".encode() * 20, i) for i in range(count)])
        began = time.process_time()
        found = vault.history("a.md", limit=count + 1)
        ms = 1000 * (time.process_time() - began)
    return Row(
        FAMILY, f"history of a note with {count:,} versions", "<= 100 ms", f"{ms:.0f} ms CPU",
        f"{len(found.versions):,} listed", ms <= 100, {"ms": ms},
    )  # fmt: skip


def _beside_git(bench: Bench) -> Row:
    """The same versions in both: one flat folder of notes, then edits, a commit each."""
    notes, edits = bench.size(10_000, 300), bench.size(1_000, 50)
    folder = bench.folder("flat")
    history = History(str(bench.folder("store") / "history.db"))
    bodies = {
        f"{i:05}.md": f"# Note {i}\n\n" + f"Some words of note {i}, one line after another.\n" * 20
        for i in range(notes)
    }
    for name, text in bodies.items():
        (folder / name).write_text(text)
    history.record([Change(Kind.FOUND, name, text.encode(), 0) for name, text in bodies.items()])
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}

    def git(*args: str) -> None:
        command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@x", "-c", "gc.auto=0", *args]
        subprocess.run(command, check=True, capture_output=True, env=env)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    for i in range(edits):
        name = f"{i * 37 % notes:05}.md"
        bodies[name] += f"line {i} was added by edit {i}\n"
        (folder / name).write_text(bodies[name])
        history.record([Change(Kind.WRITTEN, name, bodies[name].encode(), i)])
        git("commit", "-q", "-m", f"edit {i}", "--", name)
    git("gc", "-q")
    history.close()
    ours = os.path.getsize(history.path)
    theirs = sum(p.stat().st_size for p in (folder / ".git" / "objects").rglob("*") if p.is_file())
    return Row(
        FAMILY, f"history of {notes:,} notes in one folder and {edits:,} edits", "<= 1.5 x git after gc",
        f"{ours / theirs:.2f} x ({ours / 1e6:.1f} MB)", f"git: {theirs / 1e6:.1f} MB", ours <= 1.5 * theirs,
        {"ratio": ours / theirs},
    )  # fmt: skip


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])

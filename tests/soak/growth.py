"""The growth report replayed (583 GB of index over 34 MB of notes, health "ok"): many edits, nothing that cleans up.

Each scenario returns its figures and raises AssertionError where a promise does not hold. Run by `make soak` in the
size of the report, by tests/fault/test_growth.py in a small one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from holdfast import Config, Vault
from holdfast.errors import IndexOverBudget, ResourceFault
from holdfast.index.sqlite.store import SqliteIndex
from tests.fault.vaults import CONFIG, Place, assert_equals_a_rebuild
from tests.soak.sampler import Sampler, allocated, sampled

MIB = 1 << 20
ROUND = 100
"""Edits between two syncs."""

HEALTH_S = 10.0

READER = """
import sys, apsw
db = apsw.Connection(sys.argv[1], flags=apsw.SQLITE_OPEN_READONLY)
db.execute("begin")
db.execute("select count(*) from note").fetchall()
print("pinned", flush=True)
sys.stdin.read()
"""


@dataclass
class Churn:
    """A vault of about `mib` MiB and how it is edited: the same `hot` notes again and again."""

    place: Place
    mib: float
    edits: int
    hot: int = 100
    seed: int = 34
    index_bytes: int = 0
    """A budget for the index; 0 for that of the formula."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.words = [f"{a}{b}" for a in ("ga", "to", "ri", "su", "ne", "ko", "li") for b in map(str, range(400))]
        self.serial = 0

    @property
    def config(self) -> Config:
        return replace(CONFIG, look_ms=300, index_bytes=self.index_bytes)

    @property
    def env(self) -> dict[str, str]:
        """The same for the command."""
        return {"HOLDFAST_INDEX_BYTES": str(self.index_bytes)}

    def note(self) -> str:
        self.serial += 1
        body = "\n\n".join(" ".join(self.chance.choices(self.words, k=90)) for _ in range(4))
        return f"# Note {self.serial}\n\n{body}\n"

    def fill(self) -> int:
        """Write the notes; returns their bytes."""
        written = 0
        n = 0
        while written < self.mib * MIB:
            text = self.note()
            self.place.put(f"d{n % 20}/n{n}.md", text)
            written, n = written + len(text), n + 1
        self.count = n
        return written

    def rounds(self) -> Iterator[list[str]]:
        """Edits, as the paths that were edited."""
        for start in range(0, self.edits, ROUND):
            paths = []
            for n in range(min(ROUND, self.edits - start)):
                at = (start + n) % min(self.hot, self.count)
                paths.append(f"d{at % 20}/n{at}.md")
                self.place.put(paths[-1], self.note())
            yield paths


def ordinary(churn: Churn) -> dict[str, Any]:
    """Nothing fails: the index stays within its bound by itself, and forgets its history."""
    text_bytes = churn.fill()
    with churn.place.open(config=churn.config) as vault:
        vault.sync()
        bound, before = _bound(vault), allocated(vault._ws.directory)[0]
        with sampled(vault._ws.directory) as sampler:
            for paths in churn.rounds():
                vault.sync(paths=paths)
        after = allocated(vault._ws.directory)[0]
        assert vault.status().health == "ok"
    _is_bounded(sampler, bound)
    with churn.place.open(config=churn.config) as vault:
        vault.rebuild()
        rebuilt = allocated(vault._ws.directory)[0]
    assert after <= 1.5 * rebuilt + MIB, f"{after} bytes after {churn.edits} edits, {rebuilt} once rebuilt"
    return _figures(churn, text_bytes, bound, sampler) | {
        "before_bytes": before, "after_bytes": after, "rebuilt_bytes": rebuilt
    }  # fmt: skip


def broken(churn: Churn) -> dict[str, Any]:
    """All cleaning up fails, and a reader pins an old state: the bound holds, health says so, one command cures."""
    text_bytes = churn.fill()
    with churn.place.open(config=churn.config) as vault:
        vault.sync()
        bound, database = _bound(vault), vault._ws.index().path  # type: ignore[union-attr]
        refused, seen_s, at_first = 0, None, _status(churn)
        with _pinned(database) as unpin, _no_maintenance(), sampled(vault._ws.directory) as sampler:
            for paths in churn.rounds():
                try:
                    vault.sync(paths=paths)
                except IndexOverBudget:
                    refused += 1
                    if seen_s is None:
                        seen_s = _until(lambda: _status(churn) == "failing")
                    # The notes are written all the same, and questions answered.
                    assert vault.recall("ga1", sync=False).hits
            unpin()
        _is_bounded(sampler, bound)
    cured = churn.place.cli("prune", env=churn.env)
    assert cured.returncode == 0, cured.stderr
    with churn.place.open(config=churn.config) as vault:
        vault.sync()
    assert_equals_a_rebuild(churn.place)
    assert at_first in ("ok", "degraded")  # the latter where few files may be open, which is said
    assert _status(churn) == at_first
    if refused:
        assert seen_s is not None
        assert seen_s <= HEALTH_S, f"health was not ok only after {seen_s} s"
    return _figures(churn, text_bytes, bound, sampler) | {"refused": refused, "health_seen_s": seen_s}


def small_disk(churn: Churn, disk_bytes: int) -> dict[str, Any]:
    """The index is on a disk that gets full: it stops in time, answers, and goes on when there is room."""
    text_bytes = churn.fill()
    stopped = 0
    with churn.place.open(config=churn.config) as vault:
        with contextlib.suppress(ResourceFault):
            vault.sync()
        with sampled(churn.place.state) as sampler:
            for paths in churn.rounds():
                try:
                    vault.sync(paths=paths)
                except ResourceFault:
                    stopped += 1
                assert vault.recall("ga1", sync=False).hits
    # What is kept for notes stays free: 2 MiB of so small a disk.
    assert sampler.peak <= disk_bytes - 2 * MIB, f"{disk_bytes - sampler.peak} bytes were left for notes"
    return _figures(churn, text_bytes, disk_bytes, sampler) | {"stopped": stopped}


def few_descriptors(limit: int) -> Callable[[], None]:
    """For subprocess's preexec_fn: this many open files at most."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def _bound(vault: Vault) -> int:
    """3 T + 64 MiB, of the notes' bytes as they are; there are no vectors here."""
    index = vault._ws.index()
    assert index is not None
    return vault._ws.config.index_limit(index.counts().note_bytes, 0)


def _is_bounded(sampler: Sampler, bound: int) -> None:
    assert sampler.looks > 1
    assert sampler.peak <= bound, f"{sampler.peak} bytes were seen, {bound} allowed"
    assert sampler.most_files <= 16, sampler.most_files


def _figures(churn: Churn, text_bytes: int, bound: int, sampler: Sampler) -> dict[str, Any]:
    return {
        "notes": churn.count, "note_bytes": text_bytes, "edits": churn.edits, "bound_bytes": bound,
        "peak_bytes": sampler.peak, "most_files": sampler.most_files, "looks": sampler.looks,
    }  # fmt: skip


@contextlib.contextmanager
def _pinned(database: str) -> Iterator[Callable[[], None]]:
    """Another process that reads an old state until it is let go."""
    child = subprocess.Popen(
        [sys.executable, "-c", READER, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "pinned\n"

    def unpin() -> None:
        child.communicate()

    try:
        yield unpin
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()


@contextlib.contextmanager
def _no_maintenance() -> Iterator[None]:
    """Every way to give bytes back fails, in this process."""
    real = SqliteIndex.shrink

    def fails(self: SqliteIndex) -> None:
        raise ResourceFault("It cannot be made smaller.", hint="This is a test.")

    SqliteIndex.shrink = fails  # type: ignore[method-assign]
    try:
        yield
    finally:
        SqliteIndex.shrink = real  # type: ignore[method-assign]


def _status(churn: Churn) -> str:
    """The health that another process sees."""
    done = churn.place.cli("status", "--json", env=churn.env)
    return str(json.loads(done.stdout)["health"])


def _until(is_so: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < 6 * HEALTH_S
        time.sleep(1.0)
    return time.monotonic() - began


def on_tmpfs(size_mib: int, command: list[str]) -> subprocess.CompletedProcess[str]:
    """`command` with a new file system of this size in its environment's TMPFS, in a mount namespace of its own."""
    mount = f'd=$(mktemp -d) && mount -t tmpfs -o size={size_mib}m none "$d" && TMPFS="$d" exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", *command],
        env={**os.environ}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip

"""Faults 3, 5, 9 and 14 inside SQLite: a process that is killed at each of its calls to the disk; each call failing.

Each job is run once to count the calls, then again for each of them: killed there for real, in a process of its own; or
with a write of half its bytes; or with a disk that is full, or broken, once or from there on.
"""

from __future__ import annotations

import os
import shutil
import signal
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from holdfast.errors import HoldfastError
from holdfast.vault import Vault
from tests.dump import differences, dump
from tests.fake_embedder import FakeEmbedder, use
from tests.fault.failing_vfs import failing
from tests.fault.test_check import damage
from tests.fault.test_index_damage import tree
from tests.fault.vaults import Place, index_of

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
EVERY = bool(os.environ.get("HOLDFAST_EVERY"))
"""Each call, which takes the better part of an hour."""

DAMAGE = "delete from chunk where note = 2"


def edit(place: Place) -> None:
    place.put("d0/n0.md", "# Changed\n\nquinces and tomatoes\n")
    place.put("d7/new.md", "# New\n\nmedlars and tomatoes\n")
    os.unlink(f"{place.root}/d2/n2.md")


def break_it(place: Place) -> None:
    damage(place, DAMAGE)


def grow_and_shrink(place: Place) -> None:
    """Something to be pruned: vectors that no passage has, and a log."""
    for n in range(40, 60):
        place.put(f"d9/n{n}.md", f"# Note {n}\n\n{'plums ' * 200}{n}\n")
    with use(place.open(), FakeEmbedder()) as vault:
        vault.sync()
    shutil.rmtree(f"{place.root}/d9")
    place.sync()


JOBS: dict[str, tuple[Callable[[Place], object], Callable[[Vault], object]]] = {
    "first": (lambda place: shutil.rmtree(place.state), lambda vault: vault.sync()),
    "sync": (edit, lambda vault: vault.sync()),
    "rebuild": (lambda place: None, lambda vault: vault.rebuild()),
    "repair": (break_it, lambda vault: vault.repair()),
    "prune": (grow_and_shrink, lambda vault: vault.prune()),
}


class Stage:
    """A vault before a job, which can be had again and again."""

    def __init__(self, base: Path, name: str) -> None:
        self.place = Place(base)
        self.place.fill(4)
        with use(self.place.open(), FakeEmbedder()) as vault:
            vault.sync()
        prepare, self.job = JOBS[name]
        self.name = name
        prepare(self.place)
        self.notes = tree(self.place.root)
        self.kept = f"{base}/kept"
        if os.path.exists(self.place.state):
            shutil.copytree(self.place.state, self.kept)
        fresh = Place(base / "fresh", has_id=False)
        shutil.rmtree(fresh.root)
        shutil.copytree(self.place.root, fresh.root)
        with use(fresh.open(), FakeEmbedder()) as vault:
            vault.sync()
            self.words = {p.path: p.path for p in vault.list().notes}
        with failing() as vfs:
            self.run()
        self.calls = vfs.calls
        with use(self.place.open(), FakeEmbedder()) as vault:
            vault.sync()
            self.truth = dump(index_of(vault))

    def reset(self) -> None:
        shutil.rmtree(self.place.state, ignore_errors=True)
        if os.path.exists(self.kept):
            shutil.copytree(self.kept, self.place.state)

    def quarantined(self) -> list[str]:
        return sorted(p.name for p in Path(self.place.state).glob("*/quarantine/*"))

    def run(self) -> None:
        try:
            with use(self.place.open(), FakeEmbedder()) as vault:
                self.job(vault)
        except apsw.Error as e:
            # SQLite lets a failed checkpoint at its end be; apsw raises what was raised in the VFS.
            if "close" not in [frame.name for frame in traceback.extract_tb(e.__traceback__)]:
                raise

    def is_mended(self, at: object) -> None:
        """What is there answers or says why not; one sync makes it whole."""
        with use(self.place.open(), FakeEmbedder()) as vault:
            said = vault.recall("tomatoes")
            assert said.hits or said.receipt.degraded, at
            vault.sync(checksum=True)
            now = dump(index_of(vault))
            assert now == self.truth, (at, differences(now, self.truth))
            assert vault.check(deep=True).ok, at
        assert tree(self.place.root) == self.notes, at


@pytest.fixture(params=list(JOBS))
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    return Stage(tmp_path, request.param)


def points(stage: Stage, how: str) -> range:
    """Each call where there is time for it; else some, from another beginning for each job and fault."""
    assert stage.calls > 10, "the job writes"
    stride = 1 if EVERY else 11 if THOROUGH else 23
    return range(1 + (len(how) + stage.calls) % stride, stage.calls + 1, stride)


@pytest.mark.parametrize("how", ["kill", "tear"])
def test_killed_at_each_call(stage: Stage, how: str) -> None:
    died = 0
    for at in points(stage, how):
        stage.reset()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of threads; the child uses none of them
            child = os.fork()
        if not child:
            with failing(how, at):  # type: ignore[arg-type]
                try:
                    stage.run()
                finally:
                    os._exit(0)
        _, status = os.waitpid(child, 0)
        died += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        stage.is_mended((how, at))
    assert died, "a call was met"


@pytest.mark.parametrize("how", ["full", "ioerr"])
@pytest.mark.parametrize("times", [1, None], ids=["once", "from-there-on"])
# A connection that cannot be closed in a finalizer has nobody to tell.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_each_call_fails(stage: Stage, how: str, times: int | None) -> None:
    struck = 0
    for at in points(stage, f"{how}{times}"):
        stage.reset()
        before = stage.quarantined()
        # An error of ours, which says what to do, or none.
        with failing(how, at, times) as vfs, suppress(HoldfastError):  # type: ignore[arg-type]
            stage.run()
        struck += vfs.calls >= at
        if how == "full" and stage.name != "repair":
            assert stage.quarantined() == before, "a full disk is no damage"
        stage.is_mended((how, times, at))
    assert struck, "a call was met"

"""Fault 32: many processes on one vault. One works, the others wait for it or say who it is; the index is whole."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.engine import stopgap
from holdfast.errors import VaultBusy
from tests.fake_embedder import FakeEmbedder, use
from tests.fault.faulty_fs import Fault, FaultyFS
from tests.fault.vaults import CONFIG, Place, assert_equals_a_rebuild, environment, index_of, repository

PROCESSES = 8

WORKER = """
import json, sys
from holdfast import Config, Vault
from holdfast.engine import stopgap
from holdfast.errors import VaultBusy
root, state, wait_s, verb = sys.argv[1:]
few = dict(batch_notes=4, overlay_chunks=20, overlay_first=30)
config = Config(background=False, embedder="none", lock_wait_s=float(wait_s), **few)
vault = Vault.open(root, state_dir=state, config=config)
print("ready", flush=True)
sys.stdin.readline()
try:
    done = vault.recall("tomatoes", sync=True) if verb == "recall" else getattr(vault, verb)()
    out = {"hits": len(done.hits)} if verb == "recall" else {"done": True}
except VaultBusy as e:
    out = {"busy": e.message}
vault.close()
print(json.dumps(out), flush=True)
"""


def run_at_once(place: Place, verbs: list[str], wait_s: float) -> list[dict[str, Any]]:
    """Start all, let them go at one moment, and return what each of them said."""
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKER, place.root, place.state, str(wait_s), verb],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=repository(),
            env=environment(),
        )
        for verb in verbs
    ]  # fmt: skip
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", child.communicate()[1]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    out = []
    for child in children:
        said, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
        out.append(json.loads(said))
    return out


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(120)
    return made


@pytest.mark.parametrize("known", [False, True])
def test_who_waits_gets_its_turn(place: Place, known: bool) -> None:
    if known:
        place.sync()
        place.change(random.Random(1))
    said = run_at_once(place, ["sync"] * PROCESSES, 60.0)
    assert said == [{"done": True}] * PROCESSES
    assert_equals_a_rebuild(place)


def test_who_does_not_wait_hears_who_is_at_work(place: Place) -> None:
    said = run_at_once(place, ["sync"] * PROCESSES, 0.0)
    busy = [s["busy"] for s in said if "busy" in s]
    assert len(said) - len(busy) >= 1
    assert busy, "on one vault of this size some must have met"
    assert all("in progress (pid " in words for words in busy)
    assert_equals_a_rebuild(place)


def test_syncs_rebuilds_and_questions_at_once(place: Place) -> None:
    place.sync()
    place.change(random.Random(2))
    said = run_at_once(place, ["sync", "rebuild", "recall", "rebuild", "recall", "sync", "recall", "rebuild"], 60.0)
    assert all(s.get("done") or s.get("hits") == 10 for s in said), said
    place.sync()
    assert_equals_a_rebuild(place)


def test_readers_see_one_generation_while_rebuilds_go_on(place: Place) -> None:
    """Fault 33: no moment without an answer, and no answer from half an index."""
    place.sync()
    stop = threading.Event()
    seen: list[tuple[int, int, int]] = []
    errors: list[BaseException] = []

    def read() -> None:
        try:
            with place.open() as vault:
                while not stop.is_set():
                    answer = vault.recall("tomatoes water", sync=False)
                    assert [h.via for h in answer.hits] == [("keyword",)] * 10
                    seen.append((answer.receipt.generation, answer.receipt.in_scope.notes, len(answer.hits)))
        except BaseException as e:
            errors.append(e)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    with place.open() as vault:
        for _ in range(6):
            vault.rebuild()
        last = index_of(vault).generation
    stop.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert {notes for _, notes, _ in seen} == {120}
    assert {g for g, _, _ in seen} <= set(range(1, last + 1))
    assert len({g for g, _, _ in seen}) > 1


def test_a_question_beside_the_first_sync_does_not_read_all_notes_itself(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That would take it longer, and slow the sync down. It asks what is there and says how far that is."""
    monkeypatch.setattr(stopgap, "STEP_MS", 50)
    place.fill(300)
    slow = Fault(call="open_read", path=".md", times=None, sleep_s=0.05)
    reads = FaultyFS(Fault(call="open_read", path=".md", times=None, sleep_s=0.01))
    few = replace(CONFIG, batch_notes=20)
    with place.open(reads, few) as syncs, place.open(own := FaultyFS(slow), few) as asker:
        sync = threading.Thread(target=syncs.sync)
        sync.start()
        said = asker.recall("tomatoes", sync=False)
        sync.join()
        assert {hit.via for hit in said.hits} == {("keyword",)}
        assert any("the index is being built (pid" in remark for remark in said.receipt.degraded)
        assert not any("searched instead" in remark for remark in said.receipt.degraded)
        assert own.calls["open_read"] < 300
        assert asker.recall("tomatoes", sync=False).receipt.degraded == ()


def test_one_vault_object_serves_many_threads(place: Place) -> None:
    errors: list[BaseException] = []
    with place.open() as vault:
        vault.sync()

        def work(n: int) -> None:
            try:
                for k in range(6):
                    if n == 0:
                        place.put(f"t/{k}.md", f"# T {k}\n\ntomatoes\n")
                        vault.sync()
                    elif n == 1 and k % 3 == 2:
                        vault.rebuild()
                    else:
                        assert vault.recall("tomatoes", sync=n % 2 == 0).hits
            except VaultBusy:
                pass
            except BaseException as e:
                errors.append(e)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    place.sync()
    assert_equals_a_rebuild(place)


def test_a_sync_whose_index_is_deleted_under_it_makes_another(place: Place) -> None:
    """What it reports is there when it ends."""
    fake = FakeEmbedder()
    with use(place.open(), fake) as vault:
        fake.hook = lambda inputs: shutil.rmtree(vault._ws.directory, ignore_errors=True) if fake.encodes == 1 else None
        done = vault.sync()
        assert done.vectors.ready == done.chunks > 0
        assert index_of(vault).is_in_place
        assert vault.check(deep=True, vectors=False).ok
        assert vault.status().index["vectors"]["ready"] == done.chunks

"""What chromadb does after each fault and after each cure: the sentences of the clinic, measured."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from holdfast.clinic import chroma
from holdfast.clinic.chroma import refilling
from holdfast.errors import Conflict, DiskFull, ResourceFault, VaultBusy
from tests.clinic import chroma_patients as patients


def only(palace: Path) -> Any:
    (seen,) = chroma.examine(str(palace)).seen
    return seen


def found(count: int) -> range:
    """What a search for everything may return: the graph is approximate, and may miss a few."""
    return range(count - 9, count + 1)


def cut_header(palace: Path) -> None:
    os.truncate(patients.segment(palace) / "header.bin", 50)


def cut_elements(palace: Path) -> None:
    path = patients.segment(palace) / "data_level0.bin"
    os.truncate(path, int(path.stat().st_size * 0.48))


def test_without_its_graph_it_opens_and_says_nothing(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    cut_header(palace)
    assert patients.ask(patients.copy(palace, tmp_path / "sick"))["status"] < 0  # It dies of the header.
    chroma.quarantine(str(palace), apply=True, force=False)
    said = patients.ask(palace, more=300)
    assert (said["status"], said["count"], said["texts"]) == (0, 640, 640)
    assert said["search"] in found(41)  # What was in the queue; nothing is rebuilt.
    assert "Error finding id" in said["vectors"]
    # Nor by a later flush.
    assert patients.ask(palace)["search"] in found(341)
    seen = only(palace)
    assert (seen["verdict"], seen["missing"]) == ("behind", 599)


def test_a_graph_without_its_id_list_is_passed_over(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    (patients.segment(palace) / "index_metadata.pickle").unlink()
    said = patients.ask(palace)
    assert said["count"] == 640
    assert said["search"] in found(41)


def test_ghosts_are_found_and_gaps_are_not(tmp_path: Path) -> None:
    said = patients.ask(patients.ghosts(tmp_path / "g"))
    assert said["count"] == 300
    assert said["search"] in found(600)
    said = patients.ask(patients.gaps(tmp_path / "m"))
    assert said["count"] == 600
    assert said["search"] in found(300)
    assert "Error finding id" in said["vectors"]


def test_bloated_link_lists_are_read_up_to_their_count(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    os.truncate(patients.segment(palace) / "link_lists.bin", 1 << 40)
    said = patients.ask(palace)
    assert (said["status"], said["exact"]) == (0, 640)
    assert said["search"] in found(640)


CURABLE = {
    "header cut": (patients.flushed, cut_header),
    "lengths gone": (patients.flushed, lambda p: (patients.segment(p) / "length.bin").unlink()),
    "ghosts": (patients.ghosts, lambda p: None),
    "poisoned": (patients.flushed, lambda p: poison(p)),
}


def poison(palace: Path) -> None:
    with apsw.Connection(str(palace / "chroma.sqlite3")) as db:
        db.execute("UPDATE max_seq_id SET seq_id = 1 << 60 WHERE segment_id = ?", (patients.segment(palace).name,))


@pytest.mark.parametrize("kind", CURABLE)
def test_refilling_loses_nothing(kind: str, tmp_path: Path) -> None:
    make, harm = CURABLE[kind]
    palace = make(tmp_path / "p")
    harm(palace)
    before = patients.contents(palace)
    plan = chroma.refill(str(palace), apply=False, force=False)
    assert not plan.ok  # sick as long as nothing was done: a monitor must not see 0
    assert patients.contents(palace) == before
    assert plan.loses == ()
    done = chroma.refill(str(palace), apply=True, force=False)
    assert (done.done, done.ok) == (True, True)
    (backup,) = palace.glob("chroma.sqlite3.before-*")
    with apsw.Connection(str(backup)) as then, apsw.Connection(":memory:") as db:
        db.deserialize("main", before["chroma.sqlite3"])
        count = "SELECT count(*), sum(seq_id) FROM embeddings_queue"
        assert list(then.execute(count)) == list(db.execute(count))
    rows = only(palace)["rows"]
    said = patients.ask(palace, more=300)
    assert (said["status"], said["count"], said["vectors"]) == (0, rows, rows)
    assert said["search"] in found(rows)
    # In a cosine space the lengths of the vectors are in the file that is gone; their directions are whole.
    assert said["exact"] == (41 if kind == "lengths gone" else rows)
    assert said["found"] == ["i1000003"]
    seen = only(palace)
    assert (seen["verdict"], seen["rows"], seen["missing"]) == ("healthy", rows + 300, 0)


def test_refilling_saves_what_the_files_still_hold(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    cut_elements(palace)
    (lost,) = chroma.refill(str(palace), apply=True, force=False).loses
    # 312 elements are cut off; chromadb adds in parallel, so the one that is in the queue too may be among them.
    assert lost.startswith(("311 rows", "312 rows"))
    said = patients.ask(palace)
    assert said["search"] in found(640 - int(lost[:3]))


def test_changes_that_wait_are_applied_after_the_refill(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    patients.build(
        {palace: [["update", "drawers", 0, 10], ["delete", "drawers", 10, 20], ["remark", "drawers", 20, 30]]}
    )
    cut_header(palace)
    chroma.refill(str(palace), apply=True, force=False)
    said = patients.ask(palace)
    # The ten updated ones have new vectors, the ten deleted ones are gone.
    assert (said["count"], said["vectors"], said["exact"]) == (630, 630, 620)
    assert only(palace)["verdict"] == "healthy"


@pytest.mark.parametrize("delay_ms", [0])
def test_a_torn_flush_is_cured_by_refilling(delay_ms: int, tmp_path: Path) -> None:
    palace = patients.torn(tmp_path / "p", delay_ms)
    rows = only(palace)["rows"]
    if only(palace)["verdict"] == "damaged":
        assert chroma.refill(str(palace), apply=True, force=False).ok
    said = patients.ask(palace, dimension=patients.TORN_DIMENSION, more=2500)
    assert (said["status"], said["exact"], said["found"]) == (0, rows, ["i1000003"])
    assert only(palace)["verdict"] == "healthy"


def test_what_was_refilled_stays_in_the_queue_until_it_is_flushed(tmp_path: Path) -> None:
    """chromadb drops from the queue what is before the mark of how far the graph had come: the mark must go."""
    palace = patients.flushed(tmp_path / "p")
    with apsw.Connection(str(palace / "chroma.sqlite3")) as db:
        db.execute("UPDATE collection_metadata SET int_value = 50000 WHERE key = 'hnsw:sync_threshold'")
        old, new = (f'"sync_threshold":{n}' for n in (200, 50000))
        db.execute("UPDATE collections SET schema_str = replace(schema_str, ?, ?)", (old, new))
    cut_header(palace)
    assert chroma.refill(str(palace), apply=True, force=False).ok
    for more in (5, 0):
        said = patients.ask(palace, more=more)
        assert said["vectors"] == 640 + (0 if more else 5)
    assert only(palace)["queued"] == 645


def test_a_refill_that_fails_changes_nothing(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    cut_header(palace)
    with apsw.Connection(str(palace / "chroma.sqlite3")) as db:
        # Not enough free numbers before the queue: what waits would be overtaken.
        db.execute("UPDATE embeddings_queue SET seq_id = seq_id - 500")
    before = patients.contents(palace)
    with pytest.raises(Conflict):
        chroma.refill(str(palace), apply=True, force=False)
    after = patients.contents(palace)
    assert {k: v for k, v in after.items() if ".before-" not in k} == before
    assert patients.segment(palace).is_dir()


def test_a_refill_needs_ids(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    (patients.segment(palace) / "index_metadata.pickle").write_bytes(b"")
    report = chroma.refill(str(palace), apply=True, force=False)
    assert not report.plan
    assert patients.segment(palace).is_dir()
    healthy = patients.flushed(tmp_path / "q")
    before = patients.contents(healthy)
    assert not chroma.refill(str(healthy), apply=True, force=False).plan
    assert patients.contents(healthy) == before
    shutil.rmtree(patients.segment(healthy))
    assert not chroma.refill(str(healthy), apply=True, force=False).plan


@pytest.mark.parametrize("then", ["at once", "after a flush"])
def test_what_was_set_aside_is_refilled_too(then: str, tmp_path: Path) -> None:
    """Somebody set a sound graph aside (by its file times), and chromadb went on without it."""
    palace = patients.flushed(tmp_path / "p")
    folder = patients.segment(palace)
    folder.rename(palace / f"{folder.name}.drift-20260426-235311")
    more = 0
    if then == "after a flush":
        more = 300
        assert patients.ask(palace, more=more)["search"] in found(41)
    report = chroma.examine(str(palace))
    assert report.seen[0]["verdict"] == ("behind" if more else "lost")
    assert "--refill" in report.findings[0].cure
    done = chroma.refill(str(palace), apply=True, force=False)
    assert (done.ok, done.loses) == (True, ())
    said = patients.ask(palace)
    assert (said["status"], said["count"], said["vectors"]) == (0, 640 + more, 640 + more)
    assert only(palace)["verdict"] == "healthy"


def test_a_refill_without_gain_is_none(tmp_path: Path) -> None:
    palace = patients.gaps(tmp_path / "p")
    folder = patients.segment(palace)
    shutil.copytree(folder, palace / f"{folder.name}.drift-20260426-235311")
    before = patients.contents(palace)
    # One row of the gap is in the queue: that is all there is to gain, and it is gained.
    assert len(chroma.refill(str(palace), apply=False, force=False).plan) == 1
    shutil.rmtree(folder)
    shutil.rmtree(palace / f"{folder.name}.drift-20260426-235311")
    assert not chroma.refill(str(palace), apply=True, force=False).plan
    assert patients.contents(palace) == {k: v for k, v in before.items() if "/" not in k}


@pytest.mark.parametrize(
    ("error", "told"), [(apsw.FullError, DiskFull), (apsw.BusyError, VaultBusy), (apsw.CantOpenError, ResourceFault)]
)
def test_a_refill_without_room_leaves_no_copy(
    error: type[Exception], told: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    palace = patients.flushed(tmp_path / "p")
    cut_header(palace)
    before = patients.contents(palace)

    class Failing(apsw.Connection):
        def backup(self, *_: Any) -> Any:
            raise error

    real = refilling.apsw

    class Module:
        Connection = Failing

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    monkeypatch.setattr(refilling, "apsw", Module())
    with pytest.raises(told):
        chroma.refill(str(palace), apply=True, force=False)
    assert patients.contents(palace) == before

"""Setting segments aside and putting them back: by rename, with evidence, never a healthy one, never over anything."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from hashlib import blake2b
from pathlib import Path

import pytest

from holdfast.clinic import chroma
from holdfast.clinic.chroma import aside
from holdfast.errors import Conflict, NotFound, ResourceFault, VaultBusy
from tests.clinic import chroma_patients as patients

NAME = re.compile(r"[0-9a-f-]{36}\.drift-\d{8}-\d{6}(-\d+)?\Z")


def damaged(palace: Path) -> Path:
    patients.flushed(palace)
    os.truncate(patients.segment(palace) / "header.bin", 50)
    return palace


def set_aside(palace: Path) -> list[str]:
    return [s["name"] for s in chroma.listed(str(palace)).seen]


def test_it_says_first_and_changes_nothing(tmp_path: Path) -> None:
    palace = damaged(tmp_path / "p")
    before = patients.contents(palace)
    report = chroma.quarantine(str(palace), apply=False, force=False)
    assert not report.ok  # nothing is cured yet
    assert not report.done
    assert report.loses == (
        "599 vectors of collection drawers exist only in these files; they must be embedded again.",
    )
    assert [s.action for s in report.plan] == ["set aside"]
    assert patients.contents(palace) == before


def test_set_aside_and_put_back_byte_for_byte(tmp_path: Path) -> None:
    palace = damaged(tmp_path / "p")
    before = patients.contents(palace)
    folder = patients.segment(palace)
    report = chroma.quarantine(str(palace), apply=True, force=False)
    assert report.done
    assert not folder.exists()
    (name,) = set_aside(palace)
    assert NAME.match(name)
    assert patients.contents(palace / name) == {
        k.partition("/")[2]: v for k, v in before.items() if k.startswith(folder.name)
    }
    evidence = json.loads((palace / f"{name}.json").read_text())
    for file, content in patients.contents(palace / name).items():
        assert evidence["contents"][file]["digest"] == f"b2-{blake2b(content, digest_size=16).hexdigest()}"
    assert (evidence["rows"], evidence["entries"], evidence["verdict"]) == (640, 600, "damaged")
    assert evidence["loses"] == list(report.loses)

    again = chroma.restore(str(palace), name, apply=False, force=False)
    assert not again.done
    assert not folder.exists()
    assert chroma.restore(str(palace), name, apply=True, force=False).done
    assert {k: v for k, v in patients.contents(palace).items() if not k.endswith(".json")} == before
    assert set_aside(palace) == []


def test_a_healthy_one_is_never_set_aside() -> None:
    for shape, palace in patients.healthy().items():
        report = chroma.quarantine(str(palace), apply=True, force=False)
        assert report.plan == (), shape
        assert set_aside(palace) == [], shape


@pytest.mark.parametrize("kind", ["bloated", "gone", "begun"])
def test_what_setting_aside_would_not_help_stays(kind: str, tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    folder = patients.segment(palace)
    if kind == "bloated":
        os.truncate(folder / "link_lists.bin", 1 << 40)
    else:
        shutil.rmtree(folder)
        if kind == "begun":
            patients.build({palace: [["add", "drawers", 700, 705]]})
            assert folder.is_dir()
    report = chroma.quarantine(str(palace), apply=True, force=False)
    assert report.plan == ()
    assert any("stays" in r for r in report.remarks)


@pytest.mark.parametrize("kind", ["ghosts", "gaps"])
def test_drift_is_set_aside(kind: str, tmp_path: Path) -> None:
    palace = getattr(patients, kind)(tmp_path / "p")
    report = chroma.quarantine(str(palace), apply=True, force=False)
    assert len(report.plan) == 1
    (name,) = set_aside(palace)
    evidence = json.loads((palace / f"{name}.json").read_text())
    assert len(evidence["ghost_ids"]) + len(evidence["missing_ids"]) == 300
    # Never twice.
    assert chroma.quarantine(str(palace), apply=True, force=False).plan == ()
    assert set_aside(palace) == [name]


def test_two_in_one_second_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.gmtime()
    monkeypatch.setattr(aside.time, "gmtime", lambda: now)
    palace = damaged(tmp_path / "p")
    folder = patients.segment(palace)
    spare = patients.copy(folder, tmp_path / "spare")
    for _ in range(3):
        chroma.quarantine(str(palace), apply=True, force=False)
        shutil.copytree(spare, folder)
    stamp = time.strftime("%Y%m%d-%H%M%S", now)
    assert set_aside(palace) == [f"{folder.name}.drift-{stamp}{n}" for n in ("", "-1", "-2")]
    for name in set_aside(palace):
        assert patients.contents(palace / name) == patients.contents(spare)
        assert (palace / f"{name}.json").is_file()


def test_an_empty_folder_of_the_name_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.gmtime()
    monkeypatch.setattr(aside.time, "gmtime", lambda: now)
    palace = damaged(tmp_path / "p")
    taken = palace / f"{patients.segment(palace).name}.drift-{time.strftime('%Y%m%d-%H%M%S', now)}"
    taken.mkdir()
    chroma.quarantine(str(palace), apply=True, force=False)
    assert list(taken.iterdir()) == []
    assert len(set_aside(palace)) == 2


def test_a_segment_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    palace = damaged(tmp_path / "p")
    folder = patients.segment(palace)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    chroma.quarantine(str(palace), apply=True, force=False)
    assert folder.is_symlink()
    assert (tmp_path / "elsewhere" / "header.bin").is_file()


def test_the_place_of_a_flushed_graph_is_taken(tmp_path: Path) -> None:
    palace = damaged(tmp_path / "p")
    folder = patients.segment(palace)
    spare = patients.copy(folder, tmp_path / "spare")
    chroma.quarantine(str(palace), apply=True, force=False)
    (name,) = set_aside(palace)
    shutil.copytree(spare, folder)
    before = patients.contents(palace)
    assert chroma.listed(str(palace)).seen[0]["place"] == "taken"
    with pytest.raises(Conflict):
        chroma.restore(str(palace), name, apply=True, force=True)
    assert patients.contents(palace) == before


def test_files_begun_meanwhile_change_places(tmp_path: Path) -> None:
    palace = damaged(tmp_path / "p")
    folder = patients.segment(palace)
    before = patients.contents(folder)
    chroma.quarantine(str(palace), apply=True, force=False)
    (name,) = set_aside(palace)
    patients.build({palace: [["add", "drawers", 700, 705]]})
    begun = patients.contents(folder)
    assert begun
    assert chroma.restore(str(palace), name, apply=True, force=False).done
    assert patients.contents(folder) == before
    (other,) = set_aside(palace)
    assert patients.contents(palace / other) == begun


NOT_THERE = f"{'0' * 8}-0000-0000-0000-{'0' * 12}.drift-20260101-000000"


@pytest.mark.parametrize("name", ["", "x", "..", "../p", "a/b", "chroma.sqlite3", NOT_THERE])
def test_only_what_is_set_aside_can_be_put_back(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        chroma.restore(str(damaged(tmp_path / "p")), name, apply=True, force=False)


def test_what_changed_since_is_said(tmp_path: Path) -> None:
    palace = damaged(tmp_path / "p")
    chroma.quarantine(str(palace), apply=True, force=False)
    (name,) = set_aside(palace)
    assert chroma.restore(str(palace), name, apply=False, force=False).findings == ()
    (palace / name / "length.bin").write_bytes(b"other")
    (finding,) = chroma.restore(str(palace), name, apply=False, force=False).findings
    assert "length.bin" in finding.message


def test_what_mempalace_set_aside_is_listed_too(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    folder = patients.segment(palace)
    folder.rename(palace / f"{folder.name}.drift-20260426-235311")
    (palace / f"{folder.name}.drift-20260426-235311.json").write_text("[" * 100_000)
    (seen,) = chroma.listed(str(palace)).seen
    assert (seen["segment"], seen["set_aside"], seen["place"]) == (folder.name, "2026-04-26T23:53:11Z", "free")
    assert chroma.restore(str(palace), seen["name"], apply=True, force=False).done
    assert chroma.examine(str(palace)).ok


def test_nothing_is_changed_under_another_process(tmp_path: Path) -> None:
    palace = damaged(tmp_path / "p")
    program = "import sys, time; f = open(sys.argv[1]); print(flush=True); time.sleep(20)"
    command = [sys.executable, "-c", program, str(palace / "chroma.sqlite3")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        before = patients.contents(palace)
        assert any("has the files open" in u for u in chroma.examine(str(palace)).unknown)
        for act in (chroma.quarantine, chroma.refill):
            with pytest.raises(VaultBusy):
                act(str(palace), apply=True, force=False)
            assert any("has files open" in r for r in act(str(palace), apply=False, force=False).remarks)
        assert patients.contents(palace) == before
        assert chroma.quarantine(str(palace), apply=True, force=True).done
        other.kill()


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    palace = damaged(tmp_path / "p")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(aside.os, "rename", refuse)
    with pytest.raises(ResourceFault):
        chroma.quarantine(str(palace), apply=True, force=False)
    with pytest.raises(ResourceFault):
        chroma.refill(str(palace), apply=True, force=False)
    assert patients.segment(palace).is_dir()

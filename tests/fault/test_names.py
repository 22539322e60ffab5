"""Fault 49: names that differ in case, or in the form of their accents, alone.

Where they are two files they stay two notes and are reported; where they are one file it is one note, under the name
that its folder gives it.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from holdfast.engine.resolve import resolve
from holdfast.files.spelling import Spelling
from tests.fault.faulty_fs import FaultyFS
from tests.fault.vaults import Place, assert_equals_a_rebuild, index_of
from tests.fault.watches import watching

NFC = "Café.md"
NFD = unicodedata.normalize("NFD", NFC)
BODY = "# Tomatoes\n\nThey grow in the garden.\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def paths(place: Place) -> list[str]:
    with place.open() as vault:
        return [n.path for n in vault.list(sync=False).notes]


@pytest.mark.parametrize("pair", [("A.md", "a.md"), (NFC, NFD)], ids=["case", "form"])
def test_two_files_stay_two_notes_and_are_reported(place: Place, pair: tuple[str, str]) -> None:
    for name in pair:
        place.put(f"d/{name}", BODY)
    place.put("d/other.md", BODY)
    done = place.sync()
    assert done.added == 3
    assert set(done.explained) == {(f"d/{name}", "name_collision") for name in pair}
    assert done.skipped == {}
    assert place.sync().explained == ()  # said when they come, not again and again
    assert_equals_a_rebuild(place)


@pytest.mark.parametrize("pair", [("A.md", "a.md"), (NFC, NFD)], ids=["case", "form"])
def test_the_second_is_reported_when_it_comes_alone(place: Place, pair: tuple[str, str]) -> None:
    place.put(f"d/{pair[0]}", BODY)
    place.put(f"e/{pair[0]}", BODY)
    place.sync()
    place.put(f"d/{pair[1]}", BODY + "more\n")
    done = place.sync(paths=f"d/{pair[1]}")
    assert (done.scan.kind, done.added) == ("hinted", 1)
    assert set(done.explained) == {(f"d/{name}", "name_collision") for name in pair}
    place.put("f/other.md", "# A\n")
    assert place.sync(paths="f/other.md").explained == ()


def test_both_forms_are_one_link_target_and_two_files(place: Place) -> None:
    place.put(NFC, BODY)
    place.put("from.md", f"[[{NFD.removesuffix('.md')}]]\n")
    place.sync()
    with place.open() as vault:
        index = index_of(vault)
        for target in ("Café", unicodedata.normalize("NFD", "Café"), "CAFÉ"):
            (note,) = resolve(index, target)
            assert index.notes([note])[note].key.decode().endswith(NFC)
    place.put(NFD, BODY + "another\n")
    place.sync()
    with place.open() as vault:
        index = index_of(vault)
        # Its exact path is one of them; whatever fits both as well is ambiguous, and says so.
        assert len(resolve(index, NFC)) == len(resolve(index, NFD)) == 1
        assert resolve(index, NFC) != resolve(index, NFD)
        assert len(resolve(index, "CAFÉ")) == 2
        assert len(vault.list(sync=False).notes) == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [("d/Plan.md", "d/plan.md"), ("d/Plan.md", "D/Plan.md"), (f"d/{NFC}", f"d/{NFD}")],
    ids=["file", "folder", "form"],
)
@pytest.mark.parametrize("how", ["full", "hinted"])
def test_a_new_spelling_is_a_move_and_leaves_no_ghost(place: Place, old: str, new: str, how: str) -> None:
    fs = FaultyFS(folds_case=True, folds_form=True)
    others = [f"{old.partition('/')[0]}/n{i}.md" for i in range(5)]
    for path in (old, *others):
        place.put(path, f"# {path}\n\n{BODY}")
    with place.open(fs) as vault:
        vault.sync()
        if new.startswith("D/"):
            os.rename(f"{place.root}/d", f"{place.root}/D")
            others = [f"D/{p[2:]}" for p in others]
        else:
            os.rename(f"{place.root}/{old}", f"{place.root}/{new}")
        os.lstat(f"{place.root}/{new}")
        fs.lstat(f"{place.root}/{old}")  # the old name still leads to it
        hints = {"paths": [old, new]} if how == "hinted" else {}
        done = vault.sync(**hints)
        if how == "full":
            assert (done.added, done.changed, done.removed, done.skipped) == (0, 0, 0, {})
            assert done.moved == (6 if new.startswith("D/") else 1)
        done = vault.sync()
        assert (done.added, done.changed, done.removed) == (0, 0, 0)
        assert sorted(n.path for n in vault.list(sync=False).notes) == sorted([new, *others])
    assert_equals_a_rebuild(place, fs)


def test_a_hint_of_another_spelling_makes_no_second_note(place: Place) -> None:
    place.put("Plan.md", BODY)
    place.sync()
    with place.open(FaultyFS(folds_case=True)) as vault:
        done = vault.sync(paths=["PLAN.md", "plan.md"])
        assert (done.added, done.changed, done.removed, done.moved) == (0, 0, 0, 0)
        assert [n.path for n in vault.list(sync=False).notes] == ["Plan.md"]


def test_a_watch_on_such_a_file_system(place: Place) -> None:
    place.put("Plan.md", BODY)
    with watching(place, FaultyFS(folds_case=True)) as watch:
        os.rename(f"{place.root}/Plan.md", f"{place.root}/plan.md")
        watch.wait_for("change", 2)
        watch.settle()
        assert paths(place) == ["plan.md"]


def test_spelling(tmp_path: Path) -> None:
    (tmp_path / "Dir").mkdir()
    (tmp_path / "Dir" / "A.md").write_text("x")
    (tmp_path / "Dir" / "a.md").hardlink_to(tmp_path / "Dir" / "A.md")  # one inode, two names, both its own
    plain, folding = Spelling(FaultyFS(), str(tmp_path)), Spelling(FaultyFS(folds_case=True), str(tmp_path))
    for spelling in (plain, folding):
        assert spelling.is_exact("Dir/A.md")
        assert spelling.is_exact("Dir/a.md")
    (tmp_path / "Dir" / "a.md").unlink()
    assert folding.is_exact("Dir/A.md")
    assert not folding.is_exact("Dir/a.md")
    assert not folding.is_exact("dir/A.md")
    (tmp_path / "Dir" / "A.md").rename(tmp_path / "Dir" / "a.md")
    os.utime(tmp_path / "Dir", ns=(0, 0))  # a listing is kept only as long as its folder's times stay
    assert folding.is_exact("Dir/a.md")
    assert not folding.is_exact("Dir/A.md")

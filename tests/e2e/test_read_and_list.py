"""Every kind of name for a note, and pages of lists."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.e2e.command import Command


@pytest.mark.parametrize(
    ("identifier", "path"),
    [
        ("people/Hana Mori.md", "people/Hana Mori.md"),
        ("people/Hana Mori", "people/Hana Mori.md"),
        ("./people//Hana Mori.md", "people/Hana Mori.md"),
        ("people/hana-mori", "people/Hana Mori.md"),
        ("memory://people/hana-mori", "people/Hana Mori.md"),
        ("memory://people/Hana Mori.md", "people/Hana Mori.md"),
        ("Marta Oliveira", "profile.md"),
        ("marta oliveira", "profile.md"),
        ("Hana Mori", "people/Hana Mori.md"),
        ("大阪の喫茶店", "大阪の喫茶店.md"),
        ("log/water-meter.txt", "log/water-meter.txt"),
    ],
)
def test_read_by_any_name(holdfast: Command, identifier: str, path: str) -> None:
    done = holdfast("read", identifier, "--no-sync", "--json")
    assert done.exit == 0, done
    assert done.json["path"] == path


@pytest.mark.parametrize(
    ("identifier", "line", "count"),
    [
        ("profile.md:1:3", 1, 3),
        ("profile.md:41", 41, 1),
        ("profile.md:40:99", 40, 2),
        ("memory://profile:5:1", 5, 1),
        ("people/hana-mori:2:2", 2, 2),
    ],
)
def test_read_some_lines(holdfast: Command, sample: Path, identifier: str, line: int, count: int) -> None:
    done = holdfast("read", identifier, "--no-sync", "--json").json
    assert (done["line"], done["count"]) == (line, count)
    lines = (sample / done["path"]).read_text(encoding="utf-8").split("\n")
    assert done["text"] == "\n".join(lines[line - 1 :][:count])


def test_every_note_that_is_listed_can_be_read(holdfast: Command, sample: Path) -> None:
    listed = holdfast("list", "--limit", "1000", "--json").json["notes"]
    paths = [n["path"] for n in listed]
    there = {p.relative_to(sample).as_posix() for s in (".md", ".txt") for p in sample.rglob(f"*{s}")}
    assert set(paths) == {p for p in there if not p.startswith(("drafts/", ".holdfast/"))}
    assert len(paths) == len(set(paths))
    assert all(n["bytes"] == (sample / n["path"]).stat().st_size for n in listed)


def test_pages_cover_all_notes_once(holdfast: Command) -> None:
    whole = holdfast("list", "--limit", "1000", "--json").json["notes"]
    pages, after = [], ""
    for _ in range(20):
        page = holdfast("list", "--limit", "7", "--no-sync", "--json", *(["--after", after] if after else [])).json
        pages += page["notes"]
        assert len(page["notes"]) <= 7
        after = page["next"]
        if after is None:
            break
    assert pages == whole


def test_the_default_page_has_fifty(holdfast: Command) -> None:
    done = holdfast("list", "--no-sync", "--json").json
    assert len(done["notes"]) == 50
    assert done["next"] == done["notes"][-1]["path"]
    text = holdfast("list", "--no-sync").out.splitlines()
    assert len(text) == 51
    assert text[-1].startswith("more: --after ")


def test_jsonl_is_one_object_a_line(holdfast: Command) -> None:
    lines = holdfast("list", "--limit", "1000", "--jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == holdfast("list", "--limit", "1000", "--json").json["notes"]


def test_a_folder_a_note_a_folder_with_a_slash(holdfast: Command) -> None:
    people = holdfast("list", "people", "--json").json["notes"]
    assert people
    assert all(n["path"].startswith("people/") for n in people)
    assert people == holdfast("list", "people/", "--json").json["notes"]
    (one,) = holdfast("list", "people/Hana Mori.md", "--json").json["notes"]
    assert one["path"] == "people/Hana Mori.md"
    deep = holdfast("list", "journal", "--json").json["notes"]
    assert {n["path"].count("/") for n in deep} == {2}
    assert holdfast("list", ".", "--json").json == holdfast("list", "--json").json


def test_a_note_that_is_new_is_read_and_listed_at_once(own: Command, notes: Path) -> None:
    own("sync")
    (notes / "fresh.md").write_text("---\ntitle: Quite fresh\n---\n# Fresh\n")
    assert own("read", "Quite fresh", "--json").json["path"] == "fresh.md"
    (notes / "later.md").write_text("# Later\n")
    assert "later.md" in own("list").out
    (notes / "last.md").write_text("# Last\n")
    assert "last.md" not in own("list", "--no-sync").out
    assert own("read", "last.md", "--no-sync").exit == 0, "a path needs no index"


NAMES: list[bytes] = [
    b"-dash.md",
    b"sp  ace.md",
    b"quo'te\".md",
    b"x:1:2.md",
    b"percent%41.md",
    b"tab\tbed.md",
    b"new\nline.md",
    b"esc\x1b[31m.md",
    "é.md".encode(),
    "e\u0301.md".encode(),
    "🍅.md".encode(),
    "over\u202eride.md".encode(),
    b"star*[a].md",
    b"dollar$(x)`y`.md",
]


def odd_names(tmp_path: Path) -> Path:
    folder = tmp_path / "odd"
    folder.mkdir()
    names = list(NAMES)
    if sys.platform == "linux":
        names += [b"bad\xff.md", b"\xe9t\xe9.md", b"percent%EF.md"]
        (folder / os.fsdecode(b"dir\xff")).mkdir()
        names.append(b"dir\xff/in.md")
    for name in names:
        with open(os.fsencode(folder) + b"/" + name, "wb") as file:
            file.write(b"# Note\n\nhorizon\n")
    return folder


def test_odd_names_are_listed_paged_and_read(own: Command, tmp_path: Path) -> None:
    """The path that is printed is the path that can be asked for."""
    folder = odd_names(tmp_path)
    command = own.on(folder)
    whole = [n["path"] for n in command("list", "--json").json["notes"]]
    assert len(set(whole)) == sum(1 for p in folder.rglob("*.md"))
    assert set(whole) == {h["path"] for h in command("recall", "horizon", "-k", "50", "--json").json["hits"]}
    pages: list[str] = []
    for _ in range(len(whole)):
        after = ["--after", pages[-1]] if pages else []
        page = command("list", "--limit", "5", "--no-sync", "--json", *after).json
        pages += [n["path"] for n in page["notes"]]
        if page["next"] is None:
            break
    assert pages == whole
    for path in whole:
        assert command("read", "--no-sync", "--json", "--", path).json["path"] == path

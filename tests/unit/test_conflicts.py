"""Names of sync-conflict copies, and names that another system takes for one."""

from __future__ import annotations

import unicodedata

import pytest

from holdfast.files.conflicts import collisions, conflict_of


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("plan.sync-conflict-20240131-101112-ABCDEF7.md", "plan.md"),
        ("plan.sync-conflict-20240131-101112.md", "plan.md"),
        ("v1.2 plan.sync-conflict-20240131-101112-ABCDEF7.md", "v1.2 plan.md"),
        ("plan.sync-conflict-20240131-101112-ABCDEF7", "plan"),
        ("plan (conflicted copy).md", "plan.md"),
        ("plan (conflicted copy 2024-01-31 101112).md", "plan.md"),
        ("plan (Marta's conflicted copy 2024-01-31).md", "plan.md"),
        ("plan (Marta's MacBook's conflicted copy 2024-01-31 (1)).md", "plan.md"),
        ("plan (MARTA's Conflicted Copy 2024-01-31).txt", "plan.txt"),
        ("plan (2) (conflicted copy 2024-01-31).md", "plan (2).md"),
        ("plan (SFConflict me@example.org 2024-01-31-10-11-12).md", "plan.md"),
        ("plan (Case Conflict).md", "plan.md"),
        ("plan (Case Conflict 1).md", "plan.md"),
        ("plan (Unicode Encoding Conflict).md", "plan.md"),
        ("plan_conflict-20240131-101112.md", "plan.md"),
        ("Übersicht (conflicted copy 2024-01-31).md", "Übersicht.md"),
    ],
)
def test_a_conflict_copy_names_its_original(name: str, original: str) -> None:
    assert conflict_of(name) == original


@pytest.mark.parametrize(
    "name",
    [
        "plan.md", "conflict.md", "conflicted copy.md", "the conflicted copycat (a story).md", "(conflicted copy).md",
        "plan (conflicted copycat).md", "sync-conflict-1.md", ".sync-conflict-1.md", "how we met conflict (2024).md",
        "plan (conflict).md", "plan_conflict-2024.md", "",
    ],
)  # fmt: skip
def test_other_names_are_what_they_are(name: str) -> None:
    assert conflict_of(name) is None


def test_a_long_name_takes_no_time() -> None:
    assert conflict_of("(conflicted copy " * 20 + "x" * 200) is None


def test_collisions_are_of_case_and_of_the_form_of_accents() -> None:
    nfc, nfd = "Café.md", unicodedata.normalize("NFD", "Café.md")
    assert nfc != nfd
    names = ["a.md", "b.md", "A.md", nfc, nfd, "CAFÉ.md", "STRASSE.md", "straße.md", "\udcff.md"]
    assert collisions(names) == [["a.md", "A.md"], [nfc, nfd, "CAFÉ.md"], ["STRASSE.md", "straße.md"]]
    assert collisions([]) == collisions(["a.md"]) == []

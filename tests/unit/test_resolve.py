"""What a target means, among notes that are called alike; and that each name is looked up once."""

from __future__ import annotations

from collections import Counter

import pytest

from holdfast.engine.resolve import Resolver, resolve
from holdfast.index.base import NameLevel, NameRow
from holdfast.model import sort_key
from holdfast.text.names import tail

P, T, A, S = NameLevel.PERMALINK, NameLevel.TITLE, NameLevel.ALIAS, NameLevel.STEM


class Names:
    """Notes by their number: (path, level, name) of each; counts how often it is asked."""

    def __init__(self, *called: tuple[int, str, NameLevel, str]) -> None:
        self.called, self.asked = called, Counter[str]()

    def named(self, name: str) -> list[NameRow]:
        self.asked[name] += 1
        rows = [
            NameRow(n, sort_key(path), level, whole if whole != tail(whole) else None, None)
            for n, path, level, whole in self.called
            if tail(whole) == name
        ]
        return sorted(rows, key=lambda row: row.key)


SAME = [(n, f"{folder}/plan.md", P | T | S, "plan") for n, folder in enumerate("abc", 1)]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("a/plan", [1]),
        ("a/plan.md", [1]),
        ("A/Plan", [1]),
        ("plan", [1, 2, 3]),
        ("x/plan", []),
        ("nobody", []),
        ("plan-1", []),
        ("a/plan-1", []),
    ],
)
def test_notes_that_share_a_name(target: str, found: list[int]) -> None:
    assert resolve(Names(*SAME), target) == found


def test_the_first_level_that_names_a_note_decides() -> None:
    names = Names((1, "a/one.md", T, "goal"), (2, "two.md", A, "goal"), (3, "x/goal.md", P | S, "goal"))
    assert resolve(names, "goal") == [1]
    assert resolve(Names(*names.called[1:]), "goal") == [2]
    assert resolve(Names(names.called[2]), "goal") == [3]


def test_a_name_of_several_parts_is_compared_whole() -> None:
    names = Names((1, "one.md", T, "home/plan"), (2, "two.md", A, "work/plan"), (3, "three.md", T, "plan"))
    assert [resolve(names, t) for t in ("home/plan", "work/plan", "plan")] == [[1], [2], [3]]


def test_a_relative_target_is_a_path_from_its_folder_then_from_the_root() -> None:
    names = Names(*SAME)
    assert resolve(names, "plan.md", "b", relative=True) == [2]
    assert resolve(names, "../c/plan.md", "b", relative=True) == [3]
    assert resolve(names, "c/plan.md", "b", relative=True) == [3]
    assert resolve(names, "plan.md", "d", relative=True) == []


def test_permalinks_that_collide_are_numbered_in_path_order() -> None:
    names = Names((7, "My Plan.md", P, "my-plan"), (3, "my plan.md", P, "my-plan"), (5, "MY-plan.md", P, "my-plan"))
    assert [resolve(names, f"my-plan-{n}") for n in (0, 1, 2, 3)] == [[], [7], [3], []]
    resolver = Resolver(names)
    assert [resolver.number(n, path) for n, path, *_ in names.called] == ["my-plan-1", "my-plan-2", ""]


@pytest.mark.parametrize("number", ["²", "01", "9" * 5_000, "1x", "", "-1"])
def test_what_is_no_number_names_nothing(number: str) -> None:
    assert resolve(Names(*SAME), f"plan-{number}") == []


def test_a_name_is_looked_up_once_and_a_meaning_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names, worked = Names(*SAME), Counter[str]()
    whole = Resolver._resolve

    def counted(self: Resolver, target: str, folder: str, relative: bool) -> list[int]:
        worked[target] += 1
        return whole(self, target, folder, relative)

    monkeypatch.setattr(Resolver, "_resolve", counted)
    resolver = Resolver(names)
    for _ in range(50):
        for target in ("a/plan", "plan", "b/plan"):
            resolver.resolve(target)
    assert names.asked == {"plan": 1}
    assert worked == {"a/plan": 1, "plan": 1, "b/plan": 1}


def test_names_can_be_learned_together() -> None:
    names, asked = Names(*SAME), []

    def look_up(wanted: list[str]) -> dict[str, list[NameRow]]:
        asked.append(wanted)
        return {"plan": names.named("plan")}

    resolver = Resolver(names)
    for wanted in (["plan", "gone"], ["gone", "plan"]):
        resolver.learn(wanted, look_up)
    assert asked == [["gone", "plan"]]
    assert (resolver.resolve("a/plan"), resolver.resolve("gone")) == ([1], [])
    assert names.asked == {"plan": 1}

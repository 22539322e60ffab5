"""Three versions put together, and differences shown to people."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from holdfast.text import merge as module
from holdfast.text.merge import diff3_text, merge, unified

NAMES = ("base", "ours", "theirs")


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "expected"),
    [
        (b"a\nb\nc\n", b"A\nb\nc\n", b"a\nb\nC\n", b"A\nb\nC\n"),
        (b"a\nb\nc\n", b"a\nc\n", b"a\nb\nc\nd\n", b"a\nc\nd\n"),
        (b"a\nb\nc", b"A\nb\nc", b"a\nb\nc\nd", b"A\nb\nc\nd"),
        (b"a\r\nb\nc\r\n", b"A\r\nb\nc\r\n", b"a\r\nb\nC\n", b"A\r\nb\nC\n"),
        (b"\xff\nb\n\xfe\n", b"\xff\nb\n", b"\xff\xff\nb\n\xfe\n", b"\xff\xff\nb\n"),
        (b"a\n", b"b\n", b"b\n", b"b\n"),
        (b"a\n", b"a\n", b"b\n", b"b\n"),
        (b"a\n", b"b\n", b"a\n", b"b\n"),
        (b"a\nb\nc\nd\n", b"a\nc\nd\n", b"a\nc\nD\n", b"a\nc\nD\n"),
        (b"", b"", b"x", b"x"),
        (b"x", b"", b"x", b""),
        (b"a\nb\nc\n", b"a\nB\nc\n", b"a\nx\nc\n", None),
        (b"a\nb\nc\nd\n", b"a\nB\nc\nd\n", b"a\nb\nC\nd\n", None),
        (b"a\n", b"a\nx\n", b"a\ny\n", None),
        (b"a\nb\n", b"", b"a\nB\n", None),
        (b"a\n", b"a", b"a\nb\n", None),
    ],
)
def test_merge(base: bytes, ours: bytes, theirs: bytes, expected: bytes | None) -> None:
    assert merge(base, ours, theirs) == expected
    assert merge(base, theirs, ours) == expected


def test_the_same_change_is_made_once_where_lines_repeat() -> None:
    base = b"- a\n\n- a\n\n- a\n\nend\n"
    both = b"- a\n\n- a\n\nend\n"
    assert merge(base, both, both + b"more\n") == both + b"more\n"
    # An empty line that was added among others is taken for the last of them, away from where the other side is.
    added, removed = b"n\na\nb\n\n\n\n\n\n", b"a\n\n\n\n\n"
    assert merge(b"a\nb\n\n\n\n\n", removed, added) == b"n\na\n\n\n\n\n\n"


@pytest.mark.skipif(not shutil.which("git"), reason="git, whose merges are compared with ours, is not installed")
def test_merges_as_git_does(tmp_path: Path) -> None:
    """Where both merge they say the same, and where one does so does the other. The lines of the base are distinct:
    among lines that repeat, which of them was removed is a matter of taste."""
    chance = random.Random(7)
    merged = 0
    for _ in range(150):
        lines = [b"line %d\n" % n for n in range(chance.randrange(3, 30))]
        base, ours, theirs = b"".join(lines), changed(lines, chance), changed(lines, chance)
        for name, text in (("base", base), ("ours", ours), ("theirs", theirs)):
            (tmp_path / name).write_bytes(text)
        done = subprocess.run(
            ["git", "merge-file", "-p", "ours", "base", "theirs"], cwd=tmp_path, capture_output=True, check=False
        )
        assert merge(base, ours, theirs) == (done.stdout if done.returncode == 0 else None), (base, ours, theirs)
        merged += done.returncode == 0
    assert 30 < merged < 140


def changed(lines: list[bytes], chance: random.Random) -> bytes:
    new = list(lines)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(new) + 1)
        kind = chance.randrange(3)
        if kind == 0:
            new[at:at] = [b"new %d\n" % chance.randrange(4)] * chance.randrange(1, 3)
        elif kind == 1:
            del new[at : at + chance.randrange(1, 4)]
        else:
            new[at : at + 1] = [b"other %d\n" % chance.randrange(4)]
    text = b"".join(new)
    return text.replace(b"\n", b"\r\n", chance.randrange(2)) if chance.random() < 0.2 else text


def test_conflicts_stand_between_markers() -> None:
    shown = diff3_text(b"a\nb\nc\n", b"a\r\nO\nc\n", b"a\r\nT\xff\nc\nd", NAMES)
    assert shown == ("<<<<<<< ours\na\nO\n||||||| base\na\nb\n=======\na\nT\ufffd\n>>>>>>> theirs\nc\nd\n")
    assert diff3_text(b"a\n", b"a\n", b"b\n", NAMES) == "b\n"
    assert diff3_text(b"", b"", b"", NAMES) == ""


def test_far_from_a_conflict_lines_are_counted_only() -> None:
    lines = [b"%d\n" % n for n in range(1000)]
    ours, theirs = list(lines), list(lines)
    ours[500], theirs[500], theirs[510] = b"ours\n", b"theirs\n", b"more\n"
    shown = diff3_text(b"".join(lines), b"".join(ours), b"".join(theirs), NAMES).splitlines()
    assert shown == [
        "... 497 lines without conflict",
        *("497", "498", "499", "<<<<<<< ours", "ours", "||||||| base", "500", "=======", "theirs", ">>>>>>> theirs"),
        *("501", "502", "503", "... 496 lines without conflict"),
    ]


def test_a_merge_shown_is_bounded() -> None:
    ours = b"".join(b"o%d\n" % n for n in range(500))
    theirs = b"".join(b"t%d\n" % n for n in range(500))
    shown = diff3_text(b"a\n", ours, theirs, NAMES).splitlines()
    assert len(shown) == module.SHOWN + 1
    assert shown[-1] == f"... {500 + 500 + 1 + 4 - module.SHOWN} more lines"
    assert diff3_text(b"a\n", ours, theirs, NAMES, 3).count("\n") == 4


def test_unified() -> None:
    a = b"".join(b"%d\n" % n for n in range(1, 21))
    b = a.replace(b"\n5\n", b"\nfive\nand\n").replace(b"\n20\n", b"\n20")
    assert unified(a, b, "old", "new") == (
        "--- old\n+++ new\n@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+five\n+and\n 6\n 7\n 8\n"
        "@@ -17,4 +18,4 @@\n 17\n 18\n 19\n-20\n+20\n\\ No newline at end of file\n"
    )
    assert unified(a, a, "old", "new") == ""
    assert unified(b"", b"x\n", "a", "b") == "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n"
    assert unified(b"x\n", b"", "a", "b") == "--- a\n+++ b\n@@ -1 +0,0 @@\n-x\n"
    assert unified(b"a\nb\nc\n", b"a\nc\n", "a", "b", context=0) == "--- a\n+++ b\n@@ -2 +1,0 @@\n-b\n"


def test_changes_near_each_other_are_one_hunk() -> None:
    a = b"".join(b"%d\n" % n for n in range(20))
    for apart, hunks in ((7, 1), (8, 2)):
        b = a.replace(b"\n3\n", b"\nx\n").replace(b"\n%d\n" % (3 + apart), b"\ny\n")
        assert unified(a, b, "a", "b").count("@@ -") == hunks


def test_carriage_returns_are_shown_where_they_differ() -> None:
    assert "-a␍\n+a\n" in unified(b"a\r\nb\n", b"a\nb\n", "a", "b")
    assert "␍" not in unified(b"a\r\nb\r\n", b"a\r\nc\r\n", "a", "b")


@pytest.mark.skipif(not shutil.which("git"), reason="git, which applies our differences, is not installed")
def test_git_applies_what_unified_says(tmp_path: Path) -> None:
    chance = random.Random(3)
    for _ in range(40):
        lines = [b"line %d\n" % chance.randrange(12) for _ in range(chance.randrange(1, 40))]
        a, b = b"".join(lines), changed(lines, chance).replace(b"\r\n", b"\n")
        if chance.random() < 0.3:
            b = b.removesuffix(b"\n")
        if a == b or not b:
            continue
        (tmp_path / "n").write_bytes(a)
        diff = unified(a, b, "a/n", "b/n").encode()
        subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=diff, check=True, capture_output=True)
        assert (tmp_path / "n").read_bytes() == b


@pytest.mark.parametrize("seed", range(4))
def test_a_difference_is_shortest_while_work_lasts(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        kinds = chance.choice((2, 4, 20))
        a, b = ([b"%d\n" % chance.randrange(kinds) for _ in range(chance.randrange(25))] for _ in "ab")
        assert changes_cost(a, b) == len(a) + len(b) - 2 * longest_common(a, b)


def test_a_difference_is_true_when_work_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(5)
    for edits, work in ((1, 1_000), (3, 20), (5, 200), (400, 0)):
        monkeypatch.setattr(module, "EDITS", edits)
        monkeypatch.setattr(module, "WORK", work)
        for _ in range(100):
            kinds = chance.choice((2, 5, 60))
            a, b = ([b"%d\n" % chance.randrange(kinds) for _ in range(chance.randrange(40))] for _ in "ab")
            changes_cost(a, b)


def changes_cost(a: list[bytes], b: list[bytes]) -> int:
    """How many lines are removed and added; the changes are checked to lead from `a` to `b`."""
    changes = module._changes(a, b)
    i = j = 0
    for n, (start, stop, begin, end) in enumerate(changes):
        assert a[i:start] == b[j:begin]
        assert start > i or n == 0
        assert stop > start or end > begin
        i, j = stop, end
    assert a[i:] == b[j:]
    return sum(stop - start + end - begin for start, stop, begin, end in changes)


def longest_common(a: list[bytes], b: list[bytes]) -> int:
    row = [0] * (len(b) + 1)
    for line in a:
        above = row
        row = [0]
        for n, other in enumerate(b):
            row.append(above[n] + 1 if line == other else max(row[n], above[n + 1]))
    return row[-1]


def hard_pairs() -> dict[str, tuple[list[bytes], list[bytes]]]:
    chance = random.Random(11)
    count = 10_000
    distinct = [b"%d\n" % n for n in range(count)]
    few = [[b"%d\n" % chance.randrange(3) for _ in range(count)] for _ in "ab"]
    table = [b"| %d |\n" % (n % 50) for n in range(count)]
    return {
        "a few kinds": (few[0], few[1]),
        "two turns": ([b"a\n", b"b\n"] * (count // 2), [b"b\n", b"c\n", b"a\n"] * (count // 3)),
        "shuffled": (distinct, chance.sample(distinct, count)),
        "turned around": (distinct, distinct[::-1]),
        "all other": (distinct, [b"x" + line for line in distinct]),
        "each third of a table": (table, [b"x\n" if n % 3 else line for n, line in enumerate(table)]),
    }


@pytest.mark.parametrize("name", hard_pairs())
def test_work_is_bounded(name: str) -> None:
    """Far below the minutes that difflib takes for some of these."""
    a, b = hard_pairs()[name]
    start = time.process_time()
    assert unified(b"".join(a), b"".join(b), "a", "b")
    assert time.process_time() - start < 3, "measured: 0.05 to 0.3 s"


def test_each_bound_of_the_work_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    def left(name: str, count: int = 10_000) -> int:
        numbers: dict[bytes, int] = {}
        x, y = ([numbers.setdefault(line, len(numbers)) for line in lines[:count]] for lines in hard_pairs()[name])
        difference = module._Difference(x, y)
        difference.pairs()
        return difference.left

    assert all(left(name) > -2 * module.WORK for name in hard_pairs())
    monkeypatch.setattr(module, "EDITS", 10)
    assert left("all other", 200) > module.WORK - 20_000, "many short searches, not a long one"
    monkeypatch.setattr(module, "WORK", 10)
    assert left("shuffled") >= -20_100, "one search for lines that stand once, not one in each gap"
    monkeypatch.setattr(module, "EDITS", 10**9)
    monkeypatch.setattr(module, "WORK", 50_000)
    assert left("all other") > -100_000, "a search ends when the work is used up"


def test_few_changes_in_a_long_note_are_found_exactly() -> None:
    a = [b"| %d |\n" % (n % 7) for n in range(10_000)]
    b = list(a)
    for at in (50, 3_000, 9_900):
        b[at] = b"changed %d\n" % at
    assert changes_cost(a, b) == 6
    assert merge(b"".join(a), b"".join(b), b"".join([*a, b"end\n"])) == b"".join([*b, b"end\n"])
    # More changes than a shortest difference is looked for.
    a = [b"line %d\n" % n for n in range(10_000)]
    b = [b"x\n" if n % 10 == 0 else line for n, line in enumerate(a)]
    assert changes_cost(a, b) == 2_000

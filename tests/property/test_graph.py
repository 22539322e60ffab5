"""Links, problems and facts are those of a naive reading of all notes, whatever was done to the vault before.

The naive side parses every note and tries every rule of docs/format.md against every note, for each link anew.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast import Config, Vault
from holdfast.engine.facts import contradictions, covered, facts, span
from holdfast.engine.links import backlinks, outgoing
from holdfast.engine.problems import problems
from holdfast.engine.timeline import timeline
from holdfast.errors import NotFound
from holdfast.model import Link, Parsed, fold, sort_key
from holdfast.text.names import bare, join, tail
from holdfast.text.note import parse
from holdfast.text.permalink import permalink
from tests.fault.vaults import index_of

CONFIG = Config(background=False, embedder="none", batch_notes=4, overlay_chunks=5, overlay_first=7)
STEPS = int(os.environ.get("HOLDFAST_STEPS", "0")) // 100 or 12
FOLDERS = ["", "a/", "b/", "a/c/", "B/"]
NAMES = ["n1.md", "Plan.md", "plan.md", "My Plan.md", "t.txt", "README.md", "pic.png", "ünï.md"]
TARGETS = [
    "n1", "a/n1", "Plan", "plan", "PLAN", "my-plan", "My Plan", "a/my-plan", "Goal", "goal", "x/goal", "p/one", "one",
    "readme", "README", "a/README.md", "pic.png", "a/pic.png", "t", "Ünï", "uni", "plan-1", "n1-1", "n1-2", "gone",
    "Gone", "gone/too", "b/", "/n1", "Tea",
]  # fmt: skip
RELATIVE = ["n1.md", "../n1.md", "Plan.md", "c/n1.md", "../b/t.txt", "gone.md", "../../x.md", "pic.png", "README"]
DATES = ["2023", "2024-05", "2024-05-07", "2025-01-01T10:00:00Z", "soon"]
TYPES = ["knows", "status", "employer", "lives in"]


def random_body(rng: random.Random) -> str:
    header = rng.choice(
        [
            "", "", "", "---\ntitle: Goal\n---\n", "---\ntitle: x/Goal\naliases: [Tea, y/one]\n---\n",
            "---\npermalink: p/one\ncreated: 2024-05-07\n---\n", "---\ntitle: Tea\npermalink: goal\n---\n",
            "---\nvalid_from: 2023-02\nvalid_to: 2024\n---\n",
        ]
    )  # fmt: skip
    return header + "".join(random_line(rng) for _ in range(rng.randrange(7)))


def random_line(rng: random.Random) -> str:
    target = rng.choice(TARGETS)
    dates = "".join(f" [{key}:: {rng.choice(DATES)}]" for key in ("from", "to") if rng.random() < 0.4)
    return rng.choice(
        [
            f"See [[{target}]] and [[{rng.choice(TARGETS)}#Part|this]].\n", f"![[{target}]]\n",
            f"[x]({rng.choice(RELATIVE)}) [[#Here]]\n", f'- "{rng.choice(TYPES)}" [[{target}]]{dates} (said)\n',
            f"- [{rng.choice(['status', 'tip', 'current_job'])}] {rng.choice(['Open', 'done'])}{dates}\n", "Water.\n",
        ]
    )  # fmt: skip


@dataclass(frozen=True)
class Read:
    """All notes, read anew."""

    notes: dict[str, Parsed]
    others: list[str]

    @classmethod
    def of(cls, root: Path) -> Read:
        paths = sorted((p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()), key=sort_key)
        paths = [p for p in paths if not p.startswith(".")]
        notes = {p: parse((root / p).read_bytes(), p).parsed for p in paths if not p.endswith(".png")}
        return cls(notes, [p for p in paths if p not in notes])

    def resolve(self, target: str, folder: str, relative: bool) -> list[str]:
        same = [p for p, n in self.notes.items() if tail(target) in self.tails(p, n)]
        wanted = [join(folder, target), join("", target)] if relative else [target.strip("/")]
        for path in wanted:
            for form in (str, bare, fold, lambda p: fold(bare(p))):
                if path is not None and (found := [p for p in same if form(p) == form(path)]):
                    return found
        whole = fold(target.strip("/"))
        for level in range(0 if relative else 4):
            if found := [p for p in same if self.is_called(p, level, whole)]:
                return found
        base, _, number = whole.rpartition("-")
        # A note that states a permalink has no other.
        equal = [p for p, n in self.notes.items() if permalink(p) == base and tail(n.permalink) == tail(base)]
        return [equal[int(number)]] if not relative and number in ("1", "2") and int(number) < len(equal) else []

    def tails(self, path: str, note: Parsed) -> set[str]:
        return {tail(x) for x in (note.permalink, note.title, *note.aliases, path.rpartition("/")[2])}

    def is_called(self, path: str, level: int, whole: str) -> bool:
        note = self.notes[path]
        if level == 3:
            return "/" not in whole and tail(path) == tail(whole)
        names = [[note.permalink], [note.title], note.aliases][level]
        return any(fold(x) == whole or ("/" in x and fold(x) == bare(whole)) for x in names)

    def meant(self, path: str, link: Link) -> tuple[list[str], bool]:
        """Where it leads, and whether those are notes."""
        folder = path.rpartition("/")[0]
        if not link.target:
            return [path], True
        if found := self.resolve(link.target, folder, link.relative):
            return found, True
        wanted = [join(folder, link.target), join("", link.target)] if link.relative else [link.target]
        for at in wanted:
            for form in (str, fold):
                if at is not None and (same := [p for p in self.others if form(p) == form(at)]):
                    return same, False
        named = [p for p in self.others if fold(p.rpartition("/")[2]) == fold(link.target)]
        return ([] if link.relative else named), False


def check_links(vault: Vault, read: Read) -> None:
    ws, index = vault._ws, index_of(vault)
    into: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    missing: dict[str, int] = defaultdict(int)
    unclear = 0
    joined: set[str] = set()
    for path, note in read.notes.items():
        types = {(r.line, r.target): r.type for r in note.relations}
        said = outgoing(ws, index, path)
        assert (said.total, said.next) == (len(note.links), None)
        for link, out in zip(note.links, said.links, strict=True):
            found, are_notes = read.meant(path, link)
            relation = types.get((link.line, link.target))
            assert (out.line, out.target, out.relation) == (link.line, link.target, relation)
            assert list(out.to) == found, (path, link)
            assert out.state == ("dangling" if not found else "resolved" if len(found) == 1 else "ambiguous")
            if not link.target:
                continue
            if not found:
                spelled = (join(path.rpartition("/")[0], link.target) if link.relative else None) or link.target
                missing[fold(bare(spelled.strip("/")))] += 1
            unclear += len(found) > 1
            if len(found) == 1 and are_notes:
                into[found[0]].append((path, link.line, relation, link.heading, link.block))
                joined |= {path, found[0]} if found[0] != path else set()
    for path in read.notes:
        got = all_backlinks(vault, path)
        assert [(x.path, x.line, x.relation, x.heading, x.block) for x in got] == into[path], path
        lines = {p: Path(ws.root, p).read_text().split("\n") for p in read.notes}
        assert all(x.text == lines[x.path][x.line - 1].strip() for x in got)
    found_all = problems(index, limit=1_000)
    assert sorted((fold(bare(t.target)), t.links) for t in found_all.dangling) == sorted(missing.items())
    assert [t.links for t in found_all.dangling] == sorted(missing.values(), reverse=True)
    assert sum(t.links for t in found_all.ambiguous) == unclear
    assert list(found_all.orphans) == [p for p in read.notes if p not in joined]
    assert found_all.links == sum(bool(x.target) for n in read.notes.values() for x in n.links)
    paged: list[Any] = []
    after = ""
    while True:
        part = problems(index, limit=3, after=after)
        paged += [*part.dangling, *part.ambiguous, *part.orphans]
        if part.next is None:
            break
        after = part.next
    assert paged == [*found_all.dangling, *found_all.ambiguous, *found_all.orphans]


def all_backlinks(vault: Vault, path: str) -> list[Any]:
    out: list[Any] = []
    after = ""
    while True:
        page = backlinks(vault._ws, index_of(vault), path, limit=2, after=after)
        assert not page.degraded
        out += page.links
        if page.next is None:
            assert page.total == len(out)
            return out
        after = page.next


def check_facts(vault: Vault, read: Read, rng: random.Random) -> None:
    ws, index = vault._ws, index_of(vault)
    for path in read.notes:
        as_of = rng.choice([None, "2023-06", "2024-05-07", "2030"])
        want = []
        for source, note in read.notes.items():
            for x in sorted((*note.observations, *note.relations), key=lambda x: x.line):
                target = getattr(x, "target", None)
                is_inverse = source != path
                if is_inverse and (target is None or read.meant(source, Link(x.line, target)) != ([path], True)):
                    continue
                if as_of is None or holds(x.valid_from, x.valid_to, as_of):
                    want.append((is_inverse, source, x.line, target, x.context, x.valid_from, x.valid_to))
        got = facts(ws, index, path, as_of=as_of)
        assert [
            (f.inverse, f.path, f.line, f.target, f.context, f.valid_from, f.valid_to) for f in got.facts
        ] == sorted(want, key=lambda w: (w[0], sort_key(w[1]), w[2]))
    check_contradictions(vault, read)
    check_timeline(vault, read)


def holds(valid_from: str | None, valid_to: str | None, as_of: str) -> bool:
    """By comparing what dates are in the format's own words: written out to the second, in UTC."""
    day = {"2023-06": "2023-06-30", "2024-05-07": "2024-05-07", "2030": "2030-12-31"}[as_of] + "T23:59:59"
    begin = {"soon": None, "2023": "2023-01-01T00", "2024-05": "2024-05-01T00"}.get(valid_from or "soon", valid_from)
    end = {"soon": None, "2023": "2023-12-31T24", "2024-05": "2024-05-31T24", "2024-05-07": "2024-05-07T24"}.get(
        valid_to or "soon", valid_to
    )
    if begin and end and begin[:13] >= end[:13] and (valid_from, valid_to) != ("2025-01-01T10:00:00Z",) * 2:
        return True
    return (begin is None or begin[:19] <= day) and (end is None or day < end)


def check_contradictions(vault: Vault, read: Read) -> None:
    want = set()
    for path, note in read.notes.items():
        for kind, found in (("o", note.observations), ("r", note.relations)):
            single: list[Any] = [x for x in found if label(x) in ("status", "employer", "lives in", "current_job")]
            single.sort(key=lambda x: (*span(x.valid_from, x.valid_to), x.line))
            for i, x in enumerate(single):
                begin = span(x.valid_from, x.valid_to)[0]
                for y in single[:i]:
                    values = [fold(z.content) if kind == "o" else self_value(read, path, z) for z in (x, y)]
                    if label(x) == label(y) and values[0] != values[1] and span(y.valid_from, y.valid_to)[1] > begin:
                        want.add((path, x.line))
    got: list[Any] = []
    after = ""
    while True:
        page = contradictions(vault._ws, index_of(vault), limit=2, after=after)
        got += page.findings
        if page.next is None:
            break
        after = page.next
    places = [(c.other.path, c.other.line) for c in got]
    assert places == sorted(want, key=lambda w: (sort_key(w[0]), w[1]))
    assert all(c.one.value != c.other.value and c.one.path == c.other.path for c in got)


def label(x: Any) -> str | None:
    found: str | None = getattr(x, "type", None) or getattr(x, "category", None)
    return found


def self_value(read: Read, path: str, x: Any) -> Any:
    found, are_notes = read.meant(path, Link(x.line, x.target))
    return found[0] if len(found) == 1 and are_notes else fold(x.target)


def check_timeline(vault: Vault, read: Read) -> None:
    want = set()
    for path, note in read.notes.items():
        for x in (*note.observations, *note.relations):
            whole = span(x.valid_from, x.valid_to)
            is_bound = whole != span(None, None)
            for event, date in (("begins", x.valid_from), ("ends", x.valid_to)):
                if date and date != "soon" and is_bound:
                    want.add((path, x.line, event, date))
        for key in ("created", "valid_from", "valid_to"):
            if isinstance(value := note.frontmatter.get(key), str):
                want.add((path, 0, "ends" if key == "valid_to" else "begins", value))
    got: list[Any] = []
    after = ""
    while True:
        page = timeline(vault._ws, index_of(vault), limit=3, after=after)
        assert not page.degraded
        got += page.events
        if page.next is None:
            break
        after = page.next
    assert [e.at for e in got] == sorted(e.at for e in got)
    assert len(got) == len(want)
    assert {(e.path, e.line, e.event, e.date) for e in got} == want


def change(root: Path, rng: random.Random) -> None:
    files = sorted(p for p in root.rglob("*") if p.is_file() and ".holdfast" not in p.parts)
    what = rng.random()
    if what < 0.6 or not files:
        path = root / (rng.choice(FOLDERS) + rng.choice(NAMES))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(random_body(rng))
    elif what < 0.75:
        rng.choice(files).unlink()
    elif what < 0.9:
        to = root / (rng.choice(FOLDERS) + rng.choice(NAMES))
        to.parent.mkdir(parents=True, exist_ok=True)
        rng.choice(files).rename(to)
    elif (root / "a").is_dir():
        to = root / f"a{rng.randrange(100)}"
        shutil.rmtree(to, ignore_errors=True)
        (root / "a").rename(to)


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dates without a zone are the local clock's; the naive side knows UTC alone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        covered.cache_clear()
        yield
    time.tzset()
    covered.cache_clear()


@pytest.mark.parametrize("seed", range(4))
def test_the_graph_is_that_of_a_naive_reading(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    root = tmp_path / "notes"
    root.mkdir()
    with Vault.open(root, state_dir=tmp_path / "state", config=CONFIG) as vault:
        for _ in range(STEPS):
            for _ in range(rng.randrange(1, 6)):
                change(root, rng)
            vault.sync(accept_empty=True)
            read = Read.of(root)
            if not read.notes:
                continue
            check_links(vault, read)
            check_facts(vault, read, rng)
            with pytest.raises(NotFound):
                facts(vault._ws, index_of(vault), "nobody at all")

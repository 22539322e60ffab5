"""The history against a plain list: whatever is recorded, moved, dropped, each version that is kept comes back."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.history.rows import By, Change, Kind, digest_of
from holdfast.history.store import History

PATHS = ("a.md", "b.md", "folder/c.md")
BODIES = st.one_of(st.sampled_from([b"", b"x", b"one\ntwo\n", b"one\ntwo\nthree\n"]), st.binary(max_size=200))
BYS = st.builds(By, st.sampled_from(["", "ada", "bo"]), st.sampled_from(["", "s1", "s2"]), st.sampled_from(["", "why"]))


class Histories(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.history = History(f"{self.folder.name}/history.db")
        self.notes: dict[str, list[dict[str, Any]]] = {p: [] for p in PATHS}
        self.known: dict[int, dict[str, Any]] = {}
        self.time = 0

    @rule(path=st.sampled_from(PATHS), body=st.one_of(st.none(), BODIES), by=BYS, found=st.booleans())
    def record(self, path: str, body: bytes | None, by: By, found: bool) -> None:
        self.time += 10
        if found:
            kind, by = (Kind.FOUND if body is not None else Kind.GONE), By()
        else:
            kind = Kind.WRITTEN if body is not None else Kind.DELETED
        (seq,) = self.history.record([Change(kind, path, body, self.time, by)])
        entries = self.notes[path]
        if found and body is None and not entries and self.history.note_of(path) is None:
            assert seq == 0
            return
        same = bool(entries) and entries[-1]["body"] == body
        if same and (found or entries[-1]["kind"] in (Kind.FOUND, Kind.GONE)):
            assert seq == entries[-1]["seq"]
            if not found:
                entries[-1].update(kind=kind, by=by)
            return
        entry = {"seq": seq, "kind": kind, "body": body, "by": by, "time": self.time}
        assert seq not in self.known
        self.known[seq] = entry
        entries.append(entry)

    @rule(path=st.sampled_from(PATHS), count=st.integers(1, 3))
    def drop_oldest(self, path: str, count: int) -> None:
        gone = self.notes[path][:count]
        self.history.drop([e["seq"] for e in gone])
        del self.notes[path][:count]

    @rule()
    def shrink(self) -> None:
        self.history.shrink()

    @rule()
    def reopen(self) -> None:
        self.history.close()
        self.history = History(f"{self.folder.name}/history.db")

    @invariant()
    def each_version_comes_back(self) -> None:
        for path, entries in self.notes.items():
            note = self.history.note_of(path)
            if note is None:
                assert not entries
                continue
            found = self.history.versions(note, limit=1_000)
            assert [e.seq for e in found] == [e["seq"] for e in reversed(entries)]
            for entry, kept in zip(found, reversed(entries), strict=True):
                assert (entry.kind, entry.by, entry.time_ns, entry.path) == (
                    kept["kind"],
                    kept["by"],
                    kept["time"],
                    path,
                )
                assert entry.digest == (digest_of(kept["body"]) if kept["body"] is not None else None)
                if entry.digest is not None:
                    assert self.history.body(entry.digest) == kept["body"]
        assert self.history.counts()[1] == sum(map(len, self.notes.values()))

    @invariant()
    def what_is_dropped_is_gone(self) -> None:
        kept = {digest_of(e["body"]) for es in self.notes.values() for e in es if e["body"] is not None}
        rows = {bytes(d) for (d,) in self.history._db.execute("select digest from content")}
        assert rows == kept

    def teardown(self) -> None:
        if hasattr(self, "history"):
            self.history.close()
            self.folder.cleanup()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_moved_note_keeps_its_history(tmp_path: Any) -> None:
    history = History(os.fspath(tmp_path / "history.db"))
    history.record([Change(Kind.WRITTEN, "a.md", b"one", 1), Change(Kind.WRITTEN, "a.md", b"two", 2)])
    history.record([Change(Kind.MOVED, "b.md", b"two", 3, old_path="a.md")])
    history.record([Change(Kind.WRITTEN, "a.md", b"another", 4)])
    moved = history.note_of("b.md")
    assert moved is not None
    assert [(e.path, e.kind) for e in history.versions(moved)] == [
        ("b.md", Kind.MOVED), ("a.md", Kind.WRITTEN), ("a.md", Kind.WRITTEN),
    ]  # fmt: skip
    assert history.note_of("a.md") != moved
    history.close()

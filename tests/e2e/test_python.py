"""The Python interface: methods named as the verbs, frozen dataclasses, the command line's JSON; from many threads."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast import (
    Answer,
    Config,
    ConfigError,
    Hit,
    Listing,
    Note,
    NotFound,
    PathNotAllowed,
    QueryError,
    Receipt,
    Status,
    Synced,
    UserError,
    Vault,
    VaultMissing,
)
from tests.e2e.command import Command


def test_results_are_frozen_dataclasses_with_the_names_of_the_json(sample: Path, tmp_path: Path) -> None:
    with Vault.open(sample, state_dir=tmp_path) as vault:
        synced = vault.sync()
        answer = vault.recall("espresso")
        results: list[Any] = [
            synced,
            answer,
            answer.hits[0],
            answer.receipt,
            vault.read("profile.md"),
            vault.list(),
            vault.status(),
        ]
    assert [type(r) for r in results] == [Synced, Answer, Hit, Receipt, Note, Listing, Status]
    for result in results:
        names = {f.name for f in dataclasses.fields(result)}
        assert set(result.to_dict()) | {"explained"} == (names - {"stopped"}) | {"explained"}
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, next(iter(names)), None)


def test_to_dict_is_the_json_of_the_command(holdfast: Command) -> None:
    assert holdfast.vault is not None
    with Vault.open(holdfast.vault, state_dir=holdfast.state) as vault:
        for question in ("What is Elin allergic to?", "type:conversation lease", "", "zzyzx"):
            shown = holdfast("recall", "--no-sync", "--json", "--", question).json
            assert vault.recall(question, sync=False).to_dict() == shown
        assert vault.recall("espresso", k=3, budget=900, by="note", sync=False).to_dict() == (
            holdfast("recall", "espresso", "-k", "3", "--budget", "900", "--by", "note", "--no-sync", "--json").json
        )
        assert vault.read("profile.md").to_dict() == holdfast("read", "profile.md", "--json").json
        assert vault.read("profile.md", line=3, count=2).to_dict() == holdfast("read", "profile.md:3:2", "--json").json
        assert vault.list("people", limit=2).to_dict() == holdfast("list", "people", "--limit", "2", "--json").json
        page = vault.list(limit=5)
        after = page.next or ""
        assert vault.list(limit=5, after=after).to_dict() == (
            holdfast("list", "--limit", "5", "--after", after, "--json").json
        )
        mine, shown = vault.status().to_dict(), holdfast("status", "--json").json
        for each in (mine, shown):
            for changing in ("descriptors", "disk_free_bytes", "jobs", "proven_at", "counters", "index"):
                each.pop(changing)
        assert mine == shown


def test_init_find_and_rebuild(notes: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Vault.find(notes)
    made = Vault.init(notes)
    assert made.created
    assert Vault.find(notes / "deep" / "er") == made.vault
    with Vault.open(notes, state_dir=tmp_path / "state") as vault:
        assert vault.root == made.vault
        vault.sync()
        before = vault.recall("the", sync=False).to_dict()
        done = vault.rebuild()
        after = vault.recall("the", sync=False).to_dict()
    assert done.done
    assert after["hits"] == before["hits"]
    assert after["receipt"]["generation"] > before["receipt"]["generation"]


def test_errors(notes: Path, tmp_path: Path) -> None:
    with pytest.raises(VaultMissing):
        Vault.open(tmp_path / "none")
    (notes / ".holdfast").mkdir()
    (notes / ".holdfast" / "config.toml").write_text("k = []\n")
    with pytest.raises(ConfigError):
        Vault.open(notes)
    (notes / ".holdfast" / "config.toml").write_text("")
    with Vault.open(notes, state_dir=tmp_path / "state", config=Config(background=False, embedder="none")) as vault:
        for wrong, error in (
            (lambda: vault.read("nosuch"), NotFound),
            (lambda: vault.read("../x"), PathNotAllowed),
            (lambda: vault.read("a.md", line=-1), QueryError),
            (lambda: vault.recall("x", k=0), QueryError),
            (lambda: vault.recall("since:never"), QueryError),
            (lambda: vault.list(limit=0), QueryError),
            (lambda: vault.sync(paths=("../x.md",)), PathNotAllowed),
        ):
            with pytest.raises(error) as caught:
                wrong()
            assert isinstance(caught.value, UserError)
            assert caught.value.hint


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_that_holds_nothing_is_refused(notes: Path, tmp_path: Path, budget: int) -> None:
    with Vault.open(notes, state_dir=tmp_path / "state") as vault, pytest.raises(QueryError):
        vault.recall("anchor", budget=budget)


def test_line_0_is_refused(notes: Path, tmp_path: Path) -> None:
    with Vault.open(notes, state_dir=tmp_path / "state") as vault, pytest.raises(QueryError):
        vault.read("a.md", line=0)


def test_some_paths_only(notes: Path, tmp_path: Path) -> None:
    with Vault.open(notes, state_dir=tmp_path / "state") as vault:
        vault.sync()
        (notes / "new.md").write_text("The jetty.\n")
        (notes / "a.md").unlink()
        done = vault.sync(paths=("new.md", "a.md"))
        assert (done.scan.kind, done.added, done.removed) == ("hinted", 1, 1)
        assert [h.path for h in vault.recall("jetty", sync=False).hits] == ["new.md"]


def test_progress_is_told(notes: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with Vault.open(notes, state_dir=tmp_path / "state") as vault:
        vault.sync(progress=lambda done, seen: told.append((done, seen)))
    assert told[-1] == (4, 4)
    assert told == sorted(told)


def test_two_objects_on_one_vault(notes: Path, tmp_path: Path) -> None:
    with Vault.open(notes, state_dir=tmp_path / "s") as one, Vault.open(notes, state_dir=tmp_path / "s") as two:
        one.sync()
        (notes / "new.md").write_text("The jetty.\n")
        assert [h.path for h in two.recall("jetty").hits] == ["new.md"]
        assert [h.path for h in one.recall("jetty", sync=False).hits] == ["new.md"]
        one.rebuild()
        assert [h.path for h in two.recall("jetty", sync=False).hits] == ["new.md"]


def test_a_vault_can_be_used_again_after_close(notes: Path, tmp_path: Path) -> None:
    vault = Vault.open(notes, state_dir=tmp_path / "state")
    vault.sync()
    vault.close()
    vault.close()
    with vault:
        assert vault.recall("anchor", sync=False).hits


READERS = 8
RACE_S = 3.0


def test_eight_threads_ask_while_one_writes_and_syncs(notes: Path, tmp_path: Path) -> None:
    """Every answer is whole, shows what a note said at some time, and nothing raises."""
    for n in range(40):
        (notes / f"n{n}.md").write_text(f"# Note {n}\n\nanchor {n} version 0 end\n")
    failures: list[BaseException] = []
    answers = [0] * READERS
    stop = threading.Event()
    with Vault.open(notes, state_dir=tmp_path / "state", config=Config(background=False, embedder="none")) as vault:
        vault.sync()

        def ask(me: int) -> None:
            try:
                while not stop.is_set():
                    answer = vault.recall("anchor version", k=20, sync=me % 4 == 0)
                    assert answer.hits
                    for hit in answer.hits:
                        assert hit.text is None or hit.text.endswith((" end", "The anchor holds.")), hit.text
                    assert vault.read("n1.md", sync=False).text.startswith("# Note 1\n")
                    assert vault.list(limit=5, sync=False).notes
                    answers[me] += 1
            except BaseException as e:
                failures.append(e)
                stop.set()

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(READERS)]
        for thread in threads:
            thread.start()
        version, until = 0, time.monotonic() + RACE_S
        try:
            while time.monotonic() < until and not stop.is_set():
                version += 1
                for n in range(version % 7, 40, 7):
                    draft = notes / f".n{n}.tmp"
                    draft.write_text(f"# Note {n}\n\nanchor {n} version {version} end\n")
                    draft.replace(notes / f"n{n}.md")
                vault.sync()
                if version % 10 == 0:
                    vault.rebuild()
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        assert not failures, failures[0]
        assert all(answers), answers
        assert version > 3
        time.sleep(0.05)
        done = vault.sync()
        assert (done.notes, done.quarantined, done.changed) == (44, 0, 0)
        assert vault.status().health in ("ok", "degraded")
        last = {h.path: h.text for h in vault.recall("anchor version", k=50, budget=100_000).hits}
        for n in range(40):
            assert (last[f"n{n}.md"] or "").split("\n")[-1] == (notes / f"n{n}.md").read_text().split("\n")[2]

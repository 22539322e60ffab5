"""What is forgotten is nowhere: not in the index, the history, what was set aside, the log; and the search can fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast import Config, NotFound, Vault
from tests.fake_embedder import FakeEmbedder, use

WORDS = ("Zanzibarquux", "flibbertigibbet", "xyloperon")
BODY = f"# Secret plan\n\nThe code for the gate is {WORDS[0]} and nobody may know.\nAsk {WORDS[1]} about it.\n"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    root = tmp_path / "v"
    root.mkdir()
    (root / "other.md").write_text("# Other\n\nThe gate is green.\n")
    (root / "plan.md").write_text(BODY)
    made = Vault.open(root, state_dir=tmp_path / "s", config=Config(background=False))
    use(made, FakeEmbedder())
    made.sync()
    made.edit("plan.md", append=f"Also {WORDS[2]}.", author="ada", session="s1")
    made.edit("plan.md", replace=(WORDS[2], "something else"), author="ada")
    made._ws.past.close()
    return made


def grep(vault: Vault, word: str) -> list[str]:
    """Files of ours, and of the vault, with the word; versions are unpacked."""
    found = []
    for folder in (vault._ws.directory, vault._ws.past.directory, vault.root, os.path.dirname(vault._ws.log.path)):
        for here, _, names in os.walk(folder):
            paths = [Path(here, name) for name in names]
            found += [str(p) for p in paths if word.lower().encode() in p.read_bytes().lower()]
    with vault._ws.past.store() as store:
        found += [d.hex() for d in store.digests() if word.lower().encode() in store.body(d).lower()]
    return found


def test_nothing_of_it_is_left(vault: Vault) -> None:
    home = Path(vault._ws.directory, "quarantine")
    home.mkdir()
    (home / f"{1:020d}.db").write_bytes(BODY.encode())
    (home / f"{1:020d}.json").write_text("{}")
    vault._ws.log.event("parse_failed", f"plan.md: {WORDS[0]}")
    assert all(grep(vault, w) for w in WORDS[:2])
    told = vault.forget("plan.md", dry_run=True)
    assert (told.done, told.versions) == (False, 3)
    assert Path(vault.root, "plan.md").exists()
    done = vault.forget("plan.md")
    assert done.done
    assert (done.versions, done.traces, done.elsewhere) == (3, (), ())
    assert done.searched_files >= 3
    for word in WORDS:
        assert not grep(vault, word), word
    assert not grep(vault, "plan.md")
    assert not Path(vault.root, "plan.md").exists()
    assert not vault.recall(WORDS[0], sync=False).hits
    assert vault.recall("the gate is green").hits
    with pytest.raises(NotFound):
        vault.history("plan.md")
    with pytest.raises(NotFound):
        vault.forget("plan.md")
    assert vault.check(deep=True).ok


def test_one_that_was_deleted_is_forgotten_too(vault: Vault) -> None:
    vault.delete("plan.md")
    assert grep(vault, WORDS[0])
    done = vault.forget("plan.md")
    assert not done.traces
    assert not grep(vault, WORDS[0])


def test_what_other_notes_have_is_theirs_and_named(vault: Vault) -> None:
    line = f"The code for the gate is {WORDS[0]} and nobody may know."
    vault.edit("other.md", append=line)
    done = vault.forget("plan.md")
    assert done.elsewhere == ("other.md",)
    assert not grep(vault, WORDS[1])


def test_what_is_left_is_found(vault: Vault) -> None:
    """A copy that no step removes, as a reader that holds an old generation leaves."""
    stray = Path(vault._ws.directory, "gen-000099.db.copy")
    stray.write_bytes(b"..." + WORDS[0].upper().encode() + b"...")
    done = vault.forget("plan.md")
    assert [t.path for t in done.traces] == [str(stray)]

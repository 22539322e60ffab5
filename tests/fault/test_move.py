"""A note is moved, and whatever linked to it does so still; it is one group, and all of it or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import Config, Conflict, NotFound, PathNotAllowed, Vault
from holdfast.engine import move as module
from holdfast.engine.resolve import resolve
from holdfast.errors import DiskFull
from holdfast.model import key_path, sort_key

CONFIG = Config(background=False, embedder="none")

VAULT = {
    "projects/garden.md": "# The garden\n\nSee [the shed](shed.md) and [it](../people/ada.md#tools). [[ada]]\n",
    "projects/shed.md": "Tools are here.\n",
    "people/ada.md": "---\naliases: [Countess]\n---\n- owns [[garden]] and [[projects/garden]] ![[garden#Plan|plan]]\n"
    '- [x](../projects/garden.md) and [y](<../projects/garden.md#Plan> "title") `[[garden]]`\n',
    "notes.md": "[[The garden]] stays, [[garden]] does not; [[Garden.md]] too.\r\n| a \\| [[garden\\|g]] |\r\nno end",
    "else.md": "[[shed]] [a](projects/shed.md)\n",
}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    for path, text in VAULT.items():
        (tmp_path / "v" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / path).write_bytes(text.encode())
    made = Vault.open(tmp_path / "v", state_dir=tmp_path / "s", config=CONFIG)
    made.sync(vectors=False)
    return made


def now(vault: Vault) -> dict[str, str]:
    root = Path(vault.root)
    return {str(p.relative_to(root)): p.read_bytes().decode() for p in sorted(root.rglob("*.md"))}


def meanings(vault: Vault) -> list[tuple[str, str]]:
    """What every link means: (note that it stands in, note that it leads to), by the notes' first words."""
    from holdfast.text.note import parse

    index = vault._ws.index()
    assert index is not None
    out = []
    for path, text in now(vault).items():
        for link in parse(text.encode(), path).parsed.links:
            found = resolve(index, link.target, path.rpartition("/")[0], relative=link.relative)
            rows = index.notes(found)
            names = [now(vault)[key_path(rows[n].key)].split("\n")[0] for n in found]
            out.append((text.split(" ")[0][:6], names[0] if len(names) == 1 else str(names)))
    return sorted(out)


def test_every_link_means_what_it_meant(vault: Vault) -> None:
    before, meant = now(vault), meanings(vault)
    told = vault.move("projects/garden.md", "old/plots/beds.md", dry_run=True)
    assert (told.done, now(vault)) == (False, before)
    done = vault.move("projects/garden.md", "old/plots/beds.md", author="ada")
    assert done.relinked == told.relinked
    assert {r.path: r.links for r in done.relinked} == {"notes.md": 3, "old/plots/beds.md": 2, "people/ada.md": 3}
    assert meanings(vault) == meant
    after = now(vault)
    assert after["old/plots/beds.md"] == (
        "# The garden\n\nSee [the shed](../../projects/shed.md) and [it](../../people/ada.md#tools). [[ada]]\n"
    )
    assert after["notes.md"] == (
        "[[The garden]] stays, [[beds]] does not; [[beds.md]] too.\r\n| a \\| [[beds\\|g]] |\r\nno end"
    )
    assert '[y](<../old/plots/beds.md#Plan> "title") `[[garden]]`' in after["people/ada.md"]
    assert "![[beds#Plan|plan]]" in after["people/ada.md"]
    assert done.session is not None
    undone = vault.undo(done.session)
    assert not undone.left
    assert now(vault) == before
    assert meanings(vault) == meant


def test_the_history_goes_along(vault: Vault) -> None:
    vault.edit("projects/shed.md", append="More.", author="bo")
    vault.move("projects/shed.md", "shed.md", author="ada")
    versions = vault.history("shed.md").versions
    assert [(v.path, v.kind, v.author) for v in versions] == [
        ("shed.md", "moved", "ada"), ("projects/shed.md", "written", "bo"), ("projects/shed.md", "found", None),
    ]  # fmt: skip
    row = vault._ws.index().note_by_key(sort_key("shed.md"))  # type: ignore[union-attr]
    assert row is not None


def test_if_a_link_cannot_be_rewritten_everything_is_taken_back(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    before = now(vault)
    real, calls = module.change, []

    def change(*args: object, **named: object) -> object:
        calls.append(args[1])
        if len(calls) == 3:
            raise DiskFull("No room.")
        return real(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "change", change)
    with pytest.raises(Conflict, match="could not be rewritten: No room"):
        vault.move("projects/garden.md", "beds.md")
    assert len(calls) == 3
    assert now(vault) == before


def test_what_is_there_is_not_replaced(vault: Vault) -> None:
    before = now(vault)
    for to in ("people/ada.md", "people/ada", "projects/shed"):
        with pytest.raises(Conflict):
            vault.move("projects/garden.md", to)
    for to in ("../x.md", ".git/x.md", "/etc/x.md"):
        with pytest.raises((PathNotAllowed, Conflict)):
            vault.move("projects/garden.md", to)
    with pytest.raises(NotFound):
        vault.move("nothing.md", "x.md")
    with pytest.raises(Conflict):
        vault.move("projects/garden.md", "x.md", expect="b2-" + "0" * 32)
    assert now(vault) == before


def test_into_a_folder_and_without_a_suffix(vault: Vault) -> None:
    assert vault.move("else.md", "people/").path == "people/else.md"
    assert vault.move("people/else.md", "other").path == "other.md"

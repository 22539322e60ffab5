"""What notes of a type have, against what their schema says."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import Config, NotFound, QueryError, Vault

SCHEMA = """---
type: schema
for: person
required: [born, "[diet]"]
optional: [email, "knows ->"]
values:
  status: [friend, colleague]
links:
  works_at: organisation
mode: {mode}
---
"""


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    root = tmp_path / "v"
    root.mkdir()
    for name, text in {
        "ada.md": "---\ntype: person\nborn: 1815-12-10\nstatus: friend\n---\n- [diet] tea\n- works_at [[Acme]]\n",
        "bo.md": "---\ntype: Person\nborn: 7\nstatus: enemy\nnick: B\n---\n- works_at [[ada]]\n- works_at [[Nobody]]\n",
        "acme.md": "---\ntype: organisation\ntitle: Acme\n---\n",
        "plain.md": "nothing\n",
    }.items():
        (root / name).write_text(text)
    return Vault.open(root, state_dir=tmp_path / "s", config=Config(background=False, embedder="none"))


def test_what_is_there(vault: Vault) -> None:
    found = vault.infer_schema("person")
    assert found.notes == 2
    fields = {u.name: u for u in found.fields}
    assert set(fields) == {"born", "status", "nick"}
    assert (fields["born"].share, fields["status"].values) == (1.0, ("enemy", "friend"))
    assert "date" in fields["born"].kinds
    assert [u.name for u in found.categories] == ["diet"]
    assert [(u.name, u.notes) for u in found.relations] == [("works_at ->", 2)]
    assert {v.lower() for v in found.relations[0].values} == {"person", "organisation"}


@pytest.mark.parametrize("mode", ["warn", "strict"])
def test_what_should_be_there(vault: Vault, mode: str) -> None:
    with pytest.raises(NotFound):
        vault.check_schema("person")
    vault.write("schemas/person.md", SCHEMA.format(mode=mode))
    found = vault.check_schema("person")
    assert (found.ok, found.notes, found.schemas) == (mode == "warn", 2, ("schemas/person.md",))
    assert [(b.path, b.line, b.message.split(" ")[0]) for b in found.breaches] == [
        ("bo.md", 1, "[diet]"), ("bo.md", 1, "status"), ("bo.md", 7, "works_at"), ("bo.md", 8, "works_at"),
    ]  # fmt: skip
    vault.edit("bo.md", fields={"status": "friend"}, append="- [diet] cake")
    vault.edit("bo.md", replace=("- works_at [[ada]]\n- works_at [[Nobody]]\n", ""))
    assert vault.check_schema().breaches == ()
    differs = vault.diff_schema("person")
    assert (differs.unused, differs.undeclared, differs.outside) == (("email", "knows ->"), ("nick",), ())


def test_schemas_that_are_none(vault: Vault) -> None:
    vault.write("s.md", "---\ntype: schema\n---\n")
    with pytest.raises(QueryError, match="does not say for which type"):
        vault.check_schema()
    vault.write("s.md", "---\ntype: schema\nfor: person\nmode: loud\n---\n", overwrite=True)
    with pytest.raises(QueryError, match="no mode"):
        vault.check_schema()
    vault.write("s.md", "---\ntype: schema\nfor: person\nvalues: [a]\n---\n", overwrite=True)
    with pytest.raises(QueryError, match="mapping"):
        vault.check_schema()
    for name in ("s.md", "t.md"):
        vault.write(name, "---\ntype: schema\nfor: person\n---\n", overwrite=True)
    with pytest.raises(QueryError, match="both schemas"):
        vault.check_schema()
    with pytest.raises(NotFound):
        vault.infer_schema("nothing of the kind")

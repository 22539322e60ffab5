"""What `from holdfast import ...` offers is pinned, and costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import holdfast

NAMES = """
    Answer Config ConfigError Conflict DiskFull EmbedderDown EmbedderWrong FileLimit Hit HoldfastError IndexDamaged
    IndexFault IndexForeign IndexOverBudget IndexTooNew Listing MemoryBudget NotDurable NotFound Note NoteError
    NoteMalformed NoteTooLarge NoteUnreadable NoteUnstable PathNotAllowed QueryError Receipt ResourceFault SecretFound
    Status Synced TruthFault Unauthorized UserError Vault VaultBusy VaultMissing WatchLimit
""".split()


def test_public_names() -> None:
    assert sorted(holdfast.__all__) == sorted(NAMES)
    assert dir(holdfast) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_a_documented_class(name: str) -> None:
    found = getattr(holdfast, name)
    assert found.__name__ == name
    assert found.__doc__


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Valt'"):
        holdfast.Valt  # noqa: B018


def test_every_error_class_is_public() -> None:
    from holdfast import errors

    kinds = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, errors.HoldfastError)}
    assert kinds <= set(NAMES)


def imported(code: str, *args: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after `code`."""
    tail = "\nimport sys; print('\\n'.join(sorted({m.partition('.')[0] for m in sys.modules})), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code + tail, *args], capture_output=True, text=True, encoding="utf-8", check=True
    )
    return set(done.stderr.split())


def test_the_package_costs_nothing_to_import() -> None:
    assert not imported("import holdfast") & {"numpy", "apsw", "typer", "pydantic", "yaml", "rich", "Stemmer"}


def test_the_vault_needs_no_command_line() -> None:
    assert not imported("from holdfast import Vault") & {"typer", "rich", "pydantic", "watchfiles"}


def test_the_version_costs_nothing() -> None:
    loaded = imported("from holdfast.cli import main; main()", "--version")
    assert "holdfast" in loaded
    assert not loaded & {
        "numpy",
        "apsw",
        "typer",
        "pydantic",
        "yaml",
        "rich",
        "Stemmer",
        "pathspec",
        "watchfiles",
        "anyio",
    }

"""What all commands share: the program, the options that stand before or after a verb, and the vault they name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from holdfast.errors import UserError
from holdfast.vault import Vault

PROBLEMS = 3


class WithDefault(TyperGroup):
    """Commands below a word, and the hidden command `any` where what follows the word is none of them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next((a for a in args if not a.startswith("-")), None)
        if first is not None and first not in self.commands:
            args = ["any", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


file_limits = (0, 0)
"""The soft limit of open files as this process found it, and as it is now."""


def raised_file_limit() -> str:
    """That the limit was raised, as a sentence, or "" where it was not."""
    before, now = file_limits
    return f"The soft limit of open files was {before:,} and is {now:,} for this run." if now > before else ""


app = typer.Typer(
    name="holdfast",
    help="Long-term memory for AI agents and the people they work with: your Markdown notes, found again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@dataclass
class Shared:
    """Options that stand before or after the verb; the one after it wins."""

    vault: str | None = None
    state_dir: str | None = None
    as_json: bool = False


VaultOption = Annotated[str | None, typer.Option("--vault", metavar="DIR", help="The folder of notes.")]
StateOption = Annotated[str | None, typer.Option("--state-dir", metavar="DIR", help="Where indexes are kept.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SyncOption = Annotated[bool, typer.Option("--sync/--no-sync", help="Look for changed notes first.")]


def _version(asked: bool) -> None:
    if asked:
        from holdfast.version import VERSION

        print(f"holdfast {VERSION}")
        raise typer.Exit


@app.callback()
def shared(
    ctx: typer.Context,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options for every command."""
    ctx.obj = Shared(vault, state_dir, as_json)


def merged(ctx: typer.Context, vault: str | None, state_dir: str | None, as_json: bool) -> Shared:
    """The options before the verb with those after it over them; raises UserError for an empty folder."""
    before: Shared = ctx.obj
    s = Shared(
        before.vault if vault is None else vault,
        before.state_dir if state_dir is None else state_dir,
        as_json or before.as_json,
    )
    for option, given in (("--vault", s.vault), ("--state-dir", s.state_dir)):
        if given == "":
            # Most likely a variable of a script that is not set; another vault must not be taken in its place.
            raise UserError(f"{option} is empty.", hint="Name a folder.")
    return s


@contextmanager
def opened(s: Shared) -> Iterator[Vault]:
    """The vault that was named, else HOLDFAST_VAULT, else the nearest one; raises NotFound."""
    path = s.vault or os.environ.get("HOLDFAST_VAULT") or Vault.find()
    with Vault.open(path, state_dir=s.state_dir) as vault:
        yield vault

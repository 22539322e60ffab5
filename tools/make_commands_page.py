#!/usr/bin/env python3
"""Write docs/commands.md from the command line itself: `make_commands_page.py` writes it, `--print` shows it.

tests/test_docs.py fails if the page is not what this prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from holdfast.cli.app import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"

HEAD = """\
# Commands

Made by `tools/make_commands_page.py` from the command line itself; `tests/test_docs.py` keeps it true.

    holdfast [OPTIONS] VERB [ARGUMENTS] [OPTIONS]

The vault is the folder named by `--vault`, else by `HOLDFAST_VAULT`, else the nearest folder above the current one that
holds `.holdfast/`. The index is kept under `--state-dir`, else `HOLDFAST_STATE`, else `$XDG_STATE_HOME/holdfast` or the
system's usual place; nothing but `init` writes into a vault.

Exit codes: 0 done (no hits is 0); 2 usage, query or configuration; 3 done with problems; 4 not found; 5 conflict; 6
path not allowed; 7 unauthorized; 70 the notes are at risk; 75 retry later. With `--json`, errors too are one line of
JSON, on stderr.

Completion: `holdfast --install-completion` for the shell it is run from, or `_HOLDFAST_COMPLETE=source_bash holdfast`
(also `source_zsh`, `source_fish`), which prints the script.
"""


def _option(param: Any) -> str:
    names = ", ".join(f"`{name}`" for name in param.opts)
    if param.secondary_opts:
        names += " / " + ", ".join(f"`{name}`" for name in param.secondary_opts)
    if not param.is_flag:
        names += f" {param.metavar or param.name.upper()}"
    default = ""
    if not param.is_flag and param.default not in (None, ""):
        default = f" Default: {param.default}."
    return f"- {names}: {param.help}{default}"


def _argument(param: Any) -> str:
    name = (param.metavar or param.name.upper()) + ("..." if param.nargs == -1 else "")
    return f"- {name}{'' if param.required else ' (optional)'}: {param.help}"


def _usage(verb: str, command: Any) -> str:
    words = ["holdfast", verb]
    for param in command.params:
        if param.param_type_name == "argument":
            name = (param.metavar or param.name.upper()) + ("..." if param.nargs == -1 else "")
            words.append(name if param.required else f"[{name}]")
    return " ".join([*words, "[OPTIONS]"])


def _params(command: Any, skip: frozenset[str] = frozenset()) -> list[str]:
    arguments = [_argument(p) for p in command.params if p.param_type_name == "argument"]
    options = [_option(p) for p in command.params if p.param_type_name == "option" and p.name not in skip]
    return arguments + options


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """(words, command) of every command, those of groups by both words."""
    for verb, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{verb} ")
        else:
            yield before + verb, command


def page() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(app)
    everywhere = frozenset(p.name for p in group.params)
    parts = [HEAD, "## Everywhere\n", *_params(group), ""]
    for verb, command in commands(group):
        parts += [f"## {verb}\n", f"    {_usage(verb, command)}\n", f"{command.help.strip()}\n"]
        own = _params(command, everywhere)
        parts += [*own, ""] if own else []
    return "\n".join(parts).rstrip() + "\n"


def main() -> None:
    """Write the page, or print it."""
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(page())
    else:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

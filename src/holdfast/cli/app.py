"""The command line: run a command, and say what went wrong. Nothing is decided here."""

from __future__ import annotations

import sys
from typing import Any

import typer

from holdfast.cli import ask, change, clinic, graph, keep, output, past, shared
from holdfast.cli.shared import app
from holdfast.errors import HoldfastError, ResourceFault, UserError
from holdfast.vault import raise_file_limit

__all__ = ["ask", "change", "clinic", "graph", "keep", "past", "run"]


def run(args: list[str]) -> int:
    """Run the command line and return its exit code; errors go to stderr, as JSON where JSON was asked for."""
    output.prepare()
    shared.file_limits = raise_file_limit()
    options = args[: args.index("--")] if "--" in args else args
    as_json = "--json" in options or "--jsonl" in options
    try:
        result: Any = app(args=args, prog_name="holdfast", standalone_mode=False)
        sys.stdout.flush()
        return int(result or 0)
    except typer.Exit as e:
        return e.exit_code
    except typer.Abort:
        return 130
    except typer.TyperException as e:
        if not args or type(e).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(_message(e) + "\n")
            return UserError.exit
        return output.error(UserError(_message(e), hint=_usage_hint(e)), as_json)
    except HoldfastError as e:
        return output.error(e, as_json)
    except (output.ReaderGoneError, BrokenPipeError):
        output.leave()
        return 0
    except OSError as e:
        output.leave()
        where = f" ({e.filename})" if e.filename else ""
        return output.error(ResourceFault(f"The system refused: {e.strerror or e}{where}."), as_json)


def _message(e: typer.TyperException) -> str:
    message: str = getattr(e, "format_message", lambda: str(e))()
    return message if message.endswith((".", "?", "!")) else message + "."


def _usage_hint(e: typer.TyperException) -> str:
    ctx = getattr(e, "ctx", None)
    command = ctx.command_path if ctx else "holdfast"
    if command.endswith("recall") and "No such option" in _message(e):
        return f"Run `{command} --help`; put `--` before words that begin with `-`."
    return f"Run `{command} --help`."

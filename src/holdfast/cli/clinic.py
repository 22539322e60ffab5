"""The clinic on the command line: `clinic DIR`, and one command for each kind of index."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import typer

from holdfast.cli import output, shared, shown_clinic
from holdfast.cli.keep import until_told_to_end
from holdfast.cli.shared import PROBLEMS, JsonOption, StateOption, VaultOption, WithDefault, app, merged
from holdfast.errors import ConfigError, UserError
from holdfast.results import Checked
from holdfast.vault import Vault

DirArgument = Annotated[str | None, typer.Argument(metavar="DIR", help="The folder to look at; --vault names it too.")]
ApplyOption = Annotated[bool, typer.Option("--apply", help="Do it; without it, only say what would be done.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Go on while another process has files open.")]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


clinic_app = typer.Typer(
    cls=WithDefault,
    help="Find and cure the index faults of other tools: `clinic DIR`. It looks first; only --apply changes anything.",
    no_args_is_help=True,
)
app.add_typer(clinic_app, name="clinic")


def _finish(s: Any, report: Any) -> None:
    if raised := shared.raised_file_limit():
        report = replace(report, remarks=(*report.remarks, raised))
    output.show(report, s.as_json, shown_clinic.report)
    if not report.ok:
        raise typer.Exit(PROBLEMS)


def _checking(state_dir: str | None) -> Callable[[str], Checked]:
    def check(directory: str) -> Checked:
        with Vault.open(directory, state_dir=state_dir) as vault:
            return vault.check()

    return check


@clinic_app.command("any", hidden=True)
def any_kind(
    ctx: typer.Context,
    directory: DirArgument = None,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at whatever is in the folder: an index of ours, of Lance or of Chroma. Nothing is changed."""
    from holdfast.clinic.kinds import examine

    s = merged(ctx, vault, state_dir, as_json)
    directory = _named(directory, s.vault)
    _finish(s, examine(directory, _checking(s.state_dir)))


@clinic_app.command("vault")
def a_vault(
    ctx: typer.Context,
    directory: DirArgument = None,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a vault of Holdfast and its index, as `check` does."""
    from holdfast.clinic.kinds import examine_vault

    s = merged(ctx, vault, state_dir, as_json)
    directory = _named(directory, s.vault)
    _finish(s, examine_vault(directory, _checking(s.state_dir)))


@clinic_app.command()
def lance(
    ctx: typer.Context,
    directory: DirArgument = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove old versions, without compaction.")] = False,
    compact: Annotated[bool, typer.Option("--compact", help="Prune, then merge small fragments.")] = False,
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Copy the live rows into a fresh dataset, where compaction fails.")
    ] = False,
    evict: Annotated[
        bool, typer.Option("--evict", help="Set the whole index of an EverOS root aside, to be made anew.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look until Ctrl-C, and prune when a bound is passed.")
    ] = False,
    cap: Annotated[
        str | None, typer.Option("--cap", metavar="SIZE", help="A bound of bytes in all, such as 2GB.")
    ] = None,
    ratio: Annotated[float, typer.Option("--ratio", help="A bound of bytes by live bytes.")] = 10.0,
    every: Annotated[
        str, typer.Option("--every", metavar="TIME", help="Prune at most so often, with --watch.")
    ] = "60s",
    apply: ApplyOption = False,
    force: ForceOption = False,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at every Lance dataset below a folder, such as ~/.everos/.index/lancedb, and make it small again."""
    from holdfast.clinic import lance as room

    s = merged(ctx, vault, state_dir, as_json)
    directory = _named(directory, s.vault)
    actions = {"--prune": prune, "--compact": compact, "--rewrite": rewrite, "--evict": evict, "--watch": watch}
    chosen = _one_of(actions, apply)
    bounds = room.Bounds(_bytes("--cap", cap), _positive("--ratio", ratio))
    if chosen == "--watch":
        with until_told_to_end() as stop:
            watcher = room.Watcher(
                directory,
                bounds,
                room.state_file(directory, s.state_dir),
                every_s=_seconds("--every", every),
                apply=apply,
            )
            last = watcher.run(stop, lambda seen: output.show_now(seen, s.as_json, shown_clinic.watched))
        raise typer.Exit(last.exit)
    verbs = {"--prune": room.prune, "--compact": room.compact, "--rewrite": room.rewrite, "--evict": room.evict}
    if chosen is None:
        _finish(s, room.examine(directory, bounds=bounds))
    else:
        _finish(s, verbs[chosen](directory, apply=apply, force=force))


@clinic_app.command()
def chroma(
    ctx: typer.Context,
    directory: DirArgument = None,
    quarantine: Annotated[bool, typer.Option("--quarantine", help="Set damaged or drifted segments aside.")] = False,
    refill: Annotated[
        bool, typer.Option("--refill", help="Put vectors of old files back into the queue, for a new graph.")
    ] = False,
    listing: Annotated[bool, typer.Option("--list", help="List what was set aside.")] = False,
    restore: Annotated[str | None, typer.Option("--restore", metavar="NAME", help="Put one of them back.")] = None,
    rescue: Annotated[
        str | None, typer.Option("--rescue", metavar="OUT", help="Write all documents into a new folder, as notes.")
    ] = None,
    stale_seconds: Annotated[
        float | None, typer.Option("--stale-seconds", metavar="N", help="Also show gaps of file times over N seconds.")
    ] = None,
    apply: ApplyOption = False,
    force: ForceOption = False,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a Chroma or MemPalace folder, such as ~/.mempalace/palace: what its files hold, and what they lost."""
    from holdfast.clinic import chroma as room

    s = merged(ctx, vault, state_dir, as_json)
    directory = _named(directory, s.vault)
    actions = {
        "--quarantine": quarantine,
        "--refill": refill,
        "--list": listing,
        "--restore": restore is not None,
        "--rescue": rescue is not None,
    }
    chosen = _one_of(actions, apply)
    if chosen == "--quarantine":
        done = room.quarantine(directory, apply=apply, force=force)
    elif chosen == "--refill":
        done = room.refill(directory, apply=apply, force=force)
    elif chosen == "--list":
        done = room.listed(directory)
    elif restore is not None:
        done = room.restore(directory, restore, apply=apply, force=force)
    elif rescue is not None:
        done = room.rescue(directory, rescue)
    else:
        done = room.examine(directory, stale_seconds=stale_seconds)
    _finish(s, done)


def _named(directory: str | None, vault: str | None) -> str:
    named = directory if directory is not None else vault
    if not named:
        raise UserError("No folder is named.", hint="Name the one to look at, such as ~/.everos.")
    return named


def _one_of(actions: dict[str, bool], apply: bool) -> str | None:
    """The action that was asked for; raises UserError for two, and for --apply with none."""
    chosen = [name for name, asked in actions.items() if asked]
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)} do not go together.", hint="Name one of them.")
    if apply and not chosen:
        raise UserError("--apply needs to know what to do.", hint=f"Add one of {', '.join(actions)}.")
    return chosen[0] if chosen else None


def _bytes(option: str, text: str | None) -> int:
    """`2GB` as bytes, in powers of 1000, `2GiB` in powers of 1024."""
    if text is None:
        return 0
    match = _SIZE.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"{option} {text} is no size.", hint="Write it like 500MB or 2GB.")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()])


def _seconds(option: str, text: str) -> float:
    match = _TIME.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"{option} {text} is no time.", hint="Write it like 30s or 5m.")
    return float(match[1]) * _SECONDS[match[2].lower()]


def _positive(option: str, number: float) -> float:
    if not 1 <= number < sys.float_info.max:
        raise ConfigError(
            f"{option} {number:g} is no bound.", hint="A dataset weighs at least its live bytes: give 1 or more."
        )
    return number

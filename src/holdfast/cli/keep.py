"""The verbs that keep a vault and its index, from init to rebuild."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from holdfast.cli import output, shown
from holdfast.cli.shared import PROBLEMS, JsonOption, StateOption, VaultOption, app, merged, opened
from holdfast.errors import HoldfastError
from holdfast.vault import Vault


@app.command()
def init(
    ctx: typer.Context,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The folder of notes.")] = ".",
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a folder a vault: give it an id in .holdfast/config.toml. Notes are not touched."""
    s = merged(ctx, vault, state_dir, as_json)
    folder = s.vault if directory == "." and s.vault else directory
    is_new, above = not os.path.isdir(folder), _vault_above(folder)
    done = Vault.init(folder)
    output.show(done, s.as_json, lambda x: shown.created(x, is_new=is_new, above=above))


def _vault_above(folder: str) -> str | None:
    try:
        return Vault.find(os.path.dirname(os.path.abspath(folder)))
    except HoldfastError:
        return None


@app.command()
def sync(
    ctx: typer.Context,
    checksum: Annotated[bool, typer.Option("--checksum", help="Hash every note instead of trusting its stat.")] = False,
    accept_empty: Annotated[
        bool, typer.Option("--accept-empty", help="Believe that all notes are really gone.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="List what was skipped, and why.")] = False,
    vectors: Annotated[bool, typer.Option("--vectors/--no-vectors", help="Embed new chunks.")] = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the index equal to the notes."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        with output.progress("Reading notes") as progress:
            done = v.sync(vectors=False, checksum=checksum, accept_empty=accept_empty, progress=progress)
        if vectors:
            with output.progress_of("Embedding") as progress:
                done = v.embed_after(done, progress)
    output.show(done, s.as_json, lambda x: shown.synced(x, explain), explained=explain)
    if done.quarantined or done.skipped.get("unverified"):
        raise typer.Exit(PROBLEMS)


@app.command()
def watch(
    ctx: typer.Context, vault: VaultOption = None, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Keep the index up to date while notes change, until Ctrl-C. With --json, one JSON object a line."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v, until_told_to_end() as stop:
        v.watch(stop, lambda event: output.show_now(event, s.as_json, shown.watched))


@contextmanager
def until_told_to_end() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second one does what it always does."""
    stop = threading.Event()
    known = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, before in known.items():
            signal.signal(number, before)

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in known:
        signal.signal(number, end)
    try:
        yield stop
    finally:
        restore()


@app.command()
def embed(
    ctx: typer.Context, vault: VaultOption = None, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Make the vectors that are missing, newest notes first. It may be interrupted, and goes on the next time."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v, output.progress_of("Embedding") as progress:
        done = v.embed(progress=progress)
    output.show(done, s.as_json, shown.embedded)


vectors_app = typer.Typer(help="Keep vectors in a file, or get them back from one.", no_args_is_help=True)
app.add_typer(vectors_app, name="vectors")


@vectors_app.command("export")
def vectors_export(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to write.")],
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all vectors to a file: from it they need not be made again, whatever becomes of the index."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.export_vectors(file), s.as_json, lambda x: shown.exported(x, file))


@vectors_app.command("salvage")
def vectors_salvage(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Exports, or .db files of indexes; none: what was set aside here."),
    ] = None,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give chunks without a vector those that can still be read in exports and damaged indexes."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.salvage_vectors(*(files or ())), s.as_json, shown.salvaged)


@app.command()
def status(
    ctx: typer.Context, vault: VaultOption = None, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Say how the vault and its index are."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        found = v.status()
    output.show(found, s.as_json, shown.status)
    if found.health != "ok":
        raise typer.Exit(75 if found.health == "failing" else PROBLEMS)


@app.command()
def check(
    ctx: typer.Context,
    deep: Annotated[bool, typer.Option("--deep", help="Compare every note, posting and vector.")] = False,
    vectors: Annotated[
        bool, typer.Option("--vectors/--no-vectors", help="With --deep, make vectors again to compare them.")
    ] = True,
    secrets: Annotated[bool, typer.Option("--secrets", help="Look for keys and passwords in the notes, too.")] = False,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the index with the notes. What differs is said, with what cures it; neither is changed."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v, output.progress("Checking notes", ("compared", "in all")) as progress:
        found = v.check(deep=deep, vectors=vectors, secrets=secrets, progress=progress)
    output.show(found, s.as_json, shown.checked)
    if not found.ok:
        raise typer.Exit(PROBLEMS)


@app.command()
def repair(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mend what a deep check finds wrong. The damaged index is set aside, its vectors are kept."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v, output.progress("Reading notes", ("read", "in all")) as progress:
        done = v.repair(dry_run=dry_run, progress=progress)
    output.show(done, s.as_json, shown.repaired)


@app.command()
def prune(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    whole_index: Annotated[
        bool, typer.Option("--index", help="Remove the index too; it is built anew from the notes.")
    ] = False,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give back space that is not needed. Old generations, what was set aside, logs, free pages."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        done = v.prune(dry_run=dry_run, whole_index=whole_index)
    output.show(done, s.as_json, shown.pruned)


@app.command()
def rebuild(
    ctx: typer.Context, vault: VaultOption = None, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Build the index anew from the notes. The old one serves until the new one is whole."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v, output.progress("Reading notes") as progress:
        done = v.rebuild(progress=progress)
    output.show(done, s.as_json, shown.rebuilt)

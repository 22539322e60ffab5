"""The verbs that ask for the past of notes, and take back."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli import output, shown_change
from holdfast.cli.change import AuthorOption, LimitOption, NoteArgument, ReasonOption, SessionOption, author_of, by
from holdfast.cli.shared import PROBLEMS, JsonOption, StateOption, VaultOption, WithDefault, app, merged, opened

BeforeOption = Annotated[int, typer.Option("--before", metavar="REV", help="Only what is older than this version.")]

history_app = typer.Typer(
    cls=WithDefault,
    help="List the versions of a note, newest first: `history NOTE`. Or take the whole history elsewhere.",
    no_args_is_help=True,
)
app.add_typer(history_app, name="history")


@history_app.command("export")
def history_export(
    ctx: typer.Context,
    git: Annotated[str, typer.Option("--git", metavar="DIR", help="The new repository.")],
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the whole history as a git repository, a commit a change."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.export_history(git), s.as_json, lambda x: shown_change.exported(x, "commits", git))


@history_app.command("backup")
def history_backup(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The new file.")],
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the store of the history to a file, whole at one moment, also while others write."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.backup_history(file), s.as_json, lambda x: shown_change.exported(x, "bytes", file))


@history_app.command("any", hidden=True)
def history_of(
    ctx: typer.Context,
    note: NoteArgument,
    before: BeforeOption = 0,
    limit: LimitOption = 50,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the versions of a note, newest first."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.history(note, before=before, limit=limit), s.as_json, shown_change.versions)


@app.command()
def recent(
    ctx: typer.Context,
    since: Annotated[str, typer.Option("--since", metavar="DATE", help="From this day on.")] = "",
    author: Annotated[str, typer.Option("--author", metavar="NAME", help="Only what this one did.")] = "",
    session: Annotated[str, typer.Option("--session", metavar="ID", help="Only what was done in this session.")] = "",
    before: BeforeOption = 0,
    limit: LimitOption = 50,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the last changes of all notes, newest first."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        found = v.recent(since=since, author=author, session=session, before=before, limit=limit)
    output.show(found, s.as_json, shown_change.versions)


@app.command()
def diff(
    ctx: typer.Context,
    note: NoteArgument,
    older: Annotated[
        str | None, typer.Argument(metavar="A", help="A version or a date; none: the last change.")
    ] = None,
    newer: Annotated[str | None, typer.Argument(metavar="B", help="A version or a date; none: now.")] = None,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what changed in a note."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.diff(note, older, newer), s.as_json, shown_change.difference)


@app.command()
def restore(
    ctx: typer.Context,
    note: Annotated[
        str, typer.Argument(metavar="NOTE@REV", help="A note and a version or date; a deleted note alone.")
    ],
    author: AuthorOption = None,
    session: SessionOption = None,
    reason: ReasonOption = "",
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a note what it was. What it is now stays in the history."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.restore(note, **by(author, session, reason)), s.as_json, shown_change.written)


@app.command()
def undo(
    ctx: typer.Context,
    session: Annotated[str, typer.Option("--session", metavar="ID", help="The session to take back.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    author: AuthorOption = None,
    reason: ReasonOption = "",
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back what a session wrote and nobody changed since. The rest is listed."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        done = v.undo(session, dry_run=dry_run, author=author_of(author), reason=reason)
    output.show(done, s.as_json, shown_change.undone)
    if done.left:
        raise typer.Exit(PROBLEMS)

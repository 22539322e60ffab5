"""The verbs that follow links, and those that ask for facts and their time."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli import output, shown_graph
from holdfast.cli.change import AuthorOption, LimitOption, ReasonOption, SessionOption, by
from holdfast.cli.shared import PROBLEMS, JsonOption, StateOption, SyncOption, VaultOption, app, merged, opened
from holdfast.cli.shown_change import written
from holdfast.errors import QueryError
from holdfast.results import Result

AfterOption = Annotated[str, typer.Option("--after", metavar="PLACE", help="The page behind this place.")]
PlaceArgument = Annotated[str, typer.Argument(metavar="NOTE:LINE", help="The fact's line, as `facts` shows it.")]
AtOption = Annotated[str, typer.Option("--at", metavar="DATE", help="When.")]


@app.command()
def links(
    ctx: typer.Context,
    note: Annotated[str | None, typer.Argument(metavar="NOTE", help="None: what is wrong with links anywhere.")] = None,
    out: Annotated[bool, typer.Option("--out", help="What the note links to, instead of what links to it.")] = False,
    mentions: Annotated[bool, typer.Option("--mentions", help="Who names it and does not link to it.")] = False,
    limit: LimitOption = 50,
    after: AfterOption = "",
    sync: SyncOption = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what links to a note. Without a note: dangling and ambiguous links, and notes without links."""
    s = merged(ctx, vault, state_dir, as_json)
    if out and mentions:
        raise QueryError("--out and --mentions do not go together.", hint="Name one of them.")
    if note is None and (out or mentions):
        raise QueryError("No note is named.", hint="Name the note whose links you want.")
    with opened(s) as v:
        found: Result
        if note is None:
            found = v.link_problems(limit=limit, after=after, sync=sync)
        elif out:
            found = v.outgoing(note, limit=limit, after=after, sync=sync)
        elif mentions:
            found = v.mentions(note, limit=limit, sync=sync)
        else:
            found = v.backlinks(note, limit=limit, after=after, sync=sync)
    output.show(found, s.as_json, shown_graph.links)


@app.command()
def context(
    ctx: typer.Context,
    notes: Annotated[list[str], typer.Argument(metavar="NOTE...", help="Notes, or memory://folder/*.")],
    depth: Annotated[int, typer.Option("--depth", metavar="N", help="So many links away.")] = 2,
    budget: Annotated[int | None, typer.Option("--budget", metavar="TOKENS", help="No more than this.")] = None,
    sync: SyncOption = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a note with what it links to and what links to it, most relevant first."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.context(*notes, depth=depth, budget=budget, sync=sync), s.as_json, shown_graph.context)


@app.command()
def facts(
    ctx: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="A note, by any of its names.")],
    as_of: Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="Only what held then.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="At most so many.")] = 200,
    sync: SyncOption = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is known of a subject: its own lines, and those of other notes that point to it."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.facts(subject, as_of=as_of, limit=limit, sync=sync), s.as_json, shown_graph.facts)


@app.command()
def timeline(
    ctx: typer.Context,
    subject: Annotated[str | None, typer.Argument(metavar="SUBJECT", help="A note; none: all notes.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DATE", help="From this date on.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DATE", help="Up to this date.")] = None,
    limit: LimitOption = 50,
    after: AfterOption = "",
    sync: SyncOption = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dated facts and notes in order of time."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        found = v.timeline(subject, since=since, until=until, limit=limit, after=after, sync=sync)
    output.show(found, s.as_json, shown_graph.timeline)


@app.command()
def end(
    ctx: typer.Context,
    place: PlaceArgument,
    at: AtOption,
    author: AuthorOption = None,
    session: SessionOption = None,
    reason: ReasonOption = "",
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a fact by a date. Its line stays."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.end(place, at, **by(author, session, reason)), s.as_json, written)


@app.command()
def supersede(
    ctx: typer.Context,
    place: PlaceArgument,
    text: Annotated[list[str], typer.Argument(metavar="TEXT...", help="What holds from then on.")],
    at: AtOption,
    author: AuthorOption = None,
    session: SessionOption = None,
    reason: ReasonOption = "",
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a fact and write its successor below it."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.supersede(place, " ".join(text), at, **by(author, session, reason)), s.as_json, written)


schema_app = typer.Typer(help="What notes of a type have, and what they should have.", no_args_is_help=True)
app.add_typer(schema_app, name="schema")
TypeArgument = Annotated[str, typer.Argument(metavar="TYPE", help="A type of notes.")]


@schema_app.command("infer")
def schema_infer(
    ctx: typer.Context,
    type_: TypeArgument,
    sync: SyncOption = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what notes of a type have: fields, observation categories, relations."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.infer_schema(type_, sync=sync), s.as_json, shown_graph.inferred)


@schema_app.command("check")
def schema_check(
    ctx: typer.Context,
    type_: Annotated[str | None, typer.Argument(metavar="TYPE", help="One type; none: all that have a schema.")] = None,
    sync: SyncOption = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare notes with their schema, a note with `type: schema` and `for: TYPE`."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        found = v.check_schema(type_, sync=sync)
    output.show(found, s.as_json, shown_graph.schema_checked)
    if not found.ok:
        raise typer.Exit(PROBLEMS)


@schema_app.command("diff")
def schema_diff(
    ctx: typer.Context,
    type_: TypeArgument,
    sync: SyncOption = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a schema declares and no note has, and the other way round."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.diff_schema(type_, sync=sync), s.as_json, shown_graph.schema_differs)

"""The verbs that ask: recall, read, list, eval, parse."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import typer

from holdfast.cli import output, shown
from holdfast.cli.shared import PROBLEMS, JsonOption, StateOption, SyncOption, VaultOption, app, merged, opened
from holdfast.errors import UserError
from holdfast.vault import Mode, parse_file


@app.command()
def recall(
    ctx: typer.Context,
    question: Annotated[
        list[str], typer.Argument(metavar="QUESTION", help='Words, "a phrase", -word, tag:x, since:2026-01 ...')
    ],
    k: Annotated[int | None, typer.Option("-k", "--limit", help="At most this many hits.")] = None,
    budget: Annotated[int | None, typer.Option("--budget", min=1, help="At most this many tokens.")] = None,
    by: Annotated[str, typer.Option("--by", help="Rank passages or notes.")] = "passage",
    mode: Annotated[str, typer.Option("--mode", help="hybrid, keyword, vector or bm25.")] = "hybrid",
    min_similarity: Annotated[
        float | None, typer.Option("--min-similarity", metavar="COSINE", help="Leave out hits below it.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print every signal of every hit.")] = False,
    look: SyncOption = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the passages that answer a question, with their lines."""
    s = merged(ctx, vault, state_dir, as_json)
    if by not in ("passage", "note"):
        raise UserError(f"--by is {by!r}.", hint="Choose passage or note.")
    kind: Literal["passage", "note"] = "note" if by == "note" else "passage"
    with opened(s) as v:
        answer = v.recall(
            " ".join(question), k=k, budget=budget, by=kind, mode=cast(Mode, mode), min_similarity=min_similarity,
            explain=explain, sync=look,
        )  # fmt: skip
        output.show(answer, s.as_json, lambda x: shown.answer(x, v.root, explain))


@app.command()
def read(
    ctx: typer.Context,
    note: Annotated[
        str,
        typer.Argument(metavar="NOTE", help="A path, permalink, memory://permalink, title, or path:line:count."),
    ],
    line: Annotated[int | None, typer.Option("--line", min=1, help="The first line.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="How many lines.")] = None,
    look: SyncOption = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a note, or some of its lines."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        output.show(v.read(note, line=line, count=count, sync=look), s.as_json, shown.note)


@app.command("list")
def list_(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder or note of the vault.")] = "",
    limit: Annotated[int, typer.Option("--limit", help="At most this many notes.")] = 50,
    after: Annotated[str, typer.Option("--after", metavar="PATH", help="Begin behind this note.")] = "",
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object a line.")] = False,
    look: SyncOption = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List notes in path order."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        found = v.list(path, limit=limit, after=after, sync=look)
        if jsonl:
            for item in found.notes:
                output.write(output.json_text(item.to_dict()))
        else:
            output.show(found, s.as_json, shown.listing)


@app.command("eval")
def eval_(
    ctx: typer.Context,
    golden: Annotated[
        str, typer.Argument(metavar="GOLDEN", help="A file of questions, one JSON object a line (docs/evaluation.md).")
    ] = "",
    mode: Annotated[
        list[str] | None,
        typer.Option("--mode", metavar="MODE", help="Ask in hybrid, keyword, vector, bm25 or random; repeatable."),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under",
            metavar="BOUND",
            help="Exit with 3 if a share is lower: recall@10=0.8, or mode:metric=share; repeatable.",
        ),
    ] = None,
    misses: Annotated[bool, typer.Option("--misses", help="List questions that found nothing in ten ranks.")] = False,
    make: Annotated[
        int | None, typer.Option("--make", metavar="N", help="Print N questions made of the notes, to be edited.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Another seed, other random draws.")] = 0,
    look: SyncOption = True,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask your own questions. Says how often the right lines are found, in each mode."""
    s = merged(ctx, vault, state_dir, as_json)
    if bool(golden) == (make is not None):
        raise UserError("Name a file of questions, or ask for some by --make N, one of the two.")
    with opened(s) as v:
        if make is not None:
            made = v.propose(make, seed=seed, sync=look)
            for line in made:
                output.write(output.json_text(line))
            shown.note_fewer(len(made), make)
            return
        with output.progress("Asking", ("asked", "to ask in all")) as progress:
            done = v.eval(
                golden, modes=mode or (), fail_under=fail_under or (), seed=seed, sync=look, progress=progress
            )
    output.show(done if misses else done.without_misses(), s.as_json, shown.evaluated)
    if not done.is_passed:
        if not s.as_json:
            shown.gates_missed(done)
        raise typer.Exit(PROBLEMS)


@app.command()
def parse(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Notes; they need not be in a vault.")],
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what the note format says about files, as JSON."""
    merged(ctx, vault, state_dir, as_json)
    ok = True
    for path in files:
        found, readable = parse_file(path)
        ok &= readable
        output.write(output.json_text(found))
    if not ok:
        raise typer.Exit(PROBLEMS)

"""The verbs as commands: decode, call the vault, print. Nothing is decided here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import typer

from holdfast.cli import output
from holdfast.errors import HoldfastError, ResourceFault, UserError
from holdfast.vault import Mode, Vault, parse_file

PROBLEMS = 3

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


def _merged(ctx: typer.Context, vault: str | None, state_dir: str | None, as_json: bool) -> Shared:
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
def _opened(s: Shared) -> Iterator[Vault]:
    path = s.vault or os.environ.get("HOLDFAST_VAULT") or Vault.find()
    with Vault.open(path, state_dir=s.state_dir) as vault:
        yield vault


@app.command()
def init(
    ctx: typer.Context,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The folder of notes.")] = ".",
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a folder a vault: give it an id in .holdfast/config.toml. Notes are not touched."""
    s = _merged(ctx, vault, state_dir, as_json)
    done = Vault.init(s.vault if directory == "." and s.vault else directory)
    output.show(done, s.as_json, output.created)


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
    s = _merged(ctx, vault, state_dir, as_json)
    with _opened(s) as v:
        with output.progress("Reading notes") as progress:
            done = v.sync(vectors=False, checksum=checksum, accept_empty=accept_empty, progress=progress)
        if vectors:
            with output.progress_of("Embedding") as progress:
                done = v.embed_after(done, progress)
    output.show(done, s.as_json, lambda x: output.synced(x, explain), explained=explain)
    if done.quarantined or done.skipped.get("unverified"):
        raise typer.Exit(PROBLEMS)


@app.command()
def embed(
    ctx: typer.Context, vault: VaultOption = None, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Make the vectors that are missing, newest notes first. It may be interrupted, and goes on the next time."""
    s = _merged(ctx, vault, state_dir, as_json)
    with _opened(s) as v, output.progress_of("Embedding") as progress:
        done = v.embed(progress=progress)
    output.show(done, s.as_json, output.embedded)


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
    s = _merged(ctx, vault, state_dir, as_json)
    with _opened(s) as v:
        output.show(v.export_vectors(file), s.as_json, lambda x: output.exported(x, file))


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
    s = _merged(ctx, vault, state_dir, as_json)
    with _opened(s) as v:
        output.show(v.salvage_vectors(*(files or ())), s.as_json, output.salvaged)


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
    s = _merged(ctx, vault, state_dir, as_json)
    if by not in ("passage", "note"):
        raise UserError(f"--by is {by!r}.", hint="Choose passage or note.")
    kind: Literal["passage", "note"] = "note" if by == "note" else "passage"
    with _opened(s) as v:
        answer = v.recall(
            " ".join(question), k=k, budget=budget, by=kind, mode=cast(Mode, mode), min_similarity=min_similarity,
            explain=explain, sync=look,
        )  # fmt: skip
        output.show(answer, s.as_json, lambda x: output.answer(x, v.root, explain))


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
    s = _merged(ctx, vault, state_dir, as_json)
    with _opened(s) as v:
        output.show(v.read(note, line=line, count=count, sync=look), s.as_json, output.note)


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
    s = _merged(ctx, vault, state_dir, as_json)
    with _opened(s) as v:
        found = v.list(path, limit=limit, after=after, sync=look)
        if jsonl:
            for item in found.notes:
                output.write(output.json_text(item.to_dict()))
        else:
            output.show(found, s.as_json, output.listing)


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
    """Ask your own questions, and say how often the right lines are found."""
    s = _merged(ctx, vault, state_dir, as_json)
    if bool(golden) == (make is not None):
        raise UserError("Name a file of questions, or ask for some by --make N, one of the two.")
    with _opened(s) as v:
        if make is not None:
            made = v.propose(make, seed=seed, sync=look)
            for line in made:
                output.write(output.json_text(line))
            output.note_fewer(len(made), make)
            return
        with output.progress("Asking", ("asked", "to ask in all")) as progress:
            done = v.eval(
                golden, modes=mode or (), fail_under=fail_under or (), seed=seed, sync=look, progress=progress
            )
    output.show(done if misses else done.without_misses(), s.as_json, output.evaluated)
    if not done.is_passed:
        if not s.as_json:
            output.gates_missed(done)
        raise typer.Exit(PROBLEMS)


@app.command()
def status(
    ctx: typer.Context, vault: VaultOption = None, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Say how the vault and its index are."""
    s = _merged(ctx, vault, state_dir, as_json)
    with _opened(s) as v:
        found = v.status()
    output.show(found, s.as_json, output.status)
    if found.health != "ok":
        raise typer.Exit(75 if found.health == "failing" else PROBLEMS)


@app.command()
def rebuild(
    ctx: typer.Context, vault: VaultOption = None, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Build the index from nothing beside the one that serves, then switch."""
    s = _merged(ctx, vault, state_dir, as_json)
    with _opened(s) as v, output.progress("Reading notes") as progress:
        done = v.rebuild(progress=progress)
    output.show(done, s.as_json, output.rebuilt)


@app.command()
def parse(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Notes; they need not be in a vault.")],
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what the note format says about files, as JSON."""
    _merged(ctx, vault, state_dir, as_json)
    ok = True
    for path in files:
        found, readable = parse_file(path)
        ok &= readable
        output.write(output.json_text(found))
    if not ok:
        raise typer.Exit(PROBLEMS)


def run(args: list[str]) -> int:
    """Run the command line and return its exit code; errors go to stderr, as JSON where JSON was asked for."""
    output.prepare()
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
        if not args:
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
    return message


def _usage_hint(e: typer.TyperException) -> str:
    ctx = getattr(e, "ctx", None)
    command = ctx.command_path if ctx else "holdfast"
    if command.endswith("recall") and "No such option" in _message(e):
        return f"Run `{command} --help`; put `--` before words that begin with `-`."
    return f"Run `{command} --help`."

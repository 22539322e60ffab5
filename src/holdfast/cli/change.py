"""The verbs that change notes."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

import holdfast.cli.ask  # noqa: F401 - its verbs come first in the help
from holdfast.cli import output, shown_change
from holdfast.cli.shared import PROBLEMS, JsonOption, StateOption, VaultOption, app, merged, opened
from holdfast.errors import NotFound, QueryError

NoteArgument = Annotated[str, typer.Argument(metavar="NOTE", help="A path, permalink or unique title.")]
ExpectOption = Annotated[
    str | None, typer.Option("--expect", metavar="DIGEST", help="Change it only if it has this digest.")
]
MergeOption = Annotated[
    bool, typer.Option("--merge", help="With --expect: merge with what others wrote since, where that is clean.")
]
AuthorOption = Annotated[
    str | None, typer.Option("--author", metavar="NAME", help="Who does it; HOLDFAST_AUTHOR, else your user's name.")
]
SessionOption = Annotated[
    str | None, typer.Option("--session", metavar="ID", help="In which session; HOLDFAST_SESSION names it too.")
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the history.")]
AllowOption = Annotated[bool, typer.Option("--allow-secret", help="Store keys and passwords all the same.")]
RedactOption = Annotated[bool, typer.Option("--redact", help="Mask keys and passwords.")]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", help="At most so many.")]


def author_of(given: str | None) -> str:
    """Who does it: as given, as the environment says, or the user of this process."""
    if given is not None:
        return given
    if os.environ.get("HOLDFAST_AUTHOR"):
        return os.environ["HOLDFAST_AUTHOR"]
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""  # A user without a name, as in some containers.


def _session(given: str | None) -> str:
    return given if given is not None else os.environ.get("HOLDFAST_SESSION", "")


def by(author: str | None, session: str | None, reason: str) -> dict[str, Any]:
    """Who changes something, in which session, and why, as the facade takes it."""
    return {"author": author_of(author), "session": _session(session), "reason": reason}


def _secrets(allow: bool, redact: bool) -> Any:
    if allow and redact:
        raise QueryError("--allow-secret and --redact do not go together.", hint="Name one of them.")
    return "allow" if allow else "redact" if redact else "refuse"


def _given(text: str | None) -> str | None:
    """A text as it was given; `-` stands for standard input."""
    if text != "-":
        return text
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise QueryError("What comes on standard input is not UTF-8.", hint="Convert it first.") from None


@app.command()
def write(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(metavar="PATH", help="The note's path in the vault.")],
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="Take the content from a file; else from stdin.")
    ] = None,
    expect: ExpectOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a note that is there.")] = False,
    merge: MergeOption = False,
    allow_secret: AllowOption = False,
    redact: RedactOption = False,
    author: AuthorOption = None,
    session: SessionOption = None,
    reason: ReasonOption = "",
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make or replace a note. It is on disk, in the history and found by its words when this returns."""
    s = merged(ctx, vault, state_dir, as_json)
    body = _read_file(file) if file is not None else sys.stdin.buffer.read()
    with opened(s) as v:
        secrets = _secrets(allow_secret, redact)
        done = v.write(
            path, body, expect=expect, overwrite=overwrite, merge=merge, secrets=secrets, **by(author, session, reason)
        )
    output.show(done, s.as_json, shown_change.written)


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as e:
        raise NotFound(f"{path} cannot be read: {e.strerror}.", hint="Name a file that is there.") from e


@app.command()
def edit(
    ctx: typer.Context,
    note: NoteArgument,
    append: Annotated[
        str | None, typer.Option("--append", metavar="TEXT", help="As new last lines; `-` is stdin, as everywhere.")
    ] = None,
    prepend: Annotated[str | None, typer.Option("--prepend", metavar="TEXT", help="Before the body.")] = None,
    replace: Annotated[
        tuple[str, str] | None, typer.Option("--replace", metavar="OLD NEW", help="OLD must stand there exactly once.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", help="With --replace: exactly N times.")] = None,
    section: Annotated[
        str | None, typer.Option("--section", metavar="HEADING", help="Replace a section by --text, or --append to it.")
    ] = None,
    insert_before: Annotated[
        str | None, typer.Option("--insert-before", metavar="LINE", help="Put --text before the line with this text.")
    ] = None,
    insert_after: Annotated[
        str | None, typer.Option("--insert-after", metavar="LINE", help="Put --text behind the line with this text.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="TEXT", help="What is put in.")] = None,
    field: Annotated[
        list[str] | None, typer.Option("--field", metavar="KEY=VALUE", help="Set in the header; twice makes a list.")
    ] = None,
    unset: Annotated[list[str] | None, typer.Option("--unset", metavar="KEY", help="Remove from the header.")] = None,
    expect: ExpectOption = None,
    merge: MergeOption = False,
    allow_secret: AllowOption = False,
    redact: RedactOption = False,
    author: AuthorOption = None,
    session: SessionOption = None,
    reason: ReasonOption = "",
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a part of a note. All other bytes stay; what others write meanwhile is not lost."""
    s = merged(ctx, vault, state_dir, as_json)
    into = _given(append) if section is not None and text is None else None
    needs = [
        o
        for o, x in (("--section", section), ("--insert-before", insert_before), ("--insert-after", insert_after))
        if x is not None
    ]
    content = into if into is not None else _given(text)
    if needs and content is None:
        raise QueryError(f"{needs[0]} needs --text.", hint="Give what is to be put in; `--text -` takes it from stdin.")
    if content is not None and not needs:
        raise QueryError("--text has no place.", hint="Add --section, --insert-before or --insert-after.")
    with opened(s) as v:
        done = v.edit(
            note,
            append=None if into is not None else _given(append),
            prepend=_given(prepend),
            replace=replace,
            count=count,
            section=(section, content or "") if section is not None else None,
            append_to_section=into is not None,
            insert_before=(insert_before, content or "") if insert_before is not None else None,
            insert_after=(insert_after, content or "") if insert_after is not None else None,
            fields=_fields(field or [], unset or []),
            expect=expect, merge=merge, secrets=_secrets(allow_secret, redact), **by(author, session, reason),
        )  # fmt: skip
    output.show(done, s.as_json, shown_change.written)


def _fields(stated: list[str], removed: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = dict.fromkeys(removed)
    for pair in stated:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise QueryError(f"--field {pair} is no field.", hint="Write it as key=value.")
        known = fields.get(key.strip())
        fields[key.strip()] = value if known is None else [*(known if isinstance(known, list) else [known]), value]
    return fields


@app.command()
def remember(
    ctx: typer.Context,
    text: Annotated[list[str], typer.Argument(metavar="TEXT...", help="A line or a few; `-` is stdin.")],
    to: Annotated[str, typer.Option("--to", metavar="NOTE", help="In this note, not in the journal.")] = "",
    category: Annotated[str, typer.Option("--category", metavar="WORD", help="What kind of thing it is.")] = "note",
    source: Annotated[str, typer.Option("--source", metavar="TEXT", help="Where it comes from.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Though nearly the same is there already.")] = False,
    fact: Annotated[bool, typer.Option("--fact", help="As a fact with its time: from today on, or --from.")] = False,
    valid_from: Annotated[str | None, typer.Option("--from", metavar="DATE", help="With --fact: holds from.")] = None,
    valid_to: Annotated[str | None, typer.Option("--until", metavar="DATE", help="With --fact: holds until.")] = None,
    allow_secret: AllowOption = False,
    redact: RedactOption = False,
    author: AuthorOption = None,
    session: SessionOption = None,
    reason: ReasonOption = "",
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a line in today's journal, found again in the same second."""
    s = merged(ctx, vault, state_dir, as_json)
    words = _given(" ".join(text)) or ""
    with opened(s) as v:
        done = v.remember(
            words, to=to, category=category, source=source, again=again, fact=fact, valid_from=valid_from,
            valid_to=valid_to, secrets=_secrets(allow_secret, redact), **by(author, session, reason),
        )  # fmt: skip
    output.show(done, s.as_json, shown_change.remembered)


@app.command()
def move(
    ctx: typer.Context,
    note: NoteArgument,
    to: Annotated[str, typer.Argument(metavar="TO", help="The new path; a folder ends with `/`.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which links would be rewritten.")] = False,
    expect: ExpectOption = None,
    author: AuthorOption = None,
    session: SessionOption = None,
    reason: ReasonOption = "",
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a note another path, and rewrite what links to it. One group, which `undo` takes back."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        done = v.move(note, to, expect=expect, dry_run=dry_run, **by(author, session, reason))
    output.show(done, s.as_json, shown_change.moved)


@app.command()
def delete(
    ctx: typer.Context,
    note: NoteArgument,
    expect: ExpectOption = None,
    author: AuthorOption = None,
    session: SessionOption = None,
    reason: ReasonOption = "",
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a note. The history keeps it: `restore` brings it back."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        done = v.delete(note, expect=expect, **by(author, session, reason))
    output.show(done, s.as_json, shown_change.deleted)


@app.command()
def forget(
    ctx: typer.Context,
    notes: Annotated[list[str], typer.Argument(metavar="NOTE...", help="Notes, there or deleted.")],
    apply: Annotated[bool, typer.Option("--apply", help="Do it; there is no way back.")] = False,
    vault: VaultOption = None,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove notes with history, vectors and copies, and prove it. Without --apply it only says what would go."""
    s = merged(ctx, vault, state_dir, as_json)
    with opened(s) as v:
        done = v.forget(*notes, dry_run=not apply)
    output.show(done, s.as_json, shown_change.forgotten)
    if done.traces:
        raise typer.Exit(PROBLEMS)

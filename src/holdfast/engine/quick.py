"""Remember: one line or a few, kept in the same second, as an observation in a journal.

What says nearly the same as something that is there already is reported and not stored twice: the words of both, folded
and stemmed, are compared as sets, and the numbers must be the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from holdfast.changes import Likeness, Remembered, Written
from holdfast.engine.claims import fact_line
from holdfast.engine.read import find_exact, usable
from holdfast.engine.workspace import Workspace
from holdfast.engine.write import Secrets, Terms, change, create
from holdfast.errors import Conflict, HoldfastError, NotFound, QueryError
from holdfast.files import notes
from holdfast.files.paths import safe_path
from holdfast.history.rows import By
from holdfast.index.asking import Search
from holdfast.model import key_path, show_path
from holdfast.text.edit import append
from holdfast.text.tokens import terms

ALIKE = 0.9
"""Two texts whose words overlap by this much (Jaccard) say the same; below it, one says something more."""
_RARE = 8
_LOOKED_AT = 12
_LETTERS = 4_000
_COMPARED_BYTES = 256 << 10
_PLAIN = re.compile(r"[^\w-]+")
_CATEGORY = re.compile(r"[^\[\]()\n]+")


@dataclass(frozen=True, slots=True)
class Memo:
    """What is to be remembered: `to` is a note, "" for the journal of `by.author`; `again` stores it twice."""

    text: str
    by: By
    category: str = "note"
    to: str = ""
    source: str = ""
    again: bool = False
    is_fact: bool = False
    valid_from: str | None = None
    valid_to: str | None = None
    secrets: Secrets = "refuse"


def remember(ws: Workspace, memo: Memo) -> Remembered:
    """Keep `memo` as the last lines of a note. Raises QueryError, NotFound, and what a write raises."""
    lines = [line.strip() for line in memo.text.strip().splitlines() if line.strip()]
    if not lines:
        raise QueryError("There is nothing to remember.", hint="Give a line of text.")
    if len(memo.text) > _LETTERS:
        raise QueryError(f"That is more than {_LETTERS:,} letters.", hint="Write it as a note: `holdfast write PATH`.")
    if not _CATEGORY.fullmatch(memo.category) or "::" in memo.category:
        raise QueryError(f"“{memo.category}” is no category.", hint="Give a word such as decision.")
    if not memo.again and (known := _known(ws, memo.text)) is not None:
        return Remembered(known.path, None, 0, True, None, known.line, False, known)
    text = _fact(ws, memo) if memo.is_fact else _observation(ws, memo, lines)
    path = find_exact(ws, usable(ws), memo.to) if memo.to else _journal(ws, memo.by)
    done = _into(ws, path, text, memo)
    return Remembered(
        done.path, done.digest, done.seq, done.indexed, done.rev, _line_of(ws, done.path, text), True, None
    )


def _observation(ws: Workspace, memo: Memo, lines: list[str]) -> str:
    now = datetime.fromtimestamp(ws.fs.time_ns() / 1e9).astimezone()
    said = ", ".join(
        x for x in (f"{now:%Y-%m-%d %H:%M}", memo.source, memo.by.session and f"session {memo.by.session}") if x
    )
    first = f"- [{memo.category.strip()}] {lines[0]} ({said})"
    return "\n".join([first, *(f"  {line}" for line in lines[1:])])


def _fact(ws: Workspace, memo: Memo) -> str:
    """A fact with its time: from today on, unless it says otherwise."""
    today = datetime.fromtimestamp(ws.fs.time_ns() / 1e9).astimezone()
    begins = memo.valid_from or (None if memo.valid_to else f"{today:%Y-%m-%d}")
    return fact_line(memo.text, memo.category, begins, memo.valid_to)


def _journal(ws: Workspace, by: By) -> str:
    """Today's journal of an author, by the local day."""
    who = _PLAIN.sub("-", by.author).strip("-.") or "me"
    today = datetime.fromtimestamp(ws.fs.time_ns() / 1e9).astimezone()
    return safe_path(ws.root, f"journal/{who}/{today:%Y-%m-%d}.md")


def _into(ws: Workspace, path: str, text: str, memo: Memo) -> Written:
    by = memo.by
    for _ in range(3):
        try:
            return change(ws, path, lambda body: append(body, text), Terms(by, secrets=memo.secrets))
        except NotFound:
            day = path.rpartition("/")[2].removesuffix(".md")
            author = f"author: {_quoted(by.author)}\n" if by.author else ""
            head = f"---\ntype: journal\n{author}---\n\n# {day}\n\n"
            try:
                return create(ws, path, f"{head}{text}\n".encode(), by, secrets=memo.secrets)
            except Conflict:
                continue  # Another process has made it in this moment.
    raise Conflict(f"{show_path(path)} comes and goes.")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def _line_of(ws: Workspace, path: str, text: str) -> int:
    """The line where the text stands, from the end: others may have written behind it."""
    body = notes.read_note(ws.fs, ws.root, safe_path(ws.root, path), max_bytes=ws.config.note_bytes).data
    at = body.rfind(text.splitlines()[0].encode())
    return body.count(b"\n", 0, at) + 1 if at >= 0 else 0


def _known(ws: Workspace, text: str) -> Likeness | None:
    """A line that says nearly the same, among the notes that share the rarest words of the text."""
    wanted = _bag(text)
    index = usable(ws)
    if index is None or not wanted:
        return None
    try:
        often = index.proofs.frequencies(wanted)
        rare = tuple(sorted((t for t in wanted if often[t]), key=lambda t: (often[t], t))[:_RARE])
        if len(rare) < ALIKE * min(len(wanted), _RARE):
            return None  # Words that no note has: nobody has said it.
        said = index.signals(Search(words=rare, repeats=(1,) * len(rare)))
        best = said.notes[np.argsort(-said.note, kind="stable")[:_LOOKED_AT]]
        rows = index.notes([int(n) for n in best])
    except HoldfastError as e:
        ws.count("likeness_not_looked_for", e)
        return None
    for row in rows.values():
        path = key_path(row.key)
        try:
            body = notes.read_note(ws.fs, ws.root, path, max_bytes=_COMPARED_BYTES).data
        except (HoldfastError, FileNotFoundError):
            continue  # Too long to be compared line by line, or gone: then it counts as not said.
        for number, line in enumerate(body.decode("utf-8", "replace").split("\n"), 1):
            if _is_alike(wanted, _bag(_bare(line))):
                return Likeness(show_path(path), number, line.strip())
    return None


def _bare(line: str) -> str:
    """A line without the category in front and the context behind, which every memo has."""
    line = re.sub(r"^\s*[-*+]\s+(\[[^\]]*\]\s+)?", "", line)
    return re.sub(r"\s*\([^()]*\)\s*$", "", line)


def _bag(text: str) -> frozenset[str]:
    return frozenset(terms(text))


def _is_alike(a: frozenset[str], b: frozenset[str]) -> bool:
    if not b or len(a & b) < ALIKE * len(a | b):
        return False
    return {t for t in a ^ b if any(c.isdigit() for c in t)} == set()

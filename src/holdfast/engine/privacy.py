"""Keep secrets out of notes: refuse or mask them when a note is written, and look for those that stand in notes.

Only what is new counts: a change does not answer for what stood in the note before it. Nothing here tells, keeps or
logs a secret; its kind and its line are all that leaves this module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from shlex import quote

from holdfast.engine.diff import is_note_key
from holdfast.engine.workspace import Workspace
from holdfast.errors import NoteError, SecretFound
from holdfast.files import notes
from holdfast.index.base import Index
from holdfast.model import key_path, show_path
from holdfast.results import Finding
from holdfast.text.secrets import Secret, find_secrets, redact

NAMED = 5
"""So many secrets are named in one message."""

_CURE = "holdfast edit {0}  # its history has it, too: holdfast forget {0}"

PAGE = 256
PASSES = 4


def refuse_secrets(path: str, body: bytes, *, before: bytes = b"") -> None:
    """Raise SecretFound if `body` holds a secret that `before`, which it takes the place of, does not hold."""
    text = _text(body)
    if found := _new(text, before):
        raise SecretFound(f"{show_path(path)} would hold {_listed(found)}.")


def redacted(body: bytes, before: bytes = b"") -> bytes:
    """`body` with each secret masked that `before` does not hold; every other byte and all lines as they are."""
    text = _text(body)
    for _ in range(PASSES):  # What stood against a secret can be one itself, once that is masked.
        found = _new(text, before)
        if not found:
            break
        text = redact(text, found)
    return text.encode("utf-8", "surrogateescape")


def scan(ws: Workspace, index: Index) -> Iterator[Finding]:
    """A finding for each secret in the notes that the index knows, in path order, a note in memory at a time.

    A note that cannot be read is a finding too: nobody has looked into it.
    """
    after = b""
    while page := index.file_rows(after, PAGE):
        after = page[-1][0]
        for row in page:
            if is_note_key(row[0]):
                yield from _scanned(ws, key_path(row[0]))


def _scanned(ws: Workspace, path: str) -> Iterator[Finding]:
    name = show_path(path)
    try:
        body = notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes).data
    except FileNotFoundError:
        return  # Gone since the sync, which is said elsewhere.
    except NoteError as e:
        ws.count("secrets_unread")
        yield Finding("unscanned", name, f"Nobody has looked for secrets in it: {e.message}", f"ls -l -- {quote(name)}")
        return
    for x in find_secrets(_text(body)):
        yield Finding("secret", name, f"Line {x.line}: {x.kind}.", _CURE.format(quote(name)))


def _text(body: bytes) -> str:
    """The bytes as text from which they can be made again."""
    return body.decode("utf-8", "surrogateescape")


def _new(text: str, before: bytes) -> list[Secret]:
    found = find_secrets(text)
    if not found or not before:
        return found
    old = _text(before)
    known = Counter(old[x.start : x.end] for x in find_secrets(old))
    new = []
    for x in found:
        value = text[x.start : x.end]
        if known[value] > 0:
            known[value] -= 1
        else:
            new.append(x)
    return new


def _listed(found: list[Secret]) -> str:
    """Such as `a GitHub token on line 3 and a password on line 9`."""
    words = [f"{_a(x.kind)} on line {x.line}" for x in found[:NAMED]]
    if len(found) > NAMED:
        words.append(f"{len(found) - NAMED:,} more secrets")
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'AaO' or kind[:3] == 'npm' else 'a'} {kind}"

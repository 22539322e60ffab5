"""Makes a note of the rows of one source, from which every document and all its metadata come back byte for byte.

The body holds the documents, joined where one begins with the end of the one before. The header says under `chroma`
which bytes of the body are whose: `at: [start, end]`, counted from the first byte after the header. Metadata that all
rows of a note share stand in the header as fields of their own, so that they can be filtered on; those whose names are
Holdfast's stand under `chroma.shared`, those that differ with each row.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import yaml

HEADER_BYTES = 60 << 10
"""A header over 64 KiB is not read by Holdfast (docs/format.md)."""
BODY_BYTES = 4 << 20
_OURS = frozenset(
    "title type tags aliases permalink created modified author source session trust status valid_from valid_to"
    " superseded_by schema chroma".split()
)
_SEPARATOR = b"\n\n"
_LEAST_OVERLAP = 24
_MOST_OVERLAP = 1_000
_NAME_BYTES = 80
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\[\]#^]+')
_RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|com\d|lpt\d|node_modules)\Z")
_EMPTY = "This entry has no document; what is known of it stands in the header.\n"


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a collection; `document` is None where there is none."""

    key: str
    document: bytes | None
    metadata: dict[str, Any]
    chunk: int | None = None

    @property
    def weight(self) -> int:
        """About how many bytes of header it needs."""
        return 60 + len(self.key) + sum(len(k) + len(str(v)) + 8 for k, v in self.metadata.items())


@dataclass(slots=True)
class Note:
    """The bytes of a note, those of a companion file where its metadata are too long for a header, and its rows."""

    content: bytes
    companion: bytes = b""
    rows: list[Row] = field(default_factory=list)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Safe YAML without aliases, which a note's header may not have."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def notes_of(rows: list[Row], collection: str, source: str | None) -> list[Note]:
    """The rows as one note, or as several where its header would be too long."""
    note = _note(rows, collection, source)
    if note is not None:
        return [note]
    if len(rows) > 1:
        half = len(rows) // 2
        return notes_of(rows[:half], collection, source) + notes_of(rows[half:], collection, source)
    companion = json.dumps(rows[0].metadata, ensure_ascii=True, indent=1).encode()
    spare = _note([Row(rows[0].key, rows[0].document, {}, rows[0].chunk)], collection, None, has_companion=True)
    assert spare is not None
    spare.companion, spare.rows = companion, rows
    return [spare]


def _note(rows: list[Row], collection: str, source: str | None, *, has_companion: bool = False) -> Note | None:
    body, spans = _join(rows)
    first = rows[0].metadata
    common = {k: v for k, v in first.items() if all(k in r.metadata and _same(r.metadata[k], v) for r in rows)}
    own = {k: v for k, v in common.items() if k.lower() not in _OURS}
    shared = {k: v for k, v in common.items() if k not in own}
    entries = []
    for row, span in zip(rows, spans, strict=True):
        entry: dict[str, Any] = {"id": row.key}
        entry |= {"document": None} if span is None else {"at": list(span)}
        if rest := {k: v for k, v in row.metadata.items() if k not in common}:
            entry["metadata"] = rest
        entries.append(entry)
    chroma: dict[str, Any] = {"collection": collection}
    if shared:
        chroma["shared"] = shared
    if has_companion:
        chroma["metadata"] = "in the .json file beside this note"
    chroma["entries"] = entries
    head: dict[str, Any] = {"title": title(source or rows[0].key)}
    if source:
        head["source"] = source[:1_000]
    head |= {"trust": "imported", **own, "chroma": chroma}
    # Every line of a value is indented, so that none can look like the end of the header.
    text = yaml.dump(head, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30)
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) > HEADER_BYTES:
        return None
    return Note(b"---\n" + raw + b"---\n" + body, rows=rows)


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def _join(rows: list[Row]) -> tuple[bytes, list[tuple[int, int] | None]]:
    """The body, and where in it each document stands."""
    parts: list[bytes] = []
    spans: list[tuple[int, int] | None] = []
    size = 0
    before: Row | None = None
    for row in rows:
        text = row.document
        if text is None:
            spans.append(None)
            continue
        shared = 0
        if before is not None and before.document is not None:
            if row.chunk is not None and before.chunk is not None and row.chunk == before.chunk + 1:
                shared = overlap(before.document, text)
            if not shared:
                parts.append(_SEPARATOR)
                size += len(_SEPARATOR)
        parts.append(text[shared:])
        spans.append((size - shared, size - shared + len(text)))
        size += len(text) - shared
        before = row
    body = b"".join(parts)
    if not any(spans):
        body += _EMPTY.encode()
    elif not body.endswith(b"\n"):
        body += b"\n"
    return body, spans


def overlap(before: bytes, after: bytes) -> int:
    """How many bytes at the end of `before` are those at the start of `after`; 0 if too few to be meant."""
    tail = before[-_MOST_OVERLAP:]
    at = tail.find(after[:_LEAST_OVERLAP]) if len(after) >= _LEAST_OVERLAP else -1
    while at >= 0:
        if after.startswith(tail[at:]):
            return len(tail) - at
        at = tail.find(after[:_LEAST_OVERLAP], at + 1)
    return 0


def title(text: str) -> str:
    """The last part of a path or id, on one line."""
    last = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    return "".join(c if c.isprintable() else " " for c in last).strip()[:200] or "untitled"


def safe_name(text: str) -> str:
    """`text` as a name that every file system takes and Holdfast does not ignore."""
    name = _UNSAFE.sub("-", unicodedata.normalize("NFC", text))
    name = "".join(c if c.isprintable() else "-" for c in name).strip(" .-")
    while len(name.encode("utf-8", "replace")) > _NAME_BYTES:
        name = name[:-1]
    name = name.strip(" .-")
    return f"{name}-" if _RESERVED.match(name.split(".")[0]) else name or "unnamed"


def fingerprint(text: str) -> str:
    """Eight hexadecimal digits that tell names apart which look alike."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()

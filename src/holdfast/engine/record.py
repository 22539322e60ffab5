"""One note's bytes -> everything that the index keeps of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.engine.times import bounds
from holdfast.index.asking import SPEAKER, ChunkRow
from holdfast.index.base import FactRow, LinkRow, NameLevel, NoteRecord
from holdfast.model import Chunk, Input, Link, Parsed, Value, fold, show_path
from holdfast.text.chunk import chunk, chunk_digest
from holdfast.text.inputs import inputs
from holdfast.text.names import tail
from holdfast.text.note import parse
from holdfast.text.permalink import permalink
from holdfast.text.tokens import ANALYZER, terms
from holdfast.text.traits import traits

if TYPE_CHECKING:
    from holdfast.config import Config

# Bump whenever the same bytes could give other chunks, names or fields than before: indexes made so are rebuilt.
READING = 2
CHUNKS_MAX = 20_000
LINKS_MAX = 50_000
FIELD_CHARS = 200


def reading_identity(config: Config) -> str:
    """What an index depends on besides the notes: how they are read, cut and analysed."""
    return f"reading {READING}, analyzer {ANALYZER}, chunks of {config.chunk_tokens} tokens"


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note with its chunks, texts included, and what an embedder is given for each.

    `cut` says which limit was reached, "" if none.
    """

    parsed: Parsed
    chunks: list[Chunk]
    inputs: list[Input]
    cut: str


def read_note(data: bytes, path: str, chunk_tokens: int) -> Note:
    """The note in `data`. A note without any text in its body is one chunk: its title."""
    document = parse(data, show_path(path))
    parsed = document.parsed
    chunks = chunk(document, chunk_tokens, CHUNKS_MAX)
    cut = document.limit
    if len(chunks) > CHUNKS_MAX:
        chunks, cut = chunks[:CHUNKS_MAX], f"only its first {CHUNKS_MAX:,} chunks are searched"
    elif len(parsed.links) > LINKS_MAX:
        cut = f"only its first {LINKS_MAX:,} links are kept"
    if not chunks:
        chunks = [Chunk(0, 0, 1, 1, "", parsed.title, chunk_digest(parsed.title, ""))]
    return Note(parsed, chunks, inputs(chunks, parsed.title), cut)


def read_record(data: bytes, path: str, chunk_tokens: int, digest: bytes) -> tuple[NoteRecord, str]:
    """What the index keeps of the note in `data`, whose digest is `digest`, and which limit it reached, "" if none."""
    note = read_note(data, path, chunk_tokens)
    return make_record(note, digest, path), note.cut


def make_record(note: Note, digest: bytes, path: str) -> NoteRecord:
    """The rows that the index keeps of `note`, whose bytes have `digest`."""
    parsed = note.parsed
    front = parsed.frontmatter
    return NoteRecord(
        digest=digest,
        title=parsed.title,
        type=parsed.type,
        permalink=_text(front.get("permalink")),
        trust=parsed.trust,
        tags=parsed.tags,
        author=_text(front.get("author")),
        session=_text(front.get("session")),
        modified_ns=_instant(front.get("modified")),
        valid_from_ns=_instant(front.get("valid_from")),
        valid_to_ns=_instant(front.get("valid_to"), end=True),
        chunks=[_chunk_row(note, i) for i in range(len(note.chunks))],
        terms=note_terms(note),
        names=list(_names(parsed, path)),
        links=[_link_row(x, relations) for relations in [_relations(parsed)] for x in parsed.links[:LINKS_MAX]],
        facts=[
            *(FactRow(o.line, "observation", o.category, o.valid_from, o.valid_to) for o in parsed.observations),
            *(FactRow(r.line, "relation", r.type, r.valid_from, r.valid_to) for r in parsed.relations),
        ],
        fields=sorted(set(note_fields(note))),
    )


def unread_record(path: str) -> NoteRecord:
    """The record of a note that is listed and was never opened: its name, and nothing to search."""
    title = show_path(path).rpartition("/")[2].rpartition(".")[0]
    return NoteRecord(
        digest=b"", title=title, type="note", permalink=None, trust="own", tags=(), author=None, session=None,
        modified_ns=None, valid_from_ns=None, valid_to_ns=None, chunks=(), terms=[terms(title)],
    )  # fmt: skip


def note_terms(note: Note) -> list[list[str]]:
    """The terms of the title (with aliases and stated tags, which no chunk holds), then of each chunk (a turn's with
    its speaker)."""
    parsed = note.parsed
    stated = parsed.frontmatter.get("tags")
    title = [parsed.title, *parsed.aliases, *(parsed.tags if stated is not None else ())]
    return [terms(" \n ".join(title)), *(terms(f"{c.speaker}\n{c.text}" if c.speaker else c.text) for c in note.chunks)]


def note_fields(note: Note) -> Iterator[tuple[str, str]]:
    """(key, folded value) of everything that a filter can ask: frontmatter leaves, tags, type, title, speakers."""
    parsed = note.parsed
    for key, value in parsed.frontmatter.items():
        if key not in ("tags", "type", "title"):
            for leaf in _leaves(value):
                yield fold(key), fold(leaf.strip())[:FIELD_CHARS]
    yield "type", fold(parsed.type)
    yield "title", fold(parsed.title)[:FIELD_CHARS]
    yield "trust", fold(parsed.trust)
    for tag in parsed.tags:
        yield "tag", fold(tag)
    for speaker in {t.speaker for t in parsed.turns}:
        yield SPEAKER, fold(speaker)


def _leaves(value: Value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)


def _text(value: Value | None) -> str | None:
    return next((leaf for leaf in _leaves(value) if leaf), None) if value is not None else None


def _instant(value: Value | None, *, end: bool = False) -> int | None:
    span = bounds(text) if (text := _text(value)) else None
    return span[1 if end else 0] if span else None


def _chunk_row(note: Note, i: int) -> ChunkRow:
    c = note.chunks[i]
    span = bounds(c.at) if c.at else None
    held = 0
    if c.speaker is not None:
        held = traits(c.text, note.chunks[i - 1].text if i else "")
    return ChunkRow(
        c.start, c.size, c.line, c.count, c.heading, c.digest, c.speaker, span[0] if span else None,
        note.inputs[i].digest, held,
    )  # fmt: skip


def _names(parsed: Parsed, path: str) -> Iterator[tuple[str, int, str | None]]:
    found: dict[tuple[str, str | None], int] = {}

    def add(level: NameLevel, name: str, *, parts: bool = True) -> None:
        key, whole = tail(name), fold(name)
        at = (key, whole if parts and whole != key else None)
        found[at] = found.get(at, 0) | level

    stem = show_path(path).rpartition("/")[2]
    stated = _text(parsed.frontmatter.get("permalink"))
    # A permalink that is not stated follows from the path, and only its last part is stored: a folder can move.
    add(NameLevel.PERMALINK, stated or permalink(stem), parts=bool(stated))
    add(NameLevel.TITLE, parsed.title)
    for alias in parsed.aliases:
        add(NameLevel.ALIAS, alias)
    add(NameLevel.STEM, stem, parts=False)
    for (key, whole), levels in found.items():
        if key:
            yield key, levels, whole


def _relations(parsed: Parsed) -> dict[tuple[int, str], str]:
    return {(r.line, r.target): r.type for r in parsed.relations}


def _link_row(link: Link, relations: dict[tuple[int, str], str]) -> LinkRow:
    return LinkRow(
        link.line, link.target, tail(link.target), link.heading, link.block, link.embed, link.relative,
        relations.get((link.line, link.target)),
    )  # fmt: skip

"""Chunks -> what an embedder is given for each. Pure.

A passage of a document is given with its title and headings, a turn between the turns before and after it: "the same"
and "yes, on Friday" mean nothing alone (bench/retrieval/results.md, section 3: a line encoded with its neighbours finds
its evidence 2 points more often than alone).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from holdfast.model import Chunk, Input, fold, speaker_byte

CONTEXT_CHARS = 400
"""What a neighbouring turn lends at most, from the end that is nearer."""

TITLE_CHARS = 200


def inputs(chunks: Sequence[Chunk], title: str) -> list[Input]:
    """One input for each of a note's chunks, in order."""
    return [_turn(chunks, i) if c.speaker is not None else _passage(c, title) for i, c in enumerate(chunks)]


def input_digest(text: str, start: int, end: int, speaker: str | None) -> bytes:
    """16 bytes that stand for an input.

    The lowest bit of the first byte says whether it is a turn, and a turn's second byte is `speaker_byte` of who
    speaks: so that both can be told from the digest alone, by whoever holds millions of them.
    """
    raw = blake2b(f"{start}\0{end}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if speaker is None:
        return bytes([raw[0] & 0xFE]) + raw[1:]
    return bytes([raw[0] | 1, speaker_byte(fold(speaker))]) + raw[2:]


def _passage(c: Chunk, title: str) -> Input:
    body = c.text
    if c.heading and body.startswith("#"):
        body = body.partition("\n")[2].strip("\n") or body
    above = c.heading if c.heading.startswith(title) else f"{title[:TITLE_CHARS]} > {c.heading}".rstrip(" >")
    text = f"{above}\n{body}" if above and above != body else body
    return Input(text, 0, len(text), False, input_digest(text, 0, len(text), None))


def _turn(chunks: Sequence[Chunk], i: int) -> Input:
    before = _line(chunks[i - 1])[-CONTEXT_CHARS:] + "\n" if i and chunks[i - 1].speaker is not None else ""
    is_followed = i + 1 < len(chunks) and chunks[i + 1].speaker is not None
    after = "\n" + _line(chunks[i + 1])[:CONTEXT_CHARS] if is_followed else ""
    own = _line(chunks[i])
    text = before + own + after
    start, end = len(before), len(before) + len(own)
    return Input(text, start, end, True, input_digest(text, start, end, chunks[i].speaker))


def _line(c: Chunk) -> str:
    return f"{c.speaker}: {' '.join(c.text.split())}"

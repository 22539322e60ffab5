"""Golden questions: read them, say which relevant units a hit holds, and propose some from the notes.

A line is `{"id", "query", "tags": [...], "relevant": [...]}`, and a relevant unit is a whole note (`path`) or lines of
one (`path:line:count`). What cannot be read is a UserError that names the place; nothing is guessed or left out.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from holdfast.engine.metrics import Rank
from holdfast.engine.record import read_note
from holdfast.engine.workspace import Workspace
from holdfast.errors import NoteError, NotFound, UserError
from holdfast.files import notes
from holdfast.files.fs import FileSystem
from holdfast.index.base import Index
from holdfast.model import KEY_END, Chunk, key_path, show_path
from holdfast.text.chunk import TOKEN_BYTES
from holdfast.text.tokens import STOP, terms

FORM = '{"id": "q1", "query": "when does the lease end?", "tags": [], "relevant": ["projects/house.md:12:2"]}'

_LINES = re.compile(r"^(?P<path>.+):(?P<line>\d{1,9}):(?P<count>\d{1,9})$", re.S)
_HALF = re.compile(r":\d+$")

PAGE = 1_000

# A proposed question has so many words of a sentence, the rarest, at most this share of those that are no stop words.
WORDS_MIN, WORDS_MAX, WORDS_SHARE = 4, 8, 0.6
# How rare a word is, is counted over at least so many notes and so many times the questions asked for.
SAMPLE_NOTES, SAMPLE_TIMES = 400, 4
# A note's question is one of its so many best sentences.
BEST = 3

# Kana, kanji and what goes with them: no blanks, so runs of kanji or of katakana are taken for words.
_EAST = r"\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_LETTER = rf"(?![{_EAST}])[^\W_]"
_WORD = re.compile(
    rf"[\u3005\u3400-\u4dbf\u4e00-\u9fff]{{2,}}|[\u30a1-\u30ff]{{2,}}|(?:{_LETTER})+(?:['’._-](?:{_LETTER})+)*"
)
# Comments, addresses, the targets of links, tags, marks of blocks.
_NOISE = re.compile(r"<!--.*?-->|\S+://\S+|\]\([^)]*\)|(?<!\S)[#^][\w/-]+")
_ITEM = re.compile(r"(?:[-*+]|\d+[.)])\s+(?:\[[^\]]*\]\s+)?")
_ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")


@dataclass(frozen=True, slots=True)
class Unit:
    """What a question should find: `count` lines of a note from `line` on, or all of it where `line` is 0."""

    path: str
    line: int = 0
    count: int = 0

    @property
    def is_note(self) -> bool:
        return self.line == 0

    def __str__(self) -> str:
        return self.path if self.is_note else f"{self.path}:{self.line}:{self.count}"


@dataclass(frozen=True, slots=True)
class Question:
    """One golden question; `place` says where it was read, for messages."""

    id: str
    query: str
    tags: tuple[str, ...]
    units: tuple[Unit, ...]
    place: str

    @property
    def is_of_notes(self) -> bool:
        """Whether whole notes are all it should find."""
        return all(u.is_note for u in self.units)


@dataclass(frozen=True, slots=True)
class Found:
    """A hit as the metrics see it: its lines, and the tokens of its text."""

    path: str
    line: int
    count: int
    tokens: int


def holds(hit: Found, unit: Unit) -> bool:
    """Whether `hit` is `unit`, or enough of it: they share at least half of the lines of the shorter of the two.

    So a passage that holds the unit counts, and so does one that lies within it; one that only touches it does not.
    """
    if hit.path != unit.path or unit.is_note:
        return hit.path == unit.path
    shared = min(hit.line + hit.count, unit.line + unit.count) - max(hit.line, unit.line)
    return shared > 0 and 2 * shared >= min(hit.count, unit.count)


def ranks(hits: Iterable[Found], units: Iterable[Unit]) -> list[Rank]:
    """The hits as ranks: one for each unit that a hit is the first to hold, else one for the hit.

    So a long passage with three of the units takes three ranks, as three short ones would.
    """
    missing = list(units)
    out: list[Rank] = []
    tokens = 0
    for hit in hits:
        tokens += hit.tokens
        left = [u for u in missing if not holds(hit, u)]
        out += [(True, tokens)] * (len(missing) - len(left)) or [(False, tokens)]
        missing = left
    return out


def load(fs: FileSystem, path: str) -> list[Question]:
    """The questions of the JSON Lines file at `path`; blank lines are left out."""
    try:
        fd = fs.open_read(path, follow=True)
        try:
            text = fs.read_all(fd).decode("utf-8-sig")
        finally:
            fs.close(fd)
    except FileNotFoundError as e:
        hint = "Name a file of questions, or have one made by `holdfast eval --make 20`."
        raise NotFound(f"There is no file {path}.", hint=hint) from e
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e.strerror}.", hint="Name a plain file of questions.") from e
    except UnicodeDecodeError as e:
        raise UserError(f"{path} is not UTF-8 (byte {e.start}).", hint="Save it as UTF-8.") from e
    return _all(path, _decoded(path, text))


def take(items: Iterable[Mapping[str, Any]]) -> list[Question]:
    """The questions of a list of objects, as the lines of a file have them."""
    return _all("the list", ((f"item {n}", item) for n, item in enumerate(items, 1)))


def _decoded(path: str, text: str) -> Iterator[tuple[str, object]]:
    # Not splitlines(): U+2028 may stand within a JSON string.
    for n, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}:{n}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise _bad(place, f"is no JSON ({e})") from e
        yield place, value


def _all(source: str, values: Iterable[tuple[str, object]]) -> list[Question]:
    out: list[Question] = []
    places: dict[str, str] = {}
    for place, value in values:
        question = _question(place, value)
        if (first := places.setdefault(question.id, place)) != place:
            raise UserError(f"{place}: the id {question.id!r} is that of {first} too.", hint="Give each its own.")
        out.append(question)
    if not out:
        raise UserError(f"There is no question in {source}.", hint=f"Write one a line: {FORM}")
    return out


def _question(place: str, value: object) -> Question:
    if not isinstance(value, Mapping):
        raise _bad(place, "is no object")
    id_, query, tags, relevant = (value.get(k) for k in ("id", "query", "tags", "relevant"))
    if not isinstance(id_, str) or not id_.strip():
        raise _bad(place, "has no `id` that is text")
    if not isinstance(query, str) or not query.strip():
        raise _bad(place, "has no `query` that is text")
    if not _is_texts(tags if tags is not None else []):
        raise _bad(place, "has `tags` that are no list of texts")
    if not _is_texts(relevant) or not relevant:
        raise _bad(place, "has no `relevant`, a list of at least one path or path:line:count")
    units = dict.fromkeys(_unit(place, text) for text in relevant)
    return Question(id_, query, tuple(dict.fromkeys(tags or ())), tuple(units), place)


def _is_texts(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(v, str) and v.strip() for v in value)
    )


def _unit(place: str, text: str) -> Unit:
    if (m := _LINES.match(text)) and int(m["line"]) and int(m["count"]):
        return Unit(m["path"], int(m["line"]), int(m["count"]))
    if _HALF.search(text):
        hint = "Write a path, or path:line:count with a line and a count of at least 1."
        raise UserError(f"{place}: {text!r} does not say which lines.", hint=hint)
    return Unit(text)


def _bad(place: str, what: str) -> UserError:
    return UserError(f"{place} {what}.", hint=f"Write one question a line: {FORM}")


def tokens(text: str) -> int:
    """What `text` takes of a budget."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // TOKEN_BYTES)


def chunks_of(ws: Workspace, path: str) -> list[Chunk]:
    """The passages of the note at `path` as it is now; none where it cannot be read."""
    try:
        body = notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes)
    except FileNotFoundError:
        return []
    except NoteError as e:
        ws.count(f"eval_{e.kind}", e)
        return []
    return read_note(body.data, path, ws.config.chunk_tokens).chunks


def passages(ws: Workspace, path: str) -> Iterator[Found]:
    """The passages of the note at `path`, as hits."""
    shown = show_path(path)
    return (Found(shown, c.line, c.count, tokens(c.text)) for c in chunks_of(ws, path))


def all_keys(index: Index) -> Iterator[bytes]:
    """The sort keys of all notes in order, a page at a time."""
    after = b""
    while page := index.list_notes(b"", KEY_END, after, PAGE):
        yield from (row.key for row in page)
        after = page[-1].key


def draw(rng: Random, total: int, count: int) -> list[int]:
    """`count` of the numbers below `total`, or all, each order equally likely.

    By `random()` alone, whose sequence Python promises to keep; and not in time or memory of `total`.
    """
    moved: dict[int, int] = {}
    out = []
    for i in range(min(count, total)):
        j = i + int(rng.random() * (total - i))
        out.append(moved.get(j, j))
        moved[j] = moved.get(i, i)
    return out


def propose(ws: Workspace, index: Index, count: int, seed: int) -> list[dict[str, Any]]:
    """At most `count` golden lines, each of another note, spread over the vault; the same for the same vault and seed.

    Fewer where fewer notes have a sentence of enough words. Raises UserError where none has.
    """
    if count < 1:
        raise UserError(f"{count} questions cannot be made.", hint="Ask for at least one.")
    rng = Random(f"{seed}")  # noqa: S311
    keys = _spread(index, max(SAMPLE_NOTES, SAMPLE_TIMES * count), rng)
    seen: Counter[str] = Counter()
    for key in keys:
        seen.update({t for c in chunks_of(ws, key_path(key)) for t in terms(c.text)})
    rarity = {term: math.log((len(keys) + 1) / n) for term, n in seen.items()}
    made: dict[int, tuple[str, str]] = {}
    for i in _order(len(keys), count, made, rng):
        if found := _known_item(ws, key_path(keys[i]), rarity, rng):
            made[i] = found
    if not made:
        raise UserError("No note has a sentence to make a question of.", hint=f"Write questions yourself: {FORM}")
    return [
        {"id": f"k{n:03d}", "query": query, "tags": ["known-item"], "relevant": [unit]}
        for n, (_, (query, unit)) in enumerate(sorted(made.items()), 1)
    ]


def _spread(index: Index, count: int, rng: Random) -> list[bytes]:
    """The keys of `count` notes, one of each of as many equal parts of the vault; of all notes if they are fewer."""
    total = index.counts().notes
    count = min(count, total)
    wanted = {int((i + rng.random()) * total / count) for i in range(count)} if count < total else range(total)
    return [key for n, key in enumerate(all_keys(index)) if n in wanted]


def _order(total: int, count: int, made: Collection[int], rng: Random) -> Iterator[int]:
    """Places to try: in each of `count` equal parts until one is in `made`, then all others until `count` are."""
    bounds = [total * i // count for i in range(count + 1)]
    rest: list[int] = []
    for lo, hi in pairwise(bounds):
        part = [lo + i for i in draw(rng, hi - lo, hi - lo)]
        while part:
            yield (at := part.pop())
            if at in made:
                break
        rest += part
    for i in draw(rng, len(rest), len(rest)):
        if len(made) >= count:
            return
        yield rest[i]


def _known_item(ws: Workspace, path: str, rarity: Mapping[str, float], rng: Random) -> tuple[str, str] | None:
    """A question that one passage of the note answers, and that passage."""
    best: list[tuple[float, int, str, str]] = []
    for c in chunks_of(ws, path):
        for sentence in _sentences(c.text) if c.size else ():
            words = _content(sentence, rarity)
            n = min(WORDS_MAX, max(WORDS_MIN, round(WORDS_SHARE * len(words))))
            kept = sorted(sorted(range(len(words)), key=lambda i: -words[i][1])[:n])
            # One word of content is always left out, and the words are not only keys and numbers.
            if len(words) > n >= WORDS_MIN <= 1 + sum(words[i][0].isalpha() for i in kept):
                query = " ".join(words[i][0] for i in kept)
                worth = sum(words[i][1] for i in kept) / math.sqrt(n)
                best.append((-worth, len(best), query, f"{show_path(path)}:{c.line}:{c.count}"))
    best.sort()
    del best[BEST:]
    return best[int(rng.random() * len(best))][2:] if best else None


def _content(sentence: str, rarity: Mapping[str, float]) -> list[tuple[str, float]]:
    """The words of a sentence that are no stop words, each once, and how rare each is."""
    out: dict[tuple[str, ...], tuple[str, float]] = {}
    for word in _WORD.findall(_NOISE.sub(" ", sentence)):
        found = tuple(terms(word))
        if found and word.lower() not in STOP and (len(word) > 2 or not word.isascii() or word.isdigit()):
            out.setdefault(found, (word, max(rarity.get(t, 0.0) for t in found)))
    return list(out.values())


def _sentences(text: str) -> Iterator[str]:
    """The sentences of a passage; headings, tables and code are none."""
    block: list[str] = []
    is_code = False
    for line in (*text.split("\n"), ""):
        plain = line.strip().lstrip("> ")
        is_fence = plain.startswith(("```", "~~~"))
        is_code ^= is_fence
        item = _ITEM.match(plain)
        if item or is_fence or is_code or not plain or plain[0] in "#|":
            yield from _ENDS.split(" ".join(block))
            block.clear()
        if not (is_fence or is_code or plain[:1] in ("#", "|")):
            block.append(plain[item.end() :] if item else plain)

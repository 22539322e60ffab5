"""The one analyzer: text -> terms, for the index, for questions and for the scan of files without an index.

Words are folded (compatibility forms, case, accents) and stemmed as English; runs of scripts written without spaces
become overlapping pairs of characters. A term is at most 64 characters. Bump ANALYZER whenever any text could give
other terms than before: indexes made by another analyzer are rebuilt. tests/unit/test_tokens.py pins the output.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from operator import add
from typing import Any

ANALYZER = 1
TERM_CHARS = 64

_CACHE_WORDS = 60_000

_ASCII = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_ASCII_WIDE = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)?")
"""The same in text that has other characters too, where digits may follow an apostrophe."""

# Scripts written without spaces between words (and Hangul, whose particles stick to them): Thai, Lao, Myanmar, Khmer,
# Hangul, CJK with kana.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)

# Letters that no decomposition takes apart; `ß` is done by case folding.
_LETTERS = str.maketrans({"ø": "o", "đ": "d", "ð": "d", "ł": "l", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i", "ħ": "h"})
_LETTER = re.compile("[øđðłæœþıħ]")

# Beyond U+FFFF: where combining marks are. Emoji are not among them.
_HIGH = "\U00010000-\U0001efff"
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_SPECIAL = re.compile(f"[{_UNSPACED}{_HIGH}]")
"""Where there is none, runs are made of letters, marks, digits, `'` and `_` alone."""

_ACCENTS = re.compile("[\u0300-\u036f]+")


class _Stems(dict[str, str]):
    """Stem by folded ASCII word, filled as words are met and emptied when full, so that memory stays bounded."""

    def __init__(self) -> None:
        super().__init__()
        self._stem: Any = None

    def __missing__(self, word: str) -> str:
        if self._stem is None:
            import Stemmer  # imported late: only what analyses text pays for it

            self._stem = Stemmer.Stemmer("english", 0).stemWord
        base = word[:-2] if word.endswith("'s") else word
        if not base.isalpha():
            return base[:TERM_CHARS]  # numbers and keys are their own stems, and too many to keep
        if len(self) >= _CACHE_WORDS:
            self.clear()
        term: str = self._stem(base) if len(base) <= TERM_CHARS else base[:TERM_CHARS]
        self[word] = term
        return term


class _Pairs(dict[str, str]):
    """Each pair of characters once, so that a large note of them does not hold a million; emptied when full."""

    def __missing__(self, pair: str) -> str:
        if len(self) >= _CACHE_WORDS:
            self.clear()
        self[pair] = pair
        return pair


_stems = _Stems()
_pairs = _Pairs()


def terms(text: str) -> list[str]:
    """The terms of `text` in order, repeats kept; stop words are terms like any other."""
    if text.isascii():
        return list(map(_stems.__getitem__, _ASCII.findall(text.lower())))
    return _wide_terms(text)


def _wide_terms(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    if _LETTER.search(text):
        text = text.translate(_LETTERS)
    text = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))
    is_plain = _SPECIAL.search(text) is None
    out: list[str] = []
    for run in _runs().findall(text):
        # Nearly every run is one word and can be told so at little cost; the exact pattern is ten times slower.
        if run.isascii():
            if run.isalnum():
                out.append(_stems[run])
            else:
                out += map(_stems.__getitem__, _ASCII_WIDE.findall(run))
        elif is_plain and run[0].isalnum() and "'" not in run and "_" not in run:
            out.append(run[:TERM_CHARS])
        else:
            _exact_terms(_exact(0x1FFFF if _ASTRAL.search(run) else 0xFFFF), run, out)
    return out


def _exact_terms(pattern: re.Pattern[str], run: str, out: list[str]) -> None:
    for unspaced, word in pattern.findall(run):
        if word:
            out.append(_stems[word] if word.isascii() else word[:TERM_CHARS])
        elif len(unspaced) == 1:
            out.append(unspaced)
        else:
            out += map(_pairs.__getitem__, map(add, unspaced, unspaced[1:]))


@cache
def _marks(last: int) -> str:
    r"""The combining marks up to `last`, for a set in a pattern. `\w` leaves them out, and without them Devanagari or
    Thai words fall apart, so they are collected here, once, from the Unicode database."""
    assert sys.maxunicode > 0xFFFF
    return "".join(re.escape(chr(c)) for c in range(0x300, last + 1) if unicodedata.category(chr(c)) in ("Mn", "Mc"))


# A set of characters is looked up in a table up to U+FFFF, and from there on range by range, which is slow: so those
# beyond are asked for only where there are some.


@cache
def _runs() -> re.Pattern[str]:
    """The longest runs of what may occur in a term: none crosses their ends."""
    return re.compile(rf"[\w'{_marks(0xFFFF)}{_UNSPACED}{_HIGH}]+")


@cache
def _exact(last: int) -> re.Pattern[str]:
    """A run of unspaced script, or a word, in text without characters beyond `last`."""
    marks = _marks(last)
    letter = rf"(?:(?![{_UNSPACED}])[^\W_]|[{marks}])"
    word = rf"(?![{marks}]){letter}++(?:'{letter}++)?+"
    return re.compile(rf"([{_UNSPACED}](?:[{_UNSPACED}]++|[{marks}]++)*+)|({word})")


STOP = frozenset(
    """a about all also am an and any are as at be because been being both but by can could did do does doing done for
    from get got had has have having he her here hers herself him himself his how i if in into is it its itself just
    me might more most my myself no nor of on onto or our ours out over she should so some such than
    that the their theirs them then there these they this those through to too under until up upon very was we were
    what when where whether which while who whom whose why will with within would you your yours yourself s t d ll m
    re ve i'm i've i'd i'll don't didn't doesn't isn't aren't wasn't weren't won't can't couldn't wouldn't shouldn't
    it's that's there's what's who's let's you're they're we're he's she's""".split()
)
"""Words of a question that carry its form, not its subject. They are left out of questions that have other words;
inside phrases they count."""


def question_terms(text: str) -> tuple[list[str], list[str]]:
    """The terms of a question in two lists: those that count, and those left out because they are stop words.

    Where nothing but stop words is asked, they count.
    """
    stop = stop_terms()
    all_terms = terms(text)
    kept = [t for t in all_terms if t not in stop]
    return (kept, [t for t in all_terms if t in stop]) if kept else (all_terms, [])


@cache
def stop_terms() -> frozenset[str]:
    """The stop words as terms."""
    return frozenset(t for w in STOP for t in terms(w))

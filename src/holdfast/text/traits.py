"""What a turn of a conversation holds, in a few bits: seen once when it is read, so that ranking needs no texts. Pure.

Whether it asks, answers, names a time or a person (bench/retrieval, "the second look"; numbers, places, reasons and the
like were tried and buy nothing: docs/decisions/0011).
"""

from __future__ import annotations

import re
from enum import IntFlag


class Trait(IntFlag):
    """The low bits of `traits`."""

    ASKS = 1  # ends with a question mark
    HAS_QUESTION = 2
    FOLLOWS_QUESTION = 4  # the turn before has a question mark
    TIME = 8  # names a day, a season, a time ago


COUNT_SHIFTS = {"names": 4, "first_person": 9}
"""Where two counts of five bits stand above the flags."""

COUNT_MAX = 31

_TIME = re.compile(
    r"\b(yesterday|today|tonight|tomorrow|ago|last|next|week|weekend|month|year|since|recently|birthday|summer|winter"
    r"|spring|fall|(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|june|july|august"
    r"|september|october|november|december|(?:19|20)\d\d)\b",
    re.I,
)
_NAME = re.compile(r"(?<=[a-z,'] )[A-Z][a-z]+")
_FIRST_PERSON = re.compile(r"\b(I|I'm|I've|my|me|we|our)\b")


def traits(text: str, before: str = "") -> int:
    """The flags and counts of a turn's text, after the turn `before`, as one integer of 14 bits."""
    found = Trait(0)
    if "?" in text:
        found |= Trait.HAS_QUESTION
        if text.rstrip().endswith("?"):
            found |= Trait.ASKS
    if "?" in before:
        found |= Trait.FOLLOWS_QUESTION
    if _TIME.search(text):
        found |= Trait.TIME
    names = min(COUNT_MAX, len(_NAME.findall(text)))
    first_person = min(COUNT_MAX, len(_FIRST_PERSON.findall(text)))
    return int(found) | names << COUNT_SHIFTS["names"] | first_person << COUNT_SHIFTS["first_person"]

"""What a turn of a conversation holds, in a few bits: seen once when it is read, so that ranking needs no texts. Pure.

A question asks for a number, a place, a reason; a turn holds one or does not (bench/retrieval, "the second look").
"""

from __future__ import annotations

import re
from enum import IntFlag


class Trait(IntFlag):
    """The low bits of `traits`."""

    ASKS = 1  # ends with a question mark
    HAS_QUESTION = 2
    NUMBER = 4
    PLACE = 8
    QUOTE = 16
    DURATION = 32
    REASON = 64
    PICTURE = 128
    TIME = 256
    FOLLOWS_QUESTION = 512  # the turn before has a question mark
    NEXT_ASKS = 1024  # the turn after ends with one


COUNT_SHIFTS = {"names": 11, "first_person": 16}
"""Where two counts of five bits stand above the flags."""

COUNT_MAX = 31

_HOLDS = {
    Trait.NUMBER: r"\b(\d+|one|two|three|four|five|six|seven|eight|nine|ten|couple|few|once|twice)\b",
    Trait.PLACE: r"\b(in|at|to|from|near) (the )?(?-i:[A-Z])[a-z]+",
    Trait.QUOTE: r'"[^"]+"',
    Trait.DURATION: r"\b(year|month|week|day|hour|minute|while|since|for (a|\d))",
    Trait.REASON: r"\b(because|since|so|reason|inspired|motivat|wanted|helps?|made me)\b",
    Trait.PICTURE: r"\[shares |!\[",
    Trait.TIME: (
        r"\b(yesterday|today|tonight|tomorrow|ago|last|next|week|weekend|month|year|since|recently|birthday|summer"
        r"|winter|spring|fall|(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|june|july|august"
        r"|september|october|november|december|(?:19|20)\d\d)\b"
    ),
}
_PATTERNS = {trait: re.compile(pattern, re.I) for trait, pattern in _HOLDS.items()}
_NAME = re.compile(r"(?<=[a-z,'] )[A-Z][a-z]+")
_FIRST_PERSON = re.compile(r"\b(I|I'm|I've|my|me|we|our)\b")


def traits(text: str, before: str = "", after: str = "") -> int:
    """The flags and counts of a turn's text between the turns `before` and `after` it, as one integer of 21 bits."""
    found = Trait(0)
    if "?" in text:
        found |= Trait.HAS_QUESTION
        if text.rstrip().endswith("?"):
            found |= Trait.ASKS
    if "?" in before:
        found |= Trait.FOLLOWS_QUESTION
    if after.rstrip().endswith("?"):
        found |= Trait.NEXT_ASKS
    for trait, pattern in _PATTERNS.items():
        if pattern.search(text):
            found |= trait
    names = min(COUNT_MAX, len(_NAME.findall(text)))
    first_person = min(COUNT_MAX, len(_FIRST_PERSON.findall(text)))
    return int(found) | names << COUNT_SHIFTS["names"] | first_person << COUNT_SHIFTS["first_person"]

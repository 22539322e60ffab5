"""Path -> permalink: lower-case words joined by `-`, folders kept.

Latin letters become ASCII, other scripts stay in NFC with their marks. Words also begin where camelCase and CJK say
so; see "Permalink" in docs/format.md. Collisions are the index's to solve.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_SUFFIX = re.compile(r"\.(?:md|markdown|txt)\Z", re.IGNORECASE)

_PLAIN = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")

_APOSTROPHES = dict.fromkeys(map(ord, "'\u2018\u2019\u02bc\uff07"))

# Han, kana, bopomofo and Hangul: what is written without regard to the letters of other scripts beside it.
_CJK = re.compile(
    r"[\u1100-\u11ff\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u318f\u31a0-\u31bf\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U0001aff0-\U0001b16f"
    r"\U00020000-\U0003ffff]"
)

# Latin letters that no decomposition takes apart, by the words of their Unicode names.
_NAMED = {"AE": "ae", "OE": "oe", "SHARP S": "ss", "ETH": "d", "THORN": "th", "ENG": "n", "SCHWA": "e", "ESH": "s",
          "EZH": "z", "DOTLESS I": "i", "DOTLESS J": "j", "KRA": "k", "AFRICAN D": "d", "IJ": "ij"}  # fmt: skip
_NAME = re.compile(r"LATIN (?:SMALL|CAPITAL) (?:LETTER|LIGATURE) (.+?)(?: WITH .+)?")


def permalink(path: str) -> str:
    """The permalink that `path`, relative to the vault and with `/`, has when its note states none."""
    return "/".join(map(_segment, _SUFFIX.sub("", path).split("/")))


def stem(path: str) -> str:
    """The name of the file without folders and without a note's suffix."""
    return _SUFFIX.sub("", path.rpartition("/")[2])


@lru_cache(maxsize=4096)
def _segment(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    out: list[str] = []
    classes = ""  # of the letters and digits since the last gap: Upper, lower, Digit, cjK, Other letter
    for char in unicodedata.normalize("NFC", name).translate(_APOSTROPHES):
        if unicodedata.category(char)[0] == "M":
            if classes and not _is_latin(out[-1][-1]):
                out[-1] += char
            continue
        if not char.isalnum():
            out.append("-")
            classes = ""
            continue
        kind = _class_of(char)
        if classes and _begins_word(classes[-1], kind):
            out.append("-")
            classes = ""
        elif kind == "l" and classes[-2:] == "UU":
            out.insert(-1, "-")
        out.append(_latin(char) if _is_latin(char) else char)
        classes = classes[-1:] + kind
    words = "".join(out).lower()
    return "-".join(filter(None, words.split("-"))) or "note"


def _class_of(char: str) -> str:
    if _CJK.match(char):
        return "K"
    if char.isupper():
        return "U"
    if char.islower():
        return "l"
    return "O" if char.isalpha() else "D"


def _begins_word(before: str, after: str) -> bool:
    if after == "U" and before in "lD":
        return True
    return (before == "K") != (after == "K") and "D" not in (before, after)


def _is_latin(char: str) -> bool:
    return (char.isascii() and char.isalpha()) or "LATIN " in unicodedata.name(char, "")


def _latin(char: str) -> str:
    """The ASCII letters for a Latin letter, or the letter itself where there are none."""
    if char.isascii():
        return char
    bare = "".join(c for c in unicodedata.normalize("NFKD", char) if unicodedata.category(c)[0] != "M")
    if bare.isascii():
        return bare
    out = ""
    for letter in bare:
        match = _NAME.fullmatch(unicodedata.name(letter, ""))
        words = match[1] if match else ""
        last = words.rpartition(" ")[2].lower()
        out += _NAMED.get(words) or (last if len(last) == 1 else letter)
    return out

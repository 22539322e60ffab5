"""Find a merge that was left undone: the three marker lines of git, in their order, outside code."""

from __future__ import annotations

import re

_MARK = re.compile(rb"^(?:(<{7} )|(={7}\r?$)|(>{7} )|[ \t]*(`{3,}|~{3,}))", re.M)


def conflict_line(body: bytes) -> int:
    """The line, from 1, on which the first conflict of a note begins; 0 where there is none. Linear, mostly free."""
    if b"<<<<<<< " not in body:
        return 0
    fence, begin, is_split = b"", -1, False
    for m in _MARK.finditer(body):
        if m[4]:
            if not fence:
                fence = m[4]
            elif m[4].startswith(fence):  # as many of the same sign, or more
                fence = b""
        elif fence:
            continue
        elif m[1]:
            begin, is_split = m.start(), False
        elif m[2]:
            is_split = begin >= 0
        elif is_split:
            return body.count(b"\n", 0, begin) + 1
    return 0

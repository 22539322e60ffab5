"""Versions of a note against each other: what two sides made of one note put together, and differences for people.

Lines end at `\\n`; their bytes are compared and kept. The work is bounded whatever the texts: what has no short
difference is cut at lines that stand once on both sides or where a search came furthest, and when the work is used up
the rest counts as replaced. A merge from such a difference is as true as any; it conflicts where a finer one might not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

SHOWN = 200
"""The most lines of a merge that `diff3_text` shows."""

AROUND = 3
"""So many lines around a conflict are shown, if not all can be."""

EDITS = 400
"""The most lines removed and added between two cuts that a shortest difference is looked for; work is its square."""

WORK = 1_000_000
"""The steps that one comparison may take in all; about half a second."""

_NO_END = "\\ No newline at end of file"

Block = tuple[int, int, int]
"""Lines that are the same: where they begin on either side, and how many there are."""

Change = tuple[int, int, int, int]
"""Lines that are not: from where to where on either side."""


def merge(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """`base` with the changes of both sides, None if they conflict: change the same lines, or lines that touch."""
    if ours == theirs or base == theirs:
        return ours
    if base == ours:
        return theirs
    merged: list[bytes] = []
    for group in _groups(base, ours, theirs):
        if group[0] == "conflict":
            return None
        merged += group[1]
    return b"".join(merged)


def diff3_text(base: bytes, ours: bytes, theirs: bytes, names: tuple[str, str, str], limit: int = SHOWN) -> str:
    """The merge for people, conflicts between markers with `names`, those of `base`, `ours` and `theirs`.

    If it is longer than `limit` lines, only what is around conflicts is shown of the rest, and no more than `limit`.
    """
    named_base, named_ours, named_theirs = names
    parts: list[tuple[bool, list[str]]] = []
    for group in _groups(base, ours, theirs):
        if group[0] != "conflict":
            parts.append((False, _shown(group[1])))
            continue
        _, was, mine, other = group
        lines = [f"<<<<<<< {named_ours}", *_shown(mine), f"||||||| {named_base}", *_shown(was)]
        parts.append((True, [*lines, "=======", *_shown(other), f">>>>>>> {named_theirs}"]))
    shown = [line for _, lines in parts for line in lines]
    if len(shown) > limit:
        shown = list(_around(parts))
    if len(shown) > limit:
        shown = [*shown[:limit], f"... {len(shown) - limit} more lines"]
    return "".join(line + "\n" for line in shown)


def unified(a: bytes, b: bytes, name_a: str, name_b: str, context: int = 3) -> str:
    """The unified diff from `a` to `b`, "" if they are the same.

    A carriage return is shown as `␍` if the line ends of the two are not all alike.
    """
    if a == b:
        return ""
    old, new = _split(a), _split(b)
    returns, ends = (a.count(sign) + b.count(sign) for sign in (b"\r\n", b"\n"))
    sign = "" if returns in (0, ends) else "␍"
    out = [f"--- {name_a}", f"+++ {name_b}"]
    for hunk in _hunks(_changes(old, new), context):
        start, _, begin, _ = hunk[0]
        _, stop, _, end = hunk[-1]
        before, after = min(context, start), min(context, len(old) - stop)
        spans = _span(start - before, stop + after), _span(begin - before, end + after)
        out.append(f"@@ -{spans[0]} +{spans[1]} @@")
        at = start - before
        for i, j, k, m in hunk:
            out += [*_marked(" ", old[at:i], sign), *_marked("-", old[i:j], sign), *_marked("+", new[k:m], sign)]
            at = j
        out += _marked(" ", old[at : stop + after], sign)
    return "".join(line + "\n" for line in out)


def _split(body: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in body.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


Group = tuple[str, Sequence[bytes], Sequence[bytes], Sequence[bytes]]
"""A stretch of a merge: ("merged", lines, (), ()), or ("conflict", of the base, ours, theirs)."""


def _groups(base: bytes, ours: bytes, theirs: bytes) -> Iterator[Group]:
    """The merge in stretches (Khanna, Kunal and Pierce, "A Formal Investigation of Diff3", 2007).

    Changes of either side that overlap or touch are one stretch; it conflicts if both sides have one and differ.
    """
    lines, mine, other = _split(base), _split(ours), _split(theirs)
    sides = (_changes(lines, mine), _changes(lines, other))
    at, shift, next_ = 0, [0, 0], [0, 0]
    while any(n < len(side) for n, side in zip(next_, sides, strict=True)):
        start = min(side[n][0] for n, side in zip(next_, sides, strict=True) if n < len(side))
        stop, first, moved = start, list(next_), list(shift)
        grew = True
        while grew:
            grew = False
            for which, side in enumerate(sides):
                while next_[which] < len(side) and side[next_[which]][0] <= stop:
                    _, end, _, new_end = side[next_[which]]
                    stop, grew = max(stop, end), True
                    moved[which] = new_end - end
                    next_[which] += 1
        yield "merged", lines[at:start], (), ()
        parts = [text[start + shift[w] : stop + moved[w]] for w, text in enumerate((mine, other))]
        if next_[1] == first[1] or parts[0] == parts[1]:
            yield "merged", parts[0], (), ()
        elif next_[0] == first[0]:
            yield "merged", parts[1], (), ()
        else:
            yield "conflict", lines[start:stop], parts[0], parts[1]
        at, shift = stop, moved
    yield "merged", lines[at:], (), ()


def _shown(lines: Sequence[bytes], sign: str = "") -> list[str]:
    """Lines as text; `sign` stands for a carriage return at the end."""
    texts = (line.removesuffix(b"\n").decode("utf-8", "replace") for line in lines)
    return [text[:-1] + sign if text.endswith("\r") else text for text in texts]


def _marked(mark: str, lines: Sequence[bytes], sign: str) -> list[str]:
    shown = [mark + text for text in _shown(lines, sign)]
    return [*shown, _NO_END] if lines and not lines[-1].endswith(b"\n") else shown


def _span(start: int, stop: int) -> str:
    """Lines `start` to `stop` (indexes) as a hunk names them: an empty span by the line before it."""
    count = stop - start
    first = start + 1 if count else start
    return str(first) if count == 1 else f"{first},{count}"


def _hunks(changes: Sequence[Change], context: int) -> Iterator[list[Change]]:
    """The changes, those together that are no further apart than their contexts reach."""
    hunk: list[Change] = []
    for change in changes:
        if hunk and change[0] - hunk[-1][1] > 2 * context:
            yield hunk
            hunk = []
        hunk.append(change)
    if hunk:
        yield hunk


def _around(parts: Sequence[tuple[bool, list[str]]]) -> Iterator[str]:
    """The conflicts among `parts`, and AROUND lines before and after each."""
    plain: list[str] = []
    is_behind = False
    for is_conflict, lines in [*parts, (True, [])]:
        if not is_conflict:
            plain += lines
            continue
        head = AROUND if is_behind else 0
        tail = AROUND if lines else 0
        left = len(plain) - head - tail
        if left > 1:
            yield from plain[:head]
            yield f"... {left} lines without conflict"
            yield from plain[len(plain) - tail :]
        else:
            yield from plain
        yield from lines
        plain, is_behind = [], True


def _changes(a: Sequence[bytes], b: Sequence[bytes]) -> list[Change]:
    """What differs, in order, with at least one same line between two changes."""
    numbers: dict[bytes, int] = {}
    x = [numbers.setdefault(line, len(numbers)) for line in a]
    y = [numbers.setdefault(line, len(numbers)) for line in b]
    pairs = _Difference(x, y).pairs()
    changes: list[Change] = []
    i = j = 0
    for n, m, size in [*pairs, (len(x), len(y), 0)]:
        if n > i or m > j:
            changes.append((i, n, j, m))
        i, j = n + size, m + size
    return _settled(x, y, changes)


def _settled(x: Sequence[int], y: Sequence[int], changes: list[Change]) -> list[Change]:
    """The changes with what was only removed or only added as far down as it can be.

    Where a line repeats, both sides of a merge so say the same of the same change, and it is where git has it.
    """
    done: list[Change] = []  # from the last to the first
    for change in reversed(changes):
        i, j, k, m = change
        while True:
            low, high = (done[-1][0], done[-1][2]) if done else (len(x), len(y))
            if j == low and m == high:
                if not done:
                    break
                _, j, _, m = done.pop()
                continue
            is_cut = k == m and x[i] == x[j]
            if not is_cut and not (i == j and y[k] == y[m]):
                break
            i, j, k, m = i + 1, j + 1, k + 1, m + 1
        done.append((i, j, k, m))
    return done[::-1]


class _Difference:
    """Which elements of two sequences are the same, in bounded work."""

    def __init__(self, x: Sequence[int], y: Sequence[int]) -> None:
        self.x, self.y = x, y
        self.left = WORK

    def pairs(self) -> list[Block]:
        """The blocks that are the same, in order."""
        found: list[Block] = []
        waiting = [(0, len(self.x), 0, len(self.y), False)]
        while waiting:
            i, j, k, m, is_same = waiting.pop()
            if is_same:  # found before what comes ahead of it
                found.append((i, k, j - i))
                continue
            head, tail = self._ends(i, j, k, m)
            if head:
                found.append((i, k, head))
            if tail:
                waiting.append((j - tail, j, m - tail, m, True))
            i, j, k, m = i + head, j - tail, k + head, m - tail
            if i == j or k == m:
                continue
            blocks, n, p = self._shortest(i, j, k, m)
            cuts = self._once(i, j, k, m) if n < j or p < m else []
            if not cuts:
                found += blocks
                if (n < j or p < m) and self.left > 0:
                    waiting.append((n, j, p, m, False))
                continue
            for n, p in reversed(cuts):
                waiting += [(n + 1, j, p + 1, m, False), (n, n + 1, p, p + 1, True)]
                j, m = n, p
            waiting.append((i, j, k, m, False))
        return found

    def _ends(self, i: int, j: int, k: int, m: int) -> tuple[int, int]:
        """How many elements are the same at the start, and how many behind them at the end."""
        x, y = self.x, self.y
        short = min(j - i, m - k)
        head = next((n for n in range(short) if x[i + n] != y[k + n]), short)
        short -= head
        tail = next((n for n in range(short) if x[j - 1 - n] != y[m - 1 - n]), short)
        return head, tail

    def _shortest(self, i: int, j: int, k: int, m: int) -> tuple[list[Block], int, int]:
        """The blocks of a shortest difference (Myers, 1986, the greedy algorithm), and where it ends on either side: at
        (j, m), or at the furthest that EDITS can reach.

        `reach[d]` is how far one comes in x on diagonal d, which is that of x's index less y's.
        """
        x, y = self.x[i:j], self.y[k:m]
        wide, high = len(x), len(y)
        reach = {1: 0}
        past: list[dict[int, int]] = []
        for edits in range(min(EDITS, wide + high) + 1):
            if self.left < 0:
                break
            past.append(reach)
            before, reach = reach, {}
            for d in range(-edits, edits + 1, 2):
                down = d == -edits or (d != edits and before[d - 1] < before[d + 1])
                start = n = before[d + 1] if down else before[d - 1] + 1
                p = n - d
                while n < wide and p < high and x[n] == y[p]:
                    n, p = n + 1, p + 1
                reach[d] = n
                self.left -= n - start + 1
                if n >= wide and p >= high:
                    return _blocks(past, wide, high, i, k), j, m
        inside = [(2 * n - d, n, n - d) for d, n in reach.items() if n <= wide and n - d <= high and past]
        _, n, p = max(inside, default=(0, 0, 0))
        return _blocks(past, n, p, i, k) if n or p else [], i + n, k + p

    def _once(self, i: int, j: int, k: int, m: int) -> list[tuple[int, int]]:
        """Elements that stand once on both sides, the most that are in the same order on both (patience sorting)."""
        self.left -= j - i + m - k
        if self.left < -WORK:
            return []
        once_x, once_y = Counter(self.x[i:j]), Counter(self.y[k:m])
        place = {line: p for p, line in enumerate(self.y[k:m], k) if once_y[line] == 1}
        both = [(n, place[self.x[n]]) for n in range(i, j) if once_x[self.x[n]] == 1 and self.x[n] in place]
        tops: list[int] = []
        ends: list[int] = []
        before = [-1] * len(both)
        for at, (_, p) in enumerate(both):
            rank = bisect_left(tops, p)
            before[at] = ends[rank - 1] if rank else -1
            tops[rank : rank + 1] = [p]
            ends[rank : rank + 1] = [at]
        chain: list[tuple[int, int]] = []
        at = ends[-1] if ends else -1
        while at >= 0:
            chain.append(both[at])
            at = before[at]
        return chain[::-1]


def _blocks(past: Sequence[dict[int, int]], n: int, p: int, i: int, k: int) -> list[Block]:
    """The blocks on the way back from (n, p), whose steps are in `past`; they are told from (i, k) on."""
    found: list[Block] = []
    for edits in range(len(past) - 1, -1, -1):
        reach, d = past[edits], n - p
        down = d == -edits or (d != edits and reach[d - 1] < reach[d + 1])
        start = (reach[d + 1] if down else reach[d - 1] + 1) if edits else 0
        if n > start:
            found.append((i + start, k + start - d, n - start))
        n = start if down else start - 1
        p = start - d - 1 if down else start - d
    return found[::-1]

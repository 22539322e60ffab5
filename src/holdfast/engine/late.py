"""The end of a pass: the notes that others did not wait for, one by one, each with its own time and transaction.

Those put off in this pass come first, then those that were set aside earlier and are due. What fails here takes
FAILING times a note's own time at most in one pass; the rest is set aside untried, or stays due.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from holdfast.engine.apart import Late, Trial
from holdfast.engine.apply import Apply
from holdfast.engine.times import rfc3339
from holdfast.engine.workspace import Workspace
from holdfast.files.look import look_at
from holdfast.index.base import NEVER_NS, Aside, Index
from holdfast.model import Witness, key_path, show_path

FAILING = 3

RETRIED = 1_000
"""At most so many notes that were set aside are tried again by one sync."""

BRIEF_S = 1.0
"""What a look before an answer gives such a note."""


def finish_late(
    ws: Workspace,
    index: Index,
    apply: Apply,
    after_each: Callable[[], None],
    deadline_ns: int | None,
    *,
    is_full: bool,
    is_forced: bool,
) -> int:
    """Bring in what was put off; returns how many were left for the next pass, because the deadline had passed.

    A full pass without a deadline tries again what is due, with `is_forced` all that is set aside.
    """
    if deadline_ns is not None:
        return _briefly(ws, apply, after_each, deadline_ns)
    most_s = ws.config.note_timeout_s
    failing_s = FAILING * most_s
    untried = f"It was not tried yet: other notes took more than {failing_s:g} s and failed."
    for late in apply.late:
        if failing_s <= 0:
            apply.one(late, Trial(most_s, untried=f"{show_path(key_path(late.witness[0]))} waits. {untried}"))
            continue
        failing_s -= _timed(ws, lambda late=late: apply.one(late, Trial(most_s, is_forced)))  # type: ignore[misc]
        after_each()
    for late in _due(ws, index, apply, is_forced=is_forced) if is_full else ():
        if failing_s <= 0:
            break
        failing_s -= _timed(ws, lambda late=late: apply.one(late, Trial(most_s, is_forced)))  # type: ignore[misc]
        after_each()
    return 0


def explain(aside: Aside) -> str:
    """Why a note is set aside, and when it is tried again even if it stays as it is."""
    return aside.reason + (f" The next try is due at {rfc3339(aside.retry_ns)}." if aside.retry_ns < NEVER_NS else "")


def _timed(ws: Workspace, call: Callable[[], bool]) -> float:
    """The seconds that `call` took, if it was in vain."""
    began_ns = ws.fs.monotonic_ns()
    return 0.0 if call() else (ws.fs.monotonic_ns() - began_ns) / 1e9


def _briefly(ws: Workspace, apply: Apply, after_each: Callable[[], None], deadline_ns: int) -> int:
    left = 0
    for late in apply.late:
        if ws.fs.monotonic_ns() > deadline_ns:
            left += 1
            continue
        apply.one(late, Trial(BRIEF_S, is_brief=True))
        after_each()
    return left


def _due(ws: Workspace, index: Index, apply: Apply, *, is_forced: bool) -> list[Late]:
    """What is to be tried again and was not in this pass; what could not be read goes together with others like it."""
    due = index.due(sys.maxsize if is_forced else ws.fs.time_ns(), sys.maxsize if is_forced else RETRIED)
    due = [x for x in due if x.key not in apply.set_aside]

    def look(aside: Aside) -> Witness | None:
        try:
            return look_at(ws.fs, ws.root, key_path(aside.key), ws.inode_mask)
        except OSError:
            apply.counts.skip("unverified", key_path(aside.key))
            return None

    found = list(zip(due, apply.each(due, look), strict=True))
    apply.files((w for x, w in found if w is not None and not x.digest), is_new=False)
    return [Late(w, False) for x, w in found if w is not None and x.digest]

"""What the last check found wrong with the index, remembered beside it, so that `status` says so until it is mended.

It is about one published generation: once another takes its place, it counts no more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from holdfast.engine.workspace import Workspace
from holdfast.results import Finding, Reason

NAME = "verdict.json"
BYTES = 4096
MESSAGE_CHARS = 300


def keep_verdict(ws: Workspace, found: Sequence[Finding]) -> None:
    """Remember these findings, or that there are none. Where nothing can be written, that is counted."""
    path = f"{ws.directory}/{NAME}"
    try:
        if found:
            of = ws.generations.stamp()
            said = {"of": of and [*of], "findings": len(found), "first": found[0].message[:MESSAGE_CHARS]}
            ws.fs.write_new(path, (json.dumps(said) + "\n").encode(), durable=False)
        else:
            ws.fs.unlink(path)
    except FileNotFoundError:
        return  # there was none, or there is no index at all
    except OSError as e:
        ws.count("verdict_not_kept", e)


def verdict(ws: Workspace) -> Reason | None:
    """Why the published index is not well, as far as a check has seen."""
    try:
        fd = ws.fs.open_read(f"{ws.directory}/{NAME}")
    except OSError:
        return None
    try:
        said = json.loads(ws.fs.read_all(fd, BYTES))
        of, count, first = said["of"], int(said["findings"]), str(said["first"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        ws.count("verdict_unreadable")
        return None
    finally:
        ws.fs.close(fd)
    stamp = ws.generations.stamp()
    if of != (stamp and [*stamp]):
        return None
    more = f" and {count - 1:,} more" if count > 1 else ""
    return Reason("check_found", f"The last check found damage: {first}{more}", "Run `holdfast repair`.")

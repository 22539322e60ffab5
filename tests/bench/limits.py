"""A limit of memory for a command and all that it starts, where the system lets us have one.

RLIMIT_AS will not do: it counts address space, of which every thread reserves a lot that it never touches.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def memory_limit(size: int) -> Iterator[tuple[list[str], str]]:
    """(what to put before a command, how it is then limited); no words if nothing limits it."""
    group = _delegated()
    if group is not None:
        own = group / f"holdfast-bench-{os.getpid()}"
        own.mkdir()
        try:
            (own / "memory.max").write_text(str(size))
            if (own / "memory.swap.max").exists():
                (own / "memory.swap.max").write_text("0")
            yield ["sh", "-c", f'echo $$ > "{own}/cgroup.procs"; exec "$@"', "sh"], "a cgroup"
        finally:
            own.rmdir()
        return
    scope = ["systemd-run", *(["--user"] if os.getuid() else []), "--scope", "--quiet"]
    scope += ["-p", f"MemoryMax={size}", "-p", "MemorySwapMax=0", "--"]
    yield (scope, "a scope of systemd") if _runs([*scope, "true"]) else ([], "")


def _delegated() -> Path | None:
    """Our own cgroup, if it is one of version 2 that may have others with a limit of memory below it."""
    try:
        (name,) = (line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        group = _CGROUPS / name.lstrip("/")
        has_memory = "memory" in (group / "cgroup.subtree_control").read_text().split()
    except (OSError, ValueError):
        return None
    return group if has_memory and os.access(group / "cgroup.procs", os.W_OK) else None


def _runs(command: list[str]) -> bool:
    if not Path("/run/systemd/system").is_dir() or shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0

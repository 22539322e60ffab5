"""How much memory this process took."""

from __future__ import annotations

import resource
import sys


def peak_rss_bytes() -> int:
    """The largest resident size of this program so far."""
    try:
        # What getrusage says begins with the size of the process that started us; this one begins anew with exec.
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass  # not Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

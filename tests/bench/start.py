"""Run a command and say what it cost: start.py LIMIT_AS_BYTES COMMAND...

A process inherits the peak memory of the one that forked it. This one is small, so that what is reported is the
command's own. The cost is the last thing on stderr, after a NUL.
"""

from __future__ import annotations

import os
import resource
import sys


def main() -> int:
    limit = int(sys.argv[1])
    child = os.fork()
    if child == 0:
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            os.execvp(sys.argv[2], sys.argv[2:])
        except OSError as e:
            os.write(2, f"{sys.argv[2]}: {e}\n".encode())
            os._exit(127)
    _, status, usage = os.wait4(child, 0)
    scale = 1 if sys.platform == "darwin" else 1024
    cost = f'{{"cpu_s": {usage.ru_utime + usage.ru_stime}, "peak_bytes": {usage.ru_maxrss * scale}}}'
    os.write(2, f"\n\0{cost}".encode())
    return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(main())

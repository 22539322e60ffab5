"""Loaded by every Python that has this folder on its path: a note with a mark does harm to who parses it.

`POISON-EXIT` and the like in a note's bytes; with HOLDFAST_TEST_STORE also `POISON-STORE` in its title, for who stores
it.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from holdfast.text import note

_parse = note.parse


def _loop() -> None:
    while True:
        pass


def _hang() -> None:
    # As a loop in C does: nothing of Python's runs meanwhile.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    while True:
        time.sleep(60)


def _eat() -> None:
    kept = []
    while True:
        kept.append(bytearray(64 << 20))


def _fail() -> None:
    raise ValueError("poison")


def _print() -> None:
    os.write(1, b"\0" * 100)


HARMS = {
    b"POISON-EXIT": lambda: os._exit(7),
    b"POISON-ABORT": os.abort,
    b"POISON-SEGV": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    b"POISON-LOOP": _loop,
    b"POISON-HANG": _hang,
    b"POISON-EAT": _eat,
    b"POISON-FAIL": _fail,
    b"POISON-PRINT": _print,
}


def parse(data: bytes, path: str) -> note.Document:
    if b"POISON-" in data:
        for mark, harm in HARMS.items():
            if mark in data:
                harm()
    return _parse(data, path)


note.parse = parse

if os.environ.get("HOLDFAST_TEST_STORE"):
    from holdfast.index.sqlite.write import SqliteTx

    _replace = SqliteTx.replace_note

    def replace_note(self: SqliteTx, witness: Any, racy_ns: int, record: Any, id_: int | None = None) -> int:
        if "POISON-STORE" in record.title:
            os._exit(9)
        return _replace(self, witness, racy_ns, record, id_)

    SqliteTx.replace_note = replace_note  # type: ignore[method-assign]

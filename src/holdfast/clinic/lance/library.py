"""Lance's own library, for what changes a dataset: it knows best what a version needs.

Imported only when a cure runs; inspection never needs it. Its errors come out as LanceRefused, a full disk as DiskFull
and a lack of descriptors as FileLimit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from holdfast.errors import ConfigError, DiskFull, FileLimit, HoldfastError, IndexFault

_FULL = re.compile(r"no space left|disk quota exceeded|os error (28|122)\b", re.IGNORECASE)
_FILES = re.compile(r"too many open files|os error 24\b", re.IGNORECASE)
_WHERE = re.compile(r",? *(at )?(/rustc/|rust/|/[^ ]*/)[^ ]*\.rs:\d+(:\d+)?")
_MESSAGE_LETTERS = 400


class LanceRefused(IndexFault):
    """Lance could not do it."""

    exit = 3
    hint_default = "Nothing was changed by it; try `--rewrite`, which copies the live rows into a fresh dataset."


def library() -> Any:
    """The module `lance`; raises ConfigError where it is not installed."""
    try:
        import lance
    except ImportError as e:
        raise ConfigError(
            "This cure needs pylance, which is not installed here.", hint="Run `pip install 'holdfast[clinic]'`."
        ) from e
    return lance


@contextmanager
def lance_errors(what: str) -> Iterator[None]:
    """Turn what Lance raises into errors of ours; `what` begins the sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError, NotImplementedError, KeyError) as e:
        raise translated(what, str(e) or type(e).__name__) from e
    except BaseException as e:
        # What Rust panics with is no Exception.
        if type(e).__name__ != "PanicException":
            raise
        raise translated(what, str(e) or type(e).__name__) from e


def translated(what: str, said: str) -> HoldfastError:
    """What Lance said as an error of ours; `what` begins the sentence."""
    message = _WHERE.sub("", said).strip().rstrip(".")[:_MESSAGE_LETTERS]
    if _FULL.search(message):
        return DiskFull(f"{what}: the disk is full.")
    if _FILES.search(message):
        return FileLimit(f"{what}: too many files are open.")
    return LanceRefused(f"{what}: {message}.")


def opened(path: str, version: int | None = None) -> Any:
    """The dataset at `path`; raises LanceRefused."""
    with lance_errors(f"{path} cannot be opened"):
        return library().dataset(path, version=version)


def cleaned(path: str, *, older_than_s: float, unverified: bool) -> Any:
    """Remove versions older than this and what only they need, without compaction; Lance's statistics of it.

    `unverified` also removes files that no version names, which a writer may be about to name. Tagged versions stay.
    """
    dataset = opened(path)
    with lance_errors(f"{path} cannot be pruned"):
        return dataset.cleanup_old_versions(
            older_than=timedelta(seconds=older_than_s), delete_unverified=unverified, error_if_tagged_old_versions=False
        )

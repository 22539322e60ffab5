"""Holdfast: long-term memory for AI agents and the people they work with.

    from holdfast import Vault

    with Vault.open("notes") as vault:
        for hit in vault.recall("when does the lease end?").hits:
            print(hit.path, hit.line, hit.text)

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.config import Config
    from holdfast.errors import (
        ConfigError,
        Conflict,
        DiskFull,
        EmbedderDown,
        EmbedderWrong,
        FileLimit,
        HoldfastError,
        IndexDamaged,
        IndexFault,
        IndexForeign,
        IndexOverBudget,
        IndexTooNew,
        MemoryBudget,
        NotDurable,
        NoteError,
        NoteMalformed,
        NoteTooLarge,
        NoteUnreadable,
        NoteUnstable,
        NotFound,
        PathNotAllowed,
        QueryError,
        ResourceFault,
        SecretFound,
        TruthFault,
        Unauthorized,
        UserError,
        VaultBusy,
        VaultMissing,
        WatchLimit,
    )
    from holdfast.results import Answer, Hit, Listing, Note, Receipt, Status, Synced
    from holdfast.vault import Vault

__all__ = [
    "Answer",
    "Config",
    "ConfigError",
    "Conflict",
    "DiskFull",
    "EmbedderDown",
    "EmbedderWrong",
    "FileLimit",
    "Hit",
    "HoldfastError",
    "IndexDamaged",
    "IndexFault",
    "IndexForeign",
    "IndexOverBudget",
    "IndexTooNew",
    "Listing",
    "MemoryBudget",
    "NotDurable",
    "NotFound",
    "Note",
    "NoteError",
    "NoteMalformed",
    "NoteTooLarge",
    "NoteUnreadable",
    "NoteUnstable",
    "PathNotAllowed",
    "QueryError",
    "Receipt",
    "ResourceFault",
    "SecretFound",
    "Status",
    "Synced",
    "TruthFault",
    "Unauthorized",
    "UserError",
    "Vault",
    "VaultBusy",
    "VaultMissing",
    "WatchLimit",
]

_HOMES = {
    "Vault": "holdfast.vault",
    "Config": "holdfast.config",
    **dict.fromkeys(("Answer", "Hit", "Listing", "Note", "Receipt", "Status", "Synced"), "holdfast.results"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "holdfast.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""Every number of the system, in one frozen place.

Values come from, in rising order: the defaults here, `.holdfast/config.toml` of the vault, environment variables
(`HOLDFAST_<NAME>`), flags. The file is data: it can set numbers and switches below, and nothing else.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from holdfast.errors import ConfigError

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Config:
    """Limits and switches. Names end in their unit."""

    # Notes
    note_bytes: int = 16 * MIB
    chunk_tokens: int = 250

    # Sync. A batch is what is parsed and held before one transaction; it bounds memory, not the number of files.
    batch_bytes: int = 512 * 1024
    batch_notes: int = 256
    scrub_days: float = 7.0
    scrub_slice_bytes: int = 64 * MIB
    lock_wait_s: float = 30.0
    look_ms: int = 300
    move_share: float = 0.6

    # Index
    index_bytes: int = 0  # 0: by formula, 3 x the notes' bytes + 64 MiB
    overlay_chunks: int = 1_500
    overlay_first: int = 20_000

    # Recall
    k: int = 10
    budget_tokens: int = 4000
    query_terms: int = 128
    scan_s: float = 20.0
    background: bool = True

    def index_limit(self, note_bytes: int) -> int:
        """The bytes the index may take for `note_bytes` of notes."""
        return self.index_bytes or 3 * note_bytes + 64 * MIB


def load(text: str, environ: Mapping[str, str] | None = None) -> tuple[str | None, Config]:
    """The vault id stated in the settings file `text`, if any, and the settings; raises ConfigError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f".holdfast/config.toml cannot be read: {e}.") from e
    vault_id = table.pop("id", None)
    if vault_id is not None and not (isinstance(vault_id, str) and _plain_id(vault_id)):
        raise ConfigError("The vault's `id` in .holdfast/config.toml is not letters, digits and dashes.")
    known = {f.name for f in fields(Config)}
    values: dict[str, Any] = {k: v for k, v in table.items() if k in known}
    for name in known:
        if (stated := (os.environ if environ is None else environ).get(f"HOLDFAST_{name.upper()}")) is not None:
            values[name] = stated
    base = Config()
    return vault_id, replace(base, **{k: _coerce(k, v, getattr(base, k)) for k, v in values.items()})


def _plain_id(text: str) -> bool:
    return 8 <= len(text) <= 64 and all(c.isascii() and (c.isalnum() or c == "-") for c in text)


def _coerce(name: str, value: object, default: object) -> Any:
    try:
        if isinstance(default, bool):
            if str(value).lower() in ("1", "true", "yes", "on"):
                return True
            if str(value).lower() in ("0", "false", "no", "off"):
                return False
            raise ValueError(value)
        number = float(str(value)) if isinstance(default, float) else int(str(value))
        if number < 0:
            raise ValueError(value)
    except (TypeError, ValueError) as e:
        raise ConfigError(f"The setting {name} = {value!r} is not a {type(default).__name__} of zero or more.") from e
    return number

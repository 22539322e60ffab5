"""Every number of the system, in one frozen place.

Values come from, in rising order: the defaults here, `.holdfast/config.toml` of the vault, the user's own
`holdfast/config.toml` (in $XDG_CONFIG_HOME), environment variables (`HOLDFAST_<NAME>`), flags. The files are data: they
can set numbers, switches and names below, and nothing else.
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
    audit_notes: int = 8  # looked at for damage by each full sync; 0: none
    audit_s: float = 60.0  # and compared with their bytes no more often than this
    self_heal: bool = True  # false: what is damaged is left as it is, for inspection
    move_share: float = 0.6

    # Notes that could do harm are parsed in a process of their own (engine/apart.py).
    isolate_bytes: int = 256 * 1024  # and all that are larger
    note_timeout_s: float = 10.0
    slot_bytes: int = 1024 * MIB  # of its address space

    # Watch. Without notices of the system, scans take a small share of the time instead (engine/watch.py).
    watch_scan_s: float = 60.0  # a scan of everything at least so often, or after ten times the last one's duration
    watch_poll_s: float = 5.0  # without notices, at most so often
    watch_quiet_ms: int = 200  # how long a note must be left alone before it is looked at
    watch_paths: int = 1_000  # more notes at once are looked at by a scan

    # Index
    index_bytes: int = 0  # 0: by formula, 3 x the notes' bytes + 1.5 x the vectors' + 64 MiB
    overlay_chunks: int = 1_500
    overlay_first: int = 20_000

    # History. It is kept beside the indexes, never in the vault (engine/past.py).
    history: str = "on"  # on, none, or commit: also into the vault's own git repository
    history_bytes: int = 0  # 0: by formula, 3 x the notes' bytes + 64 MiB
    history_days: float = 365.0  # older versions go first; the newest of each note stays

    # Meaning. The address and the key of an embedder are taken from the user alone, never from a vault (see load).
    embedder: str = "local"  # local, none, onnx:DIR, openai:URL, ollama:URL
    embedder_model: str = ""
    embedder_dimensions: int = 0  # 0: what the model gives
    embedder_query_prefix: str = ""
    embedder_passage_prefix: str = ""
    embedder_key_variable: str = "HOLDFAST_EMBEDDER_KEY"
    embedder_threads: int = 2
    embedder_timeout_s: float = 30.0
    token_vectors: bool = True  # of turns, from a local model: 64 bytes a token, and 2 points of recall
    embed_batch: int = 256  # texts in one transaction
    min_similarity: float = 0.2  # below it, a passage without a word of the question is no hit

    # Recall
    k: int = 10
    budget_tokens: int = 4000
    query_terms: int = 128
    scan_s: float = 20.0
    background: bool = True

    def index_limit(self, note_bytes: int, vector_bytes: int = 0) -> int:
        """The bytes the index may take for `note_bytes` of notes and `vector_bytes` of live vectors."""
        return self.index_bytes or 3 * note_bytes + vector_bytes * 3 // 2 + 64 * MIB


USERS_ALONE = "embedder"
"""Settings that begin so say where texts are sent and which model file is run. A vault may be a clone of a stranger's,
so its own file may only choose between `local` and `none`."""


def load(text: str, environ: Mapping[str, str] | None = None, user: str = "") -> tuple[str | None, Config]:
    """The vault id stated in the vault's settings file `text`, if any, and the settings; raises ConfigError.

    `user` is the text of the user's own settings file, which stands above the vault's and below the environment.
    """
    table = _table(text, ".holdfast/config.toml")
    vault_id = table.pop("id", None)
    if vault_id is not None and not (isinstance(vault_id, str) and _plain_id(vault_id)):
        raise ConfigError("The vault's `id` in .holdfast/config.toml is not letters, digits and dashes.")
    known = {f.name for f in fields(Config)}
    values: dict[str, Any] = {k: v for k, v in table.items() if k in known and _may_set(k, v)}
    values |= {k: v for k, v in _table(user, "your config.toml").items() if k in known}
    for name in known:
        if (stated := (os.environ if environ is None else environ).get(f"HOLDFAST_{name.upper()}")) is not None:
            values[name] = stated
    base = Config()
    return vault_id, replace(base, **{k: _coerce(k, v, getattr(base, k)) for k, v in values.items()})


def _table(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{name} cannot be read: {e}.") from e


def _may_set(key: str, value: object) -> bool:
    return not key.startswith(USERS_ALONE) or (key == "embedder" and value in ("local", "none"))


def _plain_id(text: str) -> bool:
    return 8 <= len(text) <= 64 and all(c.isascii() and (c.isalnum() or c == "-") for c in text)


def _coerce(name: str, value: object, default: object) -> Any:
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ConfigError(f"The setting {name} = {value!r} is not a text.")
        return value
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
        kind = "yes or no" if isinstance(default, bool) else "number of zero or more"
        raise ConfigError(f"The setting {name} = {value!r} is no {kind}.") from e
    return number

"""Which embedder the settings name. What cannot be is said here; what is not there now, when it is first used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.embed.base import Embedder
from holdfast.errors import ConfigError

KEY_VARIABLE = "HOLDFAST_EMBEDDER_KEY"

NO_SUCH_VARIABLE = "the variable that `embedder_key_variable` names, which is not set"

KINDS = '"local", "none", "onnx:DIR", "openai:URL" or "ollama:URL"'


@dataclass(frozen=True, slots=True)
class Settings:
    """What there is to choose. `embedder` is one of KINDS, `dimensions` 0 is as many as the model gives, `threads` 0 is
    at most two, and `key_variable` is the name of the environment variable with the key, never the key."""

    embedder: str = "local"
    model: str = ""
    dimensions: int = 0
    query_prefix: str = ""
    passage_prefix: str = ""
    key_variable: str = KEY_VARIABLE
    threads: int = 0
    timeout_s: float = 30.0


def make(settings: Settings, environ: Mapping[str, str]) -> Embedder | None:
    """The embedder of `settings`, not yet loaded or connected; None for "none". Raises ConfigError."""
    kind, _, place = settings.embedder.partition(":")
    if settings.dimensions < 0 or settings.threads < 0 or not settings.timeout_s > 0:
        raise ConfigError("The embedder's dimensions and threads are 0 or more, and its timeout is above 0.")
    if kind == "none" and not place:
        return None
    if kind == "local" and not place:
        return _local(settings, None)
    if kind == "onnx" and place:
        return _local(settings, os.path.abspath(os.path.expanduser(place)))
    if kind in ("openai", "ollama") and place:
        return _remote(settings, kind, place, environ)
    raise ConfigError(f"The setting embedder = {kind + ':...' if place else kind!r} is none of {KINDS}.")


def _local(settings: Settings, folder: str | None) -> Embedder:
    from holdfast.embed.local import LocalEmbedder

    return LocalEmbedder(
        folder,
        threads=settings.threads,
        query_prefix=settings.query_prefix,
        passage_prefix=settings.passage_prefix,
    )


def _remote(settings: Settings, kind: str, url: str, environ: Mapping[str, str]) -> Embedder:
    from holdfast.embed.post import Address, Secret
    from holdfast.embed.remote import OLLAMA, OPENAI, RemoteEmbedder

    if not settings.model:
        raise ConfigError(f"The embedder {kind} needs a model.", hint="Set `embedder_model`.")
    dialect = OPENAI if kind == "openai" else OLLAMA
    address = Address.parse(url, dialect.place)
    name = settings.key_variable
    # Somebody may have put the key itself where its variable's name belongs: then it is not shown.
    shown = name if name in environ or name == KEY_VARIABLE else NO_SUCH_VARIABLE
    return RemoteEmbedder(
        dialect,
        address,
        settings.model,
        dimensions=settings.dimensions,
        query_prefix=settings.query_prefix,
        passage_prefix=settings.passage_prefix,
        key=Secret.parse(environ.get(name, "") if name else "", shown),
        timeout_s=settings.timeout_s,
    )

"""Which embedder the settings name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.embed.base import Embedder
from holdfast.embed.local import LocalEmbedder


@dataclass(frozen=True, slots=True)
class Settings:
    embedder: str = "local"
    model: str = ""
    dimensions: int = 0
    query_prefix: str = ""
    passage_prefix: str = ""
    key_variable: str = ""
    threads: int = 2
    timeout_s: float = 30.0


def make(settings: Settings, environ: Mapping[str, str]) -> Embedder | None:
    return None if settings.embedder == "none" else LocalEmbedder(threads=settings.threads)

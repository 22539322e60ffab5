"""Lance datasets, as LanceDB and what is built on it (EverOS) keep them."""

from holdfast.clinic.lance.cures import compact, prune
from holdfast.clinic.lance.dataset import find_datasets
from holdfast.clinic.lance.everos import evict
from holdfast.clinic.lance.look import RATIO, Bounds, examine
from holdfast.clinic.lance.rewrite import rewrite
from holdfast.clinic.lance.watch import Watch, Watcher, state_file

__all__ = [
    "RATIO", "Bounds", "Watch", "Watcher", "compact", "evict", "examine", "find_datasets", "prune", "rewrite",
    "state_file",
]  # fmt: skip

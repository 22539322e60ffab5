"""Figures of the second look with each conversation judged by a model that was fitted on the others: tools/fit.py's
own functions, without its printing. What it was fitted on says little about anything else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

from holdfast import Vault
from tests.bench.setup import REPOSITORY, Skipped

Kind = Literal["turns", "turns-keyword"]

_NAME = "holdfast_tools_fit"


def cross_validated(vault: Vault, golden: Path, kind: Kind) -> tuple[dict[str, float], dict[str, float]]:
    """(means over the questions, the same by the first look alone), in percent; raises Skipped without LightGBM."""
    fit = _tool()
    names: list[str] = []
    table = list(fit.cases(vault, golden, kind, names))
    scored = []
    for held in sorted({c.group for c in table}):
        model = fit.fit([c for c in table if c.group != held], names, {})
        scored += [fit.measure(c, fit.judge(model, c, names)) for c in table if c.group == held]
    return _means(scored), _means([fit.measure(c, c.first) for c in table])


def _means(scored: list[dict[str, float]]) -> dict[str, float]:
    return {key: 100 * sum(s[key] for s in scored) / len(scored) for key in scored[0]}


def _tool() -> ModuleType:
    if importlib.util.find_spec("lightgbm") is None:
        raise Skipped("NOT MEASURED: LightGBM is not installed (pip install -e '.[fit]')")
    if _NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(_NAME, REPOSITORY / "tools" / "fit.py")
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        sys.modules[_NAME] = found
        spec.loader.exec_module(found)
    return sys.modules[_NAME]

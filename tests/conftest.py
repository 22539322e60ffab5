"""What all tests share: the numbers of examples, and an environment in which nothing of the user's is touched."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# `make fault` asks for the thorough profile.
settings.register_profile("default", deadline=None)
settings.register_profile(
    "thorough",
    deadline=None,
    max_examples=1_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "default")


@pytest.fixture(autouse=True, scope="session")
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of the user's reaches a test, and no index of a test reaches the user's state directory."""
    for name in [n for n in os.environ if n.startswith("HOLDFAST_") and n != "HOLDFAST_SHARED"]:
        del os.environ[name]
    os.environ["HOLDFAST_STATE"] = str(tmp_path_factory.mktemp("state"))
    os.environ["HOLDFAST_DATA"] = str(tmp_path_factory.mktemp("data"))
    os.environ["HOLDFAST_CONFIG"] = os.devnull
    os.environ["HOLDFAST_BACKGROUND"] = "0"
    # Tests of meaning say which embedder they want; the others do not load a model each.
    os.environ["HOLDFAST_EMBEDDER"] = "none"

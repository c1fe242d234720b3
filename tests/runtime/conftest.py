from __future__ import annotations

from pathlib import Path

import pytest
from brightest import Brightest

from jetspect.runtime.bundle import Bundle

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def metal_demo() -> Path:
    """The small bundle that ships with the repository."""
    return REPOSITORY / "bundles" / "metal-demo"


@pytest.fixture(scope="session")
def bundle(metal_demo: Path) -> Bundle:
    return Bundle.open(metal_demo)


@pytest.fixture(scope="session")
def brightest() -> type[Brightest]:
    return Brightest

"""Fixtures for every test: where the recordings of the real exchange are."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder with recordings of the real exchange, which may not be redistributed."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CANDLEWICK_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"recordings of the real exchange are not at {folder} (set CANDLEWICK_DATA)")
    return folder

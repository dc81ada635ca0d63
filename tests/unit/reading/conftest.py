"""A store of each kind, empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from candlewick.stores.store import Store
from tests.unit.reading.samples import KINDS, new_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store, open for writing."""
    with new_store(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Store]:
    """An empty store in memory."""
    with new_store("memory", tmp_path) as made:
        yield made

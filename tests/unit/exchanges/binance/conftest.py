"""Payloads of the exchange: invented ones from its documentation, and recorded ones."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from candlewick.exchanges.binance import EXCHANGE
from candlewick.exchanges.exchange import Venue
from candlewick.market import Market

PAYLOADS = Path(__file__).parent / "payloads"


@pytest.fixture(scope="session")
def spot() -> Venue:
    return EXCHANGE.venues[Market.SPOT]


@pytest.fixture(scope="session")
def usdm() -> Venue:
    return EXCHANGE.venues[Market.USDM]


@pytest.fixture(scope="session")
def payload() -> Callable[[str], bytes]:
    """A payload from the documentation, by name."""
    return lambda name: (PAYLOADS / f"{name}.json").read_bytes().rstrip()


@pytest.fixture(scope="session")
def frames(recordings: Path) -> Callable[[str], Iterator[bytes]]:
    """Recorded frames of `spot`, `usdm` or `coinm`, in the order of their files."""

    def read(market: str) -> Iterator[bytes]:
        for path in sorted((recordings / "frames" / market).iterdir()):
            if path.suffix == ".gz":
                with gzip.open(path) as lines:
                    yield from (line.split(b" ", 1)[1].rstrip() for line in lines)
            elif ".ws." in path.name:
                lines_of = path.read_bytes().splitlines()[1:]
                yield from (line.split(b": ", 1)[1] for line in lines_of if line)

    return read


@pytest.fixture(scope="session")
def routes(recordings: Path) -> dict[str, Any]:
    """Recorded REST answers by path."""
    return json.loads((recordings / "rest" / "gocryptotrader-http.json").read_text())["routes"]

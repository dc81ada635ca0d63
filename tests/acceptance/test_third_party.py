"""A run against an imitation of the exchange that others wrote: no simulated time, and little more than it must have."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from candlewick.market import Candle, Interval, Market, Series, parse_time
from candlewick.stores import open_store
from candlewick.stores.store import Source, to_rows
from tests.acceptance.fake_exchange import FakeExchange
from tests.acceptance.processes import Child, ask, command, following, started, url_of, wait_for

SECONDS = 10
"""How many candles of one second are looked at."""
PATIENCE_S = 20.0
"""How soon a close that did not come is there, where the threshold and the check are 5 s."""


class Imitated(NamedTuple):
    """A run and its exchange."""

    exchange: FakeExchange
    child: Child
    folder: Path
    settings: dict[str, str]
    began: int
    """The first whole second, in milliseconds, after the run was there."""

    def candles(self, interval: str) -> dict[int, dict[str, Any]]:
        """What is stored, by open time."""
        done = command(self.folder, "candles", "BTCUSDT", interval, "--json", "--limit", "500", **self.settings)
        return {row["open_time"]: row for row in json.loads(done.stdout)} if done.returncode == 0 else {}


_KINDS = {
    "usual": FakeExchange(),
    "forgetful": FakeExchange(drops=0.6),
    "bare": FakeExchange(has=frozenset()),
    "without closes": FakeExchange(drops=1.0),
}


@pytest.fixture(scope="module")
def imitations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Imitated]]:
    """All of them at once: they take their time, and nearly no work."""
    with ExitStack() as stack:
        found = {}
        for name, exchange in _KINDS.items():
            folder = tmp_path_factory.mktemp("third-party")
            stack.enter_context(exchange)
            settings = following(
                exchange.place, folder / "store", SYMBOLS="BTCUSDT", INTERVALS="1s,1m", STREAMS="kline",
                HISTORY_START="0.002d", GAP_DETECTION_THRESHOLD="5", BACKFILL_CHECK_INTERVAL_S="5",
            )  # fmt: skip
            child = stack.enter_context(started(folder, "run", **settings))
            found[name] = (exchange, child, folder, settings)
        for _, child, _, _ in found.values():
            url_of(child)
        began = time.time_ns() // 1_000_000_000 * 1000 + 1000  # noqa: TID251 - the imitations live in real time
        yield {name: Imitated(*parts, began) for name, parts in found.items()}


@pytest.mark.parametrize("name", list(_KINDS))
def test_every_second_of_an_imitated_exchange_is_stored(imitations: dict[str, Imitated], name: str) -> None:
    """Whatever closes it does not send: ten consecutive seconds are there in time, equal to its own rows."""
    one = imitations[name]
    wanted = range(one.began, one.began + SECONDS * 1000, 1000)
    held = wait_for(
        lambda: held if (held := one.candles("1s")).keys() >= set(wanted) else None,
        one.child,
        within_s=SECONDS + 4 * PATIENCE_S,
    )
    for at in wanted:
        truth = one.exchange.truth("BTCUSDT", "1s", at)
        assert [float(value) for value in held[at].values()] == [float(value) for value in truth[:11]]
    assert "Traceback" not in one.child.err


def test_history_of_an_imitated_exchange_is_filled(imitations: dict[str, Imitated]) -> None:
    """Minutes before the start come from its REST; none is missing up to the last one that is over."""
    one = imitations["usual"]
    held = wait_for(lambda: held if len(held := one.candles("1m")) >= 2 else None, one.child)
    for at, row in held.items():
        assert list(row.values()) == [float(value) for value in one.exchange.truth("BTCUSDT", "1m", at)[:11]]
    assert sorted(held) == list(range(min(held), max(held) + 1, 60_000))
    assert min(held) >= one.began - 0.002 * 86_400_000 - 60_000  # HISTORY_START, and the second it took


def test_server_that_reads_no_urls_is_asked_in_words(imitations: dict[str, Imitated]) -> None:
    """Streams named in the URL alone stay silent there: they are subscribed to, and deliver."""
    one = imitations["bare"]
    wait_for(lambda: "SUBSCRIBE" in one.exchange.asked, one.child)
    url = url_of(one.child)
    wait_for(lambda: ask(f"{url}/status")[1]["counters"]["frames"]["kline"] > 0, one.child)


def test_doctor_makes_do_with_an_exchange_that_tells_no_time(tmp_path: Path) -> None:
    """What is missing there is a warning: nothing is broken."""
    with FakeExchange(has=frozenset({"url"})) as exchange:
        settings = following(exchange.place, tmp_path / "store", SYMBOLS="BTCUSDT", INTERVALS="1s", STREAMS="kline")
        done = command(tmp_path, "doctor", "--json", **settings)
    verdicts = {row["check"]: row["verdict"] for row in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert {check for check, verdict in verdicts.items() if verdict != "ok"} == {"clock", "symbols"}


def test_repair_makes_do_with_it_too(tmp_path: Path) -> None:
    """A hole in a store is filled from an exchange that tells no time, by the clock of this machine."""
    store = open_store(f"lmdb://{tmp_path}/store", write=True)
    with FakeExchange(has=frozenset()) as exchange:
        minute = (time.time_ns() // 60_000_000_000 - 10) * 60_000  # noqa: TID251 - as above
        number = store.number(Series(Market.SPOT, "BTCUSDT", Interval("1m")))
        rows = [exchange.truth("BTCUSDT", "1m", at) for at in (minute, minute + 180_000)]
        candles = [
            Candle(r[0] * 1000, *map(float, r[1:6]), r[6] * 1000, float(r[7]), r[8], *map(float, r[9:11])) for r in rows
        ]
        store.write(to_rows(number, Source.LIVE, candles))
        store.close()
        done = command(tmp_path, "repair", "--json", **following(exchange.place, tmp_path / "store"))
        assert (done.returncode, [one["recovered"] for one in json.loads(done.stdout)]) == (0, [2]), done.stderr


def test_imitated_exchange_is_left_in_good_order(imitations: dict[str, Imitated]) -> None:
    """Every run ends with 0 and lacks nothing old; the one whose exchange did all it should had no trouble."""
    for one in imitations.values():
        assert one.child.stop() == 0
        gaps = json.loads(command(one.folder, "gaps", "--json", **one.settings).stdout)
        assert all(gap["from"] > time.time() * 1000 - 2 * PATIENCE_S * 1000 for gap in gaps)  # noqa: TID251 - as above
    # Between what had settled at the start and the first live close there is a moment that REST has to fill.
    usual = imitations["usual"]
    assert {line.get("event") for line in usual.child.log if line["level"] != "INFO"} <= {"GapFound"}
    assert all(parse_time(gap["from"]) // 1000 <= usual.began for gap in usual.child.logged("GapFound"))

"""The outputs of a whole run, in virtual time, with an output that keeps what it is given in memory."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from candlewick.clock import Clock
from candlewick.errors import OutputDown
from candlewick.events import OutputTrouble
from candlewick.market import MINUTE, Series
from candlewick.outputs.output import Batch, Position, Refused
from candlewick.services.following import OnStore, Tell
from candlewick.services.outputs import Outputs
from candlewick.simulator.faults import Fault
from candlewick.stores.provenance import gap_records
from candlewick.stores.store import Store
from tests.unit.services.test_supervisor import BTC, Theatre, play


class Shelf:
    """An output in memory, which may be down."""

    name, location, pool_size = "shelf", "memory", 1

    def __init__(self) -> None:
        self.rows: dict[tuple[Series, int], tuple[object, ...]] = {}
        self.states: dict[str, bytes | None] = {}
        self.position: Position | None = None
        self.down = False
        self.written = 0
        self.slow: Callable[[], Awaitable[None]] | None = None

    async def open(self, identity: str) -> Position | None:
        if self.down:
            raise OutputDown("nobody answers")
        return self.position

    async def write(self, batch: Batch) -> list[Refused]:
        if self.slow is not None:
            await self.slow()
        if self.down:
            raise OutputDown("nobody answers")
        for row in batch.rows:
            self.rows[batch.series[int(row["series"])], int(row["open_time"])] = row.item()
        self.states |= batch.states
        self.position = batch.position
        self.written += len(batch.rows)
        return []

    async def close(self) -> None:
        return


def _fed(
    shelf: Shelf, story: Callable[[Theatre], Awaitable[None]], *faults: Fault,
    complaint: Callable[[], str | None] = lambda: None,
) -> Store:  # fmt: skip
    stores: list[Store] = []

    def follow(store: Store, clock: Clock, on_store: OnStore, tell: Tell) -> Outputs:
        stores.append(store)
        return Outputs(
            [shelf], store, clock=clock, tell=tell, on_store=on_store, batch_rows=10, batch_timeout_s=1.0,
            look_every_s=300.0, complaint=complaint,
        )  # fmt: skip

    play(story, *faults, follow=follow)
    return stores[0]


def _everything(store: Store) -> dict[tuple[Series, int], tuple[object, ...]]:
    return {
        (info.series, int(row["open_time"])): row.item() for info in store.series() for row in store.read(info.series)
    }


def test_output_has_all_that_the_run_stored() -> None:
    """While it runs the output keeps up, and at the stop it has every row, with its source."""
    shelf = Shelf()

    async def story(theatre: Theatre) -> None:
        await theatre.pass_s(400)
        (status,) = theatre.run.status().outputs
        assert (status.connected, status.behind_rows, status.snapshot) == (True, 0, False)
        assert status.written == len(shelf.rows) + theatre.run.status().counters.candles_confirmed
        assert status.latency.count > 0

    store = _fed(shelf, story)
    assert shelf.rows == _everything(store)
    assert len(shelf.rows) >= 30


def test_live_candle_does_not_wait_for_a_batch() -> None:
    """With one candle a minute a batch never fills: an output that is idle has the candle as soon as it is stored."""
    shelf = Shelf()

    async def story(theatre: Theatre) -> None:
        await theatre.pass_s(60)
        before = theatre.run.status().outputs[0].latency
        await theatre.pass_s(300)
        after = theatre.run.status().outputs[0].latency
        assert after.count - before.count >= 5
        assert after.counts[0] - before.counts[0] == after.count - before.count

    _fed(shelf, story)


def test_gap_reaches_the_output_when_it_is_found_and_when_it_is_closed() -> None:
    """Minutes that were never sent are one record, which the output has open first and closed in the end."""
    shelf = Shelf()

    async def story(theatre: Theatre) -> None:
        await theatre.pass_s(400)
        assert [value for key, value in shelf.states.items() if key.startswith("gap:")]
        await theatre.pass_s(600)

    store = _fed(shelf, story, Fault(kind="drop", at=200.0, duration_s=180.0))
    (record,) = gap_records(store)
    assert (record.candles, record.recovered, record.absent) == (3, 3, 0)
    assert record.closed_at is not None
    assert record.closed_at - record.span.end < 3 * MINUTE
    (value,) = (value for key, value in shelf.states.items() if key.startswith("gap:"))
    assert value == store.state(f"gap:{BTC}:{record.span.start}")
    assert shelf.rows == _everything(store)


def test_output_that_is_down_costs_nothing() -> None:
    """Whatever was stored while the output was away is there after it came back."""
    shelf = Shelf()
    shelf.down = True

    async def story(theatre: Theatre) -> None:
        await theatre.pass_s(900)
        (status,) = theatre.run.status().outputs
        assert not status.connected
        assert theatre.told[OutputTrouble.__name__] > 5
        assert theatre.run.status().errors_24h == 1
        assert shelf.rows == {}
        shelf.down = False
        await theatre.pass_s(60)

    assert shelf.rows == _everything(_fed(shelf, story))
    assert len(shelf.rows) >= 40


def test_idle_run_stops_at_once() -> None:
    """Nothing is waited for that need not be: a run that is level with its output is over in less than two seconds."""

    async def story(theatre: Theatre) -> None:
        await theatre.pass_s(100)
        loop = asyncio.get_running_loop()
        theatre.run.stop_by = (began := loop.time()) + 8
        assert theatre.running is not None
        theatre.running.cancel()
        await asyncio.wait({theatre.running})
        assert loop.time() - began < 2

    _fed(Shelf(), story)


def test_stop_does_not_wait_for_an_output_that_is_down() -> None:
    """A stop takes what is left to an output that answers; one that does not has it at the next start."""
    shelf = Shelf()

    async def story(theatre: Theatre) -> None:
        await theatre.pass_s(100)
        shelf.down = True
        await theatre.pass_s(200)
        loop = asyncio.get_running_loop()
        theatre.run.stop_by = (began := loop.time()) + 8
        assert theatre.running is not None
        theatre.running.cancel()
        await asyncio.wait({theatre.running})
        assert loop.time() - began < 1

    assert shelf.rows.keys() < _everything(_fed(shelf, story)).keys()


@pytest.mark.parametrize("stuck", [True, False])
def test_stop_waits_for_an_output_that_is_slow_but_not_for_ever(stuck: bool) -> None:
    """A write under way at the stop is waited for, and given up when the time for the stop is over."""
    shelf = Shelf()

    async def story(theatre: Theatre) -> None:
        await theatre.pass_s(100)
        shelf.slow = lambda: theatre.exchange.clock.sleep(10_000 if stuck else 5)
        await theatre.pass_s(70)
        loop = asyncio.get_running_loop()
        theatre.run.stop_by = (began := loop.time()) + 8
        assert theatre.running is not None
        theatre.running.cancel()
        await asyncio.wait({theatre.running})
        took = loop.time() - began
        assert took == pytest.approx(8, abs=0.1) if stuck else took < 8

    store = _fed(shelf, story)
    assert (shelf.rows == _everything(store)) is not stuck


def test_output_that_does_not_answer_is_not_connected() -> None:
    """What is known of a database besides its writes counts: one that does not answer is not connected, and says why."""

    async def story(theatre: Theatre) -> None:
        await theatre.pass_s(100)
        (status,) = theatre.run.status().outputs
        assert (status.connected, status.error) == (True, None)
        complaints.append("no answer within 5 s")
        (status,) = theatre.run.status().outputs
        assert (status.connected, status.error) == (False, "no answer within 5 s")

    complaints: list[str] = []
    _fed(Shelf(), story, complaint=lambda: complaints[-1] if complaints else None)

"""What is to be repaired is handed out once, joined by series, and a series to one worker at a time."""

import asyncio
from contextlib import suppress

from candlewick.market import MINUTE, Interval, Market, Series, Span
from candlewick.services.gap_handler.todo import Todo

BTC, ETH = (Series(Market.SPOT, one, Interval("1m")) for one in ("BTCUSDT", "ETHUSDT"))


def span(first: int, last: int) -> Span:
    return Span(first * MINUTE, last * MINUTE)


def test_spans_of_a_series_are_joined_and_come_in_the_order_of_asking() -> None:
    """Who was added first is taken first, with everything that was added of it until then."""

    async def story() -> None:
        todo = Todo()
        todo.add(BTC, [span(0, 5)])
        todo.add(ETH, [span(0, 1)])
        todo.add(BTC, [span(5, 7), span(10, 11)])
        assert len(todo) == 2
        async with todo.taken() as taken:
            assert taken == (BTC, [span(0, 7), span(10, 11)])
        async with todo.taken() as taken:
            assert taken == (ETH, [span(0, 1)])
        assert len(todo) == 0

    asyncio.run(story())


def test_series_is_at_one_worker_at_a_time() -> None:
    """What is added of a series that somebody is at waits until they are done, however that ends; others need not."""

    async def story() -> None:
        todo = Todo()
        todo.add(BTC, [span(0, 5)])
        order = []

        async def work() -> None:
            async with todo.taken() as (series, spans):
                order.append((series, spans))

        with suppress(ValueError):
            async with todo.taken():
                todo.add(BTC, [span(6, 7)])
                todo.add(ETH, [span(0, 1)])
                workers = [asyncio.ensure_future(work()) for _ in range(2)]
                await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
                assert order == [(ETH, [span(0, 1)])]
                raise ValueError
        await asyncio.wait(workers)
        assert order == [(ETH, [span(0, 1)]), (BTC, [span(6, 7)])]

    asyncio.run(story())

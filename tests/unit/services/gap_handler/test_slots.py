"""Places for backfills are counted exactly, whatever becomes of who has them."""

import asyncio
from contextlib import suppress

from candlewick.services.gap_handler.slots import Slots


def test_every_way_out_gives_the_place_back() -> None:
    """Done, failed or cancelled: afterwards nobody is there, and never fewer than nobody."""

    async def story() -> None:
        slots = Slots(2)
        async with slots.place():
            assert slots.active == 1
        with suppress(ValueError):
            async with slots.place():
                raise ValueError
        stuck = asyncio.ensure_future(_stay(slots))
        await asyncio.sleep(0)  # noqa: TID251 - lets others go on
        assert slots.active == 1
        stuck.cancel()
        await asyncio.wait({stuck})
        assert (slots.active, slots.waiting) == (0, 0)

    asyncio.run(story())


def test_one_place_is_kept_for_who_asks() -> None:
    """What waits patiently never has the last place, and gets its turn in the order of asking."""

    async def story() -> None:
        slots = Slots(2)
        order: list[int] = []
        each = [asyncio.ensure_future(_stay(slots, order, number)) for number in range(3)]
        await asyncio.sleep(0)  # noqa: TID251 - lets others go on
        assert (slots.active, slots.waiting, slots.is_full, order) == (1, 2, False, [0])
        async with slots.place():
            assert slots.is_full
        each[1].cancel()
        await asyncio.sleep(0)  # noqa: TID251 - lets others go on
        each[0].cancel()
        for _ in range(5):
            await asyncio.sleep(0)  # noqa: TID251 - lets others go on
        assert (slots.active, slots.waiting, order) == (1, 0, [0, 2])
        each[2].cancel()
        await asyncio.wait(each)
        assert slots.active == 0

    asyncio.run(story())


def test_the_only_place_is_shared() -> None:
    """With one place in all, what waits patiently has it when nobody else does."""

    async def story() -> None:
        slots = Slots(1)
        order: list[int] = []
        async with slots.place():
            waiting = asyncio.ensure_future(_stay(slots, order, 1))
            await asyncio.sleep(0)  # noqa: TID251 - lets others go on
            assert (order, slots.waiting) == ([], 1)
        for _ in range(3):
            await asyncio.sleep(0)  # noqa: TID251 - lets others go on
        assert (order, slots.is_full) == ([1], True)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert slots.active == 0

    asyncio.run(story())


async def _stay(slots: Slots, order: list[int] | None = None, number: int = 0) -> None:
    async with slots.patient_place():
        if order is not None:
            order.append(number)
        await asyncio.get_running_loop().create_future()

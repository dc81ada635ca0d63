"""The event loop with virtual time."""

import asyncio

import pytest

from candlewick.simulator.virtual import DeadlockError, VirtualLoop, run_virtual


def test_virtual_loop_jumps_over_waits() -> None:
    """A day of waiting passes at once, and its clock shows a day."""

    async def main() -> float:
        before = asyncio.get_running_loop().time()
        await _after(86_400)
        return asyncio.get_running_loop().time() - before

    assert run_virtual(main()) == 86_400


async def _after(seconds: float) -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done


def test_virtual_loop_calls_in_order_of_time_then_of_planning() -> None:
    """Timers fire by their moment; those of one moment in the order they were set; cancelled ones never."""
    called: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(2, called.append, "late")
        loop.call_later(1, called.append, "first")
        loop.call_later(1, called.append, "second")
        loop.call_later(1, called.append, "never").cancel()
        await _after(3)

    run_virtual(main())
    assert called == ["first", "second", "late"]


def test_virtual_loop_runs_executor_functions_inline() -> None:
    """What is handed to a thread is done before the call returns, and its errors come back."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        future = loop.run_in_executor(None, seen.append, 1)
        assert seen == [1]
        await future
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return len(seen)

    assert run_virtual(main()) == 1


def test_virtual_loop_stops_a_program_that_waits_for_ever() -> None:
    """Where everybody waits and no timer is set, the run ends with an error instead of hanging."""
    with pytest.raises(DeadlockError), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_wait_for_ever())


async def _wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def test_virtual_loop_supports_timeouts() -> None:
    """Asyncio's own timeouts work in virtual time."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 30)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 30

"""Recordings of the real exchange, played back."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from candlewick.clock import SystemClock
from candlewick.errors import UsageError
from candlewick.simulator.inprocess import run_virtual
from candlewick.simulator.recording import Frame, play, read_recording


def test_recording_is_read_in_both_formats(tmp_path: Path) -> None:
    """Microseconds before the JSON, and cryptofeed's seconds after a URL, give the same frames; a cut end is ignored."""
    one, two = tmp_path / "a.dat.gz", tmp_path / "b.ws.1.0"
    one.write_bytes(gzip.compress(b'1680652800004107 {"a":1}\n1680652800104107 {"a":2}\n'))
    two.write_text('wss://host/stream?streams=x <-> 1.5\n1680652800.004107: {"a":1}\n1680652800.104107: {"a":2}\n163')
    expected = [Frame(1680652800004107, b'{"a":1}'), Frame(1680652800104107, b'{"a":2}')]
    assert list(read_recording(one)) == expected
    assert list(read_recording(two)) == expected


def test_recording_that_is_none_is_refused(tmp_path: Path) -> None:
    """A line that is no frame is named."""
    path = tmp_path / "odd.ws.1.0"
    path.write_text("wss://host <-> 1\n1.0: hello\n")
    with pytest.raises(UsageError, match="line 2"):
        list(read_recording(path))


@pytest.mark.data
def test_recording_plays_as_it_was_recorded(recordings: Path) -> None:
    """Half a minute of the real exchange takes half a minute of market time, and every frame is JSON."""
    path = recordings / "frames" / "usdm" / "cryptofeed-BINANCE_FUTURES.ws.1.0"

    async def main() -> tuple[int, float, list[bytes]]:
        loop = asyncio.get_running_loop()
        heard: list[bytes] = []
        count = await play(read_recording(path), SystemClock(start=0, monotonic=loop.time), heard.append)
        return count, loop.time(), heard

    count, seconds, heard = run_virtual(main())
    assert count == len(heard) > 1000
    assert 25 < seconds < 35
    assert all("stream" in json.loads(frame) for frame in heard)

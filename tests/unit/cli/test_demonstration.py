"""What the demo adds to a run: a free port, a line now and then, settings of its own."""

import argparse
import asyncio
import socket
from pathlib import Path

import pytest

from candlewick.cli.demonstration import _Host, _settings, line
from candlewick.config import LogLevel, Settings, load
from candlewick.errors import ConfigError
from candlewick.exchanges.exchange import StreamKind
from tests.unit.cli.servers import Run
from tests.unit.web.statuses import good, series


def host(port: str | None) -> _Host:
    return _Host(argparse.Namespace(duration=None, port=port))


async def begin(one: _Host, port: int) -> str:
    await one.serve(Run(), Settings(feeder_port=port))
    await one.close()
    return one.url


def test_demo_takes_a_free_port_where_the_usual_one_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """A taken port is no obstacle unless it was asked for; where it ended up is printed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        url = asyncio.run(begin(host(None), port))
        assert not url.endswith(f":{port}")
        assert f"look at   {url}" in capsys.readouterr().out
        with pytest.raises(ConfigError, match="is in use"):
            asyncio.run(begin(host(str(port)), port))


def test_demo_keeps_what_it_is_not_about(tmp_path: Path) -> None:
    """Symbols, streams and places are the demo's own; anything else is as it was set."""
    loaded = load(
        None, {"market": "usdm"}, {"HOME": "/home/x", "SYMBOLS": "ADAUSDT", "GAP_DETECTION_THRESHOLD": "80"}, tmp_path
    )
    settings = _settings(loaded, tmp_path, "127.0.0.1:5")
    assert "ADAUSDT" not in settings.symbols
    assert (settings.stream_url, settings.api_url) == ("ws://127.0.0.1:5", "http://127.0.0.1:5")
    assert settings.store == f"lmdb://{tmp_path}"
    assert settings.gap_detection_threshold == 80
    assert settings.log_level is LogLevel.ERROR
    assert StreamKind.TRADE not in settings.streams
    spoken = load(None, {}, {"HOME": "/home/x", "LOG_LEVEL": "info"}, tmp_path)
    assert _settings(spoken, tmp_path, "127.0.0.1:5").log_level is LogLevel.INFO


def test_line_says_how_it_goes() -> None:
    """Time, state, candles, missing ones, frames and some prices; before that, what is waited for."""
    assert line(good(series=(series(missing=2),))) == (
        "2024-03-01T12:00:30Z  degraded  18 candles in 1 series, 2 missing, 1005 frames  BTCUSDT 1.25"
    )
    assert line(good(waiting_for="an answer")) == "waiting for an answer"

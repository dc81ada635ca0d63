"""What `candlewick demo` does: a simulator in a process of its own, a run in this one, and a line now and then."""

import argparse
import asyncio
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from candlewick.cli.arguments import loaded_of
from candlewick.config import Loaded, LogLevel, Settings
from candlewick.config.kinds import read_history_start
from candlewick.errors import CandlewickError, ConfigError
from candlewick.exchanges.exchange import StreamKind
from candlewick.market import SECOND, Interval, Market, format_time
from candlewick.services import supervisor
from candlewick.services.log import start_logging
from candlewick.services.status import Operator, Status
from candlewick.web import server
from candlewick.web.health import judge

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "WANUSDT")
INTERVALS = ("1m", "5m", "1h")
START_S = 20.0
LINE_EVERY_S = 3.0


def demonstrate(args: argparse.Namespace) -> int:
    """Run until Ctrl-C, SIGTERM or the end of `--duration`; returns the exit code."""
    base = loaded_of(args)
    # Until the run listens to it, SIGTERM shall end things as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with _folder(keep=args.keep) as folder, _simulator(args, base.settings.market) as place:
            return _run(args, _settings(base, folder, place), folder)
    except KeyboardInterrupt:
        return 0


def _run(args: argparse.Namespace, settings: Settings, folder: Path) -> int:
    print(f"exchange  simulated {settings.market} at {settings.api_url}, {args.speed:g} times faster than real time")
    print(f"store     {folder}" + ("" if args.keep else "  (removed at the end; --keep keeps it)"), flush=True)
    start_logging(settings.log_level)
    return asyncio.run(supervisor.run(settings, _Host(args).serve))


def _settings(loaded: Loaded, folder: Path, place: str) -> Settings:
    """The settings of the run: what the demo is about is its own, the rest is as set."""
    quiet = loaded.origins["log_level"] == "default"
    return msgspec.structs.replace(
        loaded.settings,
        symbols=SYMBOLS,
        intervals=tuple(map(Interval, INTERVALS)),
        streams=_streams(loaded.settings.market),
        store=f"lmdb://{folder}",
        history_start=read_history_start("1d"),
        binance_stream_url=f"ws://{place}",
        binance_api_url=f"http://{place}",
        binance_archive_url=f"http://{place}",
        log_level=LogLevel.ERROR if quiet else loaded.settings.log_level,
    )


def _streams(market: Market) -> tuple[StreamKind, ...]:
    """Every kind; USD-M documents no stream of raw trades, and one that stays silent is no good show."""
    return tuple(kind for kind in StreamKind if market is Market.SPOT or kind is not StreamKind.TRADE)


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="candlewick-demo-"))
    try:
        yield folder
    finally:
        if keep:
            print(f"the store is kept: candlewick candles BTCUSDT 1m --store lmdb://{folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _simulator(args: argparse.Namespace, market: Market) -> Iterator[str]:
    """A simulator in a process of its own; yields its host and port."""
    command = [
        sys.executable, "-m", "candlewick", "simulate", "--json", "--port", "0", "--seed", str(args.seed),
        "--speed", str(args.speed), "--market", market.value, "--symbols", ",".join(SYMBOLS),
        *(("--faults", args.faults) if args.faults else ()),
    ]  # fmt: skip
    # Of a session of its own: Ctrl-C shall end the run first, and the simulator after it.
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own program
    try:
        yield _place(child)
    finally:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(5.0)
        if child.poll() is None:
            child.kill()
            child.wait()
        assert child.stdout is not None
        child.stdout.close()


def _place(child: "subprocess.Popen[bytes]") -> str:
    """Where the simulator listens, once it says so."""
    assert child.stdout is not None
    said = b""
    while True:
        ready, _, _ = select.select([child.stdout], [], [], START_S)
        part = os.read(child.stdout.fileno(), 4096) if ready else b""
        if not part:
            raise CandlewickError("the simulator did not start: `candlewick simulate` shows why")
        said += part
        with suppress(json.JSONDecodeError):
            return str(json.loads(said)["http"]).removeprefix("http://")


class _Host:
    """The web server of the run, with somebody who tells beside it how it goes."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._duration_s: float | None = args.duration
        self._port_given = args.port is not None
        self._tasks: list[asyncio.Task[None]] = []
        self.url = ""

    async def serve(self, operator: Operator, settings: Settings) -> "_Host":
        """See `supervisor.Serve`."""
        try:
            self._server = await server.start(operator, settings)
        except ConfigError:
            if self._port_given:
                raise
            self._server = await server.start(operator, msgspec.structs.replace(settings, feeder_port=0))
        self.url = self._server.url
        print(f"look at   {self.url}  {self.url}/health  {self.url}/metrics")
        print("stop with Ctrl-C", flush=True)
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._tell(operator)))
        if self._duration_s is not None:
            self._tasks.append(loop.create_task(self._stop_after(self._duration_s)))
        return self

    async def close(self) -> None:
        """Stop telling and serving."""
        for task in self._tasks:
            task.cancel()
        await self._server.close()

    async def _tell(self, operator: Operator) -> None:
        while True:
            await asyncio.sleep(LINE_EVERY_S)  # noqa: TID251 - the reader's seconds, not the market's
            print(line(operator.status()), flush=True)

    async def _stop_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - as above
        os.kill(os.getpid(), signal.SIGTERM)


def line(status: Status) -> str:
    """How it goes, in a line."""
    if status.waiting_for:
        return f"waiting for {status.waiting_for}"
    frames = sum(status.counters.frames.values())
    missing = sum(one.missing for one in status.series)
    prices = {one.symbol: one.last_price for one in status.series if one.last_price is not None}
    shown = "  ".join(f"{symbol} {price:.10g}" for symbol, price in list(prices.items())[:3])
    return (
        f"{format_time(status.now - status.now % SECOND)}  {judge(status).state.value}  "
        f"{status.counters.candles_written} candles in {len(status.series)} series, {missing} missing, "
        f"{frames} frames  {shown}"
    )

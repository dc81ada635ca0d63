"""Checks of the exchange for `candlewick doctor`: REST, its clock, its symbols, its streams."""

import asyncio
from random import Random

from candlewick.cli.findings import Finding, Verdict
from candlewick.clock import SystemClock, system_now
from candlewick.config import Settings
from candlewick.errors import Banned, CandlewickError, ExchangeError, UsageError
from candlewick.exchanges.exchange import Subscription
from candlewick.history.budget import Budget
from candlewick.history.client import RestClient
from candlewick.history.http import AiohttpHttp
from candlewick.live.connection import PicowsDialer
from candlewick.services.symbols import resolve

CLOCK_TOLERANCE_S = 1.0
STREAM_S = 20.0
_WAY = "check the network, the firewall and the proxy (HTTPS_PROXY), and the base URL"


async def examine_rest(settings: Settings) -> list[Finding]:
    """Whether REST answers, how far the clocks are apart, whether the symbols trade."""
    http = AiohttpHttp()
    client = RestClient(
        settings.venue, settings.api_url, http, Budget(), SystemClock(), lambda _: None,
        random=Random(), timeout_s=5.0,  # noqa: S311 - jitter is no secret
    )  # fmt: skip
    try:
        time = await client.server_time()
        listed = (await client.exchange_info()).instruments
    except ExchangeError as error:
        banned = isinstance(error, Banned)
        remedy = (
            "wait until the exchange allows requests again" if banned else f"{_WAY} BINANCE_API_URL={settings.api_url}"
        )
        return [Finding("exchange REST", Verdict.BROKEN, str(error), remedy)]
    finally:
        await http.close()
    findings = [Finding("exchange REST", Verdict.OK, f"{settings.api_url} answers")]
    findings.append(_clocks((system_now() - time.time) / 1e6 - time.round_trip_s / 2, simulated=time.speed is not None))
    try:
        symbols = resolve(settings.symbols, listed, settings.market)
    except UsageError as error:
        return [*findings, Finding("symbols", Verdict.BROKEN, str(error), "correct SYMBOLS, or MARKET")]
    shown = ", ".join(symbols[:5]) + (" ..." if len(symbols) > 5 else "")
    return [*findings, Finding("symbols", Verdict.OK, f"{len(symbols)} of {settings.market}: {shown}")]


def _clocks(ahead_s: float, *, simulated: bool) -> Finding:
    if simulated:
        return Finding("clock", Verdict.OK, "the exchange is simulated, and so is its time")
    side = "ahead of" if ahead_s > 0 else "behind"
    found = f"this machine's clock is {abs(ahead_s):.1f} s {side} the exchange's"
    if abs(ahead_s) <= CLOCK_TOLERANCE_S:
        return Finding("clock", Verdict.OK, found)
    return Finding("clock", Verdict.WARNING, found, "have it set by NTP; until then the exchange's time is used")


class _Listener:
    """Waits for the first frame, or the end."""

    def __init__(self) -> None:
        self.first: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def frame(self, _payload: bytes) -> None:
        self._settle("")

    def heard(self) -> None:
        """A ping is not data."""

    def closed(self, reason: str) -> None:
        self._settle(reason)

    def _settle(self, reason: str) -> None:
        if not self.first.done():
            self.first.set_result(reason)


async def examine_stream(settings: Settings) -> Finding:
    """Whether a stream can be opened, and delivers."""
    venue = settings.venue
    kind = settings.streams[0]
    symbol = next((one for one in settings.symbols if not any(sign in one for sign in "*?[")), "BTCUSDT")
    name = venue.stream_name(Subscription(kind, symbol, settings.intervals[0] if kind == "kline" else None))
    url = venue.connect_url(settings.stream_url, venue.route(kind), [name])
    listener = _Listener()
    try:
        link = await PicowsDialer(SystemClock()).dial(url, listener)
    except CandlewickError as error:
        return Finding(
            "exchange stream", Verdict.BROKEN, str(error), f"{_WAY} BINANCE_STREAM_URL={settings.stream_url}"
        )
    try:
        async with asyncio.timeout(STREAM_S):
            reason = await listener.first
    except TimeoutError:
        remedy = "the symbol may be quiet: try a busy one, or look at the exchange's status page"
        return Finding(
            "exchange stream", Verdict.WARNING, f"{name} is open, but nothing came in {STREAM_S:g} s", remedy
        )
    finally:
        link.close(1000, "")
    if reason:
        return Finding("exchange stream", Verdict.BROKEN, f"{name} ended before its first frame: {reason}", _WAY)
    return Finding("exchange stream", Verdict.OK, f"{name} delivers")

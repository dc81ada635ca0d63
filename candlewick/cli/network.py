"""Checks of the exchange for `candlewick doctor`: REST, its clock, its symbols, its streams."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

from candlewick.cli.findings import Finding, Verdict
from candlewick.clock import SystemClock, system_now
from candlewick.config import Settings
from candlewick.errors import Banned, CandlewickError, NotFound, UsageError
from candlewick.exchanges.exchange import Request, Subscription
from candlewick.history.client import SPEED_HEADER
from candlewick.history.http import AiohttpHttp
from candlewick.live.connection import PicowsDialer
from candlewick.market import SECOND
from candlewick.services.symbols import resolve

CLOCK_TOLERANCE_S = 1.0
REST_S = 10.0
STREAM_S = 20.0
T = TypeVar("T")

_WAY = "check the network, the firewall and the proxy (HTTPS_PROXY), and the base URL"


async def examine(settings: Settings) -> list[Finding]:
    """Whether REST answers, how far the clocks are apart, whether the symbols trade, whether a stream delivers."""
    named = [one for one in settings.symbols if not any(sign in one for sign in "*?[")]
    http = AiohttpHttp()
    try:
        await _get(settings, http, settings.venue.ping(), lambda _: None)
        findings = [Finding("exchange REST", Verdict.OK, f"{settings.api_url} answers")]
        findings.append(await _examine_clock(settings, http))
        listing, symbols = await _examine_symbols(settings, http)
    except CandlewickError as error:
        banned = isinstance(error, Banned)
        remedy = (
            "wait until the exchange allows requests again" if banned else f"{_WAY} BINANCE_API_URL={settings.api_url}"
        )
        rest = Finding("exchange REST", Verdict.BROKEN, str(error), remedy)
        return [rest, await _examine_stream(settings, (named or ["BTCUSDT"])[0])]
    finally:
        await http.close()
    return [*findings, listing, *([await _examine_stream(settings, symbols[0])] if symbols else [])]


async def _examine_clock(settings: Settings, http: AiohttpHttp) -> Finding:
    asked_at = system_now()
    try:
        time, headers = await _get(settings, http, settings.venue.time(), settings.venue.read_time)
    except NotFound as error:
        return Finding("clock", Verdict.WARNING, f"this machine's clock has to do: {error}", "have it set by NTP")
    round_trip = system_now() - asked_at
    return _clocks((asked_at + round_trip / 2 - time) / SECOND, simulated=SPEED_HEADER in headers)


async def _examine_symbols(settings: Settings, http: AiohttpHttp) -> tuple[Finding, list[str]]:
    """Whether the wanted symbols trade, and which they are."""
    try:
        listed, _ = await _get(settings, http, settings.venue.exchange_info(), settings.venue.read_exchange_info)
        symbols = resolve(settings.symbols, listed.instruments, settings.market)
    except NotFound as error:
        return Finding("symbols", Verdict.WARNING, f"nothing lists them: {error}", _WAY), list(settings.symbols)
    except UsageError as error:
        return Finding("symbols", Verdict.BROKEN, str(error), "correct SYMBOLS, or MARKET"), []
    shown = ", ".join(symbols[:5]) + (" ..." if len(symbols) > 5 else "")
    return Finding("symbols", Verdict.OK, f"{len(symbols)} of {settings.market}: {shown}"), symbols


async def _get(
    settings: Settings, http: AiohttpHttp, request: Request, read: Callable[[bytes], T]
) -> tuple[T, Mapping[str, str]]:
    """One answer, asked for once: doctor wants to know, not to succeed."""
    answer = await http.get(settings.api_url.rstrip("/") + request.path, request.params, REST_S)
    if answer.status != 200:
        raise settings.venue.error(answer.status, answer.headers, answer.body, system_now())
    return read(answer.body), answer.headers


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


async def _examine_stream(settings: Settings, symbol: str) -> Finding:
    venue = settings.venue
    kind = settings.streams[0]
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
        link.abort()
    if reason:
        return Finding("exchange stream", Verdict.BROKEN, f"{name} ended before its first frame: {reason}", _WAY)
    return Finding("exchange stream", Verdict.OK, f"{name} delivers")

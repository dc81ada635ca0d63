"""Somebody else's imitation of the exchange: terse, in real time, and no more than a client can count on.

It has nothing in common with the simulator: it was written from the interface that clients see. Every symbol trades
once a second; each second has its own numbers, and longer candles are what their seconds add up to.
"""

import asyncio
import json
import threading
import time
from typing import Any, Self
from zlib import crc32

from aiohttp import WSMsgType, web

UNITS = {"1s": 1000, "1m": 60_000, "5m": 300_000}


class FakeExchange:
    """Runs in a thread of its own. `has` names the optional things it has; `drops` says which closes are not sent."""

    def __init__(
        self, *, symbols: tuple[str, ...] = ("BTCUSDT",), has: frozenset[str] = frozenset({"time", "info", "url"}),
        drops: float = 0.0,
    ) -> None:  # fmt: skip
        self.place = ""
        self.asked: list[str] = []
        """Paths of REST requests and methods of control messages, in order."""
        self.drops = drops
        self._symbols, self._has = symbols, has
        self._sockets: dict[web.WebSocketResponse, set[str]] = {}
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        app = web.Application()
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/api/v3/klines", self._klines)
        app.router.add_get("/api/v3/ping", self._ping)
        if "time" in self._has:
            app.router.add_get("/api/v3/time", self._time)
        if "info" in self._has:
            app.router.add_get("/api/v3/exchangeInfo", self._info)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.place = "{}:{}".format(*runner.addresses[0])
        ticking = asyncio.ensure_future(self._tick())
        self._ready.set()
        await self._stopping.wait()
        ticking.cancel()
        for socket in list(self._sockets):
            await socket.close()
        await runner.cleanup()

    def truth(self, symbol: str, interval: str, open_ms: int) -> list[Any]:
        """A whole candle as a REST row."""
        return self._row(symbol, interval, open_ms, open_ms + UNITS[interval])

    def _row(self, symbol: str, interval: str, open_ms: int, until: int) -> list[Any]:
        prices = [_price(symbol, at) for at in range(open_ms, min(until, open_ms + UNITS[interval]), 1000)] or [1]
        count, total = len(prices), sum(prices)
        return [
            open_ms, f"{prices[0]}.00", f"{max(prices)}.00", f"{min(prices)}.00", f"{prices[-1]}.00", f"{count}.00",
            open_ms + UNITS[interval] - 1, f"{total}.00", count, f"{count / 2}", f"{total / 2}", "0",
        ]  # fmt: skip

    async def _ping(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _time(self, _: web.Request) -> web.Response:
        return web.json_response({"serverTime": _now()})

    async def _info(self, _: web.Request) -> web.Response:
        return web.json_response({"symbols": [{"symbol": one, "status": "TRADING"} for one in self._symbols]})

    async def _klines(self, request: web.Request) -> web.Response:
        self.asked.append("klines")
        query, now = request.query, _now()
        if query["symbol"] not in self._symbols:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        unit, limit = UNITS[query["interval"]], int(query.get("limit", "500"))
        last = min(int(query.get("endTime", now)), now)
        first = int(query.get("startTime", last - (limit - 1) * unit))
        opens = range(-(-first // unit) * unit, last + 1, unit)[:limit]
        return web.json_response([self._row(query["symbol"], query["interval"], at, now) for at in opens])

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        named = request.query.get("streams", "") if "url" in self._has else ""
        self._sockets[socket] = set(named.split("/")) - {""}
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            asked = json.loads(message.data)
            self.asked.append(asked["method"])
            if asked["method"] == "SUBSCRIBE":
                self._sockets[socket] |= set(asked["params"])
            else:
                self._sockets[socket] -= set(asked["params"])
            await socket.send_json({"result": None, "id": asked["id"]})
        del self._sockets[socket]
        return socket

    async def _tick(self) -> None:
        """Once a second, a moment after it: what ended, and what goes on."""
        second = _now() // 1000 * 1000
        while True:
            second += 1000
            await asyncio.sleep(max(0.0, second / 1000 + 0.02 - time.time()))  # noqa: TID251 - not a stage of ours
            for socket, names in list(self._sockets.items()):
                for name in sorted(names):
                    await self._tell(socket, name, second)

    async def _tell(self, socket: web.WebSocketResponse, name: str, second: int) -> None:
        lower, _, kind = name.partition("@")
        symbol, interval = lower.upper(), kind.removeprefix("kline_")
        if interval not in UNITS or symbol not in self._symbols:
            return
        unit = UNITS[interval]
        ended = second % unit == 0
        opened = second - unit if ended else second // unit * unit
        if ended and crc32(f"{name}{second}".encode()) % 1000 < self.drops * 1000:
            return
        row = self._row(symbol, interval, opened, second)
        body = {
            "t": row[0], "T": row[6], "s": symbol, "i": interval, "o": row[1], "h": row[2], "l": row[3], "c": row[4],
            "v": row[5], "n": row[8], "x": ended, "q": row[7], "V": row[9], "Q": row[10],
        }  # fmt: skip
        data = {"e": "kline", "E": second, "s": symbol, "k": body}
        if not socket.closed:
            await socket.send_json({"stream": name, "data": data})


def _now() -> int:
    return time.time_ns() // 1_000_000  # noqa: TID251 - it is the clock of the exchange


def _price(symbol: str, second: int) -> int:
    return 100 + (second // 1000 * 7919 + len(symbol)) % 50

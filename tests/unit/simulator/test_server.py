"""The exchange on real sockets."""

import asyncio
import io
import json
import zipfile

import aiohttp
import pytest
from aiohttp import WSMsgType

from candlewick.clock import SystemClock
from candlewick.market import Market
from candlewick.simulator.faults import Fault
from candlewick.simulator.server import Server, serve
from candlewick.simulator.settings import SimulatorSettings
from tests.unit.simulator.world import START


async def start(*faults: Fault, speed: float = 120.0, market: Market = Market.SPOT) -> Server:
    settings = SimulatorSettings(
        market=market, symbols=("BTCUSDT", "SOLUSDT"), start=START, faults=faults, surprises=False
    )
    return await serve(settings, SystemClock(start=START, speed=speed))


def test_server_speaks_websocket_and_rest_on_one_port() -> None:
    """A client hears klines whose closes are the truth, answers pings, and gets the same candle by REST."""

    async def main() -> None:
        server = await start()
        base = f"127.0.0.1:{server.port}"
        async with aiohttp.ClientSession() as client:
            async with client.ws_connect(f"ws://{base}/stream?streams=btcusdt@kline_1m/solusdt@aggTrade") as socket:
                await socket.send_str('{"method":"LIST_SUBSCRIPTIONS","id":1}')
                closes = []
                listed = None
                while len(closes) < 3:
                    message = json.loads((await socket.receive(timeout=20)).data)
                    if "result" in message:
                        listed = message["result"]
                    elif message["data"]["e"] == "kline" and message["data"]["k"]["x"]:
                        closes.append([message["data"]["k"][field] for field in "tohlcvTqnVQB"])
            assert listed == ["btcusdt@kline_1m", "solusdt@aggTrade"]
            for close in closes:
                assert server.exchange.truth("BTCUSDT", "1m", close[0] * 1000, close[0] * 1000 + 1) == [close]
                asked = {"symbol": "BTCUSDT", "interval": "1m", "startTime": close[0], "limit": 1}
                async with client.get(f"http://{base}/api/v3/klines", params=asked) as answer:
                    assert await answer.json() == [close]
            async with client.get(f"http://{base}/api/v3/time") as answer:
                assert float(answer.headers["x-candlewick-speed"]) == 120.0
        await server.close()

    asyncio.run(main())


@pytest.mark.parametrize(("kind", "ending"), [("cut", WSMsgType.CLOSED), ("close", WSMsgType.CLOSE)])
def test_server_ends_connections_with_and_without_a_word(kind: str, ending: WSMsgType) -> None:
    """A cut is a reset without a close frame; a close has one, with its code."""

    async def main() -> tuple[WSMsgType, int | None]:
        server = await start(Fault(kind=kind, at=60))
        async with aiohttp.ClientSession() as client:
            socket = await client.ws_connect(f"ws://127.0.0.1:{server.port}/ws/btcusdt@aggTrade", autoclose=False)
            while (message := await socket.receive(timeout=20)).type is WSMsgType.TEXT:
                pass
            code = socket.close_code
            await socket.close()
        await server.close()
        return message.type, code

    kind_of_end, code = asyncio.run(main())
    assert kind_of_end in (ending, WSMsgType.ERROR) if kind == "cut" else kind_of_end is ending
    assert code == (1006 if kind == "cut" else 1001)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(kind="reject", at=0, duration_s=900, number=418), 418),
        (Fault(kind="refuse", at=0, duration_s=900), None),
    ],
)
def test_server_refuses_connections(fault: Fault, status: int | None) -> None:
    """A rejected dial has its HTTP status, a refused one is reset."""

    async def main() -> int | None:
        server = await start(fault)
        async with aiohttp.ClientSession() as client:
            try:
                await client.ws_connect(f"ws://127.0.0.1:{server.port}/ws/btcusdt@aggTrade")
            except aiohttp.WSServerHandshakeError as error:
                return error.status
            except aiohttp.ClientError:
                return None
            finally:
                await server.close()
        raise AssertionError("the connection was opened")

    assert asyncio.run(main()) == status


@pytest.mark.parametrize("kind", ["reset_body", "no_answer"])
def test_server_breaks_off_answers(kind: str) -> None:
    """An answer that breaks off, and one that never comes, are errors of the client."""

    async def main() -> None:
        server = await start(Fault(kind=kind, at=0, duration_s=9000))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as client:
            with pytest.raises(aiohttp.ClientError):
                async with client.get(f"http://127.0.0.1:{server.port}/api/v3/exchangeInfo") as answer:
                    await answer.read()
        await server.close()

    asyncio.run(main())


def test_server_sends_a_slow_download_in_pieces() -> None:
    """The body of a slow download arrives whole, in many pieces; what came at once is not all of it."""
    path = "/data/spot/daily/klines/SOLUSDT/1h/SOLUSDT-1h-2026-10-30.zip"

    async def main() -> tuple[bytes, bytes, int]:
        server = await start(Fault(kind="slow_download", delay_s=60.0, endpoint="*2026-10-30.zip"))
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{server.port}{path}") as answer:
            first = await answer.content.readany()
            body = first + await answer.content.read()
            length = int(answer.headers["content-length"])
        await server.close()
        return first, body, length

    first, body, length = asyncio.run(main())
    assert len(body) == length
    assert len(first) < length
    assert zipfile.is_zipfile(io.BytesIO(body))


def test_server_routes_usdm() -> None:
    """On USD-M klines flow on /market over real sockets."""

    async def main() -> str:
        server = await start(market=Market.USDM)
        async with aiohttp.ClientSession() as client:
            socket = await client.ws_connect(f"ws://127.0.0.1:{server.port}/market/ws/btcusdt@kline_1m")
            message = await socket.receive(timeout=20)
            await socket.close()
        await server.close()
        found: str = json.loads(message.data)["e"]
        return found

    assert asyncio.run(main()) == "kline"


def test_server_says_when_its_port_is_taken() -> None:
    """A second server on the same port is an OSError, and leaves nothing behind."""

    async def main() -> None:
        server = await start()
        with pytest.raises(OSError, match="address"):
            await serve(SimulatorSettings(), SystemClock(), port=server.port)
        await server.close()

    asyncio.run(main())

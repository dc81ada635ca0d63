"""Counts the aggregate trades cryptofeed hands to a callback; runs in an environment of its own (see peers.py).

python peer_cryptofeed.py URL COUNT SYMBOL... prints one line of JSON.
"""

import json
import os
import sys
import time
from importlib.metadata import version

from cryptofeed import FeedHandler, connection
from cryptofeed.connection import WebsocketEndpoint
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance
from cryptofeed.symbols import Symbols


def main() -> None:
    url, expected, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    # It takes addresses of TLS only; TLS would cost it what nobody else pays here.
    Binance.websocket_endpoints = [WebsocketEndpoint(url.replace("ws:", "wss:"), options={"compression": None})]
    connect = connection.connect
    connection.connect = lambda address, **options: connect(address.replace("wss:", "ws:"), **options)
    # What REST would have listed: its own parser makes symbols of it.
    listed = [
        {"symbol": name, "status": "TRADING", "baseAsset": name[:-4], "quoteAsset": "USDT",
         "filters": [{"tickSize": "0.01"}]}
        for name in names
    ]  # fmt: skip
    Symbols.set(Binance.id, *Binance._parse_symbol_data({"symbols": listed}))  # noqa: SLF001 - instead of the network
    count = 0
    used_s = 0.0

    async def trade(_trade: object, _received_at: float) -> None:
        nonlocal count, used_s
        count += 1
        if count == 1:
            used_s = time.process_time()
        if count == expected:
            print(json.dumps({"finished_ns": time.monotonic_ns(), "cpu_s": time.process_time() - used_s}), flush=True)
            os._exit(0)

    # With uvloop 2.x finds no current event loop in its run(); it is faster without than not at all.
    uvloop = not version("cryptofeed").startswith("2.")
    handler = FeedHandler(config={"log": {"disabled": True}, "uvloop": uvloop})
    pairs = [f"{name[:-4]}-USDT" for name in names]
    handler.add_feed(Binance(symbols=pairs, channels=[TRADES], callbacks={TRADES: trade}))
    handler.run()


if __name__ == "__main__":
    main()

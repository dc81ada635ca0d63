"""Counts the frames unicorn-binance-websocket-api hands to a callback; runs in an environment of its own (see peers.py).

python peer_unicorn.py URL COUNT LIBRARY SYMBOL... prints one line of JSON.
"""

import json
import os
import sys
import time

from unicorn_binance_websocket_api import BinanceWebSocketApiManager


def main() -> None:
    url, expected, library, names = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    count = 0
    used_s = 0.0

    def receive(data: dict) -> None:
        nonlocal count, used_s
        if "stream" not in data:
            return  # the answer to a subscription
        count += 1
        if count == 1:
            used_s = time.process_time()
        if count == expected:
            print(json.dumps({"finished_ns": time.monotonic_ns(), "cpu_s": time.process_time() - used_s}), flush=True)
            os._exit(0)

    manager = BinanceWebSocketApiManager(
        exchange="binance.com", websocket_base_uri=url + "/", output_default="dict", warn_on_update=False,
        high_performance=True, websocket_library=library,
    )  # fmt: skip
    manager.create_stream(["aggTrade"], [name.lower() for name in names], process_stream_data=receive)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()

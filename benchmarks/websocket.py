"""How many messages a second `PicowsDialer` delivers over the loopback, the server being another process.

python benchmarks/websocket.py [messages] [rounds]
"""

import asyncio
import multiprocessing
import os
import resource
import socket
import struct
import sys
import time

from picows import WSListener, ws_create_server

from candlewick.clock import SystemClock
from candlewick.live.connection import PicowsDialer

MESSAGE = (
    b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1672515782136,"s":"BTCUSDT","a":12345678,'
    b'"p":"16850.01000000","q":"0.00100000","f":100,"l":105,"T":1672515782136,"m":true,"M":true}}'
)
BLOCK = 2000


class Ear:
    def __init__(self):
        self.count = 0
        self.ended = asyncio.get_running_loop().create_future()
        self.began = None

    def frame(self, payload):  # noqa: ARG002  # the trivial listener
        self.count += 1

    def heard(self):
        self.began = time.perf_counter(), time.process_time()

    def closed(self, reason):
        self.ended.set_result((time.perf_counter() - self.began[0], time.process_time() - self.began[1], reason))


def serve(port, messages):
    block = (b"\x81\x7e" + struct.pack(">H", len(MESSAGE)) + MESSAGE) * BLOCK

    class Blaster(WSListener):
        def on_ws_connected(self, transport):
            asyncio.get_running_loop().call_later(0.2, self.blast, transport)

        def blast(self, transport):
            transport.send_ping()  # the clock starts
            with socket.socket(fileno=os.dup(transport.underlying_transport.get_extra_info("socket").fileno())) as sock:
                sock.setblocking(True)
                for _ in range(messages // BLOCK):
                    sock.sendall(block)
            transport.send_close(1000)

    async def run():
        server = await ws_create_server(lambda _: Blaster(), "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


async def measure(port, rounds):
    dialer = PicowsDialer(SystemClock())
    for _ in range(rounds):
        ear = Ear()
        await dialer.dial(f"ws://127.0.0.1:{port}/", ear)
        wall_s, cpu_s, _ = await ear.ended
        print(
            f"{ear.count} messages of {len(MESSAGE)} bytes: {ear.count / wall_s / 1e6:.2f} M/s, "
            f"{cpu_s / ear.count * 1e9:.0f} ns of CPU each, peak RSS "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
        )


def main():
    messages, rounds = (int(word) for word in (*sys.argv[1:], "5000000", "3")[:2])
    receiver, sender = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.Process(target=serve, args=(sender, messages), daemon=True)
    server.start()
    try:
        asyncio.run(measure(receiver.recv(), rounds))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()

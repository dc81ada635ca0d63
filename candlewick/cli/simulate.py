"""`candlewick simulate`: the exchange simulator alone, or a mirror of real archive files."""

import argparse
import json
import signal

from candlewick.cli.table import print_json
from candlewick.config.kinds import SYMBOLS
from candlewick.errors import CandlewickError, UsageError
from candlewick.market import Market

HELP = "the exchange simulator alone: WebSocket, REST and archive on one port"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    parser.add_argument(
        "--port", type=int, default=9900, metavar="N", help="where it listens (default 9900; 0 takes a free one)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="at which address (default 127.0.0.1)")
    parser.add_argument(
        "--market", choices=[one.value for one in Market], default=Market.SPOT.value, help="which market it is"
    )
    parser.add_argument(
        "--symbols", metavar="LIST", help="what it trades (default: six symbols, some busy, some quiet)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same seed gives the same market (default 1)"
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="X",
        help="how many times faster than real its time passes (default 1)",
    )
    parser.add_argument("--faults", metavar="FILE", help="a script of troubles, TOML or JSON (docs/simulator.md)")
    parser.add_argument(
        "--archive",
        metavar="FOLDER",
        help="serve real archive files instead: a folder that holds data/spot/... or data/futures/um/... (zips or CSVs)",
    )


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    import asyncio

    if args.speed <= 0:
        raise UsageError(f"--speed {args.speed:g} is not possible: it must be more than 0")
    return asyncio.run(_simulate(args) if args.archive is None else _mirror(args))


async def _mirror(args: argparse.Namespace) -> int:
    from pathlib import Path

    from candlewick.clock import SystemClock
    from candlewick.simulator.faults import read_script
    from candlewick.simulator.mirror import Mirror

    if args.symbols:
        raise UsageError("--archive serves the symbols of its folder: leave --symbols out")
    faults = read_script(args.faults) if args.faults else ()
    mirror = Mirror(Path(args.archive), clock=SystemClock(speed=args.speed), faults=faults)
    try:
        place = await mirror.serve(args.port, args.host)
    except OSError as error:
        raise _taken(args, error) from error
    try:
        if args.json:
            # In one line: whoever started this process waits for it.
            print(json.dumps({"archive": args.archive, "url": place, "speed": args.speed}), flush=True)
        else:
            print(f"the files of {args.archive} are at {place}, with listing and REST of both markets")
            print(
                f"load them: BINANCE_API_URL={place} BINANCE_ARCHIVE_URL={place} BINANCE_ARCHIVE_LIST_URL={place}"
                " candlewick history load SYMBOL",
                flush=True,
            )
        await _until_told()
    finally:
        await mirror.close()
    return 0


async def _simulate(args: argparse.Namespace) -> int:
    from candlewick.clock import SystemClock
    from candlewick.simulator.faults import read_script
    from candlewick.simulator.server import serve
    from candlewick.simulator.settings import DEFAULT_SYMBOLS, SimulatorSettings

    settings = SimulatorSettings(
        market=Market(args.market),
        symbols=_symbols(args.symbols) if args.symbols else DEFAULT_SYMBOLS,
        seed=args.seed,
        faults=read_script(args.faults) if args.faults else (),
    )
    try:
        server = await serve(settings, SystemClock(speed=args.speed), args.host, args.port)
    except OSError as error:
        raise _taken(args, error) from error
    try:
        _announce(args, f"{server.host}:{server.port}")
        await _until_told()
    finally:
        await server.close()
    return 0


def _taken(args: argparse.Namespace, error: OSError) -> CandlewickError:
    return CandlewickError(f"{args.host}:{args.port} cannot be listened at: {error.strerror}; choose another --port")


def _symbols(text: str) -> tuple[str, ...]:
    try:
        symbols = SYMBOLS.read(text)
    except ValueError:
        raise UsageError(f"--symbols {text!r} is not possible: it must be {SYMBOLS.right}") from None
    assert isinstance(symbols, tuple)
    return symbols


def _announce(args: argparse.Namespace, place: str) -> None:
    """Say where it is: whoever started this process reads the first line."""
    if args.json:
        print_json(
            {"market": args.market, "http": f"http://{place}", "websocket": f"ws://{place}", "speed": args.speed}
        )
    else:
        print(
            f"the simulated {args.market} exchange is at http://{place} and ws://{place}, seed {args.seed}, speed {args.speed:g}"
        )
        print(
            f"follow it: BINANCE_API_URL=http://{place} BINANCE_STREAM_URL=ws://{place} MARKET={args.market} candlewick run"
        )
        print(
            f"load its history: BINANCE_ARCHIVE_URL=http://{place} BINANCE_ARCHIVE_LIST_URL=http://{place} besides",
            flush=True,
        )


async def _until_told() -> None:
    import asyncio

    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()

"""`candlewick demo`: the whole system against the built-in exchange simulator."""

import argparse

from candlewick.cli.arguments import add_overrides
from candlewick.errors import UsageError

HELP = "starts the exchange simulator and a run against it: no account, no network, no database"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    parser.add_argument(
        "--speed",
        type=float,
        default=60.0,
        metavar="X",
        help="how many times faster than real time passes (default 60)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same seed gives the same market (default 1)"
    )
    parser.add_argument("--faults", metavar="FILE", help="a script of troubles for the simulator (docs/simulator.md)")
    parser.add_argument("--duration", type=float, metavar="S", help="stop by itself after S seconds")
    parser.add_argument("--keep", action="store_true", help="keep the store when it ends")
    add_overrides(parser, ("market", "host", "port"))


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    from candlewick.cli.demonstration import demonstrate

    if args.speed <= 0:
        raise UsageError(f"--speed {args.speed:g} is not possible: it must be more than 0")
    return demonstrate(args)

"""Runs the benchmarks and prints one table: `make bench`, or `python -m benchmarks --only NAME`."""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

from benchmarks import (
    archive,
    catch_up,
    certificates,
    feeder,
    gap_handler,
    latency,
    memory,
    postgres,
    startup,
    stored,
    throughput,
    trades,
)
from benchmarks.table import Result, line, skipped, table

BENCHMARKS: dict[str, Callable[[], list[Result]]] = {
    # First those that wait for single syncs: some disks let a burst pass and then take the same time for each.
    "latency": latency.latency,
    "boundary": latency.boundary,
    "feeder": feeder.feeder,
    "postgres": postgres.postgres,
    "catch-up": catch_up.catch_up,
    "klines": throughput.klines,
    "trades": trades.trades,
    "startup": startup.startup,
    "memory": memory.memory,
    "store": stored.stored,
    "archive": archive.archive,
    "certificates": certificates.certificates,
    "gap-handler": gap_handler.gap_handler,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="run this one; may be repeated")
    parser.add_argument(
        "--full", action="store_true", help="memory over 10 M messages rather than 2 M; ArcticDB beside the store"
    )
    args = parser.parse_args()
    if args.full:
        BENCHMARKS["memory"] = partial(memory.memory, full=True)
        BENCHMARKS["store"] = partial(stored.stored, full=True)
    results: list[Result] = []
    failed = False
    for name in args.only or BENCHMARKS:
        began = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            found = BENCHMARKS[name]()
        except Exception as error:  # noqa: BLE001 - one that fails does not stop the others
            print(error, file=sys.stderr)
            found = [skipped(name, "failed: " + (str(error).strip() or repr(error)).splitlines()[-1])]
            failed = True
        for one in found:
            print(line(one), file=sys.stderr)
        print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        results += found
    print(table(results))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

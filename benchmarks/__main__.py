"""Runs the benchmarks and prints one table: `make bench`, or `python -m benchmarks --only NAME`."""

import argparse
import sys
import time

from benchmarks import latency, throughput, trades
from benchmarks.table import Result, line, skipped, table

BENCHMARKS = {
    "klines": throughput.klines,
    "trades": trades.trades,
    "latency": latency.latency,
    "boundary": latency.boundary,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="run this one; may be repeated")
    args = parser.parse_args()
    results: list[Result] = []
    for name in args.only or BENCHMARKS:
        began = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            found = BENCHMARKS[name]()
        except Exception as error:  # noqa: BLE001 - one that fails does not stop the others
            found = [skipped(name, f"failed: {error}")]
        for one in found:
            print(line(one), file=sys.stderr)
        print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        results += found
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`candlewick gaps`: what is not there, and why."""

import argparse
import sys

from candlewick.cli.arguments import add_series, choice_of, settings_of
from candlewick.cli.table import print_json, print_table
from candlewick.market import format_time

HELP = "list every gap with its reason; exit code 3 if candles are missing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_series(parser, required=False)


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    from candlewick.cli.stored import chosen, gaps_of, reading
    from candlewick.stores.store import Reason

    settings = settings_of(args)
    with reading(settings) as store:
        series = chosen(store, choice_of(args, settings))
        gaps = [gap for info in series for gap in gaps_of(store, info)]
    if args.json:
        print_json([
            {
                "market": gap.series.market.value, "symbol": gap.series.symbol, "interval": gap.series.interval.code,
                "from": gap.span.start // 1000, "to": gap.span.end // 1000, "candles": gap.candles,
                "reason": gap.reason.value,
            }
            for gap in gaps
        ])  # fmt: skip
    elif gaps:
        rows = [
            (
                str(gap.series),
                format_time(gap.span.start),
                format_time(gap.span.end),
                str(gap.candles),
                gap.reason.value,
            )
            for gap in gaps
        ]
        print_table(("series", "from", "to", "candles", "reason"), rows, frozenset({"candles"}))
    else:
        print(f"no gaps in {len(series)} series", file=sys.stderr)
    return 3 if any(gap.reason is Reason.MISSING for gap in gaps) else 0

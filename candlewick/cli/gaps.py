"""`candlewick gaps`: what is not there, and why."""

import argparse
import sys
from typing import TYPE_CHECKING, NamedTuple

from candlewick.cli.arguments import add_series, choice_of, settings_of
from candlewick.cli.table import print_json, print_table
from candlewick.market import Series, Span, format_time

if TYPE_CHECKING:  # commands answer at once
    from candlewick.stores.store import SeriesInfo, StoreReader

HELP = "list every gap with its reason; exit code 3 if candles are missing"


class _Line(NamedTuple):
    """A gap or a halt as it is shown."""

    series: Series
    span: Span
    candles: int
    reason: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_series(parser, required=False)
    parser.add_argument(
        "--halts", action="store_true", help="show halts on USD-M too: candles without trades, which are no gaps"
    )


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    from candlewick.cli.stored import chosen, gaps_of, reading
    from candlewick.stores.store import Reason

    settings = settings_of(args)
    with reading(settings) as store:
        series = chosen(store, choice_of(args, settings))
        found = {info.series: gaps_of(store, info) for info in series}
        halts = {info.series: _halts(store, info) if args.halts else [] for info in series}
    lines = [
        line
        for one, gaps in found.items()
        for line in sorted(
            [*(_Line(one, gap.span, gap.candles, gap.reason.value) for gap in gaps), *halts[one]],
            key=lambda line: line.span,
        )
    ]
    if args.json:
        print_json([
            {
                "market": line.series.market.value, "symbol": line.series.symbol, "interval": line.series.interval.code,
                "from": line.span.start // 1000, "to": line.span.end // 1000, "candles": line.candles,
                "reason": line.reason,
            }
            for line in lines
        ])  # fmt: skip
    elif lines:
        rows = [
            (str(line.series), format_time(line.span.start), format_time(line.span.end), str(line.candles), line.reason)
            for line in lines
        ]
        print_table(("series", "from", "to", "candles", "reason"), rows, frozenset({"candles"}))
    else:
        print(f"no gaps in {len(series)} series", file=sys.stderr)
    return 3 if any(gap.reason is Reason.MISSING for gaps in found.values() for gap in gaps) else 0


def _halts(store: "StoreReader", info: "SeriesInfo") -> "list[_Line]":
    from candlewick.cli.stored import halts_of

    return [_Line(info.series, span, info.series.interval.count(span), "halt") for span in halts_of(store, info)]

"""`candlewick coverage`: a calendar of what is there, day by day."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from candlewick.cli.arguments import add_series, choice_of, settings_of, time_of
from candlewick.cli.table import print_json
from candlewick.errors import UsageError
from candlewick.market import Span, format_time

if TYPE_CHECKING:  # commands answer at once
    from candlewick.integrity.coverage import Coverage
    from candlewick.stores.store import SeriesInfo, StoreReader

HELP = "draw a calendar of what is there, day by day; exit code 3 if candles are missing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_series(parser, required=False)
    parser.add_argument(
        "--from", dest="start", metavar="TIME", help="where to begin (default: the first candle of each series)"
    )
    parser.add_argument("--to", dest="end", metavar="TIME", help="where to end (default: the last candle)")


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    from candlewick.cli.calendar import to_calendar, to_overview
    from candlewick.cli.stored import chosen, reading

    settings = settings_of(args)
    start, end = time_of(args.start, "--from"), time_of(args.end, "--to")
    if start is not None and end is not None and start >= end:
        raise UsageError(f"--from {args.start} is not before --to {args.end}")
    with reading(settings) as store:
        found = [_coverage(store, info, start, end) for info in chosen(store, choice_of(args, settings))]
    if args.json:
        print_json([_document(one) for one in found])
    elif not found:
        print("the store has no series yet", file=sys.stderr)
    else:
        look = {"colour": sys.stdout.isatty() and "NO_COLOR" not in os.environ, "plain": not _can_show("█")}
        sys.stdout.write(to_calendar(found[0], **look) if len(found) == 1 else to_overview(found, **look))
    return 3 if any(one.missing.any() for one in found) else 0


def _coverage(store: "StoreReader", info: "SeriesInfo", start: int | None, end: int | None) -> "Coverage":
    import numpy as np

    from candlewick.cli.stored import halts_of
    from candlewick.clock import SystemClock
    from candlewick.integrity.coverage import cover, usual_span, with_listing
    from candlewick.stores.provenance import listing_of

    series = info.series
    columns = store.columns(series, columns=["open_time", "source"])
    held = columns["open_time"].astype(np.int64, copy=False)
    absences = store.absences(series)
    usual = usual_span(series, held, absences)
    until = usual.end
    if end is not None:  # a candle that is not over cannot be there
        until = min(end, max(usual.end, series.interval.floor(SystemClock().now())))
    first = usual.start if start is None else start
    span = Span(min(first, until), until)
    listed = with_listing(absences, listing_of(store, series.market, series.symbol), series, span)
    return cover(series, span, held, columns["source"], listed, halts_of(store, info, span.start, span.end))


def _document(coverage: "Coverage") -> dict[str, Any]:
    from candlewick.stores.store import Reason

    series, span = coverage.series, coverage.span
    reasons = [reason for reason in Reason if reason is not Reason.MISSING]
    names = ("expected", "present", "certified", "halted", "missing")
    columns = [getattr(coverage, name).tolist() for name in names]
    absent = [coverage.absent[reason].tolist() for reason in reasons]
    days = [
        {
            "date": format_time((coverage.first_day + index) * 86_400_000_000)[:10],
            **{name: column[index] for name, column in zip(names, columns, strict=True)},
            "absent": {r.value: column[index] for r, column in zip(reasons, absent, strict=True) if column[index]},
            "state": state.value,
        }
        for index, state in enumerate(coverage.states)
    ]
    return {
        "market": series.market.value, "symbol": series.symbol, "interval": series.interval.code,
        "from": span.start // 1000, "to": span.end // 1000,
        **{name: sum(column) for name, column in zip(names, columns, strict=True)},
        "absent": {reason.value: sum(column) for reason, column in zip(reasons, absent, strict=True) if any(column)},
        "days": days,
    }  # fmt: skip


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True

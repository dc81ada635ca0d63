"""`candlewick history load`: brings years of candles from the exchange's archive, the newest from REST."""

import argparse
import sys
from typing import TYPE_CHECKING, TextIO

from candlewick.cli.arguments import add_overrides, settings_of, time_of
from candlewick.market import format_time, normal_symbol

if TYPE_CHECKING:  # numpy and the network wait until the command runs
    from collections.abc import Sequence

    from candlewick.config import Settings
    from candlewick.services.loading.loader import LoadResult, Planned
    from candlewick.services.loading.loading import Request

HELP = "load history from the exchange's archive and REST, and certify it"
LOAD_HELP = "load candles; exit code 3 where some are missing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    from candlewick.cli import add_common

    everywhere = argparse.ArgumentParser(add_help=False)
    add_common(everywhere, absent=argparse.SUPPRESS)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    load = actions.add_parser("load", help=LOAD_HELP, description=LOAD_HELP, parents=[everywhere])
    load.add_argument("symbol", metavar="SYMBOL", nargs="+", help="such as BTCUSDT, or a pattern such as '*USDT'")
    load.add_argument("--from", dest="start", metavar="TIME", required=True, help="first open time: ISO 8601 (UTC)")
    load.add_argument("--to", dest="end", metavar="TIME", help="open times before this (default: now)")
    add_overrides(load, ("intervals", "market", "store"))
    load.add_argument(
        "--delisted", action="store_true", help="match patterns also against what does not trade any more"
    )
    load.add_argument("--recheck", action="store_true", help="hold against the archive also what REST has vouched for")
    load.add_argument(
        "--source", choices=("klines", "trades", "aggTrades"), default="klines",
        help="make candles of the archive's trades: of any interval up to 1d, beside the exchange's own (default: klines)",
    )  # fmt: skip
    load.add_argument("--dry-run", action="store_true", help="print what would be asked for, and what it costs")
    load.add_argument("--no-certify", action="store_true", help="issue no certificate")


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    import asyncio

    from candlewick.cli import INTERRUPTED
    from candlewick.cli.progress import Progress
    from candlewick.cli.stored import say_where_it_goes
    from candlewick.cli.table import print_json
    from candlewick.services.loading.loading import Interrupted, load_history, plan_history
    from candlewick.services.loading.trades import RebuildResult

    intervals = args.intervals
    if args.source != "klines":
        args.intervals = None  # candles can be made of intervals that the exchange does not have
    settings = settings_of(args)
    request = _request(args, settings, intervals)
    with Progress() as progress:
        if args.dry_run:
            planned = asyncio.run(plan_history(settings, request, progress.tell))
        else:
            results = asyncio.run(load_history(settings, request, progress.tell, progress.tally))
    if args.dry_run:
        if isinstance(planned, Interrupted):
            return INTERRUPTED
        _show_plan(planned, as_json=args.json)
        return 0
    if isinstance(results, Interrupted):
        print("interrupted; what was written is whole: the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    say_where_it_goes(settings)
    if args.json:
        print_json(results)
    _summarise(results, sys.stderr if args.json else sys.stdout)
    if any(isinstance(one, RebuildResult) and one.different for one in results):
        return 1
    return 0 if all(one.complete for one in results) else 3


def _request(args: argparse.Namespace, settings: "Settings", intervals: str | None) -> "Request":
    from candlewick.errors import UsageError
    from candlewick.exchanges.exchange import ArchiveKind
    from candlewick.market import Interval
    from candlewick.services.loading.loading import Request

    start, end = time_of(args.start, "--from"), time_of(args.end, "--to")
    assert start is not None
    if end is not None and end <= start:
        raise UsageError(f"--to {args.end} is not after --from {args.start}")
    symbols = tuple(dict.fromkeys(map(normal_symbol, (name for one in args.symbol for name in one.split(",") if name))))
    wanted = settings.intervals
    if args.source != "klines" and intervals:
        wanted = tuple(dict.fromkeys(Interval(one.strip()) for one in intervals.split(",") if one.strip()))
    return Request(
        symbols, wanted, start, end, delisted=args.delisted, certify=not args.no_certify, recheck=args.recheck,
        source=ArchiveKind(args.source),
    )  # fmt: skip


def _show_plan(planned: "Sequence[Planned]", *, as_json: bool) -> None:
    from candlewick.cli.table import print_json, print_table

    steps = [(one, step) for one in planned for step in one.steps]
    if as_json:
        print_json([
            {
                "series": str(one.series), "way": step.way.value, "file": step.file.name if step.file else None,
                "from": step.needed[0].start // 1000, "to": step.needed[-1].end // 1000, "listed": step.is_listed,
                "bytes": step.bytes, "requests": step.requests, "weight": step.weight,
            }
            for one, step in steps
        ])  # fmt: skip
        return
    for one in planned:
        if not one.steps:
            print(f"{one.series}: nothing to load")
    if not steps:
        return
    headers = ("series", "from", "way", "what", "bytes", "requests", "weight")
    rows = [
        (
            str(one.series), format_time(step.needed[0].start), step.way.value,
            step.file.name.rpartition("/")[2] if step.file else f"to {format_time(step.needed[-1].end)}",
            f"{'' if step.is_listed else '~'}{step.bytes}", str(step.requests), str(step.weight),
        )
        for one, step in steps
    ]  # fmt: skip
    total = [sum(getattr(step, name) for _, step in steps) for name in ("bytes", "requests", "weight")]
    rows.append((f"{len(steps)} steps", "", "", "", str(total[0]), str(total[1]), str(total[2])))
    print_table(headers, rows, frozenset({"bytes", "requests", "weight"}))


def _summarise(results: "Sequence[LoadResult]", to: TextIO) -> None:
    from candlewick.cli.rebuilt import lines_of
    from candlewick.services.loading.trades import RebuildResult

    for one in results:
        for line in lines_of(one) if isinstance(one, RebuildResult) else _lines(one):
            print(line, file=to)


def _lines(one: "LoadResult") -> list[str]:
    name = f"{one.market}:{one.symbol}:{one.interval}"
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(one.absent.items()))
    held = f"{one.held} of {one.expected} candles" if one.held != one.expected else f"{one.held} candles"
    state = "complete" if one.complete else "NOT COMPLETE"
    if not one.rows and not one.archive_files and one.complete and not one.troubles:
        head = f"{name}: nothing to load: {held}, complete"
    else:
        head = (
            f"{name}: {one.rows} candles loaded from {one.archive_files} files ({one.bytes / 1e6:.1f} MB) and "
            f"{one.rest_requests} REST requests; {held}, {state}"
        )
    lines = [head + (f" ({reasons})" if reasons else "")]
    if one.missing:
        lines.append(f"  {one.missing} missing: somebody could not be asked, or what was answered proves nothing")
    if one.revised:
        lines.append(f"  {one.revised} revised: the archive differs from what was held; see candles --revisions")
    lines += [f"  trouble: {text}" for text in one.troubles[:3]]
    if len(one.troubles) > 3:
        lines.append(f"  and {len(one.troubles) - 3} more")
    if one.certificate:
        lines.append(f"  certificate root {one.certificate}")
    return lines

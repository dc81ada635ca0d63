"""`candlewick export`: a series as files that name themselves."""

import argparse
from pathlib import Path

from candlewick.cli.arguments import add_series, choice_of, settings_of, time_of
from candlewick.cli.table import print_json
from candlewick.errors import UsageError
from candlewick.market import Span

HELP = "write a series to Parquet, CSV or Arrow files with everything that is known of it"
FORMATS = ("parquet", "csv", "arrow")
_EARLIEST, _LATEST = -(1 << 62), 1 << 62


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_series(parser, required=True)
    parser.add_argument(
        "--from", dest="start", metavar="TIME", help="first open time: ISO 8601 (UTC) or epoch milliseconds"
    )
    parser.add_argument("--to", dest="end", metavar="TIME", help="open times before this")
    parser.add_argument(
        "--format", choices=FORMATS, help="default: what the name of --output says, else parquet, a file a month"
    )
    parser.add_argument("--output", metavar="PATH", required=True, help="a folder; of CSV and Arrow a file as well")
    parser.add_argument("--force", action="store_true", help="write over files that are there")


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    from candlewick.cli.stored import chosen, reading
    from candlewick.reading.export import export
    from candlewick.reading.files import Format

    start, end = time_of(args.start, "--from"), time_of(args.end, "--to")
    if start is not None and end is not None and start >= end:
        raise UsageError(f"--from {args.start} is not before --to {args.end}")
    span = (
        None
        if start is None and end is None
        else Span(_EARLIEST if start is None else start, _LATEST if end is None else end)
    )
    suffix = Path(args.output).suffix.removeprefix(".")
    form = Format(args.format or (suffix if suffix in FORMATS else "parquet"))
    output = Path(args.output)
    if args.output.endswith("/") and form is not Format.PARQUET:
        output.mkdir(parents=True, exist_ok=True)
    settings = settings_of(args)
    with reading(settings) as store:
        (info,) = chosen(store, choice_of(args, settings))
        done = export(store, info.series, span, form, output, force=args.force)
    if args.json:
        series = info.series
        print_json({
            "market": series.market.value, "symbol": series.symbol, "interval": series.interval.code,
            "format": form.value, "candles": done.rows, "files": [str(path) for path in done.files],
        })  # fmt: skip
    else:
        files = "1 file" if len(done.files) == 1 else f"{len(done.files)} files"
        print(f"{done.rows:,} candles of {info.series} in {files}: {args.output}")
    return 0

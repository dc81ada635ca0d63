"""`candlewick candles`: prints stored candles."""

import argparse
import sys
from collections.abc import Iterable

from candlewick.cli.arguments import add_series, choice_of, settings_of, time_of
from candlewick.errors import CandlewickError, UsageError

HELP = "print stored candles, oldest first"
FORMATS = ("table", "csv", "json", "parquet", "arrow")
TABLE_ROWS = 20
"""What a table shows where nothing says how much is wanted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_series(parser, required=True)
    parser.add_argument(
        "--from", dest="start", metavar="TIME", help="first open time: ISO 8601 (UTC) or epoch milliseconds"
    )
    parser.add_argument("--to", dest="end", metavar="TIME", help="open times before this")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="at most N candles: the first ones after --from, else the newest ones"
    )
    parser.add_argument("--format", choices=FORMATS, help="table (default), csv, json, parquet or arrow")
    parser.add_argument("--output", metavar="FILE", help="write to a file instead of stdout")
    parser.add_argument(
        "--revisions", action="store_true", help="show values that were replaced, beside those that replaced them"
    )


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    from candlewick.cli import formats
    from candlewick.cli.stored import chosen, reading

    form = args.format or ("json" if args.json else "table")
    start, end = time_of(args.start, "--from"), time_of(args.end, "--to")
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit {args.limit} is not possible: it must be 1 or more")
    if form in {"parquet", "arrow"} and args.output is None and sys.stdout.isatty():
        raise UsageError(f"{form} is no text for a terminal: use --output FILE, or redirect stdout")
    if args.revisions:
        return _show_revisions(args, form, start, end)
    settings = settings_of(args)
    limit = args.limit
    if form == "table" and limit is None and start is None and end is None:
        limit = TABLE_ROWS
    with reading(settings) as store:
        (info,) = chosen(store, choice_of(args, settings), counted=form == "table")
        rows = store.read(info.series, start, end, last=limit if start is None else None)
    rows = rows if limit is None else rows[:limit]
    if form == "table":
        _write([formats.to_text(rows, bold=args.output is None and sys.stdout.isatty())], args.output)
        if len(rows) < info.rows and limit != args.limit:
            print(f"the newest {len(rows)} of {info.rows} candles; see --limit, --from and --to", file=sys.stderr)
    elif form in {"csv", "json"}:
        _write(formats.to_csv(rows) if form == "csv" else formats.to_json(rows), args.output)
    else:
        _write([formats.to_binary(rows, form)], args.output)
    return 0


def _show_revisions(args: argparse.Namespace, form: str, start: int | None, end: int | None) -> int:
    from candlewick.cli import revisions
    from candlewick.cli.stored import chosen, reading

    if form in {"parquet", "arrow"}:
        raise UsageError(f"--revisions has no format {form}: there are table, csv and json")
    settings = settings_of(args)
    with reading(settings) as store:
        (info,) = chosen(store, choice_of(args, settings))
        found = revisions.revisions_of(store, info.series, start, end, args.limit)
    if form == "table":
        if not found:
            print(f"nothing of {info.series} was revised there", file=sys.stderr)
            return 0
        _write([revisions.to_text(found, bold=args.output is None and sys.stdout.isatty())], args.output)
    else:
        _write(revisions.to_csv(found) if form == "csv" else revisions.to_json(found), args.output)
    return 0


def _write(parts: Iterable[str] | Iterable[bytes], path: str | None) -> None:
    if path is None:
        for part in parts:
            sys.stdout.buffer.write(part.encode() if isinstance(part, str) else part)
        return
    try:
        with open(path, "wb") as file:  # noqa: PTH123 - `-` and other special names are the user's
            for part in parts:
                file.write(part.encode() if isinstance(part, str) else part)
    except OSError as error:
        raise CandlewickError(f"{path} cannot be written: {error.strerror}") from error

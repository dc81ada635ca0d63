"""`candlewick repair`: finds and mends every gap now."""

import argparse
import sys
from urllib.parse import urlencode

from candlewick.cli.arguments import Choice, add_series, choice_of, settings_of
from candlewick.cli.table import print_json, print_table
from candlewick.config import Settings
from candlewick.market import format_time
from candlewick.services.status import RepairResult

HELP = "find and mend every gap now, by way of the run that writes the store if there is one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_series(parser, required=False)


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    settings = settings_of(args)
    results = _repair(settings, choice_of(args, settings))
    if args.json:
        print_json(results)
    elif results:
        print_table(
            ("series", "from", "to", "recovered", "absent", "missing", "error"),
            map(_row, results),
            frozenset({"recovered", "absent", "missing"}),
        )
    else:
        print("nothing to repair", file=sys.stderr)
    return 3 if any(one.missing or one.error for one in results) else 0


def _repair(settings: Settings, choice: Choice) -> list[RepairResult]:
    import asyncio

    from candlewick.cli.asking import ask_repair, run_url
    from candlewick.cli.stored import writer_now
    from candlewick.services.log import start_logging
    from candlewick.services.supervisor import repair_once

    writer = writer_now(settings)
    if writer is not None:
        named = {"symbol": choice.symbol, "interval": choice.interval and choice.interval.code}
        query = urlencode({key: value for key, value in named.items() if value})
        return ask_repair(writer.url or run_url(settings), settings.control_token, query)
    start_logging(settings.log_level)
    return asyncio.run(repair_once(settings, choice.fits))


def _row(one: RepairResult) -> tuple[str, ...]:
    return (
        f"{one.market}:{one.symbol}:{one.interval}", format_time(one.start * 1000), format_time(one.end * 1000),
        str(one.recovered), str(one.absent), str(one.missing), one.error or "",
    )  # fmt: skip

"""`candlewick gap-handler`: repairs what the shared database lacks, on request and on its own."""

import argparse

from candlewick import config
from candlewick.cli.run import heed_sigterm
from candlewick.config import Settings

HELP = "repair gaps in the shared database, on request (port 9000) and on its own, until SIGTERM or Ctrl-C"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    rows = {row.field: row for row in config.ROWS}
    for name, field, metavar in (("host", "http_host", "HOST"), ("port", "gap_handler_port", "N")):
        row = rows[field]
        parser.add_argument(f"--{name}", metavar=metavar, help=f"{row.about.meaning} ({row.name})")


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    settings: Settings = config.load(args.config, {"http_host": args.host, "gap_handler_port": args.port}).settings
    heed_sigterm()
    import asyncio

    from candlewick.services.gap_handler import service
    from candlewick.services.log import start_logging
    from candlewick.web import gap_handler

    start_logging(settings.log_level)
    return asyncio.run(service.run(settings, gap_handler.start))

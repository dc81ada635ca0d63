"""`candlewick feeder`: live ingestion into the shared database, by way of the local record."""

import argparse

from candlewick.cli.arguments import FOLLOW, add_overrides, settings_of

HELP = "take in candles, keep them on this machine, and feed the shared database, until SIGTERM or Ctrl-C"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_overrides(parser, FOLLOW)


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    settings = settings_of(args)
    _ = settings.database_url  # says at once which setting is missing
    import asyncio

    from candlewick.services import supervisor
    from candlewick.services.log import start_logging
    from candlewick.web import server

    start_logging(settings.log_level)
    return asyncio.run(supervisor.run(settings, server.start, feeds=True))

"""`candlewick feeder`: live ingestion into the shared database, by way of the local record."""

import argparse

from candlewick.cli.arguments import FOLLOW, add_overrides, settings_of
from candlewick.cli.run import follow

HELP = "take in candles, keep them on this machine, and feed the shared database, until SIGTERM or Ctrl-C"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_overrides(parser, FOLLOW)


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    settings = settings_of(args)
    _ = settings.database_url  # says at once which setting is missing
    return follow(settings, feeds=True)

"""`candlewick run`: live ingestion, repair and web in one process."""

import argparse
import signal
import sys

from candlewick.cli.arguments import FOLLOW, add_overrides, settings_of
from candlewick.config import Settings

HELP = "take in candles and keep them whole, until SIGTERM or Ctrl-C"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_overrides(parser, FOLLOW)


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    return follow(settings_of(args))


def heed_sigterm() -> None:
    """End at SIGTERM until the event loop listens, which takes a second: a container's first process is deaf otherwise."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def follow(settings: Settings, *, feeds: bool = False) -> int:
    """Run until told to stop; `feeds`: into the shared database, as a feeder."""
    heed_sigterm()
    import asyncio

    from candlewick.services import supervisor
    from candlewick.services.log import start_logging
    from candlewick.web import server

    start_logging(settings.log_level)
    return asyncio.run(supervisor.run(settings, server.start, feeds=feeds))

"""`candlewick doctor`: what is wrong with this installation, and how to mend it."""

import argparse
from collections.abc import Iterator

from candlewick import __version__
from candlewick.cli.arguments import FOLLOW, add_overrides, loaded_of
from candlewick.cli.findings import Finding, Verdict
from candlewick.cli.table import print_json
from candlewick.config import masked
from candlewick.errors import ConfigError

HELP = "what is wrong with this installation and how to mend it; exit code 1 if something is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_overrides(parser, FOLLOW)


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    findings = list(_examine(args))
    if args.json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.verdict.value:8} {finding.check}: {finding.found}")
            if finding.remedy:
                print(f"         -> {finding.remedy}")
    return 1 if any(finding.verdict is Verdict.BROKEN for finding in findings) else 0


def _examine(args: argparse.Namespace) -> Iterator[Finding]:
    import asyncio

    from candlewick.cli import network, place

    yield _python()
    try:
        loaded = loaded_of(args)
    except ConfigError as error:
        yield Finding("settings", Verdict.BROKEN, masked(str(error)), "correct that value, then run doctor again")
        return
    yield Finding("settings", Verdict.OK, f"from {loaded.path or 'the environment'}")
    yield from place.examine(loaded.settings)
    if loaded.settings.is_shared or loaded.settings.db_password:
        from candlewick.cli import shared

        yield from asyncio.run(shared.examine(loaded.settings))
    yield from asyncio.run(network.examine(loaded.settings))


def _python() -> Finding:
    import platform

    return Finding("python", Verdict.OK, f"{platform.python_version()}, candlewick {__version__}")

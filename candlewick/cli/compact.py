"""`candlewick compact`: gives space back and proves that nothing has changed."""

import argparse

from candlewick.cli.arguments import add_overrides, settings_of
from candlewick.cli.table import print_json
from candlewick.errors import UsageError

HELP = "give space of the store back, and prove by hash that nothing has changed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_overrides(parser, ("store",))


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    from candlewick.cli.stored import folder_of
    from candlewick.stores.compaction import compact

    settings = settings_of(args)
    folder = folder_of(settings)
    if folder is None or (args.store and settings.is_shared):
        raise UsageError("only an embedded store (lmdb:///folder) can be compacted: name one with --store")
    done = compact(folder.expanduser().absolute())
    if args.json:
        print_json({"store": settings.record, **done._asdict()})
        return 0
    share = 100 * (done.before - done.after) / done.before if done.before else 0.0
    print(f"{settings.record}: {done.before:,} bytes before, {done.after:,} after ({share:.1f} % given back)")
    print(f"{done.candles:,} candles in {done.series} series, unchanged: sha256 {done.sha256}")
    return 0

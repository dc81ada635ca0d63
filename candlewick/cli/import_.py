"""`candlewick import`: files that `candlewick export` wrote, into the store."""

import argparse
import sys
from pathlib import Path

from candlewick.cli.arguments import add_overrides, settings_of
from candlewick.cli.table import print_json, print_table

HELP = "take exported files (Parquet, CSV, Arrow) into the store"
_COUNTS = ("inserted", "confirmed", "unchanged", "revised", "refused", "broken", "absences")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    parser.add_argument("path", metavar="PATH", help="a file, or a folder of files; they name their series themselves")
    add_overrides(parser, ("store",))


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    from candlewick.cli.stored import say_where_it_goes
    from candlewick.clock import SystemClock
    from candlewick.services.imports import Importer
    from candlewick.stores import open_store

    settings = settings_of(args)
    store = open_store(settings.record, write=True)
    try:
        importer = Importer(store, SystemClock().now())
        importer.take(Path(args.path))
    finally:
        store.close()
    say_where_it_goes(settings)
    found = list(importer.tally.values())
    if args.json:
        print_json(found)
    else:
        rows = [
            (f"{one.market}:{one.symbol}:{one.interval}", str(one.files), *(f"{getattr(one, n):,}" for n in _COUNTS))
            for one in found
        ]
        print_table(("series", "files", *_COUNTS), rows, frozenset({"files", *_COUNTS}))
    for one in found:
        name = f"{one.market}:{one.symbol}:{one.interval}"
        if not one.has_provenance:
            print(f"{name}: came without its provenance: rows alone, no reasons of absences", file=sys.stderr)
        if one.certificate == "differs":
            print(f"{name}: the certificate that came with it does not prove what is held now", file=sys.stderr)
        if one.broken:
            print(f"{name}: {one.broken:,} rows broke a rule and are in the quarantine", file=sys.stderr)
    return 1 if any(one.broken for one in found) else 0

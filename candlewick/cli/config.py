"""`candlewick config`: the settings as they are, and whether they can be."""

import argparse
import sys

from candlewick import config
from candlewick.cli.arguments import FOLLOW, add_overrides, loaded_of
from candlewick.cli.table import print_json, print_table
from candlewick.config.kinds import to_text

HELP = "show or check the settings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    parser.add_argument(
        "action", choices=("show", "check"), help="show every setting with its origin, or only check them"
    )
    add_overrides(parser, FOLLOW)


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    loaded = loaded_of(args)
    if args.action == "check":
        _say_fine(loaded, as_json=args.json)
    else:
        _show(loaded, as_json=args.json)
    return 0


def _say_fine(loaded: config.Loaded, *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, "file": loaded.path and str(loaded.path)})
    else:
        source = f"{loaded.path} and the environment" if loaded.path else "the environment; there is no settings file"
        print(f"the settings are fine (from {source})")


def _show(loaded: config.Loaded, *, as_json: bool) -> None:
    shown = [(row, row.shown(loaded.settings), loaded.origins[row.field]) for row in config.ROWS]
    if as_json:
        print_json([
            {
                "name": row.name, "value": value, "origin": origin, "default": row.mask(to_text(row.default)),
                "aliases": row.about.aliases, "meaning": row.about.meaning,
            }
            for row, value, origin in shown
        ])  # fmt: skip
        return
    print_table(("setting", "value", "origin"), [(row.name, value, origin) for row, value, origin in shown])
    if loaded.path is None:
        print(f"no {config.FILE_NAME} here and no {config.FILE_VARIABLE}", file=sys.stderr)

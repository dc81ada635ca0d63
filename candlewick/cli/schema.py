"""`candlewick schema`: makes the tables of the shared database, and looks whether they are as they should be."""

import argparse
import sys
from typing import TYPE_CHECKING

from candlewick.cli.arguments import add_overrides, settings_of
from candlewick.cli.table import print_json, print_table

if TYPE_CHECKING:  # the driver waits until the command runs
    from candlewick.stores.postgres.schema import Finding, Migrated, SchemaOptions

HELP = "make or check the tables of the shared database"
INIT_HELP = "bring the database to the newest version of the schema; what it holds stays"
CHECK_HELP = "look whether tables, functions, policies and jobs are as they should be; exit code 1 if not"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    from candlewick.cli import add_common

    everywhere = argparse.ArgumentParser(add_help=False)
    add_common(everywhere, absent=argparse.SUPPRESS)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, words in (("init", INIT_HELP), ("check", CHECK_HELP)):
        action = actions.add_parser(name, help=words, description=words, parents=[everywhere])
        add_overrides(action, ("store",))


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    import asyncio

    from candlewick.services.schema import schema_options

    settings = settings_of(args)
    url = settings.database_url
    options = schema_options(settings) if args.action == "init" else None
    place, done, findings = asyncio.run(_ask(url, options))
    if args.json:
        print_json(
            {
                "database": place,
                **({} if done is None else done._asdict()),
                "findings": [one._asdict() for one in findings],
            }
        )
    else:
        if done is not None:
            _print_done(place, done)
        shown = findings if done is None else _summary(findings)
        print_table(("what", "status", "details"), [(one.name, one.status.value, one.details) for one in shown])
    wrong = [one for one in findings if one.status in {"missing", "different"}]
    if wrong and not args.json:
        print(f"{len(wrong)} of {len(findings)} are not as they should be", file=sys.stderr)
    return 1 if wrong else 0


async def _ask(url: str, options: "SchemaOptions | None") -> "tuple[str, Migrated | None, list[Finding]]":
    from candlewick.stores.postgres.connection import Database, Limits
    from candlewick.stores.postgres.schema import check, migrate

    # taking over what stood there may take as long as it does
    limits = Limits(least=1, most=1, statement_s=86400.0)
    database = await Database.open(url, limits, application="candlewick schema")
    try:
        async with database.acquire() as connection:
            done = None if options is None else await migrate(connection, options)
            return database.place, done, await check(connection)
    finally:
        await database.close()


def _print_done(place: str, done: "Migrated") -> None:
    if done.before == done.after and not done.applied:
        print(f"{place}: version {done.after}, nothing to do")
    else:
        print(f"{place}: from version {done.before} to {done.after}")
    for one in done.applied:
        print(f"  applied {one}")
    for note in done.notes:
        print(f"  note: {note}")


def _summary(findings: "list[Finding]") -> "list[Finding]":
    """What `init` tells: what kind of database it is, who runs the jobs, and what is wrong."""
    told = {"database", "jobs"}
    return [one for one in findings if one.status != "ok" or one.name in told or one.name.startswith("role ")]

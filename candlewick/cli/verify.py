"""`candlewick verify`: a certificate against the store, or the whole store against itself."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from candlewick.cli.arguments import add_overrides, settings_of
from candlewick.cli.table import print_json
from candlewick.errors import UsageError

if TYPE_CHECKING:  # numpy waits until the command runs
    from candlewick.certificates.finding import Finding
    from candlewick.config import Settings
    from candlewick.stores.store import StoreReader

HELP = "check a certificate against the store, or the whole store against itself; exit code 1 if something differs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="a certificate (default: check the whole store)")
    parser.add_argument(
        "--online", action="store_true", help="also ask the archive whether the files that were used are still the same"
    )
    add_overrides(parser, ("store",))


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    from candlewick.cli.stored import reading

    settings = settings_of(args)
    with reading(settings) as store:
        found, is_complete, proved = _certificate(args.file, store) if args.file else _store(store)
        if args.online:
            found += _online(settings, store)
    if args.json:
        print_json([
            {
                "series": one.series, "from": one.span and one.span.start // 1000,
                "to": one.span and one.span.end // 1000, "what": one.what, "detail": one.detail, "note": one.is_note,
            }
            for one in found
        ])  # fmt: skip
    else:
        for one in found:
            print(f"note: {one}" if one.is_note else one)
    wrong = sum(not one.is_note for one in found)
    if wrong:
        print(f"{wrong} differences", file=sys.stderr)
        return 1
    print(proved, file=sys.stderr)
    return 0 if is_complete else 3


def _online(settings: "Settings", store: "StoreReader") -> "list[Finding]":
    import asyncio

    from candlewick.services.online import compare_online

    return asyncio.run(compare_online(settings, store, lambda _: None))


def _certificate(path: str, store: "StoreReader") -> "tuple[list[Finding], bool, str]":
    from candlewick.certificates.check import verify
    from candlewick.certificates.document import Certificate

    try:
        document = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    certificate = Certificate.from_json(document)
    found = verify(certificate, store)
    state = "complete" if certificate.complete else "not complete, as it says itself"
    proved = f"{certificate.series} {certificate.range}: {certificate.present} candles as certified; {state}"
    return found, certificate.complete, proved


def _kept_since(store: "StoreReader", now: int) -> int:
    """Candles that open before may have been let go: a shared database has a retention; 0 where all are kept."""
    if not store.location.startswith("postgresql://"):
        return 0
    from candlewick.stores.postgres.store import PostgresReader

    assert isinstance(store, PostgresReader)
    return store.kept_since(now)


def _store(store: "StoreReader") -> "tuple[list[Finding], bool, str]":
    from candlewick.certificates.audit import verify_store
    from candlewick.cli.stored import gaps_of
    from candlewick.clock import SystemClock
    from candlewick.services.agreement import compare_intervals
    from candlewick.stores.store import Reason

    now = SystemClock().now()
    found = [*verify_store(store, now, _kept_since(store, now)), *compare_intervals(store)]
    wrong = any(not one.is_note for one in found)
    series = store.series()
    missing = (
        0
        if wrong
        else sum(gap.candles for info in series for gap in gaps_of(store, info) if gap.reason is Reason.MISSING)
    )
    held = sum(info.rows for info in series)
    state = f"{missing} candles are missing, see `candlewick gaps`" if missing else "no candle is missing"
    return found, not missing, f"{held} candles in {len(series)} series keep every rule; {state}"

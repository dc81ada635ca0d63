"""`candlewick certify`: writes the completeness certificate of a series."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from candlewick.cli.arguments import add_series, choice_of, settings_of, time_of
from candlewick.errors import CandlewickError

if TYPE_CHECKING:  # numpy waits until the command runs
    from candlewick.certificates.document import Certificate

HELP = "write the completeness certificate of a series; exit code 3 if it is not complete"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_series(parser, required=True)
    parser.add_argument("--from", dest="start", metavar="TIME", help="first open time (default: the first candle held)")
    parser.add_argument("--to", dest="end", metavar="TIME", help="open times before this (default: after the last)")
    parser.add_argument("--output", metavar="FILE", help="write to a file instead of stdout")


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    from candlewick.certificates.issue import certify
    from candlewick.cli.stored import chosen, reading
    from candlewick.market import Span

    start, end = time_of(args.start, "--from"), time_of(args.end, "--to")
    settings = settings_of(args)
    with reading(settings) as store:
        (info,) = chosen(store, choice_of(args, settings))
        span = None
        if start is not None or end is not None:
            first = start if start is not None else (info.first or 0)
            span = Span(first, end if end is not None else info.series.interval.next(info.last or first))
        certificate = certify(store, info.series, span)
    document = certificate.to_json()
    if args.output is None:
        sys.stdout.buffer.write(document)
    else:
        try:
            Path(args.output).write_bytes(document)
        except OSError as error:
            raise CandlewickError(f"{args.output} cannot be written: {error.strerror}") from error
    print(_summary(certificate), file=sys.stderr)
    return 0 if certificate.complete else 3


def _summary(certificate: "Certificate") -> str:
    one = certificate
    parts = [f"{one.present} of {one.expected} candles"]
    parts += [f"{one.absent} absent for a reason"] if one.absent else []
    parts += [f"{one.missing} missing"] if one.missing else []
    parts += [f"{one.unsettled} not confirmed by a settled source"] if one.unsettled else []
    parts += [] if one.complete or one.missing or one.unsettled else ["some of them still pending"]
    verdict = "complete" if one.complete else "not complete"
    return f"{one.series} {one.range}: {verdict}, {', '.join(parts)}\nsha256 {one.sha256}"

"""The command line. Nothing heavy is imported before a command needs it: `--help` answers at once."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from keyword import iskeyword
from typing import Protocol

from candlewick import __version__
from candlewick.config import masked
from candlewick.errors import CandlewickError, ConfigError, UsageError

OK, FAILED, USAGE, INCOMPLETE = 0, 1, 2, 3
"""Exit codes; INCOMPLETE is for data that has gaps."""
INTERRUPTED = 130

COMMANDS = (
    "run", "feeder", "demo", "simulate", "history", "candles", "gaps", "coverage", "export", "import", "compact", "certify", "verify",
    "repair", "gap-handler", "schema", "status", "doctor", "config",
)  # fmt: skip
"""Each is a module beside this one, with `_` for `-`, and that name on the command line; a word of Python has a `_` behind it there."""


class Command(Protocol):
    """A module of a command."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say what it takes."""

    def execute(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    everywhere = argparse.ArgumentParser(add_help=False)
    add_common(everywhere, absent=argparse.SUPPRESS)
    parser = argparse.ArgumentParser(
        prog="candlewick",
        description="Market data that can be proved complete.",
        epilog="Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 data incomplete.",
    )
    parser.add_argument("--version", action="version", version=f"candlewick {__version__}")
    add_common(parser, absent=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command: Command = import_module(f"candlewick.cli.{name.replace('-', '_')}{'_' * iskeyword(name)}")
        sub = commands.add_parser(name, help=command.HELP, description=command.HELP, parents=[everywhere])
        command.add_arguments(sub)
        sub.set_defaults(execute=command.execute)
    return parser


def add_common(parser: argparse.ArgumentParser, absent: str | None) -> None:
    """Options of every command."""
    # Taken before and after the command: after it, an option that is not given must not undo one before it.
    parser.add_argument("--config", metavar="FILE", default=absent, help="settings file (default: ./candlewick.toml)")
    parser.add_argument(
        "--json", action="store_true", default=absent or False, help="machine-readable output on stdout"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. Usage errors found by the parser raise SystemExit(2), as argparse does."""
    # numpy starts threads for matrices, which spin for a while; no command has any.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        args = make_parser().parse_args(argv)
        code: int = args.execute(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has had enough (`| head`); Python would complain of it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except CandlewickError as error:
        return _complain([error])
    except BaseExceptionGroup as group:
        # Tasks that ran together failed together; anything but our own errors is a defect and keeps its traceback.
        errors, others = group.split(CandlewickError)
        if errors is None or others is not None:
            raise
        return _complain(list(_leaves(errors)))
    return code


def _complain(errors: Sequence[BaseException]) -> int:
    for error in errors:
        print(f"candlewick: {masked(str(error))}", file=sys.stderr)
    return USAGE if all(isinstance(error, ConfigError | UsageError) for error in errors) else FAILED


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error

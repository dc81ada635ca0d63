"""`candlewick status`: what is stored, and what is running."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from candlewick.cli.arguments import FOLLOW, add_overrides, settings_of
from candlewick.cli.table import print_json, print_table
from candlewick.config import Settings, masked
from candlewick.errors import StoreError
from candlewick.market import Span, format_time
from candlewick.services.status import SeriesStatus, Status

if TYPE_CHECKING:  # only a terminal needs it
    from rich.console import Group

HELP = "what is stored and what is running; in a terminal, refreshed every second until q"
HEADERS = ("series", "first", "last", "candles", "gaps", "missing", "newest close", "last price", "state")
RIGHT = frozenset({"candles", "gaps", "missing", "last price"})


class Held(NamedTuple):
    """What the store has of a series; `gaps` are grid times without a candle, for whatever reason."""

    name: str
    first: int | None
    last: int | None
    rows: int
    gaps: int
    missing: int


class View(NamedTuple):
    """Everything that is shown. `trouble` says why the store could not be read."""

    url: str
    run: Status | None
    location: str
    trouble: str | None
    held: list[Held]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command.add_arguments`."""
    add_overrides(parser, FOLLOW)


def execute(args: argparse.Namespace) -> int:
    """See `Command.execute`."""
    settings = settings_of(args)
    if args.json:
        print_json(_document(look(settings)))
    elif sys.stdout.isatty() and sys.stdin.isatty():
        _watch(settings)
    else:
        view = look(settings)
        print("\n".join(_summary(view)))
        print_table(HEADERS, _rows(view), RIGHT)
    return 0


def look(settings: Settings) -> View:
    """What is running and stored now."""
    from candlewick.cli.asking import ask_status, run_url
    from candlewick.cli.stored import writer_now

    writer = writer_now(settings)
    url = (writer and writer.url) or run_url(settings)
    run = ask_status(url)
    location = masked(settings.store)
    try:
        return View(url, run, location, None, _held(settings))
    except StoreError as error:
        return View(url, run, location, masked(str(error)), [])


def _held(settings: Settings) -> list[Held]:
    from candlewick.cli.stored import gaps_of, reading
    from candlewick.stores.store import Reason

    held = []
    with reading(settings) as store:
        for info in store.series():
            gaps = missing = 0
            if info.first is not None and info.last is not None:
                gaps = info.series.interval.count(Span(info.first, info.last + 1)) - info.rows
            if gaps:  # only then is it worth reading every open time
                missing = sum(gap.candles for gap in gaps_of(store, info) if gap.reason is Reason.MISSING)
            held.append(Held(str(info.series), info.first, info.last, info.rows, gaps, missing))
    return held


def _summary(view: View) -> list[str]:
    from candlewick.web.health import judge

    lines = [f"store: {view.location}" if view.trouble is None else f"store: {view.trouble}"]
    if view.run is None:
        return [*lines, f"run: nothing answers at {view.url}"]
    judgement = judge(view.run)
    connected = sum(one.connected for one in view.run.connections)
    lines.append(
        f"run: {judgement.state.value} at {view.url}, {connected} of {len(view.run.connections)} connections, "
        f"{view.run.counters.candles_written} candles written"
    )
    return lines + [f"  {reason}" for reason in judgement.reasons]


def _rows(view: View) -> list[tuple[str, ...]]:
    live = {f"{one.market}:{one.symbol}:{one.interval}": one for one in (view.run.series if view.run else ())}
    held = {one.name: one for one in view.held}
    return [_row(name, held.get(name), live.get(name)) for name in sorted(live.keys() | held.keys())]


def _row(name: str, held: Held | None, live: SeriesStatus | None) -> tuple[str, ...]:
    stored = ("", "", "0", "0", "0")
    if held is not None:
        stored = (_time(held.first), _time(held.last), str(held.rows), str(held.gaps), str(held.missing))
    if live is None:
        return (name, *stored, "", "", "stored")
    price = "" if live.last_price is None else f"{live.last_price:.12g}"
    return (name, *stored, _time(live.last_close), price, "overdue" if live.stale else "live")


def _time(time: int | None) -> str:
    return "" if time is None else format_time(time)


def _document(view: View) -> dict[str, object]:
    from candlewick.web.health import judge

    run = None
    if view.run is not None:
        judgement = judge(view.run)
        run = {"url": view.url, "state": judgement.state.value, "reasons": judgement.reasons, "status": view.run}
    series = [
        {
            "series": one.name, "candles": one.rows, "gaps": one.gaps, "missing": one.missing,
            "first": None if one.first is None else one.first // 1000,
            "last": None if one.last is None else one.last // 1000,
        }
        for one in view.held
    ]  # fmt: skip
    return {"run": run, "store": {"location": view.location, "error": view.trouble, "series": series}}


def _watch(settings: Settings) -> None:
    """Show it again every second until q or Ctrl-C."""
    from rich.live import Live

    with _keys() as pressed, Live(auto_refresh=False, screen=True) as live:
        while True:
            live.update(_picture(look(settings)), refresh=True)
            # Everybody who looks has a shared database count its candles.
            if pressed(10.0 if settings.is_shared else 1.0) in {"q", "Q"}:
                return


def _picture(view: View) -> "Group":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for header in HEADERS:
        table.add_column(header, justify="right" if header in RIGHT else "left", no_wrap=True)
    for row in _rows(view):
        table.add_row(*map(Text, row), style="yellow" if row[-1] == "overdue" or row[5] != "0" else None)
    return Group(*map(Text, _summary(view)), table, Text("q to leave", style="dim"))


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Keys as they are pressed, without Enter; the terminal is put back afterwards."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield _pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _pressed(timeout_s: float) -> str:
    """The key that is pressed within `timeout_s`, or nothing."""
    import select

    ready, _, _ = select.select([sys.stdin], [], [], timeout_s)
    return sys.stdin.read(1) if ready else ""

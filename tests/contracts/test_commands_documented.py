"""docs/commands.md and docs/health.md name every command, option, path and field."""

import argparse
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from candlewick.cli import COMMANDS, make_parser
from candlewick.config import Settings
from candlewick.web.health import health
from candlewick.web.server import application
from tests.unit.web.statuses import good

DOCS = Path(__file__).parents[2] / "docs"
EVERYWHERE = {"--help", "--json", "--config"}


def parsers() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (one for one in make_parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(commands.choices)


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (one for one in action.option_strings if one.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from options(inner)


def section(name: str) -> str:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    return text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_documented_with_its_options(command: str) -> None:
    """Each command has a section whose synopsis has exactly the options that the parser takes."""
    synopsis = section(command).split("`")[1]
    assert synopsis.startswith(f"candlewick {command}")
    named = {word.strip("[]") for word in synopsis.split() if word.lstrip("[").startswith("--")}
    assert named == set(options(parsers()[command])) - EVERYWHERE


def test_options_of_every_command_are_documented() -> None:
    """--config, --json and --help are explained once, and every command takes them."""
    intro = (DOCS / "commands.md").read_text(encoding="utf-8").partition("\n## ")[0]
    assert all(f"`{option}" in intro for option in EVERYWHERE)
    assert all(set(options(parser)) >= EVERYWHERE for parser in parsers().values())


def test_http_paths_are_documented() -> None:
    """Each route has its line in health.md."""

    class Nobody:
        def status(self) -> None:
            raise NotImplementedError

        async def repair(self, series: object) -> None:
            raise NotImplementedError

    async def routes() -> set[str]:
        app = application(Nobody(), Settings())
        return {f"{one.method} {one.resource.canonical}" for one in app.router.routes() if one.method != "HEAD"}

    text = (DOCS / "health.md").read_text(encoding="utf-8")
    assert [route for route in asyncio.run(routes()) if f"| `{route}` |" not in text] == []


def test_health_fields_are_documented() -> None:
    """Each field of the document, and each of its details, has its place in health.md."""
    text = (DOCS / "health.md").read_text(encoding="utf-8")
    _, document = health(good())
    assert [name for name in (*document, *document["details"]) if f"`{name}`" not in text] == []

"""Documents: their links lead somewhere, the architecture names every folder, and what a newcomer types exists."""

import re
import shlex
from pathlib import Path

import pytest

from candlewick.cli import COMMANDS, make_parser
from candlewick.config import load
from candlewick.simulator.faults import read_script

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "candlewick/**/*.md", "tests/**/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)
FIRST_PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "ADDING_AN_EXCHANGE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/README.md",
)
TWO_PAGES = 1_400
"""Words that fit on two printed pages."""
PICTURE_BYTES = 200_000

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?:\]\(|<img src=\")([^)\"\s]+)")
_OUTSIDE = re.compile(r"[a-z]+:")
_CODE = r"(?:`|^ {4}|^\$ |/bin/|kept: )"
"""What stands before something to type, and not before a word of prose."""
_MAKE = re.compile(_CODE + r"make ([.a-z]+(?: [a-z]+)*)(?: ARGS=\"([^\"]*)\")?", re.MULTILINE)
_COMMAND = re.compile(_CODE + r"candlewick ((?:" + "|".join(COMMANDS) + r")\b[^`\n]*)", re.MULTILINE)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The names under which a page's headings can be linked."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def links(page: Path) -> list[str]:
    found = _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return [one for one in found if not _OUTSIDE.match(one)]


def made(text: str) -> list[tuple[list[str], str]]:
    """What a text tells to make: the targets, and ARGS."""
    return [(targets.split(), arguments) for targets, arguments in _MAKE.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_local_links_lead_somewhere(page: Path) -> None:
    """Each link to a file of the repository names one that is there, and a heading that the file has."""
    broken = []
    for link in links(page):
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (heading and heading not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_first_pages_are_there() -> None:
    """What a stranger looks for exists and is more than a heading."""
    assert [name for name in FIRST_PAGES if len(text_of(name).splitlines()) < 10] == []


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "ADDING_AN_EXCHANGE.md"])
def test_page_is_short_enough_to_be_read(name: str) -> None:
    """It fits on two pages."""
    assert len(text_of(name).split()) <= TWO_PAGES


def test_architecture_names_every_folder() -> None:
    """Each package, and each module that stands alone, has its place in ARCHITECTURE.md."""
    text = text_of("ARCHITECTURE.md")
    packages = {path.parent for path in (ROOT / "candlewick").rglob("__init__.py")} - {ROOT / "candlewick"}
    alone = {path for path in (ROOT / "candlewick").glob("*.py") if not path.name.startswith("__")}
    names = [f"{path.relative_to(ROOT / 'candlewick')}/" for path in sorted(packages)]
    assert [name for name in [*names, *(path.name for path in sorted(alone))] if name not in text] == []


def test_architecture_names_no_module_that_is_gone() -> None:
    """Each path that it writes out with its folder is there."""
    named = re.findall(r"`((?:[\w.]+/)+[\w.]*)`", text_of("ARCHITECTURE.md"))
    bases = (ROOT, ROOT / "candlewick", ROOT / "tests")
    assert [one for one in named if not any((base / one).exists() for base in bases)] == []


def test_index_names_every_page() -> None:
    """Each page of docs/ is linked from docs/README.md."""
    index = {(ROOT / "docs" / link).resolve() for link in links(ROOT / "docs" / "README.md")}
    assert {path.resolve() for path in ROOT.glob("docs/*.md")} - index == {ROOT.resolve() / "docs" / "README.md"}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_exist(name: str) -> None:
    """Each target that a newcomer is told to make is in the Makefile."""
    targets = set(re.findall(r"^([\w.]+):", text_of("Makefile"), re.MULTILINE))
    told = {target for found, _ in made(text_of(name)) for target in found}
    assert told
    assert told <= targets


def test_readme_runs_commands_as_they_are() -> None:
    """What README.md passes to `make demo` and `make run`, and each command line it shows, is taken by the parser."""
    text = text_of("README.md")
    lines = [f"{targets[0]} {arguments}" for targets, arguments in made(text) if arguments]
    lines += _COMMAND.findall(text)
    assert {line.split()[0] for line in lines} >= {"run", "demo", "candles", "gaps", "status"}
    for line in lines:
        make_parser().parse_args(shlex.split(line))


def test_readme_names_every_command() -> None:
    """Each command has its place in the table of README.md."""
    table = text_of("README.md").partition("\n## Commands\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(?:candlewick )?([a-z-]+)", table))
    assert set(COMMANDS) <= named


def test_readme_settings_can_be_set(tmp_path: Path) -> None:
    """The settings file in README.md is one that the program takes, and no more than ten lines."""
    file = re.findall(r"^```toml\n(.*?)^```", text_of("README.md"), re.MULTILINE | re.DOTALL)[0]
    assert len(file.splitlines()) <= 10
    path = tmp_path / "candlewick.toml"
    path.write_text(file, encoding="utf-8")
    loaded = load(path, environment={"HOME": str(tmp_path)})
    assert loaded.path == path
    assert loaded.settings.symbols == ("BTCUSDT", "ETHUSDT", "*USDC")


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/examples/*.toml")), ids=lambda path: path.name)
def test_example_script_can_be_played(path: Path) -> None:
    """Each example of troubles is a script that the simulator takes."""
    assert read_script(path)


def test_pictures_are_small_and_shown() -> None:
    """Each picture has less than 200 kB, and a page that shows it."""
    pictures = set((ROOT / "docs" / "pictures").iterdir())
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page)}
    assert [one.name for one in pictures if one.stat().st_size > PICTURE_BYTES] == []
    assert {one.resolve() for one in pictures} <= shown

"""Words: what may not stand anywhere in the repository."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Spelled in parts, so that this file does not find itself.
FORBIDDEN = {
    "a path of one machine": re.compile(r"/(?:wor" r"k|roo" r"t|hom" r"e/[a-z]+)/"),
    "a mark of unfinished work": re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"),
    "a package index": re.compile(r"py" r"pi\.org|python" r"hosted\.org"),
}
ALLOWED = re.compile(r"/home/x/")


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this is not a git checkout: which files belong to the project is not known")
    return [path for name in done.stdout.splitlines() if (path := ROOT / name).is_file() and name != "LICENSE"]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_repository_is_free_of(what: str) -> None:
    """No tracked text file holds it."""
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}"
            for number, line in enumerate(lines, 1)
            if FORBIDDEN[what].search(ALLOWED.sub("", line))
        ]
    assert found == []


def test_modules_are_named_for_what_they_hold() -> None:
    """No module is a drawer for what found no other place."""
    drawers = {"utils", "helpers", "common", "misc", "handy"}
    assert [path for path in tracked() if path.suffix == ".py" and path.stem in drawers] == []

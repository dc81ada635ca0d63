"""docs/configuration.md lists every setting, as the program has it."""

from pathlib import Path

import pytest

from candlewick.config import FILE_NAME, FILE_VARIABLE, ROWS, Row

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def line(row: Row) -> str:
    """A setting's line in its table."""
    names = ", ".join(f"`{name}`" for name in row.names)
    default = row.about.default or (f"`{row.default_text}`" if row.default_text else "none")
    purpose = f" *{row.about.purpose}*" if row.about.purpose else ""
    return f"| {names} | {default} | {row.about.meaning}{purpose} | {row.about.kind.right} |"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_setting_is_documented(row: Row) -> None:
    """Each setting has its line with names, default, meaning and what it may be, under the heading of its section."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert line(row) in text.splitlines()
    section = text.partition(f"\n## {row.about.section}\n")[2].partition("\n## ")[0]
    assert line(row) in section


def test_document_names_no_setting_that_is_gone() -> None:
    """Every line of the tables is a setting, and the file and its variable are named."""
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = {one for one in text.splitlines() if one.startswith("| `")}
    assert lines == {line(row) for row in ROWS}
    assert FILE_NAME in text
    assert FILE_VARIABLE in text


@pytest.mark.parametrize("row", [row for row in ROWS if not row.about.purpose], ids=lambda row: row.name)
def test_setting_without_a_purpose_is_read(row: Row) -> None:
    """What is not marked for a later capability is read somewhere: no setting is accepted and ignored."""
    sources = [path.read_text(encoding="utf-8") for path in (DOCUMENT.parents[1] / "candlewick").rglob("*.py")]
    assert any(f"settings.{row.field}" in text or f"self.{row.field}" in text for text in sources)

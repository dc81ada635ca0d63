"""The page about the simulator names what there is."""

from pathlib import Path

from candlewick.simulator.faults import FORMS, KINDS
from candlewick.simulator.settings import DEFAULT_SYMBOLS, NOT_TRADING

PAGE = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_page_names_every_fault_with_what_it_takes() -> None:
    """Every kind has a row with its parameters, and every form of a mangled frame is named."""
    rows = [line.split("|")[1:3] for line in PAGE.splitlines() if line.startswith("| `")]
    taken = {kind.strip(" `"): takes for names, takes in rows for kind in names.split(",")}
    for kind, row in KINDS.items():
        assert kind in taken, kind
        assert all(name in taken[kind] for name in row.takes), kind
    assert all(f"`{form}`" in PAGE for form in FORMS)


def test_page_names_every_symbol() -> None:
    """Every default symbol and every one that does not trade is named."""
    for symbol in (*DEFAULT_SYMBOLS, *(listing.symbol for listing in NOT_TRADING)):
        assert f"`{symbol}`" in PAGE

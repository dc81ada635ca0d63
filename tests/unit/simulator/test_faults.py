"""Fault scripts as files and as draws."""

from pathlib import Path

import pytest

from candlewick.errors import ConfigError
from candlewick.market import SECOND, parse_time
from candlewick.simulator.faults import LIVE, Fault, parse_script, random_script, read_script
from tests.unit.simulator.world import START

TOML = """
[[fault]]
kind = "drop"
at = 60
duration_s = 12.5
stream = "btcusdt@kline_*"
share = 0.5

[[fault]]
kind = "outage"
at = "2026-11-02T10:30:00Z"
duration_s = 600
symbol = "BTC*"
"""


def test_script_is_read_from_toml_and_json(tmp_path: Path) -> None:
    """The same two faults come out of either format."""
    one, two = tmp_path / "faults.toml", tmp_path / "faults.json"
    one.write_text(TOML)
    two.write_text(
        '[{"kind":"drop","at":60,"duration_s":12.5,"stream":"btcusdt@kline_*","share":0.5},'
        '{"kind":"outage","at":"2026-11-02T10:30:00Z","duration_s":600,"symbol":"BTC*"}]'
    )
    faults = read_script(one)
    assert faults == read_script(two)
    assert [fault.kind for fault in faults] == ["drop", "outage"]
    assert faults[0].begins(START) == START + 60 * SECOND
    assert faults[1].begins(START) == parse_time("2026-11-02T10:30:00")
    assert faults[1].ends(START) == parse_time("2026-11-02T10:40:00")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"kind": "explode"}], "kind 'explode' is not one of drop, "),
        ([{"kind": "cut", "colour": "red"}], "colour"),
        ([{"kind": "cut", "stream": "btcusdt@trade"}], "cut does not take stream; it takes at, duration_s, connection"),
        ([{"kind": "drop"}, {"kind": "drop", "at": "yesterday"}], "fault 2: 'yesterday' is not a time"),
        ([{"kind": "drop", "share": 2.0}], "share is above 0"),
        ([{"kind": "drop", "duration_s": -1}], "not negative"),
        ([{"kind": "mangle", "form": "odd"}], "form 'odd' is not one of cut, "),
        ([{"at": 5}], "kind"),
        ({"faults": []}, "[[fault]]"),
        ("drop", "[[fault]]"),
        ([7], "fault 1"),
    ],
)
def test_script_says_what_is_wrong_with_it(content: object, words: str) -> None:
    """A wrong entry is named with what would be right."""
    with pytest.raises(ConfigError, match=r"script\.toml") as caught:
        parse_script(content, "script.toml")
    assert words in str(caught.value)


def test_script_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """A missing file and broken TOML are configuration errors with the path in them."""
    broken = tmp_path / "broken.toml"
    broken.write_text("[[fault")
    for path in (tmp_path / "absent.toml", broken):
        with pytest.raises(ConfigError, match=path.name):
            read_script(path)


def test_random_scripts_are_reproducible_and_varied() -> None:
    """One seed gives one script; a hundred seeds draw every kind there is."""
    assert random_script(7, 14400) == random_script(7, 14400)
    drawn = {fault.kind for seed in range(100) for fault in random_script(seed, 14400)}
    assert drawn == set(LIVE)


def test_random_scripts_leave_a_calm_end() -> None:
    """No fault begins in the first minute or lasts into the last twenty."""
    for seed in range(50):
        for fault in random_script(seed, 14400):
            assert float(fault.at) >= 60
            assert float(fault.at) + fault.duration_s <= 14400 - 1200 + 0.01


def test_random_scripts_can_be_restricted_to_kinds() -> None:
    """Only the kinds asked for are drawn, and what is drawn is a valid script."""
    faults = random_script(3, 86400, kinds=("cut", "mangle"))
    assert {fault.kind for fault in faults} == {"cut", "mangle"}
    assert all(isinstance(fault, Fault) for fault in faults)

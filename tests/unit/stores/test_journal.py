"""Journal entries and their table in memory."""

import numpy as np
import pytest

from candlewick.stores.journal import Journal, pack_entry, unpack_entry
from candlewick.stores.store import ROW, Rows


def rows_of(number: int, times: list[int], value: float = 0.0) -> Rows:
    rows = np.zeros(len(times), ROW)
    rows["series"], rows["open_time"], rows["close"] = number, times, value
    return rows


def test_entry_gives_back_rows_and_flags() -> None:
    """What is packed is unpacked, whatever its length."""
    for count in (1, 2, 7, 8, 4_096):
        rows = rows_of(3, list(range(count)), 1.5)
        flags = np.arange(count) % 3 == 0
        again, new = unpack_entry(pack_entry(rows, flags))
        assert again.tobytes() == rows.tobytes()
        assert np.array_equal(new, flags)


def test_entry_notices_damage() -> None:
    """Any flipped bit but of the padding, and any cut, is refused."""
    entry = pack_entry(rows_of(3, [1, 2, 3]), np.ones(3, np.bool_))
    for at in [0, 8, 12, *range(16, len(entry), 11)]:
        broken = bytearray(entry)
        broken[at] ^= 16
        with pytest.raises(ValueError, match=r"checksum|version"):
            unpack_entry(bytes(broken))
    for length in (0, 8, 16, 24, len(entry) - 8, len(entry) - 1):
        with pytest.raises(ValueError, match=r"checksum|bytes long"):
            unpack_entry(entry[:length])


def test_journal_finds_the_rows_of_a_series() -> None:
    """By time, each time as it stood last, of the entries in a range only."""
    journal = Journal()
    for sequence, (number, time) in enumerate([(1, 9), (2, 5), (1, 4), (1, 9), (2, 5)], 1):
        journal.append(sequence, rows_of(number, [time], sequence), np.ones(1, np.bool_))
    view = journal.view()
    assert view.rows_of(1, 0)["close"].tolist() == [3, 4]
    assert view.rows_of(1, 0, through=3)["close"].tolist() == [3, 1]
    assert view.rows_of(1, 3)["close"].tolist() == [4]
    assert len(view.rows_of(7, 0)) == 0


def test_journal_view_outlives_changes() -> None:
    """A view shows what was there when it was taken, while the journal grows, drops and moves."""
    journal = Journal()
    for sequence in range(1, 6_000):
        journal.append(sequence, rows_of(1, [sequence]), np.ones(1, np.bool_))
        if sequence == 100:
            view = journal.view()
    journal.drop(5_990)
    assert journal.size == 9
    journal.append(6_000, rows_of(1, [1]), np.ones(1, np.bool_))
    assert view.rows["open_time"].tolist() == list(range(1, 101))
    assert journal.view().sequences.tolist() == list(range(5_991, 6_001))


def test_journal_forgets_what_failed() -> None:
    """After `truncate` it is as it was."""
    journal = Journal()
    journal.append(1, rows_of(1, [1, 2]), np.ones(2, np.bool_))
    journal.append(2, rows_of(1, [3]), np.ones(1, np.bool_))
    journal.truncate(2, 1)
    assert (journal.size, journal.last) == (2, 1)
    assert journal.view().rows["open_time"].tolist() == [1, 2]


def test_journal_groups_what_is_not_folded() -> None:
    """Only rows after the entry to which a series is folded, series by series."""
    journal = Journal()
    for sequence, number in enumerate([0, 1, 0, 2], 1):
        journal.append(sequence, rows_of(number, [sequence]), np.array([sequence % 2 == 1]))
    found = {
        number: (rows["open_time"].tolist(), new.tolist())
        for number, rows, new in journal.view().by_series(np.array([1, 2, 0]))
    }
    assert found == {0: ([3], [True]), 2: ([4], [False])}

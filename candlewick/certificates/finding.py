"""What a check found."""

from typing import NamedTuple

from candlewick.market import Span, format_time


class Finding(NamedTuple):
    """One thing that is not as it should be, or, as a note, one that is worth knowing."""

    series: str
    span: Span | None
    """Where: one candle, or a range of them; None where it is about no time."""
    what: str
    """The kind of it, a word that stays the same: `value`, `row missing`, `digest` ..."""
    detail: str
    is_note: bool = False

    def __str__(self) -> str:
        where = "" if self.span is None else f" {shown_time(self.span.start)}"
        return f"{self.series}{where} {self.detail}"


def shown_time(time: int) -> str:
    """A time as people read it; what was altered may be one that no calendar has."""
    try:
        return format_time(time)
    except OverflowError:
        return f"{time} us"

"""What `candlewick history load --source trades` says of the candles it made."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy and the network wait until the command runs
    from candlewick.services.loading.trades import RebuildResult


def lines_of(one: "RebuildResult") -> list[str]:
    """What one series came to, in words."""
    name = f"{one.market}:{one.symbol}:{one.interval}"
    held = f"{one.held} of {one.expected} candles" if one.held != one.expected else f"{one.held} candles"
    if one.archive_files:
        head = (
            f"{name}: {one.made} candles made of {one.trades} {one.source} in {one.archive_files} files "
            f"({one.bytes / 1e6:.1f} MB), {one.rows} stored; {held} held"
        )
    else:
        head = f"{name}: nothing to load: {held} held"
    lines = [head]
    if one.equal or one.within or one.different:
        different = f"{one.different} DIFFERENT" if one.different else "none different"
        lines.append(
            f"  held against those there were: {one.equal} equal, {one.within} within what {one.source} leave open, "
            f"{different}"
        )
    lines += [f"  {text}" for text in one.differences]
    notes = (
        (one.inexact, f"{one.inexact} of them may differ from the exchange's own in the last digits or at their ends"),
        (one.idle, f"{one.idle} grid times without a trade: no candle is made of nothing"),
        (one.doubtful, f"{one.doubtful} candles left out: trades are lacking or in doubt; see the ledger's remarks"),
    )
    lines += [f"  {text}" for count, text in notes if count]
    if one.missing:
        lines.append(f"  {one.missing} missing: the exchange's own candles or REST may have them (--source klines)")
    lines += [f"  trouble: {text}" for text in one.troubles[:3]]
    if len(one.troubles) > 3:
        lines.append(f"  and {len(one.troubles) - 3} more")
    if one.certificate:
        lines.append(f"  certificate root {one.certificate}")
    return lines

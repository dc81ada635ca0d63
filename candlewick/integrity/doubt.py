"""Which trade ids to believe: a damaged frame that is still readable must not make a hole of a million trades."""

from candlewick.integrity.continuity import RESTART, Continuity, Hole
from candlewick.market import Trade

NEAR = 1000
"""Two ids that leave ids out agree with each other if they lie this near: frames are lost by the few, damage is wild."""


class Believed:
    """The trades of one stream, each once; a trade that jumps waits until the next one agrees with it.

    `take` returns the trades that may be told now, with the holes they leave open before them.
    """

    __slots__ = ("continuity", "discarded", "held")

    def __init__(self) -> None:
        self.continuity = Continuity()
        self.held: Trade | None = None
        """A trade whose id leaves ids out, or begins anew, and which nothing has confirmed yet."""
        self.discarded = 0
        """Trades whose ids were not believed."""

    def take(self, trade: Trade) -> list[tuple[Trade, Hole | None]]:
        """A trade came."""
        held, expected = self.held, self.continuity.next_id
        if held is None:
            if expected is None or expected - RESTART <= trade.trade_id <= expected:
                return self._tell(trade)
            self.held = trade
            return []
        if trade.trade_id == held.trade_id:
            self.continuity.duplicates += 1
            return []
        if trade.trade_id == held.trade_id + 1 or (0 < trade.trade_id - held.trade_id <= NEAR and self._ahead(held)):
            return self.believe() + self.take(trade)
        if expected is not None and expected - RESTART <= trade.trade_id <= expected:
            told = self._tell(trade)
            return told + (self.believe() if self.continuity.next_id == held.trade_id else [])
        self.held = trade
        self.discarded += 1
        return []

    def _ahead(self, held: Trade) -> bool:
        return self.continuity.next_id is None or held.trade_id > self.continuity.next_id

    def believe(self) -> list[tuple[Trade, Hole | None]]:
        """The held trade is real."""
        held, self.held = self.held, None
        return [] if held is None else self._tell(held)

    def discard(self) -> None:
        """The held trade is not real."""
        self.held = None
        self.discarded += 1

    def _tell(self, trade: Trade) -> list[tuple[Trade, Hole | None]]:
        taken = self.continuity.take(trade.trade_id)
        if taken is False:
            return []
        return [(trade, None if taken is True else taken)]

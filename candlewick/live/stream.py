"""A stream as the feed sees it: what to ask for, who receives its frames, and the watch over it."""

from collections.abc import Callable
from typing import NamedTuple

from candlewick.exchanges.exchange import Subscription
from candlewick.live.liveness import Watch


class Stream(NamedTuple):
    """One stream of the feed.

    `receive` is called with every whole frame of it and counts it on `watch` (`watch.frames += 1`), so that the
    hottest path has one call fewer. It raises DecodeError for a frame that cannot be read.
    """

    name: str
    subscription: Subscription
    receive: Callable[[bytes], None]
    watch: Watch

"""A fixed set of streams that share a connection: connect, keep, renew before it ends, connect again, for ever."""

import asyncio
from collections.abc import Callable, Sequence

from candlewick.clock import Clock
from candlewick.errors import Banned, ExchangeError, RateLimited
from candlewick.events import Event, FeedDown, FeedRenewed, FeedUp
from candlewick.exchanges.exchange import Venue
from candlewick.live.backoff import Backoff
from candlewick.live.link import Connection, Rejecter
from candlewick.live.stream import Stream
from candlewick.transport import Dialer

OVERLAP_S = 3.0
"""How long the old connection goes on after the new one has been asked for everything."""
SETTLE_MOST_S = 60.0
"""A new connection that has not been answered after this is used all the same."""


class Shard:
    """One slot of the feed: `streams` on one route."""

    def __init__(
        self, name: str, route: str, streams: Sequence[Stream], *, venue: Venue, base_url: str, dialer: Dialer,
        clock: Clock, backoff: Backoff, reject: Rejecter, tell: Callable[[Event], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.route = route
        self.streams = streams
        self.current: Connection | None = None
        self.reason = "not yet connected"
        """Why there is no connection, while there is none."""
        self.reconnects = 0
        self.control_errors = 0
        self.renewals = 0
        self.changed_at = clock.monotonic()
        """Since when it has been connected, or has not been, in seconds of the clock's `monotonic`."""
        self.unknown: dict[str, int] = {}
        self.base_url = base_url
        self._venue, self._dialer, self._clock = venue, dialer, clock
        self._backoff, self._reject, self._tell = backoff, reject, tell
        self._beside: set[Connection] = set()
        """Open besides `current`: the next one while both deliver, the last one until it is gone."""
        self._paused = False
        self._count = 0

    async def run(self) -> None:
        """Keep the streams flowing until cancelled."""
        try:
            while True:
                await self._clock.sleep(self._backoff.next(self._clock.monotonic()))
                fresh = await self._open()
                if fresh is not None:
                    await self._keep(fresh)
        finally:
            for connection in self._open_ones():
                connection.close("shutting down")

    def _open_ones(self) -> list[Connection]:
        return [*self._beside, *([self.current] if self.current else [])]

    def _put_beside(self, connection: Connection) -> None:
        self._beside.add(connection)
        connection.ended.add_done_callback(lambda _: self._beside.discard(connection))

    async def _open(self) -> Connection | None:
        """A new connection with its streams asked for, or None when that failed, which is told."""
        self._count += 1
        limits = self._venue.stream_limits
        names = [stream.name for stream in self.streams]
        connection = Connection(
            f"{self.name}#{self._count}", self._venue, self.streams, self._clock, self._reject, self.unknown
        )
        url = self._venue.connect_url(self.base_url, self.route, names[: limits.url_names])
        try:
            link = await self._dialer.dial(url, connection)
        except ExchangeError as error:
            if isinstance(error, Banned):
                self._backoff.hold(self._clock.monotonic() + (error.until - self._clock.now()) / 1e6)
            elif isinstance(error, RateLimited):
                self._backoff.hold(self._clock.monotonic() + error.retry_after)
            self._down(str(error))
            return None
        connection.start(
            link, names[limits.url_names :], named=names[: limits.url_names], paused=self._paused
        )  # fmt: skip
        return connection

    def _down(self, reason: str) -> None:
        if self.current is None:
            self.reason = reason
        self._tell(FeedDown(self.name, reason, self._backoff.peek(self._clock.monotonic())))

    async def _keep(self, fresh: Connection) -> None:
        """Use a connection, and those that replace it, until none is left."""
        self._adopt(fresh)
        while self.current is not None:
            current = self.current
            await asyncio.wait({current.ended, current.renewal}, return_when=asyncio.FIRST_COMPLETED)
            if current.ended.done():
                self._ended(current, current.ended.result())
            elif not await self._replace(current, current.renewal.result()):
                await self._pause(current.ended)

    async def _pause(self, ended: "asyncio.Future[str]") -> None:
        """Wait before the next attempt, or until there is nothing left to replace."""
        wait = asyncio.get_running_loop().create_task(self._clock.sleep(self._backoff.next(self._clock.monotonic())))
        ended.add_done_callback(lambda _: wait.cancel())
        await asyncio.wait({wait})

    def _adopt(self, fresh: Connection) -> None:
        if self.current is None:
            self.changed_at = self._clock.monotonic()
        self.current = fresh
        now = self._clock.monotonic()
        for stream in self.streams:
            stream.watch.ask(now)
        self._tell(FeedUp(self.name, len(self.streams)))

    def _ended(self, connection: Connection, reason: str) -> None:
        self.current = None
        self.changed_at = self._clock.monotonic()
        self.reconnects += 1
        self.control_errors += connection.session.errors
        self._backoff.lived(self._clock.monotonic() - connection.opened_at)
        for stream in self.streams:
            stream.watch.ask(None)
        self._down(reason)

    async def _replace(self, old: Connection, reason: str) -> bool:
        """Open a new connection first, let both deliver for a while, then end the old one."""
        self._backoff.attempted(self._clock.monotonic())
        fresh = await self._open()
        if fresh is None:
            return False
        self._put_beside(fresh)
        deadline = self._clock.monotonic() + SETTLE_MOST_S
        while not (fresh.session.settled or fresh.ended.done()) and self._clock.monotonic() < deadline:
            await self._clock.sleep(0.2)
        await self._clock.sleep(OVERLAP_S)
        if fresh.ended.done():
            self._down(fresh.ended.result())
            return False
        self.renewals += 1
        self._beside.discard(fresh)
        self._put_beside(old)
        self._adopt(fresh)
        self._tell(FeedRenewed(self.name, reason))
        self.control_errors += old.session.errors
        old.close("replaced")
        return True

    def resubscribe(self, names: Sequence[str]) -> None:
        """Ask for these streams anew on the open connection."""
        if self.current is not None:
            self.current.resubscribe(names)

    def renew(self, reason: str) -> None:
        """Have the connection replaced."""
        if self.current is not None:
            self.current.ask_renewal(reason)

    def pause(self) -> None:
        """Read nothing more for now."""
        self._paused = True
        for connection in self._open_ones():
            connection.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        for connection in self._open_ones():
            connection.resume()

"""All streams of a market: spread over as few connections as the limits allow, each stream watched."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from candlewick.clock import Clock
from candlewick.events import Event, StreamRevived, StreamSilent
from candlewick.exchanges.exchange import Subscription, Venue
from candlewick.live.backoff import Attempts, Backoff
from candlewick.live.link import Rejecter
from candlewick.live.liveness import Activity, Finding, Liveness, Remedy, Silent, Suspect
from candlewick.live.shard import Shard
from candlewick.live.stream import Stream
from candlewick.transport import Dialer

Probe = Callable[[Subscription], Awaitable[Activity | None]]
"""Asks REST how far the market of a stream has come; None when it does not answer."""

SPACING_S = 0.25
"""Between the first attempts of two connections, so that a start is no storm."""
RENEW_AGAIN_S = 15.0
"""A connection that was renewed for a silent stream is not renewed for another one before this, then twice as long,"""
RENEW_AGAIN_MOST_S = 600.0
"""and so on up to this, until one of its streams revives: where all are silent a new connection does not help."""


class Feed:
    """Runs every connection of one market."""

    def __init__(
        self, venue: Venue, base_url: str, streams: Sequence[Stream], *, dialer: Dialer, clock: Clock, random: Random,
        probe: Probe, reject: Rejecter, tell: Callable[[Event], None], reconnect_base_s: float | None = None,
    ) -> None:  # fmt: skip
        self._clock, self._probe, self._tell = clock, probe, tell
        self._streams = {stream.name: stream for stream in streams}
        self.liveness = Liveness({stream.name: stream.watch for stream in streams})
        self._probes: set[asyncio.Task[None]] = set()
        attempts = Attempts(venue.stream_limits)
        self.shards = [
            Shard(
                f"{route.strip('/') or venue.market}-{number}", route, chunk, venue=venue, base_url=base_url,
                dialer=dialer, clock=clock, backoff=Backoff(attempts, random, base_s=reconnect_base_s), reject=reject,
                tell=tell,
            )
            for route, chunk, number in _spread(venue, streams)
        ]  # fmt: skip
        self._renewals = {shard: _Renewals() for shard in self.shards}
        self._shard_of = {stream.name: shard for shard in self.shards for stream in shard.streams}

    async def run(self) -> None:
        """Keep everything flowing until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            for shard in self.shards:
                tasks.create_task(shard.run())
                await self._clock.sleep(SPACING_S)

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(1.0)
            again: dict[Shard, list[str]] = {}
            for finding in list(self.liveness.tick(self._clock.monotonic())):
                self._act(finding, again)
            for shard, names in again.items():
                shard.resubscribe(names)

    def _act(self, finding: Finding, again: dict[Shard, list[str]]) -> None:
        if isinstance(finding, Suspect):
            task = asyncio.get_running_loop().create_task(self._ask(self._streams[finding.stream]))
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)
        elif isinstance(finding, Silent):
            self._tell(StreamSilent(finding.stream, round(finding.silent_s, 1), finding.evidence))
        elif isinstance(finding, Remedy):
            shard = self._shard_of[finding.stream]
            if finding.attempt == 1:
                again.setdefault(shard, []).append(finding.stream)
            elif self._renewals[shard].may(self._clock.monotonic()):
                shard.renew(f"{finding.stream} is silent")
        else:
            self._renewals[self._shard_of[finding.stream]].helped()
            self._tell(StreamRevived(finding.stream, round(finding.silent_s, 1)))

    async def _ask(self, stream: Stream) -> None:
        activity = None
        try:
            activity = await self._probe(stream.subscription)
        finally:
            self.liveness.probed(stream.name, activity, self._clock.monotonic())

    @property
    def connected(self) -> bool:
        """Whether every connection is open."""
        return all(shard.current is not None for shard in self.shards)

    def pause(self) -> None:
        """Read nothing more for now: pressure goes back to the sockets."""
        for shard in self.shards:
            shard.pause()

    def resume(self) -> None:
        """Read on."""
        for shard in self.shards:
            shard.resume()


class _Renewals:
    """When a connection may be renewed for the sake of a silent stream."""

    def __init__(self) -> None:
        self._from = 0.0
        self._wait_s = RENEW_AGAIN_S

    def may(self, now: float) -> bool:
        """Whether it may be now; if so it is counted as done."""
        if now < self._from:
            return False
        self._from = now + self._wait_s
        self._wait_s = min(2 * self._wait_s, RENEW_AGAIN_MOST_S)
        return True

    def helped(self) -> None:
        """A stream revived."""
        self._wait_s = RENEW_AGAIN_S


def _spread(venue: Venue, streams: Sequence[Stream]) -> list[tuple[str, list[Stream], int]]:
    """Streams in chunks of one route that a connection may carry: (route, chunk, number from 1)."""
    most = venue.stream_limits.streams_per_connection
    by_route: dict[str, list[Stream]] = {}
    for stream in streams:
        by_route.setdefault(venue.route(stream.subscription.kind), []).append(stream)
    return [
        (route, chunk[start : start + most], start // most + 1)
        for route, chunk in by_route.items()
        for start in range(0, len(chunk), most)
    ]

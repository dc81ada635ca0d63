"""Makes the `Status` of a run from what its services counted."""

import resource
import sys
from pathlib import Path
from urllib.parse import urlsplit

from candlewick.clock import SECOND, Clock
from candlewick.errors import Banned
from candlewick.histogram import Histogram
from candlewick.history.budget import Budget
from candlewick.history.client import RestClient
from candlewick.live.shard import Shard
from candlewick.services.ingest import Ingest
from candlewick.services.observer import Observer
from candlewick.services.status import (
    ConnectionStatus,
    Counters,
    Latencies,
    RestStatus,
    SeriesStatus,
    SilentStream,
    StoreStatus,
)


def counters(ingest: Ingest, observer: Observer, client: RestClient) -> Counters:
    """What only ever grows."""
    recorder, feed = ingest.recorder, ingest.feed
    frames: dict[str, int] = dict.fromkeys((kind.value for kind in ingest.wants.kinds), 0)
    unknown: dict[str, int] = {}
    for shard in feed.shards:
        for stream in shard.streams:
            frames[stream.subscription.kind.value] += stream.watch.frames
        for what, count in shard.unknown.items():
            unknown[what] = unknown.get(what, 0) + count
    return Counters(
        frames=frames,
        unknown_frames=unknown,
        unreadable_frames=ingest.frames_rejected,
        candles_processed=sum(one.closed for one in ingest.klines) + recorder.from_rest,
        candles_written=recorder.written,
        candles_confirmed=recorder.confirmed,
        candles_rejected=dict(recorder.rejected_by_rule),
        repeated_candles=sum(one.repeats for one in ingest.klines),
        collapsed_updates=sum(one.latest.collapsed for one in ingest.klines)
        + sum(one.latest.collapsed for one in ingest.quotes.values())
        + sum(one.latest.collapsed for one in ingest.tickers.values()),
        repeated_trades=sum(one.believed.continuity.duplicates for one in ingest.trade_streams),
        trade_holes=ingest.trades.skipped,
        recovered_trades=ingest.trades.recovered,
        differences=recorder.revised,
        crosschecks={"equal": ingest.crosscheck.equal, "different": ingest.crosscheck.different},
        gaps_found=ingest.repairer.holes.found,
        gaps_closed=ingest.repairer.holes.closed,
        candles_recovered=ingest.repairer.candles_recovered,
        reconnects=sum(shard.reconnects for shard in feed.shards),
        renewals=sum(shard.renewals for shard in feed.shards),
        control_errors=sum(shard.control_errors for shard in feed.shards),
        rest_requests=dict(client.outcomes),
        rest_retries=client.retries,
        rest_weight=client.weight_used,
        events=dict(observer.counts),
    )


def connection(shard: Shard, clock: Clock) -> ConnectionStatus:
    """One slot of the feed."""
    age_s = clock.monotonic() - shard.changed_at
    last_frame_s = None if shard.current is None else clock.monotonic() - shard.current.session.heard_at
    now = clock.now()
    return ConnectionStatus(
        name=shard.name,
        host=urlsplit(shard.base_url).netloc,
        streams=len(shard.streams),
        connected=shard.current is not None,
        since=now - int(age_s * SECOND),
        last_frame_at=None if last_frame_s is None else now - int(last_frame_s * SECOND),
        reason="" if shard.current is not None else shard.reason,
    )


def silent(ingest: Ingest, clock: Clock) -> tuple[SilentStream, ...]:
    """Streams that deliver nothing though their market trades."""
    now, monotonic = clock.now(), clock.monotonic()
    return tuple(
        SilentStream(
            stream=watch.name, since=now - int((monotonic - watch.silent_since) * SECOND), reason=watch.evidence
        )
        for watch in ingest.feed.liveness.watches.values()
        if watch.silent_since is not None
    )


def series(ingest: Ingest, clock: Clock) -> tuple[SeriesStatus, ...]:
    """Every series that is followed."""
    now = clock.now()
    prices = {one.series: candle.close for one in ingest.klines if (candle := one.latest.take()) is not None}
    statuses = []
    for one, expected in ingest.ledger.series.items():
        price = ingest.last_prices.get(one.symbol) or prices.get(one)
        statuses.append(
            SeriesStatus(
                market=one.market.value,
                symbol=one.symbol,
                interval=one.interval.code,
                last_close=expected.last_close or None,
                last_price=price,
                lag_s=(now - expected.last_close) / SECOND if expected.last_close else None,
                stale=expected.stale,
                missing=ingest.repairer.holes.missing(one),
            )
        )
    return tuple(statuses)


def store(ingest: Ingest) -> StoreStatus:
    """The store."""
    trouble = ingest.recorder.trouble
    return StoreStatus(location=ingest.recorder.store.location, connected=trouble is None, error=trouble)


def rest(client: RestClient, budget: Budget, now: int) -> RestStatus:
    """REST now."""
    pause = budget.pause(now)
    return RestStatus(
        reachable=client.reachable,
        error=client.trouble,
        weight_used=budget.used(now),
        weight_limit=budget.limit,
        ban_until=pause.until if isinstance(pause, Banned) else None,
    )


def latencies(ingest: Ingest, rest: Histogram) -> Latencies:
    """Distributions."""
    recorder = ingest.recorder
    return Latencies(
        durability=recorder.durability.snapshot(), rest=rest.snapshot(), commit=recorder.commits.snapshot()
    )


def own_memory_mb() -> float:
    """Memory of this process alone, in megabytes: pages of the store's file that the kernel keeps at hand do not count.

    Where the kernel does not tell (anything but Linux) it is the most that was ever resident.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
    own = next(line for line in lines if line.startswith("RssAnon:"))
    return round(int(own.split()[1]) * 1024 / 1e6, 1)

"""Statuses of made-up runs, for the tests of what is shown of them."""

import msgspec

from candlewick.market import MINUTE, SECOND, parse_time
from candlewick.services.status import (
    ConnectionStatus,
    Counters,
    Distribution,
    Latencies,
    OutputStatus,
    RestStatus,
    SeriesStatus,
    SilentStream,
    Status,
    StoreStatus,
)

NOW = parse_time("2024-03-01T12:00:30")


def series(symbol: str = "BTCUSDT", interval: str = "1m", age_s: float | None = 30.0, **more: object) -> SeriesStatus:
    """A series whose newest candle closed `age_s` ago."""
    close = None if age_s is None else NOW - int(age_s * SECOND)
    known = SeriesStatus(
        market="spot",
        symbol=symbol,
        interval=interval,
        last_close=close,
        lag_s=age_s,
        last_price=None if close is None else 1.25,
    )
    return msgspec.structs.replace(known, **more)


def good(**changes: object) -> Status:
    """A run in which all is well, with some changes."""
    status = Status(
        version="1.2.3",
        started_at=NOW - 600 * SECOND,
        now=NOW,
        environment="test",
        exchange="binance",
        market="spot",
        store=StoreStatus(location="postgresql://u:hidden@h/d", connected=True),
        counters=Counters(
            frames={"kline": 1000, "trade": 5},
            unknown_frames={"novelty": 2},
            candles_processed=20,
            candles_written=18,
            candles_rejected={"high_below_low": 1},
            crosschecks={"equal": 9, "different": 1},
            rest_requests={"success": 7, "rate_limited": 1},
            events={"FeedUp": 1},
            gaps_found=2,
        ),
        connections=(
            ConnectionStatus(
                name="spot-1", host="stream", streams=2, connected=True, since=NOW - 60 * SECOND, last_frame_at=NOW
            ),
        ),
        series=(series(), series("ETHUSDT"), series(interval="1h", age_s=1830.0)),
        rest=RestStatus(reachable=True, weight_used=30, weight_limit=1200),
        latencies=Latencies(durability=Distribution(bounds=(0.001, 0.01), counts=(3, 2, 1), total_s=1.5)),
        buffer_size=4,
        pending_backfills=1,
        gap_check_last=NOW - MINUTE,
        errors_24h=3,
        memory_mb=81.5,
        clock_behind_ms=-12.5,
    )
    return msgspec.structs.replace(status, **changes)


DOWN = ConnectionStatus(name="spot-2", host="stream", streams=2, connected=False, reason="refused")
SILENT = SilentStream(stream="ethusdt@trade", since=NOW - MINUTE, reason="REST shows 12 trades")


DATABASE = OutputStatus(
    name="postgresql",
    location="postgresql://mltrader@db:5432/candles",
    connected=True,
    behind_rows=3,
    lag_s=0.25,
    written=150,
    retries=2,
    pool_size=2,
    latency=Distribution(bounds=(0.001, 0.01), counts=(120, 29, 1), total_s=0.75),
)
COMPLETE = good(
    rest=RestStatus(reachable=True, weight_used=30, weight_limit=1200, ban_until=NOW),
    buffer_age_s=0.5,
    outputs=(DATABASE,),
)
"""Every number is known."""

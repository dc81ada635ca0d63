"""Has gaps repaired by a gap handler, over HTTP, and takes over from the shared database what it found.

What the handler does not do, for whatever reason, the repairer asks of REST itself: a gap never waits for a handler
longer than `TIMEOUT_S`, and for one that is away only once in `AWAY_S`.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from candlewick.clock import Clock
from candlewick.errors import CandlewickError, ServerTrouble, Unreachable
from candlewick.events import Event, RestTrouble
from candlewick.history.budget import URGENT
from candlewick.market import DAY, Series, Span, format_time
from candlewick.services.recorder import Recorder
from candlewick.services.repair import Job
from candlewick.stores.store import Rows, Source, StoreReader
from candlewick.transport import Answer

TIMEOUT_S = 30.0
AWAY_S = 60.0
"""A handler that did not answer is not asked again for so long."""
LONGEST = 7 * DAY
"""A handler takes no longer gap; what is longer is history, which the archive and REST bring."""


class Poster(Protocol):
    """Does HTTP POST."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
        """Whatever the server answered, with any status; raises Unreachable."""


class Delegate:
    """The gap handler as a repairer sees it (`Repairer.elsewhere`)."""

    def __init__(
        self, url: str, token: str, database: Callable[[], StoreReader], http: Poster, recorder: Recorder, *,
        clock: Clock, tell: Callable[[Event], None],
    ) -> None:  # fmt: skip
        """`url`: of the handler's `/backfill`; `database` opens where it keeps what it finds, off the event loop."""
        self._url, self._database, self._http, self._recorder = url, database, http, recorder
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._clock, self._tell = clock, tell
        self._away_until = clock.monotonic()

    async def repair(self, job: Job, gaps: list[Span]) -> bool:
        """Have gaps of a job's series repaired; whether anything was kept.

        A single close that is late is not delegated: asking REST takes one round trip, which is what the handler needs
        as well, before it writes to the database and that is read back. Neither are histories, nor what is left of a job
        after the handler failed once, or took `TIMEOUT_S` for it: REST brings many gaps with one page.
        """
        kept = False
        until = self._clock.monotonic() + TIMEOUT_S
        for gap in gaps:
            if self._clock.monotonic() > until:
                break
            single = job.priority == URGENT and job.series.interval.count(gap) == 1
            if single or gap.end - gap.start > LONGEST or self._clock.monotonic() < self._away_until:
                continue
            try:
                await self._ask(job.series, gap)
                kept |= await self._take_over(job.series, gap)
            except CandlewickError as error:
                away_s = AWAY_S if isinstance(error, Unreachable) else 0.0
                self._away_until = self._clock.monotonic() + away_s
                self._tell(RestTrouble(f"repair of {job.series} {gap} by the gap handler", str(error), away_s))
                break
        return kept

    async def _ask(self, series: Series, gap: Span) -> None:
        """Have the handler repair a gap.

        Raises:
            Unreachable: it does not answer.
            ServerTrouble: it answers that it will not, or could not.
        """
        body = {
            "gap_start": format_time(gap.start), "gap_end": format_time(gap.end),
            "candles_missing": series.interval.count(gap), "detected_at": format_time(self._clock.now()),
            "market": series.market.value, "symbol": series.symbol, "interval": series.interval.code,
        }  # fmt: skip
        answer = await self._http.post(self._url, msgspec.json.encode(body), self._headers, TIMEOUT_S)
        try:
            said: Any = msgspec.json.decode(answer.body)
        except msgspec.DecodeError:
            said = {}
        said = said if isinstance(said, dict) else {}
        if answer.status != 200 or said.get("status") not in {"backfilled", "partial"}:
            words = said.get("error") or said.get("status") or answer.body[:200].decode(errors="replace")
            raise ServerTrouble(f"{self._url} answered {answer.status}: {words}")

    async def _take_over(self, series: Series, gap: Span) -> bool:
        """Keep what the database has of a gap from a settled source; the recorder holds it against its rules."""
        rows = await asyncio.to_thread(self._read, series, gap)
        rows = rows[rows["source"] >= Source.REST]
        rows["series"] = self._recorder.numbers[series]
        await self._recorder.write(rows)
        return bool(len(rows))

    def _read(self, series: Series, gap: Span) -> Rows:
        reader = self._database()
        try:
            return reader.read(series, gap.start, gap.end)
        finally:
            reader.close()

"""The shared database as a run feeds it: an output, its scheduled jobs, and the gap handler that works on it."""

from candlewick.clock import Clock
from candlewick.config import Settings
from candlewick.events import OutputWritten
from candlewick.history.http import AiohttpHttp
from candlewick.outputs.output import Batch, Position, Refused
from candlewick.outputs.postgres import PostgresOutput
from candlewick.services.delegate import Delegate
from candlewick.services.following import AskElsewhere, Follow, OnStore, Tell
from candlewick.services.outputs import Outputs
from candlewick.services.pulse import Pulse
from candlewick.services.recorder import Recorder
from candlewick.services.repair import Elsewhere
from candlewick.services.scheduler import Scheduler
from candlewick.services.schema import months_before, prepare, schema_options
from candlewick.stores import open_store
from candlewick.stores.postgres.connection import Limits
from candlewick.stores.store import Store

APPLICATION = "candlewick feeder"


class SharedDatabase(PostgresOutput):
    """The shared database; its schema is brought up to date when it is first reached, and every write is told."""

    def __init__(self, settings: Settings, clock: Clock, tell: Tell) -> None:
        self._settings, self._prepared = settings, False
        self._tell = tell
        months = settings.candles_retention_months
        limits = Limits(settings.db_pool_min, settings.db_pool_max, settings.db_idle_timeout)
        super().__init__(
            settings.database_url, limits=limits, clock=clock, application=APPLICATION,
            least_time=lambda: months_before(clock.now(), months) if months else 0,
        )  # fmt: skip

    async def open(self, identity: str) -> Position | None:
        """See `Output.open`."""
        if not self._prepared:
            with self._told():
                await prepare(self._settings.database_url, schema_options(self._settings), APPLICATION)
            self._prepared = True
        return await super().open(identity)

    async def write(self, batch: Batch) -> list[Refused]:
        """See `Output.write`."""
        began = self._clock.monotonic()
        before = self.written
        refused = await super().write(batch)
        rows, left_out = self.written - before, sum(not isinstance(one.what, str) for one in refused)
        if rows or left_out:
            ms = round((self._clock.monotonic() - began) * 1000, 3)
            self._tell(OutputWritten(self.name, rows, left_out, ms, self.written))
        return refused


def follow(settings: Settings) -> Follow:
    """What follows the store of a run with these settings: the shared database."""

    def make(store: Store, clock: Clock, on_store: OnStore, tell: Tell) -> Outputs:
        pulse = Pulse(settings.database_url, clock=clock, application=f"{APPLICATION} pulse")
        return Outputs(
            [SharedDatabase(settings, clock, tell)], store, clock=clock, tell=tell, on_store=on_store,
            batch_rows=settings.batch_size, batch_timeout_s=settings.batch_timeout_ms / 1000,
            look_every_s=settings.backfill_check_interval_s,
            beside=[Scheduler(settings.database_url, clock=clock, tell=tell).run, pulse.run], complaint=pulse.complaint,
        )  # fmt: skip

    return make


def gap_handler(settings: Settings, http: AiohttpHttp, clock: Clock) -> AskElsewhere:
    """Who is asked to repair gaps before REST is: the gap handler that the settings name."""

    def make(recorder: Recorder, tell: Tell) -> Elsewhere:
        delegate = Delegate(
            settings.gap_handler_url, settings.control_token,
            lambda: open_store(settings.database_url, write=False), http, recorder, clock=clock, tell=tell,
        )  # fmt: skip
        return delegate.repair

    return make

"""The schema of the shared database as the settings want it, brought up to date by whoever starts first."""

from calendar import monthrange
from datetime import UTC, datetime

from candlewick.clock import SECOND
from candlewick.config import Settings
from candlewick.errors import StoreDown, StoreError
from candlewick.stores.postgres.connection import Database, Limits
from candlewick.stores.postgres.schema import SchemaOptions, migrate, require_schema

_ONE = Limits(least=1, most=1)


def schema_options(settings: Settings) -> SchemaOptions:
    """What the settings say of the schema; the default series is that of the first symbol that is no pattern."""
    plain = [one for one in settings.symbols if not any(sign in one for sign in "*?[")]
    return SchemaOptions(
        market=settings.market.value,
        symbol=plain[0] if plain else "BTCUSDT",
        candles_months=settings.candles_retention_months,
        predictions_months=settings.predictions_retention_months,
        features_months=settings.features_retention_months,
        quality_months=settings.quality_log_retention_months,
        compress_after_days=settings.compress_after_days,
    )


async def prepare(url: str, options: SchemaOptions, application: str) -> None:
    """Bring the schema of the database at `url` up to date; where this role may not, that it is so already will do.

    Raises:
        StoreDown: the database does not answer.
        StoreError: it has no schema that this program can write, and none can be made.
    """
    database = await Database.open(url, _ONE, application=application)
    try:
        try:
            async with database.acquire() as connection:
                await migrate(connection, options)
        except StoreDown:
            raise
        except StoreError as refused:
            async with database.acquire() as connection:
                try:
                    await require_schema(connection)
                except StoreError as missing:
                    words = {str(refused): None, str(missing): None}  # which may be the same
                    raise StoreError("; ".join(words)) from refused
    finally:
        await database.close()


def months_before(time: int, months: int) -> int:
    """The time so many calendar months before `time`, both in microseconds UTC, as PostgreSQL counts them."""
    moment = datetime.fromtimestamp(time // SECOND, UTC)
    year, month = divmod(moment.year * 12 + moment.month - 1 - months, 12)
    day = min(moment.day, monthrange(year, month + 1)[1])
    return int(moment.replace(year=year, month=month + 1, day=day).timestamp()) * SECOND

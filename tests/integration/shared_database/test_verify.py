"""`candlewick verify` of a shared database: what its retention let go is no damage, and counting reads no more than it must."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from candlewick.certificates.issue import certify
from candlewick.cli import main
from candlewick.market import DAY, HOUR, MINUTE, Interval, Market, Series, Span, parse_time
from candlewick.stores.postgres import queries
from candlewick.stores.postgres.store import PostgresStore
from candlewick.stores.provenance import keep_certificate
from candlewick.stores.store import Source
from tests.conftest import execute, migrated
from tests.integration.shared_database.seeding import HOURS, MINUTES, walk

MONDAY = parse_time("2024-03-04T00:00:00")
WHOLE = Span(MONDAY, MONDAY + 28 * DAY)

pytestmark = pytest.mark.usefixtures("nobodys_settings")


@pytest.fixture
def store(schema_url: str) -> Iterator[PostgresStore]:
    """Four weeks of hours and of one-minute candles, certified; the first hours were revised before."""
    one = PostgresStore.open(schema_url, write=True)
    for series, step in ((HOURS, HOUR), (MINUTES, MINUTE)):
        rows = walk(one, series, range(WHOLE.start, WHOLE.end, step), Source.REST, 1)
        one.write(rows)
        rows = rows[:20]
        rows["trades"] += 1
        one.write(rows)
        keep_certificate(one, series, certify(one, series, WHOLE).to_json())
    yield one
    one.close()


def test_what_retention_let_go_is_no_damage(
    schema_url: str, store: PostgresStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weeks that the cleanup dropped are notes, blocks of which it left a part too; where all is kept they are missing."""
    assert main(["verify", "--store", schema_url]) == 0
    execute(schema_url, "SELECT drop_candles_before('2024-03-26')")
    capsys.readouterr()
    assert main(["verify", "--store", schema_url]) == 0
    kept = ": as old as that, the store keeps what opens from 2024-03-25T00:00:00Z"
    said = [one.removesuffix(kept) for one in capsys.readouterr().out.splitlines() if one.endswith(kept)]
    start = "note: spot:BTCUSDT:1h 2024-03-04T00:00:00Z"
    assert f"{start} 504 rows, to 2024-03-25T00:00:00Z, are certified, now there is none" in said
    assert f"{start} a row of it was revised, now there is none" in said
    assert any(
        "8640 rows were certified, now there are 7200" in one for one in said
    )  # six days, of which five are left
    execute(schema_url, "UPDATE schema_settings SET value = '0' WHERE key = 'candles_months'")
    assert main(["verify", "--store", schema_url]) == 1


def test_series_that_retention_let_go_as_a_whole_is_no_damage(
    schema_url: str, store: PostgresStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of what stopped trading long ago only the certificate is left."""
    execute(schema_url, "SELECT drop_candles_before('2024-04-09')")
    assert main(["verify", "--store", schema_url]) == 0
    assert "the store keeps nothing" in capsys.readouterr().out


def test_rows_that_are_gone_from_among_others_are_damage(
    schema_url: str, store: PostgresStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Retention takes no row out of the middle, however old it is."""
    execute(schema_url, "SELECT drop_candles_before('2024-03-12')")
    execute(schema_url, "DELETE FROM candles WHERE interval = '1h' AND time = '2024-03-20T05:00:00Z'")
    assert main(["verify", "--store", schema_url]) == 1
    wrong = [one for one in capsys.readouterr().out.splitlines() if not one.startswith("note: ")]
    start = "spot:BTCUSDT:1h 2024-03-20T05:00:00Z row"
    assert [one.partition(" row")[0] + " row" for one in wrong] == [start, start]
    assert f"{start} is certified, now there is none" in wrong


def test_counting_one_symbol_reads_its_rows_alone(each_postgres_url: str) -> None:
    """The index leads there, on the oldest server supported too: thousands of symbols are not read again for each."""
    migrated(each_postgres_url)
    store = PostgresStore.open(each_postgres_url, write=True)
    kept = [Series(Market.SPOT, f"S{at:02}USDT", Interval("1m")) for at in range(30)]
    rows = walk(store, kept[0], range(MONDAY, MONDAY + 2 * DAY, MINUTE), Source.REST, 1)
    for one in kept:
        rows["series"] = store.number(one)
        store.write(rows)

    async def read() -> tuple[int, int, int]:
        connection = await asyncpg.connect(each_postgres_url)
        try:
            await connection.execute("VACUUM ANALYZE candles")
            await connection.execute("SELECT pg_stat_force_next_flush()")
            await connection.execute("SELECT pg_stat_reset()")
            (found,) = await queries.known_series(connection, counted=True, symbol=kept[7].symbol)
            await connection.execute("SELECT pg_stat_force_next_flush()")
            pages = await connection.fetchrow(
                "SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::int,"
                " sum(pg_total_relation_size(relid) / 8192)::int FROM pg_statio_user_tables WHERE relname ~ '^candles_\\d'"
            )
        finally:
            await connection.close()
        return found.rows, pages[0], pages[1]

    count, touched, pages = asyncio.run(read())
    store.close()
    assert count == len(rows)
    assert 0 < touched < pages / 10

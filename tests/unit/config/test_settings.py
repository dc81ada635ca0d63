"""Settings: their four sources, their synonyms, and what a mistake is told."""

import itertools
from pathlib import Path

import pytest

from candlewick.config import ROWS, HistoryStart, LogLevel, Settings, default_store, load, masked
from candlewick.config.kinds import read_history_start
from candlewick.errors import ConfigError
from candlewick.exchanges.exchange import StreamKind
from candlewick.exchanges.exchange import load as load_exchange
from candlewick.market import DAY, Interval, Market, parse_time

HOME = {"HOME": "/home/x"}


def settings(environment: dict[str, str] | None = None, **options: str) -> Settings:
    return load(None, options, HOME | (environment or {}), Path("/nowhere")).settings


def write(folder: Path, text: str) -> Path:
    path = folder / "candlewick.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_default_to_what_the_interface_says() -> None:
    """Nothing set anywhere gives the documented defaults."""
    plain = settings()
    assert plain.market is Market.SPOT
    assert plain.symbols == ("BTCUSDT",)
    assert plain.intervals == (Interval("1m"),)
    assert plain.streams == (StreamKind.KLINE, StreamKind.BOOK_TICKER)
    assert (plain.http_host, plain.feeder_port) == ("127.0.0.1", 8080)
    assert (plain.gap_detection_threshold, plain.backfill_check_interval_s) == (70, 300)
    assert (plain.rate_limit_requests_per_sec, plain.rate_limit_weight_per_minute) == (10, 1200)
    assert plain.store == "lmdb:///home/x/.local/share/candlewick"
    assert plain.history_start.resolve(10 * DAY) == 8 * DAY
    assert plain.log_level is LogLevel.INFO


def test_store_default_follows_the_data_folder() -> None:
    """XDG_DATA_HOME moves the default store."""
    assert default_store({"HOME": "/h", "XDG_DATA_HOME": "/data"}) == "lmdb:///data/candlewick"


def test_sources_override_each_other_in_order(tmp_path: Path) -> None:
    """Options beat the environment, which beats the file, which beats the default; each value knows its origin."""
    path = write(tmp_path, 'symbols = ["AAAUSDT"]\nhttp_host = "0.0.0.0"\nfeeder_port = 1\nlog_level = "debug"\n')
    environment = HOME | {"HTTP_HOST": "127.0.0.2", "FEEDER_PORT": "2"}
    loaded = load(None, {"feeder_port": "3", "store": None}, environment, tmp_path)
    assert loaded.path == path
    assert (loaded.settings.symbols, loaded.settings.http_host, loaded.settings.feeder_port) == (
        ("AAAUSDT",),
        "127.0.0.2",
        3,
    )
    assert loaded.origins["symbols"] == str(path)
    assert loaded.origins["http_host"] == "environment (HTTP_HOST)"
    assert loaded.origins["feeder_port"] == "command line"
    assert loaded.origins["market"] == "default"


def test_file_is_found_by_option_then_variable_then_folder(tmp_path: Path) -> None:
    """`--config` beats CANDLEWICK_CONFIG, which beats the working directory."""
    files = []
    for name in "abc":
        (tmp_path / name).mkdir()
        files.append(write(tmp_path / name, f'environment = "{name}"\n'))
    variable = HOME | {"CANDLEWICK_CONFIG": str(files[1])}
    assert load(files[0], {}, variable, tmp_path / "c").settings.environment == "a"
    assert load(None, {}, variable, tmp_path / "c").settings.environment == "b"
    assert load(None, {}, HOME, tmp_path / "c").settings.environment == "c"
    with pytest.raises(ConfigError, match=r"CANDLEWICK_CONFIG names /no/such\.toml, which is not a file"):
        load(None, {}, {"CANDLEWICK_CONFIG": "/no/such.toml"}, tmp_path)


def test_empty_variables_are_not_set() -> None:
    """A variable that is set to nothing leaves the default."""
    assert settings({"SYMBOLS": "", "FEEDER_PORT": "", "TRADING_SYMBOL": "ethusdt"}).symbols == ("ETHUSDT",)


@pytest.mark.parametrize(("name", "alias"), [(row.name, alias) for row in ROWS for alias in row.about.aliases])
def test_synonym_sets_the_same_and_contradicts(name: str, alias: str) -> None:
    """Every synonym sets its setting; together with another value of the canonical name it is an error naming both."""
    values = {"INTERVALS": ("5m", "1h"), "SYMBOLS": ("AUSDT", "BUSDT")}.get(name, ("61", "62"))
    field = name.lower()
    assert getattr(settings({alias: values[0]}), field) == getattr(settings({name: values[0]}), field)
    assert getattr(settings({alias: values[0]}), field) != getattr(settings(), field)
    assert settings({alias: values[0], name: values[0]}) == settings({name: values[0]})
    with pytest.raises(ConfigError) as caught:
        settings({alias: values[0], name: values[1]})
    assert name in str(caught.value)
    assert alias in str(caught.value)


def test_synonyms_are_compared_by_what_they_mean() -> None:
    """Two spellings of one value do not contradict each other."""
    assert settings({"SYMBOLS": "BTC/USDT", "TRADING_SYMBOL": "btcusdt"}).symbols == ("BTCUSDT",)


def test_symbols_are_normalised_and_patterns_kept() -> None:
    """Every spelling of a symbol is one, each counts once, and a pattern keeps its signs."""
    assert settings({"SYMBOLS": "btc/usdt, ETH-USDT,btcusdt,*usdc,[a-m]*btc"}).symbols == (
        "BTCUSDT",
        "ETHUSDT",
        "*USDC",
        "[A-M]*BTC",
    )


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"GAP_DETECTION_THRESHOLD": "4.9"}, ["GAP_DETECTION_THRESHOLD='4.9'", "5 or more"]),
        ({"BACKFILL_CHECK_INTERVAL_S": "1"}, ["BACKFILL_CHECK_INTERVAL_S", "5 or more"]),
        ({"FEEDER_PORT": "70000"}, ["FEEDER_PORT='70000'", "from 0 to 65535"]),
        ({"HEALTH_CHECK_PORT": "x"}, ["HEALTH_CHECK_PORT='x'", "whole number"]),
        ({"MARKET": "futures"}, ["MARKET='futures'", "spot or usdm"]),
        ({"STREAMS": "kline,depth"}, ["STREAMS", "kline, trade, aggTrade, bookTicker or ticker"]),
        ({"INTERVALS": "7m"}, ["INTERVALS", "binance spot has no 7m", "5m"]),
        ({"INTERVALS": "1s", "MARKET": "usdm"}, ["INTERVALS", "usdm has no 1s"]),
        ({"INTERVALS": "minute"}, ["INTERVALS", "'minute'"]),
        ({"SYMBOLS": ","}, ["SYMBOLS=','", "such as BTCUSDT"]),
        ({"BINANCE_STREAM_URL": "https://x"}, ["BINANCE_STREAM_URL", "wss:// or ws://"]),
        ({"BINANCE_API_URL": "api.binance.com"}, ["BINANCE_API_URL", "https:// or http://"]),
        ({"BINANCE_API_URL": "http://x:port"}, ["BINANCE_API_URL", "https:// or http://"]),
        ({"STORE": "mysql://x"}, ["STORE", "lmdb:///path"]),
        ({"STORE": "/var/lib/candles"}, ["STORE", "lmdb:///path"]),
        ({"STORE": "postgresql://u@[::1/db"}, ["STORE", "lmdb:///path"]),
        ({"HISTORY_START": "yesterday"}, ["HISTORY_START", "2024-01-31"]),
        ({"LOG_LEVEL": "loud"}, ["LOG_LEVEL", "debug, info, warn or error"]),
        ({"HISTORICAL_BACKFILL_ENABLED": "maybe"}, ["HISTORICAL_BACKFILL_ENABLED", "true or false"]),
        ({"EXCHANGE": "nowhere"}, ["nowhere"]),
        ({"DB_POOL_MIN": "9"}, ["DB_POOL_MIN=9", "DB_POOL_MAX=5"]),
        ({"WEBSOCKET_RECONNECT_INTERVAL_S": "-1"}, ["WEBSOCKET_RECONNECT_INTERVAL_S", "0.1"]),
    ],
)
def test_impossible_value_is_told_with_what_would_be_right(environment: dict[str, str], words: list[str]) -> None:
    """The error names the variable, its value, and what would be right."""
    with pytest.raises(ConfigError) as caught:
        settings(environment)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('symbol = ["BTCUSDT"]', ["symbol is not a setting", "did you mean symbols?"]),
        ("zzzzzz = 1", ["zzzzzz is not a setting", "candlewick config show"]),
        ("[application]\nsymbols = []", ["[application] is a table", "top of the file"]),
        ('feeder_port = "8080"', ["feeder_port", "whole number"]),
        ("feeder_port = true", ["FEEDER_PORT", "true", "whole number"]),
        ("feeder_port = 80.5", ["feeder_port", "whole number"]),
        ("feeder_port = [1]", ["feeder_port", "whole number"]),
        ("symbols = [1]", ["symbols", "list of symbols"]),
        ("log_level = 1", ["log_level", "debug, info"]),
        ("market = ", ["is not TOML"]),
        ('market = "usdm"\nmarket = "spot"', ["is not TOML"]),
        ("gap_detection_threshold = inf", ["gap_detection_threshold"]),
        ('symbols = ["A"]\ntrading_symbol = "B"', ["symbols", "trading_symbol", "different values"]),
    ],
)
def test_mistake_in_the_file_is_told_with_its_place(tmp_path: Path, text: str, words: list[str]) -> None:
    """Unknown keys, wrong types and broken files are errors that name the file, the key and what would be right."""
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(None, {}, HOME, tmp_path)
    message = str(caught.value).lower()
    assert str(path).lower() in message
    assert [word for word in words if word.lower() not in message] == []


def test_file_takes_its_own_types(tmp_path: Path) -> None:
    """Lists, numbers, booleans and dates of TOML are read as they stand."""
    write(
        tmp_path,
        'symbols = ["btcusdt", "ETH/USDT"]\nintervals = "1m,1h"\ngap_detection_threshold = 5\n'
        "historical_backfill_enabled = true\nhistory_start = 2024-01-31\nbackfill_check_interval_s = 7.5\n",
    )
    read = load(None, {}, HOME, tmp_path).settings
    assert read.symbols == ("BTCUSDT", "ETHUSDT")
    assert read.intervals == (Interval("1m"), Interval("1h"))
    assert (read.gap_detection_threshold, read.backfill_check_interval_s) == (5, 7.5)
    assert read.historical_backfill_enabled is True
    assert read.history_start.resolve(0) == parse_time("2024-01-31")


@pytest.mark.parametrize(("text", "time"), [("3d", 97 * DAY), ("0.5d", 199 * DAY // 2), ("1970-01-02T00:00", DAY)])
def test_history_start_is_a_time_or_days_before_now(text: str, time: int) -> None:
    """Days count back from now, a date stands still."""
    start = read_history_start(text)
    assert isinstance(start, HistoryStart)
    assert start.resolve(100 * DAY) == time


def test_base_urls_follow_the_market() -> None:
    """An empty base URL is that of the market; a set one wins."""
    spot, usdm = settings(), settings({"MARKET": "usdm"})
    assert spot.stream_url.startswith("wss://")
    assert len({spot.stream_url, usdm.stream_url, spot.api_url, usdm.api_url}) == 4
    own = settings({"BINANCE_STREAM_URL": "ws://127.0.0.1:1/ws", "BINANCE_API_URL": "http://127.0.0.1:1"})
    assert (own.stream_url, own.api_url) == ("ws://127.0.0.1:1/ws", "http://127.0.0.1:1")


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    """Neither the rows, nor the representation, nor an error shows a password."""
    secret = "s3cret@word"
    environment = {row.name: secret for row in ROWS if row.about.secret} | {"STORE": f"postgresql://u:{secret}@h/d"}
    environment["REDIS_URL"] = f"redis://:{secret}@h"
    shown = settings(environment)
    texts = [repr(shown), *(row.shown(shown) for row in ROWS)]
    for broken in (
        {"STORE": f"postgresql:/u:{secret}@h"},
        {"STORE": f"postgresql://u:{secret}@[::1/d"},
        {"DB_PASSWORD": secret, "POSTGRES_PASSWORD": "other"},
    ):
        with pytest.raises(ConfigError) as caught:
            settings(broken)
        texts.append(str(caught.value))
    assert [text for text in texts if "s3cret" in text or "word" in text.replace("password", "")] == []
    assert "postgresql://u:***@h/d" in repr(shown)
    assert masked("http://h/?token=abc&x=1") == "http://h/?token=***&x=1"


def test_password_keeps_its_spaces() -> None:
    """Text that is a secret is taken as it stands."""
    assert settings({"DB_PASSWORD": " a "}).db_password == " a "


def test_rows_are_whole() -> None:
    """Every row has a sentence, no two rows share a name, and every default is one that its own kind reads."""
    names = list(itertools.chain.from_iterable(row.names for row in ROWS))
    assert len(names) == len(set(names))
    plain = Settings()
    for row in ROWS:
        assert row.about.meaning.endswith(".")
        text = row.shown(plain)
        if text:
            assert getattr(settings({row.name: text}), row.field) == row.default


def test_venue_of_a_market_that_the_exchange_has_not_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange without the configured market is named with the markets it has."""
    venues = load_exchange("binance").venues
    monkeypatch.setattr(load_exchange("binance"), "venues", {Market.SPOT: venues[Market.SPOT]})
    with pytest.raises(ConfigError, match="MARKET=usdm is not one of binance's: it has spot"):
        _ = Settings(market=Market.USDM).venue

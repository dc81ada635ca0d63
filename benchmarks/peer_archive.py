"""Fetches a year of 1m candles the way another tool does; runs in an environment with that tool.

python peer_archive.py TOOL URL FOLDER SYMBOL YEAR prints one line of JSON: seconds without imports, and rows.

Each tool does its own work on its own way, only the address is the local server's. Those that leave CSV files behind
have not parsed anything; reading them with pandas is what their users do next, and is timed as well.
"""

import asyncio
import json
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path


def freqtrade(url: str, _folder: Path, symbol: str, year: int) -> tuple[float, int]:
    from freqtrade.enums import CandleType
    from freqtrade.exchange import binance_public_data as data

    theirs = data.binance_vision_ohlcv_zip_url
    data.binance_vision_ohlcv_zip_url = lambda *args: theirs(*args).replace("https://data.binance.vision", url)
    pair = symbol.replace("USDT", "/USDT")
    start, end = (int(datetime(each, 1, 1, tzinfo=UTC).timestamp()) * 1000 for each in (year, year + 1))
    began = time.perf_counter()
    frame = asyncio.run(
        data.download_archive_ohlcv(
            CandleType.SPOT, pair, "1m", since_ms=start, until_ms=end - 1, markets={pair: {"id": symbol}}
        )
    )
    return time.perf_counter() - began, len(frame)


def binance_historical_data(url: str, folder: Path, symbol: str, year: int) -> tuple[float, int]:
    from binance_historical_data import BinanceDataDumper

    dumper = BinanceDataDumper(path_dir_where_to_dump=str(folder), data_frequency="1m")
    dumper._base_url = f"{url}/data"  # noqa: SLF001  # it has no setting for it
    dumper.get_list_all_trading_pairs = lambda: [symbol]
    dumper.get_min_start_date_for_ticker = lambda _: date(year, 1, 1)
    began = time.perf_counter()
    # It takes months that end before the month of the last day: the last day of the year would leave December out.
    dumper.dump_data(tickers=[symbol], date_start=date(year, 1, 1), date_end=date(year + 1, 1, 1))
    return read(folder, began)


def binance_bulk_downloader(url: str, folder: Path, symbol: str, _year: int) -> tuple[float, int]:
    from binance_bulk_downloader.downloader import BinanceBulkDownloader

    BinanceBulkDownloader._BINANCE_DATA_S3_BUCKET_URL = url  # noqa: SLF001  # likewise
    BinanceBulkDownloader._BINANCE_DATA_DOWNLOAD_BASE_URL = url  # noqa: SLF001  # likewise
    loader = BinanceBulkDownloader(
        destination_dir=str(folder), data_type="klines", data_frequency="1m", asset="spot",
        timeperiod_per_file="monthly", symbols=symbol,
    )  # fmt: skip
    began = time.perf_counter()
    loader.run_download()
    return read(folder, began)


def read(folder: Path, began: float) -> tuple[float, int]:
    import pandas as pd

    frames = [pd.read_csv(path, header=None) for path in sorted(folder.rglob("*.csv"))]
    return time.perf_counter() - began, sum(map(len, frames))


if __name__ == "__main__":
    tool, url, folder, symbol, year = sys.argv[1:]
    seconds, rows = globals()[tool](url, Path(folder), symbol, int(year))
    print(json.dumps({"seconds": seconds, "rows": rows}))

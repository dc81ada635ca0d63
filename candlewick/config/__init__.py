"""Settings: every one a row of data (`settings`), what a value may be (`kinds`), and where values come from (`load`)."""

from candlewick.config.kinds import HistoryStart
from candlewick.config.load import FILE_NAME, FILE_VARIABLE, Loaded, default_store, load
from candlewick.config.settings import ROWS, LogLevel, Row, Settings, masked

__all__ = [
    "FILE_NAME",
    "FILE_VARIABLE",
    "ROWS",
    "HistoryStart",
    "Loaded",
    "LogLevel",
    "Row",
    "Settings",
    "default_store",
    "load",
    "masked",
]

"""The tables of the shared database, how they come to be (`migrate`), and whether they are as they should be (`check`)."""

from candlewick.stores.postgres.schema.check import Finding, Status, check
from candlewick.stores.postgres.schema.migrate import (
    Migrated,
    SchemaOptions,
    default_series,
    is_timescale,
    migrate,
    require_schema,
)

__all__ = [
    "Finding",
    "Migrated",
    "SchemaOptions",
    "Status",
    "check",
    "default_series",
    "is_timescale",
    "migrate",
    "require_schema",
]

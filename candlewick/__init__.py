"""Market data that can be proved complete.

`import candlewick` is cheap: what needs a store or a frame library is imported when it is first used.
"""

TYPE_CHECKING = False  # type checkers know the name; importing `typing` for it would be most of the time
if TYPE_CHECKING:
    from pathlib import Path

    from candlewick.reading.database import Database

__version__ = "0.1.0"


def open(url: "str | None" = None, *, config: "str | Path | None" = None) -> "Database":  # noqa: A001  # candlewick.open
    """The store at `url`, open for reading, also while another process writes it; use it in a `with` block.

    Without a URL it is the store of the settings, as for the commands: of the file `config` (else CANDLEWICK_CONFIG,
    else `candlewick.toml` in the working directory) and of the environment, by default the user's data folder.
    docs/python.md shows what can be done with it.

    Raises:
        ConfigError: a setting is impossible, or the URL names no kind of store that can be opened.
        StoreError: there is no store, or it cannot be read; says why and what to do.
    """
    from candlewick.reading.database import Database  # noqa: PLC0415  # `import candlewick` stays cheap

    return Database.open(url, config=config)

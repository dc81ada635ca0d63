"""Everything that can be had by HTTP GET: REST and archive behind one door."""

from candlewick.simulator.archive import Archive
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.rest import Params, Reply, Rest


class Gateway:
    """Answers any GET request to one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._rest = Rest(exchange)
        self._archive = Archive(exchange)

    def answer(self, path: str, params: Params) -> Reply:
        """The answer to `GET path?params`."""
        if path.startswith("/data/"):
            return self._archive.file(path)
        asked = dict(params)
        if path in ("", "/") and "prefix" in asked:
            return self._archive.listing(asked["prefix"], asked.get("marker", ""))
        return self._rest.answer(path, params)

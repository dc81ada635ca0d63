"""Everything that can be had by HTTP GET: REST and archive behind one door, and what goes wrong there."""

from collections.abc import Mapping

from candlewick.simulator.archive import Archive
from candlewick.simulator.archive_market import MarketFiles
from candlewick.simulator.desk import Desk
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.query import Params, Reply, page, to_json
from candlewick.simulator.rest import Rest
from candlewick.simulator.trouble import Active, Trouble

_RESTRICTED = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in https://www.binance.com/en/terms. "
    "Please contact customer service if you believe you received this message in error."
)


class Door:
    """Answers any GET request, with all that is wrong at present."""

    def __init__(self, trouble: Trouble, archive: Archive, desks: Mapping[str, Desk]) -> None:
        """`desks`: REST by the first part of a path."""
        self._trouble = trouble
        self._archive = archive
        self._desks = desks

    def answer(self, path: str, params: Params) -> Reply:
        """The answer to `GET path?params`."""
        top = path.lstrip("/").partition("/")[0]
        struck = next((active for active in self._trouble.rest if active.covers(path) and active.hits()), None)
        desk, refused = self._desks.get(top), None
        if desk is not None:
            refused = desk.refuse(path, params, None if struck is None else struck.fault)
        if refused is None and struck is not None:
            refused = _instead(struck)
        if refused is not None:
            return refused
        if desk is not None:
            reply = desk.answer(path, params)
        elif top == "data":
            reply = self._archive.file(path)
        elif {"prefix", "delimiter"} & dict(params).keys():
            reply = self._archive.listing(params)
        else:
            reply = page(404, "404 Not Found")
        return reply if struck is None else _spoil(struck, reply)


class Gateway(Door):
    """Answers any GET request to one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        archive = Archive(MarketFiles(exchange), exchange.trouble, exchange.clock)
        super().__init__(exchange.trouble, archive, dict.fromkeys(("api", "fapi"), Rest(exchange)))


def _instead(active: Active) -> Reply | None:
    """What comes instead of an answer, or None."""
    fault = active.fault
    if fault.kind == "forbidden":
        return page(403, "403 ERROR The request could not be satisfied. Request blocked.")
    if fault.kind == "restricted":
        return Reply(451, to_json({"code": 0, "msg": _RESTRICTED}), {"content-type": "application/json;charset=UTF-8"})
    if fault.kind == "server_error":
        return page(fault.value, f"{fault.value} Server Error")
    if fault.kind == "html":
        return page(200, "We will be back soon")
    return Reply(0, b"", {}) if fault.kind == "no_answer" else None


def _spoil(active: Active, reply: Reply) -> Reply:
    """The answer, spoiled or late."""
    fault, body = active.fault, reply.body
    if fault.kind == "empty_body":
        return reply._replace(body=b"")
    if fault.kind == "cut_body":
        return reply._replace(body=body[: active.random.randrange(len(body))])
    if fault.kind == "reset_body":
        return reply._replace(body=body[: len(body) // 2], whole=False)
    return reply._replace(delay_s=fault.delay) if fault.kind == "slow" else reply

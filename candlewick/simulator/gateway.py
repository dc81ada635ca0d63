"""Everything that can be had by HTTP GET: REST and archive behind one door, and what goes wrong there."""

from candlewick.simulator.archive import Archive
from candlewick.simulator.exchange import Exchange
from candlewick.simulator.query import Params, Reply, page, to_json
from candlewick.simulator.rest import Rest
from candlewick.simulator.trouble import Active

_RESTRICTED = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in https://www.binance.com/en/terms. "
    "Please contact customer service if you believe you received this message in error."
)


class Gateway:
    """Answers any GET request to one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._trouble = exchange.trouble
        self._rest = Rest(exchange)
        self._archive = Archive(exchange)

    def answer(self, path: str, params: Params) -> Reply:
        """The answer to `GET path?params`, with all that is wrong at present."""
        asked = dict(params)
        is_file = path.startswith("/data/")
        is_listing = "prefix" in asked and not path.startswith(("/data/", "/api/", "/fapi/"))
        struck = next((active for active in self._trouble.rest if active.covers(path) and active.hits()), None)
        refused = None
        if not is_file and not is_listing:
            refused = self._rest.refuse(path, params, None if struck is None else struck.fault)
        if refused is None and struck is not None:
            refused = _instead(struck)
        if refused is not None:
            return refused
        if is_file:
            reply = self._archive.file(path)
        elif is_listing:
            reply = self._archive.listing(params)
        else:
            reply = self._rest.answer(path, params)
        return reply if struck is None else _spoil(struck, reply)


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

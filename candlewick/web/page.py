"""The page at `/`: how the run is, in plain HTML that needs nothing from anywhere."""

from html import escape

from candlewick.config import masked
from candlewick.market import SECOND, format_time
from candlewick.services.status import OutputStatus, SeriesStatus, Status
from candlewick.web.health import judge

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The page runs nothing and loads nothing."""

_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #8884}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.healthy{color:#0a7d33}.degraded{color:#a86500}.unhealthy{color:#c0262d}"
)
_LINKS = ("health", "ready", "live", "metrics", "status")


def render(status: Status) -> str:
    """The whole page."""
    state, reasons = judge(status)
    links = " · ".join(f'<a href="/{link}">/{link}</a>' for link in _LINKS)
    points = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    rows = "".join(map(_row, status.series))
    fed = "".join(map(_output, status.outputs))
    uptime_s = (status.now - status.started_at) // SECOND
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        '<meta name="viewport" content="width=device-width"><title>Candlewick</title>'
        f"<style>{_STYLE}</style></head><body>"
        f'<h1>Candlewick: <span class="{state.value}">{state.value}</span></h1><ul>{points}</ul>'
        f"<p>{escape(status.exchange)} {escape(status.market)}, running for {uptime_s} s, "
        f"{status.counters.candles_written} candles written to {escape(masked(status.store.location))}.</p>"
        f"{fed}<p>{links}</p>"
        '<table><thead><tr><th>Series</th><th>Newest close</th><th class="n">Last price</th>'
        '<th class="n">Missing</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></body></html>"
    )


def _output(one: OutputStatus) -> str:
    state = "connected" if one.connected else "not connected"
    place = escape(masked(one.location))
    return f"<p>Fed to {place}: {state}, {one.written} rows written, {one.behind_rows} to send.</p>"


def _row(one: SeriesStatus) -> str:
    name = escape(f"{one.symbol} {one.interval}")
    close = "none yet" if one.last_close is None else format_time(one.last_close)
    price = "" if one.last_price is None else f"{one.last_price:.12g}"
    late = " (overdue)" if one.stale else ""
    return f'<tr><td>{name}</td><td>{close}{late}</td><td class="n">{price}</td><td class="n">{one.missing}</td></tr>'

"""The pieces of a self-contained report page: frame, tiles, sortable tables. Everything shown is escaped.

The page fetches nothing: its content security policy allows its own style and, by hash, its own script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from html import escape
from typing import Any

import msgspec

_STYLE = """
:root{color-scheme:light dark;--page:#f5f6f8;--surface:#fff;--ink:#18212d;--muted:#586474;--grid:#e2e6eb;
--c1:#2a6fdb;--c2:#d4700f;--c3:#0d8a7d;--c4:#7b52c9;--vol:#c3cbd5;--bar:#dbe7fa}
@media (prefers-color-scheme:dark){:root{--page:#0f1318;--surface:#181e26;--ink:#e6ebf1;--muted:#9ca8b6;
--grid:#2b333e;--c1:#6ba6ff;--c2:#f0a24e;--c3:#45c2b3;--c4:#b596f2;--vol:#48525f;--bar:#243a5c}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:1360px;margin:0 auto;padding:28px 24px 48px}h1{font-size:26px;margin:0 0 2px}
h2{font-size:17px;margin:0 0 4px}p{margin:0 0 10px}.sub{color:var(--muted)}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:12px;margin:20px 0}
@media (max-width:900px){.tiles{grid-template-columns:repeat(2,1fr)}}
@media (max-width:700px){svg{min-width:600px}}
.tile,section{background:var(--surface);border:1px solid var(--grid);border-radius:8px;padding:14px 16px}
.tile b{display:block;font-size:23px;font-variant-numeric:tabular-nums;line-height:1.25}
.tile span{color:var(--muted);font-size:12.5px;display:block}section{margin:0 0 16px}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));gap:16px;margin:0 0 16px}
.two section{margin:0}figure{margin:6px 0 0}figcaption{font-weight:600;margin:0 0 2px}
svg{display:block;width:100%;height:auto}svg text{font-size:11.5px;fill:var(--muted)}
svg .strong{fill:var(--ink);font-weight:600}.grid{stroke:var(--grid)}.zero{stroke:var(--muted)}
.total{stroke:var(--ink);stroke-width:2}.plan{fill:none;stroke:var(--c2);stroke-width:2;stroke-dasharray:6 4}
.vol{fill:var(--vol)}.b1{fill:var(--c1)}.b2{fill:var(--c2)}.b3{fill:var(--c3)}.b4{fill:var(--c4)}
.l1,.l2,.l3,.l4{fill:none;stroke-width:2.25}.l1{stroke:var(--c1)}.l2{stroke:var(--c2)}.l3{stroke:var(--c3)}
.l4{stroke:var(--c4)}svg .f1{fill:var(--c1)}svg .f2{fill:var(--c2)}
svg .f3{fill:var(--c3)}svg .f4{fill:var(--c4)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;
font-variant-numeric:tabular-nums;font-size:12px}
th,td{padding:5px;text-align:right;border-bottom:1px solid var(--grid)}td{white-space:nowrap}
th{vertical-align:bottom;color:var(--muted);font-weight:600;line-height:1.2}th.t,td.t{text-align:left}
tbody tr:hover{background:var(--page)}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--c1)}
th[aria-sort=ascending] button::after{content:" ▲"}th[aria-sort=descending] button::after{content:" ▼"}
td.bar{background:linear-gradient(90deg,var(--bar) var(--w),transparent var(--w)) no-repeat 0 50%/100% 72%}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px;margin:0}dt{font-weight:600}dd{margin:0}
@media print{:root{color-scheme:light;--page:#fff;--surface:#fff;--ink:#000;--muted:#444;--grid:#ddd;
--c1:#2a6fdb;--c2:#d4700f;--c3:#0d8a7d;--c4:#7b52c9;--vol:#c3cbd5;--bar:#dbe7fa}
@page{size:A4 landscape;margin:10mm}figure,.tile,tr,.two section{break-inside:avoid}
main{max-width:none;padding:0}.scroll{overflow:visible}table{font-size:8.5px}th,td{padding:2px 3px}
body{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""

_SCRIPT = """
for (const head of document.querySelectorAll("th button")) head.onclick = () => {
  const cell = head.parentNode, body = cell.closest("table").tBodies[0], at = cell.cellIndex;
  const down = cell.getAttribute("aria-sort") !== "descending";
  for (const other of cell.parentNode.cells) other.removeAttribute("aria-sort");
  cell.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[at].dataset.v ?? row.cells[at].textContent;
  const less = (a, b) => a === "" ? 1 : b === "" ? -1 : (isNaN(a) || isNaN(b) ? (down ? -1 : 1) *
    String(a).localeCompare(b) : (down ? b - a : a - b));
  body.append(...[...body.rows].sort((a, b) => less(key(a), key(b))));
};
"""


class Column(msgspec.Struct, frozen=True):
    """A column of a table: its heading with the unit, the field, and how a value is written.

    Attributes:
        bar: draw a bar behind the number; the value is a share of 1, or of the column's largest.
    """

    heading: str
    field: str
    form: Callable[[Any], str]
    text: bool = False
    bar: bool = False


def document(title: str, body: Iterable[str]) -> str:
    """A whole page."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + f"\n</main><script>{_SCRIPT}</script></body></html>\n"
    )


def tile(label: str, value: str, more: str = "") -> str:
    """One headline number."""
    lines = f"<span>{escape(label)}</span><b>{escape(value)}</b><span>{escape(more)}</span>"
    return f'<div class="tile">{lines}</div>'


def section(heading: str, *parts: str, note: str = "") -> str:
    """A part of the page; `parts` are markup, `note` is text."""
    said = f'<p class="sub">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(heading)}</h2>{said}{''.join(parts)}</section>"


def chart(title: str, svg: str) -> str:
    """A chart in a frame that scrolls on a narrow screen, where it would be too small to read."""
    label = escape(title, quote=True)
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{svg}</div>'


def figure(caption: str, svg: str) -> str:
    """A chart with its caption; `svg` is markup."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"


def table(caption: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table whose headings sort it; columns in which no row has a value are left out."""
    columns = [column for column in columns if any(row[column.field] is not None for row in rows)]
    largest = {
        column.field: max((abs(float(row[column.field] or 0)) for row in rows), default=0.0)
        for column in columns
        if column.bar
    }
    heads = "".join(
        f'<th scope="col"{_left(column)}><button type="button">{escape(column.heading)}</button></th>'
        for column in columns
    )
    body = "".join(f"<tr>{''.join(_cell(column, row, largest) for column in columns)}</tr>" for row in rows)
    label = escape(caption, quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table aria-label="{label}">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(column: Column, row: Mapping[str, Any], largest: Mapping[str, float]) -> str:
    value = row[column.field]
    shown = escape(column.form(value)) if value is not None else "–"
    if column.text:
        return f'<td class="t">{shown}</td>'
    sort = "" if value is None else f"{float(value):.10g}"
    bar = ""
    if column.bar and value is not None and largest[column.field]:
        width = 100 * abs(float(value)) / max(largest[column.field], 1e-300)
        bar = f' class="bar" style="--w:{width:.1f}%"'
    return f'<td data-v="{sort}"{bar}>{shown}</td>'


def _left(column: Column) -> str:
    return ' class="t"' if column.text else ""


# --- how values are written ---


def named(kind: str) -> Callable[[Any], str]:
    """A name as it is; "no algo" where there is none."""
    return lambda value: str(value) or f"no {kind}"


def plain_text(value: Any) -> str:
    """Text as it is; a dash for none."""
    return str(value) if value != "" else "–"


def whole(value: Any) -> str:
    """12,345."""
    return f"{value:,.0f}"


def signed(value: Any) -> str:
    """Two places with a sign; what rounds to nothing has none."""
    shown = f"{value:+.2f}"
    return "0.00" if shown in ("+0.00", "-0.00") else shown.replace("-", "−")


def basis_points(value: Any) -> str:
    """+1.23, with a sign: costs are positive."""
    return signed(value)


def share(value: Any) -> str:
    """45.6%."""
    return f"{100 * value:.1f}%"


def ratio(value: Any) -> str:
    """+0.45, of a spread."""
    return signed(value)


def milliseconds(value: Any) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def money(value: Decimal) -> str:
    """12,345.67."""
    shown = f"{value:,.2f}"
    return "0.00" if shown == "-0.00" else shown.replace("-", "−")


def compact(value: Decimal) -> str:
    """12.3M, for a tile."""
    for limit, suffix in ((10**9, "bn"), (10**6, "M"), (10**3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:,.1f}{suffix}"
    return f"{value:,.0f}"

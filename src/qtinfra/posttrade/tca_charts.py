"""Charts of a cost report as inline SVG: text in, text out, nothing fetched, every word escaped.

Colours are CSS variables of the page (`--c1` to `--c4`), so that one drawing serves light and dark. Each
chart has a title and a description for those who do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape

import msgspec

from qtinfra.posttrade.tca_page import signed

#: Width of every chart in its own units; the page scales it.
WIDTH = 720.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 16.0, 14.0, 40.0
#: Room that the label of a marker takes.
_LABEL = 100.0
_SECOND_NS = 1_000_000_000

Point = tuple[float, float]


class Series(msgspec.Struct, frozen=True):
    """A named line: its points in data units, and the number of its colour, 1 to 4."""

    name: str
    points: Sequence[Point]
    colour: int


class Execution(msgspec.Struct, frozen=True):
    """An algo parent over time: seconds since 1970 UTC, units.

    Attributes:
        target: cumulative units that the plan wanted, as steps.
        done: cumulative units executed, as steps.
        market, own: units per interval of `bin_s` seconds from `start_s` on.
    """

    start_s: float
    end_s: float
    qty: float
    target: Sequence[Point]
    done: Sequence[Point]
    market: Sequence[float]
    own: Sequence[float]
    bin_s: float


class _Scale(msgspec.Struct, frozen=True):
    """Data units to chart units, linear."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers from at most `low` to at least `high`."""
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):
        low, high = low - 1.0, high + 1.0
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def number(value: float) -> str:
    """A short number for an axis: 1.5k, 20M, 0.25."""
    for limit, suffix in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.4g}".replace("-", "−")


def stacked_bars(title: str, rows: Sequence[tuple[str, Sequence[float], float]], parts: Sequence[str]) -> str:
    """Horizontal bars of parts that add up, costs to the right of zero and gains to the left, totals marked.

    Args:
        rows: label, one value per part, total; basis points.
    """
    height = _TOP + 30 * len(rows) + _BOTTOM + 24
    lows = [sum(min(value, 0.0) for value in values) for _, values, _ in rows]
    highs = [sum(max(value, 0.0) for value in values) for _, values, _ in rows]
    marks = ticks(min([*lows, 0.0]), max([*highs, 0.0]))
    x = _Scale(marks[0], marks[-1], 130.0, WIDTH - 70.0)
    foot = height - _BOTTOM
    body = [*_vertical_grid(x, marks, _TOP + 24, foot), _axis_title("basis points of paper value", height)]
    body += [_legend(parts, 130.0)]
    for index, (label, values, total) in enumerate(rows):
        top = _TOP + 30 + 30 * index
        body.append(_text(122, top + 14, label, "end"))
        body += list(_stack(x, top, values, parts, label))
        body.append(
            f'<line class="total" x1="{x(total):.1f}" x2="{x(total):.1f}" y1="{top - 3}" y2="{top + 23}"/>'
        )
        body.append(_text(WIDTH - 4, top + 14, signed(total), "end", "strong"))
    body.append(_zero(x(0.0), _TOP + 24, foot))
    said = "; ".join(f"{label} {total:+.2f}" for label, _, total in rows)
    return _svg(title, f"Totals in basis points: {said}.", height, body)


def _stack(x: _Scale, top: float, values: Sequence[float], parts: Sequence[str], label: str) -> Iterator[str]:
    ends = {1: 0.0, -1: 0.0}
    for index, value in enumerate(values):
        side = 1 if value >= 0 else -1
        start, ends[side] = ends[side], ends[side] + value
        left, right = sorted((x(start), x(ends[side])))
        if right - left > 0.05:
            yield _rect(left, top, right - left, 20, index + 1, f"{label}: {parts[index]} {value:+.3f} bp")


def histogram(title: str, values: Sequence[float], unit: str, bins: int = 31) -> str:
    """How values spread, with mean and median; the end bins hold what the 1st and 99th percentile cut off."""
    ordered = sorted(values)
    low, high = _quantile(ordered, 0.01), _quantile(ordered, 0.99)
    marks = ticks(min(low, 0.0), max(high, 0.0), 8)
    width = (marks[-1] - marks[0]) / bins
    counts = [0] * bins
    for value in values:
        counts[min(max(int((value - marks[0]) / width), 0), bins - 1)] += 1
    height = 260.0
    x = _Scale(marks[0], marks[-1], _LEFT, WIDTH - _RIGHT)
    levels = ticks(0.0, max(counts), 4)
    y = _Scale(levels[0], levels[-1], height - _BOTTOM, _TOP + 24)
    body = [*_horizontal_grid(y, levels, number), *_x_labels(x, marks, height - _BOTTOM + 16, number)]
    for index, count in enumerate(counts):
        left, right = marks[0] + index * width, marks[0] + (index + 1) * width
        colour = 2 if (left + right) / 2 > 0 else 3
        note = f"{left:.2f} to {right:.2f} {unit}: {count} orders"
        if count:
            body.append(_rect(x(left) + 1, y(count), x(right) - x(left) - 2, y(0) - y(count), colour, note))
    mean, median = math.fsum(values) / len(values), _quantile(ordered, 0.5)
    body += [_zero(x(0.0), _TOP + 24, height - _BOTTOM), _marker(x, mean, "mean", height, mean < median)]
    body += [
        _marker(x, median, "median", height, median <= mean),
        _axis_title(f"{unit} (left of 0 is a gain)", height),
    ]
    said = (
        f"{len(values)} orders: mean {mean:.2f}, median {median:.2f}, "
        f"1st to 99th percentile {low:.2f} to {high:.2f} {unit}."
    )
    return _svg(title, said, height, body)


def _marker(x: _Scale, value: float, name: str, height: float, left: bool) -> str:
    at = min(max(x(value), x.start), x.end)
    anchor, shift = ("end", -5) if at > WIDTH * 0.85 or (left and at > _LABEL) else ("start", 5)
    style = ' stroke-dasharray="4 3"' if name == "median" else ""
    line = f'<line class="total" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{height - _BOTTOM:.1f}"{style}/>'
    row = _TOP + (2 if name == "mean" else 15)
    return line + _text(at + shift, row, f"{name} {signed(value)}", anchor, "strong")


def curves(title: str, series: Sequence[Series], labels: Sequence[str], unit: str) -> str:
    """Lines over a few named steps, each point marked; x of a point is the number of its step."""
    height = 260.0
    values = [value for one in series for _, value in one.points]
    levels = ticks(min([*values, 0.0]), max([*values, 0.0]))
    x = _Scale(-0.3, len(labels) - 0.94, _LEFT, WIDTH - 120)
    y = _Scale(levels[0], levels[-1], height - _BOTTOM, _TOP)
    body = [*_horizontal_grid(y, levels, number, WIDTH - 120)]
    body += [_text(x(index), height - _BOTTOM + 16, label, "middle") for index, label in enumerate(labels)]
    body.append(f'<line class="zero" x1="{_LEFT}" x2="{WIDTH - 120}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>')
    taken: list[float] = []
    for one in series:
        body += list(_curve(one, x, y, labels, unit, taken))
    body.append(_axis_title(f"time after the fill · vertical: {unit}", height))
    said = "; ".join(
        f"{one.name}: " + ", ".join(f"{labels[int(px)]} {py:+.2f}" for px, py in one.points) for one in series
    )
    return _svg(title, f"{said} ({unit}).", height, body)


def _curve(
    one: Series, x: _Scale, y: _Scale, labels: Sequence[str], unit: str, taken: list[float]
) -> Iterator[str]:
    path = " ".join(f"{x(px):.1f},{y(py):.1f}" for px, py in one.points)
    yield f'<polyline class="l{one.colour}" points="{path}"/>'
    for px, py in one.points:
        yield _dot(x(px), y(py), one.colour, f"{one.name}, {labels[int(px)]}: {py:+.3f} {unit}")
    if one.points:
        px, py = one.points[-1]
        at = _apart(y(py), taken)
        yield _text(x(px) + 12, at + 4, f"{one.name} {signed(py)}", "start", f"f{one.colour}")


def _apart(wanted: float, taken: list[float]) -> float:
    """A place near the wanted one that no label has taken."""
    at = wanted
    for other in sorted(taken):
        if abs(at - other) < 14:
            at = other + 14
    taken.append(at)
    return at


def execution(title: str, data: Execution) -> str:
    """Schedule against fills above, the market's volume and our part of it below, over one time axis."""
    height, split = 360.0, 205.0
    x = _Scale(data.start_s, max(data.end_s, data.start_s + 1), _LEFT, WIDTH - _RIGHT)
    highest = max([data.qty, *(value for _, value in data.target), *(value for _, value in data.done)])
    levels = ticks(0.0, highest, 4)
    y = _Scale(levels[0], levels[-1], split, _TOP + 22)
    body = [*_horizontal_grid(y, levels, number), _text(6, _TOP + 8, "units, cumulative", "start")]
    planned = [point for point in data.target if point[0] <= data.end_s]
    if planned:
        body.append(f'<path class="plan" d="{_steps(planned, x, y, data.end_s)}"/>')
    if data.done:
        body.append(f'<path class="l1" d="{_steps([(data.start_s, 0.0), *data.done], x, y, data.end_s)}"/>')
    body.append(_keys([("planned", "plan"), ("executed", "l1")], 230.0))
    body += list(_volume_panel(data, x, split + 36, height - _BOTTOM))
    body += list(_time_labels(data, x, height - _BOTTOM + 16))
    body.append(_axis_title("UTC", height))
    done = data.done[-1][1] if data.done else 0.0
    said = f"{done:,.0f} of {data.qty:,.0f} units; the market printed {sum(data.market):,.0f} meanwhile."
    return _svg(title, said, height, body)


def _volume_panel(data: Execution, x: _Scale, top: float, foot: float) -> Iterator[str]:
    highest = max([*data.market, *data.own, 0.0])
    yield _text(6, top - 14, f"units per {_span(data.bin_s)}", "start")
    if not highest:
        yield _text(_LEFT, foot - 8, "no prints recorded", "start")
        return
    levels = ticks(0.0, highest, 2)
    y = _Scale(levels[0], levels[-1], foot, top)
    yield from _horizontal_grid(y, levels, number)
    for values, style, name in ((data.market, "vol", "market"), (data.own, "b1", "own")):
        for index, value in enumerate(values):
            left = x(data.start_s + index * data.bin_s)
            right = min(x(data.start_s + (index + 1) * data.bin_s), x.end)
            if value > 0:
                yield _bar(left, right, y(value), foot, style, f"{name} {value:,.0f} units")
    yield _keys([("market volume", "vol"), ("own", "b1")], 230.0, top - 12)


def _bar(left: float, right: float, top: float, foot: float, style: str, note: str) -> str:
    width = max(right - left - 1, 0.5)
    place = f'x="{left + 0.5:.1f}" y="{top:.1f}" width="{width:.1f}" height="{foot - top:.1f}"'
    return f'<rect class="{style}" {place}><title>{escape(note)}</title></rect>'


def _steps(points: Sequence[Point], x: _Scale, y: _Scale, end: float) -> str:
    moves = [f"M{x(points[0][0]):.1f},{y(points[0][1]):.1f}"]
    moves += [f"H{x(px):.1f}V{y(py):.1f}" for px, py in points[1:]]
    return "".join([*moves, f"H{x(max(end, points[-1][0])):.1f}"])


def _time_labels(data: Execution, x: _Scale, at: float) -> Iterator[str]:
    span = data.end_s - data.start_s
    step = next((s for s in (1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200) if span / s <= 8), 14400)
    form = "%H:%M" if step >= 60 else "%H:%M:%S"
    moment = math.ceil(data.start_s / step) * step
    while moment <= data.end_s:
        anchor = "end" if x(moment) > x.end - 20 else "middle"
        yield _text(x(moment), at, datetime.fromtimestamp(moment, UTC).strftime(form), anchor)
        moment += step


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


# --- pieces ------------------------------------------------------------------------------------------------


def _svg(title: str, said: str, height: float, body: Sequence[str]) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH:g} {height:g}" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title><desc>{escape(said)}</desc>{''.join(body)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    mark = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{mark}>{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, colour: int, note: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"'
    return f'<rect class="b{colour}" {place}><title>{escape(note)}</title></rect>'


def _dot(x: float, y: float, colour: int, note: str) -> str:
    return f'<circle class="b{colour}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(note)}</title></circle>'


def _zero(x: float, top: float, foot: float) -> str:
    return f'<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{foot:.1f}"/>'


def _axis_title(text: str, height: float) -> str:
    return _text(WIDTH / 2, height - 6, text, "middle")


def _vertical_grid(x: _Scale, marks: Sequence[float], top: float, foot: float) -> Iterator[str]:
    for mark in marks:
        yield f'<line class="grid" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{top:.1f}" y2="{foot:.1f}"/>'
    yield from _x_labels(x, marks, foot + 16, number)


def _x_labels(x: _Scale, marks: Sequence[float], at: float, form: Callable[[float], str]) -> Iterator[str]:
    for mark in marks:
        yield _text(x(mark), at, form(mark), "middle")


def _horizontal_grid(
    y: _Scale, marks: Sequence[float], form: Callable[[float], str], right: float = WIDTH - _RIGHT
) -> Iterator[str]:
    for mark in marks:
        yield f'<line class="grid" x1="{_LEFT}" x2="{right:.1f}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>'
        yield _text(_LEFT - 6, y(mark) + 4, form(mark), "end")


def _legend(names: Sequence[str], x: float) -> str:
    return _keys([(name, f"b{index + 1}") for index, name in enumerate(names)], x)


def _keys(keys: Sequence[tuple[str, str]], x: float, y: float = _TOP - 2) -> str:
    drawn = []
    for name, style in keys:
        line = style.startswith("l") or style == "plan"
        shape = (
            f'<line class="{style}" x1="{x:.0f}" x2="{x + 16:.0f}" y1="{y + 7:.0f}" y2="{y + 7:.0f}"/>'
            if line
            else f'<rect class="{style}" x="{x:.0f}" y="{y + 1:.0f}" width="12" height="12"/>'
        )
        drawn.append(shape + _text(x + 21, y + 11, name, "start"))
        x += 42 + 7.0 * len(name)
    return "".join(drawn)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """By linear interpolation between the ordered values."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

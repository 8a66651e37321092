"""Plots as inline SVG: no script, no fonts of their own, colours from the page's CSS variables.

Horizontal positions are per cent of the track, so a plot fills a phone and a wide screen with letters of one size; rows
of a dot plot are rows of an HTML table. What is drawn is decided here, what it looks like in `templates/report.css`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from safetycatch.report import escaping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from markupsafe import Markup

    from safetycatch.report.axes import Axis

DOT_RADIUS = 5.0  # px
SCATTER_HEIGHT = 300  # px
# Labels of the scatter are placed as if the plot were this wide: what does not collide here collides nowhere.
NARROW_PX = 330
LETTER_PX = 7
MAX_NAME = 24  # letters of a name inside a plot

Look = Literal["plain", "better", "worse", "muted"]


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of a dot plot: a dot, a whisker where the interval is known; `hollow` when it decides nothing."""

    estimate: float | None
    low: float | None
    high: float | None
    label: str
    look: Look = "plain"
    hollow: bool = False
    radius: float = DOT_RADIUS


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate in the scatter plot; `frontier` when nothing is both cheaper and better."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    frontier: bool = False


def _line(css: str, x1: float, y1: str, x2: float, y2: str) -> str:
    return f'<line class="{css}" x1="{x1:.2f}%" y1="{y1}" x2="{x2:.2f}%" y2="{y2}"/>'


def _text(css: str, x: float, y: float, text: str, *, dx: float = 0, dy: float = 0, anchor: str = "middle") -> str:
    moved = f' dx="{dx:g}"' if dx else ""
    moved += f' dy="{dy:g}"' if dy else ""
    return f'<text class="{css}" x="{x:.2f}%" y="{y:g}"{moved} text-anchor="{anchor}">{escaping.html(text, 80)}</text>'


def _svg(css: str, height: float | str, label: str, parts: Iterable[str]) -> Markup:
    from markupsafe import Markup

    role = f'role="img" aria-label="{escaping.html(label, 400)}"' if label else 'aria-hidden="true"'
    body = "".join(parts)
    return Markup(f'<svg class="{css}" width="100%" height="{height}" {role}>{body}</svg>')  # noqa: S704  texts escaped above


def _ground(axis: Axis, zero: float | None, band: float | None) -> list[str]:
    """The grid behind one row: the band of differences too small to matter, ticks, the zero line."""
    parts: list[str] = []
    if band:
        left, right = axis.at(-band), axis.at(band)
        parts.append(f'<rect class="band" x="{left:.2f}%" y="0" width="{right - left:.2f}%" height="100%"/>')
    parts.extend(_line("grid", axis.at(tick), "0", axis.at(tick), "100%") for tick in axis.ticks)
    if zero is not None:
        parts.append(_line("zero", axis.at(zero), "0", axis.at(zero), "100%"))
    return parts


def _centred(parts: Iterable[str]) -> str:
    """Draw around the middle of a row, however high its label makes it."""
    return f'<svg y="50%" width="100%" height="1" overflow="visible">{"".join(parts)}</svg>'


def _whisker(css: str, left: float, right: float, *ends: float, size: int = 4) -> list[str]:
    line = _line(f"whisker {css}", left, "0", right, "0")
    return [line, *(_line(f"whisker {css}", x, f"-{size}", x, f"{size}") for x in ends)]


def row(mark: Mark, axis: Axis, *, zero: float | None = None, band: float | None = None) -> Markup:
    """Return one row of a dot plot: whisker with ends, dot, and the grid behind it."""
    css = mark.look + (" hollow" if mark.hollow else "")
    parts: list[str] = []
    if mark.low is not None and mark.high is not None:
        left, right = axis.at(mark.low), axis.at(mark.high)
        parts.extend(_whisker(css, left, right, left, right))
    if mark.estimate is not None:
        x = axis.at(mark.estimate)
        parts.append(f'<circle class="dot {css}" cx="{x:.2f}%" cy="0" r="{mark.radius:.1f}"/>')
    return _svg("track", "100%", mark.label, [*_ground(axis, zero, band), _centred(parts)])


def scale(axis: Axis, *, left: str = "", right: str = "") -> Markup:
    """Return the row of tick labels under a dot plot, with what the two directions mean."""
    parts = [_line("grid", axis.at(tick), "0", axis.at(tick), "5") for tick in axis.ticks]
    parts.extend(_text("tick", axis.at(t), 18, text) for t, text in zip(axis.ticks, axis.texts, strict=True))
    if left or right:
        parts.append(_text("direction", 0, 36, left, anchor="start"))
        parts.append(_text("direction", 100, 36, right, anchor="end"))
    return _svg("track scale", 42 if left or right else 24, "", parts)


def span(start: float, end: float, axis: Axis, label: str) -> Markup:
    """Return a row with a dot at `start` and a line to an open end at `end` (median and 95th percentile)."""
    left, right = axis.at(start), axis.at(end)
    dot = f'<circle class="dot plain" cx="{left:.2f}%" cy="0" r="{DOT_RADIUS:g}"/>'
    drawn = _centred([*_whisker("plain", left, right, right, size=6), dot])
    return _svg("track", "100%", label, [*_ground(axis, None, None), drawn])


def shares(parts_of: Sequence[tuple[str, int]], label: str) -> Markup:
    """Return one bar divided in proportion to the counts, its parts styled by the classes `part0`, `part1`, …."""
    total = sum(n for _, n in parts_of) or 1
    parts: list[str] = []
    x = 0.0
    for index, (name, n) in enumerate(parts_of):
        width = 100.0 * n / total
        parts.append(f'<rect class="part{index}" x="{x:.2f}%" y="0" width="{width:.2f}%" height="26"/>')
        if width >= 14:
            parts.append(
                _text(
                    f"inpart part{index}",
                    x + width / 2,
                    17.5,
                    f"{name} {100 * n / total:.0f} %" if width >= 34 else f"{width:.0f} %",
                )
            )
        x += width
    return _svg("shares", 26, label, parts)


def frontier(points: Sequence[tuple[float, float]], *, higher_is_better: bool = True) -> tuple[bool, ...]:
    """Return for every (cost, quality) whether no other point is at least as good on both and better on one."""
    sign = 1.0 if higher_is_better else -1.0
    return tuple(
        not any(c <= cost and sign * q >= sign * quality and (c < cost or sign * q > sign * quality) for c, q in points)
        for cost, quality in points
    )


def scatter(points: Sequence[Point], x_axis: Axis, y_axis: Axis, label: str, y_title: str, x_title: str) -> Markup:
    """Return cost against quality: dots with their intervals, the frontier as steps, names beside their dots."""
    top, bottom = 26.0, SCATTER_HEIGHT - 42.0
    left, right = 9.0, 98.0

    def x_at(value: float) -> float:
        return left + (right - left) * x_axis.at(value) / 100

    def y_at(value: float) -> float:
        return bottom - (bottom - top) * y_axis.at(value) / 100

    parts = [
        _text("axistitle", 0, 12, y_title, anchor="start"),
        _text("axistitle", right, SCATTER_HEIGHT - 4, x_title, anchor="end"),
    ]
    for tick, text in zip(y_axis.ticks, y_axis.texts, strict=True):
        parts.append(_line("grid", left, f"{y_at(tick):.1f}", right, f"{y_at(tick):.1f}"))
        parts.append(_text("tick", left, round(y_at(tick), 1), text, dx=-6, dy=4, anchor="end"))
    parts.append(_line("base", left, f"{bottom:g}", right, f"{bottom:g}"))
    for tick, text in zip(x_axis.ticks, x_axis.texts, strict=True):
        parts.append(_line("base", x_at(tick), f"{bottom:g}", x_at(tick), f"{bottom + 4:g}"))
        parts.append(_text("tick", x_at(tick), bottom + 18, text))
    best = sorted((point for point in points if point.frontier), key=lambda point: (point.x, point.y))
    for one, two in itertools.pairwise(best):
        parts.append(_line("frontier", x_at(one.x), f"{y_at(one.y):.1f}", x_at(two.x), f"{y_at(one.y):.1f}"))
        parts.append(_line("frontier", x_at(two.x), f"{y_at(one.y):.1f}", x_at(two.x), f"{y_at(two.y):.1f}"))
    for point in points:
        css = "plain" if point.frontier else "muted hollow"
        if point.low is not None and point.high is not None:
            parts.append(
                _line(
                    f"whisker {css}", x_at(point.x), f"{y_at(point.low):.1f}", x_at(point.x), f"{y_at(point.high):.1f}"
                )
            )
        parts.append(
            f'<circle class="dot {css}" cx="{x_at(point.x):.2f}%" cy="{y_at(point.y):.1f}" r="{DOT_RADIUS:g}"/>'
        )
    parts.extend(_names(points, x_at=x_at, y_at=y_at))
    return _svg("scatter", SCATTER_HEIGHT, label, parts)


def _names(points: Sequence[Point], *, x_at: Callable[[float], float], y_at: Callable[[float], float]) -> list[str]:
    """Place a name beside each dot: right, left, above or below, wherever it hits no dot and no other name."""
    spots = [(x_at(point.x) * NARROW_PX / 100, y_at(point.y)) for point in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in spots]
    parts: list[str] = []
    order = sorted(range(len(points)), key=lambda i: (not points[i].frontier, i))
    for index in order:
        x, y = spots[index]
        wide = min(len(points[index].name), MAX_NAME) * LETTER_PX
        for dx, dy, anchor, start in (
            (10, 4, "start", x + 9),
            (-10, 4, "end", x - 9 - wide),
            (0, -12, "middle", x - wide / 2),
            (0, 21, "middle", x - wide / 2),
        ):
            box = (start, y + dy - 11, start + wide, y + dy + 3)
            inside = box[0] >= 0 and box[2] <= NARROW_PX
            if inside and not any(
                box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3]
                for i, t in enumerate(taken)
                if i != index
            ):
                taken.append(box)
                css = "name" if points[index].frontier else "name muted"
                name = (
                    points[index].name
                    if len(points[index].name) <= MAX_NAME
                    else points[index].name[: MAX_NAME - 1] + "…"
                )
                parts.append(_text(css, x_at(points[index].x), round(y, 1), name, dx=dx, dy=dy, anchor=anchor))
                break
    return parts

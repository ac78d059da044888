"""Plots of how a cost grows, as SVG that is read on light and on dark pages."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 780, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 230, 44, 56
# Participants keep their colour and mark in all plots; the first colour is for light pages, the second for dark ones.
LOOKS = {
    "galley": ("#0b62c4", "#6cb0ff", ""),
    "BuildKit head": ("#b35900", "#ffa657", ""),
    "buildah (Debian)": ("#1a7f37", "#56d364", ""),
    "docker (Debian)": ("#8250df", "#d2a8ff", ""),
    "podman (Debian)": ("#a0304e", "#ff8fa3", ""),
    "limit": ("#57606a", "#9ea7b3", "6 4"),
}


def style():
    light = "".join(f".c{index} {{ --ink: {look[0]}; }} " for index, look in enumerate(LOOKS.values()))
    dark = "".join(f".c{index} {{ --ink: {look[1]}; }} " for index, look in enumerate(LOOKS.values()))
    return (
        "<style>"
        "text { font: 13px system-ui, sans-serif; fill: #1f2328; } .title { font-size: 15px; font-weight: 600; } "
        ".grid { stroke: #d0d7de; stroke-width: 1; } .line { fill: none; stroke: var(--ink); stroke-width: 2.5; } "
        ".dot { fill: var(--ink); } .name { fill: var(--ink); font-weight: 600; } " + light +
        "@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .grid { stroke: #3d444d; } " + dark + "}"
        "</style>"
    )  # fmt: skip


def plot(title, across, upwards, series):
    """`series`: name → [(x, y)]. Both axes are logarithmic: what grows in proportion is a straight line."""
    points = [point for line in series.values() for point in line]
    if len(points) < 2:
        return None
    xs, ys = sorted({x for x, _ in points}), decades([y for _, y in points])
    place = lambda x, y: (
        LEFT + span(x, xs[0], xs[-1]) * (WIDTH - LEFT - RIGHT),
        HEIGHT - BOTTOM - span(y, ys[0], ys[-1]) * (HEIGHT - TOP - BOTTOM),
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>", style(), f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        *axes(xs, ys, across, upwards, place), *curves(series, place), "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def span(value, low, high):
    return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low) or 1)


def decades(values):
    """Powers of ten around the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def axes(xs, ys, across, upwards, place):
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for y in ys:
        height = place(xs[0], y)[1]
        yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{label(y)}</text>'
    for x in xs:
        left = place(x, ys[0])[0]
        yield f'<line class="grid" x1="{left:.1f}" x2="{left:.1f}" y1="{TOP}" y2="{bottom}"/>'
        yield f'<text x="{left:.1f}" y="{bottom + 20}" text-anchor="middle">{x:,}</text>'
    yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(across)}</text>'
    yield f'<text x="18" y="{(TOP + bottom) / 2}" text-anchor="middle" transform="rotate(-90 18 {(TOP + bottom) / 2})">{escape(upwards)}</text>'


def label(seconds):
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"


def curves(series, place):
    """Lines, and a legend in the order of their right ends."""
    names = list(LOOKS)
    ordered = sorted(series, key=lambda name: -series[name][-1][1])
    for number, name in enumerate(ordered):
        look = next((known for known in names if name.startswith(known)), "limit")
        dash, kind = LOOKS[look][2], f"c{names.index(look)}"
        spots = [place(x, y) for x, y in series[name]]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        yield f'<g class="{kind}"><polyline class="line" stroke-dasharray="{dash}" points="{path}"/>'
        yield "".join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in spots)
        left, height = WIDTH - RIGHT + 14, TOP + 14 + 22 * number
        yield f'<line class="line" stroke-dasharray="{dash}" x1="{left}" x2="{left + 24}" y1="{height}" y2="{height}"/>'
        yield f'<text class="name" x="{left + 30}" y="{height + 4}">{escape(name)}</text></g>'


# --- the plots of a run: file, title, what the scenarios' names begin with, the word on the axis

PLOTS = [
    ("steps", "Trivial RUN steps, all new", "steps-", "steps"),
    ("noop-files", "No-op build of a context of many files", "noop-files-", "files of 4 kB"),
    ("copy-files", "Cold COPY of many files into the local store", "copy-files-", "files of 4 kB"),
    ("copy-bytes", "Cold COPY of much into the local store", "copy-bytes-", "MB"),
    ("builds", "Builds of 10 trivial RUN steps at once", "at-once-", "builds"),
]


def all_plots(results):
    """File name → SVG, of what was measured."""
    drawn = {name: plot(title, across, "seconds, median", series(results, begin)) for name, title, begin, across in PLOTS}
    return {f"{name}.svg": svg for name, svg in drawn.items() if svg}


def series(results, begin):
    lines = {}
    for result in results:
        count = result.scenario.key.removeprefix(begin)
        if not result.scenario.key.startswith(begin) or not count.isdigit() or count == "0":
            continue
        for row in [*result.rows.values(), result.limit]:
            if row.runs:
                name = f"limit: {row.name}" if row is result.limit else row.name
                lines.setdefault(name, []).append((int(count), row.median()))
    return {name: sorted(line) for name, line in lines.items()}

"""docs/performance.md out of the figures of a run."""

from . import plots
from .goals import seconds
from .measure import LONG

HEAD = """# Performance

<!-- Written by `make bench`; what is edited here by hand is lost. What a person has to say is in performance/notes.md. -->

Measured on {date} at {commit}, in {minutes:.0f} minutes. The load of the machine when it began (of 1, 5 and 15 minutes): {load}. It
tells whether something else ran meanwhile: then times are longer for all, and ratios are what is left to read.

* Machine: {machine}; {system}; {disk}.
* {versions}

## Goals

{goals}

A figure in brackets is galley's time, then that of the limit. A peer is any other builder of this page.
"""

METHOD = """## How it is measured

* Whole commands, from the start of the process to its end, as a user calls them. Where a builder has a daemon it is running and
  idle before the time begins, but for the cold start. The harness waits for its children with `wait4`: nothing polls while time
  is taken, except for the socket of a daemon in the cold start.
* In turn: each builder and the limit once, then each once more (A B A B), never the same one first twice in a row. The tables have
  medians, the least and the greatest figure, and how many runs there were. A run before those warms caches where a scenario
  is about a warm store; where it is about an empty one, every run begins with one, and with a disk that has nothing left to write.
* A builder has at most {budget:.0f} seconds for each scenario (60 for the bases and programs whose one run takes long), and one run in any case; who takes longer than {long} seconds has no
  second run. BuildKit is stopped after {patience:.0f} seconds, others after 60 % of that. After {limit:.0f} minutes of a whole run BuildKit
  takes no part in what is still to come, others after 85 % of that. The tables say all of this where it happened.
* CPU seconds are those of the processes that were waited for and of the daemon's processes, peak memory is that of the largest
  one of them that still ran when the build ended or that was waited for: for galley, buildah and podman also what a RUN step ran.
* Old stores are moved aside and not deleted while time is taken: ext4 without a journal makes files slowly for minutes after
  many were deleted.
* galley, buildah and podman keep images in a store of their own, docker in its daemon. BuildKit without an exporter keeps only its
  cache, so that it does less than the others wherever nothing is exported.
* buildah and podman build with `--isolation chroot`, the fastest they have; docker with the BuildKit that is in it. The BuildKit
  of Debian's docker is not the head of BuildKit.

### The limits

A limit is the same work with nothing around it, by a tool of the system or by a bare loop of system calls
([limits.rs](../crates/sandbox/examples/limits.rs)), run in the same turns.

{limits}

### To repeat it

```console
$ PEERS=folder make bench            # writes this page; installs Debian's builders; folder has buildkitd and buildctl
$ bench/run.sh --only noop,steps     # some scenarios, printed only; --list names all, --help has the other options
```

Root is needed for other builders. It takes about 25 minutes on two cores and 20 GB of disk, all of which it gives back. Without
`PEERS` the rows of BuildKit's head say that it was not there. Base images are those of the demo, from a registry of this machine.
"""


def write(folder, about, results, goals, options):
    drawn = plots.all_plots(results)
    (folder / "performance").mkdir(parents=True, exist_ok=True)
    for name, svg in drawn.items():
        (folder / "performance" / name).write_text(svg)
    parts = [head(about, goals), notes(folder), overview(results), pictures(drawn), method(about, results, options), details(results)]
    text = "\n\n".join(part.strip() for part in parts if part.strip())
    (folder / "performance.md").write_text(f"{text}\n")


def head(about, goals):
    rows = [[goal.what, goal.goal, goal.figure, goal.answer()] for goal in goals]
    versions = "; ".join(f"{name}: {version}" if name not in version else version for name, version in about.versions.items())
    return HEAD.format(**vars(about) | {"versions": versions}, goals=table(["scenario", "goal", "figure", ""], rows))


def notes(folder):
    """What a person wrote about the goals: it outlives the figures."""
    path = folder / "performance" / "notes.md"
    return path.read_text() if path.exists() else ""


def table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def names_of(results):
    return list(dict.fromkeys(name for result in results for name in result.rows))


def overview(results):
    """Medians, and how many times galley's each of them is."""
    names = names_of(results)
    rows = [[result.scenario.title, limit_cell(result), *(cell(result, name) for name in names)] for result in results]
    words = "Medians; in brackets how many times galley's. – is explained in the details below.\n"
    return f"## Overview\n\n{words}\n{table(['scenario', 'limit', *names], rows)}"


def limit_cell(result):
    return f"{seconds(result.limit.median())} ({result.limit.name})" if result.limit.runs else "–"


def cell(result, name):
    own, value = result.figure(), result.figure(name)
    if value is None:
        note = result.rows[name].note if name in result.rows else ""
        return next((word for word in ("failed", "stopped") if note.startswith(word)), "–")
    return f"**{seconds(value)}**" if name == "galley" or not own else f"{seconds(value)} ({value / own:.1f} ×)"


def pictures(drawn):
    titles = {name: title for name, title, _, _ in plots.PLOTS}
    lines = [f"![{titles[name.removesuffix('.svg')]}](performance/{name})" for name in drawn]
    return "## How the cost grows\n\nBoth axes are logarithmic: a cost in proportion is a straight line.\n\n" + "\n\n".join(lines)


def method(about, results, options):
    limits = [(result.limit.name, result.scenario.limit.what) for result in results if result.scenario.limit]
    words = list(dict.fromkeys(limits))
    return METHOD.format(
        budget=options.budget, long=LONG, patience=options.patience, limit=options.minutes, limits=table(["limit", "what it does"], words)
    )


def details(results):
    parts = ["## Details\n"]
    for result in results:
        rows = [detail(result, row) for row in [result.limit, *result.rows.values()] if row.runs or row.note]
        heads = ["", "median", "least…greatest", "runs", "× limit", "CPU", "peak memory", ""]
        parts.append(f"### {result.scenario.title}\n\n{table(heads, rows)}\n")
    return "\n".join(parts)


def detail(result, row):
    name = f"limit: {row.name}" if row is result.limit else row.name
    note = row.note[:300]
    if not row.runs:
        return [name, "–", "", "", "", "", "", note]
    beside = f"{row.median() / result.limit.median():.2f}" if result.limit.runs else ""
    spread = f"{seconds(row.low())}…{seconds(row.high())}"
    return [name, seconds(row.median()), spread, str(len(row.runs)), beside, f"{row.processor():.2f} s", f"{row.peak() / 1e6:.0f} MB", note]

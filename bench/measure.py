"""The turns: every builder and the limit, one after another, and again (A B A B), so that a busy machine slows all alike."""

import dataclasses
import statistics
import sys
import time

from .process import Failed, Late, Stopwatch, timed

# A peer that takes longer for one run has no second one.
LONG = 60
# Galley and the limit are not stopped because the machine is slow.
FOR_EVER = 1000


@dataclasses.dataclass
class Row:
    """What one participant did in one scenario. `note` says why there is little or nothing."""

    name: str
    runs: list = dataclasses.field(default_factory=list)
    note: str = ""

    def median(self):
        return statistics.median(run.wall for run in self.runs)

    def processor(self):
        return statistics.median(run.cpu for run in self.runs)

    def low(self):
        return min(run.wall for run in self.runs)

    def high(self):
        return max(run.wall for run in self.runs)

    def peak(self):
        return max(run.peak for run in self.runs)


@dataclasses.dataclass
class Result:
    scenario: object
    rows: dict
    limit: Row

    def figure(self, name="galley"):
        row = self.rows.get(name)
        return row.median() if row and row.runs else None


class Participant:
    """A builder or the limit, how often it still has to run, and the time it has for that."""

    def __init__(self, row, once, scenario, options, patience=FOR_EVER):
        self.row, self.once, self.patience = row, once, patience
        self.budget = scenario.budget or min(options.budget, patience / 5)
        self.left, self.warm = options.runs or scenario.runs, scenario.warm
        # Where every run has the same work, a first one that took long counts.
        self.alike = scenario.warm and scenario.fresh

    def turn(self, number):
        if self.left <= 0:
            return
        Stopwatch.seconds = self.patience
        try:
            run = self.once(-1 if self.warm else number)
        except Failed as error:
            self.row.note = reason(error)
            self.left = 0
            return
        if self.warm:
            self.warm = False
            if not self.alike or run.wall < self.budget:
                return
        self.row.runs.append(run)
        self.left -= 1
        self.budget -= run.wall
        if self.left > 0 and (run.wall > LONG or self.budget < run.wall):
            self.left = 0
            if len(self.row.runs) == 1:
                self.row.note = "one run, it takes long"


def reason(error):
    """One line for the tables; all that was said goes to those who look on."""
    if isinstance(error, Late):
        return str(error)
    print(error, file=sys.stderr)
    lines = str(error).splitlines()
    return f"failed: {lines[-1].strip()[-200:]}"


def compare(scenario, builders, work, options):
    """Times a scenario; a builder that cannot do it has a row that says why."""
    folder = work.folder / (scenario.folder or scenario.key)
    if not folder.exists():
        folder.mkdir()
        scenario.prepare(folder)
    rows = {builder.name: Row(builder.name, note=absence(builder, scenario, options) or "") for builder in builders}
    people = [
        Participant(rows[one.name], lambda turn, one=one: scenario.once(one, folder, turn, work), scenario, options, patience(one, options))
        for one in builders
        if not rows[one.name].note
    ]
    limit = Row(scenario.limit.name if scenario.limit else "")
    if scenario.limit:
        people.append(Participant(limit, lambda turn: limit_once(scenario, folder, turn, work), scenario, options))
    for turn in range((options.runs or scenario.runs) + 1):
        # Nobody is always behind the same one.
        shift = turn % len(people)
        for person in people[shift:] + people[:shift]:
            person.turn(turn)
    return Result(scenario, rows, limit)


def patience(builder, options):
    """BuildKit's head is the one to beat: it may take longer than other peers."""
    if builder.name == "galley":
        return FOR_EVER
    return options.patience if builder.name == "BuildKit head" else options.patience * 0.6


def absence(builder, scenario, options):
    if builder.reason:
        return builder.reason
    if builder.twin and not scenario.short:
        return "its builder is buildah's: measured in the short scenarios"
    if time.monotonic() > options.until(builder):
        return "not run: the time for other builders was up"
    return builder.refuses(scenario)


def limit_once(scenario, folder, turn, work):
    """One run of the same work, after the same change: what is already done costs nothing."""
    if scenario.change:
        scenario.change(folder, turn)
    out = work.fresh("limit")
    if scenario.empty:
        work.settle()
    try:
        return timed(scenario.limit.commands(folder, out))
    finally:
        work.discard(out)


def show(result, out=sys.stdout):
    """What is seen while it runs."""
    print(f"\n{result.scenario.title}", file=out)
    for row in [result.limit, *result.rows.values()]:
        if row.runs:
            spread = f"({row.low():.4f}…{row.high():.4f}, {len(row.runs)})"
            print(f"  {row.name:<17} {row.median():9.4f} s  {spread:<26} cpu {row.processor():8.3f} s  {row.peak() / 2**20:6.1f} MiB  {row.note}", file=out)
        elif row.name:
            print(f"  {row.name:<17}         –    {row.note}", file=out)
    out.flush()

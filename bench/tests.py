"""What of the harness can be wrong without anybody seeing it: python3 -m unittest bench.tests"""

import argparse
import pathlib
import types
import unittest
import xml.dom.minidom

from . import goals, plots, report, scenarios, transfers
from .measure import Participant, Result, Row
from .process import Failed, Run


def row(name, *walls, note=""):
    return Row(name, [Run(wall, wall / 2, 10_000_000, 0) for wall in walls], note)


def result(key, own, limit, **peers):
    rows = {"galley": row("galley", *own)} | {name: row(name, *walls) for name, walls in peers.items()}
    scenario = types.SimpleNamespace(key=key, title=key, limit=types.SimpleNamespace(name="bare", what="bare work"))
    return Result(scenario, rows, row("bare", *limit))


def judged(*results):
    return goals.judge({one.scenario.key: one for one in results})


class Goals(unittest.TestCase):
    def test_a_median_is_compared_and_not_the_best_run(self):
        met = [goal.met for goal in judged(result("noop", [0.001, 0.012, 0.013], [0.001])) if goal.what == "no-op, 5 files"]
        self.assertEqual(met, [False])

    def test_a_step_is_a_fiftieth_of_what_fifty_cost_more(self):
        pair = result("steps-0", [0.1], [0.001]), result("steps-50", [0.35], [0.201])
        figures = [goal.figure for goal in judged(*pair) if goal.what == "a trivial RUN step"]
        self.assertEqual(figures, ["1.25 × (5.0 ms; 4.0 ms)", "5.0 ms"])

    def test_what_was_not_measured_is_not_met(self):
        self.assertEqual({goal.met for goal in judged()}, {None})

    def test_a_peer_that_is_faster_is_named(self):
        slower = [goal for goal in judged(result("sleep", [1.05], [1.0], docker=[0.9])) if goal.goal == "no peer is faster"]
        self.assertEqual([(goal.what, goal.met) for goal in slower], [("sleep", False)])
        self.assertIn("docker 900.0 ms", slower[0].figure)


def participate(walls, runs=3, warm=False, fresh=False, budget=20, own=None):
    """How often somebody is called whose runs take that long, and the row after it."""
    called = []

    def once(turn):
        called.append(turn)
        wall = walls[len(called) - 1]
        if wall is None:
            raise Failed("`tool`: much\nis said before\nit broke")
        return Run(wall, 0, 0, 0)

    scenario = types.SimpleNamespace(runs=runs, warm=warm, fresh=fresh, budget=own)
    person = Participant(Row("x"), once, scenario, argparse.Namespace(runs=None, budget=budget))
    for turn in range(runs + 1):
        person.turn(turn)
    return len(called), person.row


class Turns(unittest.TestCase):
    def test_the_run_that_warms_is_not_counted(self):
        called, counted = participate([9, 1, 1, 1], warm=True)
        self.assertEqual((called, [run.wall for run in counted.runs]), (4, [1, 1, 1]))

    def test_who_is_slow_has_one_run_and_a_note(self):
        called, counted = participate([70, 70, 70], budget=1000)
        self.assertEqual((called, len(counted.runs), counted.note), (1, 1, "one run, it takes long"))

    def test_the_budget_ends_the_runs(self):
        self.assertEqual(participate([6, 6, 6, 6, 6], runs=5, budget=20)[0], 3)

    def test_a_scenario_may_have_a_budget_of_its_own(self):
        self.assertEqual(participate([12, 12, 12], budget=20, own=60)[0], 3)

    def test_a_slow_run_that_should_warm_counts_when_all_are_alike(self):
        self.assertEqual(participate([70, 70], warm=True, fresh=True)[0], 1)

    def test_a_failure_is_a_note_and_ends_it(self):
        called, counted = participate([1, None, 1])
        self.assertEqual((called, counted.note), (2, "failed: it broke"))


class Kinds(unittest.TestCase):
    def test_everybody_can_take_part_in_every_kind_of_scenario(self):
        options = argparse.Namespace(runs=None, budget=20)
        kinds = scenarios.Scenario("x", "x", None), transfers.Transfer("x", "x", None), transfers.Pushed("x", "x", None)
        self.assertEqual([Participant(Row("x"), None, kind, options).budget for kind in kinds], [20] * 3)


class Pages(unittest.TestCase):
    def test_plots_are_xml_and_name_everybody(self):
        results = [result(f"steps-{count}", [count / 100], [count / 500], peer=[count / 50]) for count in (5, 50, 500)]
        svg = plots.all_plots(results)["steps.svg"]
        texts = [node.firstChild.data for node in xml.dom.minidom.parseString(svg).getElementsByTagName("text")]
        for text in ("galley", "peer", "limit: bare", "steps", "seconds, median", "500"):
            self.assertIn(text, texts)

    def test_a_failure_is_in_the_overview_and_its_words_in_the_details(self):
        one = result("noop", [0.001], [0.001])
        one.rows["peer"] = row("peer", note="failed: no | such\nthing")
        self.assertIn("| failed |", report.overview([one]))
        self.assertIn("failed: no \\| such thing", report.details([one]))


class Files(unittest.TestCase):
    def test_files_stay_small(self):
        for path in pathlib.Path(__file__).parent.glob("*.py"):
            self.assertLess(len(path.read_text().splitlines()), 300, path)


if __name__ == "__main__":
    unittest.main()

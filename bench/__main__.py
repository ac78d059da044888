"""python3 -m bench: see the Makefile, and --help."""

import argparse
import os
import pathlib
import signal
import sys
import time

from . import goals, machine, measure, report
from .bases import TOP, Bases
from .builders import Buildah, Galley, Podman, SkopeoUmoci
from .daemons import BuildKit, Docker
from .limits import Limits, unpacked_go
from .process import Failed, Stopwatch
from .scenarios import all_scenarios
from .transfers import pushes, transfers
from .work import Work


def arguments():
    parser = argparse.ArgumentParser(prog="bench", description="Times galley and other builders in turn, beside the limit of the same work.")
    parser.add_argument("--galley", type=pathlib.Path, default=TOP / "dist/galley", help="the program to measure")
    parser.add_argument("--limits", type=pathlib.Path, help="the program of crates/sandbox/examples/limits.rs; beside galley's by default")
    parser.add_argument("--only", help="scenarios whose names begin so: words with commas between; `steps-5-` is steps-5 alone")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    parser.add_argument("--runs", type=int, help="counted runs of every scenario, instead of its own number")
    parser.add_argument("--budget", type=float, default=20, help="seconds that one builder has for one scenario; one run it has in any case")
    parser.add_argument("--patience", type=float, default=100, help="seconds after which BuildKit is stopped, other peers after 60 %% of them")
    parser.add_argument("--minutes", type=float, default=23, help="after these BuildKit takes no part in what is still to come, after 85 %% of them no other peer")
    parser.add_argument("--quick", action="store_true", help="one run of everything that needs no base image, a hundredth of its size")
    parser.add_argument("--peers", help="other builders, with commas between: buildkit,buildah,docker,podman,skopeo; none for galley alone")
    parser.add_argument("--write", type=pathlib.Path, nargs="?", const=TOP / "docs", help="write performance.md and its plots to this folder, docs/ by default")
    parser.add_argument("--work", type=pathlib.Path, help="where the work folder is made: $TMPDIR, or else target/ of the checkout")
    return parser.parse_args()


def builders(options, work):
    """Those that build and those that pull and push; galley is the first of both."""
    galley, buildkit, docker, podman = Galley(work, options.galley), BuildKit(work, os.environ.get("PEERS")), Docker(work), Podman(work)
    building, sending = [buildkit, Buildah(work), docker, podman], [buildkit, podman, docker, SkopeoUmoci(work)]
    if options.peers:
        building, sending = ([one for one in some if one.name.split()[0].lower() in options.peers.split(",")] for some in (building, sending))
    return [galley, *building], [galley, *sending]


def plan(options, work):
    """The base images, and pairs of a scenario and who takes part."""
    bases = Bases(work)
    limits = Limits(options.limits, lambda: unpacked_go(work, bases.tar("go")))
    building, sending = builders(options, work)
    pairs = [(scenario, building) for scenario in all_scenarios(limits, bases, 100 if options.quick else 1)]
    if not options.quick:
        # After the builds on the same bases, before what fills the disk.
        place = max(index for index, (scenario, _) in enumerate(pairs) if scenario.based) + 1
        pairs[place:place] = [(scenario, sending) for scenario in transfers(limits, bases)]
        pairs += [(scenario, building) for scenario in pushes(limits)]
    words = options.only.split(",") if options.only else [""]
    return bases, [(scenario, who) for scenario, who in pairs if any(f"{scenario.key}-".startswith(word) for word in words)]


def everyone(pairs):
    """Each builder once, with an empty store; one that does not start says so in every scenario."""
    found = {builder.name: builder for _, who in pairs for builder in who}
    for builder in found.values():
        if builder.reason:
            continue
        try:
            builder.empty()
        except Failed as error:
            builder.reason = f"failed: {error}"
    return list(found.values())


def run(options, work):
    bases, pairs = plan(options, work)
    if any(scenario.based for scenario, _ in pairs):
        bases.make()
    begin = time.monotonic()
    # BuildKit's head is the one to beat: it takes part longer than other peers, galley to the end.
    shares = {"galley": float("inf"), "BuildKit head": 1}
    options.until = lambda builder: begin + options.minutes * 60 * shares.get(builder.name, 0.85)
    people = everyone(pairs)
    about = machine.describe(work, people)
    print(about.text(), flush=True)
    results = []
    for scenario, who in pairs:
        results.append(measure.compare(scenario, who, work, options))
        measure.show(results[-1])
    about.minutes = (time.monotonic() - begin) / 60
    table = goals.judge({result.scenario.key: result for result in results})
    print("\n" + goals.text(table))
    if options.write:
        report.write(options.write, about, results, table, options)
        print(f"\nwritten: {options.write}/performance.md")
    return any(not row.runs for result in results for row in [result.rows["galley"]])


def main():
    options = arguments()
    options.galley = options.galley.resolve()
    options.limits = (options.limits or options.galley.parent / "limits").resolve()
    if options.quick:
        options.runs = options.runs or 1
    parent = options.work or pathlib.Path(os.environ.get("TMPDIR") or TOP / "target")
    # As the first process of its namespace it would not hear SIGTERM otherwise.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not options.limits.exists():
        sys.exit(f"{options.limits} is not there: cargo build --release -p galley-sandbox --example limits makes it, --limits names it")
    Stopwatch.program = options.limits
    work = Work(parent)
    try:
        if options.list:
            print("\n".join(f"{scenario.key:<24} {scenario.title}" for scenario, _ in plan(options, work)[1]))
            return 0
        return int(run(options, work))
    except Failed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        work.close()


if __name__ == "__main__":
    sys.exit(main())

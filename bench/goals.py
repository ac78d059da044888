"""What galley promises about its speed, and whether the figures of a run keep it."""

import dataclasses


@dataclasses.dataclass
class Goal:
    what: str
    goal: str
    figure: str
    met: object  # None: not measured

    def answer(self):
        return {True: "met", False: "**missed**", None: "not measured"}[self.met]


def judge(results):
    """All goals. `results` are those of the scenarios, by key."""
    judges = [
        at_most(results, "no-op, 5 files", "noop", 0.010),
        beside_limit(results, "no-op, 50,000 files", "noop-files-50000", 1.3),
        beside_limit(results, "one line of a Go program edited", "go-edit", 1.05),
        *run_step(results),
        metadata(results),
        beside_limit(results, "cold COPY of 50,000 files into the store", "copy-files-50000", 1.3),
        beside_limit(results, "cold COPY of 1 GB into the store", "copy-bytes-1000", 1.3),
        *(export(results, kind, compression) for kind in ("files-50000", "bytes-1000") for compression in ("gzip", "zstd")),
        *(beside_speed(results, f"push of a new layer of {words}", f"push-{kind}", 0.7, "gzip") for kind, words in (("files", "50,000 files"), ("bytes", "1 GB"))),
        at_most(results, "8 stages of `sleep 1`", "sleep", 1.1),
        beside_limit(results, "empty store, base of a registry, one RUN", "base", 1.3),
        at_once(results),
        peak_memory(results),
        at_most(results, "cold start to the first finished build", "start", 0.020),
    ]
    return [*judges, *no_peer_is_faster(results)]


def seconds(value):
    return f"{value * 1000:.1f} ms" if abs(value) < 1 else f"{value:.2f} s"


def figures(results, *keys):
    """Galley's medians and those of the limits; nothing when one is missing."""
    found = [results.get(key) for key in keys]
    if not all(found) or any(one.figure() is None for one in found):
        return None
    return [(one.figure(), one.limit.median() if one.limit.runs else None) for one in found]


def at_most(results, what, key, most):
    found = figures(results, key)
    if not found:
        return Goal(what, f"≤ {seconds(most)}", "–", None)
    return Goal(what, f"≤ {seconds(most)}", seconds(found[0][0]), found[0][0] <= most)


def beside_limit(results, what, key, most):
    found = figures(results, key)
    name = results[key].limit.name if key in results else "the limit"
    goal = f"≤ {most} × {name}"
    if not found or not found[0][1]:
        return Goal(what, goal, "–", None)
    own, limit = found[0]
    return Goal(what, goal, f"{own / limit:.2f} × ({seconds(own)}; {seconds(limit)})", own / limit <= most)


def run_step(results):
    """One step out of fifty, without what a build costs anyway."""
    goals = "≤ 1.5 × a bare sandbox", "≤ 10 ms"
    found = figures(results, "steps-0", "steps-50")
    if not found or not all(limit for _, limit in found):
        return [Goal("a trivial RUN step", goal, "–", None) for goal in goals]
    own, limit = ((found[1][side] - found[0][side]) / 50 for side in (0, 1))
    beside = Goal("a trivial RUN step", goals[0], f"{own / limit:.2f} × ({seconds(own)}; {seconds(limit)})", own <= 1.5 * limit)
    return [beside, Goal("a trivial RUN step", goals[1], seconds(own), own <= 0.010)]


def metadata(results):
    what, goal = "200 ENV and LABEL steps", "≤ 5 ms over none"
    found = figures(results, "metadata-0", "metadata")
    if not found:
        return Goal(what, goal, "–", None)
    over = found[1][0] - found[0][0]
    return Goal(what, goal, f"{seconds(over)} over ({seconds(found[1][0])}; {seconds(found[0][0])})", over <= 0.005)


def export(results, kind, compression):
    what = f"{'50,000 files' if kind.startswith('files') else '1 GB'} exported only, {compression}"
    return beside_speed(results, what, f"export-{kind}-{compression}", 0.8, compression)


def beside_speed(results, what, key, least, compression):
    goal = f"≥ {least} of the speed of tar, {'pigz' if compression == 'gzip' else 'zstd'} and hashes"
    found = figures(results, key)
    if not found or not found[0][1]:
        return Goal(what, goal, "–", None)
    own, limit = found[0]
    return Goal(what, goal, f"{limit / own:.2f} ({seconds(own)}; {seconds(limit)})", limit / own >= least)


def at_once(results):
    what, goal = "4 builds at once", "≤ 1.5 × one"
    found = figures(results, "at-once-1", "at-once-4")
    if not found:
        return Goal(what, goal, "–", None)
    (one, bare_one), (four, bare_four) = found
    bare = f"; bare sandboxes {bare_four / bare_one:.2f} ×" if bare_one and bare_four else ""
    return Goal(what, goal, f"{four / one:.2f} × ({seconds(four)}; {seconds(one)}{bare})", four / one <= 1.5)


def peak_memory(results):
    what, goal = "peak memory, 50,000 files", "≤ 64 MB"
    keys = ("copy-files-50000", "noop-files-50000", "export-files-50000-gzip", "export-files-50000-zstd")
    rows = {key: results[key].rows["galley"] for key in keys if key in results and results[key].rows["galley"].runs}
    if not rows:
        return Goal(what, goal, "–", None)
    key = max(rows, key=lambda key: rows[key].peak())
    peak = rows[key].peak() / 1e6
    return Goal(what, goal, f"{peak:.0f} MB ({results[key].scenario.title})", peak <= 64)


def no_peer_is_faster(results):
    """A row for each scenario in which a peer's median is below galley's, or one row that says there is none."""
    slower = []
    for result in results.values():
        own = result.figure()
        peers = {name: result.figure(name) for name in result.rows if name != "galley" and result.figure(name) is not None}
        if own is None or not peers:
            continue
        best = min(peers, key=peers.get)
        if peers[best] < own:
            slower.append(Goal(result.scenario.title, "no peer is faster", f"{seconds(own)}; {best} {seconds(peers[best])}", False))
    if slower:
        return slower
    compared = sum(1 for result in results.values() if any(result.figure(name) is not None for name in result.rows if name != "galley"))
    return [Goal("every scenario", "no peer is faster", f"in {compared} scenarios", True if compared else None)]


def text(goals):
    return "\n".join(f"{goal.answer().strip('*'):<13} {goal.what}: {goal.goal}; {goal.figure}" for goal in goals)

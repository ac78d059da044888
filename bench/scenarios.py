"""What is measured. `fresh` gives every build another N; `empty` begins every build with an empty store; `change` edits the folder."""

import dataclasses
import itertools
import time

from . import contexts
from .builders import Request


@dataclasses.dataclass
class Scenario:
    key: str
    title: str
    prepare: object  # (folder), once
    folder: str = None  # scenarios of one name share the folder and what was built of it before
    limit: object = None
    runs: int = 5  # counted ones
    budget: int = None  # seconds of one builder, where a single run would rank nobody
    warm: bool = True  # a run before those, which is not counted
    fresh: bool = False
    empty: bool = False
    first: bool = False  # from nothing running
    at_once: int = 1
    output: bool = False
    compression: str = "gzip"
    change: object = None  # (folder, turn), before each run
    short: bool = False  # twins of other peers take part too
    based: bool = False  # needs the base images

    def once(self, builder, folder, turn, work):
        """One run of a builder, and what has to be done before it."""
        if self.change:
            self.change(folder, turn)
        requests = [self.request(folder, work, number) for number in range(self.at_once)]
        if self.first:
            work.settle()
            return builder.first_build(requests[0])
        if self.empty:
            builder.empty()
            work.settle()
        return builder.build(*requests)

    def request(self, folder, work, number):
        arguments = (f"N={number}-{time.time_ns()}",) if self.fresh else ()
        tag = f"bench-{number}" if self.at_once > 1 else "bench"
        output = work.folder / "out.tar" if self.output else None
        return Request(folder, arguments, tag, output, self.compression)


def all_scenarios(limits, bases, tenth):
    """`tenth` makes large things smaller: 1 for a whole run, 100 for a quick one."""
    files, megabytes = max(50_000 // tenth, 500), max(1000 // tenth, 10)
    images = based(limits, bases) if tenth == 1 else []
    many_files = copies("files", "files", contexts.many_files, [files // 100, files // 10, files], True, limits)
    many_bytes = copies("bytes", "MB", contexts.many_bytes, [megabytes // 10, megabytes], False, limits)
    return list(itertools.chain(small(limits, tenth), images, many_files, many_bytes))


def small(limits, tenth):
    steps = [5, 50, 500] if tenth == 1 else [2, 5]
    yield Scenario("noop", "no-op, 5 files", contexts.two_stages, limit=limits.process(), runs=15, short=True)
    for count in [0, *steps]:
        limit = limits.sandboxes(count) if count else limits.process()
        slow = count == 500
        yield Scenario(
            f"steps-{count}", f"{count} trivial RUN steps", contexts.steps(count), limit=limit,
            fresh=True, runs=2 if slow else 5, warm=not slow, short=count <= 5,
        )  # fmt: skip
    yield Scenario("metadata-0", "a changed ARG, no metadata step", contexts.metadata(0), limit=limits.process(), runs=9, fresh=True)
    yield Scenario("metadata", "200 ENV and LABEL steps, all new", contexts.metadata(200), limit=limits.process(), runs=9, fresh=True)
    yield Scenario("sleep", "8 stages of `sleep 1`", contexts.sleeping_stages, limit=limits.seconds(1), fresh=True, runs=2)
    builds = [1, 4, 8] if tenth == 1 else [1, 2]
    for count in builds:
        yield Scenario(
            f"at-once-{count}", f"{count} build{'s' * (count > 1)} of 10 trivial RUN steps at once", contexts.steps(10), folder="at-once",
            limit=limits.sandboxes(10, count), fresh=True, at_once=count,
        )  # fmt: skip
    yield Scenario("start", "cold start to the first finished build", contexts.two_stages, limit=limits.sandboxes(1), first=True, warm=False)


def copies(kind, unit, prepare, sizes, every_noop, limits):
    """The sizes of the plots, each with its own folder; the largest is also exported, and built again."""
    for size in sizes:
        name, words, largest = f"{kind}-{size}", f"{size:,} {unit}", size == sizes[-1]
        work = (prepare(size), name)
        if largest:
            yield from exports(name, words, *work, limits)
        yield Scenario(
            f"copy-{name}", f"cold COPY of {words} into the local store", *work, limits.copy(),
            runs=3, warm=False, empty=True,
        )  # fmt: skip
        if largest or every_noop:
            yield Scenario(f"noop-{name}", f"no-op, {words}", *work, limits.walk(), runs=7)


def exports(kind, words, prepare, folder, limits):
    """Cold, too: nothing of it is in the store."""
    for compression in ("gzip", "zstd"):
        yield Scenario(
            f"export-{kind}-{compression}", f"cold COPY of {words}, exported only, {compression}", prepare, folder, limits.export(compression),
            runs=2, warm=False, empty=True, output=True, compression=compression,
        )  # fmt: skip


def based(limits, bases):
    go, debian = lambda: bases.name("go"), lambda: bases.name("debian")

    def other_cache(folder, turn):
        contexts.edit_go(folder)
        contexts.go_dockerfile(folder, go(), turn)

    def edit(folder, turn):
        contexts.edit_go(folder)
        contexts.go_dockerfile(folder, go(), 0)

    yield Scenario(
        "base", "a Debian base from a registry into an empty store, and one RUN on it", contexts.on_base(debian), limit=limits.unpacking(lambda: bases.layers("debian")),
        runs=3, budget=60, warm=False, empty=True, based=True,
    )  # fmt: skip
    # The run that is not counted pulls the base of the two after it.
    yield Scenario("go-base", "no-op on a base from a registry", contexts.on_base(go), limit=limits.process(), runs=5, based=True)
    program = contexts.go_program(go)
    yield Scenario(
        "go-cold", "cold build of a Go program", program, "go", limits.go_build(cold=True), runs=3, budget=60, warm=False, change=other_cache,
        based=True,
    )  # fmt: skip
    yield Scenario(
        "go-edit", "one line of a Go program edited, with a cache mount", program, "go", limits.go_build(cold=False), runs=7, change=edit, based=True,
    )  # fmt: skip

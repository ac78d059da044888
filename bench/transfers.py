"""Pulls and pushes of the Debian base, in the place of a build; pushes of what was built."""

import dataclasses

from . import contexts
from .bases import Registry
from .scenarios import Scenario


@dataclasses.dataclass
class Transfer:
    """A scenario of its own kind: `once` is what is timed."""

    key: str
    title: str
    once: object
    limit: object = None
    runs: int = 2
    budget: int = None
    warm: bool = False
    folder: str = "transfers"
    empty: bool = False
    fresh: bool = False
    short: bool = True
    based: bool = True
    output: bool = False
    change: object = None
    compression: str = "gzip"

    def prepare(self, folder):
        """There is nothing to build."""


@dataclasses.dataclass
class Pushed(Scenario):
    """What was just built goes to an empty registry: nobody has compressed it yet."""

    def once(self, builder, folder, turn, work):
        request = self.request(folder, work, 0)
        builder.empty()
        builder.build(request)
        registry = Registry(work)
        try:
            work.settle()
            return builder.push_built(request, registry.name(self.key))
        finally:
            registry.stop()


def pushes(limits):
    """Of the largest contexts, whose folders are those of the builds that copy them."""
    for kind, words, size, prepare in (("files", "50,000 files", 50_000, contexts.many_files), ("bytes", "1,000 MB", 1000, contexts.many_bytes)):
        yield Pushed(
            f"push-{kind}", f"push of a new layer of {words} to an empty registry", prepare(size), f"{kind}-{size}", limits.export("gzip"),
            runs=2, warm=False, empty=True,
        )  # fmt: skip


def transfers(limits, bases):
    def layers():
        return bases.layers("debian")

    def pull(builder, folder, turn, work):
        image = bases.name("debian")
        builder.empty()
        work.settle()
        return builder.pull(image)

    def again(builder, folder, turn, work):
        return builder.pull(bases.name("debian"))

    def push(builder, folder, turn, work):
        registry = Registry(work)
        try:
            return builder.push(bases.name("debian"), registry.name("debian"))
        finally:
            registry.stop()

    yield Transfer("pull", "pull of the Debian base into an empty store", pull, limits.unpacking(layers))
    yield Transfer("pull-again", "the same pull again", again, limits.process(), warm=True, runs=5)
    yield Transfer("push", "push of it to an empty registry", push, limits.hashing(layers), warm=True)

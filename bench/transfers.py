"""Pulls and pushes of the Debian base, in the place of a build."""

import dataclasses

from .bases import Registry


@dataclasses.dataclass
class Transfer:
    """A scenario of its own kind: `once` is what is timed."""

    key: str
    title: str
    once: object
    limit: object = None
    runs: int = 2
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

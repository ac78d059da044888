"""The limits: the same work with nothing around it, as a command of this machine, in the same run.

Each function takes the folder that is built and a path that does not exist, for what is written, and gives a command.
"""

import dataclasses
import os
import subprocess

from .process import Command


@dataclasses.dataclass
class Limit:
    name: str
    commands: object  # (folder, out) -> command, or several that run at once
    what: str


class Limits:
    """`program` is crates/sandbox/examples/limits.rs."""

    def __init__(self, program, go_root):
        self.program = program
        self.go_root = go_root

    def process(self):
        return Limit("a process", lambda folder, out: Command(["/bin/true"]), "the start of `true`")

    def walk(self):
        return Limit("bare walk", lambda folder, out: Command([self.program, "walk", folder]), "one thread that asks `statx` for each entry, from open directories")

    def sandboxes(self, count, at_once=1):
        words = lambda folder, out: [Command([self.program, "sandbox", count]) for _ in range(at_once)]
        what = "clone3, overlay, /proc, /sys, /dev with its devices, pivot_root, exec of busybox, wait; for each RUN step one, for each build a program"
        return Limit("bare sandboxes", words, what)

    def copy(self):
        return Limit("cp -r", lambda folder, out: Command(["cp", "-r", folder / "files", out]), "on the same disk")

    def export(self, compression):
        """All of it is hashed twice, as layers are: before and after compression."""
        tool = {"gzip": "pigz -6 -n", "zstd": "zstd -3 -T0 -q"}[compression]
        script = f'tar -c -C "$1" files | tee >(openssl dgst -sha256 >/dev/null) | {tool} -c | tee "$2" | openssl dgst -sha256'
        what = f"tar, {tool.split()[0]} on all cores, SHA-256 of both sides, written to the same disk"
        return Limit(f"tar, {tool.split()[0]}", lambda folder, out: bash(script, folder, out), what)

    def seconds(self, count):
        return Limit(f"sleep {count}", lambda folder, out: Command(["sleep", count]), "once, as the stages need not wait for each other")

    def unpacking(self, layers):
        script = 'for layer; do openssl dgst -sha256 "$layer" & done; for layer; do gunzip -c <"$layer" | openssl dgst -sha256; done; wait'
        what = "both digests of every layer, nothing written"
        return Limit("gunzip, SHA-256", lambda folder, out: bash(script, *layers()), what)

    def hashing(self, layers):
        script = 'for layer; do gunzip -c <"$layer" | pigz -6 -n | openssl dgst -sha256; done'
        return Limit("gunzip, pigz, SHA-256", lambda folder, out: bash(script, *layers()), "the layers compressed anew")

    def go_build(self, cold):
        """The compiler alone, with a cache of its own, empty or warm."""

        def words(folder, out):
            root = self.go_root()
            cache = out if cold else root / "cache"
            settings = {"GOCACHE": str(cache), "GOPATH": f"{root}/path", "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
            return Command([root / "usr/local/go/bin/go", "build", "-o", root / "app", "."], folder, dict(os.environ, **settings))

        return Limit("bare go build", words, f"the compiler alone, with {'an empty' if cold else 'a warm'} cache")


def bash(script, *words):
    return Command(["bash", "-c", f"set -euo pipefail; {script}", "-", *words])


def unpacked_go(work, tar):
    """The demo's Go, unpacked once for the bare compiler."""
    root = work.folder / "bare-go"
    if not root.exists():
        root.mkdir()
        subprocess.run(["tar", "-x", "-C", str(root), "-f", str(tar)], check=True)
    return root

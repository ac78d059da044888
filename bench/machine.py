"""What the figures were taken on."""

import dataclasses
import datetime
import os
import pathlib
import platform
import subprocess

from .bases import TOP


@dataclasses.dataclass
class About:
    date: str
    commit: str
    machine: str
    system: str
    disk: str
    load: str
    versions: dict
    minutes: float = 0

    def text(self):
        return f"{self.machine}; {self.system}; {self.disk}; load {self.load}; {', '.join(self.versions.values())}"


def describe(work, builders):
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return About(
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        commit=said("git", "-C", TOP, "log", "-1", "--format=%h"),
        machine=f"{cores} cores of {processor()}, {memory:.0f} GiB",
        system=f"{distribution()}, Linux {platform.release()}",
        disk=f"{file_system(work.folder)} on the work folder",
        load=" ".join(f"{value:.1f}" for value in os.getloadavg()),
        versions={builder.name: builder.version() for builder in builders if not builder.reason},
    )


def said(*words):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False).stdout.strip()


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def distribution():
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "an unknown system"


def file_system(folder):
    return said("stat", "-f", "-c", "%T", folder)

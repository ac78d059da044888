"""Runs commands and waits for them, without polling; says what they and the daemons behind them used."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A command that did not succeed, with the end of what it said."""


class Late(Failed):
    """A command that was stopped, as it took too long."""


@dataclasses.dataclass
class Command:
    words: list
    folder: object = None
    env: dict = None


@dataclasses.dataclass
class Run:
    """Seconds on the wall, seconds of processors, and the resident bytes of the largest process. `end` is of time.monotonic()."""

    wall: float
    cpu: float
    peak: int
    end: float


class Stopwatch:
    """Starts commands by `limits time`, a small program: a process inherits the peak memory of the one that started it."""

    program = None
    # Who takes longer is stopped.
    seconds = 100

    def __init__(self, command, folder, number):
        self.command, self.figures, self.said = command, pathlib.Path(folder) / str(number), tempfile.TemporaryFile(dir=folder)
        words = [self.program, "time", self.figures, *command.words]
        # A session of its own: it is killed with all that it starts.
        self.child = subprocess.Popen(
            list(map(str, words)), cwd=command.folder, env=command.env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.said,
        )  # fmt: skip
        self.late = threading.Timer(self.seconds, self.kill)
        self.late.start()

    def kill(self):
        self.late.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)

    def wait(self):
        """When it began, when it ended, seconds of processors, peak memory."""
        with self.said:
            code = self.child.wait()
            self.late.cancel()
            if code == -signal.SIGKILL:
                raise Late(f"stopped after {self.seconds:.0f} s")
            if code != 0:
                self.said.seek(0)
                raise Failed(f"{line_of(self.command.words)}: {self.said.read().decode(errors='replace').strip()[-1500:]}")
        begin, end, cpu, peak = map(int, self.figures.read_text().split())
        return begin / 1e9, end / 1e9, cpu / 1e6, peak * 1024


def timed(commands, daemons=()):
    """Starts all commands at once and waits for the last. `daemons` are processes that work for them."""
    if isinstance(commands, Command):
        commands = [commands]
    before = processor_seconds(daemons)
    forget_peaks(daemons)
    with tempfile.TemporaryDirectory() as folder:
        watches = [Stopwatch(command, folder, number) for number, command in enumerate(commands)]
        try:
            begins, ends, cpu, peaks = zip(*[watch.wait() for watch in watches])
        finally:
            for watch in watches:
                if watch.child.returncode is None:
                    watch.kill()
    seconds = sum(cpu) + processor_seconds(daemons) - before
    return Run(max(ends) - min(begins), seconds, max([*peaks, peak_memory(daemons)]), max(ends))


def line_of(words):
    return f"`{' '.join(map(str, words))[:200]}`"


def quiet(*words, **options):
    """Runs what is not measured."""
    done = subprocess.run(list(map(str, words)), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise Failed(f"{line_of(words)}: {(done.stderr or done.stdout).strip()[-1500:]}")
    return done.stdout


# --- daemons: their processes, seen through /proc


def family(roots):
    """The processes and all that descend from them."""
    children = {}
    for entry in os.listdir("/proc"):
        fields = stat(entry) if entry.isdigit() else None
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], list(roots)
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children.get(one, [])
    return found


def stat(process):
    """The fields of /proc/PID/stat from the state on."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return None


def processor_seconds(roots):
    if not roots:
        return 0.0
    rows = [stat(process) for process in family(roots)]
    return sum(int(tick) for row in rows if row for tick in row[11:15]) / TICKS


def forget_peaks(roots):
    for process in family(roots) if roots else []:
        with contextlib.suppress(OSError):
            pathlib.Path(f"/proc/{process}/clear_refs").write_text("5")


def peak_memory(roots):
    peaks = [0]
    for process in family(roots) if roots else []:
        with contextlib.suppress(OSError):
            lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
            peaks += [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return max(peaks)


def until(done, what, seconds=30):
    """Waits for a daemon to answer; nothing of this is timed."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise Failed(f"{what} does not answer after {seconds} s")
        time.sleep(0.1)

"""The folder of a run. What is made in it, mounted in it and started for it goes with it, also after Ctrl-C."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from .process import quiet


class Work:
    """Old stores are moved aside and deleted at the end: a file system that has just deleted many files is slow at making new ones."""

    def __init__(self, parent):
        parent.mkdir(parents=True, exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="galley-bench-", dir=parent)).resolve()
        # The path of a socket has at most 107 bytes.
        self.sockets = pathlib.Path(tempfile.mkdtemp(prefix="galley-bench-", dir="/tmp"))
        self.trash = self.folder / "trash"
        self.trash.mkdir()
        # What is stopped leaves its temporary folders behind: they are ours, too.
        (self.folder / "tmp").mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder / "tmp")
        self.daemons = []
        self.count = 0
        self.spare = shutil.disk_usage(self.folder).free / 2

    def fresh(self, name):
        """A path that was never used."""
        self.count += 1
        return self.folder / f"{name}-{self.count}"

    def discard(self, path):
        """Takes a file or folder away, with what is mounted in it; empties the trash only when half of the disk's room is gone."""
        if not os.path.lexists(path):
            return
        unmount_below(path)
        os.rename(path, self.trash / self.fresh("old").name)
        if shutil.disk_usage(self.folder).free < self.spare:
            self.empty_trash()

    def empty_trash(self):
        quiet("rm", "-rf", "--one-file-system", self.trash)
        self.trash.mkdir()

    def settle(self):
        """Lets the disk finish what was written before, so that the next command does not wait for it."""
        subprocess.run(["sync", "-f", str(self.folder)], check=False)

    def start(self, words, log, env=None):
        """Starts a daemon in a session of its own: Ctrl-C is for us, who stop it."""
        with open(log, "ab") as out:
            daemon = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True)
        self.daemons.append(daemon)
        return daemon

    def stop(self, daemon):
        self.daemons.remove(daemon)
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            # What it started is in its session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()

    def close(self):
        for daemon in list(self.daemons):
            self.stop(daemon)
        # As the first process of a namespace of our own we know that all others are ours.
        if os.getpid() == 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        for folder in (self.folder, self.sockets):
            unmount_below(folder)
            subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)


def mounts_below(path):
    """Mount points in `path`, the deepest first."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return sorted((point for point in points if (point + "/").startswith(f"{path}/")), key=len, reverse=True)


def unmount_below(path):
    for point in mounts_below(path):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)

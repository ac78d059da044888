"""The builders that have a daemon."""

import datetime
import os
import pathlib
import shutil
import time

from .builders import Builder, Request
from .process import Command, Failed, quiet, timed, until


class Daemon(Builder):
    daemon = None

    def __init__(self, work):
        super().__init__(work)
        self.socket = work.sockets / self.name.split()[0]
        if os.geteuid() != 0:
            self.reason = "measured as root only"

    def launch(self):
        """Starts the daemon on an empty store, and does not wait for it."""
        self.stop()
        self.work.discard(self.root)
        self.root.mkdir()
        self.socket.unlink(missing_ok=True)
        self.daemon = self.work.start(self.daemon_words(), self.root / "log")

    def empty(self):
        self.launch()
        until(self.answers, f"the daemon of {self.name}")

    def stop(self):
        if self.daemon:
            self.work.stop(self.daemon)
        self.daemon = None

    def processes(self):
        return [self.daemon.pid] if self.daemon else []

    def answers(self):
        try:
            quiet(*self.question())
        except Failed:
            return False
        return True

    def first_build(self, request):
        begin = time.monotonic()
        self.launch()
        # The one place where time is taken by asking again and again: how else to see a socket appear?
        while not self.socket.exists() and self.daemon.poll() is None:
            time.sleep(0.0005)
        run = timed(self.command(request), self.processes())
        run.wall = run.end - begin
        return run


class BuildKit(Daemon):
    """Head, from $PEERS. A build without output stays in its cache: it makes no image of it."""

    name = "BuildKit head"

    def __init__(self, work, peers):
        super().__init__(work)
        self.peers = pathlib.Path(peers or "/nowhere").absolute()
        if not peers:
            self.reason = "BuildKit's head was not there: PEERS did not name a folder of its programs"
        elif not (self.peers / "buildkitd").exists():
            self.reason = f"there is no buildkitd in PEERS={peers}"
        self.address = f"unix://{self.socket}"

    def version(self):
        made = datetime.date.fromtimestamp((self.peers / "buildkitd").stat().st_mtime)
        return f"{quiet(self.peers / 'buildkitd', '--version').strip()}, the program of {made}"

    def daemon_words(self):
        return [self.peers / "buildkitd", "--addr", self.address, "--root", self.root / "data"]

    def question(self):
        return [self.peers / "buildctl", "--addr", self.address, "debug", "workers"]

    def command(self, request):
        control = [self.peers / "buildctl", "--addr", self.address, "build", "--progress=plain", "--frontend", "dockerfile.v0"]
        out = []
        if request.output:
            out = ["--output", f"type=oci,dest={request.output},compression={request.compression}"]
        return Command([*control, "--local", "context=.", "--local", "dockerfile=.", *request.words("--opt", "build-arg:"), *out], request.folder)


    def dockerfile(self, *lines):
        folder = self.root / "context"
        folder.mkdir(exist_ok=True)
        (folder / "file").write_text("x")
        (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
        return self.command(Request(folder))

    def pull(self, image):
        """A build of FROM and one COPY: it unpacks no base that nothing is done with."""
        return timed(self.dockerfile(f"FROM {image}", "COPY file /"), self.processes())

    def push(self, image, to):
        return self.sent(self.dockerfile(f"FROM {image}"), to)

    def push_built(self, request, to):
        """The same build again: it makes an image only where it sends one."""
        return self.sent(self.command(request), to)

    def sent(self, command, to):
        command.words += ["--output", f"type=image,name={to},push=true,registry.insecure=true"]
        return timed(command, self.processes())


class Docker(Daemon):
    """Debian's, with the BuildKit that is in it."""

    name = "docker (Debian)"

    def __init__(self, work):
        super().__init__(work)
        if not shutil.which("dockerd"):
            self.reason = "dockerd is not installed"
        # A newer client elsewhere wants a plugin that Debian does not have.
        self.program = "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker"
        self.env = dict(os.environ, DOCKER_BUILDKIT="1", DOCKER_CONFIG=str(work.sockets / "config"))

    def version(self):
        return quiet("dockerd", "--version").strip()

    def words(self, *words):
        return [self.program, "-H", f"unix://{self.socket}", *words]

    def daemon_words(self):
        own = ["--data-root", self.root / "data", "--exec-root", self.work.sockets / "exec", "--pidfile", self.root / "pid"]
        return ["dockerd", "-H", f"unix://{self.socket}", "--iptables=false", "--bridge=none", *own]

    def question(self):
        return self.words("version")

    def refuses(self, scenario):
        return "does not export what it builds, and `docker save` compresses nothing" if scenario.output else None

    def command(self, request):
        words = self.words("build", "--progress=plain", "--network=none", *request.words("--build-arg"), "-t", request.tag, ".")
        return Command(words, request.folder, self.env)

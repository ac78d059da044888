"""The builders without a daemon, and what all have in common: how each builds, what it cannot, how its store is emptied."""

import dataclasses
import os
import shutil

from .process import Command, quiet, timed


@dataclasses.dataclass
class Request:
    """A build of `folder`: into the builder's own store as `tag`, or exported only, to the OCI archive `output`."""

    folder: object
    arguments: tuple = ()
    tag: str = "bench"
    output: object = None
    compression: str = "gzip"

    def words(self, option, before=""):
        return [word for pair in self.arguments for word in (option, before + pair)]


class Builder:
    """`reason` says why it is not here at all, or else nothing."""

    reason = None
    # Peers that are another one in other clothes take part in the short scenarios only.
    twin = False
    env = None

    def __init__(self, work):
        self.work = work
        self.root = work.folder / self.name.split()[0]

    def empty(self):
        """An empty store, with nothing running."""
        self.work.discard(self.root)
        self.root.mkdir()

    def processes(self):
        """The daemons that work for it."""
        return []

    def refuses(self, scenario):
        """Why it cannot do a scenario, or nothing."""

    def command(self, request):
        raise NotImplementedError

    def build(self, *requests):
        """All of them at once."""
        for request in requests:
            if request.output and os.path.exists(request.output):
                self.work.discard(request.output)
        return timed([self.command(request) for request in requests], self.processes())

    def pull(self, image):
        """Fetches an image; a store that has it finds that out."""
        return timed(Command(self.words("pull", "-q", image), env=self.env), self.processes())

    def push(self, image, to):
        quiet(*self.words("tag", image, to), env=self.env)
        return timed(Command(self.words("push", "-q", to), env=self.env), self.processes())

    def push_built(self, request, to):
        """Sends what was built of `request`."""
        return self.push(request.tag, to)

    def first_build(self, request):
        """A build from an empty store and nothing running: what has to be started is started within the time."""
        self.empty()
        return self.build(request)


class Galley(Builder):
    name = "galley"

    def __init__(self, work, program):
        super().__init__(work)
        self.program = program
        self.env = dict(os.environ, GALLEY_ROOT=str(self.root))

    def version(self):
        return quiet(self.program, "--version").strip()

    def words(self, *words):
        return [self.program, *words]

    def command(self, request):
        words = request.words("--build-arg")
        out = ["-t", request.tag]
        if request.output:
            out = ["-o", f"type=oci,dest={request.output},compression={request.compression}"]
        return Command(self.words("build", "--progress=plain", *words, *out, "."), request.folder, self.env)


class Buildah(Builder):
    """Isolation chroot is the faster one of what it offers."""

    name = "buildah (Debian)"
    program = "buildah"
    build_words = ["bud", "--layers"]

    def __init__(self, work):
        super().__init__(work)
        if not shutil.which(self.program):
            self.reason = f"{self.program} is not installed"
        elif os.geteuid() != 0:
            self.reason = "measured as root only"

    def empty(self):
        super().empty()
        # What the store knows of mounts goes with it. podman takes no path of more than 50 characters here.
        self.state = self.work.sockets / self.work.fresh(self.program).name

    def words(self, *words):
        return [self.program, "--root", self.root / "root", "--runroot", self.state, "--storage-driver", "overlay", *words]

    def version(self):
        return quiet(self.program, "--version").strip()

    def refuses(self, scenario):
        return "does not choose a compression when it builds" if scenario.compression == "zstd" else None

    def command(self, request):
        words = request.words("--build-arg")
        out = ["-t", f"oci-archive:{request.output}" if request.output else request.tag]
        return Command(self.words(*self.build_words, "--isolation", "chroot", "--tls-verify=false", *words, *out, "."), request.folder)

    def pull(self, image):
        return timed(Command(self.words("pull", "-q", "--tls-verify=false", image)))

    def push(self, image, to):
        return timed(Command(self.words("push", "-q", "--tls-verify=false", image, to)))


class Podman(Buildah):
    """Its builder is buildah's code."""

    name = "podman (Debian)"
    program = "podman"
    build_words = ["build", "--layers"]
    twin = True


class SkopeoUmoci(Builder):
    """Not a builder: a way to fetch an image and unpack it."""

    name = "skopeo + umoci"

    def __init__(self, work):
        super().__init__(work)
        if not shutil.which("skopeo") or not shutil.which("umoci"):
            self.reason = "skopeo or umoci is not installed"
        elif os.geteuid() != 0:
            self.reason = "measured as root only"

    def version(self):
        return f"{quiet('skopeo', '--version').strip()}, {quiet('umoci', '--version').strip()}"

    def pull(self, image):
        script = 'skopeo copy -q --src-tls-verify=false "docker://$1" "oci:$2/image:go"; [ -e "$2/bundle" ] || umoci unpack --image "$2/image:go" "$2/bundle"'
        return timed(Command(["bash", "-euc", script, "-", image, self.root]))

    def push(self, image, to):
        return timed(Command(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{self.root}/image:go", f"docker://{to}"]))

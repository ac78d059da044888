#!/usr/bin/env python3
"""Times whole commands of galley and of other builders, in turn (A B A B), and prints medians and ratios.

Each scenario prepares a folder, builds once to warm up, and is then timed --runs times for every builder that is here.
Peak memory is that of the largest process the command waited for, so it says nothing about daemons.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BUSYBOX = "/bin/busybox"


def run(command, cwd=None, env=None, check=True):
    """Wall seconds, processor seconds and peak memory of one command."""
    start = time.perf_counter()
    with open(os.devnull, "w") as null:
        child = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=null, stderr=subprocess.PIPE)
        error = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if check and child.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{error.decode(errors='replace')[-2000:]}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


class Builder:
    """A way to build `folder` with build arguments; the result stays in the builder's own store or cache."""

    def build(self, folder, arguments=(), output=None):
        raise NotImplementedError

    def stop(self):
        pass


class Galley(Builder):
    name = "galley"

    def __init__(self, program, root):
        self.env = dict(os.environ, GALLEY_ROOT=str(root))
        self.program = program

    def build(self, folder, arguments=(), output=None):
        out = ["-o", f"type=oci,dest={output}"] if output else ["-t", "bench"]
        words = [word for pair in arguments for word in ("--build-arg", pair)]
        return run([self.program, "build", "--progress=plain", *words, *out, "."], cwd=folder, env=self.env)


class Buildah(Builder):
    name = "buildah"

    def __init__(self, root):
        self.options = ["--root", str(root / "root"), "--runroot", str(root / "run"), "--storage-driver", "overlay"]

    def build(self, folder, arguments=(), output=None):
        words = [word for pair in arguments for word in ("--build-arg", pair)]
        out = ["-t", f"oci-archive:{output}"] if output else ["-t", "bench"]
        if output and os.path.exists(output):
            os.unlink(output)
        return run(["buildah", *self.options, "bud", "--layers", "--isolation", "chroot", *words, *out, "."], cwd=folder)


class BuildKit(Builder):
    name = "BuildKit head"

    def __init__(self, peers, root):
        self.address = f"unix://{root}/socket"
        self.control = f"{peers}/buildctl"
        root.mkdir()
        log = open(root / "log", "w")
        self.daemon = subprocess.Popen([f"{peers}/buildkitd", "--addr", self.address, "--root", str(root / "data")], stdout=log, stderr=log)
        wait_for(lambda: run([self.control, "--addr", self.address, "debug", "workers"], check=False) and os.path.exists(root / "socket"))

    def build(self, folder, arguments=(), output=None):
        words = [word for pair in arguments for word in ("--opt", f"build-arg:{pair}")]
        out = ["--output", f"type=oci,dest={output}"] if output else []
        command = [self.control, "--addr", self.address, "build", "--progress=plain", "--frontend", "dockerfile.v0"]
        return run([*command, "--local", "context=.", "--local", "dockerfile=.", *words, *out], cwd=folder)

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()


class Docker(Builder):
    name = "docker (Debian)"

    def __init__(self, root):
        self.host = f"unix://{root}/socket"
        root.mkdir()
        log = open(root / "log", "w")
        options = ["--iptables=false", "--bridge=none", "--data-root", str(root / "data"), "--exec-root", str(root / "exec"), "--pidfile", str(root / "pid")]
        self.daemon = subprocess.Popen(["dockerd", "-H", self.host, *options], stdout=log, stderr=log)
        wait_for(lambda: subprocess.run(["docker", "-H", self.host, "version"], capture_output=True).returncode == 0)

    def build(self, folder, arguments=(), output=None):
        words = [word for pair in arguments for word in ("--build-arg", pair)]
        environment = dict(os.environ, DOCKER_BUILDKIT="0")
        total = run(["docker", "-H", self.host, "build", "--network=none", *words, "-t", "bench", "."], cwd=folder, env=environment)
        if output:
            saved = run(["docker", "-H", self.host, "save", "-o", output, "bench"])
            total = (total[0] + saved[0], total[1] + saved[1], max(total[2], saved[2]))
        return total

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()


def wait_for(done, seconds=20):
    end = time.time() + seconds
    while not done():
        if time.time() > end:
            raise RuntimeError("a daemon does not start; its log is in the work folder")
        time.sleep(0.1)


# --- what is built


def base(folder):
    """`busybox` as the files of a context, so that no registry is needed."""
    root = folder / "root" / "bin"
    root.mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "busybox")
    (root / "sh").symlink_to("busybox")
    for name in ("cat", "sleep", "true", "touch", "cp"):
        (root / name).symlink_to("busybox")


def two_stages(folder):
    base(folder)
    (folder / "main.go").write_text("package main\n")
    (folder / "Dockerfile").write_text(
        "FROM scratch AS builder\nCOPY root /\nWORKDIR /src\nCOPY main.go ./\nRUN cat main.go > /app\n"
        "FROM scratch\nCOPY --from=builder /app /app\nENTRYPOINT [\"/app\"]\n"
    )


def trivial_runs(count):
    def prepare(folder):
        base(folder)
        lines = ["FROM scratch", "COPY root /", "ARG N"] + [f"RUN true {index} $N" for index in range(count)]
        (folder / "Dockerfile").write_text("\n".join(lines) + "\n")

    return prepare


def sleeping_stages(folder):
    base(folder)
    lines = ["FROM scratch AS base", "COPY root /"]
    for index in range(8):
        lines += [f"FROM base AS s{index}", "ARG N", f"RUN sleep 1; touch /f{index} # $N"]
    lines += ["FROM scratch"] + [f"COPY --from=s{index} /f{index} /" for index in range(8)]
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")


def many_files(count, size):
    def prepare(folder):
        for index in range(count):
            path = folder / "files" / str(index % 200) / str(index // 200)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{index}\n".encode() * (size // 8))
        (folder / "Dockerfile").write_text("FROM scratch\nARG N\nCOPY files /files\n")

    return prepare


GO_TARS = pathlib.Path(os.environ.get("GALLEY_DEMO_CACHE", pathlib.Path.home() / ".cache/galley-demo")) / "tars"


def go_program(folder):
    """A net/http server on the demo's Go base, whose tars are unpacked once."""
    for name in ("debian-build.tar", "go.tar"):
        shutil.copy(GO_TARS / name, folder)
    (folder / "go.mod").write_text("module bench\n\ngo 1.22\n")
    (folder / ".dockerignore").write_text("bare\n")
    (folder / "Dockerfile").write_text(
        "FROM scratch AS go\nADD debian-build.tar /\nADD go.tar /\nENV PATH=/usr/local/go/bin:/usr/bin:/bin CGO_ENABLED=0 GOFLAGS=-buildvcs=false\n"
        "FROM go AS builder\nWORKDIR /src\nCOPY go.mod main.go ./\n"
        "RUN --network=none --mount=type=cache,target=/root/.cache/go-build go build -o /app .\n"
        "FROM scratch\nCOPY --from=builder /app /app\n"
    )
    bare = folder / "bare"
    bare.mkdir()
    subprocess.run(["tar", "-x", "-C", str(bare), "-f", str(GO_TARS / "go.tar")], check=True)
    edit_go(folder)


def edit_go(folder):
    (folder / "main.go").write_text(
        'package main\n\nimport "net/http"\n\nfunc main() {\n\tprintln("%s")\n\thttp.ListenAndServe(":1", nil)\n}\n' % time.time()
    )


def bare_go(folder):
    """The compiler alone, on the same edit, with a warm cache of its own."""
    edit_go(folder)
    bare = folder / "bare"
    settings = f"GOCACHE={bare}/cache GOPATH={bare}/path GOFLAGS=-buildvcs=false CGO_ENABLED=0 GOTOOLCHAIN=local"
    return ["sh", "-c", f"cd '{folder}' && {settings} {bare}/usr/local/go/bin/go build -o {bare}/app ."]


def edit(folder):
    """One file becomes another one, so that the layer has to be made and compressed again."""
    (folder / "files" / "0" / "0").write_text(f"{time.time()}\n")


# --- measuring


def median(rows, column=0):
    return statistics.median(row[column] for row in rows)


def compare(title, builders, prepare, runs, work, arguments=None, output=False, limit=None, change=None):
    """Times one scenario for every builder, in turn, and prints a row each. `change` edits the context before each run."""
    folder = work / title.replace(" ", "-").replace(",", "")
    folder.mkdir()
    prepare(folder)
    archive = str(work / "out.tar") if output else None
    rows = {builder.name: [] for builder in builders}
    limits = []
    for turn in range(runs + 1):
        for builder in builders:
            words = arguments(f"{builder.name}-{turn}-{time.time()}") if arguments else ()
            if change:
                change(folder)
            try:
                row = builder.build(folder, words, archive)
            except RuntimeError as error:
                print(f"  {builder.name}: {error}", file=sys.stderr)
                continue
            if turn > 0:
                rows[builder.name].append(row)
        if limit:
            row = run(limit(folder))
            limits += [row] if turn > 0 else []
    report(title, rows, limits)
    return {name: median(values) for name, values in rows.items() if values}


def report(title, rows, limits):
    print(f"\n{title}")
    own = median(rows["galley"]) if rows.get("galley") else None
    if limits:
        print(f"  {'limit':<16} {median(limits):9.4f} s")
    for name, values in rows.items():
        if not values:
            print(f"  {name:<16}    failed")
            continue
        wall, cpu, memory = median(values), median(values, 1), max(row[2] for row in values)
        spread = f"{min(row[0] for row in values):.4f}…{max(row[0] for row in values):.4f}"
        ratio = f"  {wall / own:6.1f} × galley" if own and name != "galley" else ""
        over = f"  {wall / median(limits):6.2f} × limit" if limits and name == "galley" else ""
        print(f"  {name:<16} {wall:9.4f} s  ({spread})  cpu {cpu:.3f} s  {memory / 2**20:6.1f} MiB{ratio}{over}")


def present(arguments, work):
    builders = [Galley(arguments.galley, work / "galley")]
    peers = os.environ.get("PEERS")
    if peers and os.path.exists(f"{peers}/buildkitd"):
        builders.append(BuildKit(peers, work / "buildkit"))
    if shutil.which("buildah"):
        builders.append(Buildah(work / "buildah"))
    if shutil.which("dockerd") and os.geteuid() == 0:
        try:
            builders.append(Docker(work / "docker"))
        except RuntimeError as error:
            print(f"docker is left out: {error}", file=sys.stderr)
    return builders


def measure(arguments, work, builders):
    runs, fresh = arguments.runs, lambda mark: (f"N={mark}",)
    compare("no-op rebuild of two stages", builders, two_stages, runs * 2, work)
    few = compare("no RUN step", builders, trivial_runs(0), runs, work, fresh)
    many = compare("20 trivial RUN steps", builders, trivial_runs(20), runs, work, fresh)
    print("\na trivial RUN step, from the two above")
    for name in many:
        print(f"  {name:<16} {(many[name] - few.get(name, 0)) / 20 * 1000:9.2f} ms")
    if (GO_TARS / "go.tar").exists():
        compare("one line of a Go program edited", builders[:2], go_program, runs, work, limit=bare_go, change=edit_go)
    else:
        print("\nthe edit of a Go program is left out: `make demo` makes its base")
    compare("8 stages of sleep 1", builders, sleeping_stages, 2, work, fresh)
    compare("no-op with 50,000 files in the context", builders[:2], many_files(50_000, 64), runs, work, limit=lambda folder: ["find", str(folder), "-newermt", "2100-01-01"])
    compare(
        "COPY of 20,000 files, 160 MB, and export as gzip", builders[:2], many_files(20_000, 8192), runs, work, None, True,
        limit=lambda folder: ["sh", "-c", f"tar -c -C '{folder}' files | gzip -6 | sha256sum"], change=edit,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--galley", default="dist/galley", help="the program to measure")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each scenario")
    arguments = parser.parse_args()
    arguments.galley = str(pathlib.Path(arguments.galley).resolve())
    work = pathlib.Path(tempfile.mkdtemp(prefix="galley-bench-"))
    builders = []
    try:
        builders = present(arguments, work)
        print(f"{os.cpu_count()} cores; medians of {arguments.runs} runs after one to warm up; spread in brackets")
        measure(arguments, work, builders)
    finally:
        for builder in builders:
            builder.stop()
        subprocess.run(["rm", "-rf", "--one-file-system", str(work)], check=False)


if __name__ == "__main__":
    main()

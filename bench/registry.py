#!/usr/bin/env python3
"""Times pulls and pushes of the demo's Go base against Debian's docker-registry on loopback, for galley and for others, in turn.

Every pull ends with the files unpacked in the store of the tool, which was empty before; a second pull finds all of it. Every push
goes to a registry that is empty, so that nothing can be mounted. Peak memory is that of the largest process, daemons included.

Everything is written below $TMPDIR. An ext4 without a journal makes new files slowly for minutes after many were deleted, as is done
here between runs: a tmpfs or another file system gives steadier figures.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

from bench import GO_TARS, report, run, wait_for

LAYERS = ("debian-build.tar", "go.tar")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def memory_of(process):
    """The largest resident set that a process and its children had, bytes."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    peaks = [0]
    for one in [str(process.pid), *children]:
        with contextlib.suppress(OSError):
            lines = pathlib.Path(f"/proc/{one}/status").read_text().splitlines()
            peaks += [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return max(peaks)


def remove(folder):
    subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=True)


class Registry:
    """An empty docker-registry."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        folder.mkdir()
        settings = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": f"127.0.0.1:{self.port}"},
        }
        (folder / "config.yml").write_text(json.dumps(settings))
        with open(folder / "log", "w") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
        wait_for(self.answers)

    def answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def name(self, repository="go"):
        return f"localhost:{self.port}/bench/{repository}:latest"

    def stop(self):
        self.process.terminate()
        self.process.wait()
        remove(self.folder)


class Galley:
    name = "galley"

    def __init__(self, program, root):
        self.program, self.root = program, root
        self.env = dict(os.environ, GALLEY_ROOT=str(root))

    def empty(self):
        remove(self.root)

    def pull(self, image):
        return run([self.program, "pull", image], env=self.env)

    def push(self, image, to):
        subprocess.run([self.program, "tag", image, to], env=self.env, check=True, stdout=subprocess.DEVNULL)
        return run([self.program, "push", to], env=self.env)

    def stop(self):
        pass


class Podman:
    name = "podman"

    def __init__(self, root):
        self.root = root
        self.command = ["podman", "--root", str(root / "root"), "--runroot", str(root / "run"), "--storage-driver", "overlay"]

    def empty(self):
        subprocess.run([*self.command, "system", "reset", "--force"], capture_output=True)
        remove(self.root)
        self.root.mkdir()

    def pull(self, image):
        return run([*self.command, "pull", "-q", "--tls-verify=false", image])

    def push(self, image, to):
        return run([*self.command, "push", "-q", "--tls-verify=false", image, to])

    def stop(self):
        pass


class SkopeoUmoci:
    name = "skopeo + umoci"

    def __init__(self, root):
        self.root = root
        root.mkdir()

    def empty(self):
        remove(self.root)
        self.root.mkdir()

    def pull(self, image):
        copied = run(["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"oci:{self.root}/image:go"])
        if (self.root / "bundle").exists():
            return copied
        unpacked = run(["umoci", "unpack", "--image", f"{self.root}/image:go", str(self.root / "bundle")])
        return copied[0] + unpacked[0], copied[1] + unpacked[1], max(copied[2], unpacked[2])

    def push(self, image, to):
        return run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{self.root}/image:go", f"docker://{to}"])

    def stop(self):
        pass


class Docker:
    """One daemon whose images are removed between runs."""

    name = "docker (Debian)"

    def __init__(self, root):
        self.root, self.daemon = root, None

    def empty(self):
        self.stop()
        self.root.mkdir()
        self.command = ["docker", "-H", f"unix://{self.root}/socket"]
        words = ["dockerd", "-H", f"unix://{self.root}/socket", "--iptables=false", "--bridge=none", "--data-root", str(self.root / "data")]
        with open(self.root / "log", "w") as log:
            self.daemon = subprocess.Popen([*words, "--exec-root", str(self.root / "exec"), "--pidfile", str(self.root / "pid")], stdout=log, stderr=log)
        wait_for(lambda: subprocess.run([*self.command, "version"], capture_output=True).returncode == 0)

    def timed(self, *words):
        wall, cpu, memory = run([*self.command, *words])
        return wall, cpu, max(memory, memory_of(self.daemon))

    def pull(self, image):
        return self.timed("pull", "-q", image)

    def push(self, image, to):
        subprocess.run([*self.command, "tag", image, to], check=True)
        return self.timed("push", "-q", to)

    def stop(self):
        if self.daemon:
            self.daemon.terminate()
            self.daemon.wait()
            self.daemon = None
        remove(self.root)


class BuildKit:
    """A build of FROM and one COPY: it does not unpack a base that nothing is done with."""

    name = "BuildKit head"

    def __init__(self, peers, root):
        self.peers, self.root, self.daemon = peers, root, None

    def empty(self):
        self.stop()
        self.root.mkdir()
        (self.root / "context").mkdir()
        (self.root / "context" / "file").write_text("x")
        address = f"unix://{self.root}/socket"
        self.command = [f"{self.peers}/buildctl", "--addr", address]
        with open(self.root / "log", "w") as log:
            self.daemon = subprocess.Popen([f"{self.peers}/buildkitd", "--addr", address, "--root", str(self.root / "data")], stdout=log, stderr=log)
        wait_for(lambda: subprocess.run([*self.command, "debug", "workers"], capture_output=True).returncode == 0)

    def build(self, lines, *output):
        context = self.root / "context"
        (context / "Dockerfile").write_text("\n".join(lines) + "\n")
        words = ["build", "--progress=plain", "--frontend", "dockerfile.v0", "--local", "context=.", "--local", "dockerfile=."]
        wall, cpu, memory = run([*self.command, *words, *output], cwd=context)
        return wall, cpu, max(memory, memory_of(self.daemon))

    def pull(self, image):
        return self.build([f"FROM {image}", "COPY file /"])

    def push(self, image, to):
        return self.build([f"FROM {image}"], "--output", f"type=image,name={to},push=true,registry.insecure=true")

    def stop(self):
        if self.daemon:
            self.daemon.terminate()
            self.daemon.wait()
            self.daemon = None
        remove(self.root)


# --- what is pulled


def digest(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def base_image(folder):
    """The Go base as an OCI layout, its layers compressed by gzip; gives the size of the blobs."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def document(media_type, value):
        content = json.dumps(value).encode()
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{name}", "size": len(content)}

    layers = []
    for tar in LAYERS:
        with open(folder / tar, "wb") as out:
            subprocess.run(["gzip", "-6nc", str(GO_TARS / tar)], stdout=out, check=True)
        name, size = digest(folder / tar), (folder / tar).stat().st_size
        (folder / tar).rename(blobs / name.removeprefix("sha256:"))
        layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": name, "size": size})
    root = {"type": "layers", "diff_ids": [digest(GO_TARS / tar) for tar in LAYERS]}
    config = document("config.v1+json", {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root})
    manifest = document("manifest.v1+json", {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers})
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return sum(layer["size"] for layer in layers)


# --- measuring


def present(arguments, work):
    tools = [Galley(arguments.galley, work / "galley")]
    peers = os.environ.get("PEERS")
    if peers and os.path.exists(f"{peers}/buildkitd"):
        tools.append(BuildKit(peers, work / "buildkit"))
    if shutil.which("podman"):
        tools.append(Podman(work / "podman"))
    if shutil.which("skopeo") and shutil.which("umoci") and os.geteuid() == 0:
        tools.append(SkopeoUmoci(work / "umoci"))
    if shutil.which("dockerd") and os.geteuid() == 0:
        tools.append(Docker(work / "docker"))
    return [tool for tool in tools if not arguments.only or tool.name.split()[0] in arguments.only]


def turn(tool, image, work, rows):
    """One pull into an empty store, one of what is there, one push to an empty registry."""
    tool.empty()
    rows["pull"].append(tool.pull(image))
    rows["again"].append(tool.pull(image))
    registry = Registry(work / "empty-registry")
    try:
        rows["push"].append(tool.push(image, registry.name()))
    finally:
        registry.stop()


def measure(arguments, work, tools):
    folder = work / "image"
    size = base_image(folder)
    registry = Registry(work / "registry")
    try:
        image = registry.name()
        subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{folder}", f"docker://{image}"], check=True)
        rows = {tool.name: {"pull": [], "again": [], "push": []} for tool in tools}
        for number in range(arguments.runs + 1):
            for tool in list(tools):
                try:
                    turn(tool, image, work, rows[tool.name] if number else {"pull": [], "again": [], "push": []})
                except RuntimeError as error:
                    print(f"  {tool.name} is left out: {error}", file=sys.stderr)
                    tools.remove(tool)
        for tool in tools:
            tool.empty()
    finally:
        registry.stop()
    titles = {
        "pull": f"pull and unpack of the Go base, {size / 1e6:.0f} MB of gzip in {len(LAYERS)} layers",
        "again": "the same pull again",
        "push": "push of it to an empty registry",
    }
    for key, title in titles.items():
        report(title, {name: row[key] for name, row in rows.items()}, [])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galley", default="dist/galley", help="the program to measure")
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each tool, after one to warm up")
    parser.add_argument("--only", nargs="*", help="first words of the names of the tools to measure")
    arguments = parser.parse_args()
    arguments.galley = str(pathlib.Path(arguments.galley).resolve())
    if not all((GO_TARS / tar).exists() for tar in LAYERS):
        print("\npulls and pushes are left out: `make demo` makes the Go base")
        return
    if not shutil.which("docker-registry"):
        print("\npulls and pushes are left out: docker-registry is not installed")
        return
    work = pathlib.Path(tempfile.mkdtemp(prefix="galley-bench-"))
    tools = present(arguments, work)
    try:
        measure(arguments, work, tools)
    finally:
        for tool in tools:
            tool.stop()
        subprocess.run(["rm", "-rf", "--one-file-system", str(work)], check=False)


if __name__ == "__main__":
    main()

"""The base images: the demo's, made by the demo's own scripts where they are not there, in a registry of this machine."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess

from .process import Failed, quiet, until

TOP = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("GALLEY_DEMO_CACHE") or pathlib.Path.home() / ".cache/galley-demo")
# Image, the tars of its layers.
IMAGES = {"debian": ("debian-build",), "go": ("debian-slim", "go")}


class Registry:
    """An empty docker-registry on loopback."""

    def __init__(self, work):
        self.work = work
        self.folder = work.fresh("registry")
        self.folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
            "http": {"addr": f"127.0.0.1:{self.port}"},
        }
        (self.folder / "config.yml").write_text(json.dumps(settings))
        self.daemon = work.start(["docker-registry", "serve", self.folder / "config.yml"], self.folder / "log")
        until(self.answers, "docker-registry")

    def answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def name(self, repository):
        return f"localhost:{self.port}/bench/{repository}:latest"

    def stop(self):
        self.work.stop(self.daemon)
        self.work.discard(self.folder)


class Bases:
    """Makes what is asked for, once."""

    def __init__(self, work):
        self.work = work
        self.registry = None
        self.made = {}

    def make(self):
        """All of them, before anything is timed."""
        for image in IMAGES:
            self.name(image)

    def tar(self, name):
        """Made by the demo's scripts, unless it is there."""
        path = CACHE / "tars" / f"{name}.tar"
        if not path.exists():
            print(f"making {path.name} by demo/bases/make.sh, as `make demo` does; it stays in {CACHE}", flush=True)
            quiet(TOP / "demo/bases/make.sh", name, env=dict(os.environ, GALLEY_DEMO_CACHE=str(CACHE)))
        return path

    def name(self, image):
        """The image's name in the registry, which has it."""
        self.layers(image)
        if self.registry is None:
            self.registry = Registry(self.work)
        if self.made[image]["name"] is None:
            self.made[image]["name"] = self.registry.name(image)
            layout = self.made[image]["layout"]
            quiet("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{self.made[image]['name']}")
        return self.made[image]["name"]

    def layers(self, image):
        """The compressed layers, as files."""
        if image not in self.made:
            for tool in ("skopeo", "docker-registry", "pigz"):
                if not shutil.which(tool):
                    raise Failed(f"{tool} is missing: `make bench` installs it")
            layout = self.work.folder / f"layout-{image}"
            self.made[image] = {"layout": layout, "name": None, "layers": write_layout(layout, [self.tar(name) for name in IMAGES[image]])}
        return self.made[image]["layers"]

    def megabytes(self, image):
        return sum(layer.stat().st_size for layer in self.layers(image)) / 1e6


def write_layout(folder, tars):
    """An OCI layout of the tars, compressed by pigz to the one gzip member that all know; gives the paths of the layers."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def document(media_type, value):
        content = json.dumps(value).encode()
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{name}", "size": len(content)}

    layers = []
    for tar in tars:
        packed = folder / "layer"
        with open(packed, "wb") as out:
            subprocess.run(["pigz", "-6nc", str(tar)], stdout=out, check=True)
        name = digest(packed)
        packed.rename(blobs / name)
        layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{name}", "size": (blobs / name).stat().st_size})
    root = {"type": "layers", "diff_ids": [f"sha256:{digest(tar)}" for tar in tars]}
    # buildah wants a history of as many layers.
    history = [{"created_by": f"{tar.stem} of the demo"} for tar in tars]
    config = document("config.v1+json", {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root, "history": history})
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}
    index = {"schemaVersion": 2, "manifests": [document("manifest.v1+json", manifest)]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return [blobs / layer["digest"].removeprefix("sha256:") for layer in layers]


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

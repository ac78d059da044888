#!/usr/bin/env python3
"""Turns the Go sources of Debian packages into a folder that Go can use as a module proxy (GOPROXY=file:///...).

    goproxy.py ROOT PROXY SUMS

ROOT holds the unpacked packages, PROXY receives the proxy's files, SUMS the lines that a go.sum needs.

Debian's files are not upstream's (it patches them and leaves some out), so no module here carries upstream's version:
v1.8.1 of upstream becomes v1.8.1-debian.1, and nobody can mistake one for the other. Each go.mod is written anew: it
requires the modules of this folder whose packages the module's own files import, at the versions of this folder.
"""

import base64
import hashlib
import pathlib
import re
import sys
import zipfile

# Module, upstream's version of Debian 12's package, and the package whose copyright file goes along.
MODULES = [
    ("github.com/gin-contrib/sse", "v0.1.0", "golang-github-gin-contrib-sse-dev"),
    ("github.com/gin-gonic/gin", "v1.8.1", "golang-github-gin-gonic-gin-dev"),
    ("github.com/go-playground/locales", "v0.14.0", "golang-github-go-playground-locales-dev"),
    ("github.com/go-playground/universal-translator", "v0.17.0", "golang-github-go-playground-universal-translator-dev"),
    ("github.com/go-playground/validator/v10", "v10.4.1", "golang-github-go-playground-validator-v10-dev"),
    ("github.com/leodido/go-urn", "v1.2.1", "golang-github-leodido-go-urn-dev"),
    ("github.com/mattn/go-isatty", "v0.0.17", "golang-github-mattn-go-isatty-dev"),
    ("github.com/pelletier/go-toml/v2", "v2.0.6", "golang-github-pelletier-go-toml.v2-dev"),
    ("github.com/ugorji/go/codec", "v1.2.8", "golang-github-ugorji-go-codec-dev"),
    ("golang.org/x/crypto", "v0.4.0", "golang-golang-x-crypto-dev"),
    ("golang.org/x/net", "v0.7.0", "golang-golang-x-net-dev"),
    ("golang.org/x/sys", "v0.3.0", "golang-golang-x-sys-dev"),
    ("golang.org/x/term", "v0.3.0", "golang-golang-x-term-dev"),
    ("golang.org/x/text", "v0.7.0", "golang-golang-x-text-dev"),
    ("google.golang.org/protobuf", "v1.28.1", "golang-google-protobuf-dev"),
    ("gopkg.in/yaml.v2", "v2.4.0", "golang-gopkg-yaml.v2-dev"),
]
VERSIONS = {path: f"{version}-debian.1" for path, version, _ in MODULES}
TIME = "2025-01-01T00:00:00Z"


def sources(folder):
    """The files of a module: everything but tests, examples' data and what belongs to another module."""
    inner = [p.parent for p in folder.rglob("go.mod") if p.parent != folder]
    for path in sorted(folder.rglob("*")):
        name = path.name
        if not path.is_file() or path.is_symlink() or name in ("go.mod", "go.sum") or name.endswith("_test.go"):
            continue
        if "testdata" in path.parts or any(i in path.parents for i in inner):
            continue
        yield path


def required(module, files):
    """The modules of this folder that Go files import, the module itself apart."""
    found = set()
    for path in files:
        if path.suffix != ".go":
            continue
        text = path.read_text(encoding="utf-8")
        block = re.split(r"^(?:func|type|var|const)\b", text, maxsplit=1, flags=re.M)[0]
        for name in re.findall(r'"([^"\s]+\.[^"\s]+/[^"\s]+)"', block):
            owners = [m for m in VERSIONS if name == m or name.startswith(m + "/")]
            if owners:
                found.add(max(owners, key=len))
    return sorted(found - {module})


def digest(entries):
    """Go's h1 sum: the SHA-256 of the sorted list of the files' SHA-256 sums."""
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(entries.items()))
    return "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()


def write_zip(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(entries.items()):
            archive.writestr(zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)


def convert(root, proxy, module, package):
    """Writes the four files of one module and returns its two lines of go.sum."""
    version = VERSIONS[module]
    folder = root / "usr/share/gocode/src" / module
    if not folder.is_dir():
        sys.exit(f"goproxy.py: {folder} is missing: does {package} still carry {module}?")
    files = list(sources(folder))
    mod = f"module {module}\n\ngo 1.18\n"
    requires = required(module, files)
    if requires:
        mod += "\nrequire (\n" + "".join(f"\t{m} {VERSIONS[m]}\n" for m in requires) + ")\n"
    entries = {f"{module}@{version}/{path.relative_to(folder)}": path.read_bytes() for path in files}
    entries[f"{module}@{version}/go.mod"] = mod.encode()
    entries[f"{module}@{version}/LICENSE"] = (root / "usr/share/doc" / package / "copyright").read_bytes()

    at = proxy / module / "@v"
    at.mkdir(parents=True)
    (at / "list").write_text(version + "\n")
    (at / f"{version}.info").write_text(f'{{"Version":"{version}","Time":"{TIME}"}}\n')
    (at / f"{version}.mod").write_text(mod)
    write_zip(at / f"{version}.zip", entries)
    return [f"{module} {version} {digest(entries)}", f"{module} {version}/go.mod {digest({'go.mod': mod.encode()})}"]


def main():
    root, proxy, sums = (pathlib.Path(a) for a in sys.argv[1:])
    lines = [line for module, _, package in MODULES for line in convert(root, proxy, module, package)]
    sums.write_text("\n".join(lines) + "\n")


main()

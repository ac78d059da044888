//! Images for other machines than this one, and several in an index.

use std::{
    io::{Read, Write},
    process::{Command, Output, Stdio},
};

use fs_err as fs;
use galley_testkit::{TarEntry, registry::Registry, rootfs_tar, write_platforms};
use serde_json::{Value, json};

use super::{File, Kitchen, read_tar, succeeded, text};

/// A compiler that makes programs for whatever machine it is told, as Go's does.
const COMPILER: &str = "#!/bin/sh\nprintf 'program for %s/%s%s: ' \"$TARGETOS\" \"$TARGETARCH\" \"$TARGETVARIANT\" > /app\ncat main >> /app\n";

const CROSS: &str = "\
FROM --platform=$BUILDPLATFORM busybox AS build
COPY --chmod=755 compiler /bin/
WORKDIR /src
COPY main .
RUN echo fetched > /modules
ARG TARGETOS TARGETARCH TARGETVARIANT
RUN compiler
FROM scratch
COPY --from=build /app /
ENTRYPOINT [\"/app\"]
";

/// A kitchen with a cross build in it.
fn cross() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.env.write("compiler", COMPILER);
    kitchen.env.write("main", "hello");
    kitchen.env.write(".dockerignore", "*\n!main\n!compiler\n");
    kitchen.dockerfile(CROSS);
    Some(kitchen)
}

/// The beginning of a program for 64-bit ARM, by which a kernel knows one.
fn arm64_program() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    bytes.resize(64, 0);
    bytes
}

/// A layout with an image that has nothing but a program, for 64-bit ARM.
fn arm64_base(kitchen: &Kitchen) -> String {
    let layer = rootfs_tar(&[TarEntry::File("program", 0o755, &arm64_program())]);
    write_platforms(&kitchen.path("arm"), "latest", &[(("arm64", ""), vec![layer])], &json!({}));
    format!("arm=oci-layout://{}", kitchen.path("arm").display())
}

fn content(file: &File) -> &str {
    str::from_utf8(&file.content).unwrap()
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The platforms that an index lists, in its order.
fn platforms(index: &Value) -> Vec<String> {
    let manifests = index["manifests"].as_array().unwrap();
    let platform = |one: &Value| {
        let words = ["os", "architecture", "variant"].map(|name| one["platform"][name].as_str());
        words.into_iter().flatten().collect::<Vec<_>>().join("/")
    };
    manifests.iter().map(platform).collect()
}

/// The app in the image of that name for a platform, as another machine would get it.
fn app(kitchen: &Kitchen, name: &str, platform: &str) -> String {
    let archive = kitchen.path("app.tar");
    kitchen.galley(&["save", "--platform", platform, "-o", archive.to_str().unwrap(), name]);
    kitchen.env.write("app/Dockerfile", format!("FROM --platform={platform} {name}\n"));
    let files = kitchen.files(&["--offline", "app"]);
    content(&files["app"]).to_owned()
}

#[test]
fn a_compiler_here_makes_programs_for_there() {
    let Some(kitchen) = cross() else { return };
    let several = ["--platform=linux/amd64,linux/arm64", "--platform", "linux/arm/v7"];
    let archive = kitchen.path("out.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let counts = kitchen.build(&[&several[..], &["-t", "app:1", "-o", &output, "--load", "."]].concat());
    // Once: two copies, a folder, what was fetched. For each: the program, and its copy.
    assert_eq!(counts.executed, 4 + 3 * 2);
    assert_eq!(kitchen.build(&[&several[..], &["-t", "app:1", "."]].concat()).executed, 0);
    let files = read_tar(&fs::read(&archive).unwrap());
    let top = &parse(&files["index.json"].content)["manifests"][0];
    assert_eq!(top["annotations"]["io.containerd.image.name"], "docker.io/library/app:1");
    assert!(top.get("platform").is_none());
    let blob = top["digest"].as_str().unwrap().replace(':', "/");
    let index = parse(&files[&format!("blobs/{blob}")].content);
    assert_eq!(platforms(&index), ["linux/amd64", "linux/arm64", "linux/arm/v7"]);
    assert_eq!(app(&kitchen, "app:1", "linux/arm64"), "program for linux/arm64: hello");
    assert_eq!(app(&kitchen, "app:1", "linux/arm"), "program for linux/armv7: hello");
    skopeo(&format!("oci-archive:{}", archive.display()));
}

/// Another reader finds the image of each platform, where it is installed.
fn skopeo(image: &str) {
    for (architecture, variant) in [("amd64", ""), ("arm64", ""), ("arm", "v7")] {
        let mut command = Command::new("skopeo");
        command.args([
            "--override-arch",
            architecture,
            "--override-variant",
            variant,
            "inspect",
            "--config",
            image,
        ]);
        let Ok(output) = command.output() else { return };
        assert_eq!(parse(&succeeded(output).stdout)["architecture"], architecture);
    }
}

#[test]
fn a_name_keeps_all_its_platforms() {
    let Some(kitchen) = cross() else { return };
    let counts = kitchen.build(&["--platform=linux/s390x,linux/amd64,linux/arm64", "-t", "app:1", "."]);
    assert!(counts.executed > 0);
    let of = |platform: &[&str], name: &str| {
        let format = ["inspect", "--format", "{{.Architecture}}"];
        kitchen.galley(&[&format[..], platform, &[name]].concat()).trim().to_owned()
    };
    assert_eq!(of(&["--platform", "linux/s390x"], "app:1"), "s390x");
    assert_eq!(kitchen.galley(&["images", "--quiet"]).lines().count(), 1);
    kitchen.galley(&["tag", "app:1", "app:2"]);
    let archive = kitchen.path("saved.tar");
    kitchen.galley(&["save", "-o", archive.to_str().unwrap(), "app:2"]);
    assert_eq!(kitchen.galley(&["rmi", "app:1", "app:2"]).matches("Deleted: ").count(), 3);
    assert_eq!(kitchen.galley(&["images", "--all", "--quiet"]), "");
    kitchen.galley(&["load", "-i", archive.to_str().unwrap()]);
    for platform in ["linux/s390x", "linux/amd64", "linux/arm64"] {
        assert_eq!(format!("linux/{}", of(&["--platform", platform], "app:2")), platform);
    }
    let own = of(&[], "app:2");
    assert_eq!(own, if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    let output = kitchen.command(&["inspect", "--platform", "linux/arm", "app:2"]).output().unwrap();
    assert!(
        text(&output).contains("app:2 is for linux/s390x, linux/amd64, linux/arm64, not for linux/arm/v7")
    );
    kitchen.galley(&["load", "--platform", "linux/arm64", "-i", archive.to_str().unwrap()]);
    assert_eq!(of(&[], "app:2"), "arm64");
}

#[test]
fn an_index_is_pushed_and_each_takes_its_own() {
    let (Some(here), Some(there)) = (cross(), Kitchen::new()) else { return };
    let registry = Registry::start();
    let name = format!("{}/team/app:1", registry.host());
    let meta = here.path("meta.json");
    let arguments = ["--platform=linux/arm64,linux/amd64", "-t", &name, "--push", "--metadata-file"];
    let annotated = ["--annotation", "index:who=all", "--annotation", "manifest[linux/arm64]:who=arm"];
    let iid = here.path("iid");
    let files = [meta.to_str().unwrap(), "--iidfile", iid.to_str().unwrap()];
    here.build(&[&arguments[..], &files, &annotated, &["."]].concat());
    let (kind, bytes) = registry.manifest("team/app", "1").unwrap();
    assert_eq!(kind, "application/vnd.oci.image.index.v1+json");
    let index = parse(&bytes);
    assert_eq!(platforms(&index), ["linux/arm64", "linux/amd64"]);
    assert_eq!(index["annotations"], json!({"who": "all"}));
    let who = |number: usize| {
        let digest = index["manifests"][number]["digest"].as_str().unwrap();
        parse(&registry.manifest("team/app", digest).unwrap().1)["annotations"]["who"].clone()
    };
    assert_eq!([who(0), who(1)], [json!("arm"), Value::Null]);
    imagetools(&name, &bytes);
    let meta = parse(&fs::read(meta).unwrap());
    let digest = galley_oci::Digest::sha256(&bytes).to_string();
    assert_eq!(meta["containerimage.digest"], digest.as_str());
    assert_eq!(meta["containerimage.descriptor"]["mediaType"], kind.as_str());
    assert!(meta.get("containerimage.config.digest").is_none());
    assert_eq!(fs::read_to_string(iid).unwrap(), digest);
    there.galley(&["pull", "--platform", "linux/arm64", &name]);
    assert_eq!(app(&there, &name, "linux/arm64"), "program for linux/arm64: hello");
    // A base is taken for the platform of its stage, and not what was pulled for another.
    there.dockerfile(&format!("FROM {name}\nCOPY Dockerfile /d\n"));
    let files = there.files(&["--platform", "linux/amd64", "."]);
    assert_eq!(content(&files["app"]), "program for linux/amd64: hello");
}

/// buildx reads the index as it is, where it is installed.
fn imagetools(name: &str, index: &[u8]) {
    let inspect = |arguments: &[&str]| {
        let output = Command::new("docker-buildx").args(["imagetools", "inspect"]).args(arguments).output();
        output.ok().map(|output| succeeded(output).stdout)
    };
    let Some(raw) = inspect(&["--raw", name]) else { return };
    assert_eq!(raw, index);
    let shown = inspect(&[name]).unwrap();
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("linux/arm64") && shown.contains("linux/amd64"), "{shown}");
}

#[test]
fn a_cache_has_the_steps_of_all_platforms() {
    let (Some(here), Some(there)) = (cross(), cross()) else { return };
    let registry = Registry::start();
    let (name, several) = (format!("{}/team/app", registry.host()), "--platform=linux/arm64,linux/amd64");
    let caches = [format!("type=registry,ref={name}:cache,mode=max"), "type=inline".to_owned()];
    here.build(&[several, "-t", &name, "--push", "--cache-to", &caches[0], "--cache-to", &caches[1], "."]);
    for from in ["cache", "latest"] {
        let store = there.path(from);
        let mut command = there.build_command(&[several, "--cache-from", &format!("{name}:{from}"), "."]);
        let output = succeeded(command.env("GALLEY_ROOT", store).output().unwrap());
        assert_eq!(super::counts(&output).executed, 0, "{}", text(&output));
    }
}

#[test]
fn what_was_built_for_several_is_pushed_later() {
    let Some(kitchen) = cross() else { return };
    let registry = Registry::start();
    let name = format!("{}/team/app:1", registry.host());
    kitchen.build(&["--platform=linux/arm64,linux/amd64", "-t", &name, "."]);
    let said = kitchen.galley(&["push", &name]);
    let (_, bytes) = registry.manifest("team/app", "1").unwrap();
    assert_eq!(platforms(&parse(&bytes)), ["linux/arm64", "linux/amd64"]);
    let digest = galley_oci::Digest::sha256(&bytes);
    assert!(said.contains(&format!("1: digest: {digest} size: {}", bytes.len())), "{said}");
    kitchen.galley(&["push", "--platform", "linux/amd64", &name]);
    let (kind, _) = registry.manifest("team/app", "1").unwrap();
    assert_eq!(kind, "application/vnd.oci.image.manifest.v1+json");
}

#[test]
fn files_of_several_platforms_have_folders() {
    let Some(kitchen) = cross() else { return };
    let several = "--platform=linux/amd64,linux/arm64";
    let files = kitchen.files(&[several, "."]);
    let names: Vec<&str> = files.keys().map(|name| name.trim_end_matches('/')).collect();
    assert_eq!(names, ["linux_amd64", "linux_amd64/app", "linux_arm64", "linux_arm64/app"]);
    assert_eq!(content(&files["linux_arm64/app"]), "program for linux/arm64: hello");
    let folder = kitchen.path("out");
    kitchen.build(&[several, "-o", folder.to_str().unwrap(), "."]);
    assert_eq!(fs::read_to_string(folder.join("linux_amd64/app")).unwrap(), "program for linux/amd64: hello");
    let single = kitchen.path("single");
    let split = format!("type=local,dest={},platform-split=true", single.display());
    kitchen.build(&["--platform=linux/arm64", "-o", &split, "."]);
    assert!(single.join("linux_arm64/app").exists());
    let flat = format!("type=local,dest={},platform-split=false", kitchen.path("flat").display());
    let (code, said) = kitchen.build_fails(&[several, "-o", &flat, "."]);
    assert_eq!(code, Some(125), "{said}");
    assert!(said.contains("app is there for linux/amd64 and for linux/arm64"), "{said}");
    let named = "FROM scratch\nARG TARGETARCH\nCOPY main /bin/app-$TARGETARCH\n";
    kitchen.dockerfile(named).build(&[several, "-o", &flat, "."]);
    assert!(kitchen.path("flat/bin/app-amd64").exists() && kitchen.path("flat/bin/app-arm64").exists());
}

#[test]
fn what_an_index_cannot_be_is_refused_before_anything_is_done() {
    let Some(kitchen) = cross() else { return };
    let archive = format!("type=docker,dest={}", kitchen.path("d.tar").display());
    let cases: [(&[&str], &str); 3] = [
        (
            &["--platform=linux/amd64,linux/arm64", "-o", &archive],
            "a docker archive holds an image for one platform",
        ),
        (&["--annotation", "index:a=b", "-o", "type=oci,dest=o.tar"], "index annotations need an index"),
        (&["--platform=linux/pdp-11/x/y"], "--platform linux/pdp-11/x/y is not a platform"),
    ];
    for (arguments, expected) in cases {
        let (code, said) = kitchen.build_fails(&[arguments, &["."]].concat());
        assert_eq!(code, Some(125), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn programs_of_other_machines_are_refused_with_advice() {
    let Some(kitchen) = Kitchen::new() else { return };
    let arm = arm64_base(&kitchen);
    kitchen.dockerfile("FROM arm\nCOPY Dockerfile /d\nWORKDIR /w\n");
    let base = ["--build-context", &arm, "--platform", "linux/pdp11"];
    assert_eq!(kitchen.build(&[&base[..], &["."]].concat()).executed, 2);
    kitchen.dockerfile("FROM arm\nRUN [\"/program\"]\n");
    let (code, said) = kitchen.build_fails(&[&base[..], &["."]].concat());
    assert_eq!(code, Some(3), "{said}");
    for expected in [
        "programs for linux/pdp11 do not run on this machine",
        "Dockerfile:2",
        "qemu-user-static",
        "FROM --platform=$BUILDPLATFORM",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// What is run in a user namespace of its own: it waits for its ids, registers an emulator that nobody else sees, and goes
/// on with what it was given.
const REGISTER: &str = "echo; read -r _; exec sh -c '
    d=/proc/sys/fs/binfmt_misc
    mount -t binfmt_misc binfmt_misc $d && printf %s \"$0\" > $d/register || exit 77
    exec \"$@\"
' \"$@\"";

/// Builds with `bin/cp` registered for 64-bit ARM; none where that cannot be done.
fn emulated(kitchen: &Kitchen, flags: &str) -> Option<Output> {
    let arm = arm64_base(kitchen);
    let magic: String = arm64_program()[..20].iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let rule = format!(":fake:M::{magic}::{}:{flags}", kitchen.path("bin/cp").display());
    let build =
        kitchen.build_command(&["--build-context", &arm, "--platform", "linux/arm64", "-t", "copied", "."]);
    let mut unshare = kitchen.env.command("unshare");
    unshare.args(["--user", "--mount", "sh", "-c", REGISTER, "sh", &rule]);
    unshare.arg(build.get_program()).args(build.get_args());
    let mut child =
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut ready = [0];
    let mapped = stdout.read_exact(&mut ready).is_ok()
        && ["uid_map", "gid_map"]
            .iter()
            .all(|map| fs::write(format!("/proc/{}/{map}", child.id()), "0 0 65536").is_ok());
    if mapped {
        stdin.write_all(b"go\n").unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    if mapped && output.status.code() != Some(77) { Some(output) } else { None }
}

/// A kitchen with a program for 64-bit ARM, and an emulator that copies programs to their first argument.
fn emulation() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    fs::create_dir_all(kitchen.path("bin")).unwrap();
    fs::copy(galley_testkit::BUSYBOX, kitchen.path("bin/cp")).unwrap();
    kitchen.dockerfile("FROM arm\nRUN [\"/program\", \"/copied\"]\n");
    Some(kitchen)
}

#[test]
fn an_emulator_of_the_kernel_runs_them() {
    let (Some(kitchen), Some(other)) = (emulation(), emulation()) else { return };
    let Some(output) = emulated(&kitchen, "F") else {
        eprintln!("SKIPPED: needs root, and a binfmt_misc for each user namespace (Linux 6.7)");
        return;
    };
    succeeded(output);
    let files = kitchen.files(&[
        "--offline",
        "--build-context",
        &arm64_base(&kitchen),
        "--platform",
        "linux/arm64",
        ".",
    ]);
    assert_eq!(files["copied"].content, arm64_program());
    // Without the flag F the emulator has to be where the program is.
    let output = emulated(&other, "").unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("bin/cp, which is not in the files of this step"), "{said}");
}

#[test]
fn a_base_for_another_machine_is_offered_when_its_registry_is_silent() {
    let Some(kitchen) = Kitchen::new() else { return };
    let name = "127.0.0.1:1/base:1";
    kitchen.env.write("f", "f");
    kitchen.dockerfile("FROM scratch\nCOPY f /\n");
    kitchen.build(&["--platform", "linux/s390x", "-t", name, "."]);
    kitchen.dockerfile(&format!("FROM {name}\nCOPY f /g\n"));
    let (code, said) = kitchen.build_fails(&["--platform", "linux/riscv64", "."]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("the local store has it for linux/s390x alone; --offline takes that"), "{said}");
    kitchen.build(&["--offline", "--platform", "linux/riscv64", "."]);
}

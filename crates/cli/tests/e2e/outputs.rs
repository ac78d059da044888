//! What leaves the store, and who can read it.

use std::{path::Path, process::Stdio};

use fs_err as fs;
use serde_json::Value;

use super::{Kitchen, read_tar, succeeded};

fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile(
        "FROM busybox\nRUN mkdir /d && echo x > /d/f && ln /d/f /d/g && ln -s f /d/s && chown 5:6 /d && chmod 1777 /d\n\
         ENV A=b\nCMD [\"cat\", \"/d/f\"]\n",
    );
    Some(kitchen)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn one_build_writes_every_output() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.build(&[
        "-o",
        "type=oci,dest=oci.tar",
        "-o",
        "type=docker,dest=docker.tar",
        "-o",
        "type=tar,dest=files.tar",
        "-o",
        "type=local,dest=files",
        "-o",
        "type=oci,tar=false,dest=layout",
        "--iidfile",
        "id",
        "-o",
        "type=image",
        "--metadata-file",
        "metadata.json",
        "-t",
        "x/y:1",
        ".",
    ]);
    let work = kitchen.env.work();
    let oci = read_tar(&fs::read(work.join("oci.tar")).unwrap());
    let docker = read_tar(&fs::read(work.join("docker.tar")).unwrap());
    assert!(
        oci.contains_key("index.json")
            && oci.contains_key("oci-layout")
            && docker.contains_key("manifest.json")
    );
    let manifest: Value = serde_json::from_slice(&docker["manifest.json"].content).unwrap();
    assert_eq!(manifest[0]["RepoTags"][0], "x/y:1");
    let files = read_tar(&fs::read(work.join("files.tar")).unwrap());
    assert_eq!(
        (files["d"].mode, files["d"].owner, files["d/s"].link.as_deref()),
        (0o1777, (5, 6), Some("f"))
    );
    assert_eq!(files["d/g"].kind, 'h');
    assert_eq!(fs::read(work.join("files/d/f")).unwrap(), b"x\n");
    let metadata = json(&work.join("metadata.json"));
    let index: Value = serde_json::from_slice(&oci["index.json"].content).unwrap();
    assert_eq!(metadata["containerimage.digest"], index["manifests"][0]["digest"]);
    assert_eq!(
        json(&work.join("layout/index.json"))["manifests"][0]["digest"],
        index["manifests"][0]["digest"]
    );
    let id = fs::read_to_string(work.join("id")).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], id.as_str());
    assert_eq!(kitchen.galley(&["images", "-q", "--no-trunc", "x/y:1"]).trim(), id);
    // Only kept in the store, the image has no manifest yet: it is known by its id, as docker's own builder says.
    kitchen.build(&["-t", "x/y:2", "--metadata-file", "kept.json", "."]);
    assert_eq!(json(&work.join("kept.json"))["containerimage.digest"], id.as_str());
}

#[test]
fn standard_output_takes_an_archive() {
    let Some(kitchen) = kitchen() else { return };
    let output = succeeded(kitchen.build_command(&["-o", "type=tar,dest=-", "."]).output().unwrap());
    assert!(read_tar(&output.stdout).contains_key("d/f"));
    let output = succeeded(kitchen.build_command(&["-o", "-", "."]).output().unwrap());
    assert!(read_tar(&output.stdout).contains_key("d/f"));
}

#[test]
fn a_reader_that_hangs_up_keeps_nothing_else_from_being_done() {
    let Some(kitchen) = kitchen() else { return };
    let arguments = ["-o", "type=tar,dest=-", "--cache-to", "type=local,dest=cache", "."];
    let mut build =
        kitchen.build_command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(build.stdout.take());
    assert_eq!(build.wait().unwrap().code(), Some(0));
    assert!(kitchen.env.work().join("cache/index.json").exists());
}

#[test]
fn an_exported_layout_is_a_base() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.build(&["-o", "type=oci,tar=false,dest=layout", "."]);
    kitchen.dockerfile("FROM base\nRUN cat /d/f > /again\n");
    let context = format!("base=oci-layout://{}", kitchen.env.work().join("layout").display());
    let files = kitchen.files(&["--build-context", &context, "."]);
    assert_eq!((&files["again"].content[..], files["d"].owner), (&b"x\n"[..], (5, 6)));
}

#[test]
fn a_cache_only_build_leaves_no_image() {
    let Some(kitchen) = kitchen() else { return };
    assert!(kitchen.build(&["-o", "type=cacheonly", "."]).executed > 0);
    assert_eq!(kitchen.galley(&["images", "-q"]), "");
    assert_eq!(kitchen.build(&["-t", "x", "."]).executed, 0);
}

/// skopeo and umoci are installed by `make test`; each reads what galley wrote and finds the same files.
#[test]
fn other_tools_read_the_archives() {
    let Some(kitchen) = kitchen() else { return };
    for tool in ["skopeo", "umoci"] {
        if kitchen.env.command(tool).arg("--version").output().is_err() {
            eprintln!("SKIPPED: {tool} is not installed; `make test` installs it");
            return;
        }
    }
    kitchen.build(&[
        "-o",
        "type=oci,dest=oci.tar",
        "-o",
        "type=docker,dest=docker.tar",
        "-o",
        "type=tar,dest=files.tar",
        "-t",
        "x/y:1",
        ".",
    ]);
    let policy = ["--insecure-policy", "copy", "--quiet"];
    kitchen.env.run("skopeo", &[&policy[..], &["oci-archive:oci.tar", "oci:from-oci:1"]].concat());
    kitchen.env.run("skopeo", &[&policy[..], &["docker-archive:docker.tar", "oci:from-docker:1"]].concat());
    for layout in ["from-oci", "from-docker"] {
        let bundle = format!("bundle-{layout}");
        kitchen.env.run("umoci", &["unpack", "--rootless", "--image", &format!("{layout}:1"), &bundle]);
        let root = kitchen.env.work().join(&bundle).join("rootfs");
        for (path, file) in read_tar(&fs::read(kitchen.env.work().join("files.tar")).unwrap()) {
            let metadata = fs::symlink_metadata(root.join(&path)).unwrap();
            let is_link = file.kind == 'l';
            assert_eq!(metadata.is_symlink(), is_link, "{path}");
            if file.kind == 'f' {
                assert_eq!(fs::read(root.join(&path)).unwrap(), file.content, "{path}");
            }
        }
    }
}

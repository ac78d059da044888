//! `save`, `load`, `import`: images that travel as files.

use std::{
    io::Write,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Kitchen, read_tar, succeeded, text};

fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile(
        "FROM busybox AS one\nRUN mkdir /d && echo x > /d/f && chown 5:6 /d /d/f && chmod 4755 /d/f\nCMD [\"cat\", \"/d/f\"]\n\
         FROM one\nCOPY Dockerfile /new\n",
    );
    kitchen.build(&["--target", "one", "-t", "app:1", "-t", "app:2", "."]);
    kitchen.build(&["-t", "other", "."]);
    Some(kitchen)
}

impl Kitchen {
    /// The same program with another store.
    fn elsewhere(&self, arguments: &[&str]) -> Command {
        let store = self.path("elsewhere");
        self.command(&[&["--root", store.to_str().unwrap()], arguments].concat())
    }

    fn id(&self, image: &str) -> String {
        self.galley(&["inspect", "-f", "{{.Id}}", image]).trim().to_owned()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_is_saved_is_loaded_with_names_ids_and_files() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["save", "-o", "all.tar", "app", "other:latest"]);
    let archive = read_tar(&fs::read(kitchen.env.work().join("all.tar")).unwrap());
    let manifest: Value = serde_json::from_slice(&archive["manifest.json"].content).unwrap();
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["app:1", "app:2"]));
    assert_eq!(manifest[1]["RepoTags"], serde_json::json!(["other:latest"]));
    // Two layers of one image, one more of the other, two configs, two manifests: what they share is there once.
    assert_eq!(archive.keys().filter(|name| name.starts_with("blobs/sha256/")).count(), 3 + 2 + 2);
    let loaded = succeeded(kitchen.elsewhere(&["load", "-i", "all.tar"]).output().unwrap());
    assert_eq!(said(&loaded), "Loaded image: app:1\nLoaded image: app:2\nLoaded image: other:latest\n");
    let ids = succeeded(kitchen.elsewhere(&["inspect", "-f", "{{.Id}}", "app:2", "other"]).output().unwrap());
    assert_eq!(said(&ids), format!("{}\n{}\n", kitchen.id("app:1"), kitchen.id("other")));
    let ran = succeeded(kitchen.elsewhere(&["run", "--rm", "other"]).output().unwrap());
    assert_eq!(said(&ran), "x\n");
    let listed =
        kitchen.elsewhere(&["run", "--rm", "other", "stat", "-c", "%u:%g %a", "/d/f"]).output().unwrap();
    assert_eq!(said(&succeeded(listed)), "5:6 4755\n");
}

#[test]
fn an_image_without_a_name_is_loaded_by_its_id() {
    let Some(kitchen) = kitchen() else { return };
    let id = kitchen.id("other");
    let saved = succeeded(kitchen.command(&["image", "save", &id]).output().unwrap());
    let mut load = kitchen
        .elsewhere(&["image", "load", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    load.stdin.take().unwrap().write_all(&saved.stdout).unwrap();
    assert_eq!(said(&succeeded(load.wait_with_output().unwrap())), format!("Loaded image ID: {id}\n"));
}

#[test]
fn a_name_goes_over_to_the_image_that_is_loaded() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["save", "-o", "app.tar", "app:1"]);
    let (old, new) = (kitchen.id("other"), kitchen.id("app:1"));
    kitchen.galley(&["tag", "other", "app:1"]);
    let loaded = kitchen.galley(&["load", "-i", "app.tar"]);
    let taken =
        format!("The image app:1 already exists, renaming the old one with ID {old} to empty string\n");
    assert_eq!(loaded, taken + "Loaded image: app:1\n");
    assert_eq!(kitchen.id("app:1"), new);
}

#[test]
fn a_save_that_fails_leaves_the_old_file() {
    let Some(kitchen) = kitchen() else { return };
    let archive = kitchen.env.work().join("all.tar");
    fs::write(&archive, "old").unwrap();
    let files = || fs::read_dir(kitchen.env.work()).unwrap().count();
    let before = files();
    let failed = kitchen.command(&["save", "-o", "all.tar", "app:1", "nothing"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(5), "{}", text(&failed));
    assert_eq!((fs::read(&archive).unwrap(), files()), (b"old".to_vec(), before));
    let wrong = kitchen.command(&["save", "--platform", "linux/s390x", "app:1"]).output().unwrap();
    assert!(!wrong.status.success() && wrong.stdout.is_empty(), "{}", text(&wrong));
}

#[test]
fn files_become_an_image() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["create", "--name", "cc", "other"]);
    kitchen.galley(&["export", "-o", "files.tar", "cc"]);
    let changes = ["-c", "CMD [\"cat\", \"/d/f\"]", "-c", "ENV A=b", "-m", "brought"];
    let id = kitchen.galley(&[&["import"], &changes[..], &["files.tar", "flat:1"]].concat());
    assert_eq!(kitchen.id("flat:1"), id.trim());
    assert_eq!(kitchen.galley(&["run", "--rm", "flat:1"]), "x\n");
    assert_eq!(kitchen.galley(&["run", "--rm", "flat:1", "stat", "-c", "%u:%g %a", "/d/f"]), "5:6 4755\n");
    let inspected = kitchen.galley(&["inspect", "-f", "{{json .Config.Env}} {{.Comment}}", "flat:1"]);
    assert_eq!(inspected, "[\"A=b\"] brought\n");
    let refused = kitchen.command(&["import", "-c", "RUN true", "files.tar"]).output().unwrap();
    assert!(text(&refused).contains("RUN changes more than the config"), "{}", text(&refused));
    let address = kitchen.command(&["import", "http://example.com/files.tar"]).output().unwrap();
    assert!(text(&address).contains("import of http://example.com/files.tar is not supported yet"));
}

#[test]
fn what_is_no_archive_is_refused() {
    let Some(kitchen) = kitchen() else { return };
    let refused = kitchen.command(&["load", "-i", "Dockerfile"]).output().unwrap();
    assert!(text(&refused).contains("Dockerfile is no archive of images"), "{}", text(&refused));
    let missing = kitchen.command(&["load", "-i", "nowhere"]).output().unwrap();
    assert!(text(&missing).contains("cannot read the archive nowhere"), "{}", text(&missing));
    let empty = kitchen.command(&["load"]).stdin(Stdio::null()).output().unwrap();
    assert!(text(&empty).contains("it is empty"), "{}", text(&empty));
}

pub(super) fn ends(child: &mut Child) -> Option<i32> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(120) {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    None
}

#[test]
fn ctrl_c_ends_a_load_that_waits_and_leaves_nothing() {
    let Some(kitchen) = kitchen() else { return };
    let saved = succeeded(kitchen.command(&["save", "app:1"]).output().unwrap());
    let mut load = kitchen
        .elsewhere(&["load"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // More than a pipe holds: when it is written, the archive is being read.
    let mut pipe = load.stdin.take().unwrap();
    pipe.write_all(&saved.stdout[..saved.stdout.len() - 1024]).unwrap();
    kill_process(Pid::from_child(&load), Signal::INT).unwrap();
    assert_eq!(ends(&mut load), Some(130));
    assert_eq!(said(&succeeded(kitchen.elsewhere(&["images", "-q"]).output().unwrap())), "");
    assert_eq!(fs::read_dir(kitchen.path("elsewhere/tmp")).unwrap().count(), 0);
}

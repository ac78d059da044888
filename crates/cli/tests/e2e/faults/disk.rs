//! The disk is full: exit code 4, nothing half-visible, and the same command works once there is space.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use galley_testkit::registry::Auth;

use super::{super::Kitchen, *};

/// A small file system at a folder of the test, unmounted at its end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, said loudly, for those who may not mount.
    fn at(folder: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&folder).unwrap();
        let disk = Self(folder);
        if disk.mount(&format!("size={size},mode=0700")) {
            return Some(disk);
        }
        eprintln!("SKIPPED: a disk that gets full takes a mount, which this user may not do");
        None
    }

    fn grow(&self) {
        assert!(self.mount("remount,size=1g"));
    }

    fn mount(&self, options: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "galley-test"]).arg(&self.0);
        command.output().is_ok_and(|output| output.status.success())
    }

    fn fill(&self) {
        let filler = fs::File::create(self.0.join("filler")).unwrap();
        let mut filler = filler.into_file();
        let zeros = [0_u8; 1 << 16];
        while std::io::Write::write_all(&mut filler, &zeros).is_ok() {}
        while std::io::Write::write_all(&mut filler, b"0").is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The command says that the disk is full, and leaves nothing.
fn is_full(output: Output, disk: &SmallDisk) -> String {
    let (code, said) = failed(output);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    let place = disk.0.to_str().unwrap();
    assert!(said.contains(place), "where it is full is not said: {said}");
    said
}

#[test]
fn a_pull() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    put_app(&registry, 3, 2 << 20);
    for size in ["1m", "3m", "5m", "9m", "15m"] {
        let Some(disk) = SmallDisk::at(kitchen.env.store(), size) else { return };
        is_full(kitchen.command(&["pull", &app(&registry)]).output().unwrap(), &disk);
        nothing_is_visible(&kitchen, size);
        disk.grow();
        kitchen.galley(&["pull", &app(&registry)]);
        nothing_is_left(&kitchen);
    }
}

fn nothing_is_left(kitchen: &Kitchen) {
    assert_eq!(temporary(kitchen), BTreeSet::new());
}

#[test]
fn a_build_on_a_base_that_has_to_come() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    put_app(&registry, 3, 2 << 20);
    kitchen.dockerfile(&format!("FROM {}\nRUN cp /data0 /copy && echo a > /b\n", app(&registry)));
    // While layers come, and while the step writes.
    for size in ["5m", "15m"] {
        let Some(disk) = SmallDisk::at(kitchen.env.store(), size) else { return };
        is_full(kitchen.build_command(&["--progress=plain", "-t", "x", "."]).output().unwrap(), &disk);
        nothing_is_visible(&kitchen, size);
        disk.grow();
        kitchen.build(&["-t", "x", "."]);
        nothing_is_left(&kitchen);
    }
}

/// What would be refused at the 64th gigabyte.
#[test]
fn an_archive_of_megabytes_that_becomes_a_hundred_gigabytes() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.env.write("bomb", hostile::zstd_bomb(100, b'x'));
    let Some(disk) = SmallDisk::at(kitchen.env.store(), "20m") else { return };
    is_full(kitchen.command(&["import", "bomb", "bomb"]).output().unwrap(), &disk);
    nothing_is_visible(&kitchen, "a bomb");
}

#[test]
fn a_load() {
    let (Some(kitchen), Some(other)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = Registry::start();
    put_app(&registry, 3, 2 << 20);
    other.galley(&["pull", "-q", &app(&registry)]);
    let archive = kitchen.path("app.tar").display().to_string();
    other.galley(&["save", "-o", &archive, &app(&registry)]);
    for size in ["1m", "5m", "12m"] {
        let Some(disk) = SmallDisk::at(kitchen.env.store(), size) else { return };
        is_full(kitchen.command(&["load", "-i", &archive]).output().unwrap(), &disk);
        nothing_is_visible(&kitchen, size);
        disk.grow();
        kitchen.galley(&["load", "-i", &archive]);
        nothing_is_left(&kitchen);
    }
}

#[test]
fn a_push_that_compresses() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    let Some(disk) = SmallDisk::at(kitchen.env.store(), "100m") else { return };
    kitchen.env.write("data", noise(1, 4 << 20));
    kitchen.dockerfile("FROM busybox\nCOPY data /data\nRUN cp /data /copy\n");
    kitchen.build(&["-t", &app(&registry), "."]);
    disk.fill();
    is_full(kitchen.command(&["push", &app(&registry)]).output().unwrap(), &disk);
    nothing_is_left(&kitchen);
    assert_eq!(registry.tags("team/app"), Vec::<String>::new());
    fs::remove_file(kitchen.env.store().join("filler")).unwrap();
    kitchen.galley(&["push", &app(&registry)]);
    nothing_is_left(&kitchen);
}

#[test]
fn a_save_and_a_layout() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    put_app(&registry, 1, 2 << 20);
    kitchen.galley(&["pull", "-q", &app(&registry)]);
    let Some(disk) = SmallDisk::at(kitchen.path("out"), "1m") else { return };
    let archive = disk.0.join("a.tar").display().to_string();
    is_full(kitchen.command(&["save", "-o", &archive, &app(&registry)]).output().unwrap(), &disk);
    assert_eq!(fs::read_dir(&disk.0).unwrap().count(), 0);
    kitchen.dockerfile(&format!("FROM {}\n", app(&registry)));
    for output in ["type=oci,dest=", "type=oci,tar=false,dest=", "type=local,dest=", "type=docker,dest="] {
        let place = disk.0.join("o");
        let output = format!("{output}{}", place.display());
        is_full(kitchen.build_command(&["--progress=plain", "-o", &output, "."]).output().unwrap(), &disk);
        // A folder may hold what was written so far, but no layout without an index counts as one.
        assert!(!place.join("index.json").exists() && !place.is_file(), "{output}");
        let _ = fs::remove_dir_all(place);
    }
    kitchen.dockerfile(&format!("FROM {}\nRUN cp /data0 /copy\n", app(&registry)));
    let cache = disk.0.join("cache");
    let to = format!("type=local,dest={}", cache.display());
    let build = ["--progress=plain", "--cache-to", &to, "-o", "type=cacheonly", "."];
    is_full(kitchen.build_command(&build).output().unwrap(), &disk);
    assert!(!cache.join("index.json").exists());
    disk.grow();
    kitchen.build(&build[1..]);
    kitchen.galley(&["save", "-o", &archive, &app(&registry)]);
}

#[test]
fn a_login() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::builder().auth(Auth::basic()).start();
    let host = registry.host();
    let Some(disk) = SmallDisk::at(kitchen.path("home/.docker"), "64k") else { return };
    let file = disk.0.join("config.json");
    let before = "{\"auths\":{\"example.com\":{\"auth\":\"YTpi\"}}}";
    fs::write(&file, before).unwrap();
    disk.fill();
    let log_in =
        || kitchen.command(&["login", "-u", "robot", "-p", "s3cret-password", &host]).output().unwrap();
    let said = is_full(log_in(), &disk);
    assert!(!said.contains("s3cret-password"));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    assert_eq!(fs::read_dir(&disk.0).unwrap().count(), 2);
    fs::remove_file(disk.0.join("filler")).unwrap();
    succeeded(log_in());
    let after = fs::read_to_string(&file).unwrap();
    assert!(after.contains("example.com") && after.contains(&host));
}

/// Who cleans up needs a little room for that, and a store that was never collected some for its version.
#[test]
fn a_prune() {
    let Some(kitchen) = Kitchen::new() else { return };
    let Some(disk) = SmallDisk::at(kitchen.env.store(), "100m") else { return };
    kitchen.dockerfile("FROM busybox\nCOPY Dockerfile /\nRUN echo made > /by-a-step\n");
    let old = [("GALLEY_PACKED", "0"), ("GALLEY_STORE_LIMIT", "none")];
    succeeded(kitchen.build_command(&["-q", "."]).envs(old).output().unwrap());
    disk.fill();
    succeeded(kitchen.command(&["builder", "prune", "-af"]).envs(old).output().unwrap());
    fs::remove_file(kitchen.env.store().join("filler")).unwrap();
    kitchen.galley(&["system", "check"]);
    nothing_is_left(&kitchen);
}

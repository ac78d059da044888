//! `--cgroup-parent`.
//!
//! The tests stay below the cgroup that they were started in, because somebody may count or limit them there; galley
//! does not see the hierarchies where its path is another one.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use fs_err as fs;

use super::{
    Kitchen, counts,
    crash::{own_sleep, wait_for},
    succeeded, text,
};

/// Where the steps of a test go.
struct Place {
    /// As given to `--cgroup-parent`.
    parent: String,
    /// The same in each hierarchy that galley sees.
    dirs: Vec<PathBuf>,
    /// Mount points of the others.
    hidden: Vec<String>,
}

impl Place {
    /// `None`, said loudly, where cgroups cannot be made.
    fn new(name: &str) -> Option<Self> {
        let own = membership("self");
        let base = own.iter().find(|(controllers, _)| controllers.is_empty()).map_or("/", |(_, path)| path);
        let parent = format!("{}/galley-test-{name}-{}", base.trim_end_matches('/'), std::process::id());
        let (mut dirs, mut hidden) = (Vec::new(), Vec::new());
        for (controllers, point) in mounted(&own) {
            match own.iter().any(|(known, path)| *known == controllers && path == base) {
                true => dirs.push(PathBuf::from(format!("{point}{parent}"))),
                false => hidden.push(point),
            }
        }
        let made = dirs.iter().all(|dir| fs::create_dir(dir).is_ok());
        let place = Self { parent, dirs, hidden };
        if !made || place.dirs.is_empty() || !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: there is no hierarchy of cgroups in which this test can make one");
            return None;
        }
        Some(place)
    }

    /// A build whose steps are placed here.
    fn build(&self, kitchen: &Kitchen) -> Command {
        let build = kitchen.build_command(&["--cgroup-parent", &self.parent, "-t", "x", "."]);
        let hide: String = self.hidden.iter().map(|point| format!("umount -l {point} && ")).collect();
        let mut command = kitchen.env.command("unshare");
        command.args(["--mount", "sh", "-c", &format!("{hide} exec \"$@\""), "sh"]);
        command.arg(build.get_program()).args(build.get_args());
        command
    }

    /// The cgroups of steps.
    fn steps(&self) -> Vec<PathBuf> {
        let entries = self.dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap().flatten());
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for dir in &self.dirs {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// Controllers and path in each hierarchy, as `/proc/PID/cgroup` has them.
fn membership(pid: &str) -> Vec<(String, String)> {
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let fields = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some((controllers.to_owned(), path.to_owned()))
    };
    lines.lines().filter_map(fields).collect()
}

/// Controllers and mount point of each hierarchy.
fn mounted(own: &[(String, String)]) -> Vec<(String, String)> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let options: Vec<&str> = fields[3].split(',').collect();
        let of_mount =
            |known: &&String| !known.is_empty() && known.split(',').all(|one| options.contains(&one));
        match fields[2] {
            "cgroup2" => Some((String::new(), fields[1].to_owned())),
            "cgroup" => {
                let known = own.iter().map(|(controllers, _)| controllers).find(of_mount)?;
                Some((known.clone(), fields[1].to_owned()))
            }
            _ => None,
        }
    };
    mounts.lines().filter_map(row).collect()
}

#[test]
fn a_step_sees_its_own_cgroup_as_the_root_and_leaves_none() {
    let Some(kitchen) = Kitchen::new() else { return };
    let Some(place) = Place::new("root") else { return };
    // The step of a later build is known: where it ran is no part of the key.
    kitchen.dockerfile("FROM busybox\nRUN cat /proc/self/cgroup > /seen\n");
    assert_eq!(counts(&succeeded(place.build(&kitchen).output().unwrap())).executed, 1);
    assert_eq!(place.steps(), Vec::<PathBuf>::new());
    assert_eq!(kitchen.build(&["-t", "x", "."]).executed, 0);
    let seen = String::from_utf8(kitchen.files(&["."])["seen"].content.clone()).unwrap();
    let at_root = seen.lines().filter(|line| line.ends_with(":/")).count();
    assert!(at_root >= place.dirs.len(), "{seen}");
}

#[test]
fn a_step_is_in_its_cgroup_and_ctrl_c_removes_it() {
    let Some(kitchen) = Kitchen::new() else { return };
    let Some(place) = Place::new("interrupt") else { return };
    let (sleep, seen) = own_sleep(3);
    kitchen.dockerfile(&format!("FROM busybox\nRUN {sleep} & {sleep}; true\n"));
    let child = place.build(&kitchen).stderr(Stdio::piped()).spawn().unwrap();
    let sleepers = || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter(|entry| {
            fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(seen.as_bytes()))
        });
        pids.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    wait_for("the step", || sleepers().len() == 2);
    let below = format!("{}/galley-", place.parent);
    for pid in sleepers() {
        let placed = membership(&pid).iter().filter(|(_, path)| path.starts_with(&below)).count();
        assert_eq!(placed, place.dirs.len(), "{:?}", membership(&pid));
    }
    assert_eq!(place.steps().len(), place.dirs.len());
    kitchen.env.run("kill", &["-INT", &child.id().to_string()]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert_eq!(place.steps(), Vec::<PathBuf>::new());
}

#[test]
fn where_no_cgroup_can_be_made_the_machine_is_to_blame() {
    let Some(kitchen) = Kitchen::new() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can hide cgroups from a build");
        return;
    }
    kitchen.dockerfile("FROM busybox\nRUN echo done > /done\n");
    let all = mounted(&membership("self")).into_iter().map(|(_, point)| point).collect();
    let place = Place { parent: "/galley-test".into(), dirs: Vec::new(), hidden: all };
    let output = place.build(&kitchen).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("find cgroups that can be written to"), "{}", text(&output));
}

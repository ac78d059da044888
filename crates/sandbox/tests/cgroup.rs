//! Sandboxes in cgroups of their own.
//!
//! Whoever put the tests into a cgroup, to count or to limit them, keeps them: the parents are below the cgroup that
//! they were started in. Where hierarchies do not agree about its path, they run in a copy of this program that no
//! longer sees those that differ.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use galley_sandbox::{CgroupParent, Error, Exit, Handles, SetupStep, Spawner};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, mount_remount, unmount};

use crate::fixture::{Kitchen, await_gone, descendants};

crate::tests![
    privileged_a_step_is_in_a_cgroup_of_its_own,
    privileged_a_cgroup_does_not_outlive_a_killed_step,
    privileged_a_cgroup_does_not_outlive_galley,
    privileged_what_a_failure_made_is_removed,
    privileged_an_ordinary_user_is_told,
    privileged_without_writable_cgroups_nothing_starts,
];

/// Set for the copy of this program that sees fewer hierarchies: what it is to do.
const ROLE: &str = "GALLEY_TEST_CGROUP";
/// Set for it too: the name of the parent.
const PARENT: &str = "GALLEY_TEST_CGROUP_PARENT";

/// The copy's own main.
pub(crate) fn enter() -> Option<ExitCode> {
    let role = std::env::var(ROLE).ok()?;
    let parent = format!("{}{}", base().trim_start_matches('/'), std::env::var(PARENT).unwrap());
    if !hide_hierarchies() || roots().is_empty() {
        println!("SKIPPED: there is no hierarchy of cgroups that can be written to");
        return Some(ExitCode::SUCCESS);
    }
    match role.as_str() {
        "step" => step(&parent),
        "kill" => kill(&parent),
        "victim" => victim(&parent),
        "failure" => failure(&parent),
        _ => readonly(&parent),
    }
    Some(ExitCode::SUCCESS)
}

/// What `/proc/PID/cgroup` says: of each hierarchy its controllers and the path.
fn membership(pid: &str) -> Vec<(String, String)> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let fields = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some((controllers.to_owned(), path.to_owned()))
    };
    text.lines().filter_map(fields).collect()
}

/// Where cgroups are mounted, with the controllers as in [`membership`].
fn mounted() -> Vec<(String, PathBuf)> {
    let text = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let row = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = PathBuf::from(mount.split(' ').nth(4)?);
        let (kind, options) = (file_system.split(' ').next()?, file_system.split(' ').nth(2)?);
        let controllers = || {
            let known = membership("self").into_iter().map(|(controllers, _)| controllers);
            let of_mount: Vec<&str> = options.split(',').collect();
            known
                .filter(|known| !known.is_empty())
                .find(|known| known.split(',').all(|one| of_mount.contains(&one)))
        };
        match kind {
            "cgroup2" => Some((String::new(), point)),
            "cgroup" => Some((controllers()?, point)),
            _ => None,
        }
    };
    text.lines().filter_map(row).collect()
}

/// The cgroup of the tests, with a slash at the end.
fn base() -> String {
    let own = membership("self").into_iter().find(|(controllers, _)| controllers.is_empty());
    let path = own.map_or(String::new(), |(_, path)| path);
    format!("{}/", path.trim_end_matches('/'))
}

fn is_base(path: &str) -> bool {
    format!("{}/", path.trim_end_matches('/')) == base()
}

/// Unmounts, for this process alone, every hierarchy where it is somewhere else. In a user namespace that is not
/// allowed.
fn hide_hierarchies() -> bool {
    // SAFETY: no other thread, and no descriptor depends on the mount namespace.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    let own = membership("self");
    let differs = |controllers: &str| own.iter().any(|(known, path)| *known == controllers && !is_base(path));
    let mut others = mounted().into_iter().filter(|(controllers, _)| differs(controllers));
    !in_user_namespace() && others.all(|(_, point)| unmount(&point, UnmountFlags::DETACH).is_ok())
}

fn in_user_namespace() -> bool {
    let map = fs_err::read_to_string("/proc/self/uid_map").unwrap();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The hierarchies that are left and can be written to.
fn roots() -> Vec<(String, PathBuf)> {
    let writable = |point: &Path| {
        let flags = rustix::fs::statvfs(point).unwrap().f_flag;
        !flags.contains(rustix::fs::StatVfsMountFlags::RDONLY)
    };
    mounted().into_iter().filter(|(_, point)| writable(point)).collect()
}

/// A parent that nobody else uses, removed in the end with the hope that nothing is in it.
struct Parent(String);

impl Parent {
    fn new() -> Self {
        let mut bytes = [0; 4];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
        Self(format!("galley-test-{:08x}", u32::from_ne_bytes(bytes)))
    }

    /// The copy of this program in a role.
    fn command(&self, role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, role).env(PARENT, &self.0);
        command
    }

    fn run(&self, role: &str) {
        assert!(self.command(role).status().unwrap().success(), "{role}");
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let dirs =
            mounted().into_iter().map(|(_, point)| point.join(base().trim_start_matches('/')).join(&self.0));
        dirs.filter(|dir| dir.exists()).collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for dir in self.dirs() {
            let _ = fs_err::remove_dir(dir.join("inner"));
            let _ = fs_err::remove_dir(dir);
        }
    }
}

fn below(parent: &str) -> Vec<PathBuf> {
    let dirs = roots().into_iter().map(|(_, point)| point.join(parent)).filter(|dir| dir.exists());
    let entries = dirs.flat_map(|dir| fs_err::read_dir(dir).unwrap()).map(Result::unwrap);
    entries.filter(|entry| entry.file_type().unwrap().is_dir()).map(|entry| entry.path()).collect()
}

fn placed(kitchen: &Kitchen, parent: &str, script: &str) -> galley_sandbox::Spec {
    let mut spec = kitchen.shell(script);
    spec.cgroup_parent = Some(CgroupParent::new(Path::new(parent)).unwrap());
    spec
}

/// A sandbox that is known to run, because it said so; it ends with its standard input.
fn start(
    spawner: &Spawner,
    spec: &galley_sandbox::Spec,
) -> (galley_sandbox::Child, std::io::PipeWriter, String) {
    use std::os::fd::AsFd as _;
    let (input, writer) = std::io::pipe().unwrap();
    let (reader, output) = std::io::pipe().unwrap();
    let handles = Handles { stdin: Some(input.as_fd()), stdout: Some(output.as_fd()), ..Handles::default() };
    let child = spawner.spawn(spec, handles).unwrap();
    drop(output);
    let lines = BufReader::new(reader).lines().map(Result::unwrap);
    let said: Vec<String> = lines.take_while(|line| line != "ready").collect();
    (child, writer, said.join("\n"))
}

const LOOK: &str = "cat /proc/self/cgroup; echo ready; cat";

fn step(parent: &str) {
    let (kitchen, other) = (Kitchen::new(), Kitchen::new());
    let spawner = Spawner::start().unwrap();
    // Two at once, one parent; the second form of the same path.
    let (child, input, seen) = start(&spawner, &placed(&kitchen, &format!("/{parent}/inner"), LOOK));
    let (second, second_input, _) = start(&spawner, &placed(&other, &format!("{parent}/inner"), LOOK));
    let host = membership(&child.id().unwrap().to_string());
    let own = membership("self");
    for (controllers, _) in roots() {
        let path = &host.iter().find(|(known, _)| *known == controllers).unwrap().1;
        assert!(path.starts_with(&format!("/{parent}/inner/galley-")), "{controllers}: {path}");
        let hidden = seen.lines().any(|line| line.ends_with(&format!(":{controllers}:/")));
        assert!(hidden, "{controllers:?} is not / for the step: {seen}");
    }
    for (controllers, path) in own.iter().filter(|(_, path)| !is_base(path)) {
        assert!(host.contains(&(controllers.clone(), path.clone())), "{controllers} was left");
    }
    assert_ne!(membership(&second.id().unwrap().to_string()), host);
    drop((input, second_input));
    assert_eq!(child.wait().unwrap().exit, Exit::Code(0));
    second.wait().unwrap();
    assert_eq!(below(&format!("{parent}/inner")), Vec::<PathBuf>::new());
    assert_eq!(below(parent).len(), roots().len(), "the parent stays, as whoever gave it limits wants");
}

fn kill(parent: &str) {
    let kitchen = Kitchen::new();
    let spawner = Spawner::start().unwrap();
    let script = "setsid sleep 86391 & setsid sleep 86391 & echo ready; cat";
    let (child, _input, _) = start(&spawner, &placed(&kitchen, parent, script));
    let leaves = below(parent);
    assert_eq!(leaves.len(), roots().len());
    for leaf in &leaves {
        let processes = fs_err::read_to_string(leaf.join("cgroup.procs")).unwrap();
        assert!(processes.lines().count() >= 3, "the whole tree is in {}: {processes}", leaf.display());
        // As an insecure step may.
        fs_err::create_dir(leaf.join("made-by-the-step")).unwrap();
    }
    child.kill_tree().unwrap();
    assert_eq!(below(parent), Vec::<PathBuf>::new());
}

fn victim(parent: &str) {
    let kitchen = Kitchen::new();
    let spawner = Spawner::start().unwrap();
    let (child, _input, _) =
        start(&spawner, &placed(&kitchen, parent, "setsid sleep 86390 & echo ready; cat"));
    assert_eq!(below(parent).len(), roots().len());
    println!("ready");
    child.wait().unwrap();
}

fn failure(parent: &str) {
    let kitchen = Kitchen::new();
    let spawner = Spawner::start().unwrap();
    // The kernel wants none of these names, but the one above has been made by then.
    let spec = placed(&kitchen, &format!("{parent}/two\nlines"), "true");
    let Error::Setup(error) = spawner.spawn(&spec, Handles::default()).unwrap_err() else { panic!() };
    assert_eq!((error.step, error.errno), (SetupStep::MakeCgroup, rustix::io::Errno::INVAL.raw_os_error()));
    assert!(roots().iter().all(|(_, point)| !point.join(parent).exists()), "a parent was made for nothing");
    // The sandbox fails after it is in its cgroup.
    let mut spec = placed(&kitchen, parent, "true");
    spec.cwd = "/missing".into();
    spawner.spawn(&spec, Handles::default()).unwrap_err();
    drop(spawner);
    assert_eq!(below(parent), Vec::<PathBuf>::new());
}

fn readonly(parent: &str) {
    for (_, point) in mounted() {
        let flags = rustix::mount::MountFlags::RDONLY | rustix::mount::MountFlags::BIND;
        mount_remount(&point, flags, c"").unwrap();
    }
    let kitchen = Kitchen::new();
    let spawner = Spawner::start().unwrap();
    let error = spawner.spawn(&placed(&kitchen, parent, "true"), Handles::default()).unwrap_err();
    let text = "cannot set up the sandbox: find cgroups that can be written to in /sys/fs/cgroup: Read-only file system";
    assert!(error.to_string().starts_with(text), "{error}");
    assert!(error.help().unwrap().contains("mounted"), "{:?}", error.help());
}

fn privileged_a_step_is_in_a_cgroup_of_its_own() {
    Parent::new().run("step");
}

fn privileged_a_cgroup_does_not_outlive_a_killed_step() {
    Parent::new().run("kill");
}

fn privileged_what_a_failure_made_is_removed() {
    Parent::new().run("failure");
}

fn privileged_without_writable_cgroups_nothing_starts() {
    let parent = Parent::new();
    parent.run("readonly");
    assert_eq!(parent.dirs(), Vec::<PathBuf>::new());
}

fn privileged_a_cgroup_does_not_outlive_galley() {
    let parent = Parent::new();
    let mut victim: Child = parent.command("victim").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(victim.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.starts_with("SKIPPED") {
        print!("{line}");
        victim.wait().unwrap();
        return;
    }
    assert_eq!(line, "ready\n");
    let family = descendants(victim.id());
    victim.kill().unwrap();
    victim.wait().unwrap();
    await_gone(&family);
    for dir in parent.dirs() {
        let left: Vec<_> = fs_err::read_dir(&dir).unwrap().filter_map(Result::ok).collect();
        assert!(left.iter().all(|entry| entry.file_type().unwrap().is_file()), "{left:?}");
    }
}

/// One of the tests that are run again as an ordinary user, who is root of a user namespace.
fn privileged_an_ordinary_user_is_told() {
    let may_write = |(_, point): (String, PathBuf)| {
        let dir = point.join(base().trim_start_matches('/'));
        rustix::fs::access(&dir, rustix::fs::Access::WRITE_OK).is_ok()
    };
    if !in_user_namespace() || mounted().into_iter().any(may_write) {
        println!("SKIPPED: this user may make cgroups");
        return;
    }
    let parent = Parent::new();
    let kitchen = Kitchen::new();
    let spec = placed(&kitchen, &parent.0, "true");
    let error = Spawner::start().unwrap().spawn(&spec, Handles::default()).unwrap_err();
    let Error::Setup(setup) = &error else { panic!("{error}") };
    assert!(matches!(setup.step, SetupStep::MakeCgroup | SetupStep::FindCgroups), "{error}");
    assert!(error.help().is_some(), "{error}");
}

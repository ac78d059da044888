//! What a container that runs for long needs: limits, a first process, and others that join it.

use std::io::Read;
use std::os::fd::AsFd;

use galley_sandbox::{
    Capabilities, CgroupPlan, Error, Exit, FormerLimits, Handles, Limits, Network, SetupStep, TtySize, User,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Kitchen, await_descendant, await_gone, output, run, spawner, start};

crate::tests![
    privileged_memory_is_limited,
    privileged_processes_are_limited,
    privileged_limits_come_while_it_runs,
    privileged_a_value_that_the_kernel_refuses_is_named,
    privileged_a_first_process_reaps_and_passes_signals_on,
    privileged_a_first_process_says_why_it_cannot_start,
    privileged_another_process_joins,
    privileged_who_joins_ends_with_the_sandbox,
    privileged_who_joins_has_a_terminal,
    privileged_an_idle_sandbox_shows_its_files,
];

/// `None`, said loudly, where this machine has no such limits.
fn plan(limits: &Limits) -> Option<CgroupPlan> {
    let plan = CgroupPlan::make(limits, None);
    if let Err(refusal) = &plan {
        println!("SKIPPED: {refusal}");
    }
    plan.ok()
}

fn privileged_memory_is_limited() {
    let kitchen = Kitchen::new();
    let Some(plan) = plan(&Limits { memory: Some(16 << 20), ..Limits::default() }) else { return };
    let mut spec = kitchen.shell("head -c 100000000 /dev/zero > /dev/shm/x");
    spec.shm_size = 1 << 30;
    spec.cgroup = Some(plan.clone());
    let (outcome, text) = run(&spec);
    assert!(!outcome.exit.success() && outcome.oom_killed, "{outcome:?}: {text}");
    spec.args = vec!["true".into()];
    let (outcome, text) = run(&spec);
    assert!(outcome.exit.success() && !outcome.oom_killed, "{outcome:?}: {text}");
    assert_ne!(plan.directories().count(), 0);
    assert!(plan.directories().all(|dir| !dir.exists()), "{plan:?}");
}

fn privileged_processes_are_limited() {
    let kitchen = Kitchen::new();
    let Some(plan) = plan(&Limits { pids: Some(3), ..Limits::default() }) else { return };
    let mut spec = kitchen.shell("sleep 9 & sleep 9 & sleep 9 & sleep 9 & echo all");
    spec.cgroup = Some(plan);
    let (outcome, text) = run(&spec);
    assert!(!outcome.exit.success() && text.contains("fork"), "{outcome:?}: {text}");
}

fn privileged_limits_come_while_it_runs() {
    let kitchen = Kitchen::new();
    let limits = Limits { pids: Some(4), ..Limits::default() };
    let Some(plan) = plan(&limits) else { return };
    // One of them forks without an end while it is moved, until it may no longer.
    let spec = kitchen.shell("(while true; do (true) & true; done) 2>/dev/null & echo on; exec sleep 60");
    let (host, mut reader) = start(&spec).unwrap();
    reader.read_exact(&mut [0; 3]).unwrap();
    spawner().place(&host, &plan).unwrap();
    let former = FormerLimits::of(&plan, &plan, &limits, host.id().unwrap());
    plan.gather(host.id().unwrap()).unwrap();
    let dir = plan.directories().next().unwrap();
    let count =
        |dir: &std::path::Path| fs_err::read_to_string(dir.join("cgroup.procs")).unwrap().lines().count();
    assert_ne!(count(dir), 0);
    let mut other = kitchen.shell("sleep 9 & sleep 9 & sleep 9 & sleep 9 & sleep 9 & echo all");
    other.mounts.clear();
    let refused = match spawner().join(&host, &other, Handles::default()) {
        Ok(joined) => !joined.wait().unwrap().exit.success(),
        Err(_) => true,
    };
    assert!(refused, "who joins is limited too");
    // What it has by now needs nothing more; another controller does, or its file in the cgroup that is there.
    assert_eq!(plan.lacking(&limits, None).unwrap().directories().count(), 0);
    // Taken away again, nobody is limited.
    former.restore();
    spawner().displace(&host, &plan).unwrap();
    assert!(!dir.exists());
    assert_eq!(
        spawner().join(&host, &other, Handles::default()).unwrap().wait().unwrap().exit,
        Exit::Code(0)
    );
    host.kill_tree().unwrap();
    assert!(
        matches!(spawner().place(&host, &plan), Err(Error::Setup(error)) if error.step == SetupStep::JoinSandbox)
    );
}

fn privileged_a_value_that_the_kernel_refuses_is_named() {
    let kitchen = Kitchen::new();
    let limits = Limits { cpuset_cpus: Some("4000".into()), ..Limits::default() };
    let Some(plan) = plan(&limits) else { return };
    let mut spec = kitchen.shell("true");
    spec.cgroup = Some(plan);
    match start(&spec) {
        Err(Error::Setup(error)) => {
            assert_eq!(error.step, SetupStep::LimitCgroup);
            assert!(error.to_string().contains("cpuset.cpus=4000"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

fn privileged_a_first_process_reaps_and_passes_signals_on() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.shell("echo $$; exit 7");
    spec.init = true;
    let (outcome, text) = run(&spec);
    assert_eq!((outcome.exit, text.as_str()), (Exit::Code(7), "2\n"));
    // Without a handler: as first process it would not even notice.
    let mut spec = kitchen.shell("(sleep 1000 & true); echo on; exec sleep 60");
    spec.init = true;
    let (child, mut reader) = start(&spec).unwrap();
    reader.read_exact(&mut [0; 3]).unwrap();
    let orphan = await_descendant(child.id().unwrap(), "sleep\x001000\x00");
    kill_process(Pid::from_raw(orphan.0.cast_signed()).unwrap(), Signal::KILL).unwrap();
    // Nobody but the first process can have waited for it.
    await_gone(&[orphan]);
    child.signal(libc::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().exit, Exit::Code(128 + libc::SIGTERM));
    assert!(
        output(&{
            let mut spec = kitchen.shell("ls -l /proc/1/fd");
            spec.init = true;
            spec
        })
        .lines()
        .filter(|line| line.contains("->"))
        .count()
            <= 4
    );
}

fn privileged_a_first_process_says_why_it_cannot_start() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.spec(&["/nothing"]);
    spec.init = true;
    assert!(matches!(start(&spec), Err(Error::Exec(error)) if error.exit_code() == 127));
}

fn privileged_another_process_joins() {
    let kitchen = Kitchen::new();
    let spec = kitchen.shell("echo on; exec sleep 60");
    let (host, mut reader) = start(&spec).unwrap();
    reader.read_exact(&mut [0; 3]).unwrap();
    let (mut output, writer) = std::io::pipe().unwrap();
    let mut other = spec.clone();
    other.args = ["sh", "-c", "cat /proc/1/cmdline; hostname; id -u; touch /tmp/joined; echo $$ >&2; exit 5"]
        .map(Into::into)
        .to_vec();
    other.user = User { uid: 7, gid: 7, groups: vec![7] };
    other.capabilities = Capabilities::none();
    let handles = Handles { stdout: Some(writer.as_fd()), ..Handles::default() };
    let joined = spawner().join(&host, &other, handles).unwrap();
    drop(writer);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "sleep\x0060\0galley\n7\n");
    assert_eq!(joined.wait().unwrap().exit, Exit::Code(5));
    // Who a process is the kernel does not know on that rung, so permissions are root's.
    let refused = !galley_sandbox::userns::has_one_id();
    assert_eq!(!kitchen.path("upper/tmp/joined").exists(), refused, "/tmp is root's");
    other.args = vec!["nothing".into()];
    assert!(matches!(spawner().join(&host, &other, Handles::default()), Err(Error::Exec(_))));
    // Sandboxes that are made afterwards are in a pid namespace of their own again.
    assert_eq!(crate::fixture::output(&kitchen_of_its_own().shell("echo $$")), "1\n");
    host.signal(libc::SIGKILL).unwrap();
    host.wait().unwrap();
    assert!(matches!(
        spawner().join(&host, &spec, Handles::default()),
        Err(Error::Setup(error)) if error.step == SetupStep::JoinSandbox
    ));
}

fn kitchen_of_its_own() -> &'static Kitchen {
    static KITCHEN: std::sync::OnceLock<Kitchen> = std::sync::OnceLock::new();
    KITCHEN.get_or_init(Kitchen::new)
}

fn privileged_who_joins_ends_with_the_sandbox() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.spec(&["sleep", "60"]);
    spec.network = Network::None;
    let (host, _reader) = start(&spec).unwrap();
    let joined = spawner().join(&host, &spec, Handles::default()).unwrap();
    host.signal(libc::SIGKILL).unwrap();
    assert_eq!(host.wait().unwrap().exit, Exit::Signal(libc::SIGKILL));
    assert_eq!(joined.wait().unwrap().exit, Exit::Signal(libc::SIGKILL));
}

fn privileged_who_joins_has_a_terminal() {
    let kitchen = Kitchen::new();
    let (host, _reader) = start(&kitchen.spec(&["sleep", "60"])).unwrap();
    let mut spec = kitchen.shell("tty; stty size");
    spec.tty = Some(TtySize { rows: 7, cols: 77 });
    let mut joined = spawner().join(&host, &spec, Handles::default()).unwrap();
    let pty = joined.take_pty().unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 256]);
    while let Ok(count @ 1..) = pty.read(&mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert_eq!(text, "/dev/pts/0\r\n7 77\r\n");
    assert_eq!(joined.wait().unwrap().exit, Exit::Code(0));
}

fn privileged_an_idle_sandbox_shows_its_files() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.shell("");
    (spec.args, spec.idle) = (Vec::new(), true);
    let (child, _) = start(&spec).unwrap();
    let pid = child.id().unwrap();
    let root = std::path::PathBuf::from(format!("/proc/{pid}/root"));
    assert!(root.join("bin").is_dir() && root.join("proc/1").exists());
    // Nothing of what galley gave it is open in it.
    assert_eq!(fs_err::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), 0);
    drop(child);
    assert!(!root.join("bin").exists());
}

//! The process of a sandbox: streams, codes, identity, signals, files.

use std::time::Duration;

use galley_sandbox::{
    Capabilities, Error, ExecCause, Exit, Handles, Mount, Resource, SetupStep, Source, Ulimit, User,
};

use crate::fixture::{Kitchen, output, run, spawner, start};

crate::tests![
    privileged_says_hello,
    privileged_codes_and_signals,
    privileged_exec_failures,
    privileged_setup_failures_name_the_step,
    privileged_identity,
    privileged_capabilities,
    privileged_setuid_programs_work,
    privileged_no_new_privileges,
    privileged_no_files_leak,
    privileged_program_cannot_be_overwritten,
    privileged_kill_tree,
    privileged_signals_reach_handlers,
    privileged_limits_and_environment,
    privileged_spawns_from_many_threads,
    privileged_seccomp_is_on,
    privileged_insecure,
    privileged_limits_are_refused_by_name,
    privileged_is_pid_one_of_its_own_session,
];

fn privileged_says_hello() {
    assert_eq!(output(&Kitchen::new().shell("echo hello")), "hello\n");
}

fn privileged_codes_and_signals() {
    let kitchen = Kitchen::new();
    assert_eq!(run(&kitchen.shell("exit 42")).0.exit, Exit::Code(42));
    let (child, _reader) = start(&kitchen.spec(&["sleep", "60"])).unwrap();
    assert!(child.id().unwrap() > 1);
    assert_eq!(child.wait_timeout(Duration::from_millis(20)).unwrap(), None);
    child.signal(libc::SIGKILL).unwrap();
    assert_eq!(child.wait().unwrap().exit, Exit::Signal(libc::SIGKILL));
    assert_eq!(child.wait().unwrap().exit.code(), 137, "asking again gives the same");
    assert!(child.id().is_none());
    child.signal(libc::SIGTERM).unwrap();
}

fn exec_error(spec: &galley_sandbox::Spec) -> (ExecCause, i32, String) {
    match start(spec) {
        Err(Error::Exec(error)) => (error.cause, error.exit_code(), error.to_string()),
        other => panic!("{other:?}"),
    }
}

fn privileged_exec_failures() {
    let kitchen = Kitchen::new();
    fs_err::write(kitchen.path("base/text"), "no program").unwrap();
    fs_err::write(kitchen.path("base/script"), "#!/bin/nothing\n").unwrap();
    fs_err::write(kitchen.path("base/garbage"), "garbage").unwrap();
    fs_err::write(kitchen.path("base/dynamic"), dynamic_program(None)).unwrap();
    fs_err::write(kitchen.path("base/foreign"), dynamic_program(Some(22))).unwrap();
    fs_err::write(kitchen.path("base/chain"), "#!/dynamic\n").unwrap();
    for name in ["script", "garbage", "dynamic", "foreign", "chain"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(kitchen.path("base").join(name), mode).unwrap();
    }
    let exec = |program| exec_error(&kitchen.spec(&[program]));
    assert_eq!(
        exec("nothing"),
        (ExecCause::NotFound, 127, "exec nothing: executable file not found in $PATH".to_owned())
    );
    assert_eq!(
        exec("/nothing"),
        (ExecCause::NotFound, 127, "exec /nothing: no such file or directory".to_owned())
    );
    let missing = |text: &str| (ExecCause::NoInterpreter, 127, format!("no such file or directory: {text}"));
    let after_exec = |(cause, code, text): (ExecCause, i32, String)| {
        (cause, code, text.split_once(": ").map(|(_, reason)| reason.to_owned()).unwrap_or_default())
    };
    let said = |program| after_exec(exec(program));
    assert_eq!(
        said("/script"),
        missing("/script is there, but /bin/nothing, which its #! line names, is not")
    );
    assert_eq!(
        said("/dynamic"),
        missing("/dynamic is there, but its dynamic loader /lib/ld-gone.so.1 is not")
    );
    assert_eq!(said("/chain"), missing("/dynamic is there, but its dynamic loader /lib/ld-gone.so.1 is not"));
    let refused = |text: &str| (ExecCause::NotExecutable, 126, text.to_owned());
    assert_eq!(said("/text"), refused("permission denied: the file is not executable"));
    assert_eq!(said("/bin"), refused("permission denied: it is a directory"));
    assert_eq!(
        said("/garbage"),
        refused("exec format error: neither a program nor a script that begins with #!")
    );
    assert!(said("/foreign").2.starts_with("exec format error: the program is for s390x, "));
}

/// The smallest program of this machine, or of another, that names a loader.
fn dynamic_program(machine: Option<u8>) -> Vec<u8> {
    let own = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let loader = b"/lib/ld-gone.so.1\0";
    let mut elf = vec![0; 120];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (place, value) in
        [(16, 2), (18, machine.unwrap_or(own)), (20, 1), (32, 64), (52, 64), (54, 56), (56, 1)]
    {
        elf[place] = value;
    }
    for (place, value) in [(64, 3), (72, 120), (96, 18)] {
        elf[place] = value;
    }
    elf.extend_from_slice(loader);
    elf
}

fn setup_error(spec: &galley_sandbox::Spec) -> (SetupStep, String) {
    match start(spec) {
        Err(Error::Setup(error)) => (error.step, error.to_string()),
        other => panic!("{other:?}"),
    }
}

fn privileged_setup_failures_name_the_step() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.spec(&["true"]);
    spec.cwd = "/missing".into();
    let (step, text) = setup_error(&spec);
    assert_eq!(step, SetupStep::ChangeDirectory);
    assert_eq!(text, "change to the working directory /missing: No such file or directory (os error 2)");

    let mut spec = kitchen.spec(&["true"]);
    spec.root = galley_sandbox::Root::Layers(galley_sandbox::Layers {
        lowers: vec![kitchen.path("base").into(), kitchen.path("gone").into()],
        writable: None,
    });
    let (step, text) = setup_error(&spec);
    assert_eq!(step, SetupStep::OpenLower);
    assert!(text.contains("/gone: No such file"), "{text}");
    let none = galley_sandbox::Spec::new(kitchen.root(), vec![]);
    assert!(matches!(spawner().spawn(&none, Handles::default()), Err(Error::Spec(_))));
}

fn privileged_identity() {
    let kitchen = Kitchen::new();
    assert_eq!(output(&kitchen.spec(&["id"])), "uid=0(root) gid=0\n");
    let mut spec = kitchen.spec(&["id"]);
    spec.user = User { uid: 1000, gid: 100, groups: vec![100, 7] };
    assert_eq!(output(&spec), "uid=1000 gid=100 groups=7,100\n");
    let mut spec = kitchen.shell("umask; hostname; cat /proc/self/cgroup | head -n 1 | wc -l");
    spec.hostname = "kitchen".to_owned();
    assert_eq!(output(&spec), "0022\nkitchen\n1\n");
}

fn capability_lines(spec: &galley_sandbox::Spec) -> Vec<(String, u64)> {
    let status = output(spec);
    let lines = status.lines().filter_map(|line| line.strip_prefix("Cap")?.split_once(":\t"));
    lines.map(|(name, mask)| (name.to_owned(), u64::from_str_radix(mask, 16).unwrap())).collect()
}

fn privileged_capabilities() {
    let kitchen = Kitchen::new();
    let docker = Capabilities::docker_default().bits();
    let expect = |own: u64, bounding: u64| {
        [("Inh", 0), ("Prm", own), ("Eff", own), ("Bnd", bounding), ("Amb", 0)]
            .map(|(name, mask)| (name.to_owned(), mask))
            .to_vec()
    };
    let mut spec = kitchen.spec(&["cat", "/proc/self/status"]);
    assert_eq!(capability_lines(&spec), expect(docker, docker));
    spec.user.uid = 1;
    // With one id, who it is is told by the supervisor; for the kernel it stays root.
    let own = if galley_sandbox::userns::has_one_id() { docker } else { 0 };
    assert_eq!(capability_lines(&spec), expect(own, docker));
    spec.user.uid = 0;
    spec.capabilities = Capabilities::none();
    assert_eq!(capability_lines(&spec), expect(0, 0));
}

/// The host's `id` as setuid program, with the libraries it needs.
fn setuid_spec(kitchen: &Kitchen) -> galley_sandbox::Spec {
    let path = kitchen.path("base/bin/id-as-root");
    fs_err::copy("/usr/bin/id", &path).unwrap();
    fs_err::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    let mut spec = kitchen.spec(&["id-as-root"]);
    spec.user.uid = 1000;
    for name in
        ["/lib", "/lib64", "/usr/lib"].map(std::path::PathBuf::from).into_iter().filter(|path| path.exists())
    {
        let source = Source::Bind { path: name.clone(), subpath: "".into(), recursive: false };
        spec.mounts.push(Mount { target: name, source, readonly: true });
    }
    spec
}

fn privileged_setuid_programs_work() {
    let kitchen = Kitchen::new();
    let mut spec = setuid_spec(&kitchen);
    assert_eq!(output(&spec), "uid=1000 gid=0 euid=0(root) groups=0\n");
    spec.no_new_privileges = true;
    assert_eq!(output(&spec), "uid=1000 gid=0 groups=0\n");
}

fn privileged_no_new_privileges() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.spec(&["cat", "/proc/self/status"]);
    spec.no_new_privileges = true;
    assert!(output(&spec).contains("NoNewPrivs:\t1"));
}

fn privileged_no_files_leak() {
    let kitchen = Kitchen::new();
    // A file that galley has open without close-on-exec must not come along either.
    let leak = fs_err::File::open("/dev/zero").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty()).unwrap();
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).unwrap();
    // 3 is the directory that ls itself reads.
    assert_eq!(output(&kitchen.spec(&["ls", "/proc/self/fd"])), "0\n1\n2\n3\n");
}

/// What the helper process executes, and so what /proc/1/exe of a sandbox is before exec, cannot be written.
fn privileged_program_cannot_be_overwritten() {
    spawner();
    let own = crate::fixture::descendants(std::process::id());
    let (helper, _) = own.into_iter().find(|(_, command)| command.contains("__galley-zygote")).unwrap();
    let found = rustix::fs::statvfs(format!("/proc/{helper}/exe")).unwrap();
    assert!(found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
}

fn privileged_kill_tree() {
    let kitchen = Kitchen::new();
    let marker = "86399";
    let (child, reader) = start(&kitchen.shell("sleep 86399 & sleep 86399 & echo on; wait")).unwrap();
    let mut reader = std::io::BufReader::new(reader);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    // A process that is just being executed has no command line for a moment.
    let all_three = || crate::fixture::processes_with(marker) == 3;
    assert!((0..6000).any(|_| all_three() || {
        std::thread::sleep(Duration::from_millis(10));
        false
    }));
    child.kill_tree().unwrap();
    assert_eq!(crate::fixture::processes_with(marker), 0);
}

fn privileged_signals_reach_handlers() {
    let kitchen = Kitchen::new();
    let (child, reader) =
        start(&kitchen.shell("trap 'echo term; exit 3' TERM; echo on; while :; do sleep 0.01; done"))
            .unwrap();
    let mut reader = std::io::BufReader::new(reader);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    child.signal(libc::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().exit, Exit::Code(3));
}

fn privileged_limits_and_environment() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.shell("ulimit -n; ulimit -Hn; cat /proc/1/environ; pwd");
    spec.ulimits = vec![Ulimit { resource: Resource::Nofile, soft: 100, hard: 200 }];
    spec.env = vec!["B=2".into(), "A=1 x".into()];
    spec.cwd = "/tmp".into();
    assert_eq!(output(&spec), "100\n200\nB=2\0A=1 x\0/tmp\n");
    let mut spec = kitchen.spec(&["cat", "/proc/self/oom_score_adj"]);
    spec.oom_score_adj = Some(77);
    assert_eq!(output(&spec), "77\n");
}

fn privileged_spawns_from_many_threads() {
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                for _ in 0..5 {
                    let kitchen = Kitchen::new();
                    let (outcome, _) = run(&kitchen.shell(&format!("exit {number}")));
                    assert_eq!(outcome.exit, Exit::Code(number));
                }
            });
        }
    });
}

fn privileged_seccomp_is_on() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.spec(&["cat", "/proc/self/status"]);
    assert!(output(&spec).contains("Seccomp:\t2"));
    spec.seccomp = galley_sandbox::Seccomp::Off;
    assert!(output(&spec).contains(unfiltered()));
}

/// What /proc says of a process without a filter of ours; with one id there is always the one of the supervisor.
fn unfiltered() -> &'static str {
    if galley_sandbox::userns::has_one_id() { "Seccomp:\t2\nSeccomp_filters:\t1" } else { "Seccomp:\t0" }
}

/// What an insecure sandbox may do, as far as a user namespace or an outer container let it.
fn privileged_insecure() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.shell(
        "cat /proc/self/status; mkdir /m && mount -t tmpfs x /m && touch /m/f && ls /m; mkdir /sys/fs/cgroup/x || true",
    );
    spec.make_insecure();
    let said = output(&spec);
    assert!(said.contains(unfiltered()) && said.contains("\nf\n"), "{said}");
    // As another user the rights stay, unlike in any other sandbox.
    let capabilities = |spec: &galley_sandbox::Spec| {
        let said = output(spec);
        let line = said.lines().find(|line| line.starts_with("CapEff:")).unwrap();
        u64::from_str_radix(line.trim_start_matches("CapEff:").trim(), 16).unwrap()
    };
    let mut spec = kitchen.spec(&["cat", "/proc/self/status"]);
    spec.user = User { uid: 7, gid: 7, groups: Vec::new() };
    if !galley_sandbox::userns::has_one_id() {
        assert_eq!(capabilities(&spec), 0);
    }
    spec.make_insecure();
    assert_ne!(capabilities(&spec) & 1 << 21, 0, "CAP_SYS_ADMIN");
}

fn privileged_limits_are_refused_by_name() {
    let kitchen = Kitchen::new();
    let mut spec = kitchen.shell("true");
    // More than any kernel's fs.nr_open.
    spec.ulimits = vec![Ulimit { resource: Resource::Nofile, soft: 1 << 40, hard: 1 << 40 }];
    let error = start(&spec).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot set up the sandbox: set the resource limit nofile: Operation not permitted (os error 1)"
    );
    assert!(error.help().unwrap().contains("nr_open"));
}

fn privileged_is_pid_one_of_its_own_session() {
    let kitchen = Kitchen::new();
    // Fields 1, 4, 5 and 6 of stat: process, parent, group, session.
    assert_eq!(
        output(&kitchen.shell("read a b c d e f g < /proc/1/stat; echo $$ $a $d $e $f")),
        "1 1 0 1 1\n"
    );
}

//! `--security-opt seccomp=FILE`: profiles as people write them for docker.

use super::{Kitchen, by_chroot};

fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile("FROM busybox\n");
    kitchen.build(&["-t", "app", "."]);
    Some(kitchen)
}

fn profile(kitchen: &Kitchen, text: &str) -> String {
    let path = kitchen.path("profile.json");
    fs_err::write(&path, text).unwrap();
    format!("--security-opt=seccomp={}", path.display())
}

fn said(kitchen: &Kitchen, arguments: &[&str]) -> (Option<i32>, String) {
    let output = kitchen.command(arguments).output().unwrap();
    let both = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    // By chroot every one begins with a warning.
    let lines =
        both.split_inclusive('\n').filter(|line| !line.starts_with("warning: the container is not kept"));
    (output.status.code(), lines.collect())
}

#[test]
fn a_call_is_refused_to_the_program_and_to_who_joins() {
    let Some(kitchen) = kitchen() else { return };
    let rule = r#"{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}"#;
    let option =
        profile(&kitchen, &format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#));
    let script = "mkdir /new; mkdir -p /dir/deeper; touch /file && chown 5:6 /file && stat -c %u:%g /file";
    let refused = "mkdir: can't create directory '/new': Read-only file system\n";
    const LESS: &str = "--security-opt=no-new-privileges";
    let rights: &[&[&str]] = match by_chroot() {
        true => &[&[LESS], &[LESS, "--init"]],
        false => &[&[], &["--init"], &[LESS], &["--privileged"], &["--user=7"]],
    };
    for further in rights {
        let script = if *further == ["--user=7"] { "mkdir /new; true" } else { script };
        let (_, output) =
            said(&kitchen, &[&["run", "--rm", &option], *further, &["app", "sh", "-c", script]].concat());
        assert!(output.contains(refused), "{further:?}: {output}");
        assert!(*further == ["--user=7"] || output.contains("5:6\n"), "{further:?}: {output}");
    }
    // The file is not looked at again.
    kitchen.galley(&["run", "-d", "--name", "web", LESS, &option, "app", "sleep", "1000"]);
    fs_err::remove_file(kitchen.path("profile.json")).unwrap();
    assert_eq!(said(&kitchen, &["exec", "web", "mkdir", "/new"]).1, refused);
    if !by_chroot() {
        assert_eq!(said(&kitchen, &["exec", "--privileged", "web", "mkdir", "/new"]).1, refused);
    }
    kitchen.galley(&["restart", "-t", "0", "web"]);
    assert_eq!(said(&kitchen, &["exec", "web", "mkdir", "/new"]).1, refused);
    let options = kitchen.galley(&["inspect", "-f", "{{json .HostConfig.SecurityOpt}}", "web"]);
    assert!(options.contains(r#""seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\","#), "{options}");
    kitchen.galley(&["rm", "-f", "web"]);
}

#[test]
fn a_wrong_profile_is_told_with_its_line() {
    let Some(kitchen) = kitchen() else { return };
    for (text, place, expected) in [
        (
            "{\n  \"defaultAction\": \"SCMP_ACT_NOTIFY\"\n}",
            "profile.json:2:",
            "unknown variant `SCMP_ACT_NOTIFY`",
        ),
        ("{\n \"syscalls\": [}", "profile.json:2:15", "expected value"),
        ("[]", "profile.json:1:", "invalid length 0"),
    ] {
        let option = profile(&kitchen, text);
        let (code, output) = said(&kitchen, &["run", "--rm", &option, "app", "true"]);
        assert_eq!(code, Some(125), "{output}");
        assert!(output.contains(place) && output.contains(expected) && output.contains("help: "), "{output}");
    }
    assert_eq!(kitchen.galley(&["ps", "-aq"]), "");
}

/// What a static program needs to print a word.
const TO_PRINT: [&str; 14] = [
    "arch_prctl",
    "brk",
    "execve",
    "exit_group",
    "getrandom",
    "mmap",
    "mprotect",
    "prlimit64",
    "readlink",
    "readlinkat",
    "rseq",
    "set_robust_list",
    "set_tid_address",
    "write",
];

/// A profile that allows these calls, and does this to others.
fn allowing(kitchen: &Kitchen, calls: &[&str], otherwise: &str) -> String {
    let rule = serde_json::json!({"names": calls, "action": "SCMP_ACT_ALLOW"});
    profile(kitchen, &serde_json::json!({"defaultAction": otherwise, "syscalls": [rule]}).to_string())
}

#[test]
fn nothing_of_galleys_has_to_be_allowed() {
    let Some(kitchen) = kitchen() else { return };
    let run = |option: &str, flags: &[&str], command: &[&str]| {
        said(&kitchen, &[&["run", "--rm", option], flags, &["app"], command].concat())
    };
    let rights: &[&[&str]] = match by_chroot() {
        true => &[&["--security-opt=no-new-privileges"]],
        false => &[&[], &["--user=7:8"], &["--security-opt=no-new-privileges"], &["--cap-drop=ALL"]],
    };
    for flags in rights {
        let option = allowing(&kitchen, &TO_PRINT, "SCMP_ACT_ERRNO");
        let flags = [flags, &["--env=PATH=/nowhere:/bin"][..]].concat();
        assert_eq!(run(&option, &flags, &["echo", "word"]), (Some(0), "word\n".to_owned()), "{flags:?}");
        for (calls, otherwise) in [
            (&TO_PRINT[..], "SCMP_ACT_ERRNO"),
            (&["execve"], "SCMP_ACT_ERRNO"),
            (&["execve"], "SCMP_ACT_KILL_PROCESS"),
            (&["execve", "exit_group"], "SCMP_ACT_TRAP"),
        ] {
            let option = allowing(&kitchen, calls, otherwise);
            let (code, output) = run(&option, &flags, &["no-such-program"]);
            assert_eq!(code, Some(127), "{flags:?} {calls:?}: {output}");
            assert!(output.contains("executable file not found in $PATH"), "{flags:?}: {output}");
            let (code, output) = run(&option, &flags, &["/etc"]);
            assert_eq!(code, Some(126), "{flags:?} {calls:?}: {output}");
            assert!(output.contains("exec /etc: permission denied"), "{flags:?}: {output}");
        }
    }
    let with_init = [&TO_PRINT[..], &["read", "ppoll", "wait4", "kill"]].concat();
    let option = allowing(&kitchen, &with_init, "SCMP_ACT_ERRNO");
    let flags = ["--init", "--security-opt=no-new-privileges"];
    assert_eq!(run(&option, &flags, &["echo", "word"]), (Some(0), "word\n".to_owned()));
    let (code, output) = run(&option, &flags, &["no-such-program"]);
    assert!(code == Some(127) && output.contains("not found in $PATH"), "{output}");
}

#[test]
fn a_profile_under_which_nothing_starts_is_refused() {
    let Some(kitchen) = kitchen() else { return };
    for (without, flag, expected) in [
        ("execve", "--rm", "refuses execve, with which the program is started"),
        ("wait4", "--init", "refuses wait4, with which the process of --init works"),
    ] {
        let calls = ["execve", "read", "ppoll", "wait4", "kill", "exit_group", "openat2"];
        let calls: Vec<&str> = calls.into_iter().filter(|call| *call != without).collect();
        let option = allowing(&kitchen, &calls, "SCMP_ACT_ERRNO");
        let (code, output) = said(&kitchen, &["run", "--rm", flag, &option, "app", "true"]);
        assert_eq!(code, Some(125), "{output}");
        assert!(output.contains(expected) && output.contains("help: add {"), "{output}");
    }
    assert_eq!(kitchen.galley(&["ps", "-aq"]), "");
}

#[test]
fn the_filter_is_dockers_or_ones_own_or_none() {
    let Some(kitchen) = kitchen() else { return };
    if by_chroot() {
        let own = profile(&kitchen, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
        let (_, output) = said(&kitchen, &["run", "--rm", &own, "app", "true"]);
        return assert!(output.contains("help: a filter needs CAP_SYS_ADMIN here"), "{output}");
    }
    let filters = |option: &str| -> u32 {
        let flags = ["run", "--rm", "--security-opt=no-new-privileges", option, "app"];
        let count =
            kitchen.galley(&[&flags[..], &["sh", "-c", "grep Seccomp_filters: /proc/self/status"]].concat());
        count.trim().rsplit('\t').next().unwrap().parse().unwrap()
    };
    // Those that galley needs itself are there in any case.
    let none = filters("--security-opt=seccomp=unconfined");
    let own = profile(&kitchen, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
    assert_eq!(filters("--security-opt=seccomp=builtin"), none + 1);
    assert_eq!(filters(&own), none + 1);
}

#[test]
fn a_health_check_is_filtered_as_well() {
    let Some(kitchen) = kitchen() else { return };
    let rule = r#"{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}"#;
    let option =
        profile(&kitchen, &format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#));
    let nnp = "--security-opt=no-new-privileges";
    let check = ["--health-cmd=mkdir /healthy", "--health-interval=100ms", "--health-retries=1"];
    let command = ["app", "sleep", "1000"];
    kitchen.galley(&[&["run", "-d", "--name", "web", nnp, &option], &check[..], &command].concat());
    let status = || kitchen.galley(&["inspect", "-f", "{{.State.Health.Status}}", "web"]);
    super::crash::wait_for("the first check", || status() != "starting\n");
    assert_eq!(status(), "unhealthy\n");
    let log = kitchen.galley(&["inspect", "-f", "{{json .State.Health.Log}}", "web"]);
    assert!(log.contains("Read-only file system"), "{log}");
    kitchen.galley(&["rm", "-f", "web"]);
}

/// The first socket waits for the network where that is made late, through a filter of galley's own: both filters hold.
#[test]
fn sockets_are_made_or_refused_behind_galleys_own_filter() {
    let Some(kitchen) = kitchen() else { return };
    let rule = |action| {
        let rule = serde_json::json!({"names": ["socket"], "action": action, "errnoRet": 30});
        profile(
            &kitchen,
            &serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}).to_string(),
        )
    };
    let flags = ["run", "--rm", "--security-opt=no-new-privileges"];
    let command = [
        "app",
        "sh",
        "-c",
        "mknod -m 666 /p p; chown 5:6 /p; stat -c %u:%g /p; busybox nc -l -p 0 -w 1 127.0.0.1",
    ];
    let (_, output) = said(&kitchen, &[&flags[..], &[&rule("SCMP_ACT_ERRNO")], &command].concat());
    assert!(output.contains("5:6\n") && output.contains("socket"), "{output}");
    assert!(output.contains("Read-only file system"), "{output}");
    let (_, output) = said(&kitchen, &[&flags[..], &[&rule("SCMP_ACT_LOG")], &command].concat());
    assert!(output.contains("5:6\n") && !output.contains("Read-only file system"), "{output}");
}

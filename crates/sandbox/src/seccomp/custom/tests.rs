//! Programs are run by the interpreter of the filter's other tests.

use proptest::prelude::*;

use super::super::tests::run_with;
use super::*;

const ENOSYS: u32 = compile::ERRNO | libc::ENOSYS as u32;
const EPERM: u32 = compile::ERRNO | libc::EPERM as u32;

fn program(text: &str, capabilities: Capabilities) -> Vec<sock_filter> {
    SeccompProfile::read(text.as_bytes()).unwrap().program(capabilities).unwrap().instructions()
}

fn native(program: &[sock_filter], name: &str, arguments: [u64; 6]) -> u32 {
    let (arch, column) = machines()[0];
    run_with(program, arch, number(name, column).unwrap(), arguments)
}

#[test]
fn names_actions_and_errors_are_dockers() {
    let filter = program(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "comment": 1, "syscalls": [
            {"names": ["read", "no_such_call", "keyctl"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {}},
            {"name": "mkdirat", "action": "SCMP_ACT_ERRNO", "errnoRet": 30},
            {"names": ["write"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["close"], "action": "SCMP_ACT_LOG"},
            {"names": ["dup"], "action": "SCMP_ACT_ALLOW"}, {"names": ["dup"], "action": "SCMP_ACT_TRAP"}]}"#,
        Capabilities::none(),
    );
    let answers = [
        ("read", compile::ALLOW),
        ("keyctl", compile::ALLOW),
        ("mkdirat", compile::ERRNO | 30),
        ("write", compile::KILL_PROCESS),
        ("close", 0x7ffc_0000),
        ("dup", compile::ALLOW),
        ("chdir", EPERM),
        ("openat2", ENOSYS),
    ];
    for (name, expected) in answers {
        assert_eq!(native(&filter, name, [0; 6]), expected, "{name}");
    }
    let arch = machines()[0].0;
    assert_eq!(run_with(&filter, arch, X32 | 1, [0; 6]), ENOSYS);
    assert_eq!(run_with(&filter, 1, 1, [0; 6]), compile::KILL_PROCESS);
}

#[test]
fn what_is_allowed_by_default_stays_so_but_for_other_machines() {
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO"}]}"#;
    let filter = program(text, Capabilities::none());
    assert_eq!(native(&filter, "socket", [0; 6]), EPERM);
    assert_eq!(native(&filter, "openat2", [0; 6]), compile::ALLOW);
    let arch = machines()[0].0;
    assert_eq!(run_with(&filter, arch, 10_000, [0; 6]), compile::ALLOW);
    assert_eq!(run_with(&filter, arch, X32 | 41, [0; 6]), ENOSYS);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn programs_of_32_bits_reach_nothing_in_a_roundabout_way() {
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"architecture": "SCMP_ARCH_X86_64",
        "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
        "syscalls": [{"names": ["socket", "shmget"], "action": "SCMP_ACT_ERRNO"}]}"#;
    let filter = program(text, Capabilities::none());
    let (arch, column) = machines()[1];
    let ask =
        |name: &str, first| run_with(&filter, arch, number(name, column).unwrap(), [first, 0, 0, 0, 0, 0]);
    assert_eq!(
        (ask("socket", 0), ask("socketcall", 1), ask("socketcall", 2)),
        (EPERM, EPERM, compile::ALLOW)
    );
    assert_eq!((ask("ipc", 23), ask("ipc", 0x1_0017), ask("ipc", 1)), (EPERM, EPERM, compile::ALLOW));
}

#[test]
fn rules_hold_where_and_for_whom_they_say() {
    let allow = |when: &str| {
        let rule = format!(r#"{{"names": ["mount"], "action": "SCMP_ACT_ALLOW", {when}}}"#);
        format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{rule}, {{"names": ["openat2"], "action": "SCMP_ACT_ALLOW"}}]}}"#
        )
    };
    let here = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let admin = Capabilities::none().with("SYS_ADMIN").unwrap();
    let cases = [
        (r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#.to_owned(), admin, true),
        (r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#.to_owned(), Capabilities::none(), false),
        (r#""includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}"#.to_owned(), admin, false),
        (r#""excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}"#.to_owned(), admin, false),
        (format!(r#""includes": {{"arches": ["s390x", "{here}"]}}"#), admin, true),
        (r#""includes": {"arches": ["s390x"]}"#.to_owned(), admin, false),
        (format!(r#""excludes": {{"arches": ["{here}"]}}"#), admin, false),
        (r#""includes": {"minKernel": "4.8"}"#.to_owned(), admin, true),
        (r#""includes": {"minKernel": "999.0"}"#.to_owned(), admin, false),
        (r#""excludes": {"minKernel": "4.8"}"#.to_owned(), admin, false),
    ];
    for (when, capabilities, holds) in cases {
        let answer = native(&program(&allow(&when), capabilities), "mount", [0; 6]);
        assert_eq!(answer == compile::ALLOW, holds, "{when}");
    }
}

#[test]
fn what_is_wrong_has_a_line_and_a_column() {
    let wrong =
        |text: &str, expected: &str, place: (usize, usize)| match SeccompProfile::read(text.as_bytes())
            .unwrap_err()
        {
            SeccompError::Written { what, line, column } => {
                assert!(what.contains(expected) && !what.contains(" at line "), "{what}");
                assert_eq!(line, place.0, "{what}");
                // The end of what is wrong, or what follows.
                assert!((place.1..place.1 + 2).contains(&column), "{what}: {column}");
            }
            other => panic!("{other}"),
        };
    wrong("{\n  \"syscalls\": [}", "expected value", (2, 16));
    wrong("{\n  \"defaultAction\": \"SCMP_ACT_NOTIFY\"\n}", "unknown variant `SCMP_ACT_NOTIFY`", (2, 36));
    wrong("{}", "missing field `defaultAction`", (1, 2));
    let entry = |rest: &str| {
        format!(
            "{{\"defaultAction\": \"SCMP_ACT_ALLOW\",\n\"syscalls\": [{{\"action\": \"SCMP_ACT_ERRNO\", {rest}}}]}}"
        )
    };
    wrong(&entry(r#""errnoRet": 5000"#), "5000 is no error number", (2, 58));
    wrong(&entry(r#""args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]"#), "no argument 6", (2, 62));
    wrong(&entry(r#""includes": {"minKernel": "new"}"#), "no version of a kernel", (2, 73));
    let both = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "x"}]}"#;
    assert_eq!(
        SeccompProfile::read(both.as_bytes()).unwrap_err(),
        SeccompError::Both("architectures", "archMap")
    );
    let both = both.replace(
        r#""archMap""#,
        r#""syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_LOG"}], "other""#,
    );
    let two = SeccompProfile::read(both.as_bytes()).unwrap_err();
    assert_eq!(two, SeccompError::Both("name", "names of one rule"));
    assert_eq!(SeccompProfile::read(&vec![b' '; BYTES_MAX + 1]).unwrap_err(), SeccompError::Long);
}

#[test]
fn more_than_the_kernel_takes_is_refused() {
    let rule = r#"{"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_GT"}]}"#;
    let rules = vec![rule; 1000].join(",");
    let text = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rules}]}}"#);
    let error = SeccompProfile::read(text.as_bytes()).unwrap().program(Capabilities::none()).unwrap_err();
    assert!(error.to_string().ends_with("and the kernel takes 4096"), "{error}");
}

#[test]
fn what_galley_needs_can_be_asked_for() {
    let refuses = |default: &str, rules: &str, call: &'static str| {
        let text = format!(r#"{{"defaultAction": "SCMP_ACT_{default}", "syscalls": [{rules}]}}"#);
        let profile = SeccompProfile::read(text.as_bytes()).unwrap();
        profile.refuses(&["exit_group", call], Capabilities::none())
    };
    let rule = |call: &str, action: &str, more: &str| {
        format!(r#"{{"names": ["exit_group", "{call}"], "action": "SCMP_ACT_{action}"{more}}}"#)
    };
    let args = r#", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]"#;
    assert_eq!(refuses("ALLOW", "", "execve"), None);
    assert_eq!(refuses("ERRNO", "", "execve"), Some("exit_group"));
    assert_eq!(refuses("ERRNO", &rule("execve", "ALLOW", ""), "execve"), None);
    assert_eq!(refuses("ERRNO", &rule("execve", "LOG", args), "execve"), None);
    assert_eq!(refuses("ERRNO", &rule("read", "ALLOW", ""), "execve"), Some("execve"));
    assert_eq!(refuses("ALLOW", &rule("execve", "KILL", args), "execve"), None);
    assert_eq!(refuses("ALLOW", &rule("execve", "TRACE", ""), "execve"), Some("exit_group"));
}

#[test]
fn newer_calls_are_those_behind_the_rules_that_hold() {
    let text = r#"{"defaultAction": "SCMP_ACT_KILL", "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": ["openat"], "action": "SCMP_ACT_KILL"},
        {"names": ["openat2"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}}]}"#;
    let filter = program(text, Capabilities::none());
    assert_eq!((native(&filter, "openat", [0; 6]), native(&filter, "statx", [0; 6])), (0, ENOSYS));
    let filter = program(text, Capabilities::none().with("SYS_ADMIN").unwrap());
    assert_eq!((native(&filter, "openat2", [0; 6]), native(&filter, "statx", [0; 6])), (compile::ALLOW, 0));
    let profile = SeccompProfile::read(text.as_bytes()).unwrap();
    assert_eq!(profile.program(Capabilities::none()).unwrap().flags(), 2);
}

fn holds(condition: &Condition, arguments: [u64; 6]) -> bool {
    let (is, value) = (arguments[usize::from(condition.index.0)], condition.value);
    match condition.op {
        Comparison::NotEqual => is != value,
        Comparison::Less => is < value,
        Comparison::LessOrEqual => is <= value,
        Comparison::Equal => is == value,
        Comparison::GreaterOrEqual => is >= value,
        Comparison::Greater => is > value,
        Comparison::MaskedEqual => is & value == condition.value_two & value,
    }
}

/// Numbers that are near each other in both halves.
fn values() -> impl Strategy<Value = u64> {
    (0_u64..3, prop_oneof![Just(0_u64), Just(1), Just(2), Just(u64::from(u32::MAX))])
        .prop_map(|(high, low)| high << 32 | low)
}

fn conditions() -> impl Strategy<Value = Condition> {
    let op = prop_oneof![
        Just(Comparison::NotEqual),
        Just(Comparison::Less),
        Just(Comparison::LessOrEqual),
        Just(Comparison::Equal),
        Just(Comparison::GreaterOrEqual),
        Just(Comparison::Greater),
        Just(Comparison::MaskedEqual),
    ];
    (0_u8..6, values(), values(), op).prop_map(|(index, value, value_two, op)| Condition {
        index: Index(index),
        value,
        value_two,
        op,
    })
}

proptest! {
    #[test]
    fn arguments_are_compared_as_numbers(
        rules in proptest::collection::vec(proptest::collection::vec(conditions(), 0..6), 0..5),
        arguments in proptest::array::uniform6(values()),
    ) {
        let rules: Vec<Rule> = (1..).zip(rules).map(|(answer, conditions)| Rule { conditions, answer }).collect();
        let rules = decisive(rules);
        let expected = rules.iter().find(|rule| rule.conditions.iter().all(|condition| holds(condition, arguments)));
        let filter = compile::program(&[(7, vec![(0, Answers { rules: rules.clone(), usual: 99 })])]);
        prop_assert_eq!(run_with(&filter, 7, 3, arguments), expected.map_or(99, |rule| rule.answer));
    }

    #[test]
    fn no_text_is_too_strange(text in "[{}\\[\\]\":, a-zA-Z_0-9\\\\]{0,200}") {
        let _ = SeccompProfile::read(text.as_bytes()).map(|profile| profile.program(Capabilities::none()));
    }

    #[test]
    fn any_names_make_a_filter_that_answers(
        picks in proptest::collection::vec((any::<proptest::sample::Index>(), 0_usize..4), 0..40),
        default in 0_usize..2,
    ) {
        const ACTIONS: [&str; 4] = ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_LOG"];
        let rows = |pick: &proptest::sample::Index| pick.get(profile::PROFILE).0;
        let entries: Vec<_> = picks.iter().map(|(pick, action)| serde_json::json!({"names": [rows(pick)], "action": ACTIONS[*action]})).collect();
        let text = serde_json::json!({"defaultAction": ACTIONS[default], "syscalls": entries}).to_string();
        let filter = program(&text, Capabilities::none());
        let (_, column) = machines()[0];
        let last = picks.iter().filter_map(|(pick, _)| number(rows(pick), column)).max();
        for row in profile::PROFILE.iter().filter(|row| column(row) != profile::NONE) {
            // What says the same as the default is none.
            let first = picks.iter().find(|(pick, action)| rows(pick) == row.0 && *action != default);
            let newer = default == 1 && last.is_some_and(|last| column(row) > last);
            let verb = [Verb::Allow, Verb::Errno, Verb::KillThread, Verb::Log][first.map_or(default, |(_, action)| *action)];
            let expected = if newer { ENOSYS } else { answer(verb, None) };
            prop_assert_eq!(native(&filter, row.0, [0; 6]), expected, "{}", row.0);
        }
    }
}

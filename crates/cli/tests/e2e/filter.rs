//! `--security-opt seccomp=FILE`: profiles as people write them for docker.

use super::Kitchen;

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
    let both = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&both).into_owned())
}

#[test]
fn a_call_is_refused_to_the_program_and_to_who_joins() {
    let Some(kitchen) = kitchen() else { return };
    let rule = r#"{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}"#;
    let option =
        profile(&kitchen, &format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#));
    let script = "mkdir /new; mkdir -p /dir/deeper; touch /file && chown 5:6 /file && stat -c %u:%g /file";
    let refused = "mkdir: can't create directory '/new': Read-only file system\n";
    for further in
        [&[][..], &["--init"], &["--security-opt=no-new-privileges"], &["--privileged"], &["--user=7"]]
    {
        let script = if further == ["--user=7"] { "mkdir /new; true" } else { script };
        let (_, output) =
            said(&kitchen, &[&["run", "--rm", &option], further, &["app", "sh", "-c", script]].concat());
        assert!(output.contains(refused), "{further:?}: {output}");
        assert!(further == ["--user=7"] || output.contains("5:6\n"), "{further:?}: {output}");
    }
    // The file is not looked at again.
    kitchen.galley(&["run", "-d", "--name", "web", &option, "app", "sleep", "1000"]);
    fs_err::remove_file(kitchen.path("profile.json")).unwrap();
    assert_eq!(said(&kitchen, &["exec", "web", "mkdir", "/new"]).1, refused);
    kitchen.galley(&["restart", "-t", "0", "web"]);
    assert_eq!(said(&kitchen, &["exec", "web", "mkdir", "/new"]).1, refused);
    let options = kitchen.galley(&["inspect", "-f", "{{json .HostConfig.SecurityOpt}}", "web"]);
    assert!(options.starts_with(r#"["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\","#), "{options}");
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

//! Bad input: the message, the place and the exit code.

use super::{Kitchen, text};

pub(crate) fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

#[test]
fn a_failed_step_shows_its_output_its_line_and_its_exit_code() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nRUN echo before && exit 7\n");
    let (code, said) = kitchen.build_fails(&["."]);
    assert_eq!(code, Some(1));
    assert_says(&said, &["Dockerfile:2", "RUN echo before && exit 7", "before", "7"]);
}

#[test]
fn an_unknown_instruction_has_a_suggestion() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nRUM true\n");
    let (code, said) = kitchen.build_fails(&["."]);
    assert_eq!(code, Some(1));
    assert_says(&said, &["Dockerfile:2:1", "RUM", "RUN"]);
}

#[test]
fn a_stray_rule_of_a_document_is_explained() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nRUN true\n\n---\n\nFROM scratch\n");
    let (code, said) = kitchen.build_fails(&["."]);
    assert_eq!(code, Some(1));
    assert_says(&said, &["Dockerfile:4:1", "---", "delete"]);
}

#[test]
fn a_base_that_is_nowhere_names_the_line_and_what_to_do() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM nowhere/to-be:found\n");
    let (code, said) = kitchen.build_fails(&["--offline", "."]);
    assert_eq!(code, Some(5));
    assert_says(&said, &["Dockerfile:1", "nowhere/to-be:found", "--build-context"]);
}

#[test]
fn circular_stages_are_named() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox AS a\nCOPY --from=b /x /x\nFROM busybox AS b\nCOPY --from=a /x /x\n");
    let (code, said) = kitchen.build_fails(&["."]);
    assert_eq!(code, Some(1));
    assert_says(&said, &["Dockerfile:2", "b"]);
}

#[test]
fn a_missing_file_and_a_file_outside_are_told_apart() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM scratch\nCOPY main.og /\n");
    kitchen.env.write("main.go", "x");
    let (_, said) = kitchen.build_fails(&["."]);
    assert_says(&said, &["Dockerfile:2", "main.og", "main.go"]);

    std::os::unix::fs::symlink("/etc", kitchen.env.work().join("out")).unwrap();
    kitchen.dockerfile("FROM scratch\nCOPY out/hostname /\n");
    let (code, said) = kitchen.build_fails(&["."]);
    assert_eq!(code, Some(1));
    assert_says(&said, &["out/hostname", "out is a symbolic link to /etc"]);
}

#[test]
fn an_archive_that_leaves_its_folder_is_refused() {
    let Some(kitchen) = Kitchen::new() else { return };
    let mut tar = galley_testkit::rootfs_tar(&[galley_testkit::TarEntry::File("aa/escape", 0o644, b"x")]);
    tar[..9].copy_from_slice(b"../escape");
    let sum: u32 = tar[..148].iter().chain(&tar[156..512]).map(|&byte| u32::from(byte)).sum::<u32>() + 8 * 32;
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    kitchen.env.write("evil.tar", tar);
    kitchen.dockerfile("FROM scratch\nADD evil.tar /d/\n");
    let (code, said) = kitchen.build_fails(&["."]);
    assert_eq!(code, Some(1));
    assert_says(&said, &["Dockerfile:2", "evil.tar", "../escape"]);
}

#[test]
fn the_first_documents_user_comment_is_dropped_with_a_warning() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nUSER 65534:65534 # nobody:nobody\n");
    let output = kitchen.build_command(&["--progress=plain", "-t", "u", "."]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert_says(&String::from_utf8_lossy(&output.stderr), &["WARN", "Dockerfile:2", "comment"]);
    assert_eq!(kitchen.galley(&["inspect", "--format", "{{.Config.User}}", "u"]).trim(), "65534:65534");
}

#[test]
fn flags_that_do_not_work_yet_are_refused_by_name() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM scratch\n");
    for flag in ["--squash", "--isolation=hyperv", "--attest=type=sbom"] {
        let output = kitchen.command(&["build", flag, "."]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", text(&output));
        let name = flag.split('=').next().unwrap();
        assert_says(&String::from_utf8_lossy(&output.stderr), &[name]);
    }
    kitchen.dockerfile("FROM busybox\nRUN --security=insecure true\n");
    let (_, said) = kitchen.build_fails(&["."]);
    assert_says(&said, &["Dockerfile:2", "--security=insecure", "--allow security.insecure"]);
    for (flag, said) in [
        ("--allow=device", "experimental"),
        ("--allow=security.everything", "there is no such right"),
        ("--ulimit=as=1", "known are core, cpu"),
        ("--shm-size=big", "is no size"),
        ("--cgroup-parent=/a/../b", "there may be no .."),
        ("--cgroup-parent=a-b.slice", "as a path, /a.slice/a-b.slice"),
        ("--add-host=db", "is not NAME:ADDRESS"),
        ("--add-host=db:host-gateway", "with --network=host it is 127.0.0.1"),
    ] {
        let output = kitchen.command(&["build", flag, "."]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", text(&output));
        assert_says(&String::from_utf8_lossy(&output.stderr), &[flag.split('=').next().unwrap(), said]);
    }
}

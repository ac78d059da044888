//! galley itself in a chroot.

use std::process::{Command, ExitCode};

use galley_sandbox::{Spawner, userns};

use crate::fixture::{Kitchen, output};

crate::tests![privileged_plain_chroot_is_explained, privileged_chroot_to_a_mount_works];

/// Set for the copy of this program that runs in the chroot.
const INSIDE: &str = "GALLEY_TEST_CHROOT";

/// Runs a program by chroot in a directory that has the host's programs, in a mount namespace of its own.
const ENTER: &str = r#"
    set -e
    dir=$1 plain=$2; shift 2
    [ $plain = true ] || mount --bind $dir $dir
    mkdir $dir/tmp
    for name in bin usr lib lib64 proc dev; do
        [ ! -e /$name ] || { mkdir $dir/$name; mount --rbind /$name $dir/$name; }
    done
    cp "$1" $dir/program; shift
    exec chroot $dir /program "$@"
"#;

/// What is done inside.
pub(crate) fn enter() -> Option<ExitCode> {
    std::env::var_os(INSIDE)?;
    if let Err(error) = Spawner::start() {
        println!("{error}");
        return Some(ExitCode::FAILURE);
    }
    print!("{}", output(&Kitchen::new().shell("echo works")));
    Some(ExitCode::SUCCESS)
}

fn in_chroot(plain: bool) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", ENTER, "sh"]).arg(folder.path()).arg(plain.to_string());
    command.arg(std::env::current_exe().unwrap()).env(INSIDE, "1").env("TMPDIR", "/tmp");
    let output = command.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

fn privileged_plain_chroot_is_explained() {
    if userns::in_user_namespace() {
        return;
    }
    let expected = "cannot start the sandbox helper: prepare: keep mounts from the host: / is not a mount point, as in \
                    a chroot to a plain directory; bind it to itself first: mount --rbind DIR DIR && chroot DIR\n";
    assert_eq!(in_chroot(true), (false, expected.to_owned()));
}

fn privileged_chroot_to_a_mount_works() {
    if userns::in_user_namespace() {
        return;
    }
    assert_eq!(in_chroot(false), (true, "works\n".to_owned()));
}

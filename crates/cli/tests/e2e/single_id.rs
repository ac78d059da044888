//! An ordinary user without ranges of ids gets, to the byte, the image that root gets; and who gets this way.

use std::{
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    process::{Command, Output},
};

use fs_err as fs;
use galley_testkit::install;
use serde_json::Value;

use super::{Kitchen, program, succeeded, text};

/// A user of this machine that has no name and no ranges.
const USER: u32 = 4242;

const DOCKERFILE: &str = "FROM busybox
COPY --chown=5:6 . /src
ADD owned.tar /added
RUN mkdir /d && chown 33 /d && chgrp 34 /d && chmod 2775 /d && touch /d/f && mkdir /d/e && chown -R 7:8 /src
RUN ln -s /d/f /l && chown -h 9:10 /l && mv /l /m && mkfifo /p && chown :11 /p && ln /p /q && cp -a /src /copy
RUN touch /u && chown 12 /u && chmod 4755 /u && chown 0:0 /d/e && mv /added/a /added/b && chmod 600 /added/b
RUN tar -C /added -cf /t.tar . && mkdir /t && tar -C /t -xf /t.tar && rm /t.tar && chmod 1777 /tmp
USER 65534:65533
RUN touch /tmp/f && mkdir /tmp/d && ln -s f /tmp/l && echo x > /tmp/d/x && (umask 077; touch /tmp/g) && id > /tmp/id
WORKDIR /tmp/w
RUN touch made && ! chown 0 made && stat -c '%u:%g %a' made /m /u /added/b > told
";

/// Builds the same as `user`, in a store of its own: the digest.
fn digest(kitchen: &Kitchen, user: u32) -> String {
    let (folder, store) = (kitchen.path("galley"), kitchen.path("store").join(user.to_string()));
    fs::create_dir_all(&store).unwrap();
    let metadata = store.join("m.json");
    let mut command = kitchen.build_command(&["--reproducible", "--metadata-file"]);
    let output = format!("type=oci,dest={}", store.join("image.tar").display());
    command.arg(&metadata).args(["-o", &output]).arg(".").env("GALLEY_ROOT", store.join("root"));
    if user != 0 {
        command = again(kitchen, &command, Command::new(folder));
        command.env("GALLEY_RUNG", "single-id").uid(user).gid(user);
        chown(&store, Some(user), Some(user)).unwrap();
    }
    let output = succeeded(command.output().unwrap());
    assert!(!text(&output).contains("ranges of ids"), "{}", text(&output));
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    metadata["containerimage.digest"].as_str().unwrap().to_owned()
}

/// What comes of a build by an ordinary user with one id.
pub(crate) fn as_user(kitchen: &Kitchen, arguments: &[&str]) -> Output {
    let (program, store) = (kitchen.path("galley"), kitchen.path("store"));
    let mut command = again(kitchen, &kitchen.build_command(arguments), Command::new(program));
    chown(&store, Some(USER), Some(USER)).unwrap();
    command.env("GALLEY_ROOT", store).env("GALLEY_RUNG", "single-id").uid(USER).gid(USER).output().unwrap()
}

/// The same arguments and environment behind another program.
fn again(kitchen: &Kitchen, command: &Command, mut program: Command) -> Command {
    let environment = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    program.args(command.get_args()).env_clear().envs(environment).current_dir(kitchen.env.work());
    program
}

fn owned_tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, owner) in [
        ("a", tar::EntryType::Regular, (1, 2)),
        ("l", tar::EntryType::Symlink, (3, 4)),
        ("p", tar::EntryType::Fifo, (5, 6)),
        ("c", tar::EntryType::Char, (0, 0)),
        ("b8", tar::EntryType::Block, (7, 8)),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_size(0);
        if kind == tar::EntryType::Symlink {
            header.set_link_name("a").unwrap();
        }
        header.set_device_major(8).unwrap();
        header.set_device_minor(1).unwrap();
        builder.append_data(&mut header, name, &b""[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// What an ordinary user needs that runs the program under test; `None` where this process cannot become one.
pub(crate) fn kitchen_of_all() -> Option<Kitchen> {
    if !rustix::process::geteuid().is_root() || galley_sandbox::userns::in_user_namespace() {
        eprintln!("SKIPPED: root compares with an ordinary user");
        return None;
    }
    let kitchen = Kitchen::new()?;
    install(program().as_ref(), &kitchen.path("galley"));
    fs::create_dir(kitchen.path("store")).unwrap();
    fs::set_permissions(kitchen.env.path(), PermissionsExt::from_mode(0o755)).unwrap();
    Some(kitchen)
}

#[test]
fn one_id_gives_the_image_that_root_gives() {
    let Some(kitchen) = kitchen_of_all() else { return };
    kitchen.dockerfile(DOCKERFILE);
    kitchen.env.write("a", "a");
    kitchen.env.write("e/b", "b");
    kitchen.env.write("owned.tar", owned_tar());
    assert_eq!(digest(&kitchen, USER), digest(&kitchen, 0));
}

/// Runs a program as an ordinary user with ranges, which the programs that map them refuse.
const WITHOUT_HELP: &str = "set -e
    mount -t tmpfs none $0
    for name in newuidmap newgidmap; do printf '#!/bin/sh\necho no help >&2; exit 1\n' > $0/$name; done
    echo 4242:2000000:65536 > $0/ranges
    chmod 755 $0 $0/*
    for file in /etc/subuid /etc/subgid; do [ -e $file ] || : > $file; mount --bind $0/ranges $file; done
    PATH=$0:$PATH exec setpriv --reuid=4242 --regid=4242 --clear-groups \"$@\"";

#[test]
fn ranges_that_cannot_be_mapped_are_done_without() {
    let Some(kitchen) = kitchen_of_all() else { return };
    let (store, help) = (kitchen.path("store"), kitchen.path("help"));
    fs::create_dir(&help).unwrap();
    chown(&store, Some(USER), Some(USER)).unwrap();
    for (number, said) in [
        (1, "this user's ranges of ids cannot be used: newuidmap failed: no help"),
        (2, "the store was made with one id, so this user's ranges of ids are not used"),
    ] {
        kitchen.dockerfile(&format!("FROM busybox\nRUN touch /{number} && chown 7:8 /{number}\n"));
        let mut build = kitchen.build_command(&["."]);
        build.env("GALLEY_ROOT", store.join("root"));
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", WITHOUT_HELP]).arg(&help).arg(kitchen.path("galley"));
        let output = succeeded(again(&kitchen, &build, shell).output().unwrap());
        let told = text(&output);
        assert!(told.contains(said) && told.matches("ranges of ids").count() == 1, "{told}");
    }
}

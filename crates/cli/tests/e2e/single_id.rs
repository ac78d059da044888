//! An ordinary user without ranges of ids gets, to the byte, the image that root gets.

use std::os::unix::{
    fs::{PermissionsExt, chown},
    process::CommandExt,
};

use fs_err as fs;
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
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = std::process::Command::new(folder);
        command.args(arguments).env_clear().envs(environment).current_dir(kitchen.env.work());
        command.env("GALLEY_RUNG", "single-id").uid(user).gid(user);
        chown(&store, Some(user), Some(user)).unwrap();
    }
    let output = succeeded(command.output().unwrap());
    assert!(!text(&output).contains("warning"), "{}", text(&output));
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    metadata["containerimage.digest"].as_str().unwrap().to_owned()
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

#[test]
fn one_id_gives_the_image_that_root_gives() {
    if !rustix::process::geteuid().is_root() || galley_sandbox::userns::in_user_namespace() {
        eprintln!("SKIPPED: root compares with an ordinary user");
        return;
    }
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(DOCKERFILE);
    kitchen.env.write("a", "a");
    kitchen.env.write("e/b", "b");
    kitchen.env.write("owned.tar", owned_tar());
    fs::copy(program(), kitchen.path("galley")).unwrap();
    fs::create_dir(kitchen.path("store")).unwrap();
    fs::set_permissions(kitchen.env.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(kitchen.path("galley"), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(digest(&kitchen, USER), digest(&kitchen, 0));
}

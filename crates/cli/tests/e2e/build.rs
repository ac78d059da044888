//! What ends up in an image.

use super::Kitchen;

#[test]
fn a_stage_is_copied_into_scratch() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "FROM busybox AS builder\nWORKDIR /src\nCOPY . .\nRUN cat hello > /out && chmod 755 /out\n\
         FROM scratch\nCOPY --from=builder /out /bin/app\n",
    );
    kitchen.env.write("hello", "hello\n");
    let files = kitchen.files(&["."]);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["bin", "bin/app"]);
    assert_eq!((files["bin/app"].mode, &files["bin/app"].content[..]), (0o755, &b"hello\n"[..]));
}

#[test]
fn context_files_belong_to_root_and_stage_files_keep_their_owner() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "FROM busybox AS a\nRUN mkdir /d && touch /d/f && chown -R 1000:1001 /d && chmod 2750 /d\n\
         FROM scratch\nCOPY --from=a /d /d\nCOPY x /x\nCOPY --chown=7:8 --chmod=640 x /y/z\n",
    );
    kitchen.env.write("x", "x");
    let files = kitchen.files(&["."]);
    assert_eq!((files["d/f"].owner, files["x"].owner), ((1000, 1001), (0, 0)));
    assert_eq!((files["y/z"].owner, files["y/z"].mode), ((7, 8), 0o640));
}

#[test]
fn a_run_step_sees_what_docker_gives_it() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "ARG GLOBAL=g\nFROM busybox\nARG GLOBAL\nARG VERSION=dev\nENV A=1\nENV A=2 B=$A\nWORKDIR /w\nUSER nobody\n\
         RUN echo \"$GLOBAL $VERSION $A $B $(id -u):$(id -g) $PWD\" > /tmp/seen\n\
         FROM scratch\nCOPY --from=0 /tmp/seen /w /\n",
    );
    let files = kitchen.files(&["--build-arg", "VERSION=v1", "."]);
    assert_eq!(String::from_utf8_lossy(&files["seen"].content), "g v1 2 1 65534:65534 /w\n");
}

#[test]
fn mounts_leave_nothing_in_the_layer() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "FROM busybox\n\
         RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/scratch --mount=target=/ctx \
         --mount=type=secret,id=token cat /run/secrets/token /ctx/x > /cache/seen; echo 1 > /scratch/t; touch /done\n\
         RUN --mount=type=cache,target=/cache cat /cache/seen > /seen\n",
    );
    kitchen.env.write("x", "file\n");
    kitchen.env.write("token", "s3cr3t\n");
    kitchen.env.write(".dockerignore", "token\n");
    let files = kitchen.files(&["--secret", "id=token,src=token", "."]);
    assert_eq!(String::from_utf8_lossy(&files["seen"].content), "s3cr3t\nfile\n");
    for gone in ["cache", "scratch", "ctx", "run"] {
        assert!(!files.contains_key(gone), "/{gone} stayed in the image");
    }
}

#[test]
fn mount_points_that_an_image_has_not_stay_outside() {
    let Some(kitchen) = Kitchen::new() else { return };
    let step = "RUN test -e /etc/hosts -a -e /etc/resolv.conf && chmod 700 /etc\n";
    kitchen.dockerfile(&format!(
        "FROM busybox AS tools\nFROM scratch\nCOPY --from=tools /bin /bin\n{step}{step}\
         RUN echo 1 > /etc/own\nRUN ls /etc > /seen; rm /etc/own\n"
    ));
    let files = kitchen.files(&["."]);
    let etc: Vec<&str> = files.keys().map(String::as_str).filter(|path| path.starts_with("etc")).collect();
    assert_eq!((etc, files["etc"].mode), (vec!["etc"], 0o755));
    assert_eq!(String::from_utf8_lossy(&files["seen"].content), "hosts\nown\nresolv.conf\n");
}

/// Overlayfs renames no directory of a layer below.
#[test]
fn an_etc_that_is_made_for_its_mounts_can_be_renamed() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "FROM busybox AS tools\nFROM scratch\nCOPY --from=tools /bin /bin\nRUN true\nRUN mv /etc /x\nRUN mv /etc /y\n",
    );
    let files = kitchen.files(&["."]);
    assert_eq!(["etc", "x", "y"].map(|path| files.contains_key(path)), [false, true, true]);
}

#[test]
fn heredocs_run_and_copy() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "FROM busybox\nENV WHO=world\nRUN <<EOF\necho hello > /a\necho $WHO >> /a\nEOF\n\
         COPY <<one <<\"two\" /d/\nto $WHO\none\nto $WHO\ntwo\n",
    );
    let files = kitchen.files(&["."]);
    let content = |path: &str| String::from_utf8_lossy(&files[path].content).into_owned();
    assert_eq!(
        (content("a"), content("d/one"), content("d/two")),
        ("hello\nworld\n".to_owned(), "to world\n".to_owned(), "to $WHO\n".to_owned())
    );
    assert_eq!(files["d/one"].mode, 0o644);
}

#[test]
fn ignored_files_stay_outside() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM scratch\nCOPY . /\n");
    kitchen.env.write(".dockerignore", "*.log\nnode_modules\n!keep.log\nDockerfile\n.dockerignore\n");
    for name in ["a.log", "keep.log", "node_modules/x", "src/b.log"] {
        kitchen.env.write(name, name);
    }
    let files = kitchen.files(&["."]);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["keep.log", "src", "src/b.log"]);
}

#[test]
fn archives_are_unpacked_by_add_and_not_by_copy() {
    let Some(kitchen) = Kitchen::new() else { return };
    let tar = galley_testkit::rootfs_tar(&[
        galley_testkit::TarEntry::Directory("in", 0o700),
        galley_testkit::TarEntry::File("in/f", 0o4755, b"x"),
        galley_testkit::TarEntry::Link("in/g", "in/f"),
    ]);
    kitchen.env.write("a.tar", tar);
    kitchen.dockerfile("FROM scratch\nADD a.tar /x/\nCOPY a.tar /y/\n");
    let files = kitchen.files(&["."]);
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["x", "x/in", "x/in/f", "x/in/g", "y", "y/a.tar"]);
    // The mode in the header of the link, which comes last.
    assert_eq!((files["x/in/f"].mode, files["x/in/g"].link.as_deref()), (0o777, Some("x/in/f")));
}

#[test]
fn deletions_reach_the_image() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "FROM busybox\nRUN mkdir -p /a/b && touch /a/b/c /d\nRUN rm -r /a /d && mkdir /a && touch /a/new\n",
    );
    let files = kitchen.files(&["."]);
    assert!(files.contains_key("a/new") && !files.contains_key("a/b") && !files.contains_key("d"));
}

#[test]
fn only_what_the_target_needs_is_built() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "FROM busybox AS broken\nRUN false\nFROM busybox AS fine\nRUN true\nFROM broken AS last\nRUN true\n",
    );
    let counts = kitchen.build(&["--target", "fine", "."]);
    assert_eq!(counts.executed, 1);
}

#[test]
fn onbuild_triggers_run_in_the_child() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nONBUILD COPY x /x\nONBUILD RUN cat /x > /y\n");
    kitchen.env.write("x", "from the child");
    kitchen.build(&["-t", "parent", "."]);
    kitchen.dockerfile("FROM parent\nRUN cat /y > /z\n");
    assert_eq!(kitchen.files(&["."])["z"].content, b"from the child");
}

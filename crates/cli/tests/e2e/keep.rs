//! What the store keeps: `system check`, `system df`, `prune` in all its forms, and collections by themselves.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
};

use fs_err as fs;

use super::{Kitchen, succeeded, text};

const DOCKERFILE: &str =
    "FROM busybox\nCOPY f /f\nRUN --mount=type=cache,target=/c cat /f > /g && echo x > /c/x\n";

fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile(DOCKERFILE);
    kitchen.env.write("f", "content");
    Some(kitchen)
}

/// What a command prints; it must end well.
fn said(kitchen: &Kitchen, arguments: &[&str]) -> String {
    let output = kitchen.command(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Nothing is damaged, and nothing is left over.
pub(super) fn assert_sound(kitchen: &Kitchen, when: &str) {
    let output = kitchen.command(&["system", "check"]).output().unwrap();
    assert!(output.status.success(), "{when}: {}", text(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("nothing is damaged"), "{when}: {said}");
}

#[test]
fn a_store_that_builds_have_filled_is_sound() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.build(&["-t", "x", "."]);
    kitchen.build(&["-t", "x", "-o", "type=oci,dest=out.tar", "."]);
    let said = said(&kitchen, &["system", "check"]);
    assert!(said.ends_with("nothing is damaged\n"), "{said}");
    assert!(said.starts_with("checked "), "{said}");
}

#[test]
fn everything_goes_that_no_name_needs_and_comes_again() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.build(&["-t", "x", "--reproducible", "."]);
    let before = said(&kitchen, &["inspect", "--format", "{{.Id}}", "x"]);
    let pruned = said(&kitchen, &["builder", "prune", "-af"]);
    assert!(
        pruned.starts_with("Deleted build cache objects:\n")
            && pruned.contains("\n\nTotal reclaimed space: "),
        "{pruned}"
    );
    assert_sound(&kitchen, "after builder prune");
    // The image is whole, and the build makes it again.
    assert_eq!(said(&kitchen, &["inspect", "--format", "{{.Id}}", "x"]), before);
    kitchen.build(&["-t", "x", "--reproducible", "."]);
    assert_eq!(said(&kitchen, &["inspect", "--format", "{{.Id}}", "x"]), before);
    assert_sound(&kitchen, "after the build");
    let again = said(&kitchen, &["system", "prune", "-af", "--volumes"]);
    assert!(again.contains("untagged: x:latest\n") && again.contains("deleted: sha256:"), "{again}");
    assert_sound(&kitchen, "after system prune");
    assert_eq!(said(&kitchen, &["images", "-q"]), "");
}

#[test]
fn docker_is_asked_before_anything_goes() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.build(&["-t", "x", "."]);
    let ask = |arguments: &[&str], answer: &str| {
        let mut child = kitchen.command(arguments);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        ask(&["system", "prune"], "n\n"),
        "WARNING! This will remove:\n  - all stopped containers\n  - all dangling images\n  - unused build cache\n\n\
         Are you sure you want to continue? [y/N] "
    );
    assert_eq!(
        ask(&["image", "prune", "-a"], ""),
        "WARNING! This will remove all images without at least one container associated to them.\n\
         Are you sure you want to continue? [y/N] \n"
    );
    let pruned = ask(&["image", "prune"], "y\n");
    assert!(pruned.ends_with("[y/N] Total reclaimed space: 0B\n"), "{pruned}");
    assert!(ask(&["buildx", "prune"], "\n").starts_with(
        "WARNING! This will remove all dangling build cache. Are you sure you want to continue? [y/N] "
    ));
    assert!(said(&kitchen, &["images", "-q"]).len() > 10);
}

#[test]
fn sizes_are_told_in_dockers_tables() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.build(&["-t", "x", "."]);
    let df = said(&kitchen, &["system", "df"]);
    let lines: Vec<&str> = df.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    );
    let kinds = ["Images", "Containers", "Local Volumes", "Build Cache"];
    assert!(lines[1..].iter().zip(kinds).all(|(line, kind)| line.starts_with(kind)), "{df}");
    let verbose = said(&kitchen, &["system", "df", "-v"]);
    for heading in [
        "Images space usage:",
        "Containers space usage:",
        "Local Volumes space usage:",
        "Build cache usage: ",
    ] {
        assert!(verbose.contains(heading), "{verbose}");
    }
    assert!(verbose.contains("exec.cachemount"), "{verbose}");
    let json = said(&kitchen, &["system", "df", "--format", "{{.Type}}={{.TotalCount}}"]);
    assert!(json.starts_with("Images=2\n") || json.starts_with("Images=1\n"), "{json}");
    let du = said(&kitchen, &["buildx", "du", "--filter", "type=exec.cachemount"]);
    assert_eq!(du.lines().count(), 2, "{du}");
    assert!(said(&kitchen, &["buildx", "du"]).contains("Reclaimable:\t"));
    let stages =
        "FROM busybox AS tools\nRUN echo tool > /tool\nFROM busybox\nCOPY --from=tools /tool /tool\n";
    kitchen.dockerfile(stages).build(&["-t", "staged", "."]);
    let verbose = said(&kitchen, &["buildx", "du", "--verbose"]);
    assert!(
        verbose.lines().any(|line| line.starts_with("Description:") && line.contains("RUN ")),
        "{verbose}"
    );
}

#[test]
fn a_store_stays_below_its_limit_by_itself() {
    let Some(kitchen) = kitchen() else { return };
    let megabyte = |number: usize| {
        kitchen.dockerfile(&format!("FROM busybox\nRUN head -c 1000000 /dev/urandom > /data{number}\n"));
        // What other tests remove from the disk would hide that this store grows.
        drop(fs::remove_file(kitchen.env.store().join("collector/sizes")));
        let mut build = kitchen.build_command(&["-t", "x", "."]);
        let output = build.env("GALLEY_STORE_LIMIT", "12MB").output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    };
    // Other tests remove files from the same disk, which hides some of what is written here: then it takes longer.
    let layers = || fs::read_dir(kitchen.env.store().join("layers")).unwrap().count();
    let is_collected = |number: &usize| {
        megabyte(*number);
        layers() < *number
    };
    assert!((0..60).any(|number| is_collected(&number)), "{} layers", layers());
    assert_sound(&kitchen, "after collections");
    let output = kitchen.build_command(&["."]).env("GALLEY_STORE_LIMIT", "many").output().unwrap();
    assert!(output.status.success(), "a wrong limit does not keep a build: {}", text(&output));
    kitchen.dockerfile("FROM busybox\nRUN echo news > /news\n");
    let output = kitchen.build_command(&["."]).env("GALLEY_STORE_LIMIT", "many").output().unwrap();
    assert!(text(&output).contains("warning: GALLEY_STORE_LIMIT: \"many\" is no size"), "{}", text(&output));
    let info =
        kitchen.command(&["info", "--format", "{{.StoreLimit}}"]).env("GALLEY_STORE_LIMIT", "2GB").output();
    assert_eq!(String::from_utf8(info.unwrap().stdout).unwrap(), "2.15GB\n");
}

#[test]
fn whatever_is_damaged_is_found_repaired_and_made_again() {
    let Some(kitchen) = kitchen() else { return };
    let build = || kitchen.build(&["-t", "x", "--reproducible", "."]);
    build();
    let id = || said(&kitchen, &["inspect", "--format", "{{.Id}}", "x"]);
    let expected = id();
    for folder in ["layers", "records", "exports", "images", "refs"] {
        let damaged = damage(&kitchen.env.store().join(folder));
        let output = kitchen.command(&["system", "check"]).output().unwrap();
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        assert_eq!(output.status.code(), Some(4), "{folder}: {}", text(&output));
        let name = damaged.components().nth(kitchen.env.store().components().count() + 1).unwrap();
        assert!(said.contains(&name.as_os_str().to_string_lossy()[..]), "{folder}: {said}");
        let repaired = kitchen.command(&["system", "check", "--repair"]).output().unwrap();
        assert!(repaired.status.success(), "{folder}: {}", text(&repaired));
        assert_sound(&kitchen, folder);
        build();
        assert_eq!(id(), expected, "{folder}");
        assert_sound(&kitchen, folder);
    }
    let json = said(&kitchen, &["system", "check", "--json"]);
    assert!(json.contains("\"sound\":true"), "{json}");
}

/// Flips a bit of the first larger file below `folder`.
fn damage(folder: &Path) -> PathBuf {
    let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let path = names.remove(0);
    let file = if path.is_dir() { path.join("tree") } else { path };
    let mut bytes = fs::read(&file).unwrap();
    bytes[0] ^= 0x40;
    fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn volumes_come_and_go() {
    let Some(kitchen) = kitchen() else { return };
    assert_eq!(said(&kitchen, &["volume", "create", "data"]), "data\n");
    assert_eq!(said(&kitchen, &["volume", "ls", "-q"]), "data\n");
    assert_eq!(said(&kitchen, &["volume", "ls"]), "DRIVER    VOLUME NAME\nlocal     data\n");
    let inspected = said(&kitchen, &["volume", "inspect", "--format", "{{.Name}} {{.Driver}}", "data"]);
    assert_eq!(inspected, "data local\n");
    assert_eq!(said(&kitchen, &["volume", "ls", "-qf", "dangling=true"]), "data\n");
    assert_eq!(said(&kitchen, &["volume", "ls", "-qf", "dangling=false"]), "");
    assert_eq!(said(&kitchen, &["volume", "ls", "-qf", "name=at"]), "data\n");
    assert_eq!(said(&kitchen, &["volume", "ls", "-qf", "name=^at", "-f", "name=^b|c$"]), "");
    assert_eq!(said(&kitchen, &["volume", "create", ""]).len(), 65);
    let output = kitchen.command(&["volume", "create", "../x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", text(&output));
    let pruned = said(&kitchen, &["volume", "prune", "-f"]);
    assert!(pruned.starts_with("Deleted Volumes:\n") && !pruned.contains("data"), "{pruned}");
    let pruned = said(&kitchen, &["volume", "prune", "-f", "--filter", "all=1"]);
    assert!(pruned.starts_with("Deleted Volumes:\ndata\n\nTotal reclaimed space: "), "{pruned}");
    let output = kitchen.command(&["volume", "rm", "data"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
}

/// What has lost its files is told beside all that has not.
#[test]
fn one_lost_layer_hides_nothing_else() {
    let Some(kitchen) = Kitchen::new() else { return };
    let layers = kitchen.env.store().join("layers");
    let build = |name: &str| {
        kitchen.dockerfile(&format!("FROM busybox\nRUN echo {name} > /{name}\n"));
        kitchen.build(&["-t", name, "."]);
        fs::read_dir(&layers).unwrap().map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    let before = build("whole");
    let after = build("broken");
    kitchen.galley(&["create", "--name", "web", "broken"]);
    let lost = kitchen.path("lost");
    fs::create_dir(&lost).unwrap();
    for name in after.difference(&before) {
        fs::rename(layers.join(name), lost.join(name)).unwrap();
    }
    let both = |arguments: &[&str]| {
        let output = succeeded(kitchen.command(arguments).output().unwrap());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let format = ["images", "--format", "{{.Repository}} {{.ID}}"];
    let (listed, error) = both(&format);
    assert!(listed.contains("whole ") && listed.contains("broken "), "{listed}");
    assert!(error.contains("warning: image broken:latest (") && error.contains("--repair"), "{error}");
    assert_eq!(error.matches("warning").count(), 1, "{error}");
    assert_eq!(both(&["images", "whole"]).1, "");
    for command in [&["inspect", "broken"][..], &["history", "broken"], &["ps", "-a", "--size"]] {
        let (out, error) = both(command);
        assert!(!out.is_empty() && error.contains("warning: image broken"), "{command:?}: {out}{error}");
    }
    assert!(both(&["history", "broken"]).0.contains("N/A"));
    both(&["system", "df", "-v"]);
    both(&["info"]);
    both(&["rm", "web"]);
    let is_it = |line: &&str| line.starts_with("broken ");
    both(&["rmi", listed.lines().find(is_it).unwrap().trim_start_matches("broken ")]);
    let (rest, error) = both(&format);
    assert!(rest.contains("whole ") && !rest.contains("broken "), "{rest}");
    assert_eq!(error, "");
}

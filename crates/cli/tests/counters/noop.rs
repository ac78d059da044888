//! Builds that change nothing, and commands that do nearly nothing.

use std::fmt::Write;

use super::{check, check_each, kitchen};
use crate::e2e::Kitchen;

/// A context of `count` small files, in folders of a hundred.
fn files(kitchen: &Kitchen, count: usize) {
    for number in 0..count {
        kitchen.env.write(&format!("{:03}/{number:05}", number / 100), number.to_string());
    }
}

/// Files are young only for a moment; until then they are not in the index of the context.
fn grow_old() {
    std::thread::sleep(std::time::Duration::from_millis(60));
}

/// Builds until the index of the context holds all of it.
fn settle(kitchen: &Kitchen) {
    grow_old();
    kitchen.build(&["."]);
}

#[test]
fn version() {
    let Some(kitchen) = kitchen() else { return };
    check("version", &kitchen.command(&["version"]));
}

#[test]
fn noop_of_5_files() {
    let Some(kitchen) = kitchen() else { return };
    files(&kitchen, 5);
    kitchen.dockerfile("FROM busybox\nCOPY . /app\nRUN true\nENV A=b\n").build(&["."]);
    settle(&kitchen);
    check("noop-5-files", &kitchen.build_command(&["."]));
}

#[test]
fn noop_of_2000_files() {
    let Some(kitchen) = kitchen() else { return };
    files(&kitchen, 2000);
    kitchen.dockerfile("FROM busybox\nCOPY . /app\n").build(&["."]);
    settle(&kitchen);
    check("noop-2000-files", &kitchen.build_command(&["."]));
}

#[test]
fn noop_of_a_large_file_reads_nothing_of_it() {
    let Some(kitchen) = kitchen() else { return };
    let large = fs_err::File::create(kitchen.env.work().join("large")).unwrap();
    large.set_len(256 << 20).unwrap();
    kitchen.dockerfile("FROM busybox\nCOPY . /app\n").build(&["."]);
    settle(&kitchen);
    check("noop-large-file", &kitchen.build_command(&["."]));
}

#[test]
fn two_hundred_labels() {
    let Some(kitchen) = kitchen() else { return };
    let mut text = "FROM busybox\nCOPY . /app\n".to_owned();
    for number in 0..100 {
        writeln!(text, "ENV NAME{number}=value\nLABEL label{number}=value").unwrap();
    }
    files(&kitchen, 5);
    kitchen.dockerfile(&text).build(&["."]);
    settle(&kitchen);
    check("noop-200-labels", &kitchen.build_command(&["."]));
}

#[test]
fn the_first_build() {
    let Some(kitchen) = kitchen() else { return };
    files(&kitchen, 5);
    kitchen.dockerfile("FROM scratch\nCOPY . /app\n");
    // Or it is a matter of chance whether there is an index to write.
    grow_old();
    check_each("first-build", &mut || {
        let _ = fs_err::remove_dir_all(kitchen.env.store());
        kitchen.command(&["build", "."])
    });
}

//! Cold builds that copy: into the local store, and only into an archive.
//!
//! What is to be seen in the pins: a source is read twice, once for the key and once for all the rest (tar, diffID, the
//! store's own copy), and nothing is written but what is asked for. The large file goes into the store in one pass, as all
//! that is new and has 8 MiB or more: `copy-large-file-store` reads it once, and writes it back while it comes (a flush and a thread
//! more); another thread finds the digest of a large file.

use std::process::Command;

use super::{check_each, kitchen};
use crate::e2e::Kitchen;

const FILES: usize = 2000;
const LARGE_BYTES: usize = 64 << 20;

fn many_files(kitchen: &Kitchen) {
    for number in 0..FILES {
        kitchen.env.write(&format!("{:03}/{number:05}", number / 100), number.to_string().repeat(500));
    }
}

fn large_file(kitchen: &Kitchen) {
    let bytes: Vec<u8> = (0..LARGE_BYTES).map(|at| (at / 4096 + at % 251) as u8).collect();
    kitchen.env.write("large", bytes);
}

/// A build into a store that is empty.
fn cold(kitchen: &Kitchen, output: &[&str]) -> Command {
    let _ = fs_err::remove_dir_all(kitchen.env.store());
    kitchen.command(&[&["build", "--progress=quiet"], output, &["."]].concat())
}

fn check_outputs(name: &str, prepare: fn(&Kitchen)) {
    let Some(kitchen) = kitchen() else { return };
    prepare(&kitchen);
    kitchen.dockerfile("FROM scratch\nCOPY . /app\n");
    let archive = format!("dest={}", kitchen.env.store().with_extension("tar").display());
    for (form, output) in [
        ("store", vec!["-t".to_owned(), "app".to_owned()]),
        ("tar", vec!["-o".to_owned(), format!("type=tar,{archive}")]),
        ("oci", vec!["-o".to_owned(), format!("type=oci,compression=uncompressed,{archive}")]),
    ] {
        let output: Vec<&str> = output.iter().map(String::as_str).collect();
        check_each(&format!("copy-{name}-{form}"), &mut || cold(&kitchen, &output));
    }
}

#[test]
fn copy_of_2000_files() {
    check_outputs("2000-files", many_files);
}

#[test]
fn copy_of_a_large_file() {
    check_outputs("large-file", large_file);
}

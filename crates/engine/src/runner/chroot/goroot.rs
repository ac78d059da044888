//! Where Go is, for a `go` that cannot find out itself.
//!
//! The programs of go.dev look for their own folder by /proc/self/exe, which is not there, and say "cannot find GOROOT
//! directory" without it. The official golang images do not set GOROOT. So a step is told what `go` would find; only the
//! process sees it: it is no part of the image's configuration, nor of any key.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
};

use galley_oci::{Stack, stack::Last};

/// Where go.dev says to unpack it, when nothing in PATH is called `go`.
const USUAL: &[u8] = b"/usr/local/go/bin";
const DIRECTORIES_MAX: usize = 64;

/// Adds GOROOT to the `NAME=value` of `env` when `stack` has a Go and nobody said where.
pub(super) fn tell(stack: &Stack, env: &mut Vec<OsString>) {
    if let Some(root) = missing(stack, env) {
        let mut variable = OsString::from("GOROOT=/");
        variable.push(OsStr::from_bytes(&root));
        env.push(variable);
    }
}

fn missing(stack: &Stack, env: &[OsString]) -> Option<Vec<u8>> {
    let value = |name: &[u8]| env.iter().find_map(|variable| variable.as_bytes().strip_prefix(name));
    if value(b"GOROOT=").is_some() {
        return None;
    }
    let path = value(b"PATH=").unwrap_or_default();
    let directories = path.split(|&byte| byte == b':').filter(|directory| directory.starts_with(b"/"));
    let mut directories = directories.take(DIRECTORIES_MAX).chain([USUAL]);
    let go = directories.find_map(|directory| file(stack, &[directory, b"/go"].concat()))?;
    root_of(stack, &go)
}

/// Where `path` leads, when there is a file.
fn file(stack: &Stack, path: &[u8]) -> Option<Vec<u8>> {
    let path = stack.resolve(path, Last::Follow).ok()?;
    stack.get(&path).filter(|found| !found.entry.is_directory())?;
    Some(path)
}

/// The folder that has `go` as `bin/go`, as far as it is Go's: the test is that of `go` itself.
fn root_of(stack: &Stack, go: &[u8]) -> Option<Vec<u8>> {
    let root = go.strip_suffix(b"/bin/go")?;
    let tools = stack.resolve(&[b"/", root, b"/pkg/tool"].concat(), Last::Follow).ok()?;
    stack.get(&tools).filter(|found| found.entry.is_directory())?;
    Some(root.to_owned())
}

#[cfg(test)]
mod tests;

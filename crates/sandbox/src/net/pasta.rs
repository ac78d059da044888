//! Connecting a namespace to the host's network with `pasta` (the package passt), a user-mode TCP/IP bridge.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::dns::FORWARDER;
use super::namespace::inside;
use crate::child::Child;
use crate::probe::find_program;
use crate::spawner::{Handles, HelperProgram, Spawner};

/// A running pasta; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Pasta {
    _child: Child,
}

/// It needs some 20 ms.
const START_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);
/// Its complaints are a line or two.
const COMPLAINT_MAX: u64 = 4096;

/// Directories of which one exists everywhere: there pasta, and only pasta, sees the namespace as a file.
const NETNS_PATHS: [&str; 4] = ["/run/netns", "/mnt", "/media", "/sys"];
/// Name of the namespace there.
pub(crate) const NETNS_NAME: &str = "galley";

/// What pasta needs, as far as that can be seen without it.
#[derive(Debug)]
pub(super) struct Needs {
    program: PathBuf,
    directory: &'static str,
}

/// Looks for what pasta needs; or says what is missing.
pub(super) fn find() -> Result<Needs, String> {
    let program =
        find_program("pasta").ok_or("pasta is not in PATH (Debian, Ubuntu, Fedora: package passt)")?;
    rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| format!("/dev/net/tun cannot be opened: {}", io::Error::from(error)))?;
    let directory =
        directory_for(&program).ok_or("there is no directory to mount the namespace on for pasta")?;
    Ok(Needs { program, directory })
}

/// The first directory that is there and does not hide the program itself.
fn directory_for(program: &Path) -> Option<&'static str> {
    let resolved = fs_err::canonicalize(program).unwrap_or_default();
    let hides = |path: &str| program.starts_with(path) || resolved.starts_with(path);
    NETNS_PATHS.into_iter().find(|path| Path::new(path).is_dir() && !hides(path))
}

/// Starts pasta and waits until the namespace has a route to the world; or says why it has none.
pub(super) fn start(needs: &Needs, spawner: &Spawner, netns: BorrowedFd<'_>) -> Result<Pasta, String> {
    let Needs { program, directory } = needs;
    let mut args = vec![program.clone().into_os_string()];
    args.extend(["--foreground", "--quiet", "--stderr", "--config-net", "--no-map-gw"].map(Into::into));
    // Ports are published by galley's own proxy, and the host's loopback stays the host's.
    args.extend(["-t", "none", "-u", "none", "-T", "none", "-U", "none"].map(Into::into));
    args.extend(["--dns-forward", FORWARDER].map(Into::into));
    // Root of the machine is not obeyed otherwise: pasta would become nobody and lose the right to enter.
    args.extend(["--runas", "0"].map(Into::into));
    args.extend(["--netns".into(), format!("{directory}/{NETNS_NAME}").into()]);
    let helper = HelperProgram { args, env: Vec::new(), netns_directory: Some((*directory).to_owned()) };

    let (mut complaints, stderr) = io::pipe().map_err(|error| error.to_string())?;
    let handles = Handles { stderr: Some(stderr.as_fd()), netns: Some(netns), ..Handles::default() };
    let child = spawner.spawn_helper(&helper, handles).map_err(|error| error.to_string())?;
    drop(stderr);
    let connected = inside(netns, || await_route(&child)).map_err(|error| error.to_string())?;
    if connected {
        return Ok(Pasta { _child: child });
    }
    drop(child);
    let mut text = String::new();
    let _ = (&mut complaints).take(COMPLAINT_MAX).read_to_string(&mut text);
    // Without a system logger it complains about that too.
    let useful: Vec<&str> =
        text.lines().filter(|line| !line.contains("syslog") && !line.is_empty()).collect();
    Err(format!("pasta failed: {}", useful.join("; ")))
}

/// Runs inside the namespace: whether a default route appears before pasta ends.
fn await_route(child: &Child) -> bool {
    let start = Instant::now();
    while start.elapsed() < START_MAX {
        if has_default_route() {
            return true;
        }
        if !matches!(child.wait_timeout(POLL), Ok(None)) {
            return false;
        }
    }
    false
}

fn has_default_route() -> bool {
    let table = |path| fs_err::read_to_string(path).unwrap_or_default();
    let v4 = table("/proc/thread-self/net/route");
    let v6 = table("/proc/thread-self/net/ipv6_route");
    let nowhere = "0".repeat(32);
    v4.lines().skip(1).any(|line| line.split('\t').nth(1) == Some("00000000"))
        || v6.lines().any(|line| line.starts_with(&nowhere) && !line.trim_end().ends_with("lo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_stays_in_sight() {
        let usual = directory_for(Path::new("/usr/bin/pasta")).unwrap();
        let other = directory_for(&Path::new(usual).join("bin/pasta")).unwrap();
        assert_ne!(usual, other);
    }
}

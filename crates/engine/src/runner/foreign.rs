//! Programs for other machines: whether this processor runs them, or an emulator that the kernel knows.
//!
//! What can be tried is tried: a program of a few bytes costs a millisecond, and a kernel may lack what its processor can.

mod binfmt;
mod elf;

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use galley_oci::{Platform, stack::Last};
use rustix::fs::MemfdFlags;

use self::binfmt::Handlers;
use crate::{Error, ErrorKind, Snapshot, steps::files::Files};

/// Where the kernel lists its emulators.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
/// The kernel's answer to a program that it has no use for.
const ENOEXEC: i32 = 8;
/// Its answer to one that somebody holds open for writing, as a process just forked does for a moment.
const ETXTBSY: i32 = 26;
/// How often such a program is tried again.
const TRIALS_MAX: usize = 200;

/// An error unless programs for `platform` in `snapshot` run on this machine.
pub(super) fn check(platform: &Platform, snapshot: &Snapshot) -> Result<(), Error> {
    let here = Platform::of_this_machine();
    if platform.os != here.os {
        return Err(refused(platform, &here).help("steps run on Linux, for Linux"));
    }
    match natively(platform, &here) {
        Some(Ok(())) => return Ok(()),
        Some(Err(why)) => return Err(refused(platform, &here).help(why).help(CROSS)),
        None => {}
    }
    let header = elf::header(&platform.architecture);
    match Handlers::read(Path::new(BINFMT)) {
        Handlers::Disabled => Err(refused(platform, &here)
            .help(format!("emulators are switched off: echo 1 > {BINFMT}/status"))
            .help(CROSS)),
        Handlers::Known(known) => {
            let handler = header.as_ref().and_then(|header| known.iter().find(|one| one.takes(header)));
            let handler = handler.ok_or_else(|| no_emulator(platform, &here))?;
            if handler.needs_nothing || is_in(snapshot, &handler.interpreter)? {
                return Ok(());
            }
            Err(refused(platform, &here)
                .help(format!(
                    "the kernel's emulator for it is {}, which is not in the files of this step: register it with the \
                     flag F, as the package qemu-user-static does, or put it there",
                    handler.interpreter
                ))
                .help(CROSS))
        }
        // The list is not to be seen in here, which says nothing about what the kernel does.
        Handlers::Hidden => match header.map(|header| tried(&header)) {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) if error.raw_os_error() != Some(ENOEXEC) => Ok(()),
            _ => Err(no_emulator(platform, &here)),
        },
    }
}

/// The architectures whose programs an emulator of the kernel runs; none when that cannot be seen.
#[must_use]
pub fn emulated() -> Option<Vec<&'static str>> {
    let Handlers::Known(known) = Handlers::read(Path::new(BINFMT)) else { return None };
    let taken = |name: &&str| {
        let header = elf::header(name);
        header.is_some_and(|header| known.iter().any(|handler| handler.takes(&header)))
    };
    Some(elf::ARCHITECTURES.into_iter().filter(taken).collect())
}

/// What to do in the Dockerfile instead.
const CROSS: &str =
    "or make it here for there: FROM --platform=$BUILDPLATFORM, and ARG TARGETOS TARGETARCH for the compiler";

fn refused(platform: &Platform, here: &Platform) -> Error {
    let message = format!("programs for {platform} do not run on this machine, which is {here}");
    Error::new(ErrorKind::Machine, message).label(format!("RUN for {platform}"))
}

fn no_emulator(platform: &Platform, here: &Platform) -> Error {
    refused(platform, here)
        .help(format!(
            "register an emulator for {} with the kernel: install qemu-user-static, or run the image tonistiigi/binfmt as root",
            platform.architecture
        ))
        .help(CROSS)
}

/// Whether the processor runs it, or why not; none when only an emulator could.
fn natively(platform: &Platform, here: &Platform) -> Option<Result<(), String>> {
    match (here.architecture.as_str(), platform.architecture.as_str()) {
        ("amd64", "amd64") => Some(level(platform)),
        ("amd64", "386") | ("arm64", "arm") => {
            match elf::program(&platform.architecture).map(|program| tried(&program)) {
                Some(Ok(true)) => Some(Ok(())),
                // The processor, or the kernel, has no 32-bit mode.
                _ => None,
            }
        }
        // Variants of one architecture: nothing but the program itself can tell.
        (own, other) if own == other => Some(Ok(())),
        _ => None,
    }
}

/// The levels of x86-64, by what they need.
fn level(platform: &Platform) -> Result<(), String> {
    let wanted = platform.variant.as_deref().and_then(|variant| variant.strip_prefix('v')?.parse().ok());
    let (wanted, own): (u8, u8) = (wanted.unwrap_or(1), own_level());
    if wanted <= own {
        return Ok(());
    }
    Err(format!("this machine's processor is of level v{own}"))
}

#[cfg(target_arch = "x86_64")]
fn own_level() -> u8 {
    macro_rules! has {
        ($($feature:tt)*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
    }
    if !has!("cmpxchg16b" "popcnt" "sse3" "sse4.1" "sse4.2" "ssse3") {
        1
    } else if !has!("avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe") {
        2
    } else if !has!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl") {
        3
    } else {
        4
    }
}

#[cfg(not(target_arch = "x86_64"))]
const fn own_level() -> u8 {
    0
}

/// Whether `snapshot` has a file under this path.
fn is_in(snapshot: &Snapshot, path: &str) -> Result<bool, Error> {
    let files = Files::of_snapshot(snapshot)?;
    let found = files.stack().resolve(path.as_bytes(), Last::Follow);
    Ok(found.is_ok_and(|path| files.stack().get(&path).is_some()))
}

/// Has the kernel start a program, from memory; whether it ended well.
fn tried(program: &[u8]) -> io::Result<bool> {
    let mut writable = File::from(rustix::fs::memfd_create("galley-trial", MemfdFlags::CLOEXEC)?);
    writable.write_all(program)?;
    let path = format!("/proc/self/fd/{}", writable.as_raw_fd());
    let readable = fs_err::File::open(&path)?;
    drop(writable);
    let path = format!("/proc/self/fd/{}", readable.as_raw_fd());
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for _ in 0..TRIALS_MAX {
        match command.status() {
            Err(error) if error.raw_os_error() == Some(ETXTBSY) => thread::sleep(Duration::from_millis(1)),
            ended => return ended.map(|status| status.success()),
        }
    }
    Err(io::Error::from_raw_os_error(ETXTBSY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_tells_what_the_kernel_takes() {
        let unknown = tried(&elf::header("s390x").unwrap()).map_err(|error| error.raw_os_error());
        // Where an emulator is registered it starts and fails: there is no program behind the header.
        assert!(matches!(unknown, Err(Some(ENOEXEC)) | Ok(false)), "{unknown:?}");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_program_of_a_few_bytes_is_one() {
        let ended = tried(&elf::program("386").unwrap()).map_err(|error| error.raw_os_error());
        // A kernel without 32-bit mode does not take it; one that takes it runs it to its end.
        assert!(matches!(ended, Ok(true) | Err(Some(ENOEXEC))), "{ended:?}");
    }

    #[test]
    fn an_unknown_machine_is_refused_with_advice() {
        let error = check(&"linux/pdp11".parse().unwrap(), &Snapshot::empty()).unwrap_err();
        let here = Platform::of_this_machine();
        assert_eq!(
            error.to_string(),
            format!("programs for linux/pdp11 do not run on this machine, which is {here}")
        );
        assert!(error.help[0].starts_with("register an emulator for pdp11"), "{:?}", error.help);
        assert!(error.help[1].contains("--platform=$BUILDPLATFORM"), "{:?}", error.help);
        let error = check(&"windows/amd64".parse().unwrap(), &Snapshot::empty()).unwrap_err();
        assert_eq!(error.help, ["steps run on Linux, for Linux"]);
    }

    #[test]
    fn variants_of_this_machine_run_as_far_as_its_processor_goes() {
        let amd64: Platform = "linux/amd64".parse().unwrap();
        let runs = |text: &str| natively(&text.parse().unwrap(), &amd64).map(|found| found.is_ok());
        assert_eq!(runs("linux/amd64"), Some(own_level() >= 1));
        assert_eq!(runs("linux/amd64/v9"), Some(false));
        assert_eq!(runs("linux/arm64"), None);
    }
}

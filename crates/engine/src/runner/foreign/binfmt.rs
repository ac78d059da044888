//! The kernel's list of emulators: programs that it starts for programs of other machines.

use std::path::Path;

use fs_err as fs;

/// The longest description of one that is read.
const BYTES_MAX: usize = 4096;

/// What can be seen of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Handlers {
    /// Those that are switched on.
    Known(Vec<Handler>),
    /// All are switched off.
    Disabled,
    /// The list is not mounted here.
    Hidden,
}

/// One emulator.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handler {
    /// Its path.
    pub(super) interpreter: String,
    /// The kernel holds it open (flag F): it need not be there where the program is.
    pub(super) needs_nothing: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Handlers {
    /// Reads the list at `folder`.
    pub(super) fn read(folder: &Path) -> Self {
        match fs::read_to_string(folder.join("status")).as_deref().map(str::trim) {
            Ok("enabled") => {}
            Ok(_) => return Self::Disabled,
            Err(_) => return Self::Hidden,
        }
        let Ok(entries) = fs::read_dir(folder) else { return Self::Hidden };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        // The kernel takes the one that was registered last, and nothing tells which: the order is at least always the same.
        paths.sort();
        let texts = paths.iter().filter_map(|path| fs::read_to_string(path).ok());
        Self::Known(texts.filter_map(|text| Handler::parse(&text)).collect())
    }
}

impl Handler {
    /// Understands one description; none for one that is switched off, or goes by the end of a name.
    fn parse(text: &str) -> Option<Self> {
        if text.len() > BYTES_MAX || !text.starts_with("enabled\n") {
            return None;
        }
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let magic = hex(value("magic ")?)?;
        let mask = match value("mask ") {
            Some(mask) => hex(mask)?,
            None => vec![0xff; magic.len()],
        };
        Some(Self {
            interpreter: value("interpreter ")?.to_owned(),
            needs_nothing: value("flags:").is_some_and(|flags| flags.contains('F')),
            offset: value("offset ").unwrap_or("0").parse().ok()?,
            magic,
            mask,
        })
    }

    /// Whether a program that begins like this is for it.
    pub(super) fn takes(&self, program: &[u8]) -> bool {
        let Some(found) = program.get(self.offset..self.offset.saturating_add(self.magic.len())) else {
            return false;
        };
        let pairs = found.iter().zip(&self.magic).zip(&self.mask);
        pairs.into_iter().all(|((found, wanted), mask)| (found ^ wanted) & mask == 0)
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).ok());
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::elf, *};

    const ARM64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64\nflags: POCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn what_the_kernel_shows() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Handlers::read(folder.path()), Handlers::Hidden);
        fs::write(folder.path().join("status"), "disabled\n").unwrap();
        assert_eq!(Handlers::read(folder.path()), Handlers::Disabled);
        fs::write(folder.path().join("status"), "enabled\n").unwrap();
        fs::write(folder.path().join("register"), "").unwrap();
        fs::write(folder.path().join("java"), "enabled\ninterpreter /java\nflags: \nextension .jar\n")
            .unwrap();
        fs::write(folder.path().join("qemu-arm"), ARM64.replace("enabled", "disabled")).unwrap();
        fs::write(folder.path().join("qemu-aarch64"), ARM64).unwrap();
        let Handlers::Known(known) = Handlers::read(folder.path()) else { panic!("a list") };
        let [one] = &known[..] else { panic!("{known:?}") };
        assert_eq!(one.interpreter, "/usr/libexec/qemu-binfmt/aarch64");
        assert!(one.needs_nothing);
        assert!(one.takes(&elf::header("arm64").unwrap()));
        for other in ["arm", "amd64", "riscv64", "arm64be"] {
            assert!(!one.takes(&elf::header(other).unwrap()), "{other}");
        }
    }

    #[test]
    fn without_the_flag_it_has_to_be_there() {
        let handler = Handler::parse(&ARM64.replace("POCF", "OC")).unwrap();
        assert!(!handler.needs_nothing);
        assert_eq!(Handler::parse(&ARM64.replace("b700", "b70")), None);
    }

    proptest! {
        #[test]
        fn nothing_in_the_list_panics(text in "(enabled\n)?(magic [0-9a-g]{0,9}\n)?(offset -?[0-9]{1,21}\n)?.{0,40}", program in any::<Vec<u8>>()) {
            if let Some(handler) = Handler::parse(&text) {
                handler.takes(&program);
            }
            if let Some(handler) = Handler::parse(&format!("{text}\ninterpreter x\n")) {
                handler.takes(&program);
            }
        }
    }
}

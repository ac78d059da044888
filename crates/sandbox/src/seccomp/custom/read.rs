//! Docker's JSON for a system call filter, as it is written.

use serde::Deserialize;

/// System calls have so many arguments.
const ARGUMENTS_MAX: u64 = 6;
/// The kernel gives a program no error above this one.
const ERRNO_MAX: u64 = 4095;

/// The whole file. What is not here is ignored, as in Docker.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    pub(super) default_action: Verb,
    pub(super) default_errno_ret: Option<Errno>,
    pub(super) architectures: Option<Vec<String>>,
    pub(super) arch_map: Option<Vec<Machine>>,
    pub(super) flags: Option<Vec<Flag>>,
    pub(super) syscalls: Option<Vec<Entry>>,
}

/// A machine and those whose calls its processes can make too.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Machine {
    pub(super) architecture: String,
    pub(super) sub_architectures: Option<Vec<String>>,
}

/// How it is loaded.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum Flag {
    /// For all threads; there is one.
    #[serde(rename = "SECCOMP_FILTER_FLAG_TSYNC")]
    AllThreads,
    /// The kernel's log tells of what is refused.
    #[serde(rename = "SECCOMP_FILTER_FLAG_LOG")]
    Log,
    /// The processor may go on guessing.
    #[serde(rename = "SECCOMP_FILTER_FLAG_SPEC_ALLOW")]
    Speculate,
}

impl Flag {
    /// The kernel's bit.
    pub(super) const fn bits(self) -> u32 {
        match self {
            Self::AllThreads => 0,
            Self::Log => 2,
            Self::Speculate => 4,
        }
    }
}

/// One rule for several calls.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) name: Option<String>,
    pub(super) names: Option<Vec<String>>,
    pub(super) action: Verb,
    pub(super) errno_ret: Option<Errno>,
    pub(super) args: Option<Vec<Condition>>,
    pub(super) includes: Option<When>,
    pub(super) excludes: Option<When>,
}

/// When a rule holds.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct When {
    pub(super) caps: Option<Vec<String>>,
    pub(super) arches: Option<Vec<String>>,
    pub(super) min_kernel: Option<Kernel>,
}

/// Something about one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    pub(super) index: Index,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: Comparison,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Verb {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
}

/// How an argument is compared, with the value on the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Comparison {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// What the first value leaves of it is the second.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// The number of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct Index(pub(super) u8);

impl TryFrom<u64> for Index {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        let index = u8::try_from(number).ok().filter(|_| number < ARGUMENTS_MAX);
        index
            .map(Self)
            .ok_or_else(|| format!("a call has no argument {number}: they are counted from 0 to 5"))
    }
}

/// The number of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct Errno(pub(super) u32);

impl TryFrom<u64> for Errno {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        let errno = u32::try_from(number).ok().filter(|_| number <= ERRNO_MAX);
        errno.map(Self).ok_or_else(|| format!("{number} is no error number: the highest is {ERRNO_MAX}"))
    }
}

/// A version of the kernel: 5.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Kernel(pub(super) u32, pub(super) u32);

impl TryFrom<String> for Kernel {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let version =
            text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        version
            .map(|(major, minor)| Self(major, minor))
            .ok_or_else(|| format!("{text:?} is no version of a kernel: write 5.10"))
    }
}

impl Kernel {
    /// The one that runs; the oldest of all if it does not say.
    pub(super) fn here() -> Self {
        let system = rustix::system::uname();
        let release = system.release().to_string_lossy();
        let mut numbers =
            release.split(|letter: char| !letter.is_ascii_digit()).map_while(|number| number.parse().ok());
        Self(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

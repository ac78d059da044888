//! Which machine an image is for.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Operating system, architecture and variant, in Go's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `linux`, …
    pub os: String,
    /// Only on Windows.
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Only on Windows.
    #[serde(rename = "os.features", skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
    /// `v7` of `arm`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What this program does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Why a text is no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePlatformError {
    /// Not one to three words between slashes.
    #[error("platform {0:?} is not written as os/architecture or os/architecture/variant")]
    Format(String),
    /// A single word that is neither a known system nor a known architecture.
    #[error(
        "platform {0:?} is neither a known operating system nor a known architecture: write os/architecture"
    )]
    Unknown(String),
}

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
    "zos",
];

const ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// The second minor version of the 64-bit ARM architecture that version 9.0 includes: 8.5.
const ARM_8_IN_9: u8 = 5;
/// The newest minor version of the 8th.
const ARM_8_NEWEST: u8 = 9;

impl Platform {
    /// A platform without a variant.
    #[must_use]
    pub fn new(os: &str, architecture: &str) -> Self {
        let (architecture, variant) = normalise_architecture(architecture, "");
        Self { architecture, os: normalise_system(os), variant, ..Self::default() }
    }

    /// The platform that this program was compiled for, always with Linux as its system.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::new("linux", std::env::consts::ARCH)
    }

    /// The same platform in the usual words: `x86_64` becomes `amd64`, the default variants vanish.
    #[must_use]
    pub fn normalised(&self) -> Self {
        let (architecture, variant) =
            normalise_architecture(&self.architecture, self.variant.as_deref().unwrap_or_default());
        Self { architecture, variant, os: normalise_system(&self.os), ..self.clone() }
    }

    /// How well an image for `image` runs here: 0 is best, `None` is not at all. Older variants of ARM run on newer
    /// ones, and 32-bit programs on amd64 and arm64.
    #[must_use]
    pub fn rank(&self, image: &Self) -> Option<usize> {
        let (own, image) = (self.normalised(), image.normalised());
        let wanted = (image.architecture.as_str(), image.variant.as_deref().unwrap_or_default());
        let runnable = own.runnable();
        let position =
            runnable.iter().position(|(architecture, variant)| (*architecture, variant.as_str()) == wanted);
        position.filter(|_| own.os == image.os)
    }

    /// Whether an image for `image` is exactly for this platform.
    #[must_use]
    pub fn matches(&self, image: &Self) -> bool {
        self.rank(image) == Some(0)
    }

    /// What runs here, the best first; the version of Windows counts elsewhere.
    fn runnable(&self) -> Vec<(&str, String)> {
        let variant = self.variant.clone().unwrap_or_default();
        let arm = |newest: u8| (5..=newest).rev().map(|version| ("arm", format!("v{version}")));
        match (self.architecture.as_str(), variant.as_str()) {
            ("amd64", _) => {
                let level = variant.strip_prefix('v').and_then(|level| level.parse::<u8>().ok()).unwrap_or(1);
                let lower = (2..=level.min(9)).rev().map(|level| ("amd64", format!("v{level}")));
                lower.chain([("amd64", String::new()), ("386", String::new())]).collect()
            }
            ("arm64", _) => match arm64_versions(&variant) {
                versions if versions.is_empty() => vec![("arm64", variant)],
                versions => versions.into_iter().map(|version| ("arm64", version)).chain(arm(8)).collect(),
            },
            ("arm", "v8") => arm(8).collect(),
            ("arm", "v7") => arm(7).collect(),
            ("arm", "v6") => arm(6).collect(),
            (other, _) => vec![(other, variant)],
        }
    }
}

/// The variants of 64-bit ARM that a machine of this one runs, the newest first; none when it is not known.
fn arm64_versions(variant: &str) -> Vec<String> {
    let text = variant.strip_prefix('v').unwrap_or("8");
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    let name = |major: u8, minor: u8| match (major, minor) {
        (8, 0) => String::new(),
        (_, 0) => format!("v{major}"),
        _ => format!("v{major}.{minor}"),
    };
    let down = |major, minor: u8| (0..=minor).rev().map(move |minor| name(major, minor));
    match (major, minor.parse::<u8>()) {
        ("8", Ok(minor @ 0..=ARM_8_NEWEST)) => down(8, minor).collect(),
        ("9", Ok(minor @ 0..=7)) => {
            down(9, minor).chain(down(8, (ARM_8_IN_9 + minor).min(ARM_8_NEWEST))).collect()
        }
        _ => Vec::new(),
    }
}

fn normalise_system(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

fn normalise_architecture(architecture: &str, variant: &str) -> (String, Option<String>) {
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.to_ascii_lowercase().as_str(), variant.as_str()) {
        ("i386" | "i686" | "x86", _) => ("386".to_owned(), String::new()),
        ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64".to_owned(), String::new()),
        ("x86_64" | "x86-64", _) => ("amd64".to_owned(), variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0" | "") => ("arm64".to_owned(), String::new()),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64".to_owned(), "v9".to_owned()),
        ("aarch64", _) => ("arm64".to_owned(), variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm".to_owned(), "v7".to_owned()),
        ("armel", _) | ("arm", "6") => ("arm".to_owned(), "v6".to_owned()),
        ("arm", "5") => ("arm".to_owned(), "v5".to_owned()),
        ("arm", "8") => ("arm".to_owned(), "v8".to_owned()),
        ("powerpc64", _) => ("ppc64".to_owned(), variant),
        ("powerpc64le", _) => ("ppc64le".to_owned(), variant),
        (other, _) => (other.to_owned(), variant),
    };
    (architecture, Some(variant).filter(|variant| !variant.is_empty()))
}

/// What stands before the first slash: a system, and on Windows its version and features.
struct System {
    name: String,
    version: Option<String>,
    features: Option<Vec<String>>,
}

impl System {
    /// Understands `windows`, `windows(10.0.17763)`, `windows(10.0.17763+win32k)`.
    fn parse(text: &str) -> Option<Self> {
        let (name, options) = match text.split_once('(') {
            Some((name, options)) => (name, options.strip_suffix(')')?),
            None => (text, ""),
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let is_option = |byte: u8| byte.is_ascii_alphanumeric() || b"_.%+-".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) || !options.bytes().all(is_option) {
            return None;
        }
        let mut options = options.split('+').map(decoded);
        let version = options.next()??;
        let mut features = options.collect::<Option<Vec<_>>>()?;
        features.retain(|feature| !feature.is_empty());
        features.sort_unstable();
        features.dedup();
        Some(Self {
            name: normalise_system(name),
            version: Some(version).filter(|version| !version.is_empty()),
            features: Some(features).filter(|features| !features.is_empty()),
        })
    }
}

/// `%2B` is a plus.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

/// The other way round, for all that could be taken for something else.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"_.-".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

impl Hash for Platform {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.os, &self.architecture, &self.variant, &self.os_version).hash(state);
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let format = || ParsePlatformError::Format(text.to_owned());
        let word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let system = System::parse(parts[0]).ok_or_else(format)?;
        if !parts[1..].iter().all(word) {
            return Err(format());
        }
        let here = Self::of_this_machine();
        let (architecture, variant) = match parts[1..] {
            [] if SYSTEMS.contains(&system.name.as_str()) => (here.architecture.as_str(), ""),
            [] => {
                let architecture = Self::new("linux", text);
                let known = ARCHITECTURES.contains(&architecture.architecture.as_str());
                return if known {
                    Ok(architecture)
                } else {
                    Err(ParsePlatformError::Unknown(text.to_owned()))
                };
            }
            [architecture] => (architecture, ""),
            [architecture, variant] => (architecture, variant),
            _ => return Err(format()),
        };
        let platform = Self {
            architecture: architecture.to_owned(),
            os: system.name,
            os_version: system.version,
            os_features: system.features,
            variant: Some(variant.to_owned()).filter(|variant| !variant.is_empty()),
            ..Self::default()
        };
        Ok(platform.normalised())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        let features = self.os_features.iter().flatten().filter(|feature| !feature.is_empty());
        let features: String = features.map(|feature| format!("+{}", encoded(feature))).collect();
        let version = self.os_version.as_deref().map(encoded).unwrap_or_default();
        if !version.is_empty() || !features.is_empty() {
            write!(f, "({version}{features})")?;
        }
        write!(f, "/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn usual_words() {
        for (text, wanted) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("aarch64", "linux/arm64"),
            ("armhf", "linux/arm/v7"),
            ("Linux/AMD64/v1", "linux/amd64"),
            ("macos/arm64", "darwin/arm64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm64/9", "linux/arm64/v9"),
            ("linux/loongarch/x.1", "linux/loongarch/x.1"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
            ("windows(10.0+win32k+a+a)/amd64", "windows(10.0+a+win32k)/amd64"),
            ("windows(+a%2Bb)/amd64", "windows(+a%2Bb)/amd64"),
        ] {
            assert_eq!(parse(text).to_string(), wanted, "{text}");
        }
        for bad in [
            "",
            "linux/",
            "a/b/c/d",
            "linux/am d64",
            "pdp11",
            "linux(1/amd64",
            "li.nux/a",
            "*/arm",
            "w(%x)/a",
        ] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_is_read_again(text in r"(linux|windows)(\([0-9.]{0,4}(\+[a-z%2B]{1,4}){0,2}\))?(/(arm|arm64|x86_64|[a-z]{3})(/[v0-9.]{1,3})?)?|.{0,12}") {
            if let Ok(platform) = text.parse::<Platform>() {
                proptest::prop_assert_eq!(platform.to_string().parse::<Platform>(), Ok(platform.clone()));
                proptest::prop_assert!(platform.matches(&platform) || platform.variant.is_some());
            }
        }
    }

    #[test]
    fn the_nearest_platform_ranks_best() {
        let rank = |own: &str, image: &str| parse(own).rank(&parse(image));
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/386"), Some(1));
        assert_eq!(rank("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(rank("linux/amd64/v3", "linux/amd64/v2"), Some(1));
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert!(rank("linux/arm64", "linux/arm/v7") < rank("linux/arm64", "linux/arm/v6"));
        assert_eq!(rank("linux/arm64/v9", "linux/arm64/v8.5"), Some(1));
        assert_eq!(rank("linux/arm64/v8.1", "linux/arm64/v8"), Some(1));
        assert_eq!(rank("linux/arm64", "linux/arm64/v8.1"), None);
        assert!(rank("linux/arm64/v9", "linux/arm/v7").is_some());
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
        assert!(!parse("linux/amd64").matches(&parse("linux/386")));
    }
}

//! Files that look like secrets: by their names, and where a name alone says too little by a look into them. What is in
//! them is never shown, kept or written.

use std::{ffi::OsStr, io::Read, os::unix::ffi::OsStrExt, path::Path};

use fs_err as fs;
use galley_oci::tree::file_name;

/// How much of a file is looked at; what matters stands near the beginning, and these files are short.
const LOOK_BYTES_MAX: u64 = 64 << 10;

/// A kind of file that is no matter for an image.
struct Kind {
    reason: &'static str,
    /// Of the whole path, in lower case.
    names: &'static [Name],
    /// What must be in it; nothing when the name says enough.
    content: fn(&[u8]) -> bool,
}

/// A form of names.
enum Name {
    /// The name of the file.
    Is(&'static str),
    Begins(&'static str),
    Ends(&'static str),
    /// The last names of the path.
    Path(&'static str),
}
use Name::{Begins, Ends, Is, Path as At};

/// Endings of files that show how the one with the secrets looks.
const EXAMPLES: [&str; 7] = ["example", "sample", "template", "tmpl", "dist", "defaults", "schema"];

const KINDS: &[Kind] = &[
    Kind {
        reason: "settings, which often are passwords",
        names: &[Is(".env"), Begins(".env."), Is(".envrc")],
        content: says_something,
    },
    Kind {
        reason: "a private SSH key",
        names: &[
            Is("id_rsa"),
            Is("id_dsa"),
            Is("id_ecdsa"),
            Is("id_ed25519"),
            Is("id_ecdsa_sk"),
            Is("id_ed25519_sk"),
        ],
        content: says_something,
    },
    Kind {
        reason: "a private key",
        names: &[
            Ends(".pem"),
            Ends(".key"),
            Ends(".p8"),
            Ends(".pk8"),
            Ends(".crt"),
            Ends(".asc"),
            Begins("id_"),
            Ends("_key"),
        ],
        content: |text| has(text, b"-----BEGIN") && has(text, b"PRIVATE KEY"),
    },
    Kind {
        reason: "a store of keys",
        names: &[Ends(".p12"), Ends(".pfx"), Ends(".jks"), Ends(".keystore"), Ends(".kdbx"), Ends(".ppk")],
        content: says_something,
    },
    Kind {
        reason: "passwords",
        names: &[
            Is(".git-credentials"),
            Is(".pgpass"),
            Is(".vault-token"),
            Is(".my.cnf"),
            At(".cargo/credentials"),
            At(".gem/credentials"),
        ],
        content: says_something,
    },
    Kind {
        reason: "a token of a cargo registry",
        names: &[At(".cargo/credentials.toml")],
        content: |text| has(text, b"token"),
    },
    Kind { reason: "keys of AWS", names: &[At(".aws/credentials")], content: says_something },
    Kind {
        reason: "state of Terraform, secrets in the clear",
        names: &[Ends(".tfstate")],
        content: says_something,
    },
    Kind {
        reason: "a token of an npm registry",
        names: &[Is(".npmrc"), Is(".yarnrc"), Is(".yarnrc.yml")],
        content: |text| {
            let keys = [&b"_authtoken"[..], b"_auth", b"_password", b"npmauthtoken", b"npmauthident"];
            keys.iter().any(|key| has_value(text, key))
        },
    },
    Kind {
        reason: "passwords of hosts",
        names: &[Is(".netrc"), Is("_netrc")],
        content: |text| has(text, b"password"),
    },
    Kind {
        reason: "a password of a package index",
        names: &[Is(".pypirc"), Is("pip.conf")],
        content: |text| has_value(text, b"password") || has_password_in_url(text),
    },
    Kind {
        reason: "logins of registries",
        names: &[
            At(".docker/config.json"),
            Is(".dockercfg"),
            Is(".dockerconfigjson"),
            At("containers/auth.json"),
        ],
        content: |text| has(text, b"\"auth\"") || has(text, b"\"identitytoken\""),
    },
    Kind {
        reason: "logins of a package manager",
        names: &[Is("auth.json")],
        content: |text| has(text, b"http-basic") || has(text, b"-oauth") || has(text, b"-token"),
    },
    Kind {
        reason: "a password in the settings of git",
        names: &[At(".git/config"), Is(".gitconfig"), Is(".gitmodules")],
        content: |text| has_password_in_url(text) || has(text, b"extraheader"),
    },
    Kind {
        reason: "access to a Kubernetes cluster",
        names: &[
            At(".kube/config"),
            Ends("kubeconfig"),
            Begins("kubeconfig"),
            Ends(".yaml"),
            Ends(".yml"),
            Ends(".conf"),
        ],
        content: |text| {
            let keys = [&b"client-key-data"[..], b"token", b"password"];
            has(text, b"kind: Config")
                && has(text, b"clusters:")
                && keys.iter().any(|key| has_value(text, key))
        },
    },
    Kind {
        reason: "the key of a service account",
        names: &[Ends(".json")],
        content: |text| has(text, b"\"service_account\"") && has(text, b"\"private_key\""),
    },
];

/// Why the file at `path` below `root` may be a secret; none when nothing speaks for it.
#[must_use]
pub fn suspect(root: &Path, path: &[u8]) -> Option<&'static str> {
    let mut kinds = by_name(path).peekable();
    kinds.peek()?;
    let mut text = Vec::new();
    let file = fs::File::open(root.join(OsStr::from_bytes(path))).ok()?;
    file.take(LOOK_BYTES_MAX).read_to_end(&mut text).ok()?;
    kinds.find(|kind| (kind.content)(&text)).map(|kind| kind.reason)
}

/// The kinds that a file with this path may be of.
fn by_name(path: &[u8]) -> impl Iterator<Item = &'static Kind> {
    let path = path.to_ascii_lowercase();
    let name = file_name(&path).to_vec();
    let example = EXAMPLES.iter().any(|ending| {
        name.strip_suffix(ending.as_bytes()).is_some_and(|rest| rest.ends_with(b".") || rest.ends_with(b"-"))
    });
    KINDS.iter().filter(move |kind| !example && kind.names.iter().any(|form| form.fits(&path, &name)))
}

impl Name {
    fn fits(&self, path: &[u8], name: &[u8]) -> bool {
        match self {
            Is(text) => name == text.as_bytes(),
            Begins(text) => name.starts_with(text.as_bytes()),
            Ends(text) => name.ends_with(text.as_bytes()),
            At(text) => {
                path.strip_suffix(text.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/"))
            }
        }
    }
}

/// Whether there is anything in it.
fn says_something(text: &[u8]) -> bool {
    !text.trim_ascii().is_empty()
}

fn has(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

/// Whether `key` has a value after `=` or `:` that is no variable.
fn has_value(text: &[u8], key: &[u8]) -> bool {
    text.to_ascii_lowercase().split(|&byte| byte == b'\n').any(|line| {
        let at = line.windows(key.len()).position(|window| window == key);
        let rest = at.map_or(&b""[..], |at| line[at + key.len()..].trim_ascii());
        let value = rest.strip_prefix(b"=").or_else(|| rest.strip_prefix(b":")).unwrap_or_default();
        let value: &[u8] = value.trim_ascii();
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        !value.is_empty() && !value.starts_with(b"$") && !value.starts_with(b"\"")
    })
}

/// `https://user:password@host`
fn has_password_in_url(text: &[u8]) -> bool {
    text.split(u8::is_ascii_whitespace).any(|word| {
        let Some(at) = word.windows(3).position(|window| window == b"://") else { return false };
        let authority = word[at + 3..].split(|&byte| byte == b'/').next().unwrap_or_default();
        let user = authority.iter().rposition(|&byte| byte == b'@').map_or(&b""[..], |end| &authority[..end]);
        user.iter().position(|&byte| byte == b':').is_some_and(|colon| {
            let password = &user[colon + 1..];
            !password.is_empty() && !password.starts_with(b"$")
        })
    })
}

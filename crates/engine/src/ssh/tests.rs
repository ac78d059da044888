//! What a step may ask an agent, and keys from files.

use std::{
    io::{Read, Write},
    os::unix::fs::MetadataExt,
};

use galley_store::Store;
use galley_testkit::FakeAgent;
use proptest::prelude::*;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};

use super::*;
use protocol::{Parts, string};

/// Made by ssh-keygen for these tests; nothing trusts them.
const ED25519_KEY: &str = include_str!("tests/ed25519");
const ECDSA_KEY: &str = include_str!("tests/ecdsa");
const RSA_KEY: &str = include_str!("tests/rsa");
const LOCKED_KEY: &str = include_str!("tests/locked");

fn keys(files: &[&str]) -> Result<SshAgent, Error> {
    let directory = tempfile::tempdir().unwrap();
    let write = |(number, text): (usize, &&str)| {
        let path = directory.path().join(number.to_string());
        fs::write(&path, text).unwrap();
        path
    };
    let paths: Vec<PathBuf> = files.iter().enumerate().map(write).collect();
    SshAgent::from_paths(&paths)
}

fn answer(agent: &SshAgent, request: &[u8]) -> Vec<u8> {
    agent.open().unwrap().ask(request).unwrap()
}

/// The public keys that an agent lists.
fn listed(agent: &SshAgent) -> Vec<Vec<u8>> {
    let answer = answer(agent, &[protocol::REQUEST_IDENTITIES]);
    let mut parts = Parts(answer.strip_prefix(&[12]).unwrap());
    let count = parts.number().unwrap();
    (0..count)
        .map(|_| {
            let key = parts.string().unwrap().to_vec();
            parts.string().unwrap();
            key
        })
        .collect()
}

/// The kind and the bytes of a signature.
fn signed(agent: &SshAgent, key: &[u8], flags: u32) -> Option<(String, Vec<u8>)> {
    let mut request = vec![protocol::SIGN_REQUEST];
    string(&mut request, key);
    string(&mut request, b"message");
    request.extend_from_slice(&flags.to_be_bytes());
    let answer = answer(agent, &request);
    let mut signature = Parts(Parts(answer.strip_prefix(&[14])?).string()?);
    Some((String::from_utf8(signature.string()?.to_vec()).unwrap(), signature.string()?.to_vec()))
}

#[test]
fn keys_of_files_sign() {
    let agent = keys(&[ED25519_KEY, ECDSA_KEY, RSA_KEY]).unwrap();
    let [ed25519, ecdsa, rsa] = <[_; 3]>::try_from(listed(&agent)).unwrap();
    let (kind, signature) = signed(&agent, &ed25519, 0).unwrap();
    assert_eq!(kind, "ssh-ed25519");
    UnparsedPublicKey::new(&ED25519, &ed25519[ed25519.len() - 32..]).verify(b"message", &signature).unwrap();
    let (kind, signature) = signed(&agent, &ecdsa, 0).unwrap();
    assert_eq!(kind, "ecdsa-sha2-nistp256");
    let mut numbers = Parts(&signature);
    let fixed = [numbers.string().unwrap(), numbers.string().unwrap()].map(|number| {
        let digits = number.strip_prefix(&[0]).unwrap_or(number);
        [&vec![0; 32 - digits.len()][..], digits].concat()
    });
    let point = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &ecdsa[ecdsa.len() - 65..]);
    point.verify(b"message", &fixed.concat()).unwrap();
    for (flags, name) in [(2, "rsa-sha2-256"), (4, "rsa-sha2-512")] {
        let (kind, signature) = signed(&agent, &rsa, flags).unwrap();
        assert_eq!((kind.as_str(), signature.len()), (name, 256));
        verify_rsa(&rsa, flags, &signature);
    }
    assert_eq!(signed(&agent, &rsa, 0), None, "SHA-1 is not signed with any more");
    assert_eq!(signed(&agent, b"another key", 0), None);
}

fn verify_rsa(key: &[u8], flags: u32, signature: &[u8]) {
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents};
    let mut parts = Parts(key);
    assert_eq!(parts.string().unwrap(), b"ssh-rsa");
    let (e, n) = (parts.string().unwrap(), parts.string().unwrap());
    let public = RsaPublicKeyComponents { n: n.strip_prefix(&[0]).unwrap_or(n), e };
    let parameters = if flags == 2 { &RSA_PKCS1_2048_8192_SHA256 } else { &RSA_PKCS1_2048_8192_SHA512 };
    public.verify(parameters, b"message", signature).unwrap();
}

#[test]
fn what_cannot_be_used_is_told_with_the_cure() {
    let said = |file: &str| {
        let error = keys(&[file]).unwrap_err();
        let why = error.message.rsplit(": ").next().unwrap().to_owned();
        assert!(error.help.iter().any(|help| help.starts_with("give it to an agent: ssh-add ")), "{error:?}");
        why
    };
    assert_eq!(said(LOCKED_KEY), "it has a passphrase");
    assert_eq!(said("text"), "it is no private key in PEM format");
    assert_eq!(said("-----BEGIN DSA PRIVATE KEY-----\nAAAA\n"), "galley does not know this kind of key");
    assert_eq!(said("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END"), "it is damaged");
    assert_eq!(
        said("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n"),
        "only RSA keys of 2048 to 4096 bits are known"
    );
    let missing = SshAgent::from_paths(&["/nowhere/key".into()]).unwrap_err();
    assert_eq!(missing.message, "cannot use /nowhere/key as an SSH agent");
}

#[test]
fn a_socket_is_an_agent_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, key) = (directory.path().join("agent"), directory.path().join("key"));
    let _agent = FakeAgent::start(&socket);
    fs::write(&key, ED25519_KEY).unwrap();
    assert!(matches!(SshAgent::from_paths(std::slice::from_ref(&socket)), Ok(SshAgent::Socket(_))));
    let error = SshAgent::from_paths(&[socket, key]).unwrap_err();
    assert_eq!(error.message, "one id has either one socket of an agent, or key files");
}

/// A store at the end of a path that no socket's name could have.
fn deep_store(directory: &Path) -> Store {
    let deep = directory.join("deep".repeat(30));
    fs::create_dir(&deep).unwrap();
    Store::open(&deep, galley_store::OpenOptions::default()).unwrap()
}

#[test]
fn a_step_may_list_and_sign_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent");
    let agent = FakeAgent::start(&socket);
    let store = deep_store(directory.path());
    let owner = Owner {
        mode: 0o4620,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    };
    let loan = Loan::new(&store, &SshAgent::Socket(socket), owner).unwrap();
    assert_eq!(fs::metadata(loan.socket()).unwrap().mode() & 0o7777, 0o620);
    let link = loan.short();
    let connect = || UnixStream::connect(&link).unwrap();
    let mut step = connect();
    let mut ask = |request: &[u8]| {
        protocol::write(&mut step, request).unwrap();
        protocol::read(&mut step).unwrap().unwrap()
    };
    assert_eq!(ask(&[11])[0], 12);
    assert_eq!(ask(&[13, 1, 2, 3])[0], 14);
    // Add, remove, remove all, lock, unlock, add with constraints, nothing.
    for kind in [17_u8, 18, 19, 22, 23, 25, 1, 99] {
        assert_eq!(ask(&[kind, 0, 0]), [protocol::FAILURE], "{kind}");
    }
    assert_eq!(ask(&[]), [protocol::FAILURE]);
    assert_eq!(ask(&[protocol::EXTENSION, 0]), [protocol::EXTENSION_FAILURE]);
    assert_eq!(agent.asked(), [11, 13]);
    // Too long, and then the line is dead.
    let mut step = connect();
    step.write_all(&u32::MAX.to_be_bytes()).unwrap();
    assert_eq!(step.read(&mut [0; 9]).unwrap_or(0), 0);
    drop(loan);
    assert!(UnixStream::connect(&link).is_err());
}

proptest! {
    #[test]
    fn key_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..2000) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        drop(keys(&[&text]));
        let cut = cut.min(RSA_KEY.len());
        drop(keys(&[&format!("{}{text}", &RSA_KEY[..cut])]));
    }

    #[test]
    fn requests_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let agent = keys(&[ED25519_KEY]).unwrap();
        drop(answer(&agent, &bytes));
        drop(answer(&agent, &[&[13][..], &bytes].concat()));
    }
}

//! An agent of our own for `--ssh ID=KEYFILE`: keys without a passphrase, read when the build begins.
//!
//! Ed25519, ECDSA on P-256 and P-384, and RSA from 2048 bits on, in OpenSSH's format; RSA also in the older PEM formats.

mod file;
mod rsa;

use std::{fmt, io::Read, path::PathBuf};

use fs_err as fs;
use ring::{
    rand::SystemRandom,
    signature::{EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair},
};

use super::protocol::{FAILURE, Parts, REQUEST_IDENTITIES, SIGN_REQUEST, string};
use crate::{Error, ErrorKind};

const IDENTITIES_ANSWER: u8 = 12;
const SIGN_RESPONSE: u8 = 14;
/// The flags of a request to sign with RSA that ask for another hash than SHA-1, which nobody takes any more.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// As in BuildKit.
const KEY_FILE_BYTES_MAX: u64 = 100 << 10;

/// Keys in memory, in the order of their files.
pub struct Keyring(Vec<Key>);

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.0.len())
    }
}

/// One key.
struct Key {
    /// The public key as SSH writes it.
    public: Vec<u8>,
    private: Private,
}

enum Private {
    Ed25519(Ed25519KeyPair),
    /// With the name of its kind.
    Ecdsa(&'static str, EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Keyring {
    /// Reads the key files.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        paths.iter().map(read_key).collect::<Result<_, _>>().map(Self)
    }

    /// The answer to a request.
    pub(super) fn answer(&self, request: &[u8]) -> Vec<u8> {
        let answer = match request.split_first() {
            Some((&REQUEST_IDENTITIES, _)) => Some(self.identities()),
            Some((&SIGN_REQUEST, body)) => self.sign(Parts(body)),
            _ => None,
        };
        answer.unwrap_or_else(|| vec![FAILURE])
    }

    fn identities(&self) -> Vec<u8> {
        let mut answer = vec![IDENTITIES_ANSWER];
        answer.extend_from_slice(&(self.0.len() as u32).to_be_bytes());
        for key in &self.0 {
            string(&mut answer, &key.public);
            // Comments hold names of people and machines.
            string(&mut answer, b"");
        }
        answer
    }

    fn sign(&self, mut request: Parts<'_>) -> Option<Vec<u8>> {
        let (public, data, flags) = (request.string()?, request.string()?, request.number()?);
        let key = self.0.iter().find(|key| key.public == public)?;
        let (kind, bytes) = key.private.sign(data, flags)?;
        let mut signature = Vec::new();
        string(&mut signature, kind.as_bytes());
        string(&mut signature, &bytes);
        let mut answer = vec![SIGN_RESPONSE];
        string(&mut answer, &signature);
        Some(answer)
    }
}

impl Private {
    fn sign(&self, data: &[u8], flags: u32) -> Option<(&'static str, Vec<u8>)> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(key) => Some(("ssh-ed25519", key.sign(data).as_ref().to_vec())),
            Self::Ecdsa(kind, key) => {
                let signature = key.sign(&random, data).ok()?;
                let (r, s) = signature.as_ref().split_at(signature.as_ref().len() / 2);
                let mut numbers = Vec::new();
                string(&mut numbers, &mpint(r));
                string(&mut numbers, &mpint(s));
                Some((kind, numbers))
            }
            Self::Rsa(key) => {
                let (kind, padding) = match flags {
                    flags if flags & RSA_SHA2_512 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                    flags if flags & RSA_SHA2_256 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    _ => return None,
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &random, data, &mut signature).ok()?;
                Some((kind, signature))
            }
        }
    }
}

/// A number as SSH writes it: as short as can be, with a zero where the first bit would mean a sign.
fn mpint(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|&byte| byte != 0).unwrap_or(number.len());
    let digits = number.get(start..).unwrap_or_default();
    let sign = digits.first().is_some_and(|&byte| byte >= 0x80).then_some(0);
    sign.into_iter().chain(digits.iter().copied()).collect()
}

fn read_key(path: &PathBuf) -> Result<Key, Error> {
    let unusable = |why: &str| {
        let shown = path.display();
        Error::new(ErrorKind::Usage, format!("cannot use the SSH key {shown}: {why}"))
            .help(format!("give it to an agent: ssh-add {shown}, then --ssh default"))
    };
    let mut text = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut text))
        .map_err(|error| Error::new(ErrorKind::Usage, "cannot read an SSH key").because(error))?;
    file::parse(&String::from_utf8_lossy(&text)).map_err(unusable)
}

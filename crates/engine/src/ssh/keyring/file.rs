//! Key files. What is wrong with one is told in words without anything of what is in it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
    },
};

use super::{
    super::protocol::{Parts, string},
    Key, Private, mpint, rsa,
};

const MAGIC: &[u8] = b"openssh-key-v1\0";
const BROKEN: &str = "it is damaged";
const ENCRYPTED: &str = "it has a passphrase";
const UNKNOWN: &str = "galley does not know this kind of key";

/// Elliptic curves: kind, curve, algorithm, bytes of a private key.
const CURVES: [(&str, &str, &EcdsaSigningAlgorithm, usize); 2] = [
    ("ecdsa-sha2-nistp256", "nistp256", &ECDSA_P256_SHA256_FIXED_SIGNING, 32),
    ("ecdsa-sha2-nistp384", "nistp384", &ECDSA_P384_SHA384_FIXED_SIGNING, 48),
];

/// Reads a private key.
pub(super) fn parse(text: &str) -> Result<Key, &'static str> {
    let (label, body) = armour(text).ok_or("it is no private key in PEM format")?;
    match label {
        _ if body.contains("ENCRYPTED") => Err(ENCRYPTED),
        "ENCRYPTED PRIVATE KEY" => Err(ENCRYPTED),
        "OPENSSH PRIVATE KEY" => openssh(&decode(&body)?),
        "RSA PRIVATE KEY" => from_rsa(RsaKeyPair::from_der(&decode(&body)?).map_err(|_| rsa::REFUSED)?),
        "PRIVATE KEY" => from_rsa(RsaKeyPair::from_pkcs8(&decode(&body)?).map_err(|_| UNKNOWN)?),
        _ => Err(UNKNOWN),
    }
}

/// What stands on the first line, and all that is between it and the last.
fn armour(text: &str) -> Option<(&str, String)> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN "));
    let label = lines.next()?.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
    let body: Vec<&str> = lines.take_while(|line| !line.starts_with("-----END ")).collect();
    Some((label, body.concat()))
}

fn decode(body: &str) -> Result<Vec<u8>, &'static str> {
    STANDARD.decode(body).map_err(|_| BROKEN)
}

fn openssh(bytes: &[u8]) -> Result<Key, &'static str> {
    let mut parts = Parts(bytes.strip_prefix(MAGIC).ok_or(BROKEN)?);
    let cipher = parts.string().ok_or(BROKEN)?;
    if cipher != b"none" {
        return Err(ENCRYPTED);
    }
    let (_derivation, _options) = (parts.string().ok_or(BROKEN)?, parts.string().ok_or(BROKEN)?);
    if parts.number() != Some(1) {
        return Err("it holds several keys");
    }
    let public = parts.string().ok_or(BROKEN)?.to_vec();
    let mut secret = Parts(parts.string().ok_or(BROKEN)?);
    // Twice the same number: the sign that it was decrypted.
    if secret.number().ok_or(BROKEN)? != secret.number().ok_or(BROKEN)? {
        return Err(BROKEN);
    }
    let kind = secret.string().ok_or(BROKEN)?;
    let private = match kind {
        b"ssh-ed25519" => ed25519(secret)?,
        b"ssh-rsa" => Private::Rsa(rsa::read(secret)?),
        kind => ecdsa(kind, secret)?,
    };
    Ok(Key { public, private })
}

fn ed25519(mut secret: Parts<'_>) -> Result<Private, &'static str> {
    let public = secret.string().ok_or(BROKEN)?;
    let seed = secret.string().and_then(|both| both.get(..32)).ok_or(BROKEN)?;
    Ed25519KeyPair::from_seed_and_public_key(seed, public).map(Private::Ed25519).map_err(|_| BROKEN)
}

fn ecdsa(kind: &[u8], mut secret: Parts<'_>) -> Result<Private, &'static str> {
    let known = CURVES.iter().find(|(name, ..)| name.as_bytes() == kind).ok_or(UNKNOWN)?;
    let &(kind, curve, algorithm, size) = known;
    if secret.string() != Some(curve.as_bytes()) {
        return Err(BROKEN);
    }
    let (public, number) = (secret.string().ok_or(BROKEN)?, secret.string().ok_or(BROKEN)?);
    let digits = number.strip_prefix(&[0]).unwrap_or(number);
    let missing = size.checked_sub(digits.len()).ok_or(BROKEN)?;
    let private = [&vec![0; missing][..], digits].concat();
    let key =
        EcdsaKeyPair::from_private_key_and_public_key(algorithm, &private, public, &SystemRandom::new());
    key.map(|key| Private::Ecdsa(kind, key)).map_err(|_| BROKEN)
}

/// A key of which the file has no public half in SSH's form.
fn from_rsa(key: RsaKeyPair) -> Result<Key, &'static str> {
    let numbers = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(key.public_key());
    let mut public = Vec::new();
    string(&mut public, b"ssh-rsa");
    string(&mut public, &mpint(&numbers.e));
    string(&mut public, &mpint(&numbers.n));
    Ok(Key { public, private: Private::Rsa(key) })
}

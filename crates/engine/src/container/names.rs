//! Names for containers that were given none: a word from the kitchen, a word from the ship.

use galley_oci::Digest;

use crate::{Error, ErrorKind};

const KITCHEN: [&str; 24] = [
    "baked", "boiled", "braised", "brewed", "buttered", "candied", "crisp", "fried", "glazed", "golden",
    "grilled", "hearty", "minced", "peppered", "pickled", "roasted", "salted", "savoury", "simmered",
    "smoked", "spiced", "steamed", "stewed", "toasted",
];

const SHIP: [&str; 24] = [
    "anchor", "barge", "binnacle", "bosun", "bowsprit", "capstan", "cutter", "dinghy", "ferry", "frigate",
    "halyard", "helm", "jib", "keel", "ketch", "lantern", "mast", "mizzen", "pilot", "rudder", "schooner",
    "sextant", "sloop", "spar",
];

/// The name for the container with this id. `taken` says whether another one has a name already.
pub(super) fn name_for(id: &Digest, taken: &dyn Fn(&str) -> bool) -> String {
    let bytes = id.bytes();
    let word = |words: &[&'static str; 24], byte: u8| words[usize::from(byte) % words.len()];
    let name = format!("{}_{}", word(&KITCHEN, bytes[0]), word(&SHIP, bytes[1]));
    if taken(&name) { format!("{name}_{}", &id.hex()[4..10]) } else { name }
}

/// That it may not be one.
pub(super) fn invalid(name: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("{name:?} cannot be the name of a container")).help(
        "use letters, digits, dots, dashes and underscores, a letter or digit first, two characters at least",
    )
}

/// Whether `name` may be a container's: what docker allows.
pub(super) fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    first && name.len() > 1 && bytes.all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_gets_digits() {
        let id = Digest::sha256(b"x");
        let name = name_for(&id, &|_| false);
        assert!(is_valid(&name), "{name}");
        assert_eq!(name_for(&id, &|other| other == name), format!("{name}_{}", &id.hex()[4..10]));
    }

    #[test]
    fn names_are_dockers() {
        for (name, valid) in
            [("web", true), ("a", false), ("w.e_b-1", true), ("-web", false), ("we/b", false), ("", false)]
        {
            assert_eq!(is_valid(name), valid, "{name:?}");
        }
    }
}

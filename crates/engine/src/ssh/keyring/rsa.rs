//! RSA keys of OpenSSH's format, which leaves out two numbers that the library wants.

use ring::{
    rsa::{KeyPairComponents, PublicKeyComponents},
    signature::RsaKeyPair,
};

use super::super::protocol::Parts;

/// What the library takes is known; why it does not take another key it does not say.
pub(super) const REFUSED: &str = "only RSA keys of 2048 to 4096 bits are known";

/// Reads the numbers of a private key.
pub(super) fn read(mut secret: Parts<'_>) -> Result<RsaKeyPair, &'static str> {
    let mut number = || secret.string().map(without_zeros).ok_or("it is damaged");
    let (n, e, d, inverse, p, q) = (number()?, number()?, number()?, number()?, number()?, number()?);
    let (of_p, of_q) = (remainder(d, &less_one(p)), remainder(d, &less_one(q)));
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: without_zeros(&of_p),
        dQ: without_zeros(&of_q),
        qInv: inverse,
    };
    RsaKeyPair::from_components(&components).map_err(|_| REFUSED)
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|&byte| byte != 0).unwrap_or(number.len());
    number.get(start..).unwrap_or_default()
}

/// A prime is odd: nothing is borrowed.
fn less_one(prime: &[u8]) -> Vec<u8> {
    let mut number = prime.to_vec();
    if let Some(last) = number.last_mut() {
        *last &= !1;
    }
    number
}

/// The remainder of a division of big-endian numbers, bit by bit: a key is read once in a build.
fn remainder(number: &[u8], divisor: &[u8]) -> Vec<u8> {
    // One byte more than the divisor, for the bit that moves out.
    let divisor = [&[0], divisor].concat();
    let mut rest = vec![0_u8; divisor.len()];
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        if rest >= divisor {
            subtract(&mut rest, &divisor);
        }
    }
    rest
}

/// Of numbers of the same length, the greater first.
fn subtract(from: &mut [u8], number: &[u8]) {
    let mut borrow = false;
    for (a, b) in from.iter_mut().zip(number).rev() {
        let (without, first) = a.overflowing_sub(*b);
        let (without, second) = without.overflowing_sub(u8::from(borrow));
        (*a, borrow) = (without, first || second);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn remainders_are_right(number: u128, divisor in 1_u64..) {
            let rest = remainder(&number.to_be_bytes(), &divisor.to_be_bytes());
            let expected = (number % u128::from(divisor)).to_be_bytes();
            prop_assert_eq!(without_zeros(&rest), without_zeros(&expected));
        }
    }
}

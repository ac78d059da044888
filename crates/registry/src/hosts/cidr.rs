//! Ranges of addresses: `10.0.0.0/8`, `fd00::/8`.

use std::net::IpAddr;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: IpAddr,
    prefix_bits: u32,
}

impl Cidr {
    /// Reads `address/bits`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix_bits = bits.parse().ok().filter(|bits| *bits <= width(address))?;
        Some(Self { address, prefix_bits })
    }

    /// Whether `address` is in the range.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let unused = width(self.address) - self.prefix_bits;
        width(address) == width(self.address)
            && number(address).checked_shr(unused) == number(self.address).checked_shr(unused)
    }
}

const fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

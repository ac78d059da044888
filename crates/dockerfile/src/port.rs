//! The ports of EXPOSE, after expansion and word splitting: `80`, `80/udp`, `8000-8010/tcp`.

use crate::error::{Error, ErrorKind};
use crate::span::Span;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A transport protocol that a port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// The default.
    Tcp,
    /// User datagrams.
    Udp,
    /// Stream control transmission.
    Sctp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// A range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last; the first again when it is one port.
    pub last: u16,
    /// Their protocol.
    pub protocol: Protocol,
}

impl Ports {
    /// `80/tcp`, one for each port, as the image's config wants them.
    pub fn names(self) -> impl Iterator<Item = String> {
        (self.first..=self.last).map(move |port| format!("{port}/{}", self.protocol))
    }
}

/// Reads one word. A host address and a host port before the container's are checked and forgotten, as in Docker.
pub fn parse(text: &str, span: Span) -> Result<Ports, Error> {
    read(text).map_err(|reason| {
        let help = if text.starts_with('#') {
            "put the comment on a line of its own: `#` begins a comment at the start of a line only"
        } else {
            "write PORT, PORT/PROTOCOL or FIRST-LAST/PROTOCOL"
        };
        Error::new(ErrorKind::BadPort { value: text.to_owned(), reason }, span).with_help(help)
    })
}

fn read(text: &str) -> Result<Ports, &'static str> {
    let (before, container) =
        text.rsplit_once(':').map_or((None, text), |(before, port)| (Some(before), port));
    let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err("the protocol is none of tcp, udp and sctp"),
    };
    let (first, last) = range_of(range)?;
    if let Some(before) = before {
        host(before, first, last)?;
    }
    Ok(Ports { first, last, protocol })
}

/// `[address:]port` of the host.
fn host(text: &str, first: u16, last: u16) -> Result<(), &'static str> {
    let (address, port) = text.rsplit_once(':').map_or((None, text), |(address, port)| (Some(address), port));
    if let Some(address) = address.filter(|address| !address.is_empty()) {
        let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        if inner.parse::<Ipv4Addr>().is_err() && inner.parse::<Ipv6Addr>().is_err() {
            return Err("the address is not an IP address");
        }
    }
    if port.is_empty() {
        return Ok(());
    }
    let (host_first, host_last) = range_of(port)?;
    if host_last - host_first != last - first && first != last {
        return Err("the ranges of host and container differ in length");
    }
    Ok(())
}

fn range_of(text: &str) -> Result<(u16, u16), &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if last < first { Err("the range ends before it begins") } else { Ok((first, last)) }
}

fn number(text: &str) -> Result<u16, &'static str> {
    if text.is_empty() {
        return Err("a number is missing");
    }
    if !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err("it is not a number");
    }
    text.parse().map_err(|_| "it is larger than 65535")
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::span::Span;

    fn names(text: &str) -> Option<Vec<String>> {
        parse(text, Span::default()).ok().map(|ports| ports.names().collect())
    }

    #[test]
    fn ports_and_ranges() {
        let one = |name: &str| Some(vec![name.to_owned()]);
        assert_eq!(names("80"), one("80/tcp"));
        assert_eq!(names("80/"), one("80/tcp"));
        assert_eq!(names("80/UDP"), one("80/udp"));
        assert_eq!(names("8080:80/sctp"), one("80/sctp"));
        assert_eq!(names("127.0.0.1::80"), one("80/tcp"));
        assert_eq!(names("[::1]:8080:80"), one("80/tcp"));
        assert_eq!(names("8000-8001:80"), one("80/tcp"));
        assert_eq!(
            names("7000-7002"),
            Some(["7000/tcp", "7001/tcp", "7002/tcp"].map(str::to_owned).to_vec())
        );
        assert_eq!(names("0-65535").map(|names| names.len()), Some(65536));
    }

    #[test]
    fn what_is_no_port() {
        for text in [
            "",
            "/tcp",
            "65536",
            "-1",
            "80-",
            "80-79",
            "80/ip",
            "a",
            "#",
            "1.2.3:1:2",
            "1-2:3-5",
            "+80",
            "80-90-95",
        ] {
            assert_eq!(names(text), None, "{text}");
        }
    }
}

//! What is asked of a new container, and the words of `-p` and `-v`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use galley_oci::Platform;

use super::{HealthOptions, NetworkMode, Protocol, PublishedPort, Service};
use crate::{Error, ErrorKind, plan::Surroundings};

/// What `run` and `create` were asked for.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The image's name or id, as typed.
    pub image: String,
    /// Of an image for several platforms, the one for this.
    pub platform: Option<Platform>,
    /// The words after the image.
    pub command: Vec<String>,
    /// Replaces the image's entry point; empty for none.
    pub entrypoint: Option<String>,
    /// `NAME=value`; these win over the image's.
    pub environment: Vec<String>,
    /// Replaces the image's working directory.
    pub working_directory: Option<String>,
    /// Replaces the image's user.
    pub user: Option<String>,
    /// The container's name; one is made up without it.
    pub name: Option<String>,
    /// The host name; the start of the id without it.
    pub hostname: Option<String>,
    /// Mounts.
    pub volumes: Vec<VolumeOption>,
    /// Ports.
    pub ports: Vec<PublishedPort>,
    /// Also publish every port that the image or `service.exposed` names, at any free one.
    pub publish_all: bool,
    /// Network.
    pub network: NetworkMode,
    /// A terminal.
    pub tty: bool,
    /// Standard input.
    pub interactive: bool,
    /// Remove it when it ends.
    pub remove: bool,
    /// Replaces the image's stop signal.
    pub stop_signal: Option<i32>,
    /// Free metadata.
    pub labels: BTreeMap<String, String>,
    /// Hosts, limits and the size of /dev/shm.
    pub surroundings: Surroundings,
    /// Limits, rights, restarts; its health is decided by `health` and the image.
    pub service: Service,
    /// What replaces the image's health check.
    pub health: HealthOptions,
}

/// One `-v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeOption {
    /// A folder or file of this machine, a volume's name, or nothing for a volume of this container alone.
    pub source: VolumeSource,
    /// Where, inside.
    pub target: String,
    /// The container cannot change it.
    pub read_only: bool,
}

/// The first word of `-v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// An absolute path of this machine; relative ones begin with a dot and are made absolute by the caller.
    Path(PathBuf),
    /// The name of a volume.
    Volume(String),
    /// Not given.
    Anonymous,
}

impl VolumeOption {
    /// Reads `[SOURCE:]TARGET[:ro|rw]`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            Error::new(ErrorKind::Usage, format!("invalid volume {text:?}: {why}"))
                .help("write -v /folder/here:/folder/inside, -v name:/folder/inside, with :ro to protect it")
        };
        let mut parts: Vec<&str> = text.split(':').collect();
        let mut read_only = false;
        if parts.len() > 1 && parts.last().is_some_and(|last| !last.starts_with('/')) {
            for mode in parts.pop().unwrap_or_default().split(',') {
                match mode {
                    "ro" => read_only = true,
                    // The last three say how Docker Desktop shares files, and nothing on Linux.
                    "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
                    _ => return Err(wrong(&format!("unknown mode {mode:?}"))),
                }
            }
        }
        let (source, target) = match parts[..] {
            [target] => (VolumeSource::Anonymous, target),
            [source, target] if source.starts_with(['/', '.', '~']) => {
                (VolumeSource::Path(PathBuf::from(source)), target)
            }
            ["", _] => return Err(wrong("the source is empty")),
            [source, _] if source.contains('/') => {
                let error = wrong("a volume's name has no slash");
                return Err(error.help(format!("a folder or file of this machine is written ./{source}")));
            }
            [source, target] => (VolumeSource::Volume(source.to_owned()), target),
            _ => return Err(wrong("too many colons")),
        };
        if !target.starts_with('/') || target.trim_matches('/').is_empty() {
            return Err(wrong("the path inside has to be absolute and not /"));
        }
        Ok(Self { source, target: target.to_owned(), read_only })
    }
}

impl PublishedPort {
    /// Reads `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`, where ports may be ranges of the same length.
    pub fn parse(text: &str) -> Result<Vec<Self>, Error> {
        let wrong = |why: &str| {
            Error::new(ErrorKind::Usage, format!("invalid port {text:?}: {why}"))
                .help("write -p 8080:80, -p 127.0.0.1:8080:80 or -p 8000-8010:8000-8010/udp")
        };
        let (ports, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.strip_suffix("/tcp").unwrap_or(text), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(wrong(&format!("unknown protocol {other:?}"))),
        };
        let (rest, container) = ports.rsplit_once(':').unwrap_or(("", ports));
        let (address, host) = split_address(rest);
        let host_address = match address {
            "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            _ => address.parse().map_err(|_| wrong(&format!("{address:?} is no IP address")))?,
        };
        let number =
            |text: &str| range(text).ok_or_else(|| wrong(&format!("{text:?} is no port or range of ports")));
        let inside = number(container)?;
        let outside = if host.is_empty() { None } else { Some(number(host)?) };
        if outside.as_ref().is_some_and(|outside| outside.len() != inside.len()) {
            return Err(wrong("the two ranges differ in length"));
        }
        let first = outside.map(|range| *range.start());
        Ok(inside
            .enumerate()
            .map(|(index, container_port)| Self {
                host_address,
                host_port: first
                    .map_or(0, |first| first.saturating_add(u16::try_from(index).unwrap_or(u16::MAX))),
                container_port,
                protocol,
            })
            .collect())
    }
}

impl PublishedPort {
    /// Reads `PORT[-PORT][/PROTOCOL]` of `--expose` and EXPOSE.
    pub fn exposed(text: &str) -> Result<Vec<(u16, Protocol)>, Error> {
        let wrong = |message: String| {
            Error::new(ErrorKind::Usage, message)
                .help("write --expose 80 or --expose 8000-8010/udp; -p publishes")
        };
        let inside = Self::parse(text).map_err(|error| wrong(error.message.clone()))?;
        if text.contains(':') {
            return Err(wrong(format!("invalid port {text:?}: only the port inside counts")));
        }
        Ok(inside.iter().map(|port| (port.container_port, port.protocol)).collect())
    }
}

/// `127.0.0.1:8080`, `[::1]:8080`, `8080`: the address and the port.
fn split_address(text: &str) -> (&str, &str) {
    match text.rsplit_once(':') {
        Some((address, port)) => (address.trim_start_matches('[').trim_end_matches(']'), port),
        None => ("", text),
    }
}

fn range(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_as_docker_reads_them() {
        let parse = |text| VolumeOption::parse(text).ok().map(|it| (it.source, it.target, it.read_only));
        let path = |text: &str| VolumeSource::Path(text.into());
        assert_eq!(parse("/a:/b"), Some((path("/a"), "/b".to_owned(), false)));
        assert_eq!(parse("./a:/b:ro"), Some((path("./a"), "/b".to_owned(), true)));
        assert_eq!(parse("/a:/b:ro,cached"), Some((path("/a"), "/b".to_owned(), true)));
        assert_eq!(parse("data:/b"), Some((VolumeSource::Volume("data".to_owned()), "/b".to_owned(), false)));
        assert_eq!(parse("/b"), Some((VolumeSource::Anonymous, "/b".to_owned(), false)));
        for wrong in ["", "a", ":/b", "/a:b", "/a:/", "/a:/b:no", "/a:/b:/c:ro", "a/b:/c"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn exposed_ports_are_those_inside() {
        let read = |text| PublishedPort::exposed(text).ok();
        assert_eq!(read("80-81/udp"), Some(vec![(80, Protocol::Udp), (81, Protocol::Udp)]));
        assert_eq!(read("53"), Some(vec![(53, Protocol::Tcp)]));
        assert_eq!((read("8080:80"), read("x"), read("")), (None, None, None));
        let help = |text| PublishedPort::exposed(text).unwrap_err().help.clone();
        assert_eq!(help("9x"), ["write --expose 80 or --expose 8000-8010/udp; -p publishes"]);
    }

    #[test]
    fn ports_as_docker_reads_them() {
        let parse = |text| {
            let ports = PublishedPort::parse(text).ok()?;
            Some(
                ports
                    .iter()
                    .map(|it| {
                        format!(
                            "{}:{}:{}/{}",
                            it.host_address,
                            it.host_port,
                            it.container_port,
                            it.protocol.name()
                        )
                    })
                    .collect::<Vec<_>>(),
            )
        };
        let all = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(parse("8080:80"), all(&["0.0.0.0:8080:80/tcp"]));
        assert_eq!(parse("80"), all(&["0.0.0.0:0:80/tcp"]));
        assert_eq!(parse("127.0.0.1::80/udp"), all(&["127.0.0.1:0:80/udp"]));
        assert_eq!(parse("[::1]:1-2:3-4"), all(&["::1:1:3/tcp", "::1:2:4/tcp"]));
        for wrong in ["", "x", "0:80", "70000:80", "1-3:1-2", "80/sctp", "1:2:3:4x"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}

//! `ps --filter`: one key twice is either of them, two keys are both; labels are all of them. As docker reads it.

use std::collections::BTreeSet;

use galley_engine::{
    Error, ErrorKind,
    container::{self, Container, Protocol, Status},
    images,
};
use galley_oci::{Digest, Time};
use galley_store::Store;

use super::{network, state};
use crate::args::{expression::Expression, prune_filter::no_expression};

const KNOWN: &str =
    "ancestor, before, exited, expose, health, id, label, name, network, publish, since, status, volume";
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];
const NETWORKS: [&str; 3] = ["bridge", "host", "none"];

/// One condition.
#[derive(Clone, Debug)]
enum Condition {
    /// Made of this image or of one on top of it; which those are is looked up.
    Ancestor(String, BTreeSet<Digest>),
    /// Made before this container, whose place in the list is looked up.
    Before(String, Option<Time>),
    /// Made after it.
    Since(String, Option<Time>),
    Exited(i32),
    Expose(Ports),
    Publish(Ports),
    Health(String),
    Id(String),
    Label(String),
    Name(Expression),
    Network(String),
    Status(String),
    Volume(String),
}

/// `80`, `80/tcp`, `8000-8080/udp`.
#[derive(Clone, Copy, Debug)]
struct Ports {
    first: u16,
    last: u16,
    protocol: Protocol,
}

/// Which containers are listed.
#[derive(Debug, Default)]
pub(super) struct Filter(Vec<Condition>);

impl Filter {
    /// Reads `KEY=VALUE`; an empty one, from a script's empty variable, is none.
    pub(super) fn parse(given: &[String]) -> Result<Self, Error> {
        given
            .iter()
            .filter(|one| !one.is_empty())
            .map(|one| condition(one))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Looks up the images and containers that it names. An image that is not there has no containers, as in docker.
    pub(super) fn look_up(&mut self, store: &Store) -> Result<(), Error> {
        for condition in &mut self.0 {
            match condition {
                Condition::Ancestor(name, images) => *images = images::with_descendants(store, name)?,
                Condition::Before(name, created) | Condition::Since(name, created) => {
                    *created = created_at(&container::find(store, name)?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether containers that ended count without being asked for.
    pub(super) fn shows_ended(&self) -> bool {
        self.0.iter().any(|condition| matches!(condition, Condition::Status(_)))
    }

    pub(super) fn takes(&self, container: &Container) -> bool {
        self.0.iter().all(|condition| {
            let mut alike = self.0.iter().filter(|other| condition.is_like(other));
            condition.holds(container) || alike.any(|other| other.holds(container))
        })
    }
}

fn created_at(container: &Container) -> Option<Time> {
    Time::parse_rfc3339(&container.config.created)
}

fn condition(text: &str) -> Result<Condition, Error> {
    let wrong = |message: String, help: String| Err(Error::new(ErrorKind::Usage, message).help(help));
    let Some((name, value)) = text.split_once('=') else {
        return wrong(format!("the filter {text:?} has no value"), "write it as NAME=VALUE".to_owned());
    };
    let no_ports = || {
        let message = format!("{value:?} is no port");
        Error::new(ErrorKind::Usage, message).help("write 80, 80/udp or 8000-8080/tcp")
    };
    let one_of = |make: fn(String) -> Condition, known: &[&str]| match known.contains(&value) {
        true => Ok(make(value.to_owned())),
        false => wrong(
            format!("the filter {text:?} can hold for no container"),
            format!("there are: {}", known.join(", ")),
        ),
    };
    match name {
        "ancestor" => Ok(Condition::Ancestor(value.to_owned(), BTreeSet::new())),
        "before" => Ok(Condition::Before(value.to_owned(), None)),
        "since" => Ok(Condition::Since(value.to_owned(), None)),
        "expose" => ports(value).map(Condition::Expose).ok_or_else(no_ports),
        "publish" => ports(value).map(Condition::Publish).ok_or_else(no_ports),
        "id" => Ok(Condition::Id(value.to_owned())),
        "name" => Expression::parse(value).map(Condition::Name).map_err(|why| no_expression(text, &why)),
        "label" => Ok(Condition::Label(value.to_owned())),
        "status" => one_of(Condition::Status, &STATES),
        "exited" => value.parse().map(Condition::Exited).or_else(|_| {
            wrong(format!("{value:?} is no exit code"), "write a number: exited=137".to_owned())
        }),
        "health" => one_of(Condition::Health, &HEALTH),
        "network" => one_of(Condition::Network, &NETWORKS),
        "volume" => Ok(Condition::Volume(value.to_owned())),
        _ => wrong(format!("the filter {name:?} is not supported here"), format!("there are: {KNOWN}")),
    }
}

fn ports(text: &str) -> Option<Ports> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|it| it.name() == protocol)?;
    let ports = Ports { first: first.parse().ok()?, last: last.parse().ok()?, protocol };
    (ports.first <= ports.last).then_some(ports)
}

impl Ports {
    fn has(self, port: u16, protocol: Protocol) -> bool {
        protocol == self.protocol && (self.first..=self.last).contains(&port)
    }

    /// Among those of this machine that lead to the container.
    fn is_published(self, container: &Container) -> bool {
        let mut published = container.state.ports.iter();
        container.is_running() && published.any(|port| self.has(port.host_port, port.protocol))
    }

    /// Among the container's own.
    fn is_exposed(self, container: &Container) -> bool {
        let (published, exposed) = (&container.state.ports, &container.config.service.exposed);
        let known = |text: &String| ports(text).is_some_and(|it| self.has(it.first, it.protocol));
        container.is_running()
            && (published.iter().any(|port| self.has(port.container_port, port.protocol))
                || exposed.iter().any(known))
    }
}

impl Condition {
    /// Whether one of the two is enough. Of ports docker asks whether any is exposed or published as asked.
    fn is_like(&self, other: &Self) -> bool {
        let group = |it: &Self| match it {
            Self::Expose(_) => {
                std::mem::discriminant(&Self::Publish(Ports { first: 0, last: 0, protocol: Protocol::Tcp }))
            }
            it => std::mem::discriminant(it),
        };
        !matches!(self, Self::Label(_)) && group(self) == group(other)
    }

    fn holds(&self, container: &Container) -> bool {
        let config = &container.config;
        match self {
            Self::Ancestor(_, images) => images.contains(&config.image_id),
            Self::Before(_, time) => created_at(container) < *time,
            Self::Since(_, time) => created_at(container) > *time,
            Self::Exited(wanted) => {
                matches!(container.status, Status::Exited { code, .. } if code == *wanted)
            }
            Self::Expose(ports) => ports.is_exposed(container),
            Self::Publish(ports) => ports.is_published(container),
            Self::Health(wanted) => {
                container.state.health.as_ref().map_or("none", |health| health.status.name()) == wanted
            }
            Self::Id(start) => container.folder.id().starts_with(start),
            Self::Label(label) => match label.split_once('=') {
                Some((name, wanted)) => config.labels.get(name).is_some_and(|value| value == wanted),
                None => config.labels.contains_key(label),
            },
            // Docker's names begin with a slash, which may be written or not.
            Self::Name(name) => name.is_in(&container.name) || name.is_in(&format!("/{}", container.name)),
            Self::Network(wanted) => network(container) == wanted,
            Self::Status(wanted) => state(&container.status) == wanted,
            Self::Volume(volume) => {
                let path = volume.trim_end_matches('/');
                let named = super::mounts(container).0.split(',').any(|name| name == volume);
                named || config.mounts.iter().any(|mount| mount.target.trim_end_matches('/') == path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused() {
        let parse = |text: &str| Filter::parse(&[text.to_owned()]);
        for wrong in [
            "name",
            "is-task=true",
            "status=up",
            "exited=x",
            "health=good",
            "name=*",
            "network=mine",
            "publish=x",
            "expose=9-8",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("").unwrap().0.is_empty());
        assert!(parse("status=exited").unwrap().shows_ended() && !parse("exited=0").unwrap().shows_ended());
    }

    #[test]
    fn ports_are_ranges_with_a_protocol() {
        let has = |text: &str, port, protocol| ports(text).is_some_and(|ports| ports.has(port, protocol));
        assert!(has("80", 80, Protocol::Tcp) && has("80/tcp", 80, Protocol::Tcp));
        assert!(has("8000-8080/udp", 8080, Protocol::Udp) && !has("8000-8080/udp", 8081, Protocol::Udp));
        assert!(!has("80", 80, Protocol::Udp) && ports("80/sctp").is_none() && ports("70000").is_none());
    }
}

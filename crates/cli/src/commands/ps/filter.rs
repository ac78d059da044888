//! `ps --filter`: one key twice is either of them, two keys are both; labels are all of them. As docker reads it.

use galley_engine::{
    Error, ErrorKind,
    container::{Container, Status},
};

use super::{network, state};

const KNOWN: &str = "id, name, label, status, exited, health, network, volume";
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];
const NETWORKS: [&str; 3] = ["bridge", "host", "none"];
/// What a regular expression has beyond `^`, `$` and dots.
const EXPRESSION: [char; 11] = ['*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\'];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Id,
    Name,
    Label,
    Status,
    Exited,
    Health,
    Network,
    Volume,
}

/// Which containers are listed.
#[derive(Debug, Default)]
pub(super) struct Filter(Vec<(Key, String)>);

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

    /// Whether containers that ended count without being asked for.
    pub(super) fn shows_ended(&self) -> bool {
        self.0.iter().any(|(key, _)| *key == Key::Status)
    }

    pub(super) fn takes(&self, container: &Container) -> bool {
        self.0.iter().all(|(key, value)| {
            let mut alike = self.0.iter().filter(|(other, _)| other == key && *key != Key::Label);
            holds(*key, value, container) || alike.any(|(_, value)| holds(*key, value, container))
        })
    }
}

fn condition(text: &str) -> Result<(Key, String), Error> {
    let wrong = |message: String, help: String| Err(Error::new(ErrorKind::Usage, message).help(help));
    let Some((name, value)) = text.split_once('=') else {
        return wrong(format!("the filter {text:?} has no value"), "write it as NAME=VALUE".to_owned());
    };
    let one_of = |key, known: &[&str]| match known.contains(&value) {
        true => Ok((key, value.to_owned())),
        false => wrong(
            format!("the filter {text:?} can hold for no container"),
            format!("there are: {}", known.join(", ")),
        ),
    };
    let plain = |key| match value.contains(EXPRESSION) {
        false => Ok((key, value.to_owned())),
        true => wrong(
            format!("the filter {text:?} is not supported"),
            "of expressions there are ^, $ and the dot".to_owned(),
        ),
    };
    match name {
        "id" => plain(Key::Id),
        "name" => plain(Key::Name),
        "label" => Ok((Key::Label, value.to_owned())),
        "status" => one_of(Key::Status, &STATES),
        "exited" if value.parse::<i32>().is_ok() => Ok((Key::Exited, value.to_owned())),
        "exited" => wrong(format!("{value:?} is no exit code"), "write a number: exited=137".to_owned()),
        "health" => one_of(Key::Health, &HEALTH),
        "network" => one_of(Key::Network, &NETWORKS),
        "volume" => Ok((Key::Volume, value.to_owned())),
        _ => wrong(format!("the filter {name:?} is not supported here"), format!("there are: {KNOWN}")),
    }
}

fn holds(key: Key, value: &str, container: &Container) -> bool {
    let config = &container.config;
    match key {
        Key::Id => found(value, container.folder.id()),
        // Docker's names begin with a slash, which may be written or not.
        Key::Name => found(value, &container.name) || found(value, &format!("/{}", container.name)),
        Key::Label => match value.split_once('=') {
            Some((name, wanted)) => config.labels.get(name).is_some_and(|value| value == wanted),
            None => config.labels.contains_key(value),
        },
        Key::Status => state(&container.status) == value,
        Key::Exited => {
            matches!(container.status, Status::Exited { code, .. } if value.parse() == Ok(code))
        }
        Key::Health => container.state.health.as_ref().map_or("none", |health| health.status.name()) == value,
        Key::Network => network(container) == value,
        Key::Volume => {
            let path = value.trim_end_matches('/');
            let named = super::mounts(container).0.split(',').any(|name| name == value);
            named || config.mounts.iter().any(|mount| mount.target.trim_end_matches('/') == path)
        }
    }
}

/// Whether the expression, of `^`, `$` and dots alone, is found in `text`.
fn found(expression: &str, text: &str) -> bool {
    let (first, inner) = expression.strip_prefix('^').map_or((false, expression), |rest| (true, rest));
    let (last, inner) = inner.strip_suffix('$').map_or((false, inner), |rest| (true, rest));
    let (wanted, text) = (inner.as_bytes(), text.as_bytes());
    let alike = |at: usize| wanted.iter().zip(&text[at..]).all(|(one, other)| *one == b'.' || one == other);
    let Some(rest) = text.len().checked_sub(wanted.len()) else { return false };
    (0..=rest).any(|at| (!first || at == 0) && (!last || at == rest) && alike(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_found_as_docker_finds_them() {
        for (expression, text) in
            [("e", "web"), ("^web$", "web"), ("^/web$", "/web"), ("w.b", "web"), ("", "web"), ("b$", "web")]
        {
            assert!(found(expression, text), "{expression} {text}");
        }
        for (expression, text) in [("^e", "web"), ("web2", "web"), ("we$", "web"), ("^web$", "web2")] {
            assert!(!found(expression, text), "{expression} {text}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let parse = |text: &str| Filter::parse(&[text.to_owned()]);
        for wrong in
            ["name", "ancestor=x", "status=up", "exited=x", "health=good", "name=a|b", "network=mine"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("").unwrap().0.is_empty());
        assert!(parse("status=exited").unwrap().shows_ended() && !parse("exited=0").unwrap().shows_ended());
    }
}

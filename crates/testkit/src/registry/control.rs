//! The registry as shell scripts see it: rules come in, and the record goes out, by HTTP.
//!
//! `POST /_rules` takes lines of [`Rule`]'s text; `GET /_requests` gives a line for each request (method, target, status,
//! bytes received, bytes sent); `DELETE` of either forgets. None of these are recorded themselves.

use std::{fmt::Write as _, io, str::FromStr, time::Duration};

use super::{
    Fault, Rule,
    http::{Answer, Connection, Head},
    server::Shared,
};

/// `None` when it is an ordinary request.
pub(super) fn answer(
    shared: &Shared,
    connection: &mut Connection,
    head: &Head,
) -> io::Result<Option<Answer>> {
    let answer = match (head.method.as_str(), head.path()) {
        ("GET", "/_requests") => text(200, requests(shared)),
        ("DELETE", "/_requests") => {
            shared.record().forget();
            text(200, String::new())
        }
        ("DELETE", "/_rules") => {
            shared.faults().clear();
            text(200, String::new())
        }
        ("POST", "/_rules") => {
            let body = head.read_body(connection, 1 << 20)?;
            match add_rules(shared, &String::from_utf8_lossy(&body)) {
                Ok(()) => text(200, String::new()),
                Err(reason) => text(400, reason + "\n"),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

fn text(status: u16, text: String) -> Answer {
    Answer::new(status).body("text/plain", text.into_bytes())
}

fn requests(shared: &Shared) -> String {
    let mut lines = String::new();
    for request in shared.record().clone() {
        let (method, target, status) = (&request.method, &request.target, request.status);
        // A string takes all that is written to it.
        let _ = writeln!(lines, "{method} {target} {status} {} {}", request.received, request.sent);
    }
    lines
}

fn add_rules(shared: &Shared, text: &str) -> Result<(), String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let rules = lines.map(str::parse).collect::<Result<Vec<Rule>, _>>()?;
    rules.into_iter().for_each(|rule| shared.faults().add(rule));
    Ok(())
}

/// `METHOD PATTERN FAULT [skip=N] [times=N|always]`, as in `GET /v2/*/blobs/* cut=1000 skip=1`.
///
/// Faults: `status=503`, `too-many=SECONDS`, `html`, `corrupt`, `length=+5`, `endless`, `huge=BYTES`, `cut=BYTES`,
/// `close=BYTES`, `stall=BYTES`, `reset`, `no-answer`, `hang`, `drip=BYTES` (a second), `delay=MILLISECONDS`, `redirect=ADDRESS`,
/// `redirect-loop`, `ignore-range`, `lose-upload`, `none`.
impl FromStr for Rule {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let (Some(method), Some(path), Some(fault)) = (words.next(), words.next(), words.next()) else {
            return Err(format!("{line:?} is not METHOD PATTERN FAULT"));
        };
        let mut rule = Self::on(method, path, parse_fault(fault)?);
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            rule = match name {
                "skip" => rule.skip(number(word, value)?),
                "times" => rule.times(number(word, value)?),
                "always" => rule.always(),
                _ => return Err(format!("{word:?} is neither skip=, times= nor always")),
            };
        }
        Ok(rule)
    }
}

fn parse_fault(word: &str) -> Result<Fault, String> {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    Ok(match name {
        "status" => Fault::status(number(word, value)?),
        "too-many" => Fault::too_many(value),
        "html" => Fault::html(),
        "corrupt" => Fault::Corrupt,
        "length" => Fault::LengthOff(number(word, value)?),
        "endless" => Fault::Endless,
        "huge" => Fault::Huge(number(word, value)?),
        "cut" => Fault::Cut { after: number(word, value)?, reset: true },
        "close" => Fault::Cut { after: number(word, value)?, reset: false },
        "stall" => Fault::Stall { after: number(word, value)? },
        "reset" => Fault::Reset,
        "no-answer" => Fault::NoAnswer,
        "hang" => Fault::Hang,
        "drip" => Fault::Drip { bytes: number(word, value)?, pause: Duration::from_secs(1) },
        "delay" => Fault::Delay(Duration::from_millis(number(word, value)?)),
        "redirect" => Fault::Redirect(value.to_owned()),
        "redirect-loop" => Fault::redirect_loop(),
        "ignore-range" => Fault::IgnoreRange,
        "lose-upload" => Fault::LoseUpload,
        "none" => Fault::None,
        _ => return Err(format!("{word:?} is no fault")),
    })
}

fn number<T: FromStr>(word: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{word:?} wants a number"))
}

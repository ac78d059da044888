//! An ordinary user's user namespace: entered once, when something has to be executed.
//!
//! Planning and looking up happen outside. What reads or writes layers runs as root of the namespace, where the disk's
//! mapped ids are the image's; so galley runs itself again inside, with the same words.

use std::{ffi::OsString, path::Path, sync::OnceLock};

use galley_engine::{Error, ErrorKind};
use galley_oci::Time;
use galley_sandbox::userns::{self, IdMaps, IdRange, UserNsError};
use galley_store::Store;

use crate::{
    context::Context,
    environment::Environment,
    failure::{Failure, Outcome},
    message,
};

/// Tells the process inside when the command began, in seconds and nanoseconds: what registries said since then it
/// does not ask again.
const STARTED: &str = "GALLEY_STARTED";

/// When the command began, for a process inside.
pub(crate) fn started(environment: &Environment) -> Option<Time> {
    let text = environment.text(STARTED).filter(|_| environment.inside_namespace())?;
    let (seconds, nanoseconds) = text.split_once('.')?;
    Some(Time { seconds: seconds.parse().ok()?, nanoseconds: nanoseconds.parse().ok()? })
}

/// The ids that files of the store at `root` have on disk: nothing for root, else the maps of the user's namespace.
pub(crate) fn id_map(environment: &Environment, root: &Path) -> Result<String, Error> {
    if environment.inside_namespace() {
        let map = |file: &str| fs_err::read_to_string(file).map(|text| joined(&parsed(&text)));
        let unreadable = |error| Error::new(ErrorKind::Machine, "cannot read the map of ids").because(error);
        let uids = map("/proc/self/uid_map").map_err(unreadable)?;
        return Ok(both(&uids, &map("/proc/self/gid_map").map_err(unreadable)?));
    }
    if environment.is_root {
        return Ok(String::new());
    }
    Ok(in_words(&choice(environment, root)?.maps))
}

fn in_words(maps: &IdMaps) -> String {
    let triples = |ranges: &[IdRange]| {
        joined(&ranges.iter().map(|it| (it.inside, it.outside, it.count)).collect::<Vec<_>>())
    };
    both(&triples(&maps.uids), &triples(&maps.gids))
}

/// Who typed the command: inside, the user that its root is outside.
pub(crate) fn user(environment: &Environment) -> u32 {
    let inside = environment.inside_namespace().then(|| fs_err::read_to_string("/proc/self/uid_map").ok());
    let outside = inside.flatten().and_then(|text| outside_of_root(&text));
    outside.unwrap_or_else(|| rustix::process::geteuid().as_raw())
}

fn outside_of_root(map: &str) -> Option<u32> {
    parsed(map).into_iter().find(|(inside, ..)| *inside == 0).map(|(_, outside, _)| outside)
}

/// Runs galley again inside, unless this process is root already; does not come back when it did.
pub(crate) fn enter_unless_root(context: &Context) -> Outcome {
    if context.environment.is_root { Ok(()) } else { enter(context) }
}

/// Runs galley again inside; the outcome of that is ours.
pub(crate) fn enter(context: &Context) -> Outcome {
    let root = context.root()?;
    // Inside, the user is root and has another default place.
    let environment =
        context.environment.all().filter(|(name, _)| *name != "GALLEY_ROOT" && *name != STARTED);
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let started = format!("{}.{}", context.started.seconds, context.started.nanoseconds);
    let own = [("GALLEY_ROOT", root.clone().into_os_string()), (STARTED, OsString::from(started))];
    let environment = environment.chain(own.map(|(name, value)| (OsString::from(name), value)));
    let choice = choice(&context.environment, &root)?;
    if choice.by_store {
        let help = "a new store, given with --root or GALLEY_ROOT, has the ranges";
        message::warn(
            "the store was made with one id, so this user's ranges of ids are not used",
            Some(help),
        );
    }
    let exit = userns::enter_and_reexec(&choice.maps, std::env::args_os(), environment).map_err(refused)?;
    match exit.code() {
        0 => Err(Failure::Code(0)),
        code => Err(Failure::Code(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}

/// The maps of an ordinary user.
#[derive(Debug)]
struct Choice {
    maps: IdMaps,
    /// The user has ranges, which the store does not know.
    by_store: bool,
}

/// Chosen once by a process, which has one store.
fn choice(environment: &Environment, root: &Path) -> Result<&'static Choice, Error> {
    static CHOICE: OnceLock<Choice> = OnceLock::new();
    match CHOICE.get() {
        Some(choice) => Ok(choice),
        None => choose(environment, root).map(|choice| CHOICE.get_or_init(|| choice)),
    }
}

/// The best maps, unless the store was made with one id. A new store gets one id as well where the ranges cannot be
/// mapped, whatever /etc/subuid says.
fn choose(environment: &Environment, root: &Path) -> Result<Choice, Error> {
    let alone = IdMaps::alone();
    let best = if environment.wants_one_id() { alone.clone() } else { IdMaps::best().map_err(refused)? };
    if best.is_alone() {
        return Ok(Choice { maps: best, by_store: false });
    }
    match Store::made_with(root) {
        Some(found) if found == in_words(&alone) => Ok(Choice { maps: alone, by_store: true }),
        Some(_) => Ok(Choice { maps: best, by_store: false }),
        None => match userns::try_maps(&best) {
            Err(error @ UserNsError::Helper { .. }) => {
                let help = "this store keeps to one id; mend what is wrong and remove it to use the ranges";
                message::warn(&format!("this user's ranges of ids cannot be used: {error}"), Some(help));
                Ok(Choice { maps: alone, by_store: false })
            }
            _ => Ok(Choice { maps: best, by_store: false }),
        },
    }
}

fn refused(error: UserNsError) -> Error {
    Error::new(ErrorKind::Machine, "cannot work as an ordinary user on this machine")
        .because(error)
        .help("`galley doctor` names the setting to change; as root galley needs none of this")
}

fn parsed(text: &str) -> Vec<(u32, u32, u32)> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
        Some((numbers.next()?, numbers.next()?, numbers.next()?))
    };
    text.lines().filter_map(line).collect()
}

fn joined(ranges: &[(u32, u32, u32)]) -> String {
    let words = ranges.iter().map(|(inside, outside, count)| format!("{inside}:{outside}:{count}"));
    words.collect::<Vec<_>>().join(",")
}

fn both(uids: &str, gids: &str) -> String {
    if uids == gids { uids.to_owned() } else { format!("{uids}/{gids}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_read_the_same_from_inside_and_outside() {
        let kernels = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(joined(&parsed(kernels)), "0:1000:1,1:100000:65536");
        assert_eq!(outside_of_root(kernels), Some(1000));
        assert_eq!(both("0:1:1", "0:1:1"), "0:1:1");
        assert_eq!(both("0:1:1", "0:2:1"), "0:1:1/0:2:1");
    }
}

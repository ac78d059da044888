//! `--load`: the image also goes to a Docker engine, when one runs on this machine.

use std::{io, sync::Mutex, thread};

use galley_engine::{
    Error, ErrorKind, Event, Events,
    export::{Destination, Exported, Output, OutputKind, Packed},
};
use galley_registry::Engine;

use super::outputs::timed;
use crate::{
    failure::is_broken_pipe,
    registry::{Registries, failed},
};

/// Hands the image to the engine; no engine is no error, for the image is in the local store too.
pub(super) fn load(
    engine: &Engine,
    registries: &Registries,
    exported: &Exported<'_>,
    packed: &Packed,
    events: &Events,
) -> Result<(), Error> {
    if packed.images.len() > 1 {
        events.emit(Event::Warning {
            rule: None,
            message: "a docker engine without the containerd image store keeps the image for one platform"
                .to_owned(),
            place: None,
            help: Some("the local store has all of them".to_owned()),
        });
    }
    let what = format!("loading into the docker engine at {}", engine.socket().display());
    timed(events, what, || {
        let (mut reader, writer) = io::pipe()
            .map_err(|error| Error::new(ErrorKind::Machine, "cannot make a pipe").because(error))?;
        let output = Output {
            kind: OutputKind::Docker,
            destination: Destination::Stream(Mutex::new(Box::new(writer))),
            split: None,
        };
        thread::scope(|scope| {
            let written = scope.spawn(|| {
                let written = exported.write(&output, Some(packed));
                // Its end of the pipe goes with it: the engine reads to the end.
                drop(output);
                written
            });
            let loaded = engine.load(&mut reader, &registries.stop());
            // An engine that hangs up leaves a writer with nobody to write to.
            drop(reader);
            let written = written.join().unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Internal, "writing the image panicked; this is a bug of galley"))
            });
            let loaded =
                loaded.map_err(|error| failed("cannot load the image into the docker engine", error));
            cause(loaded.map(drop), written)
        })
    })
}

/// Of two ends of a pipe that failed the one that began: an archive that is cut off is no fault of the engine's, and a
/// writer whose reader went away has nothing to tell.
fn cause(loaded: Result<(), Error>, written: Result<(), Error>) -> Result<(), Error> {
    match (loaded, written) {
        (Err(_), Err(error)) if !is_broken_pipe(&error) => Err(error),
        (loaded, written) => loaded.and(written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_that_failed_first_is_told() {
        let refused = || Err(Error::new(ErrorKind::Registry, "refused"));
        let cut =
            || Err(Error::new(ErrorKind::Store, "cut").because(io::Error::from(io::ErrorKind::BrokenPipe)));
        let full = || Err(Error::new(ErrorKind::Store, "full"));
        let told = |loaded, written| cause(loaded, written).map_err(|error| error.message.clone());
        assert_eq!(told(refused(), cut()), Err("refused".to_owned()));
        assert_eq!(told(refused(), full()), Err("full".to_owned()));
        assert_eq!(told(refused(), Ok(())), Err("refused".to_owned()));
        assert_eq!(told(Ok(()), full()), Err("full".to_owned()));
        assert_eq!(told(Ok(()), Ok(())), Ok(()));
    }
}

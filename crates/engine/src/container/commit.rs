//! `galley commit`: an image of what a container has become.

use std::{
    ffi::OsStr,
    io::{self, BufReader, BufWriter, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    thread,
    time::Duration,
};

use fs_err as fs;
use galley_oci::{
    Digest, Healthcheck, History, ImageConfig, Platform, Reference, RootFs, RunConfig, Stack, TimePolicy,
    Tree, minimal, tree, write_layer,
};
use galley_store::{FileLock, Image, Layer, Store};

use super::{
    Container, ContainerConfig, ContainerMount, Health, HealthOptions, MountFrom, Phase, Status,
    changes::{MOUNTED, is_mount_point, own},
    export::open_folder,
    list::{no_such, unless_gone},
    no_image,
    pause::{Still, hold},
    snapshot_of, store_failed,
    turn::in_turn,
};
use crate::{
    Error, ErrorKind, Fetcher,
    blobs::{self, Wanted},
    clock, config_changes,
    image::{self, Assembled},
    images,
    plan::DEFAULT_PATH,
    ports::BaseLayer,
};

/// How much of the layer is on its way at once.
const PIECE_BYTES: usize = 1 << 20;

/// What becomes of a container's files.
#[derive(Clone, Debug)]
pub struct CommitOptions {
    /// Who is responsible.
    pub author: String,
    /// Instructions of a Dockerfile that change the config: `--change`.
    pub changes: Vec<String>,
    /// The comment in the image's history.
    pub message: String,
    /// What the image is called; nothing is a name too.
    pub name: Option<Reference>,
    /// Whether the container stands still meanwhile.
    pub pausing: Pausing,
}

/// Whether a container that runs stands still while its files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pausing {
    /// It has to.
    Needed,
    /// Where that can be; else the person is told.
    Usual,
    /// It goes on.
    Not,
}

/// Makes an image of `container` and keeps it.
pub fn commit(
    fetcher: &Fetcher<'_>,
    container: &Container,
    options: &CommitOptions,
    warn: &dyn Fn(&str),
) -> Result<Digest, Error> {
    let store = fetcher.store;
    let image = store
        .image(&container.config.image_id)
        .map_err(store_failed)?
        .ok_or_else(|| no_image(&container.config))?;
    let base = images::config(&image)?;
    let platform = Platform { variant: base.variant.clone(), ..Platform::new(&base.os, &base.architecture) };
    // What is wrong there is said before anything is read.
    let config = config_of(&container.config, &base.config)?;
    let config = config_changes::changed(config, &options.changes, &platform)?;
    let still = keep_as_it_is(container, options.pausing, warn)?;
    let layer = unless_gone(container, layer_of(store, container))?;
    drop(still);
    if fetcher.stop.is_cancelled() {
        return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
    }
    let made =
        assemble(fetcher, &image, ImageConfig { config, ..base }, layer, &history(container, options))?;
    image::keep(fetcher, &[(&made, &platform)], options.name.as_slice())?;
    Ok(made.id)
}

/// What keeps the files of a container as they are for as long as it is there.
#[derive(Debug)]
enum Kept {
    /// One that runs stands still, where it is to.
    Running { _still: Option<Still> },
    /// One that does not run is neither started nor removed.
    Ended { _lock: FileLock },
}

fn keep_as_it_is(container: &Container, pausing: Pausing, warn: &dyn Fn(&str)) -> Result<Kept, Error> {
    let kept = in_turn(container, |now| {
        if now.is_running() {
            return stand_still(now, pausing, warn).map(|still| Some(Kept::Running { _still: still }));
        }
        let lock = now.folder.try_lock_shared().map_err(store_failed)?;
        Ok(lock.map(|lock| Kept::Ended { _lock: lock }))
    })?;
    kept.ok_or_else(|| no_such(&container.name))
}

fn stand_still(container: &Container, pausing: Pausing, warn: &dyn Fn(&str)) -> Result<Option<Still>, Error> {
    let runs = matches!(container.status, Status::Running { .. });
    if !runs || pausing == Pausing::Not {
        return Ok(None);
    }
    match hold(container) {
        Ok(still) => Ok(Some(still)),
        Err(error) if pausing == Pausing::Needed => Err(error.help("--pause=false does not stop it")),
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            warn(&format!("the container goes on while its files are read: {}{cause}", error.message));
            Ok(None)
        }
    }
}

/// What the container has changed, as a layer of the store; nothing when it has changed nothing.
fn layer_of(store: &Store, container: &Container) -> Result<Option<Layer>, Error> {
    let root = container.folder.root();
    let (whole, upper) = (root.exists(), container.folder.upper());
    let unreadable = |error: io::Error| {
        Error::new(ErrorKind::Store, format!("cannot read {}", upper.display())).because(error)
    };
    if !whole
        && fs::read_dir(&upper).map_err(unreadable)?.next().is_none()
        && container.state.phase == Phase::Created
    {
        // It never stood over its image.
        return Ok(None);
    }
    let stack = snapshot_of(store, &container.config)?.stack()?;
    // Where nothing can be mounted, volumes without a name are among the files.
    let volumes: Vec<&[u8]> =
        anonymous(&container.config).map(|target| target.trim_matches('/').as_bytes()).collect();
    let own = without(own(store, container, &stack)?, |path| {
        volumes.iter().any(|volume| path != *volume && tree::is_within(path, volume))
    });
    let tree = minimal(without_mount_points(own, &stack), &stack);
    if is_nothing(&tree, &stack) {
        return Ok(None);
    }
    copied(store, container, &tree, if whole { &root } else { &upper }).map(Some)
}

fn anonymous(container: &ContainerConfig) -> impl Iterator<Item = &str> {
    let anonymous = |mount: &&ContainerMount| matches!(mount.source, MountFrom::Anonymous(_));
    container.mounts.iter().filter(anonymous).map(|mount| mount.target.as_str())
}

fn without(tree: Tree, is_hidden: impl Fn(&[u8]) -> bool) -> Tree {
    Tree::from_entries(tree.into_entries().into_iter().filter(|entry| !is_hidden(&entry.path)).collect())
}

/// Without the places that were made for what galley mounts in every container.
fn without_mount_points(tree: Tree, below: &Stack) -> Tree {
    let mounted = MOUNTED.map(|target| target.as_bytes().to_vec());
    let entries = tree.into_entries().into_iter();
    let kept = entries.filter(|entry| {
        entry.path.is_empty() || below.get(&entry.path).is_some() || !is_mount_point(entry, &mounted)
    });
    Tree::from_entries(kept.collect())
}

/// Whether the layer says what is there already, but for the time of the root.
fn is_nothing(tree: &Tree, below: &Stack) -> bool {
    let same = |found: galley_oci::Found<'_>| {
        tree.entry(0).is_some_and(|root| {
            let time = root.meta.mtime;
            galley_oci::Meta { mtime: time, ..found.entry.meta.clone() } == root.meta
        })
    };
    tree.is_empty() || (tree.len() == 1 && below.get(b"").is_some_and(same))
}

/// The files of `folder` that `tree` names, as a layer: written as its archive, and read as one at once.
fn copied(store: &Store, container: &Container, tree: &Tree, folder: &Path) -> Result<Layer, Error> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        let message = format!("cannot make a layer of container {}", container.name);
        Error::new(ErrorKind::Store, message).because(error)
    };
    let (read, write) = io::pipe().map_err(|error| failed(error.into()))?;
    let from = open_folder(folder)?;
    let mut open = |index: usize| -> io::Result<Box<dyn io::Read>> {
        let path = tree.entry(index).map(|entry| &*entry.path).unwrap_or_default();
        Ok(Box::new(from.open_file(Path::new(OsStr::from_bytes(path)))?))
    };
    let unpack = move || {
        let mut archive = BufReader::with_capacity(PIECE_BYTES, read);
        let layer = store.unpack_layer(&mut archive)?;
        // Else whoever writes the end of it has nobody who reads.
        let _ = io::copy(&mut archive, &mut io::sink());
        Ok::<_, galley_store::StoreError>(layer)
    };
    let (written, unpacked) = thread::scope(|scope| {
        let unpacking = scope.spawn(unpack);
        let mut out = BufWriter::with_capacity(PIECE_BYTES, write);
        let written = write_layer(tree, TimePolicy::Keep, &mut open, &mut out).map_err(Into::into);
        let written = written.and_then(|()| Ok(out.flush()?));
        drop(out);
        (written, unpacking.join())
    });
    // A reader that gave up is the cause of a pipe that broke.
    let unpacked = unpacked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let layer = match (written, unpacked) {
        (Ok(()), unpacked) => unpacked.map_err(|error| failed(error.into()))?,
        (Err(error), Ok(_)) => return Err(failed(error)),
        (Err(written), Err(unpacked)) => {
            let own = matches!(unpacked, galley_store::StoreError::Io { .. });
            return Err(failed(if own { unpacked.into() } else { written }));
        }
    };
    store.commit_new(layer).map_err(store_failed)
}

/// The config of an image that runs as the container does.
fn config_of(container: &ContainerConfig, image: &RunConfig) -> Result<RunConfig, Error> {
    let (entrypoint, cmd) = container.arguments.split_at(container.entrypoint.min(container.arguments.len()));
    let volumes = anonymous(container).map(str::to_owned);
    let directory = &container.working_directory;
    let asked = galley_dockerfile::signal::parse(&image.stop_signal, galley_dockerfile::Span::default());
    let same_signal = asked.map_or(container.stop_signal == super::create::DEFAULT_STOP_SIGNAL, |signal| {
        signal == container.stop_signal
    });
    Ok(RunConfig {
        user: container.user.clone(),
        exposed_ports: container.service.exposed.iter().cloned().collect(),
        env: variables(container, image),
        entrypoint: entrypoint.to_vec(),
        cmd: cmd.to_vec(),
        volumes: image.volumes.iter().cloned().chain(volumes).collect(),
        working_dir: if image.working_dir.is_empty() && directory == "/" {
            String::new()
        } else {
            directory.clone()
        },
        labels: container.labels.clone(),
        stop_signal: if same_signal { image.stop_signal.clone() } else { container.stop_signal.to_string() },
        healthcheck: health(container.service.health.as_ref(), image)?,
        ..image.clone()
    })
}

/// The container's variables without those that galley gives to every one.
fn variables(container: &ContainerConfig, image: &RunConfig) -> Vec<String> {
    let path = format!("PATH={DEFAULT_PATH}");
    let given = |variable: &String| *variable == path || (container.tty && variable == "TERM=xterm");
    let kept =
        container.environment.iter().filter(|variable| image.env.contains(variable) || !given(variable));
    kept.cloned().collect()
}

fn health(container: Option<&Health>, image: &RunConfig) -> Result<Option<Healthcheck>, Error> {
    if HealthOptions::default().resolve(image)?.as_ref() == container {
        return Ok(image.healthcheck.clone());
    }
    let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let check = container.map(|health| Healthcheck {
        test: health.test.clone(),
        interval: nanoseconds(health.interval),
        timeout: nanoseconds(health.timeout),
        start_period: nanoseconds(health.start_period),
        start_interval: nanoseconds(health.start_interval),
        retries: health.retries.into(),
        ..Healthcheck::default()
    });
    Ok(check.or_else(|| Some(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() })))
}

fn history(container: &Container, options: &CommitOptions) -> History {
    let cmd = container.config.arguments.get(container.config.entrypoint..).unwrap_or_default();
    History {
        created_by: cmd.join(" "),
        author: options.author.clone(),
        comment: options.message.clone(),
        ..History::default()
    }
}

fn assemble(
    fetcher: &Fetcher<'_>,
    below: &Image,
    base: ImageConfig,
    layer: Option<Layer>,
    item: &History,
) -> Result<Assembled, Error> {
    let mut layers = Assembled::of_store(fetcher.store, below)?.layers;
    if let Some(layer) = &layer {
        let times = TimePolicy::Keep;
        let diff_ids = blobs::diff_ids(fetcher, &[Wanted { layer: layer.clone(), times, own: false }])?;
        layers.extend(diff_ids.into_iter().map(|diff_id| BaseLayer {
            diff_id,
            times,
            blob: None,
            held: layer.clone().into(),
        }));
    }
    let created = clock::now();
    let text = Some(created.rfc3339());
    let item = History { created: text.clone(), empty_layer: layer.is_none(), ..item.clone() };
    let author = Some(item.author.clone()).filter(|author| !author.is_empty());
    let document = ImageConfig {
        created: text,
        author,
        rootfs: RootFs { diff_ids: layers.iter().map(|layer| layer.diff_id).collect(), ..RootFs::default() },
        history: base.history.iter().cloned().chain([item]).collect(),
        // How a build came to its layers is not how these did.
        extra: serde_json::Map::new(),
        ..base
    };
    let config = document.to_bytes();
    Ok(Assembled { id: Digest::sha256(&config), config, layers, manifest: None, created })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::testing::with_container;

    #[test]
    fn what_is_read_is_neither_started_nor_removed() {
        with_container(|store, container| {
            let keep = || keep_as_it_is(&container, Pausing::Usual, &|_| ());
            let kept = [keep().unwrap(), keep().unwrap()];
            assert!(!container.folder.is_held().unwrap(), "nothing runs it");
            assert!(crate::container::remove_unless_held(store, &container, false).unwrap().is_none());
            drop(kept);
            assert!(crate::container::remove_unless_held(store, &container, false).unwrap().is_some());
            assert_eq!(keep().unwrap_err().message, "no such container: app");
        });
    }
}

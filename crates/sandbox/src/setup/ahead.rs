//! What can be set up before it is known what will run: everything but the root, its mounts and the process itself.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::mounts::Builder;
use super::staging::Staging;
use super::step::Step as _;
use super::{Request, end, enter_cgroup, join_network, kernel_fs, path, sandbox};
use crate::error::{SetupError, SetupStep};
use crate::spec::{Layers, Network, Root, Spec};
use crate::sys;
use crate::wire;
use crate::zygote::Inherited;

/// The first part of a set-up.
pub(crate) struct Ahead {
    staging: Staging,
    furniture: Option<Furniture>,
    /// Whether the process is in the network of its request already.
    in_network: bool,
}

/// /proc, /dev and /sys with everything that is masked or read-only, in a directory of the staging file system.
struct Furniture {
    place: OwnedFd,
    /// What they were made for.
    usual: Spec,
}

/// An [`Ahead`], or why there is none: that is for whoever asks for the sandbox.
pub(crate) struct Attempt(Result<Ahead, SetupError>);

impl Attempt {
    /// Waits for the request.
    pub(crate) fn serve(self, socket: &OwnedFd, inherited: &Inherited) -> ! {
        let (mut message, mut files) = ([0; 1], Vec::new());
        let received = wire::receive(socket, &mut message, &mut files);
        let request = received.ok().and_then(|_| Request::from_files(message[0], files));
        // Otherwise the helper process is gone.
        let Some(request) = request else { sys::exit_now(0) };
        let result = self.0.and_then(|ahead| sandbox(&request, ahead, inherited));
        end(&request, result)
    }
}

impl Ahead {
    /// All that can be made before the request is there, in the network that it will name.
    pub(crate) fn make(network: Option<&OwnedFd>, inherited: &Inherited) -> Attempt {
        Attempt(enter_cgroup(None).and_then(|()| {
            let mut ahead = Self::new(inherited)?;
            if let Some(network) = network {
                join_network(network)?;
                ahead.in_network = true;
            }
            ahead.furnish(inherited)
        }))
    }

    /// No more than what every sandbox begins with.
    pub(crate) fn new(inherited: &Inherited) -> Result<Self, SetupError> {
        rustix::process::setsid().step(SetupStep::NewSession)?;
        sys::join_new_session_keyring();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0));
        let staging = Staging::mount(inherited.may_make_devices)?;
        Ok(Self { staging, furniture: None, in_network: false })
    }

    fn furnish(self, inherited: &Inherited) -> Result<Self, SetupError> {
        let mut usual = Spec::new(Root::Layers(Layers::default()), Vec::new());
        usual.network = if self.in_network { Network::Shared } else { Network::Host };
        let Self { mut staging, in_network, .. } = self;
        let place = staging.open_new_directory().step(SetupStep::MountStaging)?;
        let mut builder = Builder::at(place, staging, inherited.may_make_devices);
        furnish(&mut builder, &usual)?;
        let (place, staging) = builder.into_parts();
        Ok(Self { staging, furniture: Some(Furniture { place, usual }), in_network })
    }

    pub(super) const fn in_network(&self) -> bool {
        self.in_network
    }

    /// A root with /proc, /dev and /sys in it.
    pub(super) fn build(self, spec: &Spec, inherited: &Inherited) -> Result<Builder, SetupError> {
        let mut builder = Builder::new(&spec.root, self.staging, inherited.may_make_devices)?;
        if spec.insecure {
            builder.allow_devices()?;
        }
        match self.furniture.filter(|furniture| furniture.fits(spec)) {
            Some(furniture) => furniture.move_into(&mut builder)?,
            None => furnish(&mut builder, spec)?,
        }
        Ok(builder)
    }
}

fn furnish(builder: &mut Builder, spec: &Spec) -> Result<(), SetupError> {
    let files = kernel_fs::mount_all(builder, spec)?;
    kernel_fs::restrict_paths(builder, &files, spec)
}

impl Furniture {
    /// Whether all on which [`kernel_fs`] depends is as it was taken for.
    fn fits(&self, spec: &Spec) -> bool {
        spec.network == self.usual.network
            && spec.insecure == self.usual.insecure
            && spec.tty.is_none()
            && spec.shm_size == self.usual.shm_size
            && spec.masked_paths == self.usual.masked_paths
            && spec.readonly_paths == self.usual.readonly_paths
    }

    /// Mounts take along what is mounted in them.
    fn move_into(self, builder: &mut Builder) -> Result<(), SetupError> {
        for target in ["/proc", "/dev", "/sys"] {
            let mount =
                path::open(self.place.as_fd(), Path::new(target)).step_at(SetupStep::Attach, target)?;
            builder.attach(mount.as_fd(), Path::new(target))?;
        }
        Ok(())
    }
}

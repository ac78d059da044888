//! `RUN --mount`.

use std::{cell::RefCell, collections::BTreeSet};

use galley_dockerfile::{
    Expander,
    command::{MountFlag, Run},
    mount::{self, BindMount, CacheMount, FileOwner, Mount, SecretMount, SshMount, TmpfsMount},
};

use super::{ContextId, MountKind, Needed, RunMount, Sharing, Source, evaluate::Evaluation, path};
use crate::Error;

/// Permission bits of a secret's file.
const SECRET_MODE: u32 = 0o400;
/// Permission bits of an agent's socket.
const SOCKET_MODE: u32 = 0o600;
/// What of a mode counts for files that are mounted: neither set-id bits nor the sticky bit.
const MODE_BITS: u32 = 0o777;
/// Where agents' sockets are, each with its number behind.
const AGENT_SOCKET: &str = "/run/buildkit/ssh_agent.";

/// The mounts of one step.
pub(super) struct RunMounts {
    pub(super) mounts: Vec<RunMount>,
    /// The first agent's socket, as written: what SSH_AUTH_SOCK says, whether the agent is there or not.
    pub(super) agent: Option<String>,
}

/// The agents of one step so far.
#[derive(Default)]
struct Agents {
    count: usize,
    first: Option<String>,
}

impl Evaluation<'_, '_> {
    pub(super) fn mounts(&mut self, run: &Run) -> Result<RunMounts, Error> {
        let mut agents = Agents::default();
        let mounts: Vec<RunMount> =
            run.mounts.iter().map(|flag| self.mount(flag, &mut agents)).collect::<Result<_, _>>()?;
        Ok(RunMounts { mounts, agent: agents.first })
    }

    fn mount(&mut self, flag: &MountFlag, agents: &mut Agents) -> Result<RunMount, Error> {
        let undefined = RefCell::new(BTreeSet::new());
        let parsed = {
            let environment = &self.state.environment;
            let lookup = |name: &str| {
                let value = environment.get(name).map(ToOwned::to_owned);
                if value.is_none() {
                    undefined.borrow_mut().insert(name.to_owned());
                }
                value
            };
            mount::parse(&flag.text, &Expander::new(self.text.escape, &lookup))
        };
        self.warn_undefined(&undefined.into_inner(), flag.text.span);
        match parsed.map_err(|error| self.text.error(&error))? {
            Mount::Bind(bind) => self.bind(bind, flag),
            Mount::Cache(cache) => self.cache(cache, flag),
            Mount::Tmpfs(tmpfs) => self.tmpfs(&tmpfs, flag),
            Mount::Secret(secret) => {
                let needed = self.needed(&secret.id, secret.required);
                self.uses().secrets.push(needed);
                self.secret(secret, flag)
            }
            Mount::Ssh(ssh) => {
                let needed = self.needed(&ssh.id, ssh.required);
                self.uses().ssh.push(needed);
                self.ssh(ssh, flag, agents)
            }
        }
    }

    /// For the outline.
    fn needed(&self, name: &str, required: bool) -> Needed {
        let lines = self.planner.graph.text.lines(self.instruction);
        Needed { name: name.to_owned(), required, lines }
    }

    fn bind(&mut self, bind: BindMount, flag: &MountFlag) -> Result<RunMount, Error> {
        let from = match self.mount_source(flag)? {
            Some(from) => from,
            None => Source::Context(ContextId(0)),
        };
        let source = path::absolute("/", &bind.source).into_bytes();
        let target = self.mount_target(&bind.target, flag)?;
        Ok(RunMount { target, kind: MountKind::Bind { from, source, writable: !bind.read_only } })
    }

    fn cache(&mut self, cache: CacheMount, flag: &MountFlag) -> Result<RunMount, Error> {
        let target = self.mount_target(&cache.target, flag)?;
        let source = path::absolute("/", &cache.source).into_bytes();
        if flag.from.is_none() && source != b"/" {
            let message =
                "a cache mount has a `source` and no `from`: there is nothing that it could start with";
            return Err(self.text.wrong(flag.text.span, message).help("name the stage or image with from="));
        }
        // As in BuildKit, what starts with a part of something looks like that part, whatever else is asked for.
        let owner = if source == b"/" { cache.owner } else { FileOwner::default() };
        let from = self.mount_source(flag)?.map(|from| (from, source));
        let id = cache.id.unwrap_or_else(|| clean(&cache.target));
        let namespace = self.planner.graph.options.build_arg("BUILDKIT_CACHE_MOUNT_NS").unwrap_or_default();
        let kind = MountKind::Cache {
            id: if namespace.is_empty() { id } else { format!("{namespace}/{id}") },
            sharing: match cache.sharing {
                mount::Sharing::Shared => Sharing::Shared,
                mount::Sharing::Private => Sharing::Private,
                mount::Sharing::Locked => Sharing::Locked,
            },
            from,
            read_only: cache.read_only,
            mode: owner.mode,
            uid: owner.uid,
            gid: owner.gid,
        };
        Ok(RunMount { target, kind })
    }

    fn tmpfs(&mut self, tmpfs: &TmpfsMount, flag: &MountFlag) -> Result<RunMount, Error> {
        let _unused = self.mount_source(flag)?;
        let target = self.mount_target(&tmpfs.target, flag)?;
        Ok(RunMount { target, kind: MountKind::Tmpfs { size: tmpfs.size, read_only: tmpfs.read_only } })
    }

    fn secret(&mut self, secret: SecretMount, flag: &MountFlag) -> Result<RunMount, Error> {
        let options = self.planner.graph.options;
        let known = options.nothing_runs || options.secrets.contains(&secret.id);
        if secret.required && !known {
            return Err(self
                .text
                .wrong(flag.text.span, format!("the secret `{}` is required and was not given", secret.id))
                .help(format!(
                    "pass --secret id={},src=FILE or --secret id={},env=NAME",
                    secret.id, secret.id
                )));
        }
        let target = match &secret.target {
            Some(target) => self.mount_target(target, flag)?,
            None => Vec::new(),
        };
        let kind = MountKind::Secret {
            id: secret.id,
            file: secret.target.is_some(),
            environment: secret.env,
            required: secret.required,
            mode: secret.owner.mode.unwrap_or(SECRET_MODE) & MODE_BITS,
            uid: secret.owner.uid.unwrap_or_default(),
            gid: secret.owner.gid.unwrap_or_default(),
        };
        Ok(RunMount { target, kind })
    }

    fn ssh(&mut self, ssh: SshMount, flag: &MountFlag, agents: &mut Agents) -> Result<RunMount, Error> {
        let _unused = self.mount_source(flag)?;
        let options = self.planner.graph.options;
        let known = options.nothing_runs || options.ssh.contains(&ssh.id);
        if ssh.required && !known {
            return Err(self
                .text
                .wrong(flag.text.span, format!("the SSH agent `{}` is required and was not given", ssh.id))
                .help(format!("pass --ssh {}, with ssh-agent running, or --ssh {0}=KEYFILE", ssh.id)));
        }
        let written = ssh.target.unwrap_or_else(|| format!("{AGENT_SOCKET}{}", agents.count));
        let target = self.mount_target(&written, flag)?;
        agents.count += 1;
        agents.first.get_or_insert(written);
        let kind = MountKind::Ssh {
            id: ssh.id,
            required: ssh.required,
            mode: ssh.owner.mode.unwrap_or(SOCKET_MODE) & MODE_BITS,
            uid: ssh.owner.uid.unwrap_or_default(),
            gid: ssh.owner.gid.unwrap_or_default(),
        };
        Ok(RunMount { target, kind })
    }

    /// What `from=` means; nothing when it is not written.
    fn mount_source(&mut self, flag: &MountFlag) -> Result<Option<Source>, Error> {
        let Some(word) = &flag.from else { return Ok(None) };
        let from = self.planner.graph.from(self.index, word, &self.text)?;
        self.planner.source(from, &self.text.place(word.span)).map(Some)
    }

    fn mount_target(&self, target: &str, flag: &MountFlag) -> Result<Vec<u8>, Error> {
        let absolute = path::absolute(&self.state.directory, target);
        if absolute == "/" {
            if target.is_empty() {
                let wrong = self.text.wrong(flag.text.span, "the mount has no target");
                return Err(wrong.help("write target=DIRECTORY"));
            }
            let message = format!("the mount's target `{target}` is the root of the file system");
            return Err(self.text.wrong(flag.text.span, message).help("mount to a directory below it"));
        }
        Ok(absolute.into_bytes())
    }
}

/// The name of a cache without an id: its target as written, cleaned.
fn clean(target: &str) -> String {
    let absolute = path::absolute("/", target);
    if target.starts_with('/') { absolute } else { absolute.trim_start_matches('/').to_owned() }
}

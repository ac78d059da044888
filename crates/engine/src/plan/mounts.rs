//! `RUN --mount`.

use std::{cell::RefCell, collections::BTreeSet};

use galley_dockerfile::{
    Expander,
    command::{MountFlag, Run},
    mount::{self, BindMount, CacheMount, Mount, SecretMount, TmpfsMount},
};

use super::{ContextId, MountKind, Needed, RunMount, Sharing, Source, evaluate::Evaluation, path};
use crate::Error;

/// Permission bits of a secret's file.
const SECRET_MODE: u32 = 0o400;

impl Evaluation<'_, '_> {
    pub(super) fn mounts(&mut self, run: &Run) -> Result<Vec<RunMount>, Error> {
        run.mounts.iter().map(|flag| self.mount(flag)).collect()
    }

    fn mount(&mut self, flag: &MountFlag) -> Result<RunMount, Error> {
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
            Mount::Ssh(_) => Err(self.text.unsupported(
                flag.text.span,
                "RUN --mount=type=ssh",
                "give a deploy key with --secret and RUN --mount=type=secret instead",
            )),
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
            mode: cache.owner.mode,
            uid: cache.owner.uid,
            gid: cache.owner.gid,
        };
        Ok(RunMount { target, kind })
    }

    fn tmpfs(&mut self, tmpfs: &TmpfsMount, flag: &MountFlag) -> Result<RunMount, Error> {
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
            mode: secret.owner.mode.unwrap_or(SECRET_MODE),
            uid: secret.owner.uid.unwrap_or_default(),
            gid: secret.owner.gid.unwrap_or_default(),
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

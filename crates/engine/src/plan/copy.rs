//! COPY and ADD.

use galley_dockerfile::{
    Ignore, Instruction, Word,
    command::{Add, Copy, CopySource},
    ignore::clean,
    lint::docker,
    mode,
};

use super::{
    Chmod, ContextId, CopyOp, FetchedSource, InlineFile, Operation, Source, evaluate::Evaluation, path,
};
use crate::{
    Error,
    remote::{Address, AddressError},
};

/// What COPY and ADD have in common.
struct Files<'i> {
    name: &'static str,
    from: Source,
    chown: Option<&'i Word>,
    chmod: Option<&'i Word>,
    sources: Sources,
    destination: &'i Word,
    unpack: bool,
    link: bool,
    parents: bool,
    excludes: Vec<Vec<u8>>,
}

/// Sources, expanded.
#[derive(Default)]
struct Sources {
    /// All that are not inline.
    written: Vec<String>,
    paths: Vec<String>,
    fetched: Vec<FetchedSource>,
    inline: Vec<InlineFile>,
}

impl Evaluation<'_, '_> {
    pub(super) fn copy(&mut self, copy: &Copy, instruction: &Instruction) -> Result<(), Error> {
        let from = match &copy.from {
            None => Source::Context(ContextId(0)),
            Some(word) => {
                let from = self.planner.graph.from(self.index, word, &self.text)?;
                self.planner.source(from, &self.text.place(word.span))?
            }
        };
        let files = Files {
            name: "COPY",
            from,
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
            sources: self.sources(None, from, &copy.sources)?,
            destination: &copy.destination,
            unpack: false,
            link: copy.link,
            parents: copy.parents,
            excludes: self.excludes(&copy.excludes)?,
        };
        self.files(files, instruction)
    }

    pub(super) fn add_files(&mut self, add: &Add, instruction: &Instruction) -> Result<(), Error> {
        let from = Source::Context(ContextId(0));
        let sources = self.sources(Some(add), from, &add.sources)?;
        let files = Files {
            name: "ADD",
            from,
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            sources,
            destination: &add.destination,
            unpack: add.unpack.unwrap_or(true),
            link: add.link,
            parents: false,
            excludes: self.excludes(&add.excludes)?,
        };
        self.files(files, instruction)
    }

    fn files(&mut self, files: Files<'_>, instruction: &Instruction) -> Result<(), Error> {
        let shown = self.shown(instruction);
        let chown = files.chown.map(|word| self.expand(word)).transpose()?.filter(|chown| !chown.is_empty());
        let chmod = files.chmod.map(|word| self.chmod(word)).transpose()?.flatten();
        let destination = self.expand(files.destination)?;
        let text = history_text(&files, (&chown, &chmod), &destination);
        let Sources { paths, fetched, inline, .. } = files.sources;
        let operation = CopyOp {
            from: files.from,
            sources: paths.iter().map(|path| source(path, files.parents).into_bytes()).collect(),
            fetched,
            excludes: files.excludes,
            inline,
            destination: path::destination(&self.state.directory, &destination).into_bytes(),
            chown,
            // Docker itself ignores --link beside --chmod.
            link: files.link && chmod.is_none(),
            chmod,
            unpack: files.unpack,
        };
        let step = self.step(&shown, instruction.span, Operation::Copy(operation), self.no_cache);
        self.record(Some(step), text)
    }

    /// The sources of COPY, or of `add`.
    fn sources(&mut self, add: Option<&Add>, from: Source, written: &[CopySource]) -> Result<Sources, Error> {
        let mut sources = Sources::default();
        let checksum = add.map_or(Ok(None), |add| self.checksum(add))?;
        for source in written {
            match source {
                CopySource::Path(word) => {
                    let path = self.expand(word)?;
                    match (self.address(word, &path, add)?, add) {
                        (Some(address), Some(add)) => {
                            let after = sources.paths.len();
                            let address = self.pinned(word, address, add, checksum.as_ref())?;
                            let source = self.fetched(word, address, after, add.unpack == Some(true));
                            sources.fetched.push(source);
                        }
                        _ => {
                            self.refuse_checksum(checksum.as_ref())?;
                            if from == Source::Context(ContextId(0)) {
                                self.warn_ignored(if add.is_some() { "ADD" } else { "COPY" }, word, &path);
                            }
                            sources.paths.push(path.clone());
                        }
                    }
                    sources.written.push(path);
                }
                CopySource::Heredoc(heredoc) => {
                    let content = self.with_expander(|expander| expander.heredoc(heredoc))?;
                    self.warn_undefined(&content.undefined, heredoc.body_span);
                    let (name, content) = (heredoc.name.clone().into_bytes(), content.text.into_bytes());
                    sources.inline.push(InlineFile { name, content });
                }
            }
        }
        Ok(sources)
    }

    /// What is not a path. Only ADD takes it.
    fn address(&self, word: &Word, path: &str, add: Option<&Add>) -> Result<Option<Address>, Error> {
        let address = Address::parse(path);
        if add.is_none() && !matches!(address, Ok(None)) {
            let help = "COPY takes files of the context, a stage or an image; ADD fetches";
            return Err(self.text.wrong(word.span, format!("COPY cannot fetch `{path}`")).help(help));
        }
        let address = address.map_err(|error| self.no_address(word, &error))?;
        if let Some(Address::Http(http)) = &address {
            http.check().map_err(|error| self.no_address(word, &error))?;
        }
        Ok(address)
    }

    fn no_address(&self, word: &Word, error: &AddressError) -> Error {
        self.text.wrong(word.span, error.to_string())
    }

    /// `--checksum`, expanded; none when it is empty.
    fn checksum<'w>(&mut self, add: &'w Add) -> Result<Option<(&'w Word, String)>, Error> {
        let Some(word) = &add.checksum else { return Ok(None) };
        let text = self.expand(word)?;
        let paths = add.sources.iter().filter(|source| matches!(source, CopySource::Path(_))).count();
        if text.is_empty() {
            return Ok(None);
        }
        if paths != 1 {
            let error =
                self.text.wrong(word.span, "ADD --checksum is about one source, and this has several");
            return Err(error.help("write an ADD of its own for each"));
        }
        Ok(Some((word, text)))
    }

    fn refuse_checksum(&self, checksum: Option<&(&Word, String)>) -> Result<(), Error> {
        let Some((word, _)) = checksum else { return Ok(()) };
        let message = "ADD --checksum needs an http(s) or git source";
        Err(self.text.wrong(word.span, message).help("remove the flag"))
    }

    /// The address with what the flags say of it.
    fn pinned(
        &self,
        word: &Word,
        address: Address,
        add: &Add,
        checksum: Option<&(&Word, String)>,
    ) -> Result<Address, Error> {
        let flag = checksum.map_or(word, |(flag, _)| flag);
        let pinned = with_flags(address, add, checksum.map(|(_, text)| text.as_str()));
        pinned.map_err(|error| self.no_address(flag, &error))
    }

    /// The step that fetches it, and what of that is meant.
    fn fetched(&mut self, word: &Word, address: Address, after: usize, unpack: bool) -> FetchedSource {
        let (file, unpack) = match &address {
            Address::Http(http) => (Some(http.name.clone()), unpack),
            Address::Git(_) => (None, false),
        };
        let step = self.planner.fetch(address, self.text.place(word.span));
        FetchedSource { step, after, file, unpack }
    }

    /// The path is compared as it is written: Docker compares `/a` and `a*` with the patterns, too.
    fn warn_ignored(&mut self, name: &str, word: &Word, path: &str) {
        let Some((file, ignore)) = &self.planner.ignore else { return };
        let cleaned = clean(path.as_bytes());
        let is_ignored = match cleaned.as_slice() {
            b"." | b"/" => ignore.keeps_all_out(),
            path => ignore.matches(path),
        };
        if is_ignored && !ignore.has_exceptions() {
            let path = String::from_utf8_lossy(&cleaned);
            let message = format!("{name} of `{path}`, which {file} keeps out of the build context");
            let help = format!("remove the pattern from {file}, or add the exception !{path}");
            self.warn(&docker::COPY_IGNORED_FILE, message, word.span, &help);
        }
    }

    /// The mode; none when it is empty.
    fn chmod(&mut self, word: &Word) -> Result<Option<Chmod>, Error> {
        let text = self.expand(word)?;
        if text.is_empty() {
            return Ok(None);
        }
        let mode = mode::parse(&text, word.span).map_err(|error| self.text.error(&error))?;
        Ok(Some(Chmod { text, mode }))
    }

    /// The patterns of `--exclude`, as they are written: nothing in them is expanded.
    fn excludes(&self, words: &[Word]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |word: &Word| match Ignore::from_patterns([word.text.as_bytes()]) {
            Ok(_) => Ok(word.text.clone().into_bytes()),
            Err(error) => Err(self.text.wrong(word.span, error.message())),
        };
        words.iter().map(read).collect()
    }
}

/// An address with what `--checksum`, expanded, and `--keep-git-dir` say of it.
pub(super) fn with_flags(
    address: Address,
    add: &Add,
    checksum: Option<&str>,
) -> Result<Address, AddressError> {
    match (address, checksum) {
        (Address::Http(http), Some(checksum)) => http.with_checksum(checksum).map(Address::Http),
        (Address::Http(http), None) => Ok(Address::Http(http)),
        (Address::Git(mut git), _) => {
            if let Some(checksum) = checksum {
                git = git.with_checksum(checksum)?;
            }
            if let Some(keep) = add.keep_git_dir {
                git = git.with_git_dir(keep)?;
            }
            git.check()?;
            Ok(Address::Git(git))
        }
    }
}

fn history_text(
    files: &Files<'_>,
    (chown, chmod): (&Option<String>, &Option<Chmod>),
    destination: &str,
) -> String {
    let parents = files.parents.then(|| "--parents".to_owned());
    let chown = chown.iter().map(|chown| format!("--chown={chown}"));
    let chmod = chmod.iter().map(|chmod| format!("--chmod={}", chmod.text));
    let Sources { written, inline, .. } = &files.sources;
    let inline = inline.iter().map(|file| format!("<<{}", String::from_utf8_lossy(&file.name)));
    let words = parents
        .into_iter()
        .chain(chown)
        .chain(chmod)
        .chain(written.iter().cloned())
        .chain(inline)
        .chain([destination.to_owned()]);
    format!("{} {} # buildkit", files.name, words.collect::<Vec<_>>().join(" "))
}

/// A source as steps know it. With `--parents` it is in two parts, at its first `/./` or at the root.
fn source(path: &str, parents: bool) -> String {
    if !parents {
        return path::absolute("/", path);
    }
    let (start, kept) = path.split_once("/./").unwrap_or(("", path));
    let (start, kept) = (path::absolute("/", start), path::absolute("/", kept));
    format!("{}/.{kept}", start.trim_end_matches('/'))
}

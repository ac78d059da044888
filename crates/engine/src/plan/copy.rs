//! COPY and ADD.

use galley_dockerfile::{
    Ignore, Instruction, Word,
    command::{Add, Copy, CopySource},
    ignore::clean,
    lint::docker,
    mode,
};

use super::{
    Chmod, ContextId, CopyOp, InlineFile, Operation, Source, evaluate::Evaluation, path, text::flag_span,
};
use crate::Error;

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
    paths: Vec<String>,
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
            sources: self.sources("COPY", from, &copy.sources)?,
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
        let sources = self.sources("ADD", from, &add.sources)?;
        if let Some(checksum) = &add.checksum {
            let message = "ADD --checksum needs an http(s) or git source";
            return Err(self.text.wrong(checksum.span, message).help("remove the flag"));
        }
        if add.keep_git_dir.is_some() {
            let help = "it is for git sources, which galley cannot fetch yet: remove the flag";
            return Err(self.unsupported_flag(instruction, "ADD", "keep-git-dir", help));
        }
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
        let Sources { paths, inline } = files.sources;
        let operation = CopyOp {
            from: files.from,
            sources: paths.iter().map(|path| source(path, files.parents).into_bytes()).collect(),
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

    fn sources(&mut self, name: &str, from: Source, written: &[CopySource]) -> Result<Sources, Error> {
        let mut sources = Sources::default();
        for source in written {
            match source {
                CopySource::Path(word) => {
                    let path = self.expand(word)?;
                    self.refuse_remote(name, word, &path)?;
                    if from == Source::Context(ContextId(0)) {
                        self.warn_ignored(name, word, &path);
                    }
                    sources.paths.push(path);
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

    /// The path is compared as it is written: Docker compares `/a` and `a*` with the patterns, too.
    /// Exceptions make it impossible to say before the files are looked at, as in Docker.
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

    fn refuse_remote(&self, name: &str, word: &Word, path: &str) -> Result<(), Error> {
        if !is_remote(path) {
            return Ok(());
        }
        Err(if name == "COPY" {
            let help = "COPY takes files of the context, a stage or an image";
            self.text.wrong(word.span, format!("COPY cannot fetch `{path}`")).help(help)
        } else {
            let help = "fetch it in a RUN step, or download it into the context first";
            self.text.unsupported(word.span, "ADD of a URL or a git repository", help)
        })
    }

    fn unsupported_flag(&self, at: &Instruction, name: &str, flag: &str, help: &str) -> Error {
        self.text.unsupported(flag_span(at, flag), &format!("{name} --{flag}"), help)
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
    let Sources { paths, inline } = &files.sources;
    let inline = inline.iter().map(|file| format!("<<{}", String::from_utf8_lossy(&file.name)));
    let words = parents
        .into_iter()
        .chain(chown)
        .chain(chmod)
        .chain(paths.iter().cloned())
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

/// URLs, and what Docker takes for a git repository.
fn is_remote(source: &str) -> bool {
    let lower = source.to_ascii_lowercase();
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|scheme| lower.starts_with(scheme))
}

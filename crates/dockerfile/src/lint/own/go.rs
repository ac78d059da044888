//! What can be said about a `go build` in a RUN.

use super::image::Libc;
use super::scene::{Base, RunView, Scene, View};
use crate::command::{Copy, CopySource};
use crate::shell::Simple;
use crate::span::Word;

/// A `go build` and where it stands.
pub(super) struct Build<'s, 'a> {
    pub(super) view: &'s View<'a>,
    pub(super) run: &'s RunView<'a>,
    pub(super) command: &'s Simple,
}

/// Whether a build uses C code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cgo {
    /// `CGO_ENABLED=0`, or there is no C compiler.
    Off,
    /// `CGO_ENABLED=1`
    Asked,
    /// Nobody said anything, and there is a C compiler.
    Default,
    /// The text does not tell.
    Unknown,
}

/// Packages that bring a C compiler on Alpine.
const ALPINE_COMPILERS: [&str; 5] = ["gcc", "g++", "build-base", "clang", "alpine-sdk"];

/// From this version on, Go uses C code only where it finds a compiler.
const NEEDS_COMPILER: (u32, u32) = (1, 20);

/// The builds that make a program for Linux, in the order of the text.
pub(super) fn builds<'s, 'a>(scene: &'s Scene<'a>) -> impl Iterator<Item = Build<'s, 'a>> {
    let builds = scene.runs().flat_map(|(view, run)| {
        let go = run.script.commands.iter().filter(|command| command.is("go", "build"));
        go.map(move |command| Build { view, run, command })
    });
    builds.filter(|build| build.flag("buildmode").is_none() && build.makes_a_program())
}

impl<'a> Build<'_, 'a> {
    /// The value of `-name value`, `-name=value` and the same with two dashes.
    pub(super) fn flag(&self, name: &str) -> Option<&Word> {
        let arguments = self.command.arguments();
        arguments.iter().enumerate().find_map(|(at, word)| {
            let flag = word.text.strip_prefix("--").or_else(|| word.text.strip_prefix('-'))?;
            match flag.strip_prefix(name)? {
                "" => arguments.get(at + 1),
                rest => rest.starts_with('=').then_some(word),
            }
        })
    }

    /// Several packages without `-o` are only compiled.
    fn makes_a_program(&self) -> bool {
        let several = self.command.operands().any(|operand| operand.ends_with("..."));
        let system = self.variable("GOOS");
        (self.flag("o").is_some() || !several)
            && system.is_none_or(|system| system == "linux" || system.contains('$'))
    }

    /// A variable in front of the command, or else in its environment.
    fn variable(&self, name: &str) -> Option<&str> {
        let written =
            self.command.assignments.iter().find_map(|word| word.text.strip_prefix(name)?.strip_prefix('='));
        written.or_else(|| self.view.values.get(self.run.index, name).map(|value| value.unwrap_or("$")))
    }

    /// Whether C code takes part.
    pub(super) fn cgo(&self, scene: &Scene<'a>) -> Cgo {
        match self.variable("CGO_ENABLED") {
            Some("0") => return Cgo::Off,
            Some("1") => return Cgo::Asked,
            Some(_) => return Cgo::Unknown,
            None => {}
        }
        let chain = || scene.chain(self.view.index());
        if chain().flat_map(|view| &view.runs).any(|run| run.script.mentions("CGO_ENABLED")) {
            return Cgo::Unknown;
        }
        match self.variable("GOARCH") {
            Some(machine) if machine != "amd64" && !machine.contains('$') => return Cgo::Unknown,
            _ => {}
        }
        let Base::Image(image) = scene.root(self.view.index()) else { return Cgo::Unknown };
        if !image.is("golang") {
            return Cgo::Unknown;
        }
        if !image.is_alpine() {
            return if image.libc() == Some(Libc::Glibc) { Cgo::Default } else { Cgo::Unknown };
        }
        let old = image.version().is_some_and(|version| version < NEEDS_COMPILER);
        let is_compiler = |operand: &str| ALPINE_COMPILERS.contains(&operand);
        let installed = chain().flat_map(|view| &view.runs).flat_map(|run| run.script.of("apk"));
        let compiler = installed.flat_map(Simple::operands).any(is_compiler);
        if old || compiler { Cgo::Default } else { Cgo::Off }
    }

    /// Somebody has thought of static linking: in the RUN itself, or in variables that Go reads.
    pub(super) fn mentions_static(&self) -> bool {
        let variables = ["GOFLAGS", "LDFLAGS", "CGO_LDFLAGS", "GO_LDFLAGS", "BUILD_FLAGS"];
        ["static", "netgo"].into_iter().any(|word| {
            self.run.script.mentions(word)
                || variables.into_iter().any(|name| self.view.values.any_contains(name, word))
        })
    }

    /// Whether a COPY from this stage may carry the program away.
    pub(super) fn carried_by(&self, view: &View<'a>, copy_index: usize, copy: &Copy, escape: char) -> bool {
        let output =
            self.flag("o").map(|word| word.text.trim_start_matches(['-', 'o']).trim_start_matches('='));
        let output = output.and_then(|output| self.view.values.absolute(self.run.index, output));
        let paths = copy.sources.iter().filter_map(|source| match source {
            CopySource::Path(word) => Some(view.expand(copy_index, word, escape)),
            CopySource::Heredoc(_) => None,
        });
        paths.into_iter().any(|path| {
            let Some(path) = path.filter(|path| !path.contains(['*', '?', '['])) else { return true };
            let path = format!("/{}", path.trim_matches('/'));
            match &output {
                Some(output) => format!("{output}/").starts_with(&format!("{}/", path.trim_end_matches('/'))),
                None => !["/etc", "/usr/share", "/lib"].iter().any(|system| path.starts_with(system)),
            }
        })
    }

    /// The stages that get the program by COPY.
    pub(super) fn receivers<'s>(&'s self, scene: &'s Scene<'a>) -> impl Iterator<Item = &'s View<'a>> {
        scene.stages.iter().filter(move |view| {
            view.copies().any(|(index, copy)| {
                let origin = copy.from.as_ref().and_then(|from| scene.origin(from));
                let below = origin.is_some_and(|origin| {
                    scene.chain(origin).any(|stage| stage.index() == self.view.index())
                });
                below && self.carried_by(view, index, copy, scene.input.escape)
            })
        })
    }
}

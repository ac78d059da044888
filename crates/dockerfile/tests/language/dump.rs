//! A readable form of what a Dockerfile means. A word is written `"text"@line:column`.

use galley_dockerfile::command::{CopySource, HealthcheckTest, MountFlag, Pair};
use galley_dockerfile::{Command, CommandLine, Dockerfile, Heredoc, Instruction, Source, Span, Stages, Word};
use std::fmt::Write as _;

struct Dump<'a> {
    source: &'a Source,
    text: String,
}

pub(super) fn dockerfile(source: &Source, dockerfile: &Dockerfile) -> String {
    let mut dump = Dump { source, text: String::new() };
    dump.directives(dockerfile);
    for instruction in &dockerfile.instructions {
        dump.instruction(instruction);
    }
    for warning in &dockerfile.warnings {
        let at = dump.at(warning.span());
        dump.line(0, &format!("warning@{at}: {warning} ({}); {}", warning.label(), warning.help()));
    }
    dump.text
}

pub(super) fn stages(stages: &Stages) -> String {
    let mut text = format!("global args: {}\n", stages.global_args.len());
    for stage in &stages.stages {
        let names: Vec<&str> =
            stage.instructions.iter().map(|instruction| instruction.command.name()).collect();
        let (name, image) = (stage.name.as_deref().unwrap_or("-"), &stage.from.image.text);
        let base = stages.base_of(image, stage.index);
        let base = base.map(|base| format!(" (stage {})", base.index)).unwrap_or_default();
        let _ = writeln!(text, "stage {} {name}: {image}{base}: {}", stage.index, names.join(" "));
    }
    text
}

impl Dump<'_> {
    fn line(&mut self, indent: usize, text: &str) {
        let _ = writeln!(self.text, "{}{text}", "  ".repeat(indent));
    }

    fn at(&self, span: Span) -> String {
        let (start, end) = (self.source.location(span.start), self.source.location(span.end));
        if start.line == end.line {
            format!("{}:{}-{}", start.line, start.column, end.column)
        } else {
            format!("{}:{}-{}:{}", start.line, start.column, end.line, end.column)
        }
    }

    fn word(&self, word: &Word) -> String {
        format!("{:?}@{}", word.text, self.at(word.span))
    }

    fn words(&self, words: &[Word]) -> String {
        words.iter().map(|word| self.word(word)).collect::<Vec<_>>().join(" ")
    }

    fn field(&mut self, name: &str, text: &str) {
        self.line(1, &format!("{name}: {text}"));
    }

    fn optional(&mut self, name: &str, word: Option<&Word>) {
        if let Some(word) = word {
            self.field(name, &self.word(word));
        }
    }

    fn list(&mut self, name: &str, words: &[Word]) {
        if !words.is_empty() {
            self.field(name, &self.words(words));
        }
    }

    fn directives(&mut self, dockerfile: &Dockerfile) {
        let directives = &dockerfile.directives;
        for (name, word) in [("syntax", &directives.syntax), ("escape", &directives.escape)] {
            if let Some(word) = word {
                self.line(0, &format!("{name}: {}", self.word(word)));
            }
        }
        if let Some(check) = &directives.check {
            self.line(0, &format!("{check:?}"));
        }
    }

    fn instruction(&mut self, instruction: &Instruction) {
        let (name, at) = (instruction.command.name(), self.at(instruction.full_span));
        self.line(0, &format!("{name}@{at} {:?}", instruction.text));
        self.list("comments", &instruction.comments);
        self.command(&instruction.command);
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::From(from) => {
                self.field("image", &self.word(&from.image));
                self.optional("platform", from.platform.as_ref());
                self.optional("as", from.as_keyword.as_ref());
                self.optional("name", from.name.as_ref());
            }
            Command::Arg(arg) => {
                for definition in &arg.definitions {
                    let default =
                        definition.default.as_ref().map(|default| format!(" = {}", self.word(default)));
                    self.field("name", &(self.word(&definition.name) + &default.unwrap_or_default()));
                }
            }
            Command::Env(env) => self.pairs(&env.pairs),
            Command::Label(label) => self.pairs(&label.pairs),
            Command::Run(_) => self.run(command),
            Command::Copy(_) | Command::Add(_) => self.file(command),
            Command::Healthcheck(health) => {
                match &health.test {
                    HealthcheckTest::None => self.line(1, "none"),
                    HealthcheckTest::Command(line) => self.command_line(line),
                }
                let times = [health.interval, health.timeout, health.start_period, health.start_interval];
                self.field("times, retries", &format!("{times:?} {:?}", health.retries));
            }
            Command::Entrypoint(line) | Command::Cmd(line) => self.command_line(line),
            Command::Onbuild(onbuild) => {
                self.field("expression", &format!("{:?}", onbuild.expression));
                self.field("trigger", onbuild.trigger.command.name());
                self.command(&onbuild.trigger.command);
            }
            Command::Workdir(workdir) => self.field("path", &self.word(&workdir.path)),
            Command::User(user) => self.field("user", &self.word(&user.user)),
            Command::Expose(expose) => self.field("ports", &self.words(&expose.ports)),
            Command::Volume(volume) => self.field("paths", &self.words(&volume.paths)),
            Command::Shell(shell) => self.field("arguments", &self.words(&shell.arguments)),
            Command::StopSignal(signal) => self.field("signal", &self.word(&signal.signal)),
            Command::Maintainer(maintainer) => self.field("author", &self.word(&maintainer.author)),
        }
    }

    fn run(&mut self, command: &Command) {
        let Command::Run(run) = command else { return };
        self.command_line(&run.line);
        self.mounts(&run.mounts);
        if run.network.is_some() || run.security.is_some() {
            self.field("network, security", &format!("{:?} {:?}", run.network, run.security));
        }
        run.heredocs.iter().for_each(|heredoc| self.heredoc(heredoc));
        if !run.heredocs.is_empty() {
            self.field("program", &format!("{:?}", run.program()));
        }
    }

    fn file(&mut self, command: &Command) {
        if let Command::Copy(copy) = command {
            self.optional("from", copy.from.as_ref());
            self.optional("chown", copy.chown.as_ref());
            self.optional("chmod", copy.chmod.as_ref());
            self.field("link, parents", &format!("{} {}", copy.link, copy.parents));
            self.list("exclude", &copy.excludes);
            self.sources(&copy.sources, &copy.destination);
        }
        if let Command::Add(add) = command {
            self.optional("chown", add.chown.as_ref());
            self.optional("chmod", add.chmod.as_ref());
            self.list("exclude", &add.excludes);
            self.optional("checksum", add.checksum.as_ref());
            self.field(
                "link, git dir, unpack",
                &format!("{} {:?} {:?}", add.link, add.keep_git_dir, add.unpack),
            );
            self.sources(&add.sources, &add.destination);
        }
    }

    fn sources(&mut self, sources: &[CopySource], destination: &Word) {
        for source in sources {
            match source {
                CopySource::Path(path) => self.field("source", &self.word(path)),
                CopySource::Heredoc(heredoc) => self.heredoc(heredoc),
            }
        }
        self.field("destination", &self.word(destination));
    }

    fn pairs(&mut self, pairs: &[Pair]) {
        for pair in pairs {
            let legacy = if pair.legacy { " (legacy)" } else { "" };
            self.field("pair", &format!("{} = {}{legacy}", self.word(&pair.key), self.word(&pair.value)));
        }
    }

    fn mounts(&mut self, mounts: &[MountFlag]) {
        for mount in mounts {
            let from =
                mount.from.as_ref().map(|from| format!(" from {}", self.word(from))).unwrap_or_default();
            self.field("mount", &(self.word(&mount.text) + &from));
        }
    }

    fn command_line(&mut self, line: &CommandLine) {
        match line {
            CommandLine::Shell(word) => self.field("shell", &self.word(word)),
            CommandLine::Exec(words) => self.field("exec", &self.words(words)),
        }
    }

    fn heredoc(&mut self, heredoc: &Heredoc) {
        let (at, text) = (self.at(heredoc.body_span), heredoc.text());
        let Heredoc { name, expand, strip_tabs, descriptor, .. } = heredoc;
        let flags = format!("expand={expand} strip_tabs={strip_tabs} descriptor={descriptor:?}");
        self.field("heredoc", &format!("{name:?} {flags} {text:?}@{at}"));
    }
}

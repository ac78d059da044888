//! `CacheMountRecommended`

use super::scene::{Base, RunView, Scene, View};
use crate::lint::{Finding, Fix, Rule};
use crate::shell::Simple;
use crate::span::Span;

pub(super) static RULE: Rule = Rule::own(
    "CacheMountRecommended",
    "steps that compile or install packages keep their caches in a cache mount",
);

/// A program with a cache that pays.
struct Tool {
    /// For messages.
    name: &'static str,
    is: fn(&Simple) -> bool,
    /// Where its caches are, for root.
    caches: &'static [&'static str],
    /// The variables that move them.
    variables: &'static [&'static str],
    /// The caches are there in this image of the Docker library, whatever the base else.
    image: Option<&'static str>,
    /// Words by which a RUN says that it wants no cache.
    declined: &'static [&'static str],
}

const TOOLS: [Tool; 5] = [
    Tool {
        name: "go",
        is: is_go,
        caches: &["/root/.cache/go-build"],
        variables: &["GOCACHE", "HOME"],
        image: None,
        declined: &["GOCACHE"],
    },
    Tool {
        name: "cargo",
        is: |command| {
            command.program() == "cargo"
                && matches!(command.operands().next(), Some("build" | "install" | "test" | "chef"))
                && !command.has("prepare")
                && !command.has("cargo-chef")
        },
        caches: &["/usr/local/cargo/registry", "/usr/local/cargo/git"],
        variables: &["CARGO_HOME"],
        image: Some("rust"),
        declined: &["CARGO_HOME", "--offline"],
    },
    Tool {
        name: "npm",
        is: |command| {
            command.program() == "npm"
                && matches!(command.operands().next(), Some("ci" | "install" | "i" | "clean-install"))
        },
        caches: &["/root/.npm"],
        variables: &["npm_config_cache", "NPM_CONFIG_CACHE", "HOME"],
        image: None,
        declined: &["cache clean", ".npm", "--cache", "--offline"],
    },
    Tool {
        name: "yarn",
        is: |command| {
            command.program() == "yarn"
                && matches!(command.operands().next(), None | Some("install"))
                && !command.has("--version")
        },
        caches: &["/usr/local/share/.cache/yarn"],
        variables: &["YARN_CACHE_FOLDER"],
        image: Some("node"),
        declined: &["cache clean", "cache-folder", "--offline"],
    },
    Tool {
        name: "pip",
        is: |command| is_pip(command),
        caches: &["/root/.cache/pip"],
        variables: &["PIP_NO_CACHE_DIR", "PIP_CACHE_DIR", "HOME"],
        image: None,
        declined: &["--no-cache-dir", "--cache-dir", "cache purge", "/.cache", "PIP_NO_CACHE_DIR"],
    },
];

/// With `-a` the cache is not looked at.
fn is_go(command: &Simple) -> bool {
    let verb = command.operands().next();
    command.program() == "go" && matches!(verb, Some("build" | "install" | "test")) && !command.has("-a")
}

/// `pip install`, but not of pip itself.
fn is_pip(command: &Simple) -> bool {
    let operands: Vec<&str> = command.operands().collect();
    let operands = match (command.program(), operands.as_slice()) {
        (program, rest) if program.starts_with("pip") => rest,
        (program, ["pip", rest @ ..]) if program.starts_with("python") && command.has("-m") => rest,
        _ => return false,
    };
    let is_tool =
        |operand: &&str| ["pip", "setuptools", "wheel"].iter().any(|tool| operand.starts_with(tool));
    matches!(operands, ["install", rest @ ..] if !rest.iter().all(is_tool) || command.has("-r"))
}

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for (view, run) in scene.runs() {
        let used = |tool: &&Tool| run.script.commands.iter().any(tool.is);
        if run.cache_targets().is_empty()
            && let Some(tool) = TOOLS.iter().find(used)
            && !is_declined(view, run, tool)
        {
            findings.push(finding(scene, view, run, tool));
        }
    }
}

/// The caches are somewhere else, or not wanted.
fn is_declined(view: &View<'_>, run: &RunView<'_>, tool: &Tool) -> bool {
    tool.declined.iter().any(|word| run.script.mentions(word))
        || tool.declined.iter().any(|name| view.values.get(run.index, name).is_some())
        || view.values.get(run.index, "PIP_NO_CACHE_DIR").is_some() && tool.name == "pip"
}

fn finding(scene: &Scene<'_>, view: &View<'_>, run: &RunView<'_>, tool: &Tool) -> Finding {
    let name = tool.name;
    let detail = format!("when this step runs again, {name} does everything again: it has no cache mount");
    let flags: Vec<String> =
        tool.caches.iter().map(|cache| format!("--mount=type=cache,target={cache}")).collect();
    let flags = flags.join(" ");
    if !caches_are_there(scene, view, run, tool) {
        let help = format!("write RUN --mount=type=cache,target=… with the cache folder of {name}");
        return run.finding(&RULE, None, detail, &help);
    }
    let finding = run.finding(&RULE, None, detail, &format!("write RUN {flags} …"));
    let behind = Span::new(run.instruction.keyword.span.end, run.instruction.keyword.span.end);
    let note = format!("keeps the cache of {name} out of the image and from one build to the next");
    finding.with_fix(Fix::replace(behind, format!(" {flags}"), note).on_request())
}

/// Whether the tool's caches are where the table says.
fn caches_are_there(scene: &Scene<'_>, view: &View<'_>, run: &RunView<'_>, tool: &Tool) -> bool {
    let of_image = match (tool.image, scene.root(view.index())) {
        (None, _) => true,
        (Some(wanted), Base::Image(image)) => image.is(wanted),
        _ => false,
    };
    let moved = tool.variables.iter().any(|name| view.values.get(run.index, name).is_some());
    // In the rust image this variable says what the table says.
    let moved = moved && view.values.get(run.index, "CARGO_HOME") != Some(Some("/usr/local/cargo"));
    let keyword = run.instruction.keyword.span.len() == "RUN".len();
    of_image && !moved && keyword && scene.is_root(view, run.index)
}

//! What docker does and galley does not yet, known by name: refused with the reason, never ignored, never "unknown".

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};
use galley_engine::{Error, ErrorKind};

/// A flag of docker that is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    name: &'static str,
    short: Option<char>,
    value: Value,
    /// Values that ask for what galley does anyway.
    harmless: &'static [&'static str],
    reason: &'static str,
}

/// Whether a flag takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// `--flag VALUE`.
    Needed,
    /// `--flag` or `--flag=BOOL`.
    Switch,
}

const fn value(name: &'static str, reason: &'static str) -> Flag {
    Flag { name, short: None, value: Value::Needed, harmless: &[], reason }
}

const fn switch(name: &'static str, reason: &'static str) -> Flag {
    Flag { name, short: None, value: Value::Switch, harmless: &["false"], reason }
}

impl Flag {
    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    const fn unless(mut self, harmless: &'static [&'static str]) -> Self {
        self.harmless = harmless;
        self
    }

    fn id(&self) -> String {
        format!("refused-{}", self.name)
    }

    fn argument(&self) -> Arg {
        let argument = Arg::new(self.id()).long(self.name).hide(true).action(ArgAction::Append);
        let argument = match self.short {
            Some(short) => argument.short(short),
            None => argument,
        };
        match self.value {
            Value::Needed => argument.allow_hyphen_values(true),
            Value::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        }
    }

    fn check(&self, matches: &ArgMatches) -> Result<(), Error> {
        let id = self.id();
        if matches.value_source(&id) != Some(ValueSource::CommandLine) {
            return Ok(());
        }
        let given: Vec<&String> = matches.get_many(&id).unwrap_or_default().collect();
        // An empty value, from a script's variable that is not set, asks for nothing.
        let nothing = |value: &str| value.is_empty() && self.value == Value::Needed;
        if given.iter().all(|value| nothing(value) || self.harmless.contains(&value.as_str())) {
            return Ok(());
        }
        let flag = match given.first() {
            Some(value) if self.value == Value::Needed => format!("--{} {value}", self.name),
            _ => format!("--{}", self.name),
        };
        let error = Error::new(ErrorKind::Usage, format!("{flag} is not supported yet: {}", self.reason));
        Err(error.help(format!("leave out --{}; galley ignores no flag silently", self.name)))
    }
}

const NO_TRUST: &str = "docker's content trust is not used any more, and galley does not know it";
const NO_LIMITS: &str = "it is none of the limits that galley sets";
const NO_STEP_LIMITS: &str = "it is the builder's; --memory, --cpus and the like limit each step";
const NO_ATTESTATIONS: &str = "galley writes no attestations";
const NO_DAEMON: &str = "there is no daemon to talk to";
const LEGACY: &str = "it belongs to docker's legacy builder";
const WINDOWS: &str = "it is for Windows containers";
const NO_NETWORKS: &str = "containers have a network of their own each";
const OWN_PROCESSES: &str = "a container has process numbers of its own, by which the kernel ends all of it with its supervisor; `top`, \
                             `exec` and `kill` reach in";
const OWN_IPC: &str =
    "shared memory and queues are a container's own; a directory that both mount with -v can be shared";
const OWN_NAME: &str = "the host name is a container's own; --hostname gives it the machine's";
const OWN_USERS: &str =
    "containers of root are root's own, and an ordinary user's are in a namespace of that user";
const NO_DEVICES: &str =
    "containers see docker's default devices, and with --privileged of root those of BuildKit";
const NO_LOG_DRIVERS: &str = "logs are files in the store, read by `logs`";
const NO_VOLUMES: &str = "use -v";

const BUILD: [Flag; 14] = [
    value("attest", NO_ATTESTATIONS).unless(&["type=provenance,disabled=true", "type=sbom,disabled=true"]),
    value("builder", "there is one builder, this program").unless(&["default"]),
    switch("compress", LEGACY),
    switch("debug", "--progress=rawjson shows every event").short('D'),
    switch("disable-content-trust", NO_TRUST).unless(&["true"]),
    value("isolation", WINDOWS).unless(&["default"]),
    value("policy", "there are no source policies"),
    value("provenance", NO_ATTESTATIONS).unless(&["false"]),
    value("resource", NO_STEP_LIMITS),
    value("sbom", NO_ATTESTATIONS).unless(&["false"]),
    value("security-opt", LEGACY),
    switch("squash", LEGACY),
    // True is what galley does: there are no intermediate containers to keep.
    switch("rm", "there are no intermediate containers to keep").unless(&["true"]),
    switch("force-rm", "there are no intermediate containers to keep").unless(&["true", "false"]),
];

const CONTAINER: [Flag; 43] = [
    value("annotation", "containers carry no annotations"),
    value("attach", "use -d, or -i and -t").short('a'),
    value("blkio-weight", NO_LIMITS),
    value("blkio-weight-device", NO_LIMITS),
    value("cgroupns", NO_LIMITS).unless(&["private"]),
    value("cpu-count", WINDOWS),
    value("cpu-percent", WINDOWS),
    value("cpu-rt-period", NO_LIMITS),
    value("cpu-rt-runtime", NO_LIMITS),
    value("detach-keys", "`run` is what watches the container; use -d, and `attach`"),
    value("device", NO_DEVICES),
    value("device-cgroup-rule", NO_DEVICES),
    value("device-read-bps", NO_LIMITS),
    value("device-read-iops", NO_LIMITS),
    value("device-write-bps", NO_LIMITS),
    value("device-write-iops", NO_LIMITS),
    switch("disable-content-trust", NO_TRUST).unless(&["true"]),
    value("domainname", NO_NETWORKS),
    value("gpus", NO_DEVICES),
    value("io-maxbandwidth", WINDOWS),
    value("io-maxiops", WINDOWS),
    value("ip", NO_NETWORKS),
    value("ip6", NO_NETWORKS),
    value("ipc", OWN_IPC).unless(&["private", "shareable"]),
    value("isolation", WINDOWS).unless(&["default"]),
    value("kernel-memory", NO_LIMITS),
    value("link", NO_NETWORKS),
    value("link-local-ip", NO_NETWORKS),
    value("log-driver", NO_LOG_DRIVERS).unless(&["json-file"]),
    value("log-opt", NO_LOG_DRIVERS),
    value("mac-address", NO_NETWORKS),
    value("memory-swappiness", NO_LIMITS),
    value("network-alias", NO_NETWORKS),
    switch("oom-kill-disable", NO_LIMITS),
    value("pid", OWN_PROCESSES).unless(&["private"]),
    switch("sig-proxy", "signals are always passed on").unless(&["true"]),
    value("runtime", "galley is the runtime"),
    value("storage-opt", NO_LIMITS),
    switch("use-api-socket", NO_DAEMON),
    value("userns", OWN_USERS),
    value("uts", OWN_NAME).unless(&["private"]),
    value("volume-driver", NO_DRIVERS).unless(&["local"]),
    value("volumes-from", NO_VOLUMES),
];

const NO_TREE: &str = "a name of several platforms is one row; `inspect --platform` shows each";
const NO_PART: &str = "a name goes with all its platforms";

const IMAGES: [Flag; 1] = [switch("tree", NO_TREE)];
const LOGS: [Flag; 1] = [switch("details", NO_LOG_DRIVERS)];
const EXEC: [Flag; 1] =
    [value("detach-keys", "`exec` stays until the command ends; `exec -d` does not wait")];
const START: [Flag; 2] = [
    value("detach-keys", "`start -a` is what watches the container; start it without, and use `attach`"),
    value("checkpoint", "there are no checkpoints"),
];
const UPDATE: [Flag; 4] = [
    value("blkio-weight", NO_LIMITS),
    value("cpu-rt-period", NO_LIMITS),
    value("cpu-rt-runtime", NO_LIMITS),
    value("kernel-memory", NO_LIMITS),
];
const RM: [Flag; 1] = [switch("link", NO_NETWORKS).short('l')];
const RMI: [Flag; 2] = [value("platform", NO_PART), switch("no-prune", LEGACY)];

const NO_DRIVERS: &str = "volumes are directories of the store";
const VOLUME_CREATE: [Flag; 11] = [
    value("driver", NO_DRIVERS).short('d').unless(&["local"]),
    value("opt", NO_DRIVERS).short('o'),
    value("label", "volumes have no labels"),
    value("availability", "there is no cluster"),
    value("group", "there is no cluster"),
    value("limit-bytes", "there is no cluster"),
    value("required-bytes", "there is no cluster"),
    value("scope", "there is no cluster"),
    value("secret", "there is no cluster"),
    value("sharing", "there is no cluster"),
    value("topology-preferred", "there is no cluster"),
];
const VOLUME_LS: [Flag; 1] = [switch("cluster", "there is no cluster")];
const BUILDX_PRUNE: [Flag; 1] = [value("timeout", NO_DAEMON)];

const PULL: [Flag; 2] = [
    switch("all-tags", "every tag of a repository is rarely what one wants: name them").short('a'),
    switch("disable-content-trust", NO_TRUST).unless(&["true"]),
];
const PUSH: [Flag; 1] = [switch("disable-content-trust", NO_TRUST).unless(&["true"])];

/// Flags that stand before the command of `buildx`.
const BUILDX: [Flag; 2] = [
    value("builder", "there is one builder, this program").unless(&["default"]),
    switch("debug", "--progress=rawjson shows every event").short('D'),
];

/// Flags that stand before the command.
const GLOBAL: [Flag; 8] = [
    value("context", NO_DAEMON).short('c').unless(&["default"]),
    switch("debug", "--progress=rawjson shows every event").short('D'),
    value("host", NO_DAEMON).short('H'),
    value("log-level", "messages have no levels").short('l'),
    switch("tls", NO_DAEMON),
    value("tlscacert", NO_DAEMON),
    value("tlscert", NO_DAEMON),
    switch("tlsverify", NO_DAEMON),
];

/// The refused flags of a command, by its name.
fn flags(command: &str) -> &'static [Flag] {
    match command {
        "build" => &BUILD,
        "run" | "create" => &CONTAINER,
        "images" | "image ls" => &IMAGES,
        "logs" => &LOGS,
        "exec" => &EXEC,
        "start" => &START,
        "update" => &UPDATE,
        "rm" => &RM,
        "rmi" | "image rm" => &RMI,
        "volume create" => &VOLUME_CREATE,
        "volume ls" => &VOLUME_LS,
        "buildx prune" | "buildx du" => &BUILDX_PRUNE,
        "pull" => &PULL,
        "push" => &PUSH,
        "buildx" => &BUILDX,
        "galley" => &GLOBAL,
        _ => &[],
    }
}

const NO_EVENTS: &str =
    "there is no daemon that sees them, and a log of what each command did would miss what kills a container";
const EVENTS_ADVICE: &str = "`wait` ends with a container, `logs -f` follows what it writes, and `ps -a --filter` tells what became of each";
const LATER: &str = "it comes later";
const ONE_BUILDER: &str = "there is one builder, this program";

/// Commands of docker that are not there, with the reason and what to do instead.
const COMMANDS: [(&str, &str, &str); 32] = [
    (
        "search",
        "the OCI distribution specification has no search, only Docker Hub's own interface",
        "look at the registry's web page; `manifest inspect NAME:TAG` says whether an image is there",
    ),
    (
        "compose",
        "there is no compose",
        "start the containers with `run -d`, each with a unit of systemd: docs/run.md",
    ),
    ("events", NO_EVENTS, EVENTS_ADVICE),
    (
        "network",
        "each container has a network of its own, or that of the machine, and there are no others to manage",
        "`run --network bridge|host|none` chooses; containers reach each other by ports that are published with -p",
    ),
    ("system events", NO_EVENTS, EVENTS_ADVICE),
    ("system dial-stdio", NO_DAEMON, ""),
    ("volume update", "there is no cluster", ""),
    ("plugin", "there are no plugins", ""),
    ("trust", NO_TRUST, ""),
    ("checkpoint", LATER, ""),
    ("swarm", "there is no cluster", ""),
    ("node", "there is no cluster", ""),
    ("service", "there is no cluster", ""),
    ("stack", "there is no cluster", ""),
    ("config", "there is no cluster", ""),
    ("secret", "there is no cluster", "secrets of a build are given with `build --secret`"),
    ("scout", "galley does not look for known holes in images", ""),
    ("sbom", "galley writes no attestations", ""),
    ("buildx bake", LATER, ""),
    ("buildx create", ONE_BUILDER, ""),
    ("buildx use", ONE_BUILDER, ""),
    ("buildx ls", ONE_BUILDER, ""),
    ("buildx inspect", ONE_BUILDER, "`info` says what this galley works with"),
    ("buildx rm", ONE_BUILDER, ""),
    ("buildx stop", ONE_BUILDER, ""),
    (
        "buildx history",
        LATER,
        "`report --list` shows the builds that are remembered, `report` makes a page of one",
    ),
    ("buildx imagetools", LATER, "`manifest` looks at manifests and makes lists of them"),
    ("buildx dap", "a build cannot be stopped in its middle", ""),
    ("buildx debug", "a build cannot be stopped in its middle", ""),
    ("buildx policy", "there are no source policies", ""),
    ("buildx install", "`build` is this builder already", ""),
    ("buildx uninstall", ONE_BUILDER, ""),
];

/// A refused command by its whole name, with the reason and the advice.
fn refused_command(path: &str) -> Option<(&'static str, &'static str)> {
    COMMANDS.iter().find(|(known, ..)| *known == path).map(|(_, reason, advice)| (*reason, *advice))
}

/// Whether a command of this name is refused, whatever it stands behind.
pub(super) fn is_command(name: &str) -> bool {
    COMMANDS.iter().any(|(known, ..)| known.rsplit(' ').next() == Some(name))
}

/// Adds everything refused to `command`, hidden, so that the parser knows it.
pub(crate) fn add(command: Command) -> Command {
    add_flags(command).subcommands(refused_commands(""))
}

/// The refused flags alone, of `command` and of all below it.
pub(super) fn add_flags(command: Command) -> Command {
    let subcommands: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let mut command = command.args(flags("galley").iter().map(Flag::argument));
    for name in subcommands {
        command = command.mut_subcommand(&name, |sub| add_below(sub, &name));
    }
    command
}

fn add_below(command: Command, path: &str) -> Command {
    let subcommands: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let mut command = command.args(flags(key(path)).iter().map(Flag::argument));
    for name in subcommands {
        command = command.mut_subcommand(&name, |sub| add_below(sub, &format!("{path} {name}")));
    }
    command.subcommands(refused_commands(&format!("{path} ")))
}

/// Hidden commands below `prefix` that take anything.
fn refused_commands(prefix: &str) -> Vec<Command> {
    let below = COMMANDS.iter().filter_map(|(name, ..)| name.strip_prefix(prefix));
    let anything = || Arg::new("anything").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
    let hidden = |name: &'static str| Command::new(name).hide(true).disable_help_flag(true).arg(anything());
    below.filter(|name| !name.contains(' ')).map(hidden).collect()
}

/// `image history` has the flags of `history`, `buildx build` those of `build`; lists differ.
fn key(path: &str) -> &str {
    match path {
        "image ls" | "container ls" | "image rm" => path,
        "buildx prune" | "buildx du" => path,
        // Those have flags of their own.
        path if path.starts_with("manifest ") || path.starts_with("volume ") => path,
        _ => path.rsplit(' ').next().unwrap_or(path),
    }
}

/// Refuses what was typed and does not work yet.
pub(crate) fn check(matches: &ArgMatches) -> Result<(), Error> {
    flags("galley").iter().try_for_each(|flag| flag.check(matches))?;
    let mut path = String::new();
    let mut matches = matches;
    while let Some((name, below)) = matches.subcommand() {
        if !path.is_empty() {
            path.push(' ');
        }
        path.push_str(name);
        if let Some((reason, advice)) = refused_command(&path) {
            let error = Error::new(ErrorKind::Usage, format!("`{path}` is not supported yet: {reason}"));
            return Err(if advice.is_empty() { error } else { error.help(advice) });
        }
        flags(key(&path)).iter().try_for_each(|flag| flag.check(below))?;
        matches = below;
    }
    Ok(())
}

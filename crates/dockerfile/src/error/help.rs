//! What to do about an error, where the place that found it says nothing closer.

use super::ErrorKind;

impl ErrorKind {
    /// What to do, if it is the same wherever this goes wrong.
    pub(super) fn help(&self) -> Option<&'static str> {
        match self {
            Self::BadEscape { .. } => Some("write # escape=` or # escape=\\"),
            Self::MissingArgument { instruction, .. } | Self::TooManyArguments { instruction, .. } => {
                form(instruction)
            }
            Self::BlankName { .. } => Some("write NAME=VALUE"),
            Self::EmptyVolume => Some("write the path of a directory"),
            Self::BadTrigger { .. } => Some("write it into the Dockerfile that is built from this image"),
            Self::BadSubstitution => {
                Some("a name stands behind `${`: ${NAME}, or ${NAME:-DEFAULT} and its like")
            }
            Self::MissingSlash => Some("write ${NAME/PATTERN/REPLACEMENT}"),
            Self::BadPatternEscape { .. } => {
                Some("in a pattern `\\` stands before `*`, `?`, `}`, `/` or `\\` only")
            }
            Self::BadDuration { .. } => Some("write 1ms or more, such as 30s"),
            Self::MountKeyNotAllowed { key, .. } => owner(key),
            _ => None,
        }
    }
}

/// How an instruction is written.
fn form(instruction: &str) -> Option<&'static str> {
    Some(match instruction {
        "ADD" => "write ADD SOURCE… DESTINATION",
        "ARG" => "write ARG NAME, or ARG NAME=DEFAULT",
        "COPY" => "write COPY SOURCE… DESTINATION",
        "ENV" => "write ENV NAME=VALUE",
        "EXPOSE" => "write EXPOSE PORT, or EXPOSE PORT/PROTOCOL",
        "FROM" => "write FROM IMAGE, or FROM IMAGE AS NAME",
        "HEALTHCHECK" => "write HEALTHCHECK CMD COMMAND, or HEALTHCHECK NONE",
        "LABEL" => "write LABEL NAME=VALUE",
        "MAINTAINER" => "write LABEL org.opencontainers.image.authors=NAME",
        "ONBUILD" => "write ONBUILD INSTRUCTION, such as ONBUILD RUN make",
        "RUN" => "write RUN COMMAND, or RUN [\"PROGRAM\", \"ARGUMENT\"]",
        "SHELL" => "write SHELL [\"/bin/sh\", \"-c\"], in double quotes",
        "STOPSIGNAL" => "write STOPSIGNAL SIGTERM, or another signal",
        "USER" => "write USER NAME, or USER UID:GID",
        "VOLUME" => "write VOLUME PATH",
        "WORKDIR" => "write WORKDIR PATH",
        _ => return None,
    })
}

/// Whose key it is.
fn owner(key: &str) -> Option<&'static str> {
    Some(match key {
        "required" => "`required` is for secret and ssh mounts; it stands behind `type`",
        "size" => "`size` is for tmpfs mounts",
        "sharing" => "`sharing` is for cache mounts",
        "mode" | "uid" | "gid" => "`mode`, `uid` and `gid` are for cache, secret and ssh mounts",
        "from" => "`from` is for bind and cache mounts",
        "env" => "`env` is for secret mounts",
        _ => return None,
    })
}

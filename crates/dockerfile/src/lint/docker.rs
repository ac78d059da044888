//! The rules that Docker has, in Docker's order.

use super::Rule;

/// `FROM … AS Build`
pub static STAGE_NAME_CASING: Rule = Rule::docker("StageNameCasing", "a stage's name is in lower case");
/// `FROM … as build`
pub static FROM_AS_CASING: Rule = Rule::docker("FromAsCasing", "FROM and AS are written in the same case");
/// A blank line inside an instruction.
pub static NO_EMPTY_CONTINUATION: Rule =
    Rule::docker("NoEmptyContinuation", "no blank line stands inside an instruction");
/// `Run`, or `run` among capitals.
pub static CONSISTENT_INSTRUCTION_CASING: Rule =
    Rule::docker("ConsistentInstructionCasing", "all instructions are written in the same case");
/// Two stages of one name.
pub static DUPLICATE_STAGE_NAME: Rule =
    Rule::docker("DuplicateStageName", "each stage has a name of its own");
/// `FROM … AS scratch`
pub static RESERVED_STAGE_NAME: Rule =
    Rule::docker("ReservedStageName", "no stage is called `scratch` or `context`");
/// `CMD program argument`
pub static JSON_ARGS_RECOMMENDED: Rule = Rule::docker(
    "JSONArgsRecommended",
    "CMD and ENTRYPOINT are JSON arrays, so that signals reach the program",
);
/// `MAINTAINER me`
pub static MAINTAINER_DEPRECATED: Rule =
    Rule::docker("MaintainerDeprecated", "the author is a label, not a MAINTAINER instruction");
/// `FROM $unknown`
pub static UNDEFINED_ARG_IN_FROM: Rule =
    Rule::docker("UndefinedArgInFrom", "FROM uses only arguments that are declared above the first FROM");
/// `WORKDIR app`
pub static WORKDIR_RELATIVE_PATH: Rule = Rule::docker(
    "WorkdirRelativePath",
    "the first WORKDIR is absolute, so that it does not depend on the base image",
);
/// `COPY $unknown .`
pub static UNDEFINED_VAR: Rule = Rule::docker("UndefinedVar", "a variable is defined before it is used");
/// Two CMDs.
pub static MULTIPLE_INSTRUCTIONS_DISALLOWED: Rule = Rule::docker(
    "MultipleInstructionsDisallowed",
    "a stage has no more than one CMD, one ENTRYPOINT and one HEALTHCHECK",
);
/// `ENV key value`
pub static LEGACY_KEY_VALUE_FORMAT: Rule =
    Rule::docker("LegacyKeyValueFormat", "ENV and LABEL are written with an equals sign");
/// A base for another machine.
pub static INVALID_BASE_IMAGE_PLATFORM: Rule =
    Rule::docker("InvalidBaseImagePlatform", "the base image is for the platform that is built for");
/// `FROM --platform=$TARGETPLATFORM`
pub static REDUNDANT_TARGET_PLATFORM: Rule =
    Rule::docker("RedundantTargetPlatform", "FROM does not ask for the platform that it gets anyway");
/// `ENV API_KEY=…`
pub static SECRETS_USED_IN_ARG_OR_ENV: Rule = Rule::docker(
    "SecretsUsedInArgOrEnv",
    "secrets are neither in ARG nor in ENV, where everybody can read them",
);
/// `ARG VERSION` and `FROM image:$VERSION`
pub static INVALID_DEFAULT_ARG_IN_FROM: Rule =
    Rule::docker("InvalidDefaultArgInFrom", "FROM names a valid image when no build argument is given");
/// `FROM --platform=linux/amd64`
pub static FROM_PLATFORM_FLAG_CONST_DISALLOWED: Rule =
    Rule::docker("FromPlatformFlagConstDisallowed", "the platform of FROM is not a constant");
/// COPY of what `.dockerignore` keeps out.
pub static COPY_IGNORED_FILE: Rule =
    Rule::docker("CopyIgnoredFile", "COPY and ADD take nothing that the ignore file keeps out");
/// A comment above `ARG` or `FROM` that does not begin with the name.
pub static INVALID_DEFINITION_DESCRIPTION: Rule = Rule::docker(
    "InvalidDefinitionDescription",
    "the comment above an ARG or a stage begins with the name that it describes",
)
.experimental();
/// `EXPOSE 80/TCP`
pub static EXPOSE_PROTO_CASING: Rule =
    Rule::docker("ExposeProtoCasing", "the protocol of EXPOSE is in lower case");
/// `EXPOSE 80:80`
pub static EXPOSE_INVALID_FORMAT: Rule =
    Rule::docker("ExposeInvalidFormat", "EXPOSE has neither an address nor a port of the host");

/// All of them.
pub static RULES: [&Rule; 22] = [
    &STAGE_NAME_CASING,
    &FROM_AS_CASING,
    &NO_EMPTY_CONTINUATION,
    &CONSISTENT_INSTRUCTION_CASING,
    &DUPLICATE_STAGE_NAME,
    &RESERVED_STAGE_NAME,
    &JSON_ARGS_RECOMMENDED,
    &MAINTAINER_DEPRECATED,
    &UNDEFINED_ARG_IN_FROM,
    &WORKDIR_RELATIVE_PATH,
    &UNDEFINED_VAR,
    &MULTIPLE_INSTRUCTIONS_DISALLOWED,
    &LEGACY_KEY_VALUE_FORMAT,
    &INVALID_BASE_IMAGE_PLATFORM,
    &REDUNDANT_TARGET_PLATFORM,
    &SECRETS_USED_IN_ARG_OR_ENV,
    &INVALID_DEFAULT_ARG_IN_FROM,
    &FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    &COPY_IGNORED_FILE,
    &INVALID_DEFINITION_DESCRIPTION,
    &EXPOSE_PROTO_CASING,
    &EXPOSE_INVALID_FORMAT,
];

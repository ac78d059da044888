//! `--call=METHOD[,format=json|text][,ignorestatus=BOOL]`: what is asked of a Dockerfile instead of building it.

use super::{csv, output::truth};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Build after all.
    Build,
    /// What rules and the planner find. BuildKit calls it `lint`.
    Check,
    /// What the target takes: arguments, secrets, agents.
    Outline,
    /// The stages.
    Targets,
    /// The methods.
    Describe,
}

/// What is asked, and how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) json: bool,
    /// Findings are no failure.
    pub(crate) ignore_status: bool,
}

impl Call {
    /// A method, answered as text.
    pub(crate) const fn new(method: Method) -> Self {
        Self { method, json: false, ignore_status: false }
    }
}

/// Reads the value of `--call`. Empty is none, as in buildx.
pub(crate) fn parse(text: &str) -> Result<Call, String> {
    let (mut call, mut method) = (Call::new(Method::Build), None);
    for (key, value) in csv::pairs(text)? {
        match (key.as_str(), value) {
            ("", None) => {}
            ("format", Some(value)) => call.json = is_json(&value)?,
            ("ignorestatus", Some(value)) => call.ignore_status = truth("ignorestatus", Some(&value))?,
            (name, None) if method.is_none() => method = Some(named(name)?),
            (_, None) => return Err("only one thing can be asked at once".to_owned()),
            (key, Some(_)) => return Err(format!("unknown key {key:?}: known are format and ignorestatus")),
        }
    }
    call.method = method.unwrap_or(Method::Build);
    Ok(call)
}

fn named(name: &str) -> Result<Method, String> {
    Ok(match name {
        "build" => Method::Build,
        "check" | "lint" => Method::Check,
        "outline" => Method::Outline,
        "targets" => Method::Targets,
        "subrequests.describe" => Method::Describe,
        _ => return Err(format!("{name:?} cannot be asked: known are build, check, outline and targets")),
    })
}

fn is_json(value: &str) -> Result<bool, String> {
    match value {
        "json" => Ok(true),
        "" | "text" => Ok(false),
        _ => Err(format!("unknown format {value:?}: known are json and text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_formats() {
        let call = |method, json, ignore_status| Ok(Call { method, json, ignore_status });
        assert_eq!(parse("build"), call(Method::Build, false, false));
        assert_eq!(parse(""), call(Method::Build, false, false));
        assert_eq!(parse("check,format=json"), call(Method::Check, true, false));
        assert_eq!(parse("format=text,lint,ignorestatus=1"), call(Method::Check, false, true));
        assert_eq!(parse("outline"), call(Method::Outline, false, false));
        for wrong in ["check,outline", "foo", "check,format=xml", "check,x=1", "check,ignorestatus=maybe"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

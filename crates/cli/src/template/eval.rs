//! Nodes and data to text.

use std::ops::Range;

use serde_json::{Map, Value};

use super::{
    METHOD, TemplateError, functions,
    parse::{Base, Command, Node, Operand, Pipeline},
    print::print,
};

/// Maps that people fill: below these, an absent key is no mistake.
const OPEN_MAPS: [&str; 9] = [
    "Annotations",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Sysctls",
    "Volumes",
];

/// Fields that are maps or lists in docker: when there is nothing in them they are `null` as JSON, but print as empty ones.
const MAPS: [&str; 12] = [
    "Annotations",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];
const LISTS: [&str; 29] = [
    "Aliases",
    "Binds",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DNSNames",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Layers",
    "Links",
    "Mounts",
    "OnBuild",
    "RepoDigests",
    "RepoTags",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "SecurityOpt",
    "Shell",
    "Ulimits",
    "VolumesFrom",
];

/// Fields that docker leaves out of JSON when there is nothing in them, but that its structs have all the same; they are known
/// by a field that is always beside them.
const LEFT_OUT: [(&str, &[&str]); 3] = [
    ("OOMKilled", &["Health"]),
    ("OnBuild", &["ArgsEscaped", "ExposedPorts", "Healthcheck", "Shell", "StopSignal"]),
    ("ShmSize", &["Mounts"]),
];

/// Names of Go's structs, which docker's templates go by, that are spelled otherwise as JSON.
const GO_NAMES: [(&str, &str); 10] = [
    ("APIVersion", "ApiVersion"),
    ("CPUPeriod", "CpuPeriod"),
    ("CPUQuota", "CpuQuota"),
    ("CPUShares", "CpuShares"),
    ("DNS", "Dns"),
    ("DNSOptions", "DnsOptions"),
    ("DNSSearch", "DnsSearch"),
    ("HostIP", "HostIp"),
    ("ID", "Id"),
    ("NanoCPUs", "NanoCpus"),
];

/// A format cannot grow beyond this, whatever it loops over.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

pub(super) fn render(nodes: &[Node], data: &Value) -> Result<String, TemplateError> {
    let mut scope = Scope { root: data, variables: vec![("$".to_owned(), data.clone())], out: String::new() };
    scope.nodes(nodes, data)?;
    Ok(scope.out)
}

struct Scope<'a> {
    root: &'a Value,
    variables: Vec<(String, Value)>,
    out: String,
}

impl Scope<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        nodes.iter().try_for_each(|node| self.node(node, dot))
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action { variable, pipeline } => {
                let value = self.pipeline(pipeline, dot)?;
                match variable {
                    Some(name) => self.set(name, value),
                    None if is_nil(pipeline, &value) => self.out.push_str("<nil>"),
                    None => self.print(pipeline, &value)?,
                }
            }
            Node::If { condition, then, otherwise } => {
                let chosen = if functions::truth(&self.pipeline(condition, dot)?) { then } else { otherwise };
                self.inner(chosen, dot)?;
            }
            Node::With { variable, pipeline, then, otherwise } => {
                let value = self.pipeline(pipeline, dot)?;
                if !functions::truth(&value) {
                    return self.inner(otherwise, dot);
                }
                let depth = self.variables.len();
                if let Some(name) = variable {
                    self.variables.push((name.clone(), value.clone()));
                }
                self.nodes(then, &value)?;
                self.variables.truncate(depth);
            }
            Node::Range { variables, pipeline, body, otherwise } => {
                let value = self.pipeline(pipeline, dot)?;
                let items = items(pipeline, &value)?;
                if items.is_empty() {
                    return self.inner(otherwise, dot);
                }
                self.range(variables, body, items)?;
            }
        }
        Ok(())
    }

    /// Nodes with variables of their own.
    fn inner(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        self.nodes(nodes, dot)?;
        self.variables.truncate(depth);
        Ok(())
    }

    fn range(
        &mut self,
        names: &[String],
        body: &[Node],
        items: Vec<(Value, Value)>,
    ) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        for (key, item) in items {
            match names {
                [value] => self.variables.push((value.clone(), item.clone())),
                [index, value, ..] => {
                    self.variables.push((index.clone(), key));
                    self.variables.push((value.clone(), item.clone()));
                }
                [] => {}
            }
            self.nodes(body, &item)?;
            self.variables.truncate(depth);
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value) {
        // The newest of that name; a declaration in the same block and an assignment come to the same here.
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn print(&mut self, pipeline: &Pipeline, value: &Value) -> Result<(), TemplateError> {
        self.out.push_str(&print(value));
        if self.out.len() > OUTPUT_BYTES_MAX {
            let span = pipeline.0.first().map_or(0..0, |command| command.span.clone());
            return Err(TemplateError::new(span, "the result is larger than 64 MiB"));
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut result = None;
        for (at, command) in pipeline.0.iter().enumerate() {
            // As JSON what is empty stays `null`.
            let next = pipeline.0.get(at + 1).unwrap_or(command);
            let value = self.command(command, dot, result)?;
            let printed = if is_json(next) { value } else { typed(command.operands.as_slice(), value) };
            result = Some(printed);
        }
        Ok(result.unwrap_or_default())
    }

    fn command(&self, command: &Command, dot: &Value, piped: Option<Value>) -> Result<Value, TemplateError> {
        let Some((first, rest)) = command.operands.split_first() else { return Ok(Value::Null) };
        let Base::Function(name) = &first.base else {
            if let ([.., (METHOD, _)], [key], None) = (&named(first)[..], rest, &piped) {
                let key = self.operand(key, dot)?;
                let found = self.operand(first, dot)?.get(key.as_str().unwrap_or_default()).cloned();
                return Ok(found.unwrap_or_else(|| Value::from("")));
            }
            if !rest.is_empty() || piped.is_some() {
                return Err(TemplateError::new(command.span.clone(), "only functions take arguments"));
            }
            return self.operand(first, dot);
        };
        let argument = |operand| match (name.as_str(), self.operand(operand, dot)?) {
            ("json", value) => Ok(value),
            (_, value) => Ok(typed(std::slice::from_ref(operand), value)),
        };
        let mut arguments = rest.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
        arguments.extend(piped);
        let value = call(name, &arguments, &command.span)?;
        fields(value, &first.fields)
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        let base = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => self.variable(name, &operand.span)?,
            Base::Literal(value) => value.clone(),
            Base::Function(name) => call(name, &[], &operand.span)?,
            Base::Group(pipeline) => self.pipeline(pipeline, dot)?,
        };
        fields(base, &operand.fields)
    }

    fn variable(&self, name: &str, span: &Range<usize>) -> Result<Value, TemplateError> {
        if name == "$" {
            return Ok(self.root.clone());
        }
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        let missing = || TemplateError::new(span.clone(), format!("there is no variable {name}"));
        found.map(|(_, value)| value.clone()).ok_or_else(missing)
    }
}

fn named(operand: &Operand) -> Vec<(&str, &Range<usize>)> {
    operand.fields.iter().map(|(name, span)| (name.as_str(), span)).collect()
}

fn call(name: &str, arguments: &[Value], span: &Range<usize>) -> Result<Value, TemplateError> {
    functions::call(name, arguments).map_err(|message| TemplateError::new(span.clone(), message))
}

fn is_json(command: &Command) -> bool {
    matches!(command.operands.first(), Some(Operand { base: Base::Function(name), .. }) if name == "json")
}

/// The last field of `.A.B` when it stands alone; of a map that people fill it is any name.
fn last_field(operands: &[Operand]) -> Option<&str> {
    let [only] = operands else { return None };
    match only.fields.as_slice() {
        [.., (map, _), _] if OPEN_MAPS.contains(&map.as_str()) => None,
        [.., (name, _)] => Some(name),
        [] => None,
    }
}

/// `null` as what the field is in docker.
fn typed(operands: &[Operand], value: Value) -> Value {
    match (&value, last_field(operands)) {
        (Value::Null, Some(name)) if MAPS.contains(&name) => Value::Object(Map::new()),
        (Value::Null, Some(name)) if LISTS.contains(&go_name(name)) => Value::Array(Vec::new()),
        _ => value,
    }
}

/// Whether a field that is there is printed which leads to nothing: Go has a word for it.
fn is_nil(pipeline: &Pipeline, value: &Value) -> bool {
    let [command] = pipeline.0.as_slice() else { return false };
    value.is_null() && last_field(&command.operands).is_some()
}

/// The field's name as JSON.
fn go_name(name: &str) -> &str {
    GO_NAMES.iter().find(|(known, _)| *known == name).map_or(name, |(_, json)| json)
}

/// Follows `.A.B.C`.
fn fields(mut value: Value, fields: &[(String, Range<usize>)]) -> Result<Value, TemplateError> {
    let mut open = false;
    for (name, span) in fields {
        value = match value {
            Value::Object(mut map) => {
                match map.swap_remove(name).or_else(|| map.swap_remove(go_name(name))) {
                    Some(inner) => inner,
                    None if open => Value::Null,
                    None if is_left_out(name, &map) => match name.as_str() {
                        "ArgsEscaped" => Value::Bool(false),
                        "StopSignal" => Value::from(""),
                        _ => Value::Null,
                    },
                    None => return Err(TemplateError::new(span.clone(), no_field(name, &map))),
                }
            }
            Value::Null if open => Value::Null,
            other => {
                let message = format!("{} has no field {name}", functions::kind(&other));
                return Err(TemplateError::new(span.clone(), message));
            }
        };
        open = OPEN_MAPS.contains(&name.as_str());
    }
    Ok(value)
}

fn is_left_out(name: &str, map: &Map<String, Value>) -> bool {
    LEFT_OUT.iter().any(|(beside, names)| map.contains_key(*beside) && names.contains(&name))
}

fn no_field(name: &str, map: &Map<String, Value>) -> String {
    let names: Vec<&str> = map.keys().map(String::as_str).collect();
    format!("there is no field {name}; there are: {}", names.join(", "))
}

/// What `range` walks: keys and values, maps in the order of their keys.
fn items(pipeline: &Pipeline, value: &Value) -> Result<Vec<(Value, Value)>, TemplateError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            Ok(items.iter().enumerate().map(|(index, item)| (Value::from(index), item.clone())).collect())
        }
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            Ok(pairs.into_iter().map(|(key, item)| (Value::from(key.as_str()), item.clone())).collect())
        }
        other => {
            let span = pipeline.0.first().map_or(0..0, |command| command.span.clone());
            Err(TemplateError::new(span, format!("range does not walk {}", functions::kind(other))))
        }
    }
}

//! Go's text/template on JSON values, as far as docker's `--format` uses it: fields, variables, pipes,
//! `if`, `with`, `range`, the functions of docker and most of Go's own.
//!
//! ```text
//! text ──▶ lex.rs: pieces and tokens ──▶ parse.rs: nodes ──▶ here: text, once per row
//! ```
//!
//! <https://pkg.go.dev/text/template> is the reference; what differs: a field that is not there exactly is
//! found in other letter case too (Go's names and JSON's differ in that: `.ID`, `"Id"`), and docker's method
//! `.Label "key"` is the only one.

mod functions;
mod lex;
mod parse;

use std::collections::BTreeMap;

use minibox_runtime::{Error, Result};
use serde_json::{Map, Value};

use parse::{Command, Field, Node, Pipeline, Term};

/// Fields whose entries people name themselves: one that is not there is no mistake.
const OPEN: [&str; 5] = ["Labels", "Annotations", "Attributes", "Options", "Sysctls"];

/// What `.Label "key"` looks into.
pub(crate) type Labels = BTreeMap<String, String>;

/// What is wrong with a template, and where.
#[derive(Debug)]
struct Wrong {
    /// Byte of the template.
    at: usize,
    what: String,
    hint: Option<String>,
}

impl Wrong {
    fn new(at: usize, what: impl Into<String>) -> Wrong {
        Wrong { at, what: what.into(), hint: None }
    }

    fn into_error(self, text: &str) -> Error {
        let before = text.get(..self.at).unwrap_or(text).chars().count();
        let what = format!("--format {text:?}, character {}: {}", before + 1, self.what);
        let hint = self.hint.unwrap_or_else(|| {
            String::from("`json`, or a Go template as docker takes it, such as '{{.Name}}'")
        });
        Error::new(what).hint(hint)
    }
}

/// A template that has been understood.
#[derive(Debug)]
pub(crate) struct Template {
    text: String,
    nodes: Vec<Node>,
}

impl Template {
    /// Understands `text`; an error names the place of the mistake.
    pub(crate) fn parse(text: &str) -> Result<Template> {
        let nodes = parse::parse(text).map_err(|wrong| wrong.into_error(text))?;
        Ok(Template { text: text.to_owned(), nodes })
    }

    /// May it ask for this field?
    pub(crate) fn mentions(&self, field: &str) -> bool {
        self.text.contains(&format!(".{field}"))
    }

    /// The text for one value.
    pub(crate) fn render(&self, value: &Value) -> Result<String> {
        self.run(value, &Labels::new(), false)
    }

    /// The text for one row of a list.
    pub(crate) fn row(&self, value: &Value, labels: &Labels) -> Result<String> {
        self.run(value, labels, false)
    }

    /// The headings of a table: each field's is its value in `headers`, whatever functions do to it.
    pub(crate) fn headings(&self, headers: &Value) -> Result<String> {
        self.run(headers, &Labels::new(), true)
    }

    fn run(&self, root: &Value, labels: &Labels, is_heading: bool) -> Result<String> {
        let variables = vec![(String::from("$"), root.clone())];
        let mut run = Run { out: String::new(), variables, labels, is_heading };
        run.walk(&self.nodes, root).map_err(|wrong| wrong.into_error(&self.text))?;
        Ok(run.out)
    }
}

/// How a list of nodes was left.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'a> {
    out: String,
    variables: Vec<(String, Value)>,
    labels: &'a Labels,
    is_heading: bool,
}

/// Go's idea of truth: not zero, not empty, not nil.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// As Go's fmt prints it with `%v`.
fn show(value: &Value) -> String {
    match value {
        Value::Null => String::from("<no value>"),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or_default().to_string(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(show).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let show = |(key, value)| format!("{key}:{}", show(value));
            format!("map[{}]", sorted(map).into_iter().map(show).collect::<Vec<_>>().join(" "))
        }
    }
}

/// The entries in the order of their keys, as Go goes through a map.
fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| key.as_str());
    entries
}

/// What a person would call a value's kind.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The entry `name`, or the one that is called so but for the case of its letters.
fn entry<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let in_other_case = || map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    map.get(name).or_else(|| in_other_case().map(|(_, value)| value))
}

/// The value at the end of a chain `.A.B` that begins at `value`.
fn follow(mut value: &Value, fields: &[Field]) -> std::result::Result<Value, Wrong> {
    let mut parent = "";
    for Field { name, at } in fields {
        let Value::Object(map) = value else {
            let what = match parent {
                "" => format!(".{name}: this is {}, which has no fields", kind(value)),
                _ => format!(".{name}: .{parent} is {}, which has no fields", kind(value)),
            };
            return Err(Wrong::new(*at, what));
        };
        value = match entry(map, name) {
            Some(value) => value,
            None if OPEN.contains(&parent) => &Value::Null,
            None => {
                let known: Vec<String> = map.keys().map(|key| format!(".{key}")).collect();
                let known = known.join(" ");
                let (what, hint) = match parent {
                    "" => (format!("there is no .{name}"), format!("the fields are {known}")),
                    _ => (
                        format!("there is no .{name} in .{parent}"),
                        format!("the fields in .{parent} are {known}"),
                    ),
                };
                return Err(Wrong { hint: Some(hint), ..Wrong::new(*at, what) });
            }
        };
        parent = name;
    }
    Ok(value.clone())
}

impl Run<'_> {
    fn walk(&mut self, nodes: &[Node], dot: &Value) -> std::result::Result<Flow, Wrong> {
        let outside = self.variables.len();
        for node in nodes {
            let flow = self.step(node, dot)?;
            if flow != Flow::Next {
                self.variables.truncate(outside);
                return Ok(flow);
            }
        }
        self.variables.truncate(outside);
        Ok(Flow::Next)
    }

    fn step(&mut self, node: &Node, dot: &Value) -> std::result::Result<Flow, Wrong> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&show(&value));
                }
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Branch { pipeline, is_with, body, otherwise } => {
                let outside = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                let flow = match is_true(&value) {
                    true if *is_with => self.walk(body, &value),
                    true => self.walk(body, dot),
                    false => self.walk(otherwise, dot),
                };
                self.variables.truncate(outside);
                return flow;
            }
            Node::Range { pipeline, body, otherwise } => {
                return self.range(pipeline, body, otherwise, dot);
            }
        }
        Ok(Flow::Next)
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> std::result::Result<Flow, Wrong> {
        let value = self.commands(pipeline, dot)?;
        let entries: Vec<(Value, Value)> = match &value {
            Value::Array(list) => {
                list.iter().cloned().enumerate().map(|(i, v)| (i.into(), v)).collect()
            }
            Value::Object(map) => {
                sorted(map).into_iter().map(|(k, v)| (k.as_str().into(), v.clone())).collect()
            }
            Value::Null => Vec::new(),
            _ if self.is_heading => Vec::new(),
            other => {
                let what =
                    format!("range goes through a list or an object, and this is {}", kind(other));
                return Err(Wrong::new(pipeline.at, what));
            }
        };
        if entries.is_empty() {
            return self.walk(otherwise, dot);
        }
        let outside = self.variables.len();
        for (key, value) in entries {
            match pipeline.variables.as_slice() {
                [] => {}
                [one] => self.set(one, value.clone(), pipeline)?,
                [first, second, ..] => {
                    self.set(first, key, pipeline)?;
                    self.set(second, value.clone(), pipeline)?;
                }
            }
            let flow = self.walk(body, &value)?;
            self.variables.truncate(outside);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    /// Declares or assigns a variable, as the pipeline says.
    fn set(
        &mut self,
        name: &str,
        value: Value,
        pipeline: &Pipeline,
    ) -> std::result::Result<(), Wrong> {
        if pipeline.declares {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let variable = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        let unknown = || Wrong::new(pipeline.at, format!("there is no variable {name}"));
        variable.ok_or_else(unknown)?.1 = value;
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> std::result::Result<Value, Wrong> {
        let value = self.commands(pipeline, dot)?;
        if let [name, ..] = pipeline.variables.as_slice() {
            self.set(name, value.clone(), pipeline)?;
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> std::result::Result<Value, Wrong> {
        let mut piped = None;
        for command in &pipeline.commands {
            piped = Some(self.command(command, piped, dot)?);
        }
        piped.ok_or_else(|| Wrong::new(pipeline.at, "nothing to do between {{ and }}"))
    }

    fn command(
        &mut self,
        command: &Command,
        piped: Option<Value>,
        dot: &Value,
    ) -> std::result::Result<Value, Wrong> {
        let (at, arguments) = (command.at, &command.words[1..]);
        match &command.words[0] {
            Term::Function(name) if name == "and" || name == "or" => {
                self.and_or(name == "and", at, arguments, piped, dot)
            }
            Term::Function(name) => {
                let mut values = self.terms(arguments, at, dot)?;
                values.extend(piped);
                functions::call(name, &values, self.is_heading).map_err(|what| Wrong::new(at, what))
            }
            Term::Field(fields) if fields[0].name == "Label" && fields.len() == 1 => {
                match self.terms(arguments, at, dot)?.as_slice() {
                    [Value::String(label)] if self.is_heading => Ok(functions::heading(label)),
                    [Value::String(label)] => {
                        Ok(self.labels.get(label).map_or("", String::as_str).into())
                    }
                    _ => Err(Wrong::new(at, "`.Label` takes one argument, a label's name")),
                }
            }
            term if arguments.is_empty() && piped.is_none() => self.term(term, at, dot),
            _ => Err(Wrong::new(at, "only a function takes arguments")),
        }
    }

    /// The first argument that decides, or the last; those behind it are not looked at.
    fn and_or(
        &mut self,
        is_and: bool,
        at: usize,
        arguments: &[Term],
        piped: Option<Value>,
        dot: &Value,
    ) -> std::result::Result<Value, Wrong> {
        let mut last = None;
        for argument in arguments {
            let value = self.term(argument, at, dot)?;
            if is_true(&value) != is_and {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| Wrong::new(at, "`and` and `or` need arguments"))
    }

    fn terms(
        &mut self,
        terms: &[Term],
        at: usize,
        dot: &Value,
    ) -> std::result::Result<Vec<Value>, Wrong> {
        terms.iter().map(|term| self.term(term, at, dot)).collect()
    }

    fn term(&mut self, term: &Term, at: usize, dot: &Value) -> std::result::Result<Value, Wrong> {
        match term {
            Term::Dot => Ok(dot.clone()),
            Term::Literal(value) => Ok(value.clone()),
            Term::Field(fields) => follow(dot, fields),
            Term::Variable(name, fields) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let unknown = || Wrong::new(at, format!("there is no variable {name}"));
                follow(&known.ok_or_else(unknown)?.1, fields)
            }
            Term::Group(pipeline, fields) => follow(&self.pipeline(pipeline, dot)?, fields),
            Term::Function(name) => {
                functions::call(name, &[], self.is_heading).map_err(|what| Wrong::new(at, what))
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! `--format table|json|TEMPLATE`, the same for every verb that prints a list or a document.

use minibox_runtime::{Error, Result};
use serde_json::Value;

use crate::output;
use crate::template::{Labels, Template};

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Format {
    /// The verb's own table, or text.
    Own,
    /// One JSON object a line.
    Json,
    /// One line for each row.
    Template(Template),
    /// The same, below headings and in columns: `table {{.A}}\t{{.B}}`.
    Columns(Template),
}

/// One entry of a list.
#[derive(Debug)]
pub(crate) struct Row {
    /// An object.
    pub fields: Value,
    pub labels: Labels,
}

impl Format {
    /// For a list. `\t` and `\n`, as they come from a shell's quotes, are meant as such.
    pub(crate) fn of_list(text: Option<&str>) -> Result<Format> {
        let text =
            text.unwrap_or("table").trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        match text.as_str() {
            "table" | "" => Ok(Format::Own),
            "json" => Ok(Format::Json),
            template => {
                match template.strip_prefix("table ").or(template.strip_prefix("table\t")) {
                    Some(columns) => {
                        Template::parse(columns.trim_matches(' ')).map(Format::Columns)
                    }
                    None => Template::parse(template).map(Format::Template),
                }
            }
        }
    }

    /// For documents; docker leaves a template as it is there.
    pub(crate) fn of_document(text: Option<&str>) -> Result<Format> {
        match text {
            None | Some("" | "table") => Ok(Format::Own),
            Some("json") => Ok(Format::Json),
            Some(template) => Template::parse(template).map(Format::Template),
        }
    }

    /// Does a template ask for this field? Some cost more than others.
    pub(crate) fn mentions(&self, field: &str) -> bool {
        match self {
            Format::Template(template) | Format::Columns(template) => template.mentions(field),
            Format::Own | Format::Json => false,
        }
    }

    /// All that is printed of a list, unless it is the verb's own table. `headers` has a heading for each
    /// field.
    pub(crate) fn list(&self, headers: &Value, rows: &[Row]) -> Result<String> {
        let line = |template: &Template, row: &Row| {
            template.row(&row.fields, &row.labels).map(|line| line + "\n")
        };
        match self {
            Format::Own => Ok(String::new()),
            Format::Json => Ok(rows.iter().map(|row| format!("{}\n", row.fields)).collect()),
            Format::Template(template) => rows.iter().map(|row| line(template, row)).collect(),
            Format::Columns(template) => {
                let lines =
                    rows.iter().map(|row| line(template, row)).collect::<Result<String>>()?;
                Ok(columns(&(template.headings(headers)? + "\n" + &lines)))
            }
        }
    }
}

impl Format {
    /// Prints a document for each name, all in one list or one line each; the exit code. What is not found
    /// does not hide the others.
    pub(crate) fn documents(
        &self,
        names: &[String],
        find: impl Fn(&str) -> Result<Value>,
    ) -> Result<u8> {
        let mut all = Vec::new();
        let code = output::for_each(names, |name| {
            let document = find(name)?;
            match self {
                Format::Template(template) | Format::Columns(template) => {
                    output::print(&(template.render(&document)? + "\n"));
                }
                Format::Own | Format::Json => all.push(document),
            }
            Ok(())
        });
        let text = match self {
            Format::Own => serde_json::to_string_pretty(&all),
            Format::Json => serde_json::to_string(&all),
            Format::Template(_) | Format::Columns(_) => return Ok(code),
        };
        output::print(&(text.map_err(|e| Error::new(e.to_string()))? + "\n"));
        Ok(code)
    }
}

/// Tab-separated text in docker's columns: at least ten wide, three of them blanks.
fn columns(text: &str) -> String {
    let split = |line: &str| line.split('\t').map(str::to_owned).collect();
    let rows: Vec<Vec<String>> = text.lines().map(split).collect();
    output::columns(&rows, 7, 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(format: &str) -> String {
        let row = |name: &str, state: &str| Row {
            fields: json!({"Names": name, "State": state}),
            labels: Labels::new(),
        };
        let rows = [row("web", "running"), row("a-long-name", "exited")];
        let headers = json!({"Names": "NAMES", "State": "STATE"});
        Format::of_list(Some(format)).unwrap().list(&headers, &rows).unwrap()
    }

    #[test]
    fn a_list_is_json_lines_or_columns() {
        assert_eq!(
            list("json"),
            "{\"Names\":\"web\",\"State\":\"running\"}\n{\"Names\":\"a-long-name\",\"State\":\"exited\"}\n"
        );
        assert_eq!(list(r"{{.Names}}\t{{.State}}\n"), "web\trunning\n\na-long-name\texited\n\n");
        assert_eq!(
            list(r"table {{upper .State}}\t{{.Names}}"),
            "STATE     NAMES\nRUNNING   web\nEXITED    a-long-name\n"
        );
        assert!(Format::of_list(Some("table {{.Nope}}")).unwrap().list(&json!({}), &[]).is_err());
    }

    #[test]
    fn the_verb_s_own_table_is_the_default() {
        for text in [None, Some(""), Some("table"), Some(" table ")] {
            assert!(matches!(Format::of_list(text), Ok(Format::Own)), "{text:?}");
        }
    }
}

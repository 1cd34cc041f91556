//! What commands print: JSON for programs, tables and lines for people.

use std::fmt::Write as _;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::plain::plain;

/// Where a command's answer goes, and in which form.
pub(super) struct Output<'a> {
    writer: &'a mut dyn Write,
    json: bool,
}

impl<'a> Output<'a> {
    /// Output to `writer`.
    pub(super) fn new(writer: &'a mut dyn Write, json: bool) -> Self {
        Self { writer, json }
    }

    /// Whether JSON is asked for.
    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    /// The writer itself.
    pub(super) fn writer(&mut self) -> &mut dyn Write {
        self.writer
    }

    /// Writes JSON, indented.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut *self.writer, value)?;
        writeln!(self.writer)?;
        Ok(())
    }

    /// Writes a line.
    pub(super) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Failure> {
        Ok(writeln!(self.writer, "{text}")?)
    }

    /// Writes `value` as JSON, or `text` as a line.
    pub(super) fn say(&mut self, value: &impl Serialize, text: impl std::fmt::Display) -> Result<(), Failure> {
        if self.json { self.json(value) } else { self.line(text) }
    }

    /// Writes a list: as JSON, or as a table of `columns`, each a heading and the field below it.
    pub(super) fn list(&mut self, items: &[Value], columns: &[(&str, &str)]) -> Result<(), Failure> {
        if self.json {
            return self.json(&items);
        }
        let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
        let rows: Vec<Vec<String>> =
            items.iter().map(|item| columns.iter().map(|(_, field)| cell(&item[field])).collect()).collect();
        self.writer.write_all(table(&headings, &rows).as_bytes())?;
        Ok(())
    }

    /// Writes an object: as JSON, or a line for each of `fields`, each a label and the field beside it.
    pub(super) fn object(&mut self, object: &Value, fields: &[(&str, &str)]) -> Result<(), Failure> {
        if self.json {
            return self.json(object);
        }
        let rows: Vec<(&str, String)> = fields.iter().map(|(label, field)| (*label, cell(&object[field]))).collect();
        self.lines(&rows)
    }

    /// Writes labelled lines.
    pub(super) fn lines(&mut self, rows: &[(&str, String)]) -> Result<(), Failure> {
        let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, text) in rows {
            writeln!(self.writer, "{label:width$}  {text}")?;
        }
        Ok(())
    }
}

/// A table with aligned columns, headings included.
fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A path for programs: text if it is some, else its bytes, as `config check` has it.
pub(super) fn path_json(path: &Path) -> Value {
    path.to_str().map_or_else(|| json!(path.as_os_str().as_bytes()), |text| json!(text))
}

/// A value as it stands in a table.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => plain(text),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => match items.as_slice() {
            [] => "-".to_owned(),
            items => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        },
        // A node.
        Value::Object(of) => match (of.get("id"), of.get("name")) {
            (Some(Value::Number(id)), Some(Value::String(name))) => format!("{} ({id})", plain(name)),
            (Some(Value::Number(id)), Some(Value::Null)) => id.to_string(),
            _ => plain(&value.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(json: bool, write: impl FnOnce(&mut Output<'_>)) -> String {
        let mut text = Vec::new();
        write(&mut Output::new(&mut text, json));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn columns_are_aligned_by_characters() {
        let items = [
            json!({"id": "1", "name": "é"}),
            json!({"id": "23", "name": null}),
            json!({"id": "4", "name": "x", "n": 5}),
        ];
        let text = printed(false, |out| out.list(&items, &[("ID", "id"), ("NAME", "name"), ("N", "n")]).unwrap());
        assert_eq!(text, "ID  NAME  N\n1   é     -\n23  -     -\n4   x     5\n");
    }

    #[test]
    fn an_empty_list_is_its_headings_or_an_empty_array() {
        assert_eq!(printed(false, |out| out.list(&[], &[("ID", "id")]).unwrap()), "ID\n");
        assert_eq!(printed(true, |out| out.list(&[], &[("ID", "id")]).unwrap()), "[]\n");
    }

    #[test]
    fn an_object_is_lines_or_itself() {
        let object = json!({"name": "a", "developmentMode": true, "permittedDomains": ["a", "b"]});
        let fields = [("Name", "name"), ("Development mode", "developmentMode"), ("Domains", "permittedDomains")];
        let text = printed(false, |out| out.object(&object, &fields).unwrap());
        assert_eq!(text, "Name              a\nDevelopment mode  yes\nDomains           a, b\n");
        let text = printed(true, |out| out.object(&object, &fields).unwrap());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), object);
    }

    #[test]
    fn nodes_are_called_by_their_names() {
        let items = [json!({"nodes": [{"id": 1, "name": "one"}, {"id": 2, "name": null}]}), json!({"nodes": []})];
        let text = printed(false, |out| out.list(&items, &[("NODES", "nodes")]).unwrap());
        assert_eq!(text, "NODES\none (1), 2\n-\n");
    }

    #[test]
    fn an_endpoint_id_cannot_write_on_the_terminal() {
        let items = [json!({"endpointId": "a\u{1b}[31m\nb\u{202e}c"})];
        let text = printed(false, |out| out.list(&items, &[("ENDPOINT", "endpointId")]).unwrap());
        assert_eq!(text, "ENDPOINT\na\\u{1b}[31m\\nb\\u{202e}c\n");
    }
}

//! A TOML file as tables whose keys are taken out one by one, and the list of what is wrong with it. Before it: the file's text;
//! after it: [`super`] asks for the keys it knows.
//!
//! serde would stop at the first error, quote the value (it may be a secret) and not name the key; taking keys by hand finds all
//! errors in one go and knows, for a key that nobody took, which ones somebody would have.
use std::fmt;
use std::ops::RangeInclusive;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::values::nearest;

/// Something about the file that its author should know, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Remark {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// The key, with its table; empty where the text is not TOML at all.
    pub(crate) key: String,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, key, message } = self;
        let colon = if key.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {key}{colon}{message}")
    }
}

/// The text, and what has been found in it so far.
pub(crate) struct Findings<'t> {
    text: &'t str,
    /// Each makes the file unusable.
    pub(crate) errors: Vec<Remark>,
    /// Settings that are accepted and not in force.
    pub(crate) warnings: Vec<Remark>,
    /// Every key that somebody would have taken, with its table.
    #[cfg(test)]
    pub(crate) known: Vec<(&'static str, &'static str)>,
}

impl<'t> Findings<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            errors: Vec::new(),
            warnings: Vec::new(),
            #[cfg(test)]
            known: Vec::new(),
        }
    }

    /// Adds an error about the byte `at`.
    pub(crate) fn error(&mut self, at: usize, key: impl Into<String>, message: impl Into<String>) {
        let (line, column) = position(self.text, at);
        self.errors.push(Remark { line, column, key: key.into(), message: message.into() });
    }

    /// Line and column of a byte.
    pub(crate) fn position(&self, at: usize) -> (usize, usize) {
        position(self.text, at)
    }

    fn warning(&mut self, at: usize, key: String, message: &str) {
        let (line, column) = position(self.text, at);
        self.warnings.push(Remark { line, column, key, message: message.to_owned() });
    }
}

/// Line and column, both from 1, of a byte.
pub(crate) fn position(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Line and column of a key of a table, where each has a line of its own.
pub(crate) fn line_of(text: &str, table: &str, key: &str) -> Option<(usize, usize)> {
    let mut within = "";
    for (n, line) in text.lines().enumerate() {
        let shown = line.trim_start();
        if let Some(header) = shown.strip_prefix('[') {
            within = header.split(']').next().unwrap_or_default().trim();
            continue;
        }
        let Some((name, _)) = shown.split_once('=') else { continue };
        let is_it = if within.is_empty() {
            name.trim().split_once('.').is_some_and(|(of, name)| (of.trim(), name.trim()) == (table, key))
        } else {
            (within, name.trim()) == (table, key)
        };
        if is_it {
            return Some((n + 1, line.len() - shown.len() + 1));
        }
    }
    None
}

/// A table of the file, whose keys are taken out.
pub(crate) struct Table<'t> {
    /// Empty for the file itself.
    name: &'static str,
    /// Where it starts.
    at: usize,
    entries: DeTable<'t>,
    known: Vec<&'static str>,
}

/// A value, and the byte that it starts at.
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) at: usize,
}

impl<'t> Table<'t> {
    /// The whole file; `None`, with an error added, where it is not TOML.
    pub(crate) fn parse(text: &'t str, findings: &mut Findings<'_>) -> Option<Self> {
        match DeTable::parse(text) {
            Ok(entries) => Some(Self::new("", 0, entries.into_inner())),
            Err(error) => {
                // Not the error's own text: that shows the line, which may hold a secret.
                let at = error.span().map_or(0, |span| span.start);
                let said = error.message().trim().replace('\n', ", ");
                if let Some(at) = two_kinds_of_stream(text) {
                    let message = "a file with [[stream]] cannot have [stream] too; call this [stream_defaults]";
                    findings.error(at, "stream", message);
                    return None;
                }
                findings.error(at, "", format!("this is not TOML: {said}{}", other_format(text)));
                None
            }
        }
    }

    fn new(name: &'static str, at: usize, entries: DeTable<'t>) -> Self {
        Self { name, at, entries, known: Vec::new() }
    }

    fn remove(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.entries.remove(key)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Takes out a key. `None` where it is not set, and, with an error added, where `parse` refuses its value.
    pub(crate) fn take<T>(
        &mut self,
        findings: &mut Findings<'_>,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        self.take_located(findings, key, parse).map(|located| located.value)
    }

    /// As [`Table::take`], with the place of the value.
    pub(crate) fn take_located<T>(
        &mut self,
        findings: &mut Findings<'_>,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let value = self.remove(key)?;
        let at = value.span().start;
        match parse(value.get_ref()) {
            Ok(value) => Some(Located { value, at }),
            Err(message) => {
                findings.error(at, self.path(key), message);
                None
            }
        }
    }

    /// Takes out a table; an empty one where it is not there.
    pub(crate) fn table(&mut self, findings: &mut Findings<'_>, name: &'static str) -> Self {
        let Some(value) = self.remove(name) else { return Self::new(name, self.at, DeTable::new()) };
        let at = value.span().start;
        let entries = if let DeValue::Table(entries) = value.into_inner() {
            entries
        } else {
            findings.error(at, name, format!("this is a table; write [{name}] on a line, and its keys below"));
            DeTable::new()
        };
        Self::new(name, at, entries)
    }

    /// Takes out an array of tables, `[[name]]`.
    pub(crate) fn tables(&mut self, findings: &mut Findings<'_>, name: &'static str) -> Vec<Self> {
        self.tables_as(findings, name, name)
    }

    /// Takes out an array of tables within this table: `key`, whose whole name is `name`.
    pub(crate) fn tables_as(
        &mut self,
        findings: &mut Findings<'_>,
        key: &'static str,
        name: &'static str,
    ) -> Vec<Self> {
        let Some(value) = self.remove(key) else { return Vec::new() };
        let at = value.span().start;
        let values =
            if let DeValue::Array(values) = value.into_inner() { values.into_iter().collect() } else { Vec::new() };
        let mut tables = Vec::new();
        for value in values {
            let at = value.span().start;
            if let DeValue::Table(entries) = value.into_inner() {
                tables.push(Self::new(name, at, entries));
            }
        }
        if tables.is_empty() {
            findings.error(
                at,
                name,
                format!("this is a list of tables; write [[{name}]] on a line, and its keys below"),
            );
        }
        tables
    }

    /// Where it starts.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// What has not been taken out of it, as JSON as far as that has it.
    pub(crate) fn json(&self) -> Value {
        let entries = self.entries.iter().map(|(key, value)| {
            let value = value.get_ref();
            (key.get_ref().to_string(), json(value).unwrap_or_else(|_| format!("{value:?}").into()))
        });
        Value::Object(entries.collect())
    }

    /// Adds an error that concerns the table as a whole.
    pub(crate) fn error(&self, findings: &mut Findings<'_>, key: &str, message: &str) {
        findings.error(self.at, self.path(key), message);
    }

    /// Adds a warning about a key that is there.
    pub(crate) fn warning(&self, findings: &mut Findings<'_>, key: &str, message: &str) {
        let at = self.entries.get(key).map_or(self.at, |value| value.span().start);
        findings.warning(at, self.path(key), message);
    }

    /// Whether a key is there and has not been taken.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether it is a table.
    pub(crate) fn is_table(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| matches!(value.get_ref(), DeValue::Table(_)))
    }

    /// Names a key that is known, whether it was asked for or not.
    pub(crate) fn knows(&mut self, key: &'static str) {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
    }

    /// Ends the table: what nobody took out is unknown.
    pub(crate) fn close(self, findings: &mut Findings<'_>) {
        #[cfg(test)]
        findings.known.extend(self.known.iter().map(|key| (self.name, *key)));
        for key in self.entries.keys() {
            let name = key.get_ref().as_ref();
            let hint = nearest(name, self.known.iter().copied())
                .map_or_else(String::new, |known| format!(" (did you mean {known}?)"));
            let known = self.known.join(", ");
            let message = if self.name.is_empty() {
                format!("unknown table{hint}; the tables are: {known}")
            } else {
                format!("unknown key{hint}; remove it, or use one of {}: {known}", self.name)
            };
            // Escaped: a quoted key may hold anything, line breaks and terminal controls included.
            findings.error(key.span().start, self.path(&name.escape_debug().to_string()), message);
        }
    }
}

/// What a file of another format is to become.
fn other_format(text: &str) -> &'static str {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next().unwrap_or_default();
    let word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if first.starts_with('{') {
        "; this looks like JSON: write [rtmp] on a line, and listen = \"...\" below"
    } else if first == "---" || first.split_once(':').is_some_and(|(key, _)| !key.is_empty() && word(key)) {
        "; this looks like YAML: write [rtmp] on a line, and listen = \"...\" below"
    } else {
        ""
    }
}

/// Where `[stream]` stands in a file that has `[[stream]]` as well, which TOML does not allow.
fn two_kinds_of_stream(text: &str) -> Option<usize> {
    let header = |name: &str| {
        let starts =
            text.split_inclusive('\n').scan(0, |at, line| Some((std::mem::replace(at, *at + line.len()), line)));
        starts.filter(|(_, line)| line.trim_start().starts_with(name)).map(|(at, _)| at).next()
    };
    header("[[stream]]").and_then(|_| header("[stream]"))
}

/// A value as JSON has it.
pub(crate) fn json(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            number.map_err(|_| format!("{integer} is out of range"))?.into()
        }
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| json(item.get_ref())).collect::<Result<_, _>>()?),
        DeValue::Table(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok((key.get_ref().to_string(), json(value.get_ref())?)));
            Value::Object(entries.collect::<Result<_, String>>()?)
        }
        DeValue::Float(_) | DeValue::Datetime(_) => {
            return Err(format!("this is {}; give text, a whole number, true or false", kind(value)));
        }
    })
}

/// A value that is text.
pub(crate) fn string<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    match value {
        DeValue::String(text) => Ok(text),
        other => Err(format!("this is {}; give text in quotes", kind(other))),
    }
}

/// A value that is a whole number of this range.
pub(crate) fn whole(value: &DeValue<'_>, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let span = format!("give a whole number, {} to {}", range.start(), range.end());
    let DeValue::Integer(integer) = value else { return Err(format!("this is {}; {span}", kind(value))) };
    match u64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("{integer} is out of range; {span}")),
    }
}

/// A value that is true or false.
pub(crate) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(value) => Ok(*value),
        other => Err(format!("this is {}; give true or false, without quotes", kind(other))),
    }
}

/// A value that is a list; each item is parsed, and the first that is wrong is the error.
pub(crate) fn list<T>(
    value: &DeValue<'_>,
    mut parse: impl FnMut(&DeValue<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let DeValue::Array(items) = value else {
        return Err(format!("this is {}; give a list in brackets, such as [\"...\", \"...\"]", kind(value)));
    };
    items
        .iter()
        .enumerate()
        .map(|(n, item)| parse(item.get_ref()).map_err(|error| format!("item {}: {error}", n + 1)))
        .collect()
}

/// What a value is, in words. Not the value: it may be a secret in the wrong place.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

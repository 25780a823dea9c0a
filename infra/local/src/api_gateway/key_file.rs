//! API Gateway's own file format for API keys.

use std::fmt;

use csv::{ReaderBuilder, StringRecord};

/// A key file as API Gateway's documentation describes it: comma-separated values under a header
/// line. `Name` and `Key` must be there; `Description`, `Enabled` (`true` by default) and
/// `UsagePlanIds` may be. Header names are not case-sensitive, columns come in any order, and
/// columns that are not recognised are ignored. Several plan ids are separated by commas within
/// double or single quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFile {
    /// The rows that are good, in the order of the file.
    pub rows: Vec<KeyFileRow>,
    /// One for each row that is not.
    pub problems: Vec<KeyFileProblem>,
}

/// One key of a key file. Its `Debug` leaves the value out.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFileRow {
    /// The key's name, at most 1,024 characters.
    pub name: String,
    /// The key's value: 20 to 128 letters and digits.
    pub value: String,
    /// What the key is for.
    pub description: Option<String>,
    /// Whether callers can use it.
    pub enabled: bool,
    /// The usage plans to attach it to.
    pub usage_plan_ids: Vec<String>,
    /// The line that it stands on; the header is line 1.
    pub line: u64,
    /// The column that its value stands in, counted from 1.
    pub column: usize,
}

/// What is wrong with a key file, and where. Never tells a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct KeyFileProblem {
    /// The line; the header is line 1.
    pub line: u64,
    /// The column, counted from 1, when it is one column's fault.
    pub column: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for KeyFileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl fmt::Debug for KeyFileRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFileRow")
            .field("name", &self.name)
            .field("enabled", &self.enabled)
            .field("usage_plan_ids", &self.usage_plan_ids)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

impl KeyFile {
    /// Reads a key file.
    ///
    /// # Errors
    /// When the header is not one of a key file, so that no row can be read. A row that is wrong is a
    /// problem of its own and spoils no other.
    pub fn read(file: &[u8]) -> Result<Self, KeyFileProblem> {
        let mut reader = ReaderBuilder::new().flexible(true).has_headers(false).from_reader(file);
        let mut records = reader.records();
        let header = match records.next() {
            Some(Ok(header)) => header,
            Some(Err(error)) => return Err(problem(1, None, unreadable(&error))),
            None => return Err(problem(1, None, "the file is empty: the header Name,Key is missing")),
        };
        let columns = Columns::of(&header)?;
        let mut read = Self::default();
        for record in records {
            match record {
                Ok(record) => match columns.row(&record) {
                    Ok(row) => read.rows.push(row),
                    Err(problem) => read.problems.push(problem),
                },
                Err(error) => {
                    let line = error.position().map_or(0, csv::Position::line);
                    read.problems.push(problem(line, None, unreadable(&error)));
                }
            }
        }
        Ok(read)
    }

    /// One problem for each row whose value an earlier row has too. API Gateway lets the later row
    /// overwrite the earlier one, which is seldom what the file's author meant.
    #[must_use]
    pub fn duplicates(&self) -> Vec<KeyFileProblem> {
        let mut first = std::collections::HashMap::new();
        let repeated = |row: &KeyFileRow| {
            let line = *first.entry(row.value.clone()).or_insert(row.line);
            (line != row.line)
                .then(|| problem(row.line, Some(row.column - 1), format!("the same key stands on line {line} already")))
        };
        self.rows.iter().filter_map(repeated).collect()
    }
}

/// Where each column stands, counted from 0.
struct Columns {
    count: usize,
    name: usize,
    key: usize,
    description: Option<usize>,
    enabled: Option<usize>,
    usage_plan_ids: Option<usize>,
}

impl Columns {
    fn of(header: &StringRecord) -> Result<Self, KeyFileProblem> {
        let find = |wanted: &str| {
            let mut found = header.iter().enumerate().filter(|(_, name)| name.trim().eq_ignore_ascii_case(wanted));
            let column = found.next().map(|(column, _)| column);
            match found.next() {
                Some((twice, _)) => Err(problem(1, Some(twice), format!("there are two columns {wanted}"))),
                None => Ok(column),
            }
        };
        let required = |wanted: &str| {
            find(wanted)?.ok_or_else(|| {
                // If a name is misspelt, that is where.
                let known = ["Name", "Key", "Description", "Enabled", "UsagePlanIds"];
                let stranger =
                    header.iter().position(|name| !known.iter().any(|k| name.trim().eq_ignore_ascii_case(k)));
                problem(1, stranger, format!("the header has no column {wanted}: Name and Key must be there"))
            })
        };
        Ok(Self {
            count: header.len(),
            name: required("Name")?,
            key: required("Key")?,
            description: find("Description")?,
            enabled: find("Enabled")?,
            usage_plan_ids: find("UsagePlanIds")?,
        })
    }

    fn row(&self, record: &StringRecord) -> Result<KeyFileRow, KeyFileProblem> {
        let line = record.position().map_or(0, csv::Position::line);
        let fields = match self.usage_plan_ids {
            Some(column) => rejoin_single_quotes(record, column),
            None => record.iter().map(str::to_owned).collect(),
        };
        if fields.len() != self.count {
            let message = format!("{} fields, where the header has {}", fields.len(), self.count);
            return Err(problem(line, None, message));
        }
        let at = |column: usize, message: String| problem(line, Some(column), message);

        let name = fields[self.name].trim();
        if name.chars().count() > 1024 || name.chars().any(char::is_control) {
            return Err(at(self.name, "a name has at most 1024 characters, none of them control characters".into()));
        }
        let value = fields[self.key].trim();
        if !(20..=128).contains(&value.len()) {
            return Err(at(self.key, format!("a key has 20 to 128 characters, this one has {}", value.len())));
        }
        if !value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(at(self.key, "a key consists of letters and digits".into()));
        }
        let enabled = match self.enabled.map(|column| (column, fields[column].trim())) {
            None | Some((_, "")) => true,
            Some((_, raw)) if raw.eq_ignore_ascii_case("true") => true,
            Some((_, raw)) if raw.eq_ignore_ascii_case("false") => false,
            Some((column, raw)) => {
                return Err(at(column, format!("enabled is true or false, not {raw:?}")));
            }
        };
        let description = self.description.map(|column| fields[column].trim().to_owned());
        let plans = self.usage_plan_ids.map_or("", |column| fields[column].as_str());
        Ok(KeyFileRow {
            name: name.to_owned(),
            value: value.to_owned(),
            description: description.filter(|text| !text.is_empty()),
            enabled,
            usage_plan_ids: plans
                .split(',')
                .map(|id| id.trim_matches(|c: char| c == '\'' || c.is_whitespace()))
                .filter(|id| !id.is_empty())
                .map(str::to_owned)
                .collect(),
            line,
            column: self.key + 1,
        })
    }
}

/// Single quotes mean nothing to a CSV reader, so `'a,b'` arrives as two fields.
fn rejoin_single_quotes(record: &StringRecord, column: usize) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    let mut open = false;
    for field in record {
        let text = field.trim();
        match fields.last_mut() {
            Some(last) if open => {
                last.push(',');
                last.push_str(field);
                open = !text.ends_with('\'');
            }
            Some(_) | None => {
                open = fields.len() == column && text.starts_with('\'') && !(text.len() > 1 && text.ends_with('\''));
                fields.push(field.to_owned());
            }
        }
    }
    fields
}

fn unreadable(error: &csv::Error) -> String {
    let utf8 = matches!(error.kind(), csv::ErrorKind::Utf8 { .. });
    if utf8 { "not UTF-8" } else { "not comma-separated values" }.into()
}

/// `column` counts from 0, as the code does; people count from 1.
fn problem(line: u64, column: Option<usize>, message: impl Into<String>) -> KeyFileProblem {
    KeyFileProblem { line, column: column.map(|column| column + 1), message: message.into() }
}

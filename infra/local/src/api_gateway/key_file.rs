//! API Gateway's own file format for API keys.

use std::fmt;

use csv::{ReaderBuilder, StringRecord};

/// The columns that mean something.
const COLUMNS: [&str; 5] = ["Name", "Key", "Description", "Enabled", "UsagePlanIds"];

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
    /// The key's value: 20 to 128 letters, digits and hyphens.
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
    /// Reads a key file: UTF-8, one row a line, empty lines between them as the author likes.
    ///
    /// A row is a line because a quote that is never closed would otherwise take the rows behind it into its own field.
    ///
    /// # Errors
    /// When the file is not UTF-8 or its header is not one of a key file, so that no row can be read. A row that is wrong
    /// is a problem of its own and spoils no other.
    pub fn read(file: &[u8]) -> Result<Self, KeyFileProblem> {
        if file.starts_with(&[0xff, 0xfe]) || file.starts_with(&[0xfe, 0xff]) || file.contains(&0) {
            return Err(problem(1, None, "the file is UTF-16, or no text at all: save it as UTF-8"));
        }
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let mut lines = (1..).zip(lines(file)).filter(|(_, line)| !line.trim_ascii().is_empty());
        let Some((line, header)) = lines.next() else {
            return Err(problem(1, None, "the file is empty: the header Name,Key is missing"));
        };
        let columns = Columns::of(line, &fields(line, header)?)?;
        let mut read = Self::default();
        for (line, row) in lines {
            match fields(line, row).and_then(|record| columns.row(line, &record)) {
                Ok(row) => read.rows.push(row),
                Err(problem) => read.problems.push(problem),
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
    fn of(line: u64, header: &StringRecord) -> Result<Self, KeyFileProblem> {
        let find = |wanted: &str| {
            let mut found = header.iter().enumerate().filter(|(_, name)| name.trim().eq_ignore_ascii_case(wanted));
            let column = found.next().map(|(column, _)| column);
            match found.next() {
                Some((twice, _)) => Err(problem(line, Some(twice), format!("there are two columns {wanted}"))),
                None => Ok(column),
            }
        };
        let required = |wanted: &str| {
            find(wanted)?.ok_or_else(|| {
                if let Some(hint) = other_separator(header) {
                    return problem(line, None, hint);
                }
                // If a name is misspelt, that is where.
                let stranger =
                    header.iter().position(|name| !COLUMNS.iter().any(|k| name.trim().eq_ignore_ascii_case(k)));
                problem(line, stranger, format!("the header has no column {wanted}: Name and Key must be there"))
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

    fn row(&self, line: u64, record: &StringRecord) -> Result<KeyFileRow, KeyFileProblem> {
        let fields = match self.usage_plan_ids {
            Some(column) => rejoin_single_quotes(line, record, column)?,
            None => record.iter().map(str::to_owned).collect(),
        };
        if fields.len() != self.count {
            let hint = other_separator(record).map(|hint| format!(": {hint}")).unwrap_or_default();
            let message = format!("{} where the header has {}{hint}", counted(fields.len()), self.count);
            return Err(problem(line, None, message));
        }
        let at = |column: usize, message: String| problem(line, Some(column), message);

        let name = fields[self.name].trim();
        if name.chars().count() > 1024 || name.chars().any(char::is_control) {
            return Err(at(self.name, "a name has at most 1024 characters, none of them control characters".into()));
        }
        let value = fields[self.key].trim();
        let length = value.chars().count();
        if !(20..=128).contains(&length) {
            return Err(at(self.key, format!("a key has 20 to 128 characters, this one has {length}")));
        }
        if !is_key_value(value) {
            return Err(at(self.key, "a key consists of letters, digits and hyphens".into()));
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

/// What a key's value may consist of. The documentation says "alphanumeric"; API Gateway takes hyphens too.
pub(super) fn is_key_value(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The lines of a file, whichever of the three systems' line ends it has.
fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = file.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.flat_map(|line| line.split(|byte| *byte == b'\r'))
}

/// The fields of one line that is not empty.
fn fields(line: u64, row: &[u8]) -> Result<StringRecord, KeyFileProblem> {
    let row = std::str::from_utf8(row).map_err(|_| problem(line, None, "not UTF-8: save the file as UTF-8"))?;
    see_quotes(row).map_err(|message| problem(line, None, message))?;
    let mut reader = ReaderBuilder::new().has_headers(false).buffer_capacity(row.len()).from_reader(row.as_bytes());
    let mut record = StringRecord::new();
    match reader.read_record(&mut record) {
        Ok(true) => Ok(record),
        Ok(false) | Err(_) => Err(problem(line, None, "not comma-separated values")),
    }
}

/// RFC 4180: a field is in double quotes from its first character to its last, and one within it is doubled. The reader
/// takes anything, and would make one field of several without a word.
fn see_quotes(row: &str) -> Result<(), &'static str> {
    let pieces: Vec<&str> = row.split('"').collect();
    let last = pieces.len() - 1;
    if last % 2 == 1 {
        return Err("a double quote is opened and not closed on the same line");
    }
    let stands_well = |(place, outside): (usize, &&str)| {
        let is_doubled = outside.is_empty();
        (place == 0 || is_doubled || outside.starts_with(','))
            && (place == last || is_doubled || outside.ends_with(','))
    };
    // Every other piece is outside of the quotes.
    if pieces.iter().enumerate().step_by(2).all(stands_well) {
        Ok(())
    } else {
        Err("a double quote in the middle of a field: put the whole field in double quotes, and double those within it")
    }
}

/// What to say of a record that other programs' separators are in, where there should be commas.
fn other_separator(record: &StringRecord) -> Option<&'static str> {
    let has = |separator| record.iter().any(|field| field.contains(separator));
    if has(';') {
        Some("there are semicolons where commas should be: save the file as comma-separated values")
    } else if has('\t') {
        Some("there are tabs where commas should be: save the file as comma-separated values")
    } else {
        None
    }
}

/// Single quotes mean nothing to a CSV reader, so `'a,b'` arrives as two fields.
fn rejoin_single_quotes(line: u64, record: &StringRecord, column: usize) -> Result<Vec<String>, KeyFileProblem> {
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
    if open {
        return Err(problem(line, Some(column), "a single quote is opened and not closed on the same line"));
    }
    Ok(fields)
}

fn counted(fields: usize) -> String {
    if fields == 1 { "1 field".into() } else { format!("{fields} fields") }
}

/// `column` counts from 0, as the code does; people count from 1.
fn problem(line: u64, column: Option<usize>, message: impl Into<String>) -> KeyFileProblem {
    KeyFileProblem { line, column: column.map(|column| column + 1), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "aValueOfTwentyLetters1";

    /// What is said of a file, and how many rows are read nevertheless.
    fn said(file: &[u8]) -> (String, usize) {
        match KeyFile::read(file) {
            Ok(file) => (file.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), file.rows.len()),
            Err(problem) => (problem.to_string(), 0),
        }
    }

    #[test]
    fn the_line_that_is_named_is_the_line_that_is_meant() {
        for end in ["\n", "\r\n", "\r"] {
            let file =
                ["", "Name,Key", "", " ", "", "acme,short", "", &format!("globex,{GOOD}"), "initech,x"].join(end);
            let (said, rows) = said(file.as_bytes());
            assert!(said.starts_with("line 6, column 2: ") && said.contains("; line 9, column 2: "), "{end:?}: {said}");
            assert_eq!(rows, 1);
        }
        assert!(said(b"\n\nTitle,Key\n").0.starts_with("line 3, column 1: "));
        let bom = format!("\u{feff}Name,Key\nacme,{GOOD}\n");
        assert_eq!(said(bom.as_bytes()), (String::new(), 1));
    }

    #[test]
    fn a_quote_that_is_never_closed_swallows_nothing() {
        let unclosed = "line 2: a double quote is opened and not closed on the same line";
        let file = format!("Name,Key,Description\nacme,{GOOD},\"never\nglobex,{GOOD},fine\n");
        assert_eq!(said(file.as_bytes()), (unclosed.into(), 1));
        // Two mistakes that would make one good row of two.
        let file = format!("Name,Key,Description\nacme,{GOOD},\"never\nglobex,{GOOD},\"\n");
        let (said_of_both, rows) = said(file.as_bytes());
        assert!(said_of_both.starts_with(unclosed) && said_of_both.contains("line 3") && rows == 0, "{said_of_both}");
        let file = format!("Name,Key,UsagePlanIds\nacme,{GOOD},'p1,p2\nglobex,{GOOD},'p1,p2'\n");
        let (of_single, rows) = said(file.as_bytes());
        assert_eq!(rows, 1);
        assert_eq!(of_single, "line 2, column 3: a single quote is opened and not closed on the same line");
    }

    #[test]
    fn double_quotes_are_around_a_field_or_doubled() {
        for (description, good) in [
            ("\"\"", true),
            ("\"a, b\"", true),
            ("\"\"\"a\"\" b\"", true),
            ("\"a\"b", false),
            ("5\"x\"", false),
            ("\"a\"b\"c\"", false),
        ] {
            let file = format!("Description,Name,Key\n{description},acme,{GOOD}\n");
            let (said, rows) = said(file.as_bytes());
            assert_eq!((said.is_empty(), rows == 1), (good, good), "{description}: {said}");
        }
    }

    #[test]
    fn other_programs_files_are_told_what_is_wrong_with_them() {
        let semicolons = "semicolons where commas should be";
        assert!(said(format!("Name;Key\r\nacme;{GOOD}\r\n").as_bytes()).0.contains(semicolons));
        let of_row = said(format!("Name,Key\nacme;{GOOD}\n").as_bytes()).0;
        assert!(
            of_row.starts_with("line 2: 1 field where the header has 2: ") && of_row.contains(semicolons),
            "{of_row}"
        );
        assert!(said(b"Name\tKey\n").0.contains("tabs where commas should be"));
        let text = format!("Name,Key\nacme,{GOOD}\n");
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for utf16 in [[&[0xff, 0xfe], little.as_slice()].concat(), [&[0xfe, 0xff], big.as_slice()].concat(), little] {
            assert!(said(&utf16).0.contains("save it as UTF-8"), "{}", said(&utf16).0);
        }
        let latin = [b"Name,Key\n\nZo\xeb,x\nacme,", GOOD.as_bytes()].concat();
        assert_eq!(said(&latin), ("line 3: not UTF-8: save the file as UTF-8".into(), 1));
    }

    #[test]
    fn hyphens_are_part_of_a_key() {
        let file = b"Name,Key\nacme,0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0\nglobex,0b1c2d3e_4f50_6172_8394\n";
        assert_eq!(said(file), ("line 3, column 2: a key consists of letters, digits and hyphens".into(), 1));
    }
}

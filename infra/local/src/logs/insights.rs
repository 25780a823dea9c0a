//! As much of the Logs Insights query language as questions about API keys need.
//!
//! `filter` (`=`, `!=`, `in [..]`, `ispresent(..)`, joined by `and`), `fields`, `stats` (`count(*)`, `max(..)`,
//! `min(..)`, `by`), `sort` and `limit`. Fields are the members of events that are JSON objects,
//! without nested ones, and `@timestamp` and `@message`. Everything else is a malformed query.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use chrono::{DateTime, Utc};
use serde_json::Value;

/// "If you don't specify a limit", by the documentation.
const DEFAULT_LIMIT: usize = 10_000;
const TIMESTAMP: &str = "@timestamp";
const MESSAGE: &str = "@message";

/// One result: fields and their values, in order. A field that an event lacks is left out.
pub(super) type Row = Vec<(String, String)>;

/// What a query found.
pub(super) struct Found {
    pub(super) rows: Vec<Row>,
    /// How many events passed the filters.
    pub(super) matched: usize,
}

/// A query: its commands, in order.
pub(super) struct Query(Vec<Command>);

enum Command {
    Fields(Vec<String>),
    Filter(Vec<Condition>),
    Stats {
        told: Vec<(Aggregate, String)>,
        by: Vec<String>,
    },
    /// Fields, and whether each of them is sorted downwards.
    Sort(Vec<(String, bool)>),
    Limit(usize),
}

/// An event without the field meets no condition about it, which the documentation leaves open.
struct Condition {
    field: String,
    test: Test,
}

enum Test {
    In(Vec<Literal>),
    Not(Literal),
    Present,
}

/// What a query compares with. Text is compared as text: an id may look like a number.
enum Literal {
    Text(String),
    Number(f64),
}

enum Aggregate {
    Count,
    Max(String),
    Min(String),
}

type Fields = BTreeMap<String, String>;

impl Query {
    /// # Errors
    ///
    /// What is wrong with it, or not modelled.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Parser { tokens: tokens(text)?.into_iter().peekable() }.query()
    }

    /// Over events in the order of time.
    pub(super) fn run<'e>(
        &self,
        events: impl Iterator<Item = (DateTime<Utc>, &'e str)>,
        limit: Option<usize>,
    ) -> Found {
        let mut rows: Vec<Fields> = events.map(|(at, message)| fields_of(at, message)).collect();
        // Newest first, unless the query sorts.
        rows.reverse();
        let mut matched = rows.len();
        let mut columns = vec![TIMESTAMP.to_owned(), MESSAGE.to_owned()];
        for command in &self.0 {
            match command {
                Command::Fields(fields) => columns.clone_from(fields),
                Command::Filter(conditions) => {
                    rows.retain(|row| conditions.iter().all(|condition| condition.holds(row)));
                    matched = matched.min(rows.len());
                }
                Command::Stats { told, by } => {
                    rows = aggregated(&rows, told, by);
                    columns = by.iter().chain(told.iter().map(|(_, name)| name)).cloned().collect();
                }
                Command::Sort(by) => rows.sort_by(|one, other| sorted(one, other, by)),
                Command::Limit(most) => rows.truncate(*most),
            }
        }
        rows.truncate(limit.unwrap_or(DEFAULT_LIMIT));
        let row = |row: Fields| {
            columns.iter().filter_map(|column| Some((column.clone(), row.get(column)?.clone()))).collect()
        };
        Found { rows: rows.into_iter().map(row).collect(), matched }
    }
}

fn fields_of(at: DateTime<Utc>, message: &str) -> Fields {
    let mut fields = Fields::new();
    if let Ok(Value::Object(members)) = serde_json::from_str(message) {
        for (name, value) in members {
            match value {
                Value::String(text) => drop(fields.insert(name, text)),
                Value::Number(_) | Value::Bool(_) => drop(fields.insert(name, value.to_string())),
                Value::Null | Value::Array(_) | Value::Object(_) => {}
            }
        }
    }
    fields.insert(TIMESTAMP.to_owned(), at.format("%Y-%m-%d %H:%M:%S%.3f").to_string());
    fields.insert(MESSAGE.to_owned(), message.to_owned());
    fields
}

impl Condition {
    fn holds(&self, row: &Fields) -> bool {
        let Some(value) = row.get(&self.field) else { return false };
        match &self.test {
            Test::In(literals) => literals.iter().any(|literal| literal.is(value)),
            Test::Not(literal) => !literal.is(value),
            Test::Present => true,
        }
    }
}

impl Literal {
    fn is(&self, value: &str) -> bool {
        match self {
            Self::Text(text) => text == value,
            Self::Number(number) => value.parse() == Ok(*number),
        }
    }
}

/// Groups in the order in which they were first met.
fn aggregated(rows: &[Fields], told: &[(Aggregate, String)], by: &[String]) -> Vec<Fields> {
    let mut groups: Vec<(Fields, Vec<&Fields>)> = Vec::new();
    for row in rows {
        let key: Fields = by.iter().filter_map(|field| row.get_key_value(field)).map(owned).collect();
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(row),
            None => groups.push((key, vec![row])),
        }
    }
    let told_of = |(mut group, members): (Fields, Vec<&Fields>)| {
        for (aggregate, name) in told {
            let values = |field| members.iter().filter_map(move |row| row.get(field));
            let value = match aggregate {
                Aggregate::Count => Some(members.len().to_string()),
                Aggregate::Max(field) => values(field).max_by(|a, b| compared(a, b)).cloned(),
                Aggregate::Min(field) => values(field).min_by(|a, b| compared(a, b)).cloned(),
            };
            group.extend(value.map(|value| (name.clone(), value)));
        }
        group
    };
    groups.into_iter().map(told_of).collect()
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

/// A row without the field comes last.
fn sorted(one: &Fields, other: &Fields, by: &[(String, bool)]) -> Ordering {
    by.iter().fold(Ordering::Equal, |so_far, (field, down)| {
        so_far.then_with(|| match (one.get(field), other.get(field)) {
            (Some(a), Some(b)) if *down => compared(b, a),
            (Some(a), Some(b)) => compared(a, b),
            (here, there) => there.is_some().cmp(&here.is_some()),
        })
    })
}

/// As numbers if both are, otherwise as text.
fn compared(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A keyword, a field or a number.
    Word(String),
    /// A field between backquotes.
    Name(String),
    Text(String),
    Sign(&'static str),
}

const SIGNS: [&str; 9] = ["!=", "|", ",", "(", ")", "[", "]", "=", "*"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_@.".contains(c);
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else if "\"'`".contains(first) {
            let mut chars = rest[1..].chars();
            let quoted = quoted(&mut chars, first).ok_or_else(|| format!("unclosed {first}"))?;
            tokens.push(if first == '`' { Token::Name(quoted) } else { Token::Text(quoted) });
            rest = chars.as_str();
        } else {
            return Err(format!("unexpected {first:?}"));
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

/// Up to the closing quote; a backslash takes the next character as it is.
fn quoted(chars: &mut Chars<'_>, quote: char) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            '\\' => text.push(chars.next()?),
            c if c == quote => return Some(text),
            c => text.push(c),
        }
    }
}

struct Parser {
    tokens: Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn query(mut self) -> Result<Query, String> {
        let mut commands = Vec::new();
        loop {
            commands.push(self.command()?);
            match self.tokens.next() {
                None => return Ok(Query(commands)),
                Some(Token::Sign("|")) => {}
                Some(other) => return Err(format!("unexpected {}", shown(&other))),
            }
        }
    }

    fn command(&mut self) -> Result<Command, String> {
        match self.word()?.as_str() {
            "fields" => Ok(Command::Fields(self.list(Self::field)?)),
            "filter" => {
                let mut conditions = vec![self.condition()?];
                while self.took_word("and") {
                    conditions.push(self.condition()?);
                }
                Ok(Command::Filter(conditions))
            }
            "stats" => {
                let told = self.list(Self::aggregate)?;
                let by = if self.took_word("by") { self.list(Self::field)? } else { Vec::new() };
                Ok(Command::Stats { told, by })
            }
            "sort" => Ok(Command::Sort(self.list(|parser| {
                let field = parser.field()?;
                let down = parser.took_word("desc");
                if !down {
                    parser.took_word("asc");
                }
                Ok((field, down))
            })?)),
            "limit" => {
                let number = self.word()?;
                let number = number.parse().ok().filter(|number| (1..=DEFAULT_LIMIT).contains(number));
                Ok(Command::Limit(number.ok_or_else(|| format!("limit is 1 to {DEFAULT_LIMIT}"))?))
            }
            other => Err(format!("the embedded AWS does not model the command {other}")),
        }
    }

    fn condition(&mut self) -> Result<Condition, String> {
        if self.took_word("ispresent") {
            self.sign("(")?;
            let field = self.field()?;
            self.sign(")")?;
            return Ok(Condition { field, test: Test::Present });
        }
        let field = self.field()?;
        let test = if self.took_sign("=") {
            Test::In(vec![self.literal()?])
        } else if self.took_sign("!=") {
            Test::Not(self.literal()?)
        } else if self.took_word("in") {
            self.sign("[")?;
            let values = self.list(Self::literal)?;
            self.sign("]")?;
            Test::In(values)
        } else {
            return Err(format!("the embedded AWS models only =, !=, in and ispresent of conditions, here of {field}"));
        };
        Ok(Condition { field, test })
    }

    /// Its name is what comes after `as`, otherwise itself.
    fn aggregate(&mut self) -> Result<(Aggregate, String), String> {
        let function = self.word()?;
        self.sign("(")?;
        let (aggregate, itself) = match function.as_str() {
            "count" => {
                self.sign("*")?;
                (Aggregate::Count, "count(*)".to_owned())
            }
            "max" | "min" => {
                let field = self.field()?;
                let itself = format!("{function}({field})");
                (if function == "max" { Aggregate::Max(field) } else { Aggregate::Min(field) }, itself)
            }
            other => return Err(format!("the embedded AWS does not model the function {other}")),
        };
        self.sign(")")?;
        Ok((aggregate, if self.took_word("as") { self.field()? } else { itself }))
    }

    fn list<T>(&mut self, one: impl Fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut items = vec![one(self)?];
        while self.took_sign(",") {
            items.push(one(self)?);
        }
        Ok(items)
    }

    fn field(&mut self) -> Result<String, String> {
        match self.tokens.next() {
            Some(Token::Word(name)) if !name.starts_with(|c: char| c.is_ascii_digit()) => Ok(name),
            Some(Token::Name(name)) => Ok(name),
            other => Err(format!("a field was expected, not {}", shown_or_end(other.as_ref()))),
        }
    }

    /// Text or a number.
    fn literal(&mut self) -> Result<Literal, String> {
        let found = self.tokens.next();
        let literal = match &found {
            Some(Token::Text(text)) => Some(Literal::Text(text.clone())),
            Some(Token::Word(word)) if word.starts_with(|c: char| c.is_ascii_digit()) => {
                word.parse().ok().map(Literal::Number)
            }
            Some(Token::Word(_) | Token::Name(_) | Token::Sign(_)) | None => None,
        };
        literal.ok_or_else(|| format!("text or a number was expected, not {}", shown_or_end(found.as_ref())))
    }

    fn word(&mut self) -> Result<String, String> {
        match self.tokens.next() {
            Some(Token::Word(word)) => Ok(word),
            other => Err(format!("a word was expected, not {}", shown_or_end(other.as_ref()))),
        }
    }

    fn sign(&mut self, sign: &'static str) -> Result<(), String> {
        match self.tokens.next() {
            Some(Token::Sign(found)) if found == sign => Ok(()),
            other => Err(format!("{sign} was expected, not {}", shown_or_end(other.as_ref()))),
        }
    }

    fn took_sign(&mut self, sign: &'static str) -> bool {
        self.tokens.next_if_eq(&Token::Sign(sign)).is_some()
    }

    fn took_word(&mut self, word: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Word(found) if found == word)).is_some()
    }
}

fn shown_or_end(token: Option<&Token>) -> String {
    token.map_or_else(|| "the end".to_owned(), shown)
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(text) | Token::Name(text) | Token::Text(text) => text.clone(),
        Token::Sign(sign) => (*sign).to_owned(),
    }
}

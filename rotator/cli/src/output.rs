//! What reaches the terminal or the pipe, and how: every command prints through [`Out`], and nothing else prints.
//!
//! Names of API keys, reasons and messages are free text that strangers may have written. Everything that is printed
//! goes through [`harmless`] (in tables) or [`harmless_json`], so that no control character and no character that
//! turns the direction of writing reaches a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use chrono::TimeDelta;
use clap::ValueEnum;
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use state::Time;

/// The narrowest terminal that a table is fitted into.
const NARROWEST: u16 = 40;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON document on standard output. Errors are a JSON document on standard error.
    Json,
}

/// How a page for people looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether colours are wanted.
    pub colour: bool,
    /// The terminal's width in columns; `None` when it is not a terminal, and lines may be as long as they are.
    pub width: Option<u16>,
}

impl Look {
    /// No colour, no width: what a pipe gets.
    pub const PLAIN: Self = Self { colour: false, width: None };
}

/// The result of a command: one JSON document, or a page for people.
pub trait View: Serialize {
    /// The page, with a line break at its end.
    fn page(&self, look: &Look) -> String;
}

/// Where a command prints.
pub struct Out<'a> {
    /// Table or JSON.
    pub format: Format,
    /// For pages on standard output.
    pub look: Look,
    /// Whether progress is wanted: standard error is a terminal.
    live: bool,
    stdout: &'a mut (dyn Write + Send),
    stderr: &'a mut (dyn Write + Send),
    spinner: Option<ProgressBar>,
}

impl<'a> Out<'a> {
    /// For this process: colour only on a terminal and never with `NO_COLOR`, progress only on a terminal.
    pub fn standard(format: Format, stdout: &'a mut io::Stdout, stderr: &'a mut io::Stderr) -> Self {
        let terminal = stdout.is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let width = if terminal { crossterm::terminal::size().ok().map(|(width, _)| width) } else { None };
        // Some terminals say that they have none.
        let width = width.filter(|width| *width >= NARROWEST);
        let live = format == Format::Table && stderr.is_terminal();
        Self { format, look: Look { colour, width }, live, stdout, stderr, spinner: None }
    }

    /// Into buffers, without colour or progress.
    pub fn plain(format: Format, stdout: &'a mut (dyn Write + Send), stderr: &'a mut (dyn Write + Send)) -> Self {
        Self { format, look: Look::PLAIN, live: false, stdout, stderr, spinner: None }
    }

    /// Prints a command's result.
    pub fn show(&mut self, view: &impl View) -> io::Result<()> {
        self.rest();
        let text = match self.format {
            Format::Table => view.page(&self.look),
            Format::Json => json(view),
        };
        self.stdout.write_all(text.as_bytes())?;
        self.stdout.flush()
    }

    /// Tells a person something on standard output at once; a program is told everything at the end.
    pub fn tell(&mut self, line: &str) -> io::Result<()> {
        if self.format == Format::Json {
            return Ok(());
        }
        let Self { stdout, spinner, .. } = self;
        let mut print = || {
            writeln!(stdout, "{line}")?;
            stdout.flush()
        };
        match spinner {
            Some(spinner) => spinner.suspend(print),
            None => print(),
        }
    }

    /// Shows on a terminal what is being waited for; elsewhere nothing.
    pub fn wait_for(&mut self, what: &str) {
        if !self.live {
            return;
        }
        let spinner = self.spinner.get_or_insert_with(|| {
            let spinner = ProgressBar::new_spinner();
            spinner.set_style(ProgressStyle::default_spinner());
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        spinner.set_message(harmless(what));
    }

    /// Nothing is being waited for any more.
    pub fn rest(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }

    /// Prints an error: a page or a JSON document on standard error.
    pub fn fail(&mut self, error: &impl View) -> io::Result<()> {
        self.rest();
        let text = match self.format {
            Format::Table => error.page(&self.look),
            Format::Json => json(error),
        };
        self.stderr.write_all(text.as_bytes())?;
        self.stderr.flush()
    }
}

/// A table without lines, which `awk` and `cut` can read too; every cell is made [`harmless`].
pub fn table<const N: usize>(look: &Look, header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for row in rows {
        table.add_row(row.map(|text| {
            let text = harmless(&text);
            let colour = colour_of(&text);
            let cell = Cell::new(text);
            colour.into_iter().fold(cell, Cell::fg)
        }));
    }
    match look.width {
        // A page that is a little too wide for a terminal is broken within its cells rather than anywhere.
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => &mut table,
    };
    if look.colour {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().fold(String::new(), |mut page, line| {
        page.push_str(line.trim_end());
        page.push('\n');
        page
    })
}

/// Makes text harmless for a terminal: control characters, line breaks and characters that turn the direction of
/// writing or can't be seen are written as escapes.
///
/// ```
/// assert_eq!(rotator_cli::output::harmless("evil\u{1b}[2J\u{202e}key"), "evil\\u{1b}[2J\\u{202e}key");
/// ```
pub fn harmless(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        if is_harmful(c) {
            safe.extend(c.escape_default())
        } else {
            safe.push(c)
        }
        safe
    })
}

/// The same for JSON: it may escape any character inside a string, and outside of strings there are only line breaks.
pub fn harmless_json(document: &str) -> String {
    document.chars().fold(String::with_capacity(document.len()), |mut safe, c| {
        if c != '\n' && is_harmful(c) {
            // All of them are below U+10000, so one escape is enough.
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
        safe
    })
}

/// A time for people: UTC, to the second.
pub fn moment(at: Time) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A time for people that may be missing.
pub fn moment_or_dash(at: Option<Time>) -> String {
    at.map_or_else(dash, moment)
}

/// A length of time for people, in its largest unit: `12d`, `5h`, `40m`, `7s`.
pub fn span(time: TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What stands in a cell that has nothing to say.
pub fn dash() -> String {
    "-".to_owned()
}

/// Strings in one cell.
pub fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let text = items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ");
    if text.is_empty() { dash() } else { text }
}

/// How many of something, for instance `1 key` or `3 keys`.
pub fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// A provider's id of a key as people need it: of a KMS key's ARN, the key's id.
pub fn short_id(id: &str) -> &str {
    id.strip_prefix("arn:").and_then(|arn| arn.split_once(":key/")).map_or(id, |(_, key)| key)
}

/// A view as a program gets it.
pub fn json(document: &impl Serialize) -> String {
    let text =
        serde_json::to_string_pretty(document).expect("views are made of strings, numbers and maps with string keys");
    harmless_json(&text) + "\n"
}

/// The direction of writing can be turned by U+061C, U+200E.., U+202A.., U+2066..; the others of these can't be seen.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The words that mean something good, passing or bad wherever they stand.
fn colour_of(text: &str) -> Option<Color> {
    match text.split([' ', '/', ':', ',']).next().unwrap_or_default() {
        "active" | "adopt" | "adopted" => Some(Color::Green),
        "pre-activation" | "deactivated" | "unproven" => Some(Color::Yellow),
        "suspended" | "destroyed" | "managed" => Some(Color::DarkGrey),
        "refused" | "compromised" | "held" | "failed" => Some(Color::Red),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_or_turns_text_gets_through() {
        for evil in
            ["\u{1b}[31m", "a\nb", "a\rb", "\u{7}", "\u{9b}31m", "\u{202e}txt", "\u{200b}", "\u{2028}", "\u{7f}"]
        {
            let safe = harmless(evil);
            assert!(!safe.chars().any(is_harmful), "{evil:?} became {safe:?}");
        }
        assert_eq!(harmless("Zoë's <b>key</b>"), "Zoë's <b>key</b>", "what a terminal only shows is left alone");
    }

    #[test]
    fn json_stays_the_same_document() {
        let evil = "a\u{9b}b\u{202e}c\u{7f}\n\"";
        let text = json(&evil);
        assert!(!text.trim_end().chars().any(is_harmful), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), evil);
    }

    #[test]
    fn spans_are_in_their_largest_unit() {
        let said = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 864_000].map(|s| span(TimeDelta::seconds(s)));
        assert_eq!(said, ["0s", "59s", "1m", "59m", "1h", "23h", "1d", "10d"]);
    }

    #[test]
    fn only_the_arn_of_a_kms_key_is_shortened() {
        let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
        assert_eq!(short_id(&format!("arn:aws:kms:eu-west-1:111122223333:key/{id}")), id);
        assert_eq!(["a1b2c3", "NzbLsXh8uDCcd"].map(short_id), ["a1b2c3", "NzbLsXh8uDCcd"]);
    }

    #[test]
    fn a_table_has_no_trailing_space_and_no_colour_in_a_pipe() {
        let rows = || [["a".to_owned(), "active".to_owned()], ["long name".to_owned(), dash()]];
        assert_eq!(
            table(&Look::PLAIN, ["NAME", "STATE"], rows()),
            "NAME       STATE\na          active\nlong name  -\n"
        );
        let coloured = table(&Look { colour: true, width: Some(80) }, ["NAME", "STATE"], rows());
        assert!(coloured.contains("\u{1b}["), "{coloured:?}");
    }
}

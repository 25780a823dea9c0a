//! What reaches the terminal or the pipe, and how: every command prints through [`Out`], and nothing else prints.
//!
//! Names of API keys, reasons and messages are free text that strangers may have written. A page's parts go through
//! [`harmless`], so that none of them makes a line or a colour of its own, JSON through [`harmless_json`]; and what
//! [`Out`] prints in the end has nothing in it that can't be seen but the page's own line breaks and colours.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::time::Duration;

use chrono::TimeDelta;
use clap::ValueEnum;
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use rotator::visible::is_visible;
use serde::Serialize;
use state::Time;
use tokio::time::Instant;

use crate::interrupt::Asking;

/// The narrowest terminal that a table is fitted into.
const NARROWEST: u16 = 40;
/// How wide a page is that nothing else makes wider.
const COLUMNS: usize = 80;
/// How long work goes on before it says how fast it is: the first of many things tells little of the others.
const ENOUGH: Duration = Duration::from_secs(2);
/// How often work says without a terminal how far it is, at the most.
const TOLD_EVERY: Duration = Duration::from_secs(10);

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

/// What a command is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// One thing, for instance `reading the records`.
    At(&'a str),
    /// Many things, of which so many are done; `what` they are and what is done to them, for instance `keys adopted`.
    Done {
        /// What they are, and what is done to them.
        what: &'a str,
        /// How many are done.
        done: usize,
        /// How many there are.
        of: usize,
    },
}

/// Work on many things.
struct Work {
    what: String,
    of: usize,
    done: usize,
    /// How many were done when it began to be told of.
    before: usize,
    begun: Instant,
    /// When a line without a terminal told of it last, or when it began.
    told: Instant,
}

impl Work {
    fn new(what: &str, done: usize, of: usize) -> Self {
        let now = Instant::now();
        Self { what: what.to_owned(), of, done, before: done, begun: now, told: now }
    }

    fn is_about(&self, what: &str, done: usize, of: usize) -> bool {
        self.what == what && self.of == of && self.done <= done
    }

    /// How many are done, how fast that goes, and how long the rest will take: `120 of 1000 keys adopted, 2.4 a second,
    /// 6m left`.
    fn line(&self) -> String {
        let Self { what, of, done, before, begun, .. } = self;
        let line = format!("{done} of {of} {what}");
        let took = begun.elapsed();
        let (Some(left), true) = (of.checked_sub(*done), took >= ENOUGH) else { return line };
        let (many, milliseconds) = ((done - before) as u128, took.as_millis());
        if many == 0 || left == 0 {
            return line;
        }
        let (tenths, each) = match many * 1_000 / milliseconds {
            0 => (many * 600_000 / milliseconds, "minute"),
            _ => (many * 10_000 / milliseconds, "second"),
        };
        let rest = i64::try_from(left as u128 * milliseconds / many).unwrap_or(i64::MAX);
        let rest = span(TimeDelta::milliseconds(rest));
        format!("{line}, {}.{} a {each}, {rest} left", tenths / 10, tenths % 10)
    }
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
    /// Where a person answers; `None`: nobody is there, or a program.
    answers: Option<&'a mut (dyn BufRead + Send)>,
    spinner: Option<ProgressBar>,
    /// What the command is at, for whoever interrupts it.
    at: Option<String>,
    work: Option<Work>,
}

impl<'a> Out<'a> {
    /// For this process: colour only on a terminal and never with `NO_COLOR`, progress only on a terminal, questions only
    /// where both the question and the answer are at one.
    pub fn standard(
        format: Format,
        stdin: &'a mut BufReader<io::Stdin>,
        stdout: &'a mut io::Stdout,
        stderr: &'a mut io::Stderr,
    ) -> Self {
        let terminal = stdout.is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let width = if terminal { crossterm::terminal::size().ok().map(|(width, _)| width) } else { None };
        // Some terminals say that they have none.
        let width = width.filter(|width| *width >= NARROWEST);
        let live = format == Format::Table && stderr.is_terminal();
        let is_person = format == Format::Table && terminal && stdin.get_ref().is_terminal();
        let answers = is_person.then_some(stdin as &mut (dyn BufRead + Send));
        Self {
            format,
            look: Look { colour, width },
            live,
            stdout,
            stderr,
            answers,
            spinner: None,
            at: None,
            work: None,
        }
    }

    /// Into buffers, without colour or progress.
    pub fn plain(format: Format, stdout: &'a mut (dyn Write + Send), stderr: &'a mut (dyn Write + Send)) -> Self {
        Self {
            format,
            look: Look::PLAIN,
            live: false,
            stdout,
            stderr,
            answers: None,
            spinner: None,
            at: None,
            work: None,
        }
    }

    /// The same with a person who answers there.
    #[must_use]
    pub fn answered(mut self, answers: &'a mut (dyn BufRead + Send)) -> Self {
        self.answers = Some(answers).filter(|_| self.format == Format::Table);
        self
    }

    /// Prints a command's result.
    pub fn show(&mut self, view: &impl View) -> io::Result<()> {
        self.rest();
        let text = self.text(view);
        self.stdout.write_all(text.as_bytes())?;
        self.stdout.flush()
    }

    /// Tells a person something on standard output at once; a program is told everything at the end.
    pub fn tell(&mut self, line: &str) -> io::Result<()> {
        if self.format == Format::Json {
            return Ok(());
        }
        let line = visible(line, self.look.colour);
        let line = self.look.width.map_or_else(|| line.clone(), |width| folded(&line, width.into()));
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

    /// Whether somebody can be asked.
    pub fn can_ask(&self) -> bool {
        self.answers.is_some()
    }

    /// Asks for a yes. Anything else is a no, and so is an end of the answers.
    pub fn ask(&mut self, question: &str) -> io::Result<bool> {
        self.rest();
        let Some(answers) = &mut self.answers else { return Ok(false) };
        write!(self.stdout, "{question} [y/N] ")?;
        self.stdout.flush()?;
        let mut answer = String::new();
        let asking = Asking::begin();
        answers.read_line(&mut answer)?;
        drop(asking);
        Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
    }

    /// Shows on a terminal what is being waited for; elsewhere nothing.
    pub fn wait_for(&mut self, what: &str) {
        self.progress(Progress::At(what));
    }

    /// Shows on a terminal what the command is at. Elsewhere people are told how far work on many things is, every ten
    /// seconds at the most; programs are told everything at the end.
    pub fn progress(&mut self, progress: Progress<'_>) {
        let line = match progress {
            Progress::At(what) => what.to_owned(),
            Progress::Done { what, done, of } => {
                let known = self.work.take().filter(|work| work.is_about(what, done, of));
                let work = self.work.insert(known.unwrap_or_else(|| Work::new(what, done, of)));
                work.done = done;
                let line = work.line();
                if !self.live && self.format == Format::Table && work.told.elapsed() >= TOLD_EVERY {
                    work.told = Instant::now();
                    // Work does not stop because nobody hears of it.
                    let _ = writeln!(self.stderr, "{}", harmless(&line));
                }
                line
            }
        };
        if self.live {
            self.spin(&line);
        }
        self.at = Some(line);
    }

    /// What the command was at last.
    pub fn at(&self) -> Option<&str> {
        self.at.as_deref()
    }

    fn spin(&mut self, line: &str) {
        let spinner = self.spinner.get_or_insert_with(|| {
            let spinner = ProgressBar::new_spinner();
            spinner.set_style(ProgressStyle::default_spinner());
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        spinner.set_message(harmless(line));
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
        let text = self.text(error);
        self.stderr.write_all(text.as_bytes())?;
        self.stderr.flush()
    }

    fn text(&self, view: &impl View) -> String {
        match self.format {
            Format::Table => visible(&view.page(&self.look), self.look.colour),
            Format::Json => json(view),
        }
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

/// Makes text harmless for a terminal: everything that can't be seen is written as an escape, line breaks too.
///
/// ```
/// assert_eq!(rotator_cli::output::harmless("evil\u{1b}[2J\u{202e}key"), "evil\\u{1b}[2J\\u{202e}key");
/// ```
pub fn harmless(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        if is_visible(c) {
            safe.push(c)
        } else {
            safe.extend(c.escape_default())
        }
        safe
    })
}

/// The same for JSON: it may escape any character inside a string, and outside of strings there are only line breaks.
pub fn harmless_json(document: &str) -> String {
    document.chars().fold(String::with_capacity(document.len()), |mut safe, c| {
        if c == '\n' || is_visible(c) {
            safe.push(c);
        } else {
            // Beyond U+FFFF, JSON writes two.
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| safe.push_str(&format!("\\u{unit:04x}")));
        }
        safe
    })
}

/// A page as it is printed: of what can't be seen, only its line breaks are left, and where there is colour the
/// sequences that begin and end one.
pub fn visible(page: &str, colour: bool) -> String {
    let mut safe = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(c) = rest.chars().next() {
        let length = if colour { colour_sequence(rest) } else { None };
        let (part, behind) = rest.split_at(length.unwrap_or(c.len_utf8()));
        if length.is_some() || c == '\n' {
            safe.push_str(part);
        } else {
            safe.push_str(&harmless(part));
        }
        rest = behind;
    }
    safe
}

/// A line of columns that are two blanks apart, broken between its words where a terminal is not as wide, and going on
/// below the last column that begins in the left half. What is longer than a line stays whole, so that it can be copied.
fn folded(line: &str, width: usize) -> String {
    let letters: Vec<char> = line.chars().collect();
    let begins = |place: &usize| letters[place - 2..=*place].iter().map(|c| *c == ' ').eq([true, true, false]);
    let indent = (2..letters.len().min(width / 2)).rev().find(begins).unwrap_or(0);
    let (mut folded, mut rest) = (String::new(), letters.as_slice());
    let mut room = width;
    while rest.len() > room {
        // The first line is not broken between its columns.
        let from = if folded.is_empty() { indent } else { 0 };
        let blank = |place: &usize| rest[*place] == ' ';
        let Some(end) = (from + 1..=room).rev().find(blank).or_else(|| (room..rest.len()).find(blank)) else { break };
        folded.extend(&rest[..end]);
        folded = folded.trim_end().to_owned() + "\n" + &" ".repeat(indent);
        rest = &rest[end + 1..];
        room = width - indent;
    }
    folded.extend(rest);
    folded
}

/// The length of the ECMA-48 sequence "select graphic rendition" at the text's beginning, if there is one.
fn colour_sequence(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let length = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[length..].starts_with('m').then_some("\u{1b}[".len() + length + "m".len())
}

/// Standard error, for what does not go through [`Out`]: the log, which has an event in each call.
#[derive(Debug, Default)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(visible(&String::from_utf8_lossy(event), false).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
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

/// A paragraph of a page, made [`harmless`] and broken at blanks so that it fits into 80 columns: indented by so many
/// blanks, and by two more from its second line on.
pub fn paragraph(indent: usize, text: &str) -> String {
    let (mut page, mut line) = (String::new(), " ".repeat(indent));
    let mut is_empty = true;
    for word in harmless(text).split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            page += &(line + "\n");
            line = " ".repeat(indent + 2);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    page + &line + "\n"
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
    fn work_tells_how_many_are_done_how_fast_and_how_long_the_rest_takes() {
        let line = |seconds, done, of| {
            let begun = Instant::now() - Duration::from_secs(seconds);
            Work { begun, done, ..Work::new("keys adopted", 0, of) }.line()
        };
        assert_eq!(line(1, 3, 1_000), "3 of 1000 keys adopted", "too early to tell");
        assert_eq!(line(50, 120, 1_000), "120 of 1000 keys adopted, 2.4 a second, 6m left");
        assert_eq!(line(60, 2, 4), "2 of 4 keys adopted, 2.0 a minute, 1m left");
        assert_eq!(line(60, 0, 4), "0 of 4 keys adopted");
        assert_eq!(line(60, 4, 4), "4 of 4 keys adopted");
    }

    #[test]
    fn nothing_that_moves_a_cursor_or_turns_text_gets_through() {
        for evil in [
            "\u{1b}[31m",
            "a\nb",
            "a\rb",
            "\u{7}",
            "\u{9b}31m",
            "\u{202e}txt",
            "\u{200b}",
            "\u{2028}",
            "\u{7f}",
            "\u{ad}",
            "\u{3164}\u{115f}",
            "\u{a0}",
            "\u{e0041}\u{e007f}",
        ] {
            let safe = harmless(evil);
            assert!(safe.chars().all(is_visible) && safe.contains('\\'), "{evil:?} became {safe:?}");
        }
        assert_eq!(harmless("Zoë's <b>key</b>"), "Zoë's <b>key</b>", "what a terminal only shows is left alone");
    }

    #[test]
    fn json_stays_the_same_document() {
        // One that can't be seen behind the other, and some that can.
        let evil: String = ('\0'..=char::MAX).filter(|c| !is_visible(*c) || c.is_ascii()).collect();
        let text = json(&evil);
        assert!(text.trim_end().chars().all(is_visible), "something can't be seen");
        assert!(serde_json::from_str::<String>(&text).unwrap() == evil, "another document");
    }

    #[test]
    fn a_printed_page_has_its_own_lines_and_colours_and_nothing_else_that_can_not_be_seen() {
        let page = "\u{1b}[31merror:\u{1b}[0m a\u{e0041}b\u{ad}\n\u{1b}[2Jc\u{1b}[31d\u{1b}[";
        let rest = "a\\u{e0041}b\\u{ad}\n\\u{1b}[2Jc\\u{1b}[31d\\u{1b}[";
        assert_eq!(visible(page, true), format!("\u{1b}[31merror:\u{1b}[0m {rest}"));
        assert_eq!(visible(page, false), format!("\\u{{1b}}[31merror:\\u{{1b}}[0m {rest}"));

        #[derive(Serialize)]
        struct Page;
        impl View for Page {
            fn page(&self, _: &Look) -> String {
                "a\u{3164}b\n".into()
            }
        }
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut out = Out::plain(Format::Table, &mut stdout, &mut stderr);
        out.show(&Page).unwrap();
        out.tell("c\u{200b}").unwrap();
        out.fail(&Page).unwrap();
        assert_eq!((stdout.as_slice(), stderr.as_slice()), (&b"a\\u{3164}b\nc\\u{200b}\n"[..], &b"a\\u{3164}b\n"[..]));
    }

    #[test]
    fn a_line_that_is_too_wide_goes_on_below_its_last_column() {
        let line =
            "Sun 15:00:50  call          partner/acme-shop  client late: 403, keeps the old key until it reads again";
        assert_eq!(folded(line, 200), line);
        assert_eq!(
            folded(line, 60),
            "Sun 15:00:50  call          partner/acme-shop  client late:\n\
             \u{20}                           403, keeps the old key until it\n\
             \u{20}                           reads again"
        );
        let long = "x".repeat(70);
        assert_eq!(
            folded(&format!("at  {long} is it"), 60),
            format!("at  {long}\n    is it"),
            "what is pasted stays whole"
        );
        assert_eq!(folded(&long, 60), long);
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

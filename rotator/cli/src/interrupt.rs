//! Ctrl-C: the command stops where it is, what is done stays done, and it says how to go on.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::output::{Log, Out};
use crate::trouble::{Outcome, Trouble};

/// Whether a person is being asked something: then nothing has been changed yet, and nothing else can go on.
static ASKING: AtomicBool = AtomicBool::new(false);

/// While it lives, a person is being asked.
pub(crate) struct Asking(());

impl Asking {
    pub(crate) fn begin() -> Self {
        ASKING.store(true, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKING.store(false, Ordering::SeqCst);
    }
}

/// Returns when somebody presses Ctrl-C. Whoever presses it while they are asked, or twice, ends the process at once.
///
/// A thread of its own listens: whoever waits for an answer at the terminal hears nothing else.
pub async fn ctrl_c() {
    let (sender, pressed) = oneshot::channel();
    std::thread::spawn(move || {
        let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
        let mut sender = Some(sender);
        while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            if ASKING.load(Ordering::SeqCst) {
                let _ = writeln!(Log, "\nnothing was changed");
                std::process::exit(Outcome::Interrupted.code().into());
            }
            match sender.take() {
                Some(sender) => drop(sender.send(())),
                None => std::process::exit(Outcome::Interrupted.code().into()),
            }
        }
    });
    if pressed.await.is_err() {
        // Nobody listens: then the signal itself ends the process.
        std::future::pending().await
    }
}

/// Lets a command run until its end or until it is interrupted. `line` is what was typed, word by word.
pub async fn until_interrupted(
    out: &mut Out<'_>,
    line: &[String],
    command: impl AsyncFnOnce(&mut Out<'_>) -> Result<Outcome, Trouble>,
    interrupted: impl Future<Output = ()>,
) -> Result<Outcome, Trouble> {
    // Boxed: whoever awaits this would otherwise hold the whole command in a future of its own.
    let command = Box::pin(command(out));
    // What is dropped stops: nothing runs behind its back.
    let ended = tokio::select! {
        biased;
        ended = command => Some(ended),
        () = interrupted => None,
    };
    let again = line.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    ended.unwrap_or_else(|| Err(Trouble::Interrupted { at: out.at().map(str::to_owned), again }))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, Progress};

    #[tokio::test]
    async fn whoever_interrupts_is_told_what_is_done_and_what_goes_on() {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut out = Out::plain(Format::Table, &mut stdout, &mut stderr);
        let line =
            ["rotator", "adopt", "--prefix", "our keys", "--schedule", "rate(30 days)", "--yes"].map(str::to_owned);
        let command = async |out: &mut Out<'_>| {
            out.progress(Progress::Done { what: "keys adopted", done: 3, of: 5 });
            std::future::pending().await
        };
        let trouble = until_interrupted(&mut out, &line, command, async {}).await.unwrap_err();
        assert_eq!(trouble.to_string(), "interrupted: 3 of 5 keys adopted");
        assert_eq!(
            trouble.next().unwrap(),
            "what is done stays done; to go on: rotator adopt --prefix 'our keys' --schedule 'rate(30 days)' --yes"
        );
        assert_eq!((trouble.kind().as_str(), trouble.outcome().code()), ("Interrupted", 130));
    }

    #[test]
    fn a_word_is_quoted_as_a_shell_takes_it() {
        let quotes = ["partner/acme", "", "it's", "a b", "$(x)"].map(quoted);
        assert_eq!(quotes, ["partner/acme", "''", r"'it'\''s'", "'a b'", "'$(x)'"]);
    }
}

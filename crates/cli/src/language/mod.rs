//! The language that people are spoken to in.
//!
//! The code says everything in English, where it happens. What is printed goes through [`say`], which
//! finds the sentence in a table by its English template and fills the other language's with what stands
//! in its holes. So no code passes keys around, the runtime and a monitor know nothing of languages, and
//! whoever prints decides. What programs read is never translated.

mod particles;
mod table;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;

use table::Table;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    En,
    Ko,
}

impl Language {
    /// As `--lang` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Language::En => "en",
            Language::Ko => "ko",
        }
    }
}

/// Is it anything but English?
static FOREIGN: AtomicBool = AtomicBool::new(false);

/// The sentences, by area, for translators: see the head of each file.
const KOREAN: [(&str, &str); 14] = [
    ("files.txt", include_str!("ko/files.txt")),
    ("help.txt", include_str!("ko/help.txt")),
    ("info.txt", include_str!("ko/info.txt")),
    ("lab.txt", include_str!("ko/lab.txt")),
    ("libraries.txt", include_str!("ko/libraries.txt")),
    ("proc.txt", include_str!("ko/proc.txt")),
    ("runtime.txt", include_str!("ko/runtime.txt")),
    ("see.txt", include_str!("ko/see.txt")),
    ("steps.txt", include_str!("ko/steps.txt")),
    ("templates.txt", include_str!("ko/templates.txt")),
    ("usage.txt", include_str!("ko/usage.txt")),
    ("verbs.txt", include_str!("ko/verbs.txt")),
    ("watch.txt", include_str!("ko/watch.txt")),
    ("wishes.txt", include_str!("ko/wishes.txt")),
];

/// Chooses before the command line is understood, whose help and errors are to be in that language: what
/// `words` (all after `minibox`) ask for, or the environment.
pub(crate) fn choose(words: impl Iterator<Item = OsString>) {
    let known = |name: OsString| Language::from_str(name.to_str()?, false).ok();
    settle(asked_for(words).and_then(known).or_else(|| variable("MINIBOX_LANG").and_then(known)));
}

/// Chooses by what the command line and MINIBOX_LANG turned out to say, or else by the locale.
pub(crate) fn settle(asked: Option<Language>) {
    // As setlocale(3) orders them.
    let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(variable);
    let language = asked.unwrap_or_else(|| of_locale(&locale.unwrap_or_default()));
    FOREIGN.store(language == Language::Ko, Ordering::Relaxed);
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The value of `--lang`, wherever it stands.
fn asked_for(mut words: impl Iterator<Item = OsString>) -> Option<OsString> {
    while let Some(word) = words.next() {
        if word == "--lang" {
            return words.next();
        }
        if let Some(value) = word.to_str().and_then(|word| word.strip_prefix("--lang=")) {
            return Some(value.into());
        }
    }
    None
}

fn of_locale(locale: &OsStr) -> Language {
    let name = locale.to_string_lossy();
    let language = name.split(['_', '.', '@']).next().unwrap_or_default();
    if language == "ko" { Language::Ko } else { Language::En }
}

/// What was chosen.
pub(crate) fn chosen() -> Language {
    if is_foreign() { Language::Ko } else { Language::En }
}

/// Is anything to be translated?
pub(crate) fn is_foreign() -> bool {
    FOREIGN.load(Ordering::Relaxed)
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table::of(KOREAN.iter().map(|(_, text)| *text)))
}

/// `text` as people of the chosen language read it.
pub(crate) fn say(text: &str) -> String {
    if is_foreign() { table().say(text) } else { text.to_owned() }
}

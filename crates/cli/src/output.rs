//! What people read: data on stdout, everything else on stderr; colour on a terminal only.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use minibox_runtime::{Error, Result};
use unicode_width::UnicodeWidthStr;

use crate::language;

/// Writes to stdout; a reader that has gone (`| head -1`) is no error.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// `--debug`: from now on everything that is traced goes to standard error.
pub(crate) fn trace() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE);
    subscriber.init();
}

/// Text without control characters: names and lines of a root filesystem stand in messages, and must
/// not speak to the terminal.
fn tame(text: &str) -> String {
    let quote = |c: char| {
        if c.is_control() && c != '\n' { c.escape_default().to_string() } else { c.into() }
    };
    text.chars().map(quote).collect()
}

/// The same on one line.
pub(crate) fn on_one_line(text: &str) -> String {
    tame(text).replace('\n', "\\n")
}

/// `--quiet`: only errors are said.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Says nothing from now on but errors, where `quiet`.
pub(crate) fn quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Is nothing to be said but errors?
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// One line to stderr, marked as minibox's.
pub(crate) fn note(text: &str) {
    if is_quiet() {
        return;
    }
    let _ = writeln!(std::io::stderr(), "minibox: {}", tame(&language::say(text)));
}

/// A note that is worth saying once per user, not at every run: `key` names it below the data folder.
pub(crate) fn note_once(data: &Path, key: &str, text: &str) {
    let said = data.join("said");
    let _ = std::fs::create_dir_all(&said);
    if std::fs::OpenOptions::new().write(true).create_new(true).open(said.join(key)).is_ok() {
        note(&format!("{text} (said once)"));
    }
}

/// An error, with its step, cause and hint.
pub(crate) fn error(error: &Error) {
    let _ = writeln!(std::io::stderr(), "minibox: {}", tame(&language::say(&error.to_string())));
}

/// Does `work` for each name and goes on after an error; the exit code, 1 if any failed.
pub(crate) fn for_each(names: &[String], mut work: impl FnMut(&str) -> Result<()>) -> u8 {
    let mut failed = false;
    for name in names {
        if let Err(problem) = work(name) {
            error(&problem);
            failed = true;
        }
    }
    u8::from(failed)
}

/// Asks whether to go on; whoever answers nothing means no.
pub(crate) fn confirm(warning: &str) -> bool {
    let question = language::say("Are you sure you want to continue?");
    print(&format!("{}\n{question} [y/N] ", language::say(warning)));
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    if std::io::stdin().lock().read_line(&mut answer).unwrap_or(0) == 0 {
        print("\n");
        note("nothing is removed: nobody answered; -f asks nobody");
    }
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// May `stream` be painted?
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Columns as wide as their widest cell, two spaces apart.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let text = columns(rows, 0, 2);
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Columns as wide as their widest cell and at least `least`, `gap` spaces apart.
pub(crate) fn columns(rows: &[Vec<String>], least: usize, gap: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0).max(least) + gap
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', widths[column] - cell.width()));
            }
        }
        text.push('\n');
    }
    text
}

/// A command as one would type it.
pub(crate) fn shell_words(words: &[String]) -> String {
    words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
}

/// One word, quoted where a shell would read it differently.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// `text`, and blanks until it has so many columns.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    text.to_owned() + &" ".repeat(columns.saturating_sub(text.width()))
}

/// The same with the blanks in front.
pub(crate) fn pad_front(text: &str, columns: usize) -> String {
    " ".repeat(columns.saturating_sub(text.width())) + text
}

/// At most `most` columns of `text`, on one line.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    let one_line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if one_line.width() <= most {
        return one_line;
    }
    let mut short = String::new();
    for letter in one_line.chars() {
        if short.width() + letter.to_string().width() >= most {
            break;
        }
        short.push(letter);
    }
    short + "…"
}

/// The same of a path: what is cut is its beginning.
pub(crate) fn shorten_front(path: &str, most: usize) -> String {
    let path = on_one_line(path);
    if path.width() <= most {
        return path;
    }
    let starts = path.char_indices().map(|(start, _)| &path[start..]);
    let end = starts.skip(1).find(|end| end.width() < most);
    format!("…{}", end.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_under_wide_letters() {
        let rows = [["이름", "X"], ["ab", "Y"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "이름  X\nab    Y\n");
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(
            shell_words(&["a b".into(), "c'd".into(), "-e".into(), String::new()]),
            r"'a b' 'c'\''d' -e ''"
        );
    }

    #[test]
    fn shortening_counts_columns() {
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(shorten("가나다라", 5), "가나…");
        assert_eq!(shorten_front("/lib/가나", 6), "…/가나");
        assert_eq!(shorten_front("/lib", 4), "/lib");
    }
}

//! `minibox logs`: what a container has printed, and what it prints.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use minibox_runtime::{Error, Result};

use crate::args::LogsArgs;
use crate::clock;
use crate::living;
use crate::log::{self, Entry};
use crate::store::{Status, Store};
use crate::wishes::bad;

/// What is to be shown.
struct Selection {
    /// RFC 3339 with nanoseconds: times compare as texts do.
    since: Option<String>,
    until: Option<String>,
    timestamps: bool,
}

/// `minibox logs`.
pub(crate) fn logs(store: &Store, args: &LogsArgs) -> Result<u8> {
    let tail = parse_tail(&args.tail)?;
    let now = SystemTime::now();
    let moment = |flag: &str, text: &Option<String>| {
        let moment = text.as_deref().map(|text| clock::moment(flag, text, now)).transpose()?;
        Ok::<_, Error>(moment.map(|moment| humantime::format_rfc3339_nanos(moment).to_string()))
    };
    let selection = Selection {
        since: moment("--since", &args.since)?,
        until: moment("--until", &args.until)?,
        timestamps: args.timestamps,
    };
    let container = living::find(store, &args.container)?;
    let (name, id) = (&container.record.name, &container.record.id);
    if !container.record.monitored {
        return Err(Error::new(format!(
            "{name} runs in the foreground with --rm: what it prints goes to the terminal it was started from"
        ))
        .hint("every other container keeps a log"));
    }
    let folder = store.folder(id);
    let mut reader = Reader::new(&folder);
    // Only the last lines of what is there already.
    let (mut last, mut enough) = (VecDeque::new(), 1000);
    while let Some(line) = reader.next()? {
        match tail {
            None if !selection.print(&line) => return Ok(0),
            Some(most) if selection.is_meant(&line).is_some() => {
                last.push_back(line);
                if last.len() > enough {
                    trim(&mut last, most);
                    enough = 1000 + 2 * last.len();
                }
            }
            _ => {}
        }
    }
    if let Some(most) = tail {
        trim(&mut last, most);
    }
    for line in last {
        if !selection.print(&line) {
            return Ok(0);
        }
    }
    if args.follow {
        follow(store, id, &mut reader, &selection)?;
    }
    Ok(0)
}

/// Goes on until the container ends, its reader goes, or the time is over.
fn follow(store: &Store, id: &str, reader: &mut Reader<'_>, selection: &Selection) -> Result<()> {
    loop {
        // Asked before reading: what was written before the end is then surely read.
        let now = store.load(id)?.map(|now| living::up_to_date(store, now)).transpose()?.flatten();
        let is_over = now.is_none_or(|now| {
            !now.is_kept() && !matches!(now.status(), Status::Created | Status::Running)
        });
        while let Some(line) = reader.next()? {
            if !selection.print(&line) {
                return Ok(());
            }
        }
        if is_over || selection.is_past() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Keeps the last `most` lines, each with its parts; the last may not have its end yet.
fn trim(lines: &mut VecDeque<Vec<u8>>, most: usize) {
    let is_full = |line: &Vec<u8>| Entry::parse(line).is_some_and(|entry| entry.is_full);
    let unfinished = usize::from(lines.back().is_some_and(|line| !is_full(line)));
    let mut whole = lines.iter().filter(|line| is_full(line)).count() + unfinished;
    while whole > most
        && let Some(line) = lines.pop_front()
    {
        whole -= usize::from(is_full(&line) || lines.is_empty());
    }
}

fn parse_tail(text: &str) -> Result<Option<usize>> {
    match text {
        "all" | "-1" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| bad("--tail", text, "a number of lines, or all")),
    }
}

impl Selection {
    /// The line as an entry, where it is to be shown.
    fn is_meant<'a>(&self, line: &'a [u8]) -> Option<Entry<'a>> {
        let entry = Entry::parse(line)?;
        let is_late = self.since.as_deref().is_none_or(|since| entry.time >= since);
        let is_early = self.until.as_deref().is_none_or(|until| entry.time <= until);
        (is_late && is_early).then_some(entry)
    }

    /// Is nothing more to come?
    fn is_past(&self) -> bool {
        let now = humantime::format_rfc3339_nanos(SystemTime::now()).to_string();
        self.until.as_deref().is_some_and(|until| now.as_str() > until)
    }

    /// Prints one line to the stream it came from, where it is meant; false where the reader is gone.
    fn print(&self, line: &[u8]) -> bool {
        let Some(entry) = self.is_meant(line) else { return true };
        let mut text = Vec::with_capacity(line.len());
        if self.timestamps {
            text.extend_from_slice(entry.time.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(entry.text);
        if entry.is_full {
            text.push(b'\n');
        }
        let written = if entry.is_error {
            std::io::stderr().write_all(&text)
        } else {
            std::io::stdout().write_all(&text)
        };
        written.and_then(|()| std::io::stdout().flush()).is_ok()
    }
}

/// Reads the files of a log, the oldest first, and follows when a new one is begun.
struct Reader<'a> {
    folder: &'a Path,
    /// The file that is read, and its number.
    file: Option<(u32, BufReader<File>)>,
    line: Vec<u8>,
}

impl Reader<'_> {
    fn new(folder: &Path) -> Reader<'_> {
        Reader { folder, file: None, line: Vec::new() }
    }

    /// The next whole line; `None` where there is none yet.
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.read_line()? {
                return Ok(Some(line));
            }
            let Some((number, newer)) = self.newer() else { return Ok(None) };
            // What was written between the two looks, before the newer one was begun.
            if let Some(line) = self.read_line()? {
                return Ok(Some(line));
            }
            self.line.clear();
            self.file = Some((number, BufReader::new(newer)));
        }
    }

    fn read_line(&mut self) -> Result<Option<Vec<u8>>> {
        let Some((number, file)) = &mut self.file else { return Ok(None) };
        let read = file.read_until(b'\n', &mut self.line);
        read.map_err(|e| Error::of_io("read", &log::path(self.folder, *number), &e))?;
        let is_whole = self.line.last() == Some(&b'\n');
        Ok(is_whole.then(|| std::mem::take(&mut self.line)))
    }

    /// The file that was begun after the one that is read; the oldest of those where some are gone.
    fn newer(&self) -> Option<(u32, File)> {
        let open = |number| Some((number, File::open(log::path(self.folder, number)).ok()?));
        let read = self.file.as_ref().map_or(0, |(number, _)| *number);
        let mut later = log::numbers(self.folder).into_iter().filter(|number| *number > read);
        let mut newer = later.find_map(open)?;
        // A list made while files are begun may have a later one alone.
        while newer.0 > read + 1
            && let Some(earlier) = open(newer.0 - 1)
        {
            newer = earlier;
        }
        Some(newer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole_but_for_the_very_last() {
        let kept = |text: &str, most: usize| {
            let line = |word: &str| format!("t stdout {word}\n").into_bytes();
            let mut lines = text.split(',').map(line).collect();
            trim(&mut lines, most);
            let text = lines.iter().filter_map(|line| Entry::parse(line)).map(|entry| entry.text);
            text.map(String::from_utf8_lossy).collect::<String>()
        };
        assert_eq!(kept("F a,P b,F c,F d", 2), "bcd");
        assert_eq!(kept("F a,P b,F c,F d,P e,P f", 2), "def");
        assert_eq!(kept("F a,P b,P c", 1), "bc");
        assert_eq!(kept("F a,P b,P c", 0), "");
        assert_eq!(kept("F a", 5), "a");
    }

    #[test]
    fn a_reader_keeps_up_with_a_log_that_turns_over() {
        let folder = tempfile::tempdir().unwrap();
        let limits = crate::settings::LogLimits { max_size: 100, max_file: 4 };
        let mut log = log::Log::open(folder.path(), limits);
        let mut reader = Reader::new(folder.path());
        let mut seen = Vec::new();
        // Two and a bit lines a file: now in the middle of one, now two files behind.
        for number in 0..100_u8 {
            log.write("stdout", &[b'A' + number % 26, b'\n']);
            if number % 5 == 0 || number % 7 == 0 {
                while let Some(line) = reader.next().unwrap() {
                    seen.push(Entry::parse(&line).unwrap().text[0]);
                }
            }
        }
        while let Some(line) = reader.next().unwrap() {
            seen.push(Entry::parse(&line).unwrap().text[0]);
        }
        assert_eq!(seen, (0..100).map(|n| b'A' + n % 26).collect::<Vec<u8>>());
    }
}

//! `minibox logs`: what a container has printed, and what it prints.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
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
    let mut last = VecDeque::new();
    while let Some(line) = reader.next()? {
        let is_full = selection.is_meant(&line).is_some_and(|entry| entry.is_full);
        last.push_back(line);
        if is_full && tail.is_some() {
            trim(&mut last, tail.unwrap_or(0));
        } else if tail.is_none() {
            for line in last.drain(..) {
                if !selection.print(&line) {
                    return Ok(0);
                }
            }
        }
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
        let is_over = store.load(id)?.is_none_or(|now| {
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

/// Keeps the last `most` whole lines, each with its parts.
fn trim(lines: &mut VecDeque<Vec<u8>>, most: usize) {
    let is_full = |line: &[u8]| Entry::parse(line).is_some_and(|entry| entry.is_full);
    let mut whole = lines.iter().filter(|line| is_full(line)).count();
    while whole > most {
        if let Some(line) = lines.pop_front()
            && is_full(&line)
        {
            whole -= 1;
        }
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
    file: Option<BufReader<File>>,
    /// The files that are still to be read, all opened, so that none is missed when they are renamed.
    rest: VecDeque<File>,
    line: Vec<u8>,
}

impl Reader<'_> {
    fn new(folder: &Path) -> Reader<'_> {
        let mut rest = VecDeque::new();
        for number in 0.. {
            match File::open(log::path(folder, number)) {
                Ok(file) => rest.push_front(file),
                Err(_) => break,
            }
        }
        let file = rest.pop_front().map(BufReader::new);
        Reader { folder, file, rest, line: Vec::new() }
    }

    /// The next whole line; `None` where there is none yet.
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(file) = &mut self.file {
                let read = file.read_until(b'\n', &mut self.line);
                read.map_err(|e| Error::of_io("read", &log::path(self.folder, 0), &e))?;
                if self.line.last() == Some(&b'\n') {
                    return Ok(Some(std::mem::take(&mut self.line)));
                }
            }
            // At its end: on to the next file, where one has been begun since.
            let next = self.rest.pop_front();
            let Some(next) = next.map_or_else(|| self.newer(), |file| Ok(Some(file)))? else {
                return Ok(None);
            };
            self.line.clear();
            self.file = Some(BufReader::new(next));
        }
    }

    /// The present file, where it is another one than that which was read so far.
    fn newer(&self) -> Result<Option<File>> {
        let path = log::path(self.folder, 0);
        let present = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|e| Error::of_io("open", &path, &e))?,
        };
        let inode = |file: &File| file.metadata().map(|m| m.ino()).ok();
        let ours = self.file.as_ref().and_then(|file| inode(file.get_ref()));
        Ok(Some(present).filter(|present| ours != inode(present)))
    }
}

//! The verbs that show what the kernel knows of a process, be it a container's or any other: what
//! crates/lens has read, drawn for people or as JSON, once or again and again.

pub(crate) mod audit;
mod calls;
mod canvas;
pub(crate) mod caps;
mod columns;
pub(crate) mod mem;
pub(crate) mod mounts;
pub(crate) mod net;
pub(crate) mod ns;
pub(crate) mod proc;
pub(crate) mod seccomp;
pub(crate) mod stats;
mod target;
pub(crate) mod threads;
pub(crate) mod tree;
pub(crate) mod why;

use std::io::IsTerminal;
use std::time::Duration;

use minibox_runtime::{Error, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::LookArgs;
use crate::format::Format;
use crate::language::say;
use crate::output;
pub(crate) use canvas::{Canvas, Style};
pub(crate) use target::{Target, find, find_process, known};

/// Shows what `see` sees, as often as was asked for. `schema` names the description in docs/schema and its
/// version, such as `caps/1`. Where there is no one `target`, what was seen says of whom it is.
pub(crate) fn look<'a, T: Serialize>(
    args: &LookArgs,
    schema: &str,
    target: impl Into<Option<&'a Target>>,
    mut see: impl FnMut() -> Result<T>,
    draw: impl Fn(&T, &Canvas) -> String,
) -> Result<u8> {
    let format = Format::of_document(args.format.format.as_deref())?;
    let interval = interval(args.interval)?;
    let target = target.into();
    let mut is_first = true;
    loop {
        let seen = match see() {
            // It has been seen, and has ended since.
            Err(error) if !is_first => {
                output::note(&error.what);
                return Ok(0);
            }
            seen => seen?,
        };
        match &format {
            Format::Own => {
                let canvas = Canvas::of_stdout();
                show(&draw(&seen, &canvas), &canvas, args.watch, is_first);
            }
            Format::Json => output::print(&format!("{}\n", document(schema, target, &seen)?)),
            Format::Template(template) | Format::Columns(template) => {
                let document = document(schema, target, &seen)?;
                output::print(&(template.render(&document)? + "\n"));
            }
        }
        if !args.watch {
            return Ok(0);
        }
        is_first = false;
        std::thread::sleep(interval);
    }
}

/// `--interval`, in seconds.
pub(crate) fn interval(seconds: f64) -> Result<Duration> {
    let interval = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero());
    interval.ok_or_else(|| {
        Error::new(format!("--interval {seconds} is no time to wait"))
            .hint("seconds, such as 0.5 or 2")
    })
}

/// What is printed for programs: who it is, and all that was seen of him.
fn document<T: Serialize>(schema: &str, target: Option<&Target>, seen: &T) -> Result<Value> {
    let fault = |error: serde_json::Error| Error::new(error.to_string());
    let mut document = Map::from_iter([("schema".to_owned(), schema.into())]);
    if let Some(target) = target {
        document.insert("pid".to_owned(), target.pid.into());
        document.insert("container".to_owned(), target.container.clone().into());
    }
    if let Value::Object(fields) = serde_json::to_value(seen).map_err(fault)? {
        document.extend(fields);
    }
    Ok(Value::Object(document))
}

/// Puts a picture on the screen: below what is there, or over the one before where it is kept alive.
fn show(picture: &str, canvas: &Canvas, live: bool, is_first: bool) {
    if !live || !std::io::stdout().is_terminal() {
        let gap = if is_first { "" } else { "\n" };
        return output::print(&format!("{gap}{picture}"));
    }
    // Home, each line to its end, and what is below: nothing flickers, as after clearing it all.
    let start = if is_first { "\x1b[2J\x1b[H" } else { "\x1b[H" };
    let lines: Vec<&str> = picture.lines().collect();
    let room = canvas.height.saturating_sub(1).max(1);
    let mut text = String::from(start);
    for line in lines.iter().take(if lines.len() > room { room - 1 } else { room }) {
        text += &format!("{line}\x1b[K\r\n");
    }
    if lines.len() > room {
        let hidden = lines.len() + 1 - room;
        let more = say(&format!("… {hidden} more lines: make the window higher"));
        text += &format!("{more}\x1b[K\r\n");
    }
    output::print(&(text + "\x1b[J"));
}

/// An error of lens, in the command's words.
pub(crate) fn fault(error: &minibox_lens::Error) -> Error {
    let made = Error::new(error.to_string());
    match error {
        minibox_lens::Error::Gone(_) => {
            made.hint("it may just have ended; `minibox ps` and `ps -e` list what runs")
        }
        minibox_lens::Error::Unreadable(_) => made,
    }
}

//! What is told on the way, warnings and with `--debug` every step, as runc writes it: in the file of `--log`, else on
//! standard error. Engines collect these lines.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::output;

/// How a line is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    Text,
    Json,
}

impl Format {
    /// One line, without its end.
    pub(super) fn line(self, level: &str, text: &str) -> String {
        let (text, time) =
            (output::on_one_line(text), humantime::format_rfc3339_seconds(SystemTime::now()));
        match self {
            Format::Json => {
                serde_json::json!({"level": level, "msg": text, "time": time.to_string()})
                    .to_string()
            }
            Format::Text => format!("time=\"{time}\" level={level} msg={text:?}"),
        }
    }
}

/// Opens the file anew for each line: a descriptor kept would take the place of one that the caller hands on.
pub(super) fn open(log: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(log)
}

/// From now on warnings are told, or everything.
pub(super) fn begin(log: Option<PathBuf>, format: Format, debug: bool) {
    let writer = move || -> Box<dyn Write> {
        match log.as_ref().map(|log| open(log)) {
            Some(Ok(file)) => Box::new(file),
            _ => Box::new(io::stderr()),
        }
    };
    tracing_subscriber::fmt()
        .with_max_level(if debug { Level::TRACE } else { Level::WARN })
        .with_ansi(false)
        .with_writer(writer)
        .event_format(format)
        .init();
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            // logrus has both, and engines look for the one.
            Level::DEBUG | Level::TRACE => "debug",
        };
        writeln!(writer, "{}", self.line(level, &text))
    }
}

//! `minibox events`: what happens, as it happens.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minibox_runtime::{Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::args::EventsArgs;
use crate::clock;
use crate::events::{self, Actor, Event, KEYS, Tail};
use crate::filter::Filter;
use crate::format::Format;
use crate::store::Store;

/// `minibox events`.
pub(crate) fn events(store: &Store, args: &EventsArgs) -> Result<u8> {
    let filter = Filter::parse(&args.filters, &KEYS)?;
    filter.check("type", &["container", "volume"])?;
    let format = Format::of_document(Some(args.format.format.as_deref().unwrap_or("json")))?;
    // A template is tried at once, and not when something happens.
    line(&Event::now("container", "", Actor::default()), &format)?;
    let now = SystemTime::now();
    let moment = |flag: &str, text: &Option<String>| {
        text.as_deref().map(|text| clock::moment(flag, text, now)).transpose()
    };
    let (since, until) = (moment("--since", &args.since)?, moment("--until", &args.until)?);
    // Without a beginning or an end only what happens from now on counts.
    let since = since.unwrap_or(if until.is_some() { UNIX_EPOCH } else { now });
    let show = |event: &Event| -> Result<bool> {
        let is_asked = event.moment() >= since && until.is_none_or(|until| event.moment() <= until);
        if !is_asked || !event.passes(&filter) {
            return Ok(true);
        }
        Ok(std::io::stdout().write_all(line(event, &format)?.as_bytes()).is_ok())
    };

    let path = events::current(&store.data);
    let open = |path: &Path| Tail::open(path).map_err(|e| Error::of_io("open", path, &e));
    let watch = watch(&store.data)?;
    let mut tail = open(&path)?;
    let earlier = events::earlier(&store.data);
    let mut older = if earlier.exists() { Some(open(&earlier)?) } else { None };
    while let Some(event) = older.as_mut().and_then(Tail::next) {
        if !show(&event)? {
            return Ok(0);
        }
    }
    loop {
        // Asked before reading: what is in a renamed file is then all there will ever be.
        let is_renamed = !events::is_named(&tail.file, &path);
        let is_over = until.is_some_and(|until| SystemTime::now() >= until);
        while let Some(event) = tail.next() {
            if !show(&event)? {
                return Ok(0);
            }
        }
        if is_renamed {
            tail = open(&path)?;
        } else if is_over || !wait(&watch, until) {
            return Ok(0);
        }
    }
}

/// What is printed of an event, with its end.
fn line(event: &Event, format: &Format) -> Result<String> {
    let json = || serde_json::to_value(event).map_err(|e| Error::new(e.to_string()));
    match format {
        Format::Own => Ok(text(event)),
        Format::Json => Ok(format!("{}\n", json()?)),
        Format::Template(template) | Format::Columns(template) => {
            Ok(template.render(&json()?)? + "\n")
        }
    }
}

/// As docker prints it by default.
fn text(event: &Event) -> String {
    let time = humantime::format_rfc3339_nanos(event.moment());
    let pairs = event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}"));
    let pairs: Vec<String> = pairs.collect();
    let Event { kind, action, actor, .. } = event;
    format!("{time} {kind} {action} {} ({})\n", actor.id, pairs.join(", "))
}

fn watch(folder: &Path) -> Result<Inotify> {
    let made = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).and_then(|watch| {
        let flags =
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_FROM;
        watch.add_watch(folder, flags)?;
        Ok(watch)
    });
    made.map_err(|errno| {
        Error::new(format!("cannot watch {}", folder.display()))
            .errno(errno)
            .hint("too many watchers? `sysctl fs.inotify.max_user_instances` says how many one user may have")
    })
}

/// Waits until something changes or `until` has come; false where nobody reads any more.
fn wait(watch: &Inotify, until: Option<SystemTime>) -> bool {
    let timeout = match until.map(|until| until.duration_since(SystemTime::now())) {
        None => PollTimeout::NONE,
        Some(left) => {
            let left = left.unwrap_or_default() + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        }
    };
    let stdout = std::io::stdout();
    let mut polled = [
        PollFd::new(watch.as_fd(), PollFlags::POLLIN),
        PollFd::new(stdout.as_fd(), PollFlags::empty()),
    ];
    let _ = poll(&mut polled, timeout);
    let reader_is_gone = polled[1].revents().is_some_and(|events| !events.is_empty());
    let _ = watch.read_events();
    !reader_is_gone
}

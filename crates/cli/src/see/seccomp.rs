//! `minibox seccomp`: which system calls a process may make.

use minibox_lens::Seen;
use minibox_lens::seccomp::{self, Call, Mode, Seccomp};
use minibox_runtime::{Result, state};
use serde::Serialize;
use serde_json::Value;

use super::{Canvas, Target, fault, find, look};
use crate::args::LookTargetArgs;
use crate::language::say;
use crate::output;
use crate::store::Store;

#[derive(Serialize)]
struct Seeing {
    /// Its config.json asks for a filter; nothing where it is no container of minibox.
    configured: Option<bool>,
    #[serde(flatten)]
    seen: Seccomp,
}

/// `minibox seccomp`.
pub(crate) fn seccomp(store: &Store, args: &LookTargetArgs) -> Result<u8> {
    let target = find(store, &args.target)?;
    let configured = target.container.as_ref().and_then(|name| configured(store, name));
    let see = || {
        let seen = seccomp::of(&target.process).map_err(|error| fault(&error))?;
        Ok(Seeing { configured, seen })
    };
    look(&args.look, "seccomp/1", &target, see, |seen, canvas| draw(&target, seen, canvas))
}

fn configured(store: &Store, name: &str) -> Option<bool> {
    let id = store.find(name).ok()?.record.id;
    let config: Value = state::read(&store.folder(&id).join("config.json")).ok()??;
    Some(!config["linux"]["seccomp"].is_null())
}

fn draw(target: &Target, seeing: &Seeing, canvas: &Canvas) -> String {
    let seen = &seeing.seen;
    let title = format!("Which system calls {} may make", target.title());
    let mut text = canvas.heading(&title);
    text += &canvas.wrap("", &filtered(seen));
    match seeing.configured {
        Some(false) if seen.mode == Seen::Known(Mode::Disabled) => {
            text += &canvas.wrap("", "Its configuration asks for none: this version of minibox installs no filter. Docker and podman refuse about 60 of the calls below a list of their own.");
        }
        Some(false) => {
            text += &canvas.wrap("", "Its configuration asks for none: the filter was there before minibox, or the program has made it.");
        }
        Some(true) => {
            text += &canvas.wrap("", "Its configuration asks for a filter.");
        }
        None => {}
    }
    if seen.no_new_privileges.known() == Some(&true) {
        text += &canvas.wrap("", "no_new_privs is set, so it could filter itself further; nobody can ever take a filter away.");
    }
    if !seen.other_threads.is_empty() {
        let all = seen.other_threads.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        text += &canvas.wrap("", &format!("These threads are filtered in another way: {all}."));
    }
    text += "\n";
    text += &canvas
        .wrap("", "A call that gets through is still asked for its powers. Of the mighty ones:");
    let mut rows = vec![["CALL", "NEEDS", "HERE"].map(str::to_owned).to_vec()];
    for call in &seen.calls {
        rows.push(vec![call.name.to_owned(), call.capability.to_owned(), say(verdict(call))]);
    }
    for line in output::table(&rows).lines() {
        text += &(output::shorten(line, canvas.width) + "\n");
    }
    text
}

fn filtered(seen: &Seccomp) -> String {
    let filters = seen.filters.known().copied().unwrap_or(1);
    match seen.mode {
        Seen::Known(Mode::Disabled) => String::from(
            "No filter (seccomp mode 0): it may ask the kernel for every call there is.",
        ),
        Seen::Known(Mode::Strict) => String::from(
            "Strict (seccomp mode 1): it may read, write and end; any other call kills it.",
        ),
        Seen::Known(Mode::Filter) => format!(
            "Filtered (seccomp mode 2), filters on top of each other: {filters}. What they refuse cannot be known from outside: the kernel shows a filter only to a debugger that halts the process."
        ),
        Seen::Denied => String::from("Whether it is filtered is hidden from you."),
        Seen::Absent => {
            String::from("This kernel has no seccomp: it may ask for every call there is.")
        }
    }
}

fn verdict(call: &Call) -> &'static str {
    match (call.permitted, call.of_host) {
        (Some(true), true) => "permitted, for this host",
        (Some(true), false) => "permitted, for its own namespaces",
        (Some(false), _) => "refused: EPERM",
        (None, _) => "hidden from you",
    }
}

//! `minibox seccomp`: which system calls a process may make.

use minibox_lens::Seen;
use minibox_lens::seccomp::{self, Call, Mode, Seccomp};
use minibox_runtime::Result;
use minibox_runtime::seccomp::outlook;
use oci_spec::runtime::Spec;
use serde::Serialize;

use super::{Canvas, Target, fault, find, look};
use crate::args::LookTargetArgs;
use crate::birth;
use crate::language::say;
use crate::output;
use crate::store::Store;

#[derive(Serialize)]
struct Seeing {
    /// Its config.json asks for a filter; nothing where it is no container of minibox.
    configured: Option<bool>,
    /// Calls that this filter refuses, whatever their arguments. Null where there is none.
    refused: Option<Vec<&'static str>>,
    /// Calls that it refuses with certain arguments, or leaves to an agent.
    conditional: Option<Vec<&'static str>>,
    #[serde(flatten)]
    seen: Seccomp,
}

/// `minibox seccomp`.
pub(crate) fn seccomp(store: &Store, args: &LookTargetArgs) -> Result<u8> {
    let target = find(store, &args.target)?;
    let spec = target.container.as_ref().and_then(|name| load_spec(store, name));
    let linux = spec.as_ref().map(|spec| spec.linux().as_ref());
    let profile = linux.map(|linux| linux.and_then(|linux| linux.seccomp().as_ref()));
    let configured = profile.map(|profile| profile.is_some());
    let outlook = profile.flatten().map(outlook).transpose()?;
    let see = || {
        let seen = seccomp::of(&target.process).map_err(|error| fault(&error))?;
        let (refused, conditional) = outlook.clone().map(|o| (o.refused, o.depends)).unzip();
        Ok(Seeing { configured, refused, conditional, seen })
    };
    look(&args.look, "seccomp/1", &target, see, |seen, canvas| draw(&target, seen, canvas))
}

fn load_spec(store: &Store, name: &str) -> Option<Spec> {
    birth::load_spec(store, &store.find(name).ok()?.record).ok()
}

fn draw(target: &Target, seeing: &Seeing, canvas: &Canvas) -> String {
    let seen = &seeing.seen;
    let title = format!("Which system calls {} may make", target.title());
    let mut text = canvas.heading(&title);
    text += &canvas.wrap("", &filtered(seen));
    match seeing.configured {
        Some(false) if seen.mode == Seen::Known(Mode::Disabled) => {
            text += &canvas.wrap("", "Its configuration asks for none: it was made with --privileged or seccomp=unconfined.");
        }
        Some(false) => {
            text += &canvas.wrap("", "Its configuration asks for none: the filter was there before minibox, or the program has made it.");
        }
        Some(true) => {
            let list = |names: &Option<Vec<&str>>| names.as_deref().unwrap_or_default().join(" ");
            let (count, all) = (seeing.refused.as_ref().map_or(0, Vec::len), list(&seeing.refused));
            text += &canvas
                .wrap("", &format!("That of its configuration refuses {count} calls: {all}."));
            let some = list(&seeing.conditional);
            if !some.is_empty() {
                text +=
                    &canvas.wrap("", &format!("With these it depends on their arguments: {some}."));
            }
            if seen.filters.known().is_some_and(|filters| *filters > 1) {
                text += &canvas.wrap(
                    "",
                    "The others were there before minibox, or the program has made them.",
                );
            }
        }
        None => {}
    }
    if seeing.configured != Some(true) && seen.mode == Seen::Known(Mode::Filter) {
        text += &canvas.wrap("", "What it refuses cannot be known from outside: the kernel shows a filter only to a debugger that halts the process.");
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
        let filtered = seeing.refused.iter().flatten().any(|name| *name == call.name);
        let here = if filtered && call.permitted != Some(false) {
            "refused by the filter"
        } else {
            verdict(call)
        };
        rows.push(vec![call.name.to_owned(), call.capability.to_owned(), say(here)]);
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
        Seen::Known(Mode::Filter) => {
            format!("Filtered (seccomp mode 2), filters on top of each other: {filters}.")
        }
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

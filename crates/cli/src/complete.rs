//! What a shell asks on Tab: `minibox __complete WORDS…`, all that was typed after `minibox`, the last
//! word unfinished.
//!
//! The three scripts beside this file know no verb and no option: the answer is taken from the table that
//! parses the command line, and from the store. One candidate a line, with a tab and what it is; a last
//! line `:files` or `:folders` lets the shell add its own.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::builder::ValueHint;
use clap::{Arg, ArgAction, Command, ValueEnum};
use minibox_runtime::capabilities;
use nix::sys::signal::Signal;

use crate::events;
use crate::language;
use crate::line::{self, Line};
use crate::output;
use crate::store::{Container, Record, Status, Store, volumes};
use crate::views::{ps, words};

/// The shells that are served.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    /// source <(minibox completion bash)
    Bash,
    /// source <(minibox completion zsh)
    Zsh,
    /// minibox completion fish | source
    Fish,
}

/// `minibox completion SHELL`.
pub(crate) fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("complete/minibox.bash"),
        Shell::Zsh => include_str!("complete/minibox.zsh"),
        Shell::Fish => include_str!("complete/minibox.fish"),
    }
}

/// A word that could stand there, and what it is.
type Candidate = (String, String);

/// Where the cursor stands.
struct Place<'a> {
    /// What stands before it.
    line: Line<'a>,
    /// What is being given a value here; none where a verb or an option is to be named.
    arg: Option<&'a Arg>,
    /// `--net=` of `--net=ho`.
    before: &'a str,
    /// `ho` of `--net=ho`.
    typed: &'a str,
}

impl<'a> Place<'a> {
    fn of(root: &'a Command, words: &'a [String]) -> Place<'a> {
        let (typed, done) = match words {
            [done @ .., typed] => (typed.as_str(), done),
            [] => ("", words),
        };
        let line = Line::read(root, done);
        let mut place = Place { arg: line.open, before: "", typed, line };
        if place.arg.is_some() {
            return place;
        }
        if !place.line.options || !typed.starts_with('-') {
            place.arg = line::positional(place.line.command, place.line.words.len());
        } else if let Some((name, value)) = typed.split_once('=') {
            place.arg = line::long(place.line.command, name.trim_start_matches('-'));
            (place.before, place.typed) = (&typed[..=name.len()], value);
        }
        place
    }

    /// The store that the finished line would use; nothing is made.
    fn store(&self) -> Store {
        let place = |id: &str, variable: &str| {
            let given = self.line.value_of(id).map(OsString::from);
            let given = given.or_else(|| std::env::var_os(variable));
            given.filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        Store::places(place("run_dir", "MINIBOX_RUN_DIR"), place("data_dir", "MINIBOX_DATA_DIR"))
    }
}

/// The answer, as the scripts read it.
pub(crate) fn answer(mut root: Command, words: &[String]) -> String {
    root.build();
    let place = Place::of(&root, words);
    let candidates = match place.arg {
        Some(arg) => values(&place, arg),
        None if place.line.options && place.typed.starts_with('-') => options(&place),
        None if place.line.words.is_empty() => verbs(place.line.command),
        None => Vec::new(),
    };
    let mut text = String::new();
    for (word, about) in candidates.iter().filter(|(word, _)| word.starts_with(place.typed)) {
        let _ = writeln!(text, "{}{word}\t{about}", place.before);
    }
    text + place.arg.map_or("", |arg| files(&place, arg))
}

fn verbs(command: &Command) -> Vec<Candidate> {
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs.map(|verb| (verb.get_name().to_owned(), first_line(verb.get_about()))).collect()
}

/// Options that may still be given: one that takes a single value, only once.
fn options(place: &Place<'_>) -> Vec<Candidate> {
    let repeatable = |arg: &Arg| matches!(arg.get_action(), ArgAction::Append | ArgAction::Count);
    let mut options = Vec::new();
    for arg in place.line.command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        if repeatable(arg) || !place.line.is_given(arg.get_id().as_str()) {
            let short = arg.get_short().map(|letter| format!("-{letter}"));
            let long = arg.get_long().map(|name| format!("--{name}"));
            let about = first_line(arg.get_help());
            options.extend([short, long].into_iter().flatten().map(|name| (name, about.clone())));
        }
    }
    options
}

fn first_line(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn value_name(arg: &Arg) -> &str {
    arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str())
}

/// Values that are words of their own, by option; one that ends in `=` or `:` goes on.
const WORDS: [(&str, &[&str]); 12] = [
    ("cgroupns", &["private", "host", "container:"]),
    ("format", &["table", "json"]),
    ("ipc", &["private", "host", "container:"]),
    ("log-opt", &["max-size=", "max-file="]),
    ("mount", &["type=bind,source=", "type=volume,source=", "type=tmpfs,target="]),
    ("net", &["none", "host", "container:"]),
    ("pid", &["private", "host", "container:"]),
    ("restart", &["no", "on-failure", "always", "unless-stopped"]),
    ("security-opt", &["no-new-privileges=", "label=", "apparmor="]),
    ("type", &["container", "volume"]),
    ("userns", &["host", "auto", "keep-id"]),
    ("uts", &["private", "host", "container:"]),
];

/// What may be given to `arg`.
fn values(place: &Place<'_>, arg: &Arg) -> Vec<Candidate> {
    let possible = arg.get_possible_values();
    if !possible.is_empty() {
        let shown = possible.iter().filter(|value| !value.is_hide_set());
        return shown
            .map(|value| (value.get_name().to_owned(), first_line(value.get_help())))
            .collect();
    }
    match value_name(arg) {
        "CONTAINER" | "CONTAINER|PID" => containers(place),
        "CONTAINER[:ro]" => all_containers(place, "", ""),
        "NAME" if place.line.command.get_name() == "inspect" => {
            [all_containers(place, "", ""), all_volumes(place, "")].concat()
        }
        "VOLUME" => all_volumes(place, ""),
        "SRC:DST[:ro]" => all_volumes(place, ":"),
        "SOURCE" | "DESTINATION" => all_containers(place, "", ":"),
        "SIGNAL" => named(Signal::iterator().filter_map(|s| s.as_str().strip_prefix("SIG"))),
        "CAP" => {
            let known = (0..64).map_while(capabilities::name).map(|name| name.replace("CAP_", ""));
            named(["ALL".to_owned()].into_iter().chain(known))
        }
        "MODE" if place.typed.starts_with("container:") => all_containers(place, "container:", ""),
        _ if arg.get_long() == Some("filter") => filters(place),
        _ => {
            let words = WORDS.iter().find(|(option, _)| arg.get_long() == Some(option));
            named(words.map_or(&[][..], |(_, words)| words).iter().copied())
        }
    }
}

/// What a verb can filter by.
fn filters(place: &Place<'_>) -> Vec<Candidate> {
    if place.typed.starts_with("status=") {
        return named(words::STATES.iter().map(|state| format!("status={state}")));
    }
    let keys: &[&str] = match place.line.command.get_name() {
        "ps" => &ps::KEYS,
        "events" => &events::KEYS,
        "ls" => &["name", "label", "dangling", "driver"],
        _ => &["label", "until"],
    };
    named(keys.iter().map(|key| format!("{key}=")))
}

/// Where the shell may put names of files, too.
fn files(place: &Place<'_>, arg: &Arg) -> &'static str {
    match (arg.get_value_hint(), value_name(arg)) {
        (ValueHint::AnyPath, "DIR" | "ROOTFS") => ":folders\n",
        (ValueHint::AnyPath, _) | (_, "SOURCE" | "DESTINATION") => ":files\n",
        // Of SRC:DST the first is here, the second in the container.
        (_, "SRC:DST[:ro]" | "HOST[:CONTAINER][:rwm]") if !place.typed.contains(':') => ":files\n",
        _ => "",
    }
}

fn named(words: impl IntoIterator<Item = impl Into<String>>) -> Vec<Candidate> {
    words.into_iter().map(|word| (word.into(), String::new())).collect()
}

fn described(record: &Record) -> String {
    output::shorten(&output::shell_words(&record.command), 40)
}

fn all_containers(place: &Place<'_>, before: &str, after: &str) -> Vec<Candidate> {
    let all = place.store().all().into_iter();
    all.map(|c| (format!("{before}{}{after}", c.record.name), described(&c.record))).collect()
}

fn all_volumes(place: &Place<'_>, after: &str) -> Vec<Candidate> {
    let all = volumes::names(&place.store()).into_iter();
    let fresh = all.filter(|name| !place.line.words.contains(&name.as_str()));
    fresh.map(|name| (format!("{name}{after}"), language::say("volume"))).collect()
}

/// The containers that the verb can do something with, but for those that the line names already.
fn containers(place: &Place<'_>) -> Vec<Candidate> {
    let fits = |container: &Container| match (place.line.command.get_name(), container.status()) {
        (
            "attach" | "audit" | "caps" | "kill" | "ns" | "proc" | "seccomp" | "threads" | "top"
            | "tree",
            status,
        ) => status == Status::Running,
        ("exec" | "pause", status) => status == Status::Running && !container.is_paused(),
        ("unpause", _) => container.is_paused(),
        ("stop", status) => matches!(status, Status::Running | Status::Restarting),
        ("start", status) => matches!(status, Status::Created | Status::Exited),
        ("rm", status) => status != Status::Running || place.line.is_given("force"),
        _ => true,
    };
    let fresh = |container: &Container| !place.line.words.contains(&container.record.name.as_str());
    let all = place.store().all().into_iter().filter(|c| fits(c) && fresh(c));
    all.map(|c| (c.record.name.clone(), described(&c.record))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help;

    /// What the line `minibox WORDS` is answered where there are no containers.
    fn asked(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let text = answer(help::command(), &words);
        text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn verbs_and_options_by_their_beginnings() {
        assert_eq!(asked(&["ins"]), ["inspect"]);
        assert_eq!(asked(&["rm", "--fo"]), ["--force"]);
        assert_eq!(asked(&["help", "ver"]), ["version"]);
        assert!(asked(&[""]).contains(&"run".to_owned()));
        assert!(!asked(&[""]).contains(&"steps".to_owned()), "hidden");
        assert_eq!(asked(&["--data-dir", "x", "--debug", "insp"]), ["inspect"]);
        assert!(asked(&["nonsense", ""]).is_empty());
    }

    #[test]
    fn an_option_is_offered_once_unless_it_may_be_repeated() {
        let once = asked(&["run", "-it", "--name", "x", "-e", "A=b", "-"]);
        for gone in ["-i", "--tty", "--name"] {
            assert!(!once.contains(&gone.to_owned()), "{gone}");
        }
        assert!(once.contains(&"--env".to_owned()) && once.contains(&"-d".to_owned()));
    }

    #[test]
    fn values_of_options_in_both_forms() {
        assert_eq!(asked(&["run", "--net", "h"]), ["host"]);
        assert_eq!(asked(&["run", "--net=h"]), ["--net=host"]);
        assert_eq!(asked(&["run", "--network=h"]), ["--network=host"]);
        assert_eq!(asked(&["run", "--dry-run=s"]), ["--dry-run=sh"]);
        assert_eq!(asked(&["run", "--cap-add", "SYS_PT"]), ["SYS_PTRACE"]);
        assert_eq!(asked(&["kill", "-s", "HU"]), ["HUP"]);
        assert_eq!(asked(&["--data-dir", ""]), [":folders"]);
        assert_eq!(asked(&["ps", "-f", "stat"]), ["status="]);
        assert_eq!(asked(&["ps", "--filter=status=ex"]), ["--filter=status=exited"]);
    }

    #[test]
    fn a_containers_own_words_are_its_own() {
        assert_eq!(asked(&["run", ""]), [":folders"]);
        assert_eq!(asked(&["run", "--rm", "--", ""]), [":folders"]);
        for words in [
            &["run", "./rootfs", ""][..],
            &["run", "./rootfs", "ls", "-"],
            &["exec", "web", "sh", "--"],
        ] {
            assert!(asked(words).is_empty(), "{words:?}");
        }
    }
}

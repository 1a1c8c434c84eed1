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

use crate::output;
use crate::store::{Container, Status, Store};

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
    /// The verb, or minibox itself.
    command: &'a Command,
    /// What is being given a value here; none where a verb or an option is to be named.
    arg: Option<&'a Arg>,
    /// `--net=` of `--net=ho`.
    before: &'a str,
    /// `ho` of `--net=ho`.
    typed: &'a str,
    /// May an option stand here? Not after `--`, and not among a container's own words.
    options: bool,
    /// Options on the line, with their values.
    given: Vec<(&'a Arg, &'a str)>,
    /// The words that are no options and no verbs.
    words: Vec<&'a str>,
}

impl Place<'_> {
    fn is_given(&self, id: &str) -> bool {
        self.given.iter().any(|(arg, _)| arg.get_id() == id)
    }

    /// The store that the finished line would use; nothing is made.
    fn store(&self) -> Store {
        let place = |long: &str, variable: &str| {
            let given = self.given.iter().rev().find(|(arg, _)| arg.get_long() == Some(long));
            let given = given.map(|(_, value)| OsString::from(value));
            given.or_else(|| std::env::var_os(variable)).map(PathBuf::from)
        };
        Store::places(place("run-dir", "MINIBOX_RUN_DIR"), place("data-dir", "MINIBOX_DATA_DIR"))
    }
}

/// Reads the line as the parser would, and forgives what the parser would not.
fn locate<'a>(root: &'a Command, words: &'a [String]) -> Place<'a> {
    let (typed, done) = match words {
        [done @ .., typed] => (typed.as_str(), done),
        [] => ("", words),
    };
    let mut place = Place {
        command: root,
        arg: None,
        before: "",
        typed,
        options: true,
        given: Vec::new(),
        words: Vec::new(),
    };
    // An option that waits for its value.
    let mut open: Option<&Arg> = None;
    for word in done {
        if let Some(arg) = open.take() {
            place.given.push((arg, word));
        } else if place.options && word == "--" {
            place.options = false;
        } else if place.options && word.len() > 1 && word.starts_with('-') {
            open = option(place.command, word, &mut place.given);
        } else if let Some(verb) =
            place.command.find_subcommand(word).filter(|_| place.words.is_empty())
        {
            place.command = verb;
        } else {
            place.words.push(word);
            let next = positional(place.command, place.words.len());
            place.options &= !next.is_some_and(Arg::is_trailing_var_arg_set);
        }
    }
    if open.is_some() {
        place.arg = open;
    } else if place.options && typed.starts_with('-') {
        if let Some((name, value)) = typed.split_once('=')
            && let Some(arg) = name.strip_prefix("--").and_then(|name| long(place.command, name))
        {
            (place.before, place.typed) = (&typed[..=name.len()], value);
            place.arg = Some(arg);
        }
    } else {
        place.arg = positional(place.command, place.words.len());
    }
    place
}

fn long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(name)
            || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
    })
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// Notes the option, or several in one word as in `-it`; returns one that takes the next word.
fn option<'a>(
    command: &'a Command,
    word: &'a str,
    given: &mut Vec<(&'a Arg, &'a str)>,
) -> Option<&'a Arg> {
    let waits = |arg: &Arg| takes_value(arg) && !arg.is_require_equals_set();
    if let Some(name) = word.strip_prefix("--") {
        let (name, value) = name.split_once('=').map_or((name, None), |(n, v)| (n, Some(v)));
        let arg = long(command, name)?;
        if value.is_none() && waits(arg) {
            return Some(arg);
        }
        given.push((arg, value.unwrap_or_default()));
        return None;
    }
    for (at, letter) in word.char_indices().skip(1) {
        let arg = command.get_arguments().find(|arg| arg.get_short() == Some(letter))?;
        let rest = &word[at + letter.len_utf8()..];
        if waits(arg) && rest.is_empty() {
            return Some(arg);
        }
        given.push((arg, rest));
        if takes_value(arg) {
            return None;
        }
    }
    None
}

/// What the word after `before` others is to the command; its last one may take many.
fn positional(command: &Command, before: usize) -> Option<&Arg> {
    let last = command.get_positionals().last();
    let repeated = last.filter(|arg| arg.get_num_args().is_some_and(|n| n.max_values() > 1));
    command.get_positionals().nth(before).or(repeated)
}

/// The answer, as the scripts read it.
pub(crate) fn answer(mut root: Command, words: &[String]) -> String {
    root.build();
    let place = locate(&root, words);
    let mut files = "";
    let candidates = match place.arg {
        Some(arg) => {
            files = match (arg.get_value_hint(), value_name(arg)) {
                (ValueHint::Unknown, _) => "",
                (_, "DIR" | "ROOTFS") => ":folders\n",
                _ => ":files\n",
            };
            values(&place, arg)
        }
        None if place.options && place.typed.starts_with('-') => options(&place),
        None if place.words.is_empty() => verbs(place.command),
        None => Vec::new(),
    };
    let mut text = String::new();
    for (word, about) in candidates.iter().filter(|(word, _)| word.starts_with(place.typed)) {
        let _ = writeln!(text, "{}{word}\t{about}", place.before);
    }
    text + files
}

fn verbs(command: &Command) -> Vec<Candidate> {
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs.map(|verb| (verb.get_name().to_owned(), first_line(verb.get_about()))).collect()
}

/// Options that may still be given: one that takes a single value, only once.
fn options(place: &Place<'_>) -> Vec<Candidate> {
    let repeatable = |arg: &Arg| matches!(arg.get_action(), ArgAction::Append | ArgAction::Count);
    let mut options = Vec::new();
    for arg in place.command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        if repeatable(arg) || !place.is_given(arg.get_id().as_str()) {
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
        "CONTAINER" => containers(place),
        "SIGNAL" => named(Signal::iterator().filter_map(|s| s.as_str().strip_prefix("SIG"))),
        "CAP" => named(
            ["ALL".to_owned()]
                .into_iter()
                .chain((0..64).map_while(capabilities::name).map(|name| name.replace("CAP_", ""))),
        ),
        _ => match arg.get_long() {
            Some("net") => named(["none", "host"]),
            _ => Vec::new(),
        },
    }
}

fn named(words: impl IntoIterator<Item = impl Into<String>>) -> Vec<Candidate> {
    words.into_iter().map(|word| (word.into(), String::new())).collect()
}

/// The containers that the verb can do something with, but for those that the line names already.
fn containers(place: &Place<'_>) -> Vec<Candidate> {
    let fits = |container: &Container| match (place.command.get_name(), container.status()) {
        ("exec" | "kill" | "stop", status) => status == Status::Running,
        ("rm", status) => status != Status::Running || place.is_given("force"),
        _ => true,
    };
    let fresh = |container: &Container| !place.words.contains(&container.record.name.as_str());
    let all = place.store().all().into_iter().filter(|c| fits(c) && fresh(c));
    all.map(|Container { record, .. }| {
        (record.name, output::shorten(&output::shell_words(&record.command), 40))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    /// What the line `minibox WORDS` is answered where there are no containers.
    fn asked(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let text = answer(Cli::command(), &words);
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

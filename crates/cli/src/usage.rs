//! What is said of a command line that cannot be parsed.

use std::io::Write;
use std::process::ExitCode;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use minibox_runtime::Error;

use crate::help;
use crate::output;

/// Words of the engines' command line that people's does not have.
const ENGINES: [&str; 21] = [
    "--bundle",
    "--console-socket",
    "--pid-file",
    "--pidfd-socket",
    "--root",
    "--log",
    "--log-format",
    "--systemd-cgroup",
    "--cgroup-manager",
    "--rootless",
    "--no-pivot",
    "--no-new-keyring",
    "--no-subreaper",
    "--keep",
    "state",
    "delete",
    "spec",
    "features",
    "list",
    "checkpoint",
    "restore",
];

/// Docker's and podman's verbs that there are none of, and what to do instead.
const ELSEWHERE: [(&[&str], &str); 8] = [
    (
        &[
            "image", "images", "pull", "push", "login", "logout", "search", "load", "import",
            "save", "tag", "rmi", "history", "manifest",
        ],
        "there are no images: a root filesystem is a folder. `make rootfs` fills one, and so does `docker export CONTAINER | tar -x -C ./rootfs`",
    ),
    (
        &["build", "buildx", "commit"],
        "there are no images to build: `minibox run --rw ROOTFS sh` changes a root filesystem, `minibox export CONTAINER` writes one",
    ),
    (&["network"], "there are no networks to manage: run --net none, host or container:NAME"),
    (
        &["port"],
        "there are no published ports: with run --net host a program listens on the host's own",
    ),
    (
        &["system"],
        "`minibox info`, `minibox events` and `minibox prune` are what system has elsewhere",
    ),
    (
        &[
            "compose", "stack", "swarm", "service", "node", "secret", "config", "pod", "play",
            "kube",
        ],
        "containers are started one by one: `minibox run`",
    ),
    (&["ls"], "`minibox ps` lists containers, `minibox volume ls` volumes"),
    (
        &["daemon", "context", "plugin", "machine"],
        "there is no daemon: every minibox does its own work",
    ),
];

/// Says what is wrong: docker's 125; help and version are no errors.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output::print(&help::told(&error.render().to_string()));
            return ExitCode::SUCCESS;
        }
        ErrorKind::InvalidSubcommand => unknown_verb(error),
        ErrorKind::UnknownArgument => unknown_argument(error),
        // As without any word: an option, or a variable, tells nothing of what is wanted.
        ErrorKind::MissingSubcommand => to_stderr(&help_of(&verb_of(error))),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            to_stderr(&error.render().to_string());
        }
        _ => output::error(&wrong_words(error)),
    }
    ExitCode::from(125)
}

fn to_stderr(help: &str) {
    let _ = std::io::stderr().write_all(help::told(help).as_bytes());
}

/// What clap says in English only, in words of ours.
fn wrong_words(error: &clap::Error) -> Error {
    let plain =
        |arg: &String| match arg.split(['<', '>', '[', ']', '=', ' ']).find(|s| !s.is_empty()) {
            Some(name) => name.to_owned(),
            None => arg.clone(),
        };
    let args = |kind| context(error, kind).iter().map(plain).collect::<Vec<_>>().join(", ");
    let arg = args(ContextKind::InvalidArg);
    let value = context(error, ContextKind::InvalidValue).concat();
    let verb = verb_of(error);
    let look = match verb.as_str() {
        "" => String::from("`minibox VERB --help` shows what a verb takes"),
        verb => format!("`{verb} --help` shows what it takes"),
    };
    let right = match context(error, ContextKind::ValidValue).join(", ") {
        none if none.is_empty() => look.clone(),
        right => format!("it may be {right}"),
    };
    match error.kind() {
        ErrorKind::InvalidValue if value.is_empty() => {
            Error::new(format!("{arg} needs a value")).hint(right)
        }
        ErrorKind::InvalidValue => {
            Error::new(format!("{value:?} is no value for {arg}")).hint(right)
        }
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error).map_or(look, ToString::to_string);
            Error::new(format!("{value:?} is no value for {arg}")).hint(why)
        }
        ErrorKind::ArgumentConflict => match args(ContextKind::PriorArg) {
            other if other == arg => Error::new(format!("{arg} can be given only once")),
            other => Error::new(format!("{arg} cannot be used with {other}")),
        },
        ErrorKind::MissingRequiredArgument => {
            let verb = verb.trim_start_matches("minibox ");
            Error::new(format!("{verb} needs {arg}")).hint(look)
        }
        ErrorKind::NoEquals => Error::new(format!("{arg} takes its value behind an equals sign"))
            .hint(format!("{arg}=VALUE")),
        ErrorKind::TooManyValues => Error::new(format!("{arg} takes no further value {value:?}")),
        ErrorKind::InvalidUtf8 => Error::new("a word of the command line is not UTF-8"),
        _ => Error::new("this command line cannot be understood").hint(look),
    }
}

/// The help of `minibox volume`.
fn help_of(verb: &str) -> String {
    let mut root = help::command();
    root.build();
    let found = |command: Option<Command>, word| command?.find_subcommand(word).cloned();
    let verb = verb.split(' ').skip(1).fold(Some(root), found);
    verb.map_or_else(String::new, |mut verb| verb.render_help().to_string())
}

fn context(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(word)) => vec![word.clone()],
        Some(ContextValue::Strings(words)) => words.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        _ => Vec::new(),
    }
}

/// `minibox volume create`, as the error's usage has it.
fn verb_of(error: &clap::Error) -> String {
    let usage = context(error, ContextKind::Usage).concat();
    let usage = usage.trim_start_matches("Usage:").split_whitespace();
    let is_word = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    usage.take_while(is_word).collect::<Vec<_>>().join(" ")
}

/// "did you mean X? ", or nothing; clap has the best of them last.
fn did_you_mean(words: &[String]) -> String {
    words.last().map_or_else(String::new, |word| format!("did you mean `{word}`? "))
}

/// "minibox run has no", and "there is no" for minibox itself.
fn without(verb: &str, what: &str) -> String {
    match verb.strip_prefix("minibox ") {
        Some(verb) => format!("{verb} has no {what}"),
        None => format!("there is no {what}"),
    }
}

fn is_of_engines(word: &str) -> bool {
    let is_known = ENGINES.contains(&word);
    if is_known {
        output::note(&format!(
            "{word} belongs to the engines' command line: call minibox-oci for that"
        ));
    }
    is_known
}

fn unknown_verb(error: &clap::Error) {
    let word = context(error, ContextKind::InvalidSubcommand).concat();
    let verb = verb_of(error);
    if verb == "minibox" && is_of_engines(&word) {
        return;
    }
    let elsewhere = ELSEWHERE.iter().find(|(words, _)| words.contains(&word.as_str()));
    let hint = elsewhere.filter(|_| verb == "minibox").map_or_else(
        || {
            let similar = did_you_mean(&context(error, ContextKind::SuggestedSubcommand));
            similar + &format!("`{verb} --help` lists all verbs")
        },
        |(_, instead)| (*instead).to_owned(),
    );
    output::error(&Error::new(without(&verb, &format!("verb {word:?}"))).hint(hint));
}

fn unknown_argument(error: &clap::Error) {
    let word = context(error, ContextKind::InvalidArg).concat();
    let word = word.split('=').next().unwrap_or_default();
    let verb = verb_of(error);
    if is_of_engines(word) {
        return;
    }
    let similar = did_you_mean(&context(error, ContextKind::SuggestedArg));
    let (what, hint) = match (verb.as_str(), word.starts_with('-')) {
        ("minibox ps" | "minibox container ps", false) => (
            format!("ps takes no {word:?}"),
            "it lists containers; `minibox top CONTAINER` lists a container's processes, and ps(1) this machine's".to_owned(),
        ),
        (_, false) => (
            format!("{verb} takes no further word {word:?}"),
            format!("`{verb} --help` shows what it takes"),
        ),
        (_, true) => (
            without(&verb, &format!("option {word}")),
            similar + &format!("`{verb} --help` lists all"),
        ),
    };
    output::error(&Error::new(what).hint(hint));
}

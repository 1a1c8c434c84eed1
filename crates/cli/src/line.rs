//! A command line as the parser's table reads it, finished or not: which options were given with which
//! values, and where the words begin that are a container's own.

use clap::{Arg, ArgAction, Command};

/// What a line says, and what may follow.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// The verb, or minibox itself.
    pub command: &'a Command,
    /// Options, with their values.
    pub given: Vec<(&'a Arg, Option<&'a str>)>,
    /// The words that are no options and no verbs.
    pub words: Vec<&'a str>,
    /// An option at the end that waits for its value.
    pub open: Option<&'a Arg>,
    /// May an option follow? Not after `--`, and not among a container's own words.
    pub options: bool,
}

impl<'a> Line<'a> {
    /// Reads what stands after `minibox`, and forgives what the parser would not. `root` is built.
    pub(crate) fn read(root: &'a Command, typed: &'a [String]) -> Line<'a> {
        let mut line =
            Line { command: root, given: Vec::new(), words: Vec::new(), open: None, options: true };
        for word in typed {
            if let Some(arg) = line.open.take() {
                line.given.push((arg, Some(word)));
            } else if line.options && word == "--" {
                line.options = false;
            } else if line.options && word.len() > 1 && word.starts_with('-') {
                line.read_option(word);
            } else if let Some(verb) = line.verb(word) {
                line.command = verb;
            } else {
                line.words.push(word);
                let next = positional(line.command, line.words.len());
                line.options &= !next.is_some_and(Arg::is_trailing_var_arg_set);
            }
        }
        line
    }

    fn verb(&self, word: &str) -> Option<&'a Command> {
        self.command.find_subcommand(word).filter(|_| self.words.is_empty())
    }

    /// One option, or several in one word as in `-it`.
    fn read_option(&mut self, word: &'a str) {
        if let Some(name) = word.strip_prefix("--") {
            let (name, value) = name.split_once('=').map_or((name, None), |(n, v)| (n, Some(v)));
            if let Some(arg) = long(self.command, name) {
                self.note(arg, value);
            }
            return;
        }
        for (at, letter) in word.char_indices().skip(1) {
            let short = |arg: &&Arg| arg.get_short() == Some(letter);
            let Some(arg) = self.command.get_arguments().find(short) else { return };
            let rest = &word[at + letter.len_utf8()..];
            if takes_value(arg) {
                let rest = rest.strip_prefix('=').unwrap_or(rest);
                return self.note(arg, Some(rest).filter(|rest| !rest.is_empty()));
            }
            self.note(arg, None);
        }
    }

    fn note(&mut self, arg: &'a Arg, value: Option<&'a str>) {
        if value.is_none() && takes_value(arg) && !arg.is_require_equals_set() {
            self.open = Some(arg);
        } else {
            self.given.push((arg, value));
        }
    }

    pub(crate) fn is_given(&self, id: &str) -> bool {
        self.given.iter().any(|(arg, _)| arg.get_id() == id)
    }

    /// The last value that option `id` was given.
    pub(crate) fn value_of(&self, id: &str) -> Option<&'a str> {
        self.given.iter().rev().find(|(arg, _)| arg.get_id() == id).and_then(|(_, value)| *value)
    }
}

/// The option called `--name`.
pub(crate) fn long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(name)
            || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
    })
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// What the word after `before` others is to the command; its last one may take many.
pub(crate) fn positional(command: &Command, before: usize) -> Option<&Arg> {
    let last = command.get_positionals().last();
    let repeated = last.filter(|arg| arg.get_num_args().is_some_and(|n| n.max_values() > 1));
    command.get_positionals().nth(before).or(repeated)
}

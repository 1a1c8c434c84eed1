//! A command line as Go's flag parser would read it, put as clap wants it: `-long` for `--long`, `--switch=true`,
//! values that begin with a dash, and for `exec` and `ps` nothing but the program's own words behind the ID.

use clap::{Arg, ArgAction, Command};

/// The words behind the program's name.
pub(crate) fn tidy(table: &Command, words: &[String]) -> Vec<String> {
    let (mut tidied, mut words) = (Vec::new(), words.iter());
    let mut command = table;
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
            tidied.push(word.clone());
            if std::ptr::eq(command, table) {
                // The verb; one that does not exist is told so by clap.
                command = table.find_subcommand(word).unwrap_or(command);
                if takes_only_rest(command) {
                    take_rest(&mut tidied, &mut words);
                }
            } else if takes_rest(command) {
                take_rest(&mut tidied, &mut words);
            }
            continue;
        };
        if flag == "-" {
            tidied.push(word.clone());
            tidied.extend(words.by_ref().cloned());
            break;
        }
        let (name, value) = match flag.trim_start_matches('-').split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag.trim_start_matches('-'), None),
        };
        let known = command.get_arguments().find(|arg| is_called(arg, name));
        match known.map(|arg| (arg, takes_value(arg))) {
            None => tidied.push(word.clone()),
            Some((arg, true)) => {
                let value = value.map(str::to_owned).or_else(|| words.next().cloned());
                match value {
                    Some(value) => tidied.push(format!("{}={value}", dashed(arg))),
                    None => tidied.push(dashed(arg)),
                }
            }
            Some((_, false)) if value.is_some_and(|v| matches!(v, "false" | "0" | "f" | "F")) => {}
            Some((arg, false)) => tidied.push(dashed(arg)),
        }
    }
    tidied
}

fn is_called(arg: &Arg, name: &str) -> bool {
    let short = arg.get_short().map(String::from);
    arg.get_long() == Some(name) || short.as_deref() == Some(name)
}

fn dashed(arg: &Arg) -> String {
    format!("--{}", arg.get_long().unwrap_or_default())
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn take_rest<'a>(tidied: &mut Vec<String>, words: &mut impl Iterator<Item = &'a String>) {
    tidied.push(String::from("--"));
    tidied.extend(words.cloned());
}

fn takes_only_rest(command: &Command) -> bool {
    takes_rest(command) && command.get_arguments().count() == 1
}

fn takes_rest(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_trailing_var_arg_set)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::oci::args::Cli;

    #[test]
    fn as_go_reads_it() {
        for (given, wanted) in [
            ("create ID --bundle D", "create ID --bundle=D"),
            ("create -b D -no-new-keyring ID", "create --bundle=D --no-new-keyring ID"),
            ("events --interval=5s ID", "events --interval=5s ID"),
            ("-root /r list -f json", "--root=/r list --format=json"),
            ("delete -f=true ID", "delete --force ID"),
            ("delete --force=false ID", "delete ID"),
            ("update --resources - ID", "update --resources=- ID"),
            ("update --memory-swap -1 ID", "update --memory-swap=-1 ID"),
            ("exec -d -t ID ls -l --help", "exec --detach --tty ID -- ls -l --help"),
            ("exec ID -- ls -l", "exec ID -- -- ls -l"),
            ("ps ID -ef", "ps ID -- -ef"),
            ("kill --all ID 9", "kill --all ID 9"),
            ("checkpoint --help", "checkpoint -- --help"),
            ("-v", "--version"),
            ("create --nonsense ID", "create --nonsense ID"),
        ] {
            let words: Vec<String> = given.split(' ').map(str::to_owned).collect();
            assert_eq!(tidy(&Cli::command(), &words).join(" "), wanted);
        }
    }
}

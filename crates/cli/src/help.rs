//! What the help says beside verbs and flags: the verbs in groups, examples for each, and docker's
//! long forms, `minibox container ls`.

use std::ffi::OsStr;
use std::fmt::Write as _;

use clap::builder::Resettable;
use clap::{Arg, Command, CommandFactory, FromArgMatches};

use crate::args::Cli;
use crate::language;

/// The verbs, as the help groups them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Run", &["run", "create", "start", "exec", "attach"]),
    ("Look", &["ps", "inspect", "logs", "top", "stats", "diff", "events", "info"]),
    (
        "See inside",
        &[
            "watch", "tree", "ns", "threads", "mem", "proc", "mounts", "net", "caps", "seccomp",
            "audit", "why",
        ],
    ),
    ("Change", &["pause", "unpause", "update", "rename", "cp", "export"]),
    ("End and remove", &["stop", "restart", "kill", "wait", "rm", "prune", "gc"]),
    ("More", &["lab", "volume", "generate", "container", "completion", "version", "help"]),
];

/// Those that docker has below `container` too.
const OF_CONTAINERS: [&str; 23] = [
    "attach", "cp", "create", "diff", "exec", "export", "inspect", "kill", "logs", "pause",
    "prune", "ps", "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause",
    "update", "wait",
];

const EXAMPLES: &[(&str, &str)] = &[
    (
        "run",
        "\
minibox run ./rootfs python while_loop.py 3    a program, isolated
minibox run -it --rm ./rootfs sh               a shell, gone when it ends
minibox run -d --name web -v ./site:/site:ro ./rootfs python -m http.server
minibox run -d --restart unless-stopped ./rootfs sleep 1000
minibox run -m 64m --cpus 0.5 --pids-limit 20 ./rootfs sh
minibox run --net host -u 1000:1000 ./rootfs id
minibox run --explain ./rootfs true            every step, as it is done",
    ),
    (
        "create",
        "\
minibox create --name web ./rootfs python -m http.server
minibox start web",
    ),
    (
        "start",
        "\
minibox start web db        in the background
minibox start -ai shell     with its output, and your input",
    ),
    (
        "exec",
        "\
minibox exec web ps -ef                  look at its processes from inside
minibox exec -it web sh                  a shell in a running container
minibox exec -u nobody -e A=b web env    as another user, with a variable",
    ),
    (
        "attach",
        "\
minibox attach shell                     ctrl-p ctrl-q leaves it running
minibox attach --no-stdin web            only look",
    ),
    (
        "ps",
        "\
minibox ps -a                            also those that have ended
minibox ps -a -f status=exited -q        ids only, for scripts
minibox ps --format '{{.Names}}\t{{.Status}}'",
    ),
    (
        "inspect",
        "\
minibox inspect web
minibox inspect --format '{{.State.Pid}}' web",
    ),
    (
        "logs",
        "\
minibox logs -f web                      go on until it ends
minibox logs -t --since 10m --tail 20 web",
    ),
    (
        "top",
        "\
minibox top web
minibox top web -eo pid,ppid,comm        with options of ps(1)",
    ),
    (
        "watch",
        "\
minibox watch                            all containers; keys stand below
minibox watch --interval 0.2 web",
    ),
    (
        "tree",
        "\
minibox tree                             all of this host, with both numbers
minibox tree --threads web               a container, and who stands above it",
    ),
    (
        "ns",
        "\
minibox ns web                           what it shares with this host
minibox ns web db                        what two of them share",
    ),
    (
        "threads",
        "\
minibox threads web                      of a container's first process
minibox threads --watch 25514            of any process, again and again",
    ),
    (
        "proc",
        "\
minibox proc web                         questions, and the files that answer
minibox proc 25514 status                one file, line by line",
    ),
    (
        "seccomp",
        "\
minibox seccomp web                      of a container's first process
minibox seccomp 25514                    of any process on this host",
    ),
    (
        "audit",
        "\
minibox audit                            all that run, in a line each
minibox audit web                        what an attacker in it could do
minibox audit --self                     this shell
minibox audit --fail-under 80 web        exit code 1 where it is worse",
    ),
    (
        "why",
        "\
minibox why web                          running or not
minibox why 25514                        of any process on this host",
    ),
    (
        "caps",
        "\
minibox caps web                         of a container's first process
minibox caps 25514                       of any process on this host",
    ),
    (
        "stats",
        "\
minibox stats                            all that run, until Ctrl-C
minibox stats --no-stream web
minibox stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}}'",
    ),
    (
        "mounts",
        "\
minibox mounts web                       where a container's files come from
minibox mounts self                      this host's, as you see them",
    ),
    (
        "net",
        "\
minibox net web                          whom a container can reach
minibox net --watch 25514                who is connected",
    ),
    (
        "mem",
        "\
minibox mem web                          stack, heap, data, code
minibox mem --watch 25514                what grows, and where
minibox mem --all self                   every mapping",
    ),
    ("diff", "minibox diff web                         A added, C changed, D deleted"),
    (
        "events",
        "\
minibox events                           until Ctrl-C
minibox events -f container=web --since 1h --until 0s",
    ),
    (
        "lab",
        "\
minibox lab                              all lessons, and how far you are
minibox lab process                      one of them",
    ),
    ("info", "minibox info --advice                    how to switch on what is missing"),
    ("pause", "minibox pause web; minibox unpause web"),
    ("unpause", "minibox unpause web"),
    ("update", "minibox update -m 128m --restart always web"),
    ("rename", "minibox rename calm-otter web"),
    (
        "cp",
        "\
minibox cp web:/var/log/app.log .
minibox cp ./page.html web:/site/
minibox cp web:/etc - | tar -t           as a tar archive",
    ),
    (
        "export",
        "\
minibox export web | tar -x -C ./copy    a root filesystem of its own
minibox export -o web.tar web",
    ),
    (
        "stop",
        "\
minibox stop web
minibox stop -t 30 web db                half a minute to end by themselves",
    ),
    ("restart", "minibox restart -t 2 web"),
    (
        "kill",
        "\
minibox kill web
minibox kill -s HUP web",
    ),
    ("wait", "minibox wait web; minibox rm web"),
    (
        "rm",
        "\
minibox rm web
minibox rm -f web db                     running or not",
    ),
    ("prune", "minibox prune -f --volumes"),
    (
        "gc",
        "\
minibox gc                               only look
minibox gc --force",
    ),
    (
        "volume",
        "\
minibox volume create data
minibox run -v data:/data ./rootfs sh -c 'echo hello > /data/greeting'
minibox volume ls",
    ),
    (
        "generate",
        "\
minibox generate systemd --name --files web    writes container-web.service
mv container-web.service /etc/systemd/system/
systemctl enable --now container-web           it starts with the machine",
    ),
    (
        "completion",
        "\
source <(minibox completion bash)        in ~/.bashrc
source <(minibox completion zsh)         in ~/.zshrc, after compinit
minibox completion fish | source         in ~/.config/fish/config.fish",
    ),
];

/// The command line with all that is said about it.
pub(crate) fn command() -> Command {
    let root = translated(grammar());
    let groups = groups(&root);
    root.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}{{after-help}}"
    ))
}

fn grammar() -> Command {
    let container = Command::new("container")
        .about("The same verbs in docker's long form: container ls, …")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .defer(|container| container.subcommands(of_containers()));
    // An empty variable is none, as elsewhere.
    Cli::command().mut_subcommands(with_examples).subcommand(container).mut_args(|arg| {
        match arg.get_env().and_then(std::env::var_os) {
            Some(value) if value.is_empty() => arg.env(Resettable::Reset),
            _ => arg,
        }
    })
}

fn with_examples(verb: Command) -> Command {
    match EXAMPLES.iter().find(|(name, _)| *name == verb.get_name()) {
        Some((_, lines)) => {
            verb.after_help(format!("Examples:\n  {}", lines.replace('\n', "\n  ")))
        }
        None => verb,
    }
}

/// The same command line, told in the language that is spoken. What clap itself says is left to
/// [`told`].
fn translated(mut command: Command) -> Command {
    if !language::is_foreign() {
        return command;
    }
    if let Some(about) = command.get_about().map(ToString::to_string) {
        command = command.about(language::say(&about));
    }
    if let Some(text) = command.get_after_help().map(ToString::to_string) {
        let line = |line: &str| match remark_of(line) {
            Some(remark) => line.replace(remark, &language::say(remark)),
            None => line.to_owned(),
        };
        command = command.after_help(text.lines().map(line).collect::<Vec<_>>().join("\n"));
    }
    let arg = |arg: Arg| {
        let help = arg.get_help().map(|help| language::say(&help.to_string())).unwrap_or_default();
        match arg.get_env().filter(|_| !arg.is_hide_env_set()).and_then(OsStr::to_str) {
            Some(name) => {
                let help = format!("{help} {}", language::say(&format!("[env: {name}]")));
                arg.help(help).hide_env(true)
            }
            None => arg.help(help),
        }
    };
    command.mut_args(arg).mut_subcommands(translated)
}

/// "Options" of "Options:", "Usage" of "Usage: minibox".
pub(crate) fn heading_of(line: &str) -> Option<&str> {
    let (heading, rest) = line.split_once(':')?;
    (heading == "Usage" || rest.is_empty() && !line.starts_with(' ')).then_some(heading)
}

/// What is said about the command of an example's line, some blanks behind it.
pub(crate) fn remark_of(line: &str) -> Option<&str> {
    line.trim_start().rsplit_once("   ").map(|(_, remark)| remark)
}

/// What clap says about flags and verbs of its own making.
pub(crate) const OF_CLAP: [&str; 5] = [
    "Print help",
    "Print help (see a summary with '-h')",
    "Print help (see more with '--help')",
    "Print version",
    "Print this message or the help of the given subcommand(s)",
];
/// What clap puts around values; the colon stays on the line if the rest does not.
pub(crate) const MARKS: [&str; 5] =
    ["[default:", "[alias:", "[aliases:", "[possible values:", "Possible values:"];

/// A rendered help in the language that is spoken: headings, and clap's own words.
pub(crate) fn told(help: &str) -> String {
    if !language::is_foreign() {
        return help.to_owned();
    }
    let mut text = String::new();
    for line in help.lines() {
        let mut line = match heading_of(line) {
            Some(heading) => line.replacen(heading, &language::say(heading), 1),
            None => line.to_owned(),
        };
        for mark in MARKS {
            line = line.replace(mark, &language::say(mark));
        }
        let known = OF_CLAP.iter().find_map(|words| Some((line.strip_suffix(words)?, words)));
        if let Some((before, words)) = known {
            line = before.to_owned() + &language::say(words);
        }
        text += &(line + "\n");
    }
    text
}

/// The verbs of `minibox container`.
fn of_containers() -> Vec<Command> {
    let root = Cli::command().mut_subcommands(with_examples);
    let verbs = root.get_subcommands().filter(|verb| OF_CONTAINERS.contains(&verb.get_name()));
    let with_aliases = |verb: Command| match verb.get_name() {
        "ps" => verb.visible_aliases(["ls", "list"]),
        _ => verb,
    };
    verbs.cloned().map(with_aliases).map(translated).collect()
}

/// What a person has typed; `container ps` is `ps`.
pub(crate) fn parse() -> clap::error::Result<Cli> {
    // What is said about it is put together, and translated, only where it is asked for.
    let matches = grammar().try_get_matches().or_else(|_| command().try_get_matches())?;
    match matches.subcommand() {
        Some(("container", inner)) => Cli::from_arg_matches(inner),
        _ => Cli::from_arg_matches(&matches),
    }
}

/// The verbs under their headings.
fn groups(root: &Command) -> String {
    let mut text = String::new();
    for (heading, names) in GROUPS {
        let _ = writeln!(text, "{heading}:");
        for name in *names {
            let about = root.find_subcommand(name).and_then(Command::get_about);
            let about = about.map_or_else(|| language::say("Show help"), ToString::to_string);
            let _ = writeln!(text, "  {name:<12}{about}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_stands_in_one_group_and_has_examples() {
        let root = command();
        for verb in root.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name();
            let groups = GROUPS.iter().flat_map(|(_, names)| *names);
            assert_eq!(groups.filter(|listed| **listed == name).count(), 1, "{name}");
            let has_examples = verb.get_after_help().is_some();
            assert!(has_examples || ["version", "container"].contains(&name), "{name}");
        }
        for line in EXAMPLES.iter().flat_map(|(_, lines)| lines.lines()) {
            assert!(line.len() < 78, "{line} is wrapped on a usual terminal");
        }
    }

    #[test]
    fn examples_are_understood() {
        let lines = EXAMPLES.iter().flat_map(|(_, lines)| lines.lines());
        let typed = lines.map(|line| line.split("   ").next().unwrap_or_default());
        let is_one_command = |line: &&str| !line.contains(['\'', '|', ';', '>', '<']);
        for line in typed.filter(|line| line.starts_with("minibox ")).filter(is_one_command) {
            let read = command().try_get_matches_from(line.split_whitespace());
            assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
        }
    }

    #[test]
    fn the_table_of_flags_is_sound() {
        command().debug_assert();
    }
}

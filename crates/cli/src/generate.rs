//! `minibox generate systemd`: a unit that starts a container with the machine, or with a user's session.
//!
//! The unit's main process is a client in the foreground: it ends when the container ends, with its exit
//! code, and shows systemd's journal what it prints. So systemd sees what happens, and nothing has to be
//! guessed from PID files.

use std::fmt::Write as _;
use std::path::PathBuf;

use minibox_runtime::{Error, Result, spec};

use crate::args::GenerateSystemdArgs;
use crate::help;
use crate::line::Line;
use crate::living;
use crate::output;
use crate::settings::Restart;
use crate::store::{Record, Store};
use crate::wishes::bad;

/// systemd.service(5), `Restart=`.
const POLICIES: [&str; 7] =
    ["no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always"];

/// Options that are the unit's to say, or have no place in one.
const LEFT_OUT: [&str; 13] = [
    "run_dir",
    "data_dir",
    "debug",
    "detach",
    "rm",
    "name",
    "restart",
    "cidfile",
    "quiet",
    "explain",
    "dry_run",
    "step",
    "preserve_fds",
];

/// `minibox generate systemd`.
pub(crate) fn systemd(store: &Store, args: &GenerateSystemdArgs) -> Result<u8> {
    if !POLICIES.contains(&args.restart_policy.as_str()) {
        return Err(bad("--restart-policy", &args.restart_policy, &POLICIES.join(", ")));
    }
    let container = living::find(store, &args.container)?;
    let record = &container.record;
    if record.auto_remove && !args.new {
        return Err(Error::new(format!(
            "{} was made with --rm: it is gone when it ends, and cannot be started again",
            record.name
        ))
        .hint("with --new the unit makes it at every start"));
    }
    if record.settings.restart != Restart::No && !args.new {
        output::note(&format!(
            "{0} has a restart policy of its own, beside the unit's: `minibox update --restart no {0}` leaves it to the unit",
            record.name
        ));
    }
    let handle = if args.name || args.new { &record.name } else { &record.id };
    let file = format!("container-{}.service", if args.name { &record.name } else { &record.id });
    let unit = Unit { store, args, record, handle, minibox: own_words(store)? };
    let text = unit.text(&file)?;
    if !args.files {
        output::print(&text);
        return Ok(0);
    }
    let path = std::path::absolute(&file).unwrap_or_else(|_| PathBuf::from(&file));
    std::fs::write(&path, text).map_err(|e| Error::of_io("write", &path, &e))?;
    output::print(&format!("{}\n", path.display()));
    Ok(0)
}

struct Unit<'a> {
    store: &'a Store,
    args: &'a GenerateSystemdArgs,
    record: &'a Record,
    /// What the unit calls the container.
    handle: &'a str,
    /// How it calls minibox.
    minibox: Vec<String>,
}

impl Unit<'_> {
    fn text(&self, file: &str) -> Result<String> {
        let Unit { record, handle, .. } = self;
        let seconds = self.args.time.map_or(record.settings.stop_timeout, i64::from);
        // systemd waits a little longer than minibox does.
        let limit = if seconds < 0 { "infinity".to_owned() } else { (seconds + 60).to_string() };
        let stop = format!("stop --time={seconds} {handle}");
        let mut text = format!(
            "# {file}\n# Made by minibox {}\n\n[Unit]\nDescription=minibox container {}\nDocumentation=man:minibox-generate-systemd(1)\n",
            env!("CARGO_PKG_VERSION"),
            record.name
        );
        if nix::unistd::Uid::effective().is_root() {
            text += "Wants=network-online.target\nAfter=network-online.target\n";
        }
        // Only in command lines is a dollar anything.
        let path = |path: &PathBuf| word(&path.to_string_lossy()).replace("$$", "$");
        let needed = [&self.store.data, &record.rootfs].map(path);
        let _ = writeln!(text, "RequiresMountsFor={}\n", needed.join(" "));
        let _ = writeln!(
            text,
            "[Service]\nType=exec\nRestart={}\nTimeoutStopSec={limit}",
            self.args.restart_policy
        );
        // A program that ends when it is asked to has not failed.
        text += "SuccessExitStatus=143\nKillMode=mixed\n";
        let call = |words: &str| format!("{} {words}", words_of(&self.minibox));
        if self.args.new {
            let _ = writeln!(
                text,
                "WorkingDirectory={}",
                record.typed.folder.display().to_string().replace('%', "%%")
            );
            let _ = writeln!(text, "ExecStartPre={}", call(&format!("rm --force {handle}")));
            let words = words_of(&self.run()?);
            let _ = writeln!(text, "ExecStart={}", call(&words));
        } else {
            let _ = writeln!(text, "ExecStart={}", call(&format!("start --attach {handle}")));
        }
        let _ = writeln!(text, "ExecStop={}", call(&stop));
        // Also where the client was killed: the container does not go with it.
        let last = if self.args.new { format!("rm --force {handle}") } else { stop };
        let _ = writeln!(text, "ExecStopPost={}", call(&last));
        text += "\n[Install]\nWantedBy=default.target\n";
        Ok(text)
    }

    /// `run` with everything the container was made with.
    fn run(&self) -> Result<Vec<String>> {
        let mut root = help::command();
        root.build();
        let line = Line::read(&root, &self.record.typed.words);
        let mut words = ["run", "--rm", "--name", self.handle].map(str::to_owned).to_vec();
        for (arg, value) in &line.given {
            let (id, long) = (arg.get_id().as_str(), arg.get_long().unwrap_or_default());
            match value {
                _ if LEFT_OUT.contains(&id) => {}
                Some(key) if id == "env" && !key.contains('=') => {
                    words.extend(self.variable(key)?.map(|pair| format!("--env={pair}")));
                }
                Some(value) => words.push(format!("--{long}={value}")),
                None => words.push(format!("--{long}")),
            }
        }
        words.push("--".to_owned());
        words.extend(line.words.iter().map(ToString::to_string));
        Ok(words)
    }

    /// The variable that `-e KEY` took from the environment that the container was made in.
    fn variable(&self, key: &str) -> Result<Option<String>> {
        let config = spec::load(&self.store.folder(&self.record.id))?;
        let process = config.process().as_ref().and_then(|process| process.env().as_ref());
        let start = format!("{key}=");
        Ok(process.and_then(|env| env.iter().find(|pair| pair.starts_with(&start)).cloned()))
    }
}

/// How to call this minibox, with the store it was told to use.
fn own_words(store: &Store) -> Result<Vec<String>> {
    let mut words = vec![own_path()?.display().to_string()];
    let usual = Store::places(None, None);
    for (option, place, usual) in
        [("run", &store.run, &usual.run), ("data", &store.data, &usual.data)]
    {
        if place != usual {
            words.push(format!("--{option}-dir={}", place.display()));
        }
    }
    Ok(words)
}

/// Where this program lies: as it was called, since /proc/self/exe may be its sealed copy.
pub(crate) fn own_path() -> Result<PathBuf> {
    let called = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    let path = if called.components().count() > 1 {
        std::path::absolute(&called).ok()
    } else {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&folders).map(|folder| folder.join(&called));
        found.filter_map(|path| std::path::absolute(path).ok()).find(|path| path.is_file())
    };
    path.ok_or_else(|| {
        Error::new("this program does not know where it lies")
            .hint("call it by its whole path: /usr/bin/minibox")
    })
}

fn words_of(words: &[String]) -> String {
    words.iter().map(|text| word(text)).collect::<Vec<_>>().join(" ")
}

/// One word of a command line, as systemd.service(5) reads it back.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./=:,+@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '%' => quoted.push_str("%%"),
            '$' => quoted.push_str("$$"),
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            other if other.is_control() => {
                let _ = write!(quoted, "\\x{:02x}", other as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_systemd() {
        for (text, quoted) in [
            ("plain-word", "plain-word"),
            ("", r#""""#),
            ("two words", r#""two words""#),
            ("100%", r#""100%%""#),
            ("$HOME", r#""$$HOME""#),
            (r#"a"b\c"#, r#""a\"b\\c""#),
            ("two\nlines", r#""two\nlines""#),
            ("한글", "한글"),
        ] {
            assert_eq!(word(text), quoted);
        }
    }
}

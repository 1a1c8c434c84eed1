//! The engines' personality: `minibox-oci`, also when called `runc` or `crun`. No prompt, no colour, no
//! monitor, English only; what is printed and how it fails is what engines read.

mod args;
mod create;
mod events;
mod exec;
mod features;
mod log;
mod show;
mod update;
mod words;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use minibox_runtime::container::{self, Cgroups};
use minibox_runtime::{Blame, Error, Result};
use nix::unistd::{AccessFlags, Uid, access};

use crate::config::SPEC_VERSION;
use crate::output;
use crate::seal;
use crate::signals;
use crate::views::version;
use args::{Cli, Verb};

/// Does what the command line asks for.
pub(crate) fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let tidied = words::tidy(&Cli::command(), &words);
    let cli = match Cli::try_parse_from(std::iter::once(String::from("minibox-oci")).chain(tidied))
    {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let text = error.render().to_string();
            let line = match error.get(clap::error::ContextKind::InvalidSubcommand) {
                Some(verb) => format!("No help topic for '{verb}': there is no such command"),
                None => {
                    text.lines().next().unwrap_or_default().trim_start_matches("error: ").into()
                }
            };
            return fail(None, log::Format::Text, &Error::new(line), 1);
        }
        Err(help) => {
            output::print(&help.render().to_string());
            return ExitCode::SUCCESS;
        }
    };
    if cli.version {
        output::print(&format!(
            "minibox-oci version {}\ncommit: {}\nspec: {SPEC_VERSION}\n",
            version::VERSION,
            version::commit()
        ));
        return ExitCode::SUCCESS;
    }
    // A caller who ignores it would have the kernel throw exit statuses away.
    minibox_runtime::sys::default_signal(libc::SIGCHLD);
    // Before any verb enters a bundle.
    let log = cli.log.as_ref().map(|log| std::path::absolute(log).unwrap_or_else(|_| log.clone()));
    let format = if cli.log_format == "json" { log::Format::Json } else { log::Format::Text };
    log::begin(log.clone(), format, cli.debug);
    let code = if matches!(cli.verb, Some(Verb::Exec(_))) { 255 } else { 1 };
    match drive(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(log.as_deref(), format, &error, code),
    }
}

fn drive(cli: &Cli) -> Result<u8> {
    let cgroups = check_globals(cli)?;
    let Some(verb) = &cli.verb else {
        output::print(&Cli::command().render_help().to_string());
        return Ok(0);
    };
    let root = cli.root.clone().unwrap_or_else(default_root);
    let root = std::path::absolute(&root).map_err(|e| Error::of_io("find", &root, &e))?;
    let root = root.as_path();
    match verb {
        Verb::Create(args) => {
            seal::ensure();
            create::create(root, args, cgroups)
        }
        Verb::Run(args) => {
            seal::ensure();
            create::run(root, args, cgroups)
        }
        Verb::Start(args) => {
            if create::has_start_hooks(root, &args.id) {
                seal::ensure();
            }
            container::start(root, &args.id).map(|()| 0)
        }
        Verb::Exec(args) => {
            seal::ensure();
            exec::exec(root, args)
        }
        Verb::State(args) => show::state(root, &args.id),
        Verb::Kill(args) => {
            // 0 only asks whether it could be sent, kill(2).
            let signal = match args.signal.as_str() {
                "0" => 0,
                name => signals::parse("SIGNAL", name)?,
            };
            container::Container::find(root, &args.id)?.kill(signal, args.all).map(|()| 0)
        }
        Verb::Delete(args) => container::delete(root, &args.id, args.force).map(|()| 0),
        Verb::Pause(args) => pause(root, &args.id, true),
        Verb::Resume(args) => pause(root, &args.id, false),
        Verb::List(args) => {
            // One that was named and is not there is a mistyped one.
            if let Some(named) = cli.root.as_ref().filter(|_| !root.is_dir()) {
                return Err(crate::wishes::bad("--root", &named.display().to_string(), "a folder"));
            }
            show::list(root, args)
        }
        Verb::Ps(args) => show::ps(root, args),
        Verb::Update(args) => update::update(root, args),
        Verb::Events(args) => events::events(root, args),
        Verb::Spec(args) => show::write_spec(args),
        Verb::Features => Ok(features::features()),
        Verb::Checkpoint(_) | Verb::Restore(_) => Err(Error::new(
            "checkpoint and restore are not supported: a process's memory cannot be saved yet",
        )),
    }
}

/// The options before the verb; who makes cgroups?
fn check_globals(cli: &Cli) -> Result<Cgroups> {
    if !matches!(cli.log_format.as_str(), "text" | "json") {
        return Err(crate::wishes::bad("--log-format", &cli.log_format, "text or json"));
    }
    if !matches!(cli.rootless.as_str(), "auto" | "true" | "false") {
        return Err(crate::wishes::bad("--rootless", &cli.rootless, "auto, true or false"));
    }
    let default = if cli.systemd_cgroup { "systemd" } else { "cgroupfs" };
    match cli.cgroup_manager.as_deref().unwrap_or(default) {
        "systemd" => Ok(Cgroups::Systemd),
        "cgroupfs" => Ok(Cgroups::Files),
        "disabled" => Ok(Cgroups::None),
        other => {
            Err(crate::wishes::bad("--cgroup-manager", other, "cgroupfs, systemd or disabled"))
        }
    }
}

fn pause(root: &std::path::Path, id: &str, pause: bool) -> Result<u8> {
    let (container, _lock) = container::Container::lock(root, id)?;
    container.pause(pause).map(|()| 0)
}

/// Root of a user namespace that an engine of a plain user has made is root here too, but /run is not his.
fn default_root() -> PathBuf {
    let may_write = access("/run", AccessFlags::W_OK).is_ok();
    if Uid::effective().is_root() && may_write {
        return PathBuf::from("/run/minibox-oci");
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder).join("minibox-oci"),
        None => std::env::temp_dir().join(format!("minibox-oci-{}", Uid::effective())),
    }
}

/// Tells a failure on one line of standard error, and in the log.
fn fail(log: Option<&Path>, format: log::Format, error: &Error, code: u8) -> ExitCode {
    let text = line_of(error);
    if let Some(log) = log {
        // Whoever cannot be told there reads it below.
        let file = log::open(log);
        let _ = file.and_then(|mut file| writeln!(file, "{}", format.line("error", &text)));
    }
    let _ = writeln!(std::io::stderr(), "minibox-oci: {}", output::on_one_line(&text));
    ExitCode::from(code)
}

/// An error on one line. Engines take the words of ENOENT, EACCES and EPERM for the program's: others are
/// named by their number's name alone.
fn line_of(error: &Error) -> String {
    // runc's words for it.
    let mut text = error.what.replacen("cannot execute ", "exec ", 1);
    match (error.blame, &error.call, error.errno) {
        (Blame::NotFound | Blame::NotExecutable, _, Some(errno)) => {
            text += &format!(": {}", errno.desc().to_lowercase());
        }
        (_, Some(call), Some(errno)) => text += &format!(": {call} = {errno:?}"),
        (_, None, Some(errno)) => text += &format!(": {errno:?}"),
        (_, Some(call), None) => text += &format!(": {call}"),
        (_, None, None) => {}
    }
    let cause = error.step.and_then(|step| step.cause(error.errno?));
    if let Some(cause) = cause.filter(|_| error.blame == Blame::Minibox) {
        text += &format!("; {cause}");
    }
    // What is said of a program that is missing is said to people, of `minibox run`.
    if let Some(hint) = error.hint.as_ref().filter(|_| error.blame != Blame::NotFound) {
        text += &format!("; {hint}");
    }
    text
}

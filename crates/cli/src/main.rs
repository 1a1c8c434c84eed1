//! The command: parses, drives the runtime, prints. Two personalities, chosen by the name it is called
//! by: `minibox` for people, `minibox-oci` (also `runc`, `crun`) for engines.
#![deny(unsafe_code)]

mod args;
mod config;
mod dryrun;
mod exec;
mod explain;
mod host;
mod lifecycle;
mod monitor;
mod names;
mod output;
mod run;
mod store;
mod supervise;
mod terminal;
mod trial;
mod views;

use std::process::ExitCode;

use clap::Parser;
use minibox_runtime::{Error, Result, step};

use args::{Cli, Verb};
use store::{Container, Status, Store};

const SPEC_VERSION: &str = "1.2.1";

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&name).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if matches!(name.as_str(), "minibox-oci" | "runc" | "crun") {
        return oci();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    terminal::restore_on_panic();
    if cli.debug {
        let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_max_level(tracing::Level::TRACE);
        subscriber.init();
    }
    match drive(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::error(&error);
            ExitCode::from(error.blame.exit_code())
        }
    }
}

/// The engines' personality. Its command line is not part of this version, and it says so.
fn oci() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|arg| arg == "--version" || arg == "-v") {
        output::print(&format!(
            "minibox-oci version {}\ncommit: {}\nspec: {SPEC_VERSION}\n",
            env!("CARGO_PKG_VERSION"),
            option_env!("MINIBOX_COMMIT").unwrap_or("unknown")
        ));
        return ExitCode::SUCCESS;
    }
    output::note("the OCI command line (create, start, state, …) is not part of this version; `minibox run` runs containers");
    ExitCode::FAILURE
}

/// A command line that cannot be parsed: docker's 125; help and version are no errors.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let engines = ["--bundle", "--console-socket", "--pid-file", "--root", "--log-format", "--systemd-cgroup"];
    if let Some(flag) = std::env::args().skip(1).find(|arg| engines.contains(&arg.split('=').next().unwrap_or_default())) {
        if error.kind() == ErrorKind::UnknownArgument {
            output::note(&format!("{flag} belongs to the engines' command line: call minibox-oci for that"));
            return ExitCode::from(125);
        }
    }
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(125),
    }
}

fn drive(cli: Cli) -> Result<u8> {
    match &cli.verb {
        Verb::Version => {
            let commit = option_env!("MINIBOX_COMMIT").unwrap_or("unknown");
            output::print(&format!("minibox {}\ncommit: {commit}\nspec: {SPEC_VERSION}\n", env!("CARGO_PKG_VERSION")));
            return Ok(0);
        }
        Verb::Steps(args) if args.format == "markdown" => {
            output::print(&step::to_markdown());
            return Ok(0);
        }
        Verb::Steps(args) => return Err(Error::new(format!("--format {:?} is not known", args.format)).hint("markdown")),
        _ => {}
    }
    let store = Store::open(cli.run_dir, cli.data_dir)?;
    match cli.verb {
        Verb::Run(args) => run::run(&store, &args),
        Verb::Exec(args) => exec::exec(&store, &args),
        Verb::Ps(args) => views::ps(&store, &args),
        Verb::Inspect(names) => views::inspect(&store, &names),
        Verb::Logs(args) => views::logs(&store, &args),
        Verb::Stop(args) => Ok(lifecycle::stop(&store, &args)),
        Verb::Kill(args) => lifecycle::kill(&store, &args),
        Verb::Wait(names) => Ok(lifecycle::wait(&store, &names)),
        Verb::Rm(args) => Ok(lifecycle::rm(&store, &args)),
        Verb::Gc(args) => lifecycle::gc(&store, &args),
        Verb::Version | Verb::Steps(_) => Ok(0),
    }
}

/// A container as it is after whatever the machine did to it: ends are written down, and a container
/// whose monitor was killed gets a new one. `None` where it is gone.
fn up_to_date(store: &Store, container: Container) -> Result<Option<Container>> {
    if container.record.exit.is_some() || container.is_kept() {
        return Ok(Some(container));
    }
    let id = container.record.id.clone();
    if container.status() == Status::Running {
        if container.record.monitored {
            monitor::take_over(store, &container)?;
        }
    } else {
        store.settle(container)?;
    }
    store.load(&id)
}

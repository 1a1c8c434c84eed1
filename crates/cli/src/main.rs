//! The command: parses, drives the runtime, prints. Two personalities, chosen by the name it is called
//! by: `minibox` for people, `minibox-oci` (also `runc`, `crun`) for engines.
#![deny(unsafe_code)]

mod args;
mod birth;
mod client;
mod clock;
mod complete;
mod config;
mod create;
mod dryrun;
mod ending;
mod events;
mod exec;
mod explain;
mod files;
mod filter;
mod foreground;
mod format;
mod gc;
mod generate;
mod guardian;
mod help;
mod host;
mod joining;
mod lab;
mod language;
mod lifecycle;
mod line;
mod living;
mod log;
mod logs;
mod manual;
mod monitor;
mod names;
mod oci;
mod output;
mod patchwork;
mod pause;
mod progress;
mod prune;
mod quiet;
mod rename;
mod run;
mod seal;
mod seccomp;
mod see;
mod settings;
mod sharing;
mod signals;
mod size;
mod start;
mod store;
mod supervise;
mod template;
mod terminal;
mod trial;
mod update;
mod usage;
mod userns;
mod views;
mod volumes;
mod watch;
mod wishes;

use std::process::ExitCode;

use minibox_runtime::{Error, Result, step};

use args::{Cli, GenerateVerb, Verb};
use language::Language;
use store::Store;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&name)
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    if matches!(name.as_str(), "minibox-oci" | "runc" | "crun") {
        return oci::main();
    }
    language::choose(std::env::args_os().skip(1));
    if std::env::args_os().nth(1).is_some_and(|arg| arg == "__complete") {
        let words = std::env::args_os().skip(2).map(|word| word.to_string_lossy().into_owned());
        output::print(&complete::answer(help::command(), &words.collect::<Vec<_>>()));
        return ExitCode::SUCCESS;
    }
    // Before anything is done that would then be done twice; for every verb, since any may have to start a
    // monitor, whose health checks and restarts enter containers.
    seal::ensure();
    let cli = match help::parse() {
        Ok(cli) => cli,
        Err(error) => return usage::explain(&error),
    };
    language::settle(cli.lang);
    terminal::restore_on_panic();
    // A caller who ignores it would have the kernel throw exit statuses away.
    minibox_runtime::sys::default_signal(libc::SIGCHLD);
    if cli.debug {
        output::trace();
    }
    match drive(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::error(&error);
            ExitCode::from(error.blame.exit_code())
        }
    }
}

fn drive(cli: Cli) -> Result<u8> {
    match &cli.verb {
        Verb::Version(args) => return views::version::version(args),
        Verb::Completion(args) => {
            output::print(complete::script(args.shell));
            return Ok(0);
        }
        Verb::Man(args) => {
            language::settle(Some(Language::En));
            manual::write(help::command(), &args.dir)?;
            return Ok(0);
        }
        Verb::Steps(args) if args.format == "markdown" => {
            output::print(&step::to_markdown());
            return Ok(0);
        }
        Verb::Steps(args) => {
            return Err(
                Error::new(format!("--format {:?} is not known", args.format)).hint("markdown")
            );
        }
        _ => {}
    }
    let store = Store::open(cli.run_dir, cli.data_dir)?;
    match cli.verb {
        Verb::Run(args) => run::run(&store, &args),
        Verb::Create(args) => create::create(&store, &args.create),
        Verb::Start(args) => start::start(&store, &args),
        Verb::Exec(args) => exec::exec(&store, &args),
        Verb::Attach(args) => start::attach(&store, &args),
        Verb::Ps(args) => views::ps::ps(&store, &args),
        Verb::Inspect(args) => views::inspect::inspect(&store, &args),
        Verb::Logs(args) => logs::logs(&store, &args),
        Verb::Stop(args) => lifecycle::stop(&store, &args),
        Verb::Restart(args) => lifecycle::restart(&store, &args),
        Verb::Kill(args) => lifecycle::kill(&store, &args),
        Verb::Wait(names) => Ok(lifecycle::wait(&store, &names)),
        Verb::Rm(args) => Ok(lifecycle::rm(&store, &args)),
        Verb::Pause(args) => Ok(pause::pause(&store, &args)),
        Verb::Unpause(args) => Ok(pause::unpause(&store, &args)),
        Verb::Update(args) => update::update(&store, &args),
        Verb::Cp(args) => files::cp(&store, &args),
        Verb::Diff(args) => files::diff(&store, &args),
        Verb::Export(args) => files::export(&store, &args),
        Verb::Volume(verb) => volumes::volume(&store, &verb),
        Verb::Generate(GenerateVerb::Systemd(args)) => generate::systemd(&store, &args),
        Verb::Lab(args) => lab::lab(&store, &args),
        Verb::Gc(args) => gc::gc(&store, &args),
        Verb::Version(_) | Verb::Completion(_) | Verb::Man(_) | Verb::Steps(_) => Ok(0),
        Verb::Watch(args) => watch::watch(&store, &args),
        Verb::Tree(args) => see::tree::tree(&store, &args),
        Verb::Ns(args) => see::ns::ns(&store, &args),
        Verb::Threads(args) => see::threads::threads(&store, &args),
        Verb::Proc(args) => see::proc::proc(&store, &args),
        Verb::Seccomp(args) => see::seccomp::seccomp(&store, &args),
        Verb::Audit(args) => see::audit::audit(&store, &args),
        Verb::Why(args) => see::why::why(&store, &args),
        Verb::Caps(args) => see::caps::caps(&store, &args),
        Verb::Mem(args) => see::mem::mem(&store, &args),
        Verb::Mounts(args) => see::mounts::mounts(&store, &args),
        Verb::Net(args) => see::net::net(&store, &args),
        Verb::Stats(args) => see::stats::stats(&store, &args),
        Verb::Top(args) => views::top::top(&store, &args),
        Verb::Rename(args) => rename::rename(&store, &args),
        Verb::Events(args) => views::events::events(&store, &args),
        Verb::Prune(args) => prune::prune(&store, &args),
        Verb::Info(args) => views::info::info(&store, &args),
    }
}

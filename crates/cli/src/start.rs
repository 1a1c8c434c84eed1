//! `minibox start` and `attach`: a container that is there is started once more, or visited.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use minibox_runtime::line::Listening;
use minibox_runtime::state::Lock;
use minibox_runtime::{Error, Result};
use nix::sys::signalfd::SignalFd;

use crate::args::{AttachArgs, StartArgs};
use crate::birth;
use crate::client::{self, DetachKeys, Visit};
use crate::create::Made;
use crate::explain::Teller;
use crate::living;
use crate::monitor::health::Report;
use crate::monitor::words::{self, to_monitor};
use crate::monitor::{self, Birth, Company, Pipes};
use crate::output;
use crate::settings::Restart;
use crate::signals;
use crate::store::{Container, Halted, Status, Store};
use crate::supervise;

/// Starts a container with a monitor of its own; the line to it, and the pid of its program.
pub(crate) fn launch(
    store: &Store,
    made: Made,
    teller: Teller,
    company: Company,
) -> Result<(OwnedFd, i32)> {
    let Made { record, spec, lock, preserve_fds } = made;
    let is_new = !record.is_startable && record.started.is_none();
    let begun = (|| {
        let mut choices = birth::choices(store, &record, teller.listening())?;
        choices.preserve_fds = preserve_fds;
        let mut pipes = Pipes::default();
        if !record.terminal {
            let folder = store.run_folder(&record.id);
            (pipes, choices.stdio) = Pipes::make(&folder, &record.settings)?;
        }
        Ok((birth::plan(store, &record, &spec, choices)?, pipes))
    })();
    let (plan, pipes) = begun.inspect_err(|_| {
        // What failed before the program ran leaves nothing of a new container, not even the record.
        let _ = if is_new { store.remove(&record) } else { store.release(&record) };
    })?;
    let halts = teller.listening() == Listening::Halts;
    let socket =
        monitor::start(Birth { store, record, lock, plan, pipes, teller, company, is_new })?;
    let killed = || {
        Error::new("the monitor was killed before it could start the container")
            .hint("`minibox gc` finds what it left")
    };
    let wait = || words::wait_for_start(&socket);
    // Else a signal is for the program that is about to be there.
    let waited = if halts { signals::mortal(wait) } else { wait() };
    let pid = waited?.ok_or_else(killed)?;
    Ok((socket, pid))
}

/// `minibox start`.
pub(crate) fn start(store: &Store, args: &StartArgs) -> Result<u8> {
    let keys = DetachKeys::parse(&args.detach_keys)?;
    if args.at_boot {
        return Ok(start_at_boot(store));
    }
    if !args.attach && !args.interactive {
        return Ok(output::for_each(&args.containers, |name| {
            begin(store, name, Company::Nobody)?;
            output::print(&format!("{name}\n"));
            Ok(())
        }));
    }
    let [name] = args.containers.as_slice() else {
        return Err(Error::new("only one container can be attached to at a time")
            .hint("start the others without -a and -i"));
    };
    let signals = supervise::catch_signals(true)?;
    let container = living::find(store, name)?;
    let record = &container.record;
    let begun = begin(store, name, Company::Client)?;
    let is_guest = begun.is_none();
    let (socket, pid) = begun.map_or_else(|| visit(store, &container), Ok)?;
    let visit = Visit {
        name: &record.name,
        pid,
        tty: record.terminal,
        interactive: args.interactive && record.settings.interactive,
        sig_proxy: true,
        keys,
        is_owner: false,
        is_guest,
    };
    let attended = client::attend(&socket, visit, &signals)?;
    Ok(client::exit_code(attended, &record.name))
}

/// Starts one container; `None` where it runs already.
pub(crate) fn begin(store: &Store, name: &str, company: Company) -> Result<Option<(OwnedFd, i32)>> {
    let id = living::find_started(store, name)?.record.id;
    let (container, lock) = lock_when_at_rest(store, name, &id)?;
    match container.status() {
        Status::Running if container.is_paused() => {
            return Err(Error::new(format!("{name} is paused"))
                .hint(format!("`minibox unpause {name}` wakes it")));
        }
        Status::Running => return Ok(None),
        Status::Restarting => {
            return Err(Error::new(format!("{name} is about to be started again by its policy"))
                .hint(format!("`minibox stop {name}` ends that")));
        }
        Status::Created | Status::Exited => {}
    }
    let mut record = container.record;
    record.monitored = true;
    record.restarts = 0;
    record.halted = None;
    Report::forget(store, &id);
    birth::make_run_folder(store, &id)?;
    birth::make_layer(&record)?;
    let spec = birth::load_spec(store, &record)?;
    launch(store, Made { record, spec, lock, preserve_fds: 0 }, Teller::new(false, false), company)
        .map(Some)
}

/// The container and its lock, once no monitor is about to write down that it has just ended.
fn lock_when_at_rest(store: &Store, name: &str, id: &str) -> Result<(Container, Lock)> {
    let gone = || Error::new(format!("{name} has just been removed"));
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let lock = Lock::wait(&store.folder(id))?.ok_or_else(gone)?;
        let container = store.load(id)?.ok_or_else(gone)?;
        if container.status() != Status::Exited || !container.is_kept() {
            return Ok((container, lock));
        }
        if Instant::now() > deadline {
            return Err(Error::new(format!("nobody writes down how {name} ended"))
                .hint("`minibox gc --force` does"));
        }
        drop(lock);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Starts what ran when the machine went down, or is to run always.
fn start_at_boot(store: &Store) -> u8 {
    let is_wanted = |container: &Container| match container.record.settings.restart {
        Restart::Always => true,
        Restart::UnlessStopped => container.record.halted != Some(Halted::User),
        Restart::No | Restart::OnFailure { .. } => false,
    };
    let is_down = |container: &Container| container.status() == Status::Exited;
    let mut all = store.all();
    // In the order in which they were made: one may need another.
    all.reverse();
    let wanted = all.iter().filter(|container| is_down(container) && is_wanted(container));
    let names: Vec<String> = wanted.map(|container| container.record.name.clone()).collect();
    output::for_each(&names, |name| {
        if begin(store, name, Company::Nobody)?.is_some() {
            output::print(&format!("{name}\n"));
        }
        Ok(())
    })
}

/// Goes to the monitor of a running container; the line to it, and the pid of its program.
fn visit(store: &Store, container: &Container) -> Result<(OwnedFd, i32)> {
    let record = &container.record;
    container.hold_running()?;
    if !record.monitored {
        return Err(Error::new(format!(
            "{} runs in the foreground of another minibox, with --rm: nothing stands between it and its terminal",
            record.name
        ))
        .hint(format!("`minibox exec -it {} sh` looks into it", record.name)));
    }
    let socket = words::visit(&store.run_folder(&record.id))?;
    words::tell(&socket, to_monitor::ATTACH, &[]);
    let ended = || Error::new(format!("{} has just ended", record.name));
    let pid = words::wait_for_start(&socket)?.ok_or_else(ended)?;
    store.tell(record, "attach", &[]);
    Ok((socket, pid))
}

/// `minibox attach`.
pub(crate) fn attach(store: &Store, args: &AttachArgs) -> Result<u8> {
    let keys = DetachKeys::parse(&args.detach_keys)?;
    let container = living::find_started(store, &args.container)?;
    let record = &container.record;
    let signals: SignalFd = supervise::catch_signals(true)?;
    let (socket, pid) = visit(store, &container)?;
    if record.terminal && container.has_lost_terminal() {
        return Err(Error::new(format!(
            "{} has lost its terminal: its first monitor was killed",
            record.name
        ))
        .hint(format!("`minibox exec -it {} sh` gives you another", record.name)));
    }
    let visit = Visit {
        name: &record.name,
        pid,
        tty: record.terminal,
        interactive: record.settings.interactive && !args.no_stdin,
        sig_proxy: args.sig_proxy,
        keys,
        is_owner: false,
        is_guest: true,
    };
    let attended = client::attend(&socket, visit, &signals)?;
    Ok(client::exit_code(attended, &record.name))
}

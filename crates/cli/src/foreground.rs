//! `minibox run --rm` in the foreground: no monitor, no log, the caller's own streams wherever they can be
//! handed on. Nobody could ask for its output or start it again, so nothing stands in between.

use minibox_runtime::state::Lock;
use minibox_runtime::{Event, Plan, Result, Running};
use nix::sys::signalfd::SignalFd;
use oci_spec::runtime as oci;

use crate::birth;
use crate::create::Made;
use crate::ending;
use crate::explain::Teller;
use crate::guardian;
use crate::output;
use crate::store::{Exit, Record, Store};
use crate::supervise::{self, Streams};

/// Runs it; how it ended.
pub(crate) fn run(store: &Store, made: Made, mut teller: Teller, sig_proxy: bool) -> Result<Exit> {
    let Made { mut record, spec, lock, preserve_fds } = made;
    let interactive = record.settings.interactive;
    let begun = begin(store, &mut record, &spec, &mut teller, (sig_proxy, preserve_fds));
    let (plan, streams, signals, running) = begun.inspect_err(|_| {
        let _ = store.remove(&record);
    })?;
    teller.finish();
    drop(lock);
    let alarm = ending::oom_alarm(plan.cgroup.as_ref());
    let ended = supervise::stay(&running, streams, &signals, interactive, Some(&record))?;
    drop(plan);
    let exit = ending::describe(&record, Some(ended), None, alarm.as_ref());
    if let Err(error) = write_down_end(store, &record.id, exit.clone()) {
        // The program has done its work: its exit code counts.
        output::error(&error);
    }
    Ok(exit)
}

/// Whoever removes it meanwhile takes the record away; then there is nothing to write down. Who renames it
/// changes the record.
fn write_down_end(store: &Store, id: &str, exit: Exit) -> Result<()> {
    let Some(_lock) = Lock::wait(&store.folder(id))? else { return Ok(()) };
    let Some(mut container) = store.load(id)? else { return Ok(()) };
    store.end(&mut container.record, exit)
}

fn begin(
    store: &Store,
    record: &mut Record,
    spec: &oci::Spec,
    teller: &mut Teller,
    (sig_proxy, preserve_fds): (bool, u32),
) -> Result<(Plan, Streams, SignalFd, Running)> {
    let mut streams = Streams::new(record.settings.interactive)?;
    let mut choices = birth::choices(store, record, teller.listening())?;
    choices.die_with_parent = true;
    choices.preserve_fds = preserve_fds;
    choices.stdio = std::mem::take(&mut streams.theirs);
    let mut plan = birth::plan(store, record, spec, choices)?;
    let signals = supervise::catch_signals(sig_proxy)?;
    let running = minibox_runtime::spawn::start(&plan, &mut |event| {
        if let Event::Born { pid } = event {
            birth::write_down_start(store, record, *pid)?;
            guardian::start(store, record, *pid)?;
        }
        teller.hear(event)
    })?;
    store.tell(record, "start", &[]);
    // Our copies of its streams would keep its pipes open.
    plan.process.stdio = [None, None, None];
    Ok((plan, streams, signals, running))
}

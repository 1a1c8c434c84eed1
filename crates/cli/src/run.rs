//! `minibox run`: makes a container, starts it, and stays with it until it ends.

use std::fs;

use minibox_runtime::{Choices, Error, Layer, Result, RootChoices, hints};
use oci_spec::runtime as oci;

use crate::args::{CreateArgs, DryRun, RunArgs};
use crate::birth;
use crate::client::{self, Attended, DetachKeys, Visit};
use crate::config;
use crate::create::{self, Made};
use crate::dryrun;
use crate::explain::Teller;
use crate::foreground;
use crate::monitor::Company;
use crate::output;
use crate::sharing;
use crate::signals::pid_inside;
use crate::start;
use crate::store::{Record, Store};
use crate::supervise;
use crate::terminal;
use crate::wishes::{self, Wishes};

/// Runs it; the exit code for the caller's shell.
pub(crate) fn run(store: &Store, args: &RunArgs) -> Result<u8> {
    let (create, tty) = (&args.create, args.create.process.tty);
    output::quiet(create.quiet);
    let wishes = wishes::understand(store, create, args.detach)?;
    let keys = DetachKeys::parse(&args.detach_keys)?;
    let interactive = create.process.interactive;
    terminal::check(interactive && tty && !args.detach)?;
    if tty && !interactive && !args.detach && terminal::is_there() {
        output::note(
            "-t without -i: the program gets a terminal, but nothing that you type; -it passes that on",
        );
    }
    wishes.warnings.iter().for_each(|warning| output::note(warning));
    // With --rm nobody could ever ask for its log, or start it again.
    let monitored = args.detach || tty || !create.rm || wishes.settings.health.is_some();
    if let Some(form) = args.dry_run {
        return dry_run(store, create, &wishes, form, monitored);
    }
    check_descriptors(args.preserve_fds)?;
    let made = create::make(store, create, &wishes, monitored)?;
    let made = Made { preserve_fds: args.preserve_fds, ..made };
    let teller = Teller::new(args.explain, args.step);
    let (record, spec) = (made.record.clone(), made.spec.clone());
    // Of a container that could not be started nothing is left, and so nothing that names it.
    let forget = |_: &Error| {
        let _ = create.cidfile.as_ref().map(std::fs::remove_file);
    };
    if !monitored {
        let exit = foreground::run(store, made, teller, args.sig_proxy).inspect_err(forget)?;
        let code = exit.shown_code();
        match &exit.note {
            Some(note) => output::note(note),
            None => explain_end(store, &record, &spec, code),
        }
        return Ok(code as u8);
    }
    if args.detach {
        let (_, pid) = start::launch(store, made, teller, Company::Nobody).inspect_err(forget)?;
        output::print(&format!("{}\n", record.id));
        let inside = pid_inside(pid).filter(|inside| *inside != pid);
        let inside = inside.map_or_else(String::new, |pid| format!("; inside it is PID {pid}"));
        output::note(&format!("[{}] {pid}: the program's PID on this host{inside}", record.name));
        return Ok(0);
    }
    let signals = supervise::catch_signals(true)?;
    let (socket, pid) = start::launch(store, made, teller, Company::Owner).inspect_err(forget)?;
    let name = &record.name;
    let sig_proxy = args.sig_proxy;
    let visit =
        Visit { name, pid, tty, interactive, sig_proxy, keys, is_owner: true, is_guest: false };
    let attended = client::attend(&socket, visit, &signals)?;
    let surprise = match &attended {
        Attended::Ended(code, note) if note.is_empty() => Some(*code),
        _ => None,
    };
    let code = client::exit_code(attended, name);
    if let Some(code) = surprise {
        explain_end(store, &record, &spec, code);
    }
    Ok(code)
}

/// `--preserve-fds N`: 3 and the N - 1 after it must be open, or what minibox itself opens would stand there.
fn check_descriptors(count: u32) -> Result<()> {
    let is_open = |fd: &u32| std::path::Path::new(&format!("/proc/self/fd/{fd}")).exists();
    match (3..count.saturating_add(3)).find(|fd| !is_open(fd)) {
        Some(fd) => Err(Error::new(format!("--preserve-fds {count}: descriptor {fd} is not open"))
            .hint("those from 3 on are handed on: `minibox run --preserve-fds 1 … 3<FILE`")),
        None => Ok(()),
    }
}

/// A word on an end that surprises.
fn explain_end(store: &Store, record: &Record, spec: &oci::Spec, code: i32) {
    if code == 0 && !record.settings.interactive && is_shell(&record.command) {
        output::note(
            "a shell without -i has no input and ends at once; `minibox run -it ROOTFS sh` gives you one to type into",
        );
    }
    let is_filtered = spec.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some());
    if code == 128 + libc::SIGSYS && is_filtered {
        output::note(
            "the program made a system call that its filter kills for, one of another architecture perhaps, as 32-bit programs do; --security-opt seccomp=unconfined lets every call through",
        );
    }
    let denied = || {
        let plan = birth::plan(store, record, spec, Choices::default()).ok()?;
        hints::denied_privileges(&plan)
    };
    if let Some(program) = Some(code).filter(|code| *code != 0).and_then(|_| denied()) {
        output::note(&format!(
            "{program} is a setuid program or has file capabilities, which no_new_privs makes void; --security-opt no-new-privileges=false allows them"
        ));
    }
}

fn is_shell(command: &[String]) -> bool {
    let program = command.first().map(|c| c.rsplit('/').next().unwrap_or(c));
    command.len() == 1
        && matches!(program, Some("sh" | "bash" | "ash" | "dash" | "zsh" | "busybox"))
}

fn dry_run(
    store: &Store,
    args: &CreateArgs,
    wishes: &Wishes,
    form: DryRun,
    monitored: bool,
) -> Result<u8> {
    let name = args.name.as_deref().unwrap_or("dry-run");
    let scratch =
        tempfile::tempdir().map_err(|e| Error::of_io("make", &std::env::temp_dir(), &e))?;
    let user = create::user_namespace(store, wishes)?;
    let hostname = create::hostname(wishes, name);
    let files = create::own_files(scratch.path(), wishes, &hostname)?;
    let cgroup = create::cgroup_for(store, args, name)?;
    let place = config::Place {
        user: &user,
        cgroup: cgroup.as_ref().map(|c| c.path.as_str()),
        hostname: &hostname,
        files: &files,
    };
    let spec = config::build(args, wishes, &place);
    let folder = scratch.path().join("LAYER");
    fs::create_dir(&folder).map_err(|e| Error::of_io("make", &folder, &e))?;
    let layer = (!args.mounts.rw).then(|| Layer::below(&folder, args.rm));
    let choices = Choices {
        root: RootChoices { layer, maps_owners: user.maps_mounts(), ..RootChoices::default() },
        console_size: terminal::size(),
        die_with_parent: !monitored,
        init: args.program.init,
        ..Choices::default()
    };
    let plan = sharing::plan(store, &spec, cgroup, choices)?;
    let text = match form {
        DryRun::Plan => dryrun::plan(&plan),
        DryRun::Sh => dryrun::script(&plan, &hostname),
    };
    // The files of its own are not made: a script makes them where it makes its layer.
    let place = if matches!(form, DryRun::Sh) { "$LAYER" } else { "FILES" };
    let text = text.replace(&folder.display().to_string(), "LAYER");
    output::print(&text.replace(&scratch.path().display().to_string(), place));
    Ok(0)
}

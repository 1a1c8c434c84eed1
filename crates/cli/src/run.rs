//! `minibox run`: from arguments to a running container, and with it until it ends.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use minibox_runtime::cgroup::{self, Cgroup, Layout};
use minibox_runtime::hints;
use minibox_runtime::idmap::{self, IdMap};
use minibox_runtime::state::{self, Lock};
use minibox_runtime::{Choices, Error, Event, Layer, Plan, Result, Running};
use nix::sys::signalfd::SignalFd;
use oci_spec::runtime as oci;

use crate::args::{DryRun, RunArgs};
use crate::client::{self, Attended};
use crate::config::{self, OwnFiles};
use crate::dryrun;
use crate::explain::Teller;
use crate::guardian;
use crate::host;
use crate::monitor::{self, Birth, MESSAGE, Pipes, to_client};
use crate::output;
use crate::patchwork;
use crate::store::{self, Exit, Record, Store, make_private, now};
use crate::supervise::{self, Streams};
use crate::terminal;
use crate::wishes::{self, PIDS_LIMIT, Wishes};

/// Runs it; the exit code for the caller's shell.
pub(crate) fn run(store: &Store, args: &RunArgs) -> Result<u8> {
    let wishes = wishes::understand(args)?;
    terminal::check(args.process.interactive && args.process.tty && !args.detach)?;
    if args.process.tty && !args.process.interactive && !args.detach && terminal::is_there() {
        output::note(
            "-t without -i: the program gets a terminal, but nothing that you type; -it passes that on",
        );
    }
    wishes.warnings.iter().for_each(|warning| output::note(warning));
    let id_map = id_map(store);
    if let Some(form) = args.dry_run {
        return dry_run(store, args, &wishes, id_map.as_ref(), form);
    }
    let (id, name, lock) = store.create(args.name.as_deref())?;
    tracing::debug!(id, name, ?id_map, "a new container");
    let mut record = new_record(args, id_map, &id, &name);
    let spec = prepare(store, args, &wishes, &mut record).inspect_err(|_| {
        let _ = store.remove(&record);
    })?;
    let teller = Teller::new(args.explain, args.step);
    if record.monitored {
        run_monitored(store, args, &record, &spec, lock, teller)
    } else {
        run_in_foreground(store, args, record, &spec, lock, teller)
    }
}

/// What failed before the program ran leaves nothing, not even the record. Not so what fails later: by
/// then the container has a life, and a layer, of its own.
fn undo<T>(store: &Store, record: &Record, result: Result<T>) -> Result<T> {
    result.inspect_err(|_| {
        let _ = store.remove(record);
    })
}

/// The user namespace: none for root, one's own ids for everybody else.
fn id_map(store: &Store) -> Option<IdMap> {
    if !idmap::needs_user_namespace() {
        return None;
    }
    let (map, why_single) = IdMap::for_caller();
    if let Some(why) = why_single {
        output::note_once(
            &store.data,
            "single-id",
            &format!("only your own id is mapped into containers, as their root: {why}"),
        );
    }
    Some(map)
}

/// What `--privileged`, limits and users need of a cgroup: root gets one, a plain user does not.
fn cgroup_for(store: &Store, args: &RunArgs, id: &str) -> Result<Option<Cgroup>> {
    let asked: Vec<&str> = [
        args.memory.is_some().then_some("-m/--memory"),
        args.cpus.is_some().then_some("--cpus"),
        (args.pids_limit != PIDS_LIMIT).then_some("--pids-limit"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let layout = Layout::detect();
    if !cgroup::is_writable(&layout) {
        if !asked.is_empty() {
            output::note(&format!(
                "{} has no effect: this user may not make cgroups here; run as root for limits",
                asked.join(", ")
            ));
        }
        return Ok(None);
    }
    Cgroup::at(&layout, &format!("{}/{id}", store.cgroup_parent)).map(Some)
}

fn new_record(args: &RunArgs, id_map: Option<IdMap>, id: &str, name: &str) -> Record {
    Record {
        version: 1,
        id: id.to_owned(),
        name: name.to_owned(),
        created: now(),
        rootfs: std::path::absolute(&args.rootfs).unwrap_or_else(|_| args.rootfs.clone()),
        command: args.command.clone(),
        layer: None,
        id_map,
        cgroup: None,
        auto_remove: args.rm,
        terminal: args.process.tty,
        monitored: args.detach || args.process.tty,
        started: None,
        exit: None,
    }
}

/// Writes down everything that will be made, then makes the files of its own.
fn prepare(
    store: &Store,
    args: &RunArgs,
    wishes: &Wishes,
    record: &mut Record,
) -> Result<oci::Spec> {
    let (id, folder) = (record.id.clone(), store.folder(&record.id));
    record.cgroup = cgroup_for(store, args, &id)?.map(|cgroup| cgroup.path);
    if !args.rw {
        record.layer = Some(place_for_layer(store, &id)?);
    }
    say_what_is_not_seen(store, args);
    store.save(record)?;

    let hostname = hostname(args, wishes, &record.name);
    let files = own_files(&folder, wishes.host_network, &hostname)?;
    let place = config::Place {
        id_map: record.id_map.as_ref(),
        cgroup: record.cgroup.as_deref(),
        hostname: &hostname,
        files: &files,
    };
    let mut spec = config::build(args, wishes, &place)?;
    if let (Some(layer), true) = (&record.layer, needs_patchwork(args, record)) {
        let patchwork = patchwork::make(&absolute_rootfs(args), layer)?;
        if let Some(root) = spec.root_mut() {
            root.set_path(patchwork.root);
        }
        if let Some(mounts) = spec.mounts_mut() {
            mounts.splice(0..0, patchwork.mounts);
        }
    }
    state::save(&folder.join("config.json"), &spec)?;
    let run_folder = store.run_folder(&id);
    make_private(&run_folder)?;
    std::os::unix::fs::symlink(&folder, run_folder.join("data"))
        .map_err(|e| Error::of_io("make a link in", &run_folder, &e))?;
    make_missing_sources(wishes)?;
    if let Some(layer) = &record.layer {
        for part in ["upper", "work"] {
            make_private(&layer.join(part))?;
        }
        copy_mode(&args.rootfs, &layer.join("upper"));
    }
    Ok(spec)
}

fn absolute_rootfs(args: &RunArgs) -> PathBuf {
    fs::canonicalize(&args.rootfs).unwrap_or_else(|_| args.rootfs.clone())
}

/// A plain user may not lay one overlay over a root with mounts below it.
fn needs_patchwork(args: &RunArgs, record: &Record) -> bool {
    record.id_map.is_some()
        && !args.rw
        && !patchwork::mounts_below(&absolute_rootfs(args)).is_empty()
}

/// An overlay shows one filesystem: what the host has mounted below the root is not in it.
fn say_what_is_not_seen(store: &Store, args: &RunArgs) {
    let rootfs = absolute_rootfs(args);
    let own = ["/proc", "/sys", "/dev"];
    let mut below = patchwork::mounts_below(&rootfs);
    below.retain(|point| rootfs != Path::new("/") || !own.iter().any(|own| point.starts_with(own)));
    if args.rw || below.is_empty() {
        return;
    }
    let key = format!("submounts-{:08x}", store::fnv(&rootfs));
    let list: Vec<String> = below.iter().take(5).map(|point| point.display().to_string()).collect();
    let more = if below.len() > 5 { " …" } else { "" };
    let text = format!(
        "filesystems of the host lie mounted below {} and are not seen inside: {}{more}",
        rootfs.display(),
        list.join(" ")
    );
    output::note_once(&store.data, &key, &text);
}

fn place_for_layer(store: &Store, id: &str) -> Result<PathBuf> {
    let (place, in_memory) = store.place_for_layer(id)?;
    if in_memory {
        let text = format!(
            "{} lies on an overlay filesystem, so what containers write goes to memory ({}) and is gone at a reboot",
            store.data.display(),
            place.display()
        );
        output::note_once(&store.data, "layer-in-memory", &text);
    }
    Ok(place)
}

/// Docker's habit: the missing source of a volume is an empty folder to be.
fn make_missing_sources(wishes: &Wishes) -> Result<()> {
    for source in wishes.volumes.iter().filter_map(|volume| volume.source().as_ref()) {
        if !source.exists() {
            fs::create_dir_all(source).map_err(|error| {
                Error::of_io("make the missing folder", source, &error)
                    .hint("the source of a volume is a path on the host")
            })?;
        }
    }
    Ok(())
}

/// The root of an overlay is the upper folder: it must look like the root it stands for.
fn copy_mode(from: &Path, to: &Path) {
    if let Ok(metadata) = fs::metadata(from) {
        let _ = fs::set_permissions(to, metadata.permissions());
    }
}

fn hostname(args: &RunArgs, wishes: &Wishes, name: &str) -> String {
    let default = || {
        if wishes.host_network { host::hostname() } else { name.chars().take(63).collect() }
    };
    args.hostname.clone().unwrap_or_else(default)
}

fn own_files(folder: &Path, host_network: bool, hostname: &str) -> Result<OwnFiles> {
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| Error::of_io("write", &path, &e))?;
        // Whoever the program runs as must be able to read it; the folder keeps the host's users out.
        let _ = fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644));
        Ok(path)
    };
    Ok(OwnFiles {
        hosts: write("hosts", &host::hosts(host_network, hostname))?,
        hostname: write("hostname", &format!("{hostname}\n"))?,
        resolv_conf: write("resolv.conf", &host::resolv_conf(host_network))?,
    })
}

fn choices(args: &RunArgs, record: &Record, teller: &Teller) -> Result<Choices> {
    Ok(Choices {
        layer: record.layer.as_ref().filter(|_| !needs_patchwork(args, record)).map(|folder| {
            Layer { upper: folder.join("upper"), work: folder.join("work"), volatile: args.rm }
        }),
        // Device nodes that the root filesystem brings along open nothing; those of /dev are our own.
        root_attributes: if args.privileged { 0 } else { libc::MOUNT_ATTR_NODEV },
        console_size: terminal::size(),
        listening: teller.listening(),
        fail_at: crate::trial::fail_at()?,
        die_with_parent: !args.detach,
        ..Choices::default()
    })
}

fn plan(spec: &oci::Spec, record: &Record, choices: Choices) -> Result<Plan> {
    let cgroup =
        record.cgroup.as_deref().map(|path| Cgroup::at(&Layout::detect(), path)).transpose()?;
    Plan::new(spec, cgroup, choices)
}

fn run_in_foreground(
    store: &Store,
    args: &RunArgs,
    mut record: Record,
    spec: &oci::Spec,
    lock: Lock,
    mut teller: Teller,
) -> Result<u8> {
    let begun = begin_in_foreground(store, args, &mut record, spec, &mut teller);
    let (plan, streams, signals, running) = undo(store, &record, begun)?;
    teller.finish();
    drop(lock);
    let ended =
        supervise::stay(&running, streams, &signals, args.process.interactive, Some(&record.name))?;
    let exit = monitor::describe_end(&record, Some(ended), None);
    if let Some(note) = &exit.note {
        output::note(note);
    } else if let (true, Some(program)) = (ended.code != 0, hints::denied_privileges(&plan)) {
        output::note(&format!(
            "{program} is a setuid program or has file capabilities, which no_new_privs makes void; --security-opt no-new-privileges=false allows them"
        ));
    } else if ended.code == 0 && !args.process.interactive && is_shell(&args.command) {
        output::note(
            "a shell without -i has no input and ends at once; `minibox run -it ROOTFS sh` gives you one to type into",
        );
    }
    if let Err(error) = write_down_end(store, &mut record, exit) {
        // The program has done its work: its exit code counts.
        output::error(&error);
    }
    Ok(ended.code as u8)
}

/// Whoever removes it meanwhile takes the record away; then there is nothing to write down.
fn write_down_end(store: &Store, record: &mut Record, exit: Exit) -> Result<()> {
    match Lock::wait(&store.folder(&record.id))? {
        Some(_lock) => store.end(record, exit),
        None => Ok(()),
    }
}

fn begin_in_foreground(
    store: &Store,
    args: &RunArgs,
    record: &mut Record,
    spec: &oci::Spec,
    teller: &mut Teller,
) -> Result<(Plan, Streams, SignalFd, Running)> {
    let mut streams = Streams::new(args.process.interactive)?;
    let mut choices = choices(args, record, teller)?;
    choices.stdio = std::mem::take(&mut streams.theirs);
    let mut plan = plan(spec, record, choices)?;
    let signals = supervise::catch_signals()?;
    let running = minibox_runtime::spawn::start(&plan, &mut |event| {
        if let Event::Born { pid } = event {
            monitor::write_down_start(store, record, *pid)?;
            guardian::start(store, &record.id, &record.name, *pid)?;
        }
        teller.hear(event)
    })?;
    // Our copies of its streams would keep its pipes open.
    plan.process.stdio = [None, None, None];
    Ok((plan, streams, signals, running))
}

fn is_shell(command: &[String]) -> bool {
    let program = command.first().map(|c| c.rsplit('/').next().unwrap_or(c));
    command.len() == 1
        && matches!(program, Some("sh" | "bash" | "ash" | "dash" | "zsh" | "busybox"))
}

fn run_monitored(
    store: &Store,
    args: &RunArgs,
    record: &Record,
    spec: &oci::Spec,
    lock: Lock,
    teller: Teller,
) -> Result<u8> {
    let (id, name) = (&record.id, &record.name);
    let begun = begin_monitored(store, args, record, spec, lock, teller);
    let (socket, signals, pid) = undo(store, record, begun)?;
    let Some(signals) = signals else {
        output::print(&format!("{id}\n"));
        output::note(&format!(
            "[{name}] {pid}: the program's PID on this host; inside it is PID 1"
        ));
        return Ok(0);
    };
    match client::attend(&socket, args.process.interactive, name, &signals)? {
        Attended::Ended(code) => Ok(code as u8),
        Attended::Left => Ok(0),
        Attended::HungUp => Ok(129),
        // The container's record must stay: it may still run.
        Attended::MonitorGone => {
            output::note(&format!(
                "the monitor of {name} is gone; `minibox ps -a` shows what became of it"
            ));
            Ok(125)
        }
    }
}

fn begin_monitored(
    store: &Store,
    args: &RunArgs,
    record: &Record,
    spec: &oci::Spec,
    lock: Lock,
    teller: Teller,
) -> Result<(OwnedFd, Option<SignalFd>, i32)> {
    let mut choices = choices(args, record, &teller)?;
    // The monitor is the parent, and its death must not end the container.
    choices.die_with_parent = false;
    let pipes = if args.process.tty {
        Pipes::default()
    } else {
        let (pipes, theirs) = Pipes::make(&store.run_folder(&record.id), args.process.interactive)?;
        choices.stdio = theirs;
        pipes
    };
    let plan = plan(spec, record, choices)?;
    let signals = if args.detach { None } else { Some(supervise::catch_signals()?) };
    let (record, has_owner) = (record.clone(), !args.detach);
    let socket = monitor::start(Birth { store, record, lock, plan, pipes, teller, has_owner })?;
    let pid = wait_for_start(&socket)?;
    Ok((socket, signals, pid))
}

/// Waits for the monitor's first word.
fn wait_for_start(socket: &OwnedFd) -> Result<i32> {
    use nix::sys::socket::{MsgFlags, recv};
    use std::os::fd::AsRawFd;
    let mut buffer = vec![0; MESSAGE];
    let count = loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => break 0,
            Ok(count) => break count,
        }
    };
    match (count, buffer[0]) {
        (5.., to_client::STARTED) => {
            Ok(i32::from_ne_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]))
        }
        (2.., to_client::FAILED) => Err(monitor::error_of(buffer[1], &buffer[2..count])),
        _ => Err(Error::new("the monitor was killed before it could start the container")
            .hint("`minibox gc` finds what it left")),
    }
}

fn dry_run(
    store: &Store,
    args: &RunArgs,
    wishes: &Wishes,
    id_map: Option<&IdMap>,
    form: DryRun,
) -> Result<u8> {
    let name = args.name.as_deref().unwrap_or("dry-run");
    let scratch =
        tempfile::tempdir().map_err(|e| Error::of_io("make", &std::env::temp_dir(), &e))?;
    let hostname = hostname(args, wishes, name);
    let files = own_files(scratch.path(), wishes.host_network, &hostname)?;
    let cgroup = cgroup_for(store, args, name)?;
    let place = config::Place {
        id_map,
        cgroup: cgroup.as_ref().map(|c| c.path.as_str()),
        hostname: &hostname,
        files: &files,
    };
    let spec = config::build(args, wishes, &place)?;
    let layer = (!args.rw).then(|| Layer {
        upper: PathBuf::from("LAYER/upper"),
        work: PathBuf::from("LAYER/work"),
        volatile: args.rm,
    });
    let plan = Plan::new(
        &spec,
        cgroup,
        Choices {
            layer,
            console_size: terminal::size(),
            die_with_parent: !args.detach && !args.process.tty,
            ..Choices::default()
        },
    )?;
    let text = match form {
        DryRun::Plan => dryrun::plan(&plan),
        DryRun::Sh => dryrun::script(&plan, &hostname, wishes.host_network),
    };
    // The files of its own are not made: a script makes them where it makes its layer.
    let place = if matches!(form, DryRun::Sh) { "$LAYER" } else { "FILES" };
    output::print(&text.replace(&scratch.path().display().to_string(), place));
    Ok(0)
}

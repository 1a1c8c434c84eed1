//! The verbs of runtime-spec on a container that others look after: `create`, `start`, `kill`, `delete` and
//! what engines have beside them. The only code that changes what such a container is doing.
//!
//! ```text
//! ROOT/ID/state.json    what is known of it: written before anything is made, and again at each change
//!         config.json   its configuration, as it was created with and as `update` changed it
//!         gate          where it waits to be started, see gate.rs
//! ```
//!
//! What it is doing is asked of the kernel and not of a record: whether its process lives, whether that waits
//! at the gate, whether it is frozen. The folder is locked by whoever changes anything, and goes last.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Process, Spec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::capabilities;
use crate::cgroup::{self, Address, Cgroup, Layout};
use crate::error::{Blame, Error, Result};
use crate::gate::{self, Gate};
use crate::hooks::Hooks;
use crate::idmap::IdMap;
use crate::namespaces;
use crate::pid_namespace;
use crate::plan::{Choices, JoinPlan, Plan};
use crate::program;
use crate::resctrl::Class;
use crate::scheduling;
use crate::seccomp::{self, SeccompPlan};
use crate::spawn::{self, Event, Running};
use crate::spec;
use crate::state::{self, Lock, ProcessId};
use crate::step::Step;
use crate::sys;
use crate::systemd::Unit;
use crate::user;

/// How long a killed process may take to end, in milliseconds.
const PATIENCE: u16 = 10_000;

/// What a container is doing, in the words of runtime-spec and, for a pause, of the engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Being made.
    Creating,
    /// Made, and waiting to be started.
    Created,
    /// Its program runs.
    Running,
    /// Its program runs, and is frozen.
    Paused,
    /// Its first process has ended, or never lived.
    Stopped,
}

impl Status {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// state.json.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    bundle: PathBuf,
    /// RFC 3339, in UTC.
    created: String,
    /// Of the boot it was created in, random(4).
    boot_id: String,
    /// None where it has no cgroup.
    cgroup: Option<Address>,
    /// Its first process, once there is one.
    init: Option<ProcessId>,
    /// `create` has come to its end.
    is_made: bool,
}

/// A container that was written down.
#[derive(Debug)]
pub struct Container {
    /// Its name.
    pub id: String,
    folder: PathBuf,
    record: Record,
    /// Its configuration.
    pub spec: Spec,
}

/// Who makes a container's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroups {
    /// minibox, by the files of cgroupfs, where that may be written.
    Files,
    /// systemd, the machine's or the user's own.
    Systemd,
    /// Nobody: there is none.
    None,
}

/// What `create` is told beside config.json.
#[derive(Debug)]
pub struct Creation<'a> {
    /// The folder with config.json: the current folder, by which relative paths in it are looked up.
    pub bundle: &'a Path,
    /// config.json.
    pub spec: Spec,
    /// See [`Choices`].
    pub choices: Choices,
    /// Who makes its cgroup.
    pub cgroups: Cgroups,
    /// The session keyring stays the caller's.
    pub keep_keyring: bool,
}

/// Makes a container, up to the last call before its program: `start` makes that. `hand_over` gives the process
/// to whoever is to have it, before the container counts as created. After an error nothing is left.
pub fn create(
    root: &Path,
    id: &str,
    mut creation: Creation<'_>,
    hand_over: &mut dyn FnMut(&Running) -> Result<()>,
) -> Result<Running> {
    check_id(id)?;
    let mut spec = std::mem::take(&mut creation.spec);
    spec::check(&spec)?;
    let linux = spec.linux_mut().as_mut();
    if let Some(resources) = linux.and_then(|linux| linux.resources_mut().as_mut()) {
        spec::drop_zeros(resources);
    }
    let folder = root.join(id);
    if folder.exists() {
        return Err(taken(id));
    }
    let cgroup = plan_cgroup(&spec, id, creation.cgroups)?;
    make_folders(root)?;
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken(id)),
        made => made.map_err(|error| Error::of_io("make", &folder, &error))?,
    }
    let gone = || Error::new(format!("container {id} was deleted while it was made"));
    let lock = Lock::wait(&folder)?.ok_or_else(gone)?;
    let record = Record {
        bundle: creation.bundle.to_owned(),
        created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        boot_id: state::boot_id().to_owned(),
        cgroup: cgroup.as_ref().map(Cgroup::address),
        init: None,
        is_made: false,
    };
    let mut container = Container { id: id.to_owned(), folder, record, spec };
    let made = container.make(&lock, cgroup, creation, hand_over);
    made.inspect_err(|_| {
        // The first error is the one to tell; what could not be undone stays written down.
        let _ = container.destroy();
    })
}

/// Lets the program of a created container start.
pub fn start(root: &Path, id: &str) -> Result<()> {
    let (container, _lock) = Container::lock(root, id)?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => return Err(Error::new("cannot start a container that has stopped")),
        Status::Creating => return Err(Error::new("cannot start a container that is being made")),
        Status::Running | Status::Paused => {
            return Err(Error::new("cannot start an already running container"));
        }
    }
    container.run().inspect_err(|_| {
        // As runtime-spec has it: without one of its hooks it is not to go on. `delete` does the rest.
        let _ = container.kill_init();
    })
}

/// Removes what is left of a container. One that still runs is killed first, where `force`; then one that
/// is not there is no error either.
pub fn delete(root: &Path, id: &str, force: bool) -> Result<()> {
    let folder = root.join(id);
    let lock = if is_id(id) { Lock::wait(&folder)? } else { None };
    let Some(_lock) = lock else {
        return if force { Ok(()) } else { Err(missing(id)) };
    };
    let container = match Container::read(root, id) {
        Ok(Some(container)) => container,
        // Its maker was killed before it had made anything; or the folder is not a container's.
        Ok(None) if force => return remove_folder(&folder),
        Ok(None) => return Err(damaged(id)),
        Err(error) if force => return delete_damaged(&folder, id, error),
        Err(error) => return Err(error),
    };
    let status = container.status();
    if !force && !matches!(status, Status::Stopped | Status::Created) {
        let word = status.word();
        return Err(Error::new(format!(
            "cannot delete container {id} that is not stopped: {word}"
        )));
    }
    container.destroy()
}

/// Every container below `root`, in the order of their names; those that cannot be read as errors.
pub fn list(root: &Path) -> Vec<Result<Container>> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut ids: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    ids.sort_unstable();
    // One without a state has just been begun, or removed.
    ids.iter().filter_map(|id| Container::read(root, id).transpose()).collect()
}

impl Container {
    /// The container called `id`.
    pub fn find(root: &Path, id: &str) -> Result<Container> {
        let read = if is_id(id) { Container::read(root, id)? } else { None };
        read.ok_or_else(|| missing(id))
    }

    /// The same, and nobody else changes it while the lock is held.
    pub fn lock(root: &Path, id: &str) -> Result<(Container, Lock)> {
        let lock = if is_id(id) { Lock::wait(&root.join(id))? } else { None };
        let lock = lock.ok_or_else(|| missing(id))?;
        Ok((Container::find(root, id)?, lock))
    }

    fn read(root: &Path, id: &str) -> Result<Option<Container>> {
        let folder = root.join(id);
        let unread = |error: Error| Error { hint: None, ..error };
        let record = state::read(&folder.join("state.json")).map_err(unread)?;
        let Some(record) = record else { return Ok(None) };
        let spec = spec::load(&folder)?;
        Ok(Some(Container { id: id.to_owned(), folder, record, spec }))
    }

    fn save(&self) -> Result<()> {
        state::save(&self.folder.join("state.json"), &self.record)
    }

    /// What it is doing now.
    pub fn status(&self) -> Status {
        let is_alive = self.record.boot_id == state::boot_id()
            && self.record.init.is_some_and(ProcessId::is_alive);
        if !self.record.is_made {
            // Its maker holds the lock, and a process that is not complete yet holds it too.
            let is_held = Lock::try_now(&self.folder).is_ok_and(|lock| lock.is_none());
            return if is_alive || is_held { Status::Creating } else { Status::Stopped };
        }
        match self.cgroup() {
            _ if !is_alive => Status::Stopped,
            _ if gate::is_waited_at(&self.folder) => Status::Created,
            Ok(Some(cgroup)) if cgroup.is_frozen() => Status::Paused,
            _ => Status::Running,
        }
    }

    /// Its cgroup, where it has one.
    pub fn cgroup(&self) -> Result<Option<Cgroup>> {
        self.record.cgroup.as_ref().map(Address::cgroup).transpose()
    }

    /// The pid of its first process on the host, and a descriptor that refers to it for ever; none where it
    /// has ended.
    pub fn hold(&self) -> Result<Option<(i32, OwnedFd)>> {
        if self.status() == Status::Stopped {
            return Ok(None);
        }
        let Some(init) = self.record.init else { return Ok(None) };
        Ok(state::hold(init)?.map(|pidfd| (init.pid, pidfd)))
    }

    /// The folder that config.json came from.
    pub fn bundle(&self) -> &Path {
        &self.record.bundle
    }

    /// When it was created: RFC 3339, in UTC.
    pub fn created(&self) -> &str {
        &self.record.created
    }

    /// The uid of whoever created it.
    pub fn owner(&self) -> u32 {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(&self.folder).map_or(0, |metadata| metadata.uid())
    }

    /// Its root filesystem's folder on the host.
    pub fn rootfs(&self) -> PathBuf {
        let path = self.spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default();
        self.record.bundle.join(path)
    }

    /// The pid of its first process on the host; 0 where it has none.
    pub fn pid(&self, status: Status) -> i32 {
        let init = self.record.init.filter(|_| status != Status::Stopped);
        init.map_or(0, |init| init.pid)
    }

    /// runtime-spec's state, for hooks.
    fn state(&self, status: Status) -> Vec<u8> {
        let mut state = json!({
            "ociVersion": self.spec.version(),
            "id": self.id,
            "status": status.word(),
            "pid": self.pid(status),
            "bundle": self.record.bundle,
        });
        if let (Some(map), Some(annotations)) = (state.as_object_mut(), self.spec.annotations()) {
            map.insert(String::from("annotations"), json!(annotations));
        }
        Value::to_string(&state).into_bytes()
    }

    fn make(
        &mut self,
        lock: &Lock,
        cgroup: Option<Cgroup>,
        creation: Creation<'_>,
        hand_over: &mut dyn FnMut(&Running) -> Result<()>,
    ) -> Result<Running> {
        let copy = self.folder.join("config.json");
        fs::write(&copy, serde_json::to_vec(&self.spec).unwrap_or_default())
            .map_err(|error| Error::of_io("write", &copy, &error))?;
        self.save()?;
        let (id, bundle) = (self.id.clone(), self.record.bundle.clone());
        let choices = Choices { id, bundle, ..creation.choices };
        let mut spec = self.spec.clone();
        spec.set_process(self.process());
        let mut plan = Plan::new(&spec, cgroup, choices)?;
        plan.process.keep_keyring = creation.keep_keyring;
        plan.process.takes_every_processor = true;
        plan.process.gate = Some(Gate::new(&self.folder, lock.descriptor())?);
        let running = spawn::start(&plan, &mut |event| match event {
            Event::Born { pid } => {
                let gone = || Error::new(format!("the new process {pid} vanished"));
                self.record.init = Some(ProcessId::of(*pid).ok_or_else(gone)?);
                self.save()
            }
            Event::Hooks { pid } => self.run_early_hooks(*pid),
            _ => Ok(()),
        })?;
        hand_over(&running)?;
        self.record.is_made = true;
        self.save()?;
        Ok(running)
    }

    /// Its program, with the environment that it gets.
    fn process(&self) -> Option<Process> {
        let mut process = self.spec.process().clone()?;
        if let Ok(root) = fs::File::open(self.rootfs()) {
            set_home(&mut process, root.as_fd());
        }
        Some(process)
    }

    /// What hooks run with that act for the runtime: root, with all that the caller has, in the root folder.
    /// In a user namespace that may be out of reach.
    fn whole_power(&self) -> Process {
        let all: oci_spec::runtime::Capabilities = (0..64)
            .filter(|number| capabilities::grantable() & (1 << number) != 0)
            .filter_map(capabilities::name)
            .filter_map(|name| name.trim_start_matches("CAP_").parse().ok())
            .collect();
        let mut sets = oci_spec::runtime::LinuxCapabilities::default();
        sets.set_bounding(Some(all.clone()));
        sets.set_effective(Some(all.clone()));
        sets.set_permitted(Some(all));
        sets.set_inheritable(None).set_ambient(None);
        let mut process = Process::default();
        process.set_capabilities(Some(sets)).set_rlimits(None).set_no_new_privileges(None);
        process.set_env(None);
        if !spec::has_namespace(&self.spec, LinuxNamespaceType::User) {
            process.set_cwd(self.rootfs());
        }
        process
    }

    /// The hooks between the namespaces and the root.
    fn run_early_hooks(&self, pid: i32) -> Result<()> {
        let Some(hooks) = self.spec.hooks() else { return Ok(()) };
        let state = self.state(Status::Creating);
        #[allow(deprecated)] // Engines still send it.
        let prestart = hooks.prestart().as_ref();
        Hooks { point: "prestart", list: prestart, state: &state }.run(&self.record.bundle)?;
        let list = hooks.create_runtime().as_ref();
        Hooks { point: "createRuntime", list, state: &state }.run(&self.record.bundle)?;
        let list = hooks.create_container().as_ref();
        Hooks { point: "createContainer", list, state: &state }.run_inside(
            &self.whole_power(),
            &|process, stdio| {
                let held = sys::pidfd_open(pid);
                let held = held.map_err(|f| Error::of_fault("cannot hold the container", f))?;
                plan_join(
                    (pid, held),
                    None,
                    process,
                    (None, None),
                    None,
                    Choices { stdio, ..Choices::default() },
                )
            },
        )
    }

    /// From the gate to the program, with the hooks on both sides.
    fn run(&self) -> Result<()> {
        let hooks = self.spec.hooks().as_ref();
        let list = hooks.and_then(|hooks| hooks.start_container().as_ref());
        if let (Some(_), Some(process)) = (list, self.process()) {
            let state = self.state(Status::Created);
            let hooks = Hooks { point: "startContainer", list, state: &state };
            hooks.run_inside(&process, &|process, stdio| {
                let held = self.hold()?.ok_or_else(not_running)?;
                let choices = Choices { stdio, ..Choices::default() };
                let plan = (self.filter()?, None);
                plan_join(
                    held,
                    self.cgroup()?.as_ref(),
                    process,
                    plan,
                    self.spec.linux().as_ref(),
                    choices,
                )
            })?;
        }
        let tell_agent = |listener| {
            let (Some(filter), Some(init)) = (self.filter()?, self.record.init) else {
                return Ok(());
            };
            filter.tell_agent(&listener, init.pid, init.pid)
        };
        if let Some(failed) = gate::open(&self.folder, tell_agent)? {
            return Err(match failed.step {
                Step::Exec => self.cannot_execute(failed.errno),
                step => Error::new(format!("cannot {}", step.about().title))
                    .step(step)
                    .errno(failed.errno),
            });
        }
        let list = hooks.and_then(|hooks| hooks.poststart().as_ref());
        let state = self.state(Status::Running);
        Hooks { point: "poststart", list, state: &state }.run(&self.record.bundle)
    }

    fn cannot_execute(&self, errno: Errno) -> Error {
        let args = self.spec.process().as_ref().and_then(|process| process.args().as_ref());
        let name = args.and_then(|args| args.first()).cloned().unwrap_or_default();
        Error::new(format!("cannot execute {name}"))
            .step(Step::Exec)
            .errno(errno)
            .blame(Blame::NotExecutable)
    }

    /// Sends `signal` to its first process, or to all that are in its cgroup.
    pub fn kill(&self, signal: i32, all: bool) -> Result<()> {
        let cgroup = self.cgroup()?;
        let held = self.hold()?;
        let shares_pids = !spec::has_new_namespace(&self.spec, LinuxNamespaceType::Pid);
        if let (Some(cgroup), true) = (&cgroup, all || (shares_pids && signal == libc::SIGKILL)) {
            if cgroup.processes().is_empty() && !all {
                return Err(not_running());
            }
            cgroup.signal(signal);
        } else {
            let (_, pidfd) = held.ok_or_else(not_running)?;
            match sys::pidfd_send_signal(pidfd.as_raw_fd(), signal) {
                Err(fault) if fault.errno == Errno::ESRCH => return Err(not_running()),
                sent => sent.map_err(|fault| Error::of_fault("cannot send the signal", fault))?,
            }
        }
        // Version 1's freezer does not hear even SIGKILL.
        if let (Some(cgroup), libc::SIGKILL) = (cgroup, signal) {
            let _ = cgroup.thaw();
        }
        Ok(())
    }

    /// Freezes all its processes, or lets them go on.
    pub fn pause(&self, pause: bool) -> Result<()> {
        match (self.status(), pause) {
            (Status::Running | Status::Created, true) | (Status::Paused, false) => {}
            (Status::Paused, true) => return Err(Error::new("container is already paused")),
            (Status::Stopped | Status::Creating, _) => return Err(not_running()),
            (_, false) => return Err(Error::new("container not paused")),
        }
        let cgroup = self.cgroup()?.ok_or_else(no_cgroup)?;
        if pause { cgroup.freeze() } else { cgroup.thaw() }
    }

    /// Its processes, as the caller's pid namespace numbers them; none once it has ended.
    pub fn processes(&self) -> Result<Vec<i32>> {
        match (self.cgroup()?, self.hold()?) {
            (Some(cgroup), _) => Ok(cgroup.processes()),
            (None, Some((pid, _held))) => pid_namespace::processes(pid),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Puts the limits that `resources` names into force, and writes them down.
    pub fn update(&mut self, mut resources: LinuxResources) -> Result<()> {
        spec::drop_zeros(&mut resources);
        if self.status() == Status::Stopped {
            return Err(not_running());
        }
        self.cgroup()?.ok_or_else(no_cgroup)?.limit(&resources)?;
        let Some(linux) = self.spec.linux_mut() else { return Ok(()) };
        let mut all = serde_json::to_value(linux.resources()).unwrap_or_default();
        merge(&mut all, serde_json::to_value(&resources).unwrap_or_default());
        linux.set_resources(serde_json::from_value(all).ok());
        state::save(&self.folder.join("config.json"), &self.spec)
    }

    /// Decides how `process` joins it; `below` are cgroups below its own, see [`Cgroup::below`]. `size` is that
    /// of its terminal.
    pub fn join(
        &self,
        mut process: Process,
        below: &[String],
        size: Option<(u16, u16)>,
        choices: Choices,
    ) -> Result<JoinPlan> {
        let (pid, pidfd) = self.hold()?.ok_or_else(not_running)?;
        let root = format!("/proc/{pid}/root");
        let root = fs::File::open(&root).map_err(|e| Error::of_io("open", root.as_ref(), &e))?;
        set_home(&mut process, root.as_fd());
        // Who names one means that one.
        let find = |cgroup: Cgroup| {
            if below.is_empty() { cgroup.for_newcomers(pid) } else { cgroup.below(below) }
        };
        let cgroup = self.cgroup()?.map(find).transpose()?;
        let linux = self.spec.linux().as_ref();
        plan_join((pid, pidfd), cgroup.as_ref(), &process, (self.filter()?, size), linux, choices)
    }

    /// Its filter of system calls, which whoever comes later gets too.
    fn filter(&self) -> Result<Option<SeccompPlan>> {
        seccomp::of_spec(&self.spec, &self.id, &self.record.bundle)
    }

    /// Kills its first process, and waits for its end.
    fn kill_init(&self) -> Result<()> {
        let Some((_, pidfd)) = self.hold()? else { return Ok(()) };
        let _ = sys::pidfd_send_signal(pidfd.as_raw_fd(), libc::SIGKILL);
        if let Some(cgroup) = self.cgroup()? {
            let _ = cgroup.thaw();
        }
        let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::from(PATIENCE)) {
            Ok(0) => Err(Error::new("its first process was killed, but does not end")
                .hint("it may wait for a disk or a network filesystem: state D in ps")),
            _ => Ok(()),
        }
    }

    /// Ends what lives, and removes all there is: the folder last, by which it is found again.
    fn destroy(&self) -> Result<()> {
        self.kill_init()?;
        if let Some(cgroup) = self.cgroup()? {
            cgroup.remove()?;
        }
        // Before there was a process somebody else's may have stood in the way.
        let had_process = self.record.init.is_some();
        if let Some(class) = Class::of(&self.spec, &self.id)?.filter(|_| had_process) {
            class.remove()?;
        }
        let hooks = self.spec.hooks().as_ref().filter(|_| had_process);
        let list = hooks.and_then(|hooks| hooks.poststop().as_ref());
        let state = self.state(Status::Stopped);
        Hooks { point: "poststop", list, state: &state }.run(&self.record.bundle)?;
        remove_folder(&self.folder)
    }
}

/// Decides how `process` joins the container whose first process is held.
fn plan_join(
    (pid, pidfd): (i32, OwnedFd),
    cgroup: Option<&Cgroup>,
    process: &Process,
    (filter, size): (Option<SeccompPlan>, Option<(u16, u16)>),
    linux: Option<&Linux>,
    choices: Choices,
) -> Result<JoinPlan> {
    let has_own_ids = namespaces::foreign(pid)? & libc::CLONE_NEWUSER != 0;
    let keeps_groups = has_own_ids && IdMap::of_process(pid)?.denies_groups();
    let mut program = program::plan(process, filter, keeps_groups, choices.stdio, size, false)?;
    program.first_closed += choices.preserve_fds as i32;
    program.bare_newlines = choices.bare_newlines;
    program.habits = scheduling::plan(process, linux)?;
    program.takes_every_processor = true;
    JoinPlan::new(pid, pidfd, cgroup, program)
}

/// Where nothing says what the container was, its configuration still tells where its cgroup would be.
fn delete_damaged(folder: &Path, id: &str, error: Error) -> Result<()> {
    let Ok(spec) = spec::load(folder) else { return Err(error) };
    let is_unit = cgroups_path(&spec).is_some_and(|path| path.matches(':').count() == 2);
    let cgroups = if is_unit { Cgroups::Systemd } else { Cgroups::Files };
    if let Some(cgroup) = cgroup_of(&spec, id, cgroups)? {
        cgroup.remove()?;
    }
    remove_folder(folder)
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::of_io("remove", folder, &error))
        }
        _ => Ok(()),
    }
}

fn make_folders(root: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
    made.map_err(|error| Error::of_io("make", root, &error))
}

/// `linux.cgroupsPath`, where it says anything.
fn cgroups_path(spec: &Spec) -> Option<String> {
    let path = spec.linux().as_ref()?.cgroups_path().as_ref()?.to_string_lossy().into_owned();
    Some(path).filter(|path| !path.is_empty())
}

/// The cgroup that config.json names, whoever makes it; without a word one called as it is,
/// at the top of each hierarchy.
fn cgroup_of(spec: &Spec, id: &str, cgroups: Cgroups) -> Result<Option<Cgroup>> {
    let asked = cgroups_path(spec);
    let layout = Layout::detect();
    match cgroups {
        Cgroups::Systemd => return Cgroup::of_unit(Unit::of_path(asked.as_deref(), id)?).map(Some),
        Cgroups::Files if cgroup::is_writable(&layout) => {}
        _ => return Ok(None),
    }
    let path = asked.unwrap_or_else(|| id.to_owned());
    Cgroup::at(&layout, &path).map(Some)
}

fn plan_cgroup(spec: &Spec, id: &str, cgroups: Cgroups) -> Result<Option<Cgroup>> {
    let Some(cgroup) = cgroup_of(spec, id, cgroups)? else {
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let is_limited = resources.is_some_and(|limits| {
            let has_memory = limits.memory().is_some_and(|memory| {
                memory.limit().or(memory.swap()).or(memory.reservation()).is_some()
            });
            let has_cpu = limits.cpu().as_ref().is_some_and(|cpu| {
                cpu.quota().is_some() || cpu.shares().is_some() || cpu.cpus().is_some()
            });
            has_memory || has_cpu || limits.pids().is_some_and(|pids| pids.limit() > 0)
        });
        if is_limited {
            return Err(Error::new(
                "linux.resources: this user may not make cgroups here, and so no limits",
            ));
        }
        return Ok(None);
    };
    // Whatever ends the container ends all that is in its cgroup.
    if !cgroup.processes().is_empty() {
        let path = &cgroup.path;
        return Err(Error::new(format!(
            "container's cgroup is not empty: {path} has processes already"
        ))
        .hint("give each container a linux.cgroupsPath of its own"));
    }
    // Its first process would fall asleep in it, and its maker wait for ever.
    if cgroup.is_frozen() {
        return Err(Error::new(format!("container's cgroup unexpectedly frozen: {}", cgroup.path))
            .hint("thaw it, or name another in linux.cgroupsPath"));
    }
    Ok(Some(cgroup))
}

/// The environment, each variable once, the last word winning; and `HOME` of the user, as runc and crun set it
/// where the environment names none: by the container's /etc/passwd, which may be anything.
fn set_home(process: &mut Process, root: BorrowedFd<'_>) {
    let given = process.env().clone().unwrap_or_default();
    let name = |entry: &String| entry.split_once('=').map(|(name, _)| name.to_owned());
    let is_last =
        |(at, entry): &(usize, &String)| !given[at + 1..].iter().any(|e| name(e) == name(entry));
    let last = given.iter().enumerate().filter(is_last).map(|(_, entry)| entry);
    let mut env: Vec<String> = last.filter(|entry| *entry != "HOME=").cloned().collect();
    if env.iter().any(|entry| entry.starts_with("HOME=")) {
        process.set_env(Some(env));
        return;
    }
    let home = user::resolve(root, &process.user().uid().to_string()).map(|user| user.home);
    env.push(format!("HOME={}", home.unwrap_or_else(|_| String::from("/"))));
    process.set_env(Some(env));
}

/// Puts the fields of `new` into `old`, level by level.
fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (old, new) => *old = new,
    }
}

fn is_id(id: &str) -> bool {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    !id.is_empty() && id.len() <= 255 && id.bytes().all(is_right) && id != "." && id != ".."
}

fn check_id(id: &str) -> Result<()> {
    if is_id(id) && !id.starts_with('.') {
        return Ok(());
    }
    Err(Error::new(format!("invalid container ID {id:?}"))
        .hint("letters, digits and _ + - . are allowed, at most 255, and no dot in front"))
}

fn taken(id: &str) -> Error {
    Error::new(format!("container with given ID already exists: {id}"))
        .hint("`delete` it first, or choose another")
}

fn missing(id: &str) -> Error {
    Error::new(format!("container {id:?} does not exist: container does not exist"))
}

fn damaged(id: &str) -> Error {
    Error::new(format!("container {id} was not completed")).hint("`delete --force` removes it")
}

fn not_running() -> Error {
    Error::new("container not running")
}

fn no_cgroup() -> Error {
    Error::new("the container has no cgroup, which this needs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for id in ["a", "A-b_c+d.e", "0", "-x"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", ".a", "a/b", "a b", "../x", "ä"] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let mut old = json!({"memory": {"limit": 1, "swap": 2}, "pids": {"limit": 3}});
        merge(&mut old, json!({"memory": {"limit": 5, "swap": null}, "cpu": {"shares": 7}}));
        let all =
            json!({"memory": {"limit": 5, "swap": 2}, "pids": {"limit": 3}, "cpu": {"shares": 7}});
        assert_eq!(old, all);
    }

    #[test]
    fn a_folder_that_cannot_be_read_does_not_hide_the_others() {
        let root = tempfile::tempdir().unwrap();
        assert!(list(&root.path().join("none")).is_empty());
        for id in ["bad", "begun"] {
            fs::create_dir(root.path().join(id)).unwrap();
        }
        fs::write(root.path().join("bad/state.json"), "{").unwrap();
        let all = list(root.path());
        assert_eq!(all.len(), 1);
        assert!(all[0].as_ref().unwrap_err().to_string().contains("state.json is damaged"));
        assert!(delete(root.path(), "bad", false).is_err());
        // Nothing tells what it may have left.
        assert!(delete(root.path(), "bad", true).is_err());
        delete(root.path(), "begun", true).unwrap();
        delete(root.path(), "begun", true).unwrap();
        assert!(
            delete(root.path(), "begun", false).unwrap_err().to_string().contains("does not exist")
        );
    }
}

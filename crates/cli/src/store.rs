//! Where containers are written down: what must outlive a reboot below the data folder, what lives
//! with the processes below the run folder.
//!
//! ```text
//! DATA/containers/ID/container.json   what it is, and how it ended      (durable)
//!                    container.spare  room for the next one
//!                    config.json      the OCI configuration
//!                    layer/{upper,work}  what it has changed
//!                    log, hosts, hostname, resolv.conf
//!                    health.json      the last results of its checks, once it has ended
//! DATA/names/NAME -> ID               one name, one container
//! DATA/volumes/NAME                   see volumes.rs
//! DATA/events.ndjson, events.1        what has happened
//! RUN/ID/state.json                   pid, start time, boot, keeper     (gone with the machine's power)
//!        health.json                  the results of its checks
//!        stdout, stderr, stdin        the pipes between program and monitor
//! ```
//!
//! A record is written before anything is made outside it, so that whatever a killed minibox leaves can
//! be found from here.

pub(crate) mod volumes;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use minibox_runtime::cgroup::{Address, Cgroup};
use minibox_runtime::idmap::{self, IdMap};
use minibox_runtime::state::{self, Lock, State};
use minibox_runtime::systemd::Unit;
use minibox_runtime::{Error, Result, sys};
use nix::errno::Errno;
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::events::{Actor, Event};
use crate::names;
use crate::settings::{Asked, Kind, Settings};

/// The schema of container.json; a higher one is left alone.
pub(crate) const VERSION: u32 = 1;

/// Results of health checks, in a container's folders.
pub(crate) const HEALTH: &str = "health.json";

/// How a container ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// Exit status as a shell would see it; unknown where nobody was there to collect it.
    pub code: Option<i32>,
    /// The kernel killed it for want of memory.
    pub out_of_memory: bool,
    /// RFC 3339.
    pub finished: String,
    /// Anything worth knowing beside the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// container.json.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub version: u32,
    pub id: String,
    pub name: String,
    /// RFC 3339.
    pub created: String,
    pub rootfs: PathBuf,
    pub command: Vec<String>,
    /// `layer` of its own folder, or elsewhere; `None` where it writes into the root folder.
    pub layer: Option<PathBuf>,
    /// The layer holds a root put together from several overlays, which config.json names.
    pub is_patchwork: bool,
    /// Maps of its user namespace.
    pub id_map: Option<IdMap>,
    /// Where its cgroup is, or will be.
    pub cgroup: Option<Address>,
    pub auto_remove: bool,
    pub terminal: bool,
    /// Has a monitor: its output is logged, and it can be left.
    pub monitored: bool,
    pub typed: Typed,
    pub settings: Settings,
    /// What it was asked to mount. Its volumes are in use as long as it is there.
    #[serde(default)]
    pub mounts: Vec<Asked>,
    /// Made by `create`, waiting to be started.
    pub is_startable: bool,
    pub started: Option<String>,
    pub exit: Option<Exit>,
    /// How often its restart policy has started it since somebody did.
    pub restarts: u32,
    /// It has ended, and its monitor will start it again.
    pub is_restarting: bool,
    /// Who asked for its end; then no policy starts it again.
    pub halted: Option<Halted>,
}

/// The command line that a container was made by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Typed {
    /// The folder it was typed in.
    pub folder: PathBuf,
    /// What stood after `minibox`.
    pub words: Vec<String>,
}

impl Typed {
    /// This process's own.
    pub(crate) fn here() -> Typed {
        let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        Typed { folder: std::env::current_dir().unwrap_or_default(), words: words.collect() }
    }
}

/// Who asked for a container's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Halted {
    /// Somebody, with `stop` or `kill`.
    User,
    /// The machine, going down.
    Shutdown,
    /// Somebody who starts it again, so that it is not removed either.
    Restart,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Being made, or started by someone who was killed before it ran.
    Created,
    Running,
    /// Ended, and about to be started again.
    Restarting,
    Exited,
}

/// A record together with what lives.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub record: Record,
    pub state: Option<State>,
    /// There is a state.json, and it cannot be read.
    pub state_is_damaged: bool,
}

/// The folders of one user.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub run: PathBuf,
    pub data: PathBuf,
    /// Below each cgroup hierarchy.
    pub cgroup_parent: String,
}

/// In the durable folder: where the other one was, when it was last chosen.
const RUN_LINK: &str = "run";

/// Now, as it is written into records.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// A folder that only the caller may enter, made where it is missing.
pub(crate) fn make_private(folder: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        Error::of_io("make the folder", folder, &error)
            .hint("choose another with --run-dir or --data-dir (MINIBOX_RUN_DIR, MINIBOX_DATA_DIR)")
    })?;
    let owner = fs::metadata(folder).map_err(|e| Error::of_io("look at", folder, &e))?.uid();
    if owner != Uid::effective().as_raw() {
        return Err(Error::new(format!("{} belongs to uid {owner}, not to you", folder.display()))
            .hint("choose another with --run-dir or --data-dir"));
    }
    Ok(())
}

impl Store {
    /// The caller's store, its folders made; `run` and `data` override the places.
    pub(crate) fn open(run: Option<PathBuf>, data: Option<PathBuf>) -> Result<Store> {
        // Root's lies in one place, whatever session he has.
        let may_move = run.is_none() && !Uid::effective().is_root();
        let store = Store::places(run, data);
        make_private(&store.run)?;
        make_private(&store.data.join("containers"))?;
        make_private(&store.data.join("names"))?;
        let link = store.data.join(RUN_LINK);
        if may_move && fs::read_link(&link).ok().as_ref() != Some(&store.run) {
            let new = link.with_extension(std::process::id().to_string());
            std::os::unix::fs::symlink(&store.run, &new)
                .and_then(|()| fs::rename(&new, &link))
                .map_err(|error| Error::of_io("make the link", &link, &error))?;
        }
        Ok(store)
    }

    /// Where the caller's store is, or would be; nothing is made.
    pub(crate) fn places(run: Option<PathBuf>, data: Option<PathBuf>) -> Store {
        let root = Uid::effective().is_root();
        // As it was meant where it was said: a monitor works from `/`.
        let absolute = |folder: PathBuf| std::path::absolute(&folder).unwrap_or(folder);
        let (run, data) = (run.map(absolute), data.map(absolute));
        let env = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = || env("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let default_data = || match (root, env("XDG_DATA_HOME")) {
            (true, _) => PathBuf::from("/var/lib/minibox"),
            (false, Some(folder)) => folder.join("minibox"),
            (false, None) => home().join(".local/share/minibox"),
        };
        let cgroup_parent = match &data {
            None => String::from("minibox"),
            // Another store must not take this one's cgroups for leftovers.
            Some(folder) => format!("minibox-{:08x}", fnv(folder)),
        };
        let data = data.unwrap_or_else(default_data);
        // A user's session has another folder than his cron jobs have: while anything lives in one, it is
        // the one.
        let run_in_use = || {
            let run = fs::read_link(data.join(RUN_LINK)).ok()?;
            fs::read_dir(&run).ok()?.next().map(|_| run)
        };
        let session_run = || match env("XDG_RUNTIME_DIR") {
            Some(folder) => folder.join("minibox"),
            None => std::env::temp_dir().join(format!("minibox-{}", Uid::effective())),
        };
        let default_run = || {
            if root {
                return PathBuf::from("/run/minibox");
            }
            run_in_use().unwrap_or_else(session_run)
        };
        Store { run: run.unwrap_or_else(default_run), data, cgroup_parent }
    }

    /// The durable folder of container `id`.
    pub(crate) fn folder(&self, id: &str) -> PathBuf {
        self.data.join("containers").join(id)
    }

    /// The folder of container `id` that lives with its processes.
    pub(crate) fn run_folder(&self, id: &str) -> PathBuf {
        self.run.join(id)
    }

    fn record_path(&self, id: &str) -> PathBuf {
        self.folder(id).join("container.json")
    }

    fn name_path(&self, name: &str) -> PathBuf {
        self.data.join("names").join(name)
    }

    /// Makes the folder of a new container, locked, and takes a name for it.
    pub(crate) fn create(&self, name: Option<&str>) -> Result<(String, String, Lock)> {
        let id = names::new_id();
        let folder = self.folder(&id);
        make_private(&folder)?;
        let lock = Lock::wait(&folder)?
            .ok_or_else(|| Error::new("the new container's folder vanished"))?;
        let taken = |name: &str| std::os::unix::fs::symlink(&id, self.name_path(name));
        let mut attempt = 0;
        loop {
            let chosen = name.map_or_else(|| names::new_name(attempt), str::to_owned);
            attempt += 1;
            match taken(&chosen) {
                Ok(()) => return Ok((id, chosen, lock)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if name.is_some() && !self.free_dangling_name(&chosen) {
                        let _ = fs::remove_dir_all(&folder);
                        return Err(Error::new(format!("the name {chosen:?} is taken"))
                            .hint(format!("remove the old container with `minibox rm {chosen}`, or choose another name")));
                    }
                }
                Err(error) => {
                    let _ = fs::remove_dir_all(&folder);
                    return Err(Error::of_io("take the name", &self.name_path(&chosen), &error));
                }
            }
        }
    }

    /// A name whose container is gone may be taken again, and one that a `rename` was killed with.
    fn free_dangling_name(&self, name: &str) -> bool {
        let path = self.name_path(name);
        let Ok(id) = fs::read_link(&path) else { return false };
        let id = id.to_string_lossy();
        // Whoever makes or renames a container has it locked.
        let is_dangling = match Lock::try_now(&self.folder(&id)) {
            Ok(None) => !self.folder(&id).exists(),
            Ok(Some(_lock)) => {
                let container = self.load(&id).ok().flatten();
                container.is_some_and(|container| container.record.name != name)
            }
            Err(_) => false,
        };
        is_dangling && fs::remove_file(&path).is_ok()
    }

    /// Gives a container another name. The caller holds its lock; killed half-way it has one of the two.
    pub(crate) fn rename(&self, record: &mut Record, name: &str) -> Result<()> {
        let taken = || std::os::unix::fs::symlink(&record.id, self.name_path(name));
        let is_ours =
            || fs::read_link(self.name_path(name)).is_ok_and(|id| id == Path::new(&record.id));
        let done = match taken() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_ours() => Ok(()),
            Err(error)
                if error.kind() == ErrorKind::AlreadyExists && self.free_dangling_name(name) =>
            {
                taken()
            }
            done => done,
        };
        done.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Error::new(format!("the name {name:?} is taken")).hint(format!(
                    "remove the other container with `minibox rm {name}`, or choose another name"
                ))
            }
            _ => Error::of_io("take the name", &self.name_path(name), &error),
        })?;
        let old = std::mem::replace(&mut record.name, name.to_owned());
        self.save(record)?;
        let _ = fs::remove_file(self.name_path(&old));
        self.tell(record, "rename", &[("oldName", &old)]);
        Ok(())
    }

    /// Writes down what has happened to a container, with what there is to say beside its name.
    pub(crate) fn tell(&self, record: &Record, action: &str, more: &[(&str, &str)]) {
        let mut attributes = record.settings.labels.clone();
        let rootfs = record.rootfs.to_string_lossy();
        for (key, value) in [("name", record.name.as_str()), ("image", &rootfs)].iter().chain(more)
        {
            attributes.insert((*key).to_owned(), (*value).to_owned());
        }
        let actor = Actor { id: record.id.clone(), attributes };
        Event::now("container", action, actor).write(&self.data);
    }

    /// Writes down that a container has ended.
    fn tell_end(&self, record: &Record, exit: &Exit) {
        if exit.out_of_memory {
            self.tell(record, "oom", &[]);
        }
        if record.started.is_some() {
            self.tell(record, "die", &[("exitCode", &exit.shown_code().to_string())]);
        }
    }

    /// Writes the record, and keeps room for the next: somebody else may fill the disk. What is to be removed
    /// at its end needs none. The caller holds its lock.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let path = self.record_path(&record.id);
        state::save(&path, record)?;
        if !record.auto_remove {
            state::keep_room(&path);
        }
        Ok(())
    }

    /// Reads one container by its full id; `None` where there is none.
    pub(crate) fn load(&self, id: &str) -> Result<Option<Container>> {
        let Some(record) = state::read::<Record>(&self.record_path(id))? else {
            return Ok(None);
        };
        if record.id != id {
            let what = format!("{} belongs to another container", self.record_path(id).display());
            return Err(Error::new(what).hint("was its folder copied?"));
        }
        if record.version > VERSION {
            return Err(Error::new(format!("container {id} was made by a newer minibox")));
        }
        let state = state::read(&self.run_folder(id).join("state.json"));
        let state_is_damaged = state.is_err();
        Ok(Some(Container { record, state: state.unwrap_or(None), state_is_damaged }))
    }

    /// Has it a record that this minibox, or a newer one, understands?
    pub(crate) fn is_readable(&self, id: &str) -> bool {
        let newer = |value: serde_json::Value| value["version"].as_u64() > Some(VERSION.into());
        matches!(self.load(id), Ok(Some(_)))
            || state::read(&self.record_path(id)).is_ok_and(|value| value.is_some_and(newer))
    }

    /// The ids of all folders, readable or not.
    pub(crate) fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data.join("containers")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// All containers that can be read, the newest first. One that cannot never hides the others.
    pub(crate) fn all(&self) -> Vec<Container> {
        let mut all: Vec<Container> =
            self.ids().iter().filter_map(|id| self.load(id).ok().flatten()).collect();
        all.sort_by(|a, b| b.record.created.cmp(&a.record.created));
        all
    }

    /// Finds a container by its name, its id, or the beginning of its id.
    pub(crate) fn find(&self, asked: &str) -> Result<Container> {
        let none = || {
            let all: Vec<String> = self.all().into_iter().map(|c| c.record.name).collect();
            let mut hint = names::hint(asked, &all, "`minibox ps -a`");
            if !Uid::effective().is_root() {
                hint = format!("{hint} of yours; root's are seen with sudo");
            }
            Error::new(format!("there is no container {asked:?}")).hint(hint)
        };
        if asked.is_empty() || asked.contains('/') || asked.starts_with('.') {
            return Err(none());
        }
        if let Ok(id) = fs::read_link(self.name_path(asked)) {
            let found = self.load(&id.to_string_lossy())?.ok_or_else(none)?;
            // Another name: what a `rename` that was killed has left.
            if found.record.name == asked {
                return Ok(found);
            }
        }
        let ids: Vec<String> = self.ids().into_iter().filter(|id| id.starts_with(asked)).collect();
        match ids.as_slice() {
            [] => Err(none()),
            [id] => self.load(id)?.ok_or_else(none),
            several => {
                Err(Error::new(format!("{asked:?} is the beginning of {} ids", several.len()))
                    .hint("give more digits, or the name"))
            }
        }
    }

    /// Writes down the end of a container whose keeper is gone too, and takes its leftovers away.
    pub(crate) fn settle(&self, container: &Container) -> Result<()> {
        if !container.is_forsaken() {
            return Ok(());
        }
        // Locked: somebody is making it right now.
        let Some(_lock) = Lock::try_now(&self.folder(&container.record.id))? else {
            return Ok(());
        };
        let Some(mut now) = self.load(&container.record.id)? else {
            return Ok(());
        };
        if !now.is_forsaken() {
            return Ok(());
        }
        if now.record.exit.is_some() {
            // Its monitor was killed between two starts.
            now.record.is_restarting = false;
            self.save(&now.record)?;
            return self.release(&now.record);
        }
        if now.state_is_damaged {
            kill_all_of(&now.record.id)?;
        }
        // Without a state.json, of which a restart leaves nothing, only the time tells.
        let is_of_this_boot = match (&now.state, &now.record.started) {
            (Some(state), _) => state.boot_id == state::boot_id(),
            (None, Some(started)) => clock::of_record(started) >= clock::boot(),
            (None, None) => false,
        };
        let note = match &now.record.started {
            _ if now.state_is_damaged => "its state.json was damaged, so it was killed",
            _ if is_of_this_boot => {
                "nobody was left to see how it ended: its minibox process was killed"
            }
            Some(_) => "the machine was restarted",
            None if now.state.is_some() => "the machine was restarted",
            None => "it was never started: minibox was killed before",
        };
        let exit = Exit {
            code: None,
            out_of_memory: false,
            finished: self::now(),
            note: Some(note.to_owned()),
        };
        self.end(&mut now.record, exit)
    }

    /// Writes down how a container ended and gives back what lived with it; in this order, so that a full
    /// disk costs no exit code that was already there. The caller holds its lock.
    pub(crate) fn end(&self, record: &mut Record, exit: Exit) -> Result<()> {
        self.tell_end(record, &exit);
        record.exit = Some(exit);
        record.is_restarting = false;
        if record.auto_remove && record.halted != Some(Halted::Restart) {
            return self.remove(record);
        }
        self.save(record)?;
        // The last results of its health checks; not worth an error.
        let health = |folder: PathBuf| folder.join(HEALTH);
        let _ = fs::copy(health(self.run_folder(&record.id)), health(self.folder(&record.id)));
        self.release(record)
    }

    /// Writes down that a container has ended and will be started again; its keeper keeps the run folder.
    pub(crate) fn end_for_now(&self, record: &mut Record, exit: Exit) -> Result<()> {
        self.tell_end(record, &exit);
        record.exit = Some(exit);
        record.is_restarting = true;
        record.restarts += 1;
        self.save(record)?;
        end_the_rest(record)
    }

    /// The unit of a plain user's container, where systemd makes him one.
    pub(crate) fn scope(&self, id: &str) -> Unit {
        Unit {
            name: format!("{}-{id}.scope", self.cgroup_parent.replace('/', "-")),
            slice: String::from("user.slice"),
            is_user: true,
        }
    }

    /// Removes what lives with the processes: cgroup, run folder, the file that names their PID.
    pub(crate) fn release(&self, record: &Record) -> Result<()> {
        end_the_rest(record)?;
        // Before its first start whatever lies there is somebody else's.
        if let Some(file) = record.settings.pidfile.as_ref().filter(|_| record.started.is_some()) {
            let _ = fs::remove_file(file);
        }
        remove_tree(&self.run_folder(&record.id), None)
    }

    /// Removes everything of a container that does not run, volumes without a name among it. The record goes
    /// last, so that whatever stops this half-way can be done again.
    pub(crate) fn remove(&self, record: &Record) -> Result<()> {
        self.release(record)?;
        if let Some(layer) = &record.layer {
            remove_tree(layer, record.id_map.as_ref())?;
        }
        let folder = self.folder(&record.id);
        // Renamed first, so that a half-removed folder is never read as a container.
        let gone = folder.with_file_name(format!(".removed-{}", record.id));
        match fs::rename(&folder, &gone) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::of_io("remove", &folder, &error));
            }
            _ => {}
        }
        remove_tree(&gone, record.id_map.as_ref())?;
        // Last, so that whoever asks by name finds out that somebody is still at it.
        let name = self.name_path(&record.name);
        if fs::read_link(&name).is_ok_and(|id| id.as_os_str() == record.id.as_str()) {
            let _ = fs::remove_file(&name);
        }
        self.tell(record, "destroy", &[]);
        for asked in &record.mounts {
            if let Kind::Volume { name, anonymous: true, .. } = &asked.kind {
                volumes::remove_anonymous(self, name)?;
            }
        }
        Ok(())
    }

    /// Waits until whoever is removing the container called `name` is done.
    pub(crate) fn wait_for_removal(&self, name: &str) -> Result<()> {
        if let Ok(id) = fs::read_link(self.name_path(name)) {
            let gone = format!(".removed-{}", id.display());
            drop(Lock::wait(&self.data.join("containers").join(gone))?);
        }
        Ok(())
    }

    /// Where layers may lie that cannot lie with the records; of this store alone.
    pub(crate) fn places_in_memory(&self) -> [PathBuf; 2] {
        let name = format!("minibox-{}-{:08x}", Uid::effective(), fnv(&self.data));
        [self.run.join("layers").join(&name), PathBuf::from("/dev/shm").join(name)]
    }

    /// The first of the possible places for a layer that is not itself on an overlay, which the kernel
    /// refuses; and whether that is a tmpfs in place of a disk.
    pub(crate) fn place_for_layer(&self, id: &str) -> Result<(PathBuf, bool)> {
        use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
        let own = self.folder(id);
        let [run, shm] = self.places_in_memory();
        let is_overlay = |folder: &Path| {
            statfs(folder).is_ok_and(|fs| fs.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
        };
        if !is_overlay(&own) {
            return Ok((own.join("layer"), false));
        }
        for (parent, place) in [(self.run.clone(), run), (PathBuf::from("/dev/shm"), shm)] {
            if statfs(&parent).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC) {
                make_private(&place)?;
                return Ok((place.join(id), true));
            }
        }
        Err(Error::new(format!(
            "{} lies on an overlay filesystem, which cannot hold a layer",
            own.display()
        ))
        .hint("choose a folder on a disk with --data-dir, or write into the root folder with --rw"))
    }
}

impl Exit {
    /// Its code; docker's 255 where nobody knows.
    pub(crate) fn shown_code(&self) -> i32 {
        self.code.unwrap_or(255)
    }
}

impl Record {
    /// The beginning of its id, as `ps` shows it.
    pub(crate) fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// What ids on the disk are inside, where they are not the same: root maps the mounts of a container in
    /// a user namespace, so that they are.
    pub(crate) fn ids_on_disk(&self) -> Option<&IdMap> {
        self.id_map.as_ref().filter(|_| idmap::needs_user_namespace())
    }

    /// Its cgroup, where it has one.
    pub(crate) fn cgroup(&self) -> Option<Cgroup> {
        self.cgroup.as_ref()?.cgroup().ok()
    }
}

impl Container {
    /// What it is doing, by the machine's word and not only the record's.
    pub(crate) fn status(&self) -> Status {
        let lives = |s: &State| s.boot_id == state::boot_id() && s.init.is_alive();
        match (&self.state, &self.record.exit) {
            (Some(state), None) if lives(state) => Status::Running,
            (_, Some(_)) if self.record.is_restarting && self.is_kept() => Status::Restarting,
            (None, None) if self.record.started.is_none() => Status::Created,
            _ => Status::Exited,
        }
    }

    /// Has it ended, or never come to life, with nobody left to write that down?
    pub(crate) fn is_forsaken(&self) -> bool {
        let is_open = match &self.record.exit {
            None => self.status() != Status::Created || !self.record.is_startable,
            Some(_) => self.record.is_restarting,
        };
        is_open && self.status() != Status::Running && !self.is_kept()
    }

    /// Is the process that looks after it still there?
    pub(crate) fn is_kept(&self) -> bool {
        self.state.as_ref().is_some_and(|s| s.boot_id == state::boot_id() && s.keeper.is_alive())
    }

    /// Does every process of it sleep, after `pause`? The kernel's word: a frozen cgroup, or where it has none
    /// a PID 1 that was stopped.
    pub(crate) fn is_paused(&self) -> bool {
        let Some(state) = self.state.as_ref().filter(|_| self.status() == Status::Running) else {
            return false;
        };
        match self.record.cgroup() {
            Some(cgroup) => cgroup.is_frozen(),
            None => state::letter(state.init.pid) == Some('T'),
        }
    }

    /// A monitor that took over has no terminal: the kernel hung it up with the first monitor's death.
    pub(crate) fn has_lost_terminal(&self) -> bool {
        let Some(state) = self.state.as_ref().filter(|_| self.record.terminal) else {
            return false;
        };
        // The first keeper is the parent of PID 1.
        let stat = fs::read_to_string(format!("/proc/{}/stat", state.init.pid)).unwrap_or_default();
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<i32>().ok());
        parent.is_some_and(|parent| parent != state.keeper.pid)
    }

    /// Its PID 1 on the host, held by a descriptor; `None` where it does not run (any more).
    pub(crate) fn hold(&self) -> Result<Option<(i32, std::os::fd::OwnedFd)>> {
        let Some(state) = self.state.as_ref().filter(|_| self.status() == Status::Running) else {
            return Ok(None);
        };
        Ok(state::hold(state.init)?.map(|pidfd| (state.init.pid, pidfd)))
    }

    /// The same, where it must run.
    pub(crate) fn hold_running(&self) -> Result<(i32, std::os::fd::OwnedFd)> {
        self.hold()?.ok_or_else(|| {
            Error::new(format!("container {} is not running", self.record.name))
                .hint("`minibox ps -a` shows when and how it ended")
        })
    }
}

/// Ends what a container whose first process has ended left running, and removes its cgroup. In a pid
/// namespace of its own the kernel has done so already.
fn end_the_rest(record: &Record) -> Result<()> {
    match record.cgroup() {
        Some(cgroup) => cgroup.remove(),
        None if record.settings.modes.pid != "private" => kill_all_of(&record.id),
        None => Ok(()),
    }
}

/// Is this what [`Store::create`] gives out?
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Kills whatever lives in the mount namespace of container `id`, and waits for it: the way where no
/// readable file tells its PID 1. Such a process has the container's own hostname file mounted, and is not
/// of this mount namespace, as an administrator would be who has mounted something of it to look at.
pub(crate) fn kill_all_of(id: &str) -> Result<()> {
    if !is_id(id) {
        return Ok(());
    }
    // One that is about to be killed may have had children; but what cannot be killed is not waited for.
    for _ in 0..10 {
        if !kill_once(&format!("/containers/{id}/hostname"))? {
            break;
        }
    }
    Ok(())
}

/// Was there anything that has `own_file` mounted?
fn kill_once(own_file: &str) -> Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::{AsFd, AsRawFd};
    let namespace = |folder: &Path| fs::read_link(folder.join("ns/mnt")).ok();
    let ours = namespace(Path::new("/proc/self"));
    let mut found = false;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(pidfd) = sys::pidfd_open(pid) else { continue };
        // Looked at after it is held, so that it cannot be another process by now.
        let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        let roots = mounts.lines().filter_map(|line| line.split(' ').nth(3));
        let lives_there = roots.into_iter().any(|root| root.ends_with(own_file));
        if lives_there && namespace(&entry.path()) != ours {
            found = true;
            sys::pidfd_send_signal(pidfd.as_raw_fd(), libc::SIGKILL)
                .map_err(|fault| Error::of_fault(format!("cannot kill process {pid}"), fault))?;
            let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut polled, PollTimeout::from(5000_u16));
        }
    }
    Ok(found)
}

/// Removes a folder with all in it; nothing there is success. Files of subordinate ids are removed from
/// inside a user namespace with `id_map`, where they belong to somebody.
pub(crate) fn remove_tree(folder: &Path, id_map: Option<&IdMap>) -> Result<()> {
    let remove = || match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    };
    let Err(mut first) = remove() else { return Ok(()) };
    if first.raw_os_error() == Some(libc::EMFILE) {
        // A descriptor for each level of a deep tree: as many as this user may have.
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
        match remove() {
            Ok(()) => return Ok(()),
            Err(again) => first = again,
        }
    }
    if let (Some(map), true) = (id_map, idmap::needs_user_namespace()) {
        return idmap::in_user_namespace(map, || {
            remove().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
        })
        .map_err(|error| Error {
            what: format!("cannot remove {}: {}", folder.display(), error.what),
            ..error
        });
    }
    Err(Error::of_io("remove", folder, &first))
}

/// FNV-1a, to tell stores apart in a cgroup's name.
pub(crate) fn fnv(path: &Path) -> u32 {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

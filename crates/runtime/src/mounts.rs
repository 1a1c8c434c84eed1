//! Mounts: `plan()` in the parent, `take()` while the host can be seen, `attach()` inside the new root.
//!
//! Nothing is ever mounted by path from the host into the container. A source is opened as a detached
//! mount before pivot_root(2); its place is opened after it, when no path can lead outside any more.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Component, Path};

use libc::{AT_FDCWD, c_int};
use nix::errno::Errno;
use oci_spec::runtime::{LinuxIdMapping, Mount};

use crate::copy_up;
use crate::error::{Error, Result};
use crate::idmap::{IdMap, Range, needs_user_namespace};
use crate::step::Step;
use crate::sys::{self, Fault, MountChange, Sys};

/// Where a mount comes from.
#[derive(Debug)]
pub enum Source {
    /// A new filesystem: its type, its source as mountinfo shows it, its options.
    Fresh {
        /// As in /proc/filesystems.
        fstype: CString,
        /// Pairs for fsconfig(2); a flag has no value.
        options: Vec<(CString, Option<CString>)>,
    },
    /// A file or folder of the host.
    Bind {
        /// Absolute path on the host.
        path: CString,
        /// With all mounts below it.
        recursive: bool,
    },
    /// The same, with other owners: the parent has opened it, and maps it.
    Mapped(MappedMount),
    /// The same with its own owners, opened by the parent: since its mounts are the host's, of which one is to stay a
    /// peer so that each sees what is mounted in the other; or since the container's root may not reach it.
    Opened(MappedMount),
    /// A file or folder of the container's own, as it is when this mount's turn has come.
    Inside {
        /// Absolute path in the container.
        path: CString,
        /// With all mounts below it.
        recursive: bool,
        /// With other owners: the child hands the mount to the parent for that.
        mapping: Option<Mapping>,
    },
    /// What is mounted on the place already, which changes; `remount`.
    Place,
    /// A folder as another process sees it, `/proc/PID/root/…`: another container's /dev/shm.
    OfProcess {
        /// That process's mount namespace.
        namespace: OwnedFd,
        /// Absolute path in it.
        path: CString,
    },
}

/// Which other owners a mount shows than are written on its filesystem. That takes power over the filesystem, so the
/// parent does it.
#[derive(Debug, Default)]
pub struct Mapping {
    /// The mounts below it are mapped too.
    pub below: bool,
    /// From written ids to those shown; `None` is the container's own map.
    pub map: Option<IdMap>,
}

/// A detached mount that the parent has opened; the child inherits the descriptor.
#[derive(Debug)]
pub struct MappedMount {
    /// Absolute path on the host.
    pub path: CString,
    /// The mount.
    pub mount: OwnedFd,
    /// With all mounts below it.
    pub recursive: bool,
    /// Its owners, where they are to be others.
    pub mapping: Mapping,
}

impl MappedMount {
    /// PARENT: opens `path`, which is to be mapped as the container is.
    pub fn open(path: CString, recursive: bool) -> Result<MappedMount> {
        let mount = sys::open_tree_clone(AT_FDCWD, &path, recursive).map_err(|fault| {
            Error::of_fault(format!("cannot mount {}", path.to_string_lossy()), fault)
                .step(Step::TakeMounts)
        })?;
        let mount = sys::own(mount);
        Ok(MappedMount { path, mount, recursive, mapping: Mapping::default() })
    }
}

/// One mount, decided.
#[derive(Debug)]
pub struct MountPlan {
    /// Where it comes from.
    pub source: Source,
    /// What to change on it, or MOUNT_ATTR_* of a fresh mount.
    pub change: MountChange,
    /// MOUNT_ATTR_* that a bind with any of them is to lose as well, where its source has them and they are not
    /// locked: what mount(2) does with `MS_REMOUNT | MS_BIND`.
    pub unnamed: u64,
    /// What to change on it and all mounts below it, first.
    pub below: MountChange,
    /// A tmpfs that is to hold what its place holds.
    pub copies_up: bool,
    /// A tmpfs that is to have the permissions of its place, since nothing else is said of them.
    pub keeps_mode: bool,
    /// Where it goes, in the container.
    pub place: Place,
}

/// A place in the container.
#[derive(Debug)]
pub struct Place {
    /// Absolute and normalised.
    pub path: CString,
    /// The place is a file.
    pub is_file: bool,
    /// No symbolic link anywhere on the way: /proc, /sys and /dev.
    pub no_links: bool,
}

impl Place {
    /// The place at `path`; `..` stays inside, as it does for the kernel at `/`.
    pub fn new(path: &Path, is_file: bool) -> Result<Place> {
        let mut parts: Vec<&std::ffi::OsStr> = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(part) => parts.push(part),
                Component::ParentDir => drop(parts.pop()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        if parts.is_empty() {
            return Err(Error::new("cannot mount over the container's root `/`")
                .hint("the root is chosen with ROOTFS; give a folder below it"));
        }
        let path = parts.iter().flat_map(|part| [b"/", part.as_encoded_bytes()].concat());
        let path = c_string(path.collect::<Vec<u8>>(), "a mount's destination")?;
        let no_links = parts.first().is_some_and(|p| ["proc", "sys", "dev"].iter().any(|k| p == k));
        Ok(Place { path, is_file, no_links })
    }

    /// CHILD: lays a detached mount here and closes it.
    pub fn attach(&self, mount: RawFd) -> Sys<()> {
        lay_over(mount, self.open()?)
    }

    /// CHILD: makes the place where it is missing.
    pub fn make(&self) -> Sys<()> {
        self.open().map(sys::close)
    }

    /// Opens the place with `O_PATH`, making what is missing.
    fn open(&self) -> Sys<RawFd> {
        match self.open_existing(0) {
            Err(fault) if fault.errno == Errno::ENOENT => {
                self.walk(self.path.to_bytes(), self.is_file)
            }
            result => result,
        }
    }

    /// CHILD: the folder it lies in, made where it is missing.
    pub fn open_parent(&self) -> Sys<RawFd> {
        let path = self.path.to_bytes();
        self.walk(&path[..path.len() - self.name().count_bytes()], false)
    }

    fn walk(&self, path: &[u8], is_file: bool) -> Sys<RawFd> {
        let root = sys::openat2(AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0, 0)?;
        walk(root, path, is_file, self.resolve(), LINKS)
    }

    /// What stands behind the last `/`.
    pub fn name(&self) -> &CStr {
        last_component(&self.path)
    }

    fn open_existing(&self, flags: c_int) -> Sys<RawFd> {
        let directory = if self.is_file { 0 } else { libc::O_DIRECTORY };
        let flags = libc::O_PATH | directory | flags;
        sys::openat2(AT_FDCWD, &self.path, flags, 0, self.resolve())
    }

    fn resolve(&self) -> u64 {
        let no_links = if self.no_links { libc::RESOLVE_NO_SYMLINKS } else { 0 };
        libc::RESOLVE_NO_MAGICLINKS | no_links
    }
}

/// The most links to what is not there that are followed one after the other.
const LINKS: u8 = 8;

/// CHILD: goes along `path` from the folder `from`, which it closes, and makes what is missing, also where a link
/// leads. One component after the other, each made below an open folder: nothing that is swapped on the way, and no
/// magic link, is ever followed while something is made (CVE-2024-45310).
fn walk(from: RawFd, path: &[u8], is_file: bool, resolve: u64, links: u8) -> Sys<RawFd> {
    let mut folder = from;
    if path.starts_with(b"/") {
        let root = sys::openat2(AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0, 0);
        sys::close(std::mem::replace(&mut folder, root?));
    }
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        let is_file = is_file && parts.peek().is_none();
        let mut name = [0_u8; 256];
        let Some(room) = name.get_mut(..part.len()).filter(|room| room.len() < 256) else {
            return Err(Fault::new("openat2", Errno::ENAMETOOLONG));
        };
        room.copy_from_slice(part);
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        let flags = libc::O_PATH | if is_file { 0 } else { libc::O_DIRECTORY };
        let open = || sys::openat2(folder, name, flags, 0, resolve);
        let next = match open() {
            Err(fault) if fault.errno == Errno::ENOENT => {
                let made = if is_file {
                    sys::mknodat(folder, name, libc::S_IFREG | 0o644, 0)
                } else {
                    sys::mkdirat(folder, name, 0o755)
                };
                tolerate(made, Errno::EEXIST)?;
                match open() {
                    // A link that leads nowhere, as /etc/resolv.conf often is.
                    Err(fault) if fault.errno == Errno::ENOENT && links > 0 => {
                        let mut target = [0_u8; libc::PATH_MAX as usize];
                        let target = sys::readlinkat(folder, name, &mut target)?;
                        folder = walk(folder, target.to_bytes(), is_file, resolve, links - 1)?;
                        continue;
                    }
                    result => result,
                }
            }
            result => result,
        };
        sys::close(std::mem::replace(&mut folder, next?));
    }
    Ok(folder)
}

/// What stands behind the last `/`.
fn last_component(path: &CStr) -> &CStr {
    let bytes = path.to_bytes_with_nul();
    let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    CStr::from_bytes_with_nul(&bytes[start..]).unwrap_or(c"")
}

/// `Ok` also where the call failed with the one errno that means "already so".
pub fn tolerate(result: Sys<()>, errno: Errno) -> Sys<()> {
    match result {
        Err(fault) if fault.errno == errno => Ok(()),
        result => result,
    }
}

/// A C string from `bytes`, or an error that names `what` holds a NUL.
pub fn c_string(bytes: impl Into<Vec<u8>>, what: &str) -> Result<CString> {
    CString::new(bytes).map_err(|error| {
        let text = String::from_utf8_lossy(&error.into_vec()).replace('\0', "\\0");
        Error::new(format!("{what} contains a NUL byte: {text:?}"))
    })
}

/// The atime attributes form one field, not bits.
const ATIME_FIELD: u64 = libc::MOUNT_ATTR__ATIME;

/// Those that mount(2) takes from a bind where they are not named; what it knows of times stays.
const ATTRIBUTES: u64 = libc::MOUNT_ATTR_RDONLY
    | libc::MOUNT_ATTR_NOSUID
    | libc::MOUNT_ATTR_NODEV
    | libc::MOUNT_ATTR_NOEXEC
    | libc::MOUNT_ATTR_NOSYMFOLLOW;

/// One word of a mount's options, mount(8) and the table of the runtime-spec: what it changes on the mount
/// itself, and on all below it.
fn attribute(word: &str) -> Option<(MountChange, MountChange)> {
    let none = MountChange::default();
    if let Some(change) = attribute_of_one(word) {
        return Some((change, none));
    }
    Some((none, attribute_of_one(word.strip_prefix('r')?)?))
}

fn attribute_of_one(word: &str) -> Option<MountChange> {
    let set = |set: u64| MountChange { set, ..MountChange::default() };
    let clear = |clear: u64| MountChange { clear, ..MountChange::default() };
    let atime = |set: u64| MountChange { set, clear: ATIME_FIELD, propagation: 0 };
    let propagation = |propagation: u64| MountChange { propagation, ..MountChange::default() };
    Some(match word {
        "ro" => set(libc::MOUNT_ATTR_RDONLY),
        "rw" => clear(libc::MOUNT_ATTR_RDONLY),
        "nosuid" => set(libc::MOUNT_ATTR_NOSUID),
        "suid" => clear(libc::MOUNT_ATTR_NOSUID),
        "nodev" => set(libc::MOUNT_ATTR_NODEV),
        "dev" => clear(libc::MOUNT_ATTR_NODEV),
        "noexec" => set(libc::MOUNT_ATTR_NOEXEC),
        "exec" => clear(libc::MOUNT_ATTR_NOEXEC),
        "nodiratime" => set(libc::MOUNT_ATTR_NODIRATIME),
        "diratime" => clear(libc::MOUNT_ATTR_NODIRATIME),
        "nosymfollow" => set(libc::MOUNT_ATTR_NOSYMFOLLOW),
        "symfollow" => clear(libc::MOUNT_ATTR_NOSYMFOLLOW),
        // Without another word the kernel's way is relatime.
        "relatime" | "atime" | "nostrictatime" => atime(libc::MOUNT_ATTR_RELATIME),
        "noatime" => atime(libc::MOUNT_ATTR_NOATIME),
        "strictatime" => atime(libc::MOUNT_ATTR_STRICTATIME),
        "private" => propagation(libc::MS_PRIVATE),
        "slave" => propagation(libc::MS_SLAVE),
        "shared" => propagation(libc::MS_SHARED),
        "unbindable" => propagation(libc::MS_UNBINDABLE),
        "norelatime" => MountChange::default(),
        _ => return None,
    })
}

/// Words that every filesystem takes, and that say nothing of a mount: on a bind they are mount(2)'s to
/// ignore.
const OF_FILESYSTEMS: [&str; 7] =
    ["sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"];
/// Words that change nothing on kernels of today.
const WITHOUT_MEANING: [&str; 5] = ["defaults", "iversion", "noiversion", "silent", "loud"];

impl MountChange {
    /// Later words win.
    fn add(&mut self, one: MountChange) {
        self.set = (self.set & !one.clear) | one.set;
        self.clear = (self.clear & !one.set) | one.clear;
        if one.propagation != 0 {
            self.propagation = one.propagation;
        }
    }

    fn is_nothing(self) -> bool {
        self == MountChange::default()
    }
}

/// The ids that a mount of config.json is to show.
fn id_map(mount: &Mount) -> Option<IdMap> {
    let ranges = |mappings: &Option<Vec<LinuxIdMapping>>| {
        mappings.iter().flatten().map(Range::of_spec).collect::<Vec<_>>()
    };
    let map = IdMap { uids: ranges(mount.uid_mappings()), gids: ranges(mount.gid_mappings()) };
    (!map.uids.is_empty() || !map.gids.is_empty()).then_some(map)
}

/// Those of [`ATTRIBUTES`], and of access times, that a mount has: statvfs(3).
fn attributes_of(mount: &OwnedFd) -> Result<u64> {
    let stat = nix::sys::statvfs::fstatvfs(mount)
        .map_err(|errno| Error::new("cannot ask for a mount's flags").errno(errno))?;
    let flags = [
        (libc::ST_RDONLY, libc::MOUNT_ATTR_RDONLY),
        (libc::ST_NOSUID, libc::MOUNT_ATTR_NOSUID),
        (libc::ST_NODEV, libc::MOUNT_ATTR_NODEV),
        (libc::ST_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
        (libc::ST_NOATIME, libc::MOUNT_ATTR_NOATIME),
    ];
    let flags = flags.iter().filter(|(flag, _)| stat.flags().bits() & flag != 0);
    Ok(flags.fold(0, |all, (_, attribute)| all | attribute))
}

/// `/proc/PID/root/PATH`, where that is what `path` is: a mount of another namespace, which only a process
/// in that namespace can take.
fn of_process(path: &Path) -> Result<Option<Source>> {
    let mut parts = path.components();
    let words: Vec<_> = parts.by_ref().take(4).map(|c| c.as_os_str().to_string_lossy()).collect();
    let [slash, proc, pid, root] = &words[..] else { return Ok(None) };
    if (slash.as_ref(), proc.as_ref(), root.as_ref()) != ("/", "proc", "root")
        || pid.parse::<u32>().is_err()
    {
        return Ok(None);
    }
    let link = format!("/proc/{pid}/ns/mnt");
    let namespace = File::open(&link).map_err(|e| Error::of_io("open", link.as_ref(), &e))?;
    let path = Path::new("/").join(parts.as_path());
    let path = c_string(path.into_os_string().into_encoded_bytes(), "a mount's source")?;
    Ok(Some(Source::OfProcess { namespace: namespace.into(), path }))
}

/// Decides one mount of config.json. `root` is the folder that the container has as its root, where it has one as
/// it is: paths below that folder are meant as the container's, earlier mounts included. With `in_userns` the host's
/// folders are opened here, since root in there may not reach them.
pub fn plan(mount: &Mount, root: Option<&Path>, in_userns: bool) -> Result<MountPlan> {
    let destination = mount.destination();
    let inside = |path: &'_ Path| {
        let below = path.strip_prefix(root?).ok()?;
        Some(Path::new("/").join(below))
    };
    let destination = &inside(destination).unwrap_or_else(|| destination.clone());
    let named = |what: &str| format!("the mount on {}: {what}", destination.display());
    let (mut change, mut below) = (MountChange::default(), MountChange::default());
    let mut data = Vec::new();
    let (mut bind, mut recursive) = (mount.typ().as_deref() == Some("bind"), false);
    let (mut copies_up, mut remount) = (false, false);
    let map = id_map(mount);
    if map.as_ref().is_some_and(|map| map.uids.is_empty() || map.gids.is_empty()) {
        return Err(Error::new(named(
            "it has one of uidMappings and gidMappings without the other",
        )));
    }
    let mut mapping = map.is_some().then(|| Mapping { below: false, map: map.clone() });
    for word in mount.options().iter().flatten().map(String::as_str) {
        match word {
            "bind" | "rbind" => (bind, recursive) = (true, word == "rbind"),
            "idmap" | "ridmap" => {
                mapping = Some(Mapping { below: word == "ridmap", map: map.clone() });
            }
            "tmpcopyup" => copies_up = true,
            "remount" => remount = true,
            word if WITHOUT_MEANING.contains(&word) => {}
            word => match attribute(word) {
                Some((one, all)) => {
                    change.add(one);
                    below.add(all);
                }
                None => data.push(word),
            },
        }
    }
    // It takes a word back, which a bind's config.json does not have: mount(2) leaves the source's own.
    let is_new_bind = bind && !remount;
    if is_new_bind && change.set & ATIME_FIELD == libc::MOUNT_ATTR_RELATIME {
        let says = |word: &str| mount.options().iter().flatten().any(|given| given == word);
        if !says("relatime") {
            change.clear &= !ATIME_FIELD;
        }
    }
    let is_tmpfs = !bind && mount.typ().as_deref() == Some("tmpfs");
    if copies_up && !is_tmpfs {
        return Err(Error::new(named("tmpcopyup is for tmpfs alone")));
    }
    let keeps_mode = is_tmpfs && !data.iter().any(|word| word.starts_with("mode="));
    // A clone keeps its peers; the container's must not hear of the host's mounts unless asked.
    if bind && !remount && change.propagation == 0 && below.propagation == 0 {
        below.propagation = libc::MS_PRIVATE;
    }
    let made = |source, is_file, unnamed| -> Result<MountPlan> {
        let place = Place::new(destination, is_file)?;
        Ok(MountPlan { source, change, unnamed, below, copies_up, keeps_mode, place })
    };
    if remount {
        return made(Source::Place, false, 0);
    }
    let source = mount.source().as_deref();
    if bind {
        if let Some(word) = data.iter().find(|word| !OF_FILESYSTEMS.contains(word)) {
            return Err(Error::new(named(&format!("unknown option {word:?} for a bind")))
                .hint("known: ro rw nosuid nodev noexec noatime relatime bind rbind private slave shared …"));
        }
        let path = source.ok_or_else(|| Error::new(named("a bind needs a source")))?;
        let is_named = change.set | change.clear != 0;
        let unnamed = if is_named { ATTRIBUTES & !change.set } else { 0 };
        if let Some(source) = of_process(path)? {
            return made(source, false, unnamed);
        }
        // A missing one is told by the step that takes it, unless it has been made by then.
        let is_file = path.exists() && !path.is_dir();
        if let Some(path) = inside(path) {
            let path = c_string(path.into_os_string().into_encoded_bytes(), "a mount's source")?;
            return made(Source::Inside { path, recursive, mapping }, is_file, unnamed);
        }
        let is_shared = change.propagation.max(below.propagation) == libc::MS_SHARED;
        let is_opened = path.exists() && (in_userns || is_shared) && !needs_user_namespace();
        let path = c_string(path.as_os_str().as_encoded_bytes(), "a mount's source")?;
        if let Some(mapping) = mapping {
            let opened = MappedMount { mapping, ..MappedMount::open(path, recursive)? };
            return made(Source::Mapped(opened), is_file, unnamed);
        }
        if !is_opened {
            return made(Source::Bind { path, recursive }, is_file, unnamed);
        }
        let opened = MappedMount::open(path, recursive)?;
        // As locked as if the container had taken it itself.
        if in_userns && attributes_of(&opened.mount)? & change.clear != 0 {
            let what = "its source has mount flags that a user namespace may not take away: operation not permitted";
            return Err(Error::new(named(what)).hint("leave rw, suid, dev, exec and atime out"));
        }
        let unlocked = if in_userns { libc::MOUNT_ATTR_NOSYMFOLLOW } else { ATTRIBUTES };
        return made(Source::Opened(opened), is_file, unnamed & unlocked);
    }
    if mapping.is_some() {
        return Err(Error::new(named("only a bind can map ids")));
    }
    let fstype = mount.typ().as_deref().ok_or_else(|| Error::new(named("it has no type")))?;
    let fstype = c_string(fstype, "a filesystem type")?;
    made(Source::Fresh { fstype, options: fsconfig_options(source, &data)? }, false, 0)
}

/// Pairs for fsconfig(2).
fn fsconfig_options(
    source: Option<&Path>,
    words: &[&str],
) -> Result<Vec<(CString, Option<CString>)>> {
    let mut options = Vec::new();
    if let Some(source) = source {
        let source = c_string(source.as_os_str().as_encoded_bytes(), "a source")?;
        options.push((c"source".to_owned(), Some(source)));
    }
    for word in words {
        let (key, value) = word.split_once('=').map_or((*word, None), |(k, v)| (k, Some(v)));
        let value = value.map(|v| c_string(v, "a mount option")).transpose()?;
        options.push((c_string(key, "a mount option")?, value));
    }
    Ok(options)
}

impl MountPlan {
    /// With no more than these.
    pub fn new(source: Source, change: MountChange, place: Place) -> MountPlan {
        let below = MountChange::default();
        let (copies_up, keeps_mode) = (false, false);
        MountPlan { source, change, unnamed: 0, below, copies_up, keeps_mode, place }
    }

    /// CHILD, before pivot_root: the source as a detached mount; -1 where there is none.
    pub fn take(&self) -> Sys<RawFd> {
        let (mount, recursive) = match &self.source {
            Source::Place | Source::Inside { .. } => return Ok(-1),
            Source::Fresh { .. } if self.keeps_mode => return Ok(-1),
            Source::Fresh { fstype, options } => return self.take_new(fstype, options, None),
            Source::Bind { path, recursive } => {
                (sys::open_tree_clone(AT_FDCWD, path, *recursive)?, *recursive)
            }
            Source::Mapped(opened) | Source::Opened(opened) => {
                (opened.mount.as_raw_fd(), opened.recursive)
            }
            Source::OfProcess { namespace, path } => {
                (take_of_process(namespace.as_raw_fd(), path)?, false)
            }
        };
        self.change(mount, recursive)?;
        Ok(mount)
    }

    /// CHILD: a new filesystem, whose top has `mode`.
    fn take_new(
        &self,
        fstype: &CStr,
        options: &[(CString, Option<CString>)],
        mode: Option<u32>,
    ) -> Sys<RawFd> {
        let attributes = (self.below.set & !self.change.clear) | self.change.set;
        let mount = MountPlan::take_fresh(fstype, options, mode, attributes)?;
        let propagation = self.change.propagation.max(self.below.propagation);
        if propagation != 0 {
            let change = MountChange { propagation, ..MountChange::default() };
            sys::mount_setattr(mount, c"", false, change)?;
        }
        Ok(mount)
    }

    /// CHILD: changes what is to be changed on `mount`.
    fn change(&self, mount: RawFd, recursive: bool) -> Sys<()> {
        if !self.below.is_nothing() {
            sys::mount_setattr(mount, c"", recursive, self.below)?;
        }
        if self.change.is_nothing() {
            return Ok(());
        }
        let whole = MountChange { clear: self.change.clear | self.unnamed, ..self.change };
        match sys::mount_setattr(mount, c"", false, whole) {
            Err(fault) if fault.errno == Errno::EPERM && self.unnamed != 0 => {
                sys::mount_setattr(mount, c"", false, self.change)
            }
            result => result,
        }
    }

    /// Does it put a /dev that exists in the place of ours?
    pub fn brings_dev(&self) -> bool {
        let is_new = matches!(self.source, Source::Fresh { .. } | Source::Place);
        !is_new && self.place.path.as_c_str() == c"/dev"
    }

    /// Has its files labelled for SELinux, where they are new and the kernel takes a label for them.
    pub fn label(&mut self, label: &CString) {
        const OF_THE_KERNEL: [&CStr; 5] = [c"proc", c"sysfs", c"mqueue", c"cgroup", c"cgroup2"];
        if let Source::Fresh { fstype, options } = &mut self.source
            && !OF_THE_KERNEL.contains(&fstype.as_c_str())
        {
            options.push((c"context".to_owned(), Some(label.clone())));
        }
    }

    /// What is to be mapped of it before the child is born.
    pub fn mapped(&self) -> Option<&MappedMount> {
        if let Source::Mapped(mapped) = &self.source { Some(mapped) } else { None }
    }

    /// How its owners are to be mapped.
    pub fn mapping(&self) -> Option<&Mapping> {
        match &self.source {
            Source::Mapped(opened) => Some(&opened.mapping),
            Source::Inside { mapping, .. } => mapping.as_ref(),
            _ => None,
        }
    }

    /// Is it a new filesystem on /dev that is to be read-only? Not before it is filled.
    pub fn readonly_dev(&mut self) -> bool {
        let is_it = matches!(self.source, Source::Fresh { .. })
            && self.place.path.as_c_str() == c"/dev"
            && self.change.set & libc::MOUNT_ATTR_RDONLY != 0;
        if is_it {
            self.change.set &= !libc::MOUNT_ATTR_RDONLY;
        }
        is_it
    }

    /// Does it come from another mount namespace?
    pub fn is_of_process(&self) -> bool {
        matches!(self.source, Source::OfProcess { .. })
    }

    /// The descriptor that was opened for it beforehand, which the child must keep.
    pub fn descriptor(&self) -> Option<RawFd> {
        match &self.source {
            Source::Mapped(opened) | Source::Opened(opened) => Some(opened.mount.as_raw_fd()),
            Source::OfProcess { namespace, .. } => Some(namespace.as_raw_fd()),
            _ => None,
        }
    }

    /// CHILD: a new filesystem on a detached mount with `attributes` (MOUNT_ATTR_*); `mode` where that is known only
    /// here.
    pub fn take_fresh(
        fstype: &CStr,
        options: &[(CString, Option<CString>)],
        mode: Option<u32>,
        attributes: u64,
    ) -> Sys<RawFd> {
        let context = sys::fsopen(fstype)?;
        for (item, (key, value)) in options.iter().enumerate() {
            sys::fsconfig(context, key, value.as_deref())
                .map_err(|fault| Fault { item: item as u16, ..fault })?;
        }
        if let Some(mode) = mode {
            let digits = [9, 6, 3, 0].map(|shift| b'0' + (mode >> shift & 7) as u8);
            let text = [digits[0], digits[1], digits[2], digits[3], 0];
            sys::fsconfig(context, c"mode", CStr::from_bytes_until_nul(&text).ok())?;
        }
        sys::fsmount(context, attributes)
    }

    /// CHILD, inside the new root: onto its place. `have_mapped` has the parent map a mount's owners.
    pub fn attach(&self, mount: RawFd, have_mapped: impl FnOnce(RawFd) -> Sys<()>) -> Sys<()> {
        if let Source::Inside { path, recursive, mapping } = &self.source {
            let source =
                sys::openat2(AT_FDCWD, path, libc::O_PATH, 0, libc::RESOLVE_NO_MAGICLINKS)?;
            let mount = sys::open_tree_clone(source, c"", *recursive)?;
            sys::close(source);
            if mapping.is_some() {
                have_mapped(mount)?;
            }
            self.change(mount, *recursive)?;
            return self.place.attach(mount);
        }
        if matches!(self.source, Source::Place) {
            let place = self.place.open()?;
            let done = self.change(place, true);
            sys::close(place);
            return done;
        }
        // One that does not exist yet has nothing to say.
        let place =
            if self.copies_up || self.keeps_mode { self.place.open_existing(0).ok() } else { None };
        let mount = match &self.source {
            Source::Fresh { fstype, options } if self.keeps_mode => {
                let stat = place.map(sys::fstat).transpose()?;
                self.take_new(fstype, options, stat.map(|stat| stat.mode & 0o7777))?
            }
            _ => mount,
        };
        if let Some(place) = place {
            if self.copies_up {
                let top = sys::openat2(mount, c".", libc::O_RDONLY | libc::O_DIRECTORY, 0, 0)?;
                let done = copy_up::copy(place, top);
                sys::close(top);
                done?;
            }
            sys::close(place);
        }
        self.place.attach(mount)
    }
}

/// CHILD: goes into another mount namespace for a moment. What is opened there follows no link, so that a
/// container that owns it can lead nowhere.
fn take_of_process(namespace: RawFd, path: &CStr) -> Sys<RawFd> {
    let own = sys::openat2(AT_FDCWD, c"/proc/self/ns/mnt", 0, 0, 0)?;
    sys::setns(namespace, libc::CLONE_NEWNS)?;
    let resolve = libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let taken = sys::openat2(AT_FDCWD, path, flags, 0, resolve).and_then(|folder| {
        let mount = sys::open_tree_clone(folder, c"", false);
        sys::close(folder);
        mount
    });
    sys::setns(own, libc::CLONE_NEWNS)?;
    sys::close(own);
    taken
}

/// CHILD: makes `path` read-only by laying a read-only copy of itself over it; missing is fine.
pub fn readonly_path(path: &CString) -> Sys<()> {
    let Some(place) = open_to_hide(path)? else {
        return Ok(());
    };
    let copy = sys::open_tree_clone(place, c"", true)?;
    let change = MountChange { set: libc::MOUNT_ATTR_RDONLY, ..MountChange::default() };
    sys::mount_setattr(copy, c"", true, change)?;
    lay_over(copy, place)
}

/// CHILD: hides `path` behind the null device, or an empty read-only folder, which is `empty` once there is one;
/// missing is fine.
pub fn mask_path(path: &CString, empty: &mut Option<RawFd>) -> Sys<()> {
    let Some(place) = open_to_hide(path)? else {
        return Ok(());
    };
    let is_folder = sys::fstat(place)?.mode & libc::S_IFMT == libc::S_IFDIR;
    match empty {
        _ if !is_folder => lay_over(null_device()?, place),
        Some(empty) => lay_over(sys::open_tree_clone(*empty, c"", false)?, place),
        None => {
            let context = sys::fsopen(c"tmpfs")?;
            let cover = sys::fsmount(
                context,
                libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
            )?;
            sys::move_mount(cover, place)?;
            sys::close(place);
            *empty = Some(cover);
            Ok(())
        }
    }
}

/// The container's /dev/null as a detached mount, checked to be the null device (CVE-2025-31133).
fn null_device() -> Sys<RawFd> {
    let null = sys::openat2(
        AT_FDCWD,
        c"/dev/null",
        libc::O_PATH | libc::O_NOFOLLOW,
        0,
        libc::RESOLVE_NO_SYMLINKS,
    )?;
    let stat = sys::fstat(null)?;
    if stat.mode & libc::S_IFMT != libc::S_IFCHR || stat.rdev != libc::makedev(1, 3) {
        return Err(Fault::new("fstat(/dev/null)", Errno::ENODEV));
    }
    let copy = sys::open_tree_clone(null, c"", false);
    sys::close(null);
    copy
}

fn open_to_hide(path: &CString) -> Sys<Option<RawFd>> {
    match sys::openat2(AT_FDCWD, path, libc::O_PATH, 0, libc::RESOLVE_NO_MAGICLINKS) {
        Ok(fd) => Ok(Some(fd)),
        Err(fault) if matches!(fault.errno, Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn lay_over(cover: RawFd, place: RawFd) -> Sys<()> {
    let done = sys::move_mount(cover, place);
    sys::close(cover);
    sys::close(place);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_stays_inside() {
        let place = Place::new(Path::new("/a/../../b/./c"), false).unwrap();
        assert_eq!(place.path.as_c_str(), c"/b/c");
        assert!(!place.no_links);
        assert!(Place::new(Path::new("dev/pts"), false).unwrap().no_links);
        assert!(Place::new(Path::new("/a/.."), false).is_err());
    }

    #[test]
    fn later_words_win() {
        let mount: Mount = serde_json::from_str(
            r#"{"destination":"/t","type":"tmpfs","source":"tmpfs","options":["ro","nosuid","rw","noatime","mode=755","nr_inodes=5","huge"]}"#,
        )
        .unwrap();
        let plan = plan(&mount, None, false).unwrap();
        assert_eq!(plan.change.set, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOATIME);
        assert!(!plan.keeps_mode && !plan.copies_up);
        let Source::Fresh { options, .. } = plan.source else { panic!("fresh") };
        let keys: Vec<_> = options.iter().map(|(k, _)| k.to_str().unwrap()).collect();
        assert_eq!(keys, ["source", "mode", "nr_inodes", "huge"]);
    }

    /// Every word of the runtime-spec's table, and what it comes to on a bind.
    #[test]
    fn every_word_of_the_table_is_known() {
        let words = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime \
            nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow \
            private ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodiratime rnoexec \
            rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave \
            rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync \
            unbindable rnodev";
        let on_a_bind = |word: &str| {
            let text = format!(
                r#"{{"destination":"/t","type":"none","source":"/","options":["rbind","{word}"]}}"#
            );
            plan(&serde_json::from_str(&text).unwrap(), None, false)
        };
        for word in words.split_whitespace() {
            on_a_bind(word).unwrap_or_else(|error| panic!("{word}: {error}"));
        }
        assert!(on_a_bind("rowdy").is_err());
        let one = on_a_bind("ro").unwrap();
        assert_eq!((one.change.set, one.below.set), (libc::MOUNT_ATTR_RDONLY, 0));
        let all = on_a_bind("rro").unwrap();
        assert_eq!((all.change.set, all.below.set), (0, libc::MOUNT_ATTR_RDONLY));
        assert_eq!((all.below.propagation, all.below.clear), (libc::MS_PRIVATE, 0));
        let slave = on_a_bind("slave").unwrap();
        assert_eq!((slave.change.propagation, slave.below.propagation), (libc::MS_SLAVE, 0));
        let ratime = on_a_bind("ratime").unwrap();
        assert_eq!((ratime.below.set, ratime.below.clear), (0, ATIME_FIELD));
    }
}

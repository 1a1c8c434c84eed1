//! Spec → Plan: every decision, every allocation and every C string, made in the parent.
//!
//! After this file nothing is decided any more. The child receives `&Plan` and carries it out.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::Uid;
use oci_spec::runtime::{
    Linux, LinuxIdMapping, LinuxNamespaceType, LinuxResources, LinuxTimeOffset, Process, Spec,
};

use crate::capabilities;
use crate::cgroup::{Cgroup, Layout};
use crate::cgroup_mount;
use crate::devices::{self, DevicePlan};
use crate::error::{Error, Result};
use crate::idmap::{self, IdMap, Range};
use crate::label;
use crate::line::Listening;
use crate::mountinfo::{self, Mounted};
use crate::mounts::{self, MappedMount, Mapping, MountPlan, Place, Source, c_string};
use crate::net_devices::{self, NetDevice};
use crate::process::ProcessPlan;
use crate::resctrl;
use crate::rlimits;
use crate::scheduling;
use crate::seccomp::{self, SeccompPlan};
use crate::spec;
use crate::step::Step;
use crate::sys::{self, Arguments, Argv, MountChange};
use crate::systemd::bus::Value;
use crate::systemd::{self, Unit};

const READONLY: MountChange =
    MountChange { set: libc::MOUNT_ATTR_RDONLY, clear: 0, propagation: 0 };

/// What a caller chooses beside config.json.
#[derive(Debug, Default)]
pub struct Choices {
    /// Where changes to the root go; `None` shows the root folder itself.
    pub layer: Option<Layer>,
    /// MOUNT_ATTR_* of the root.
    pub root_attributes: u64,
    /// Standard streams; `None` leaves the caller's.
    pub stdio: [Option<OwnedFd>; 3],
    /// Rows and columns of the terminal, where one is asked for.
    pub console_size: Option<(u16, u16)>,
    /// The container ends with the process that starts it.
    pub die_with_parent: bool,
    /// PID 1 is a small init, and the program its child.
    pub init: bool,
    /// What the container is called, and the folder of its config.json: what agents are told.
    pub id: String,
    /// See `id`.
    pub bundle: PathBuf,
    /// How many of the caller's descriptors, from 3 on, are the program's too.
    pub preserve_fds: u32,
    /// The terminal does not put a carriage return before each newline.
    pub bare_newlines: bool,
    /// The root shows the ids that are written on its filesystem as the container's own. The caller is
    /// root of the host; without a user namespace there is nothing to do.
    pub map_root: bool,
    /// The root of the host cannot be swapped: [`RootPlan::laid_over`].
    pub no_pivot: bool,
    /// How much the caller wants to hear on the way.
    pub listening: Listening,
    /// Test builds: fail at this step with this errno.
    pub fail_at: Option<(Step, Errno)>,
}

/// The two folders of an overlay that are written to; they lie beside each other, in one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What the container has changed.
    pub upper: PathBuf,
    /// The kernel's workshop, empty.
    pub work: PathBuf,
    /// Nobody will read it after the container's end, so that the end need not wait for the disk.
    pub volatile: bool,
}

/// The root filesystem, decided.
#[derive(Debug)]
pub struct RootPlan {
    /// The folder on the host, absolute, without links.
    pub path: PathBuf,
    /// The folder, opened: what parents look names up in.
    pub folder: OwnedFd,
    /// The mount that becomes the root.
    pub mount: RootMount,
    /// MOUNT_ATTR_* of that mount.
    pub attributes: u64,
    /// MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE; `linux.rootfsPropagation`.
    pub propagation: u64,
    /// The folder once more, for the child.
    pub lower: CString,
    /// Where on the host it is attached for the moment of pivot_root: the folder itself, or `/` where it is
    /// mapped, since the container's ids may not reach the folder, and where it is laid over the old root.
    pub attach_at: CString,
    /// The old root is no mount that could be swapped but an initial ramdisk's, and this is to be laid over it. What
    /// is named must go from there first, the latest first: where a whole procfs or sysfs is in sight the kernel
    /// lets a user namespace mount one without what is masked (mount_too_revealing()).
    pub laid_over: Option<Vec<CString>>,
    /// What it is made of, where its owners are mapped: the folder, then the folder of the layer.
    pub mapped: Vec<MappedMount>,
}

impl RootPlan {
    /// The folder, where nothing else is the container's root.
    fn own_folder(&self) -> Option<&Path> {
        let is_folder = matches!(self.mount, RootMount::Folder { .. });
        Some(self.path.as_path()).filter(|path| is_folder && *path != Path::new("/"))
    }
}

/// How the root becomes a mount.
#[derive(Debug)]
pub enum RootMount {
    /// An overlay.
    Overlay {
        /// For fsconfig(2).
        options: Vec<(CString, Option<CString>)>,
        /// The lower folder's path is too long for fsconfig(2): it is `.`, and the child goes there.
        lower_is_cwd: bool,
    },
    /// The folder itself.
    Folder {
        /// With what is mounted below it. Not for `/`, whose submounts are the host's /proc, /sys, …; a
        /// user namespace may not part a mount from those below it.
        recursive: bool,
    },
}

/// A namespace that exists and is joined.
#[derive(Debug)]
pub struct Join {
    /// Its kind.
    pub kind: LinuxNamespaceType,
    /// The CLONE_NEW* flag of that kind.
    pub flag: i32,
    /// Where config.json says it is.
    pub path: PathBuf,
    /// The namespace itself.
    pub namespace: OwnedFd,
}

/// Everything that happens between clone3 and execve, decided.
#[derive(Debug)]
pub struct Plan {
    /// CLONE_NEW* of clone3; the cgroup namespace comes later.
    pub clone_flags: u64,
    /// What was opened for the child and must stay open in it.
    pub descriptors: Vec<RawFd>,
    /// Namespaces that exist already, in the order in which they can be joined.
    pub joins: Vec<Join>,
    /// A cgroup namespace of its own, once inside the cgroup.
    pub new_cgroup_namespace: bool,
    /// A time namespace of its own, and the lines of /proc/self/timens_offsets.
    pub new_time_namespace: Option<Vec<u8>>,
    /// Maps of the user namespace, where there is one, be it new or joined.
    pub id_map: Option<IdMap>,
    /// Groups cannot be changed in the user namespace.
    pub keep_groups: bool,
    /// The root filesystem.
    pub root: RootPlan,
    /// The mounts, in order.
    pub mounts: Vec<MountPlan>,
    /// The working directory, made where it is missing.
    pub cwd_place: Option<Place>,
    /// The links below /dev are to be made.
    pub device_links: bool,
    /// Nodes to make; in a user namespace they are binds among the mounts.
    pub devices: Vec<DevicePlan>,
    /// uts namespace: host name.
    pub hostname: Option<CString>,
    /// uts namespace: NIS domain name.
    pub domainname: Option<CString>,
    /// Devices of the host's that become the container's.
    pub net_devices: Vec<NetDevice>,
    /// Switch lo on.
    pub loopback: bool,
    /// Path below /proc/sys and value.
    pub sysctls: Vec<(CString, CString)>,
    /// Paths that become read-only.
    pub readonly_paths: Vec<CString>,
    /// Paths that are hidden.
    pub masked_paths: Vec<CString>,
    /// Mounts that change once everything is in place: the root among them, last.
    pub at_last: Vec<(CString, MountChange)>,
    /// The cgroup it lives in, and the limits there.
    pub cgroup: Option<Cgroup>,
    /// Whose its cgroup becomes: the program's user on the host, where it may write what it sees of it.
    pub cgroup_owner: Option<u32>,
    /// What config.json wants of systemd's unit beside limits.
    pub unit_properties: Vec<(String, Value)>,
    /// See [`Cgroup::limit`].
    pub resources: Option<LinuxResources>,
    /// Version 1 cgroup files to write "0" into.
    pub cgroup_doors: Vec<CString>,
    /// Its share of caches and memory bandwidth.
    pub resctrl: Option<resctrl::Class>,
    /// Somebody has something to do between the namespaces and the mounts.
    pub has_hooks: bool,
    /// /dev/console, where a terminal is asked for.
    pub console_place: Option<Place>,
    /// The program.
    pub process: ProcessPlan,
    /// How much is told.
    pub listening: Listening,
    /// Test builds: fail here.
    pub fail_at: Option<(Step, Errno)>,
}

impl Plan {
    /// Decides everything about the container of `spec`, which will live in `cgroup`.
    pub fn new(spec: &Spec, cgroup: Option<Cgroup>, mut choices: Choices) -> Result<Plan> {
        spec::check(spec)?;
        let (Some(linux), Some(process), Some(root)) = (spec.linux(), spec.process(), spec.root())
        else {
            return Err(Error::new("config.json lacks linux, process or root"));
        };
        let own = |kind| spec::has_new_namespace(spec, kind);
        let joins = plan_joins(linux)?;
        let id_map = plan_id_map(linux, &joins, own(LinuxNamespaceType::User))?;
        // Its own, or one that whoever calls is root of: to the kernel no device and no mount is theirs alone.
        let is_first = idmap::in_first_user_namespace();
        let in_userns = id_map.is_some() || !is_first;
        let mut root_plan = plan_root(root.path(), &choices, in_userns)?;
        if let Some(word) = linux.rootfs_propagation() {
            root_plan.propagation = root_propagation(word)?;
        }

        let Filled { mut at_last, mounts, device_links, devices } =
            fill(spec, root_plan.own_folder(), in_userns, cgroup.as_ref())?;
        if root.readonly() == Some(true) {
            at_last.push((c"/".to_owned(), READONLY));
        }
        if let propagation @ (libc::MS_SHARED | libc::MS_UNBINDABLE) = root_plan.propagation {
            at_last.push((c"/".to_owned(), MountChange { propagation, ..MountChange::default() }));
        }
        let strings = |list: Option<&Vec<String>>, what: &str| -> Result<Vec<CString>> {
            let once: BTreeSet<_> = list.into_iter().flatten().collect();
            once.into_iter().map(|text| c_string(text.as_str(), what)).collect()
        };
        let keep_groups = id_map.as_ref().is_some_and(IdMap::denies_groups);
        let stdio = std::mem::take(&mut choices.stdio);
        let console_size =
            process.terminal().unwrap_or(false).then(|| choices.console_size.unwrap_or((0, 0)));
        let filter = seccomp::of_spec(spec, &choices.id, &choices.bundle)?;
        let mut program = plan_process(
            process,
            filter,
            keep_groups,
            stdio,
            console_size,
            choices.die_with_parent,
        )?;
        program.capabilities.limit_to(if id_map.is_some() {
            u64::MAX
        } else {
            capabilities::grantable()
        });
        program.habits = scheduling::plan(process, Some(linux))?;
        program.bare_newlines = choices.bare_newlines;
        program.first_closed += choices.preserve_fds as RawFd;
        program.init = choices.init.then(own_arguments).transpose()?;
        Ok(Plan {
            clone_flags: clone_flags(spec),
            joins,
            descriptors: root_plan
                .mapped
                .iter()
                .map(|mapped| mapped.mount.as_raw_fd())
                .chain(mounts.iter().filter_map(MountPlan::descriptor))
                .collect(),
            resctrl: resctrl::Class::of(spec, &choices.id)?,
            new_cgroup_namespace: own(LinuxNamespaceType::Cgroup),
            new_time_namespace: own(LinuxNamespaceType::Time).then(|| time_offsets(linux)),
            keep_groups,
            cwd_place: plan_cwd(process.cwd())?,
            root: root_plan,
            mounts,
            device_links,
            devices,
            hostname: spec
                .hostname()
                .as_deref()
                .map(|h| c_string(h, "the host name"))
                .transpose()?,
            domainname: spec
                .domainname()
                .as_deref()
                .map(|d| c_string(d, "the domain name"))
                .transpose()?,
            net_devices: net_devices::plan(linux)?,
            loopback: own(LinuxNamespaceType::Network),
            sysctls: plan_sysctls(linux)?,
            readonly_paths: strings(linux.readonly_paths().as_ref(), "linux.readonlyPaths")?,
            masked_paths: strings(linux.masked_paths().as_ref(), "linux.maskedPaths")?,
            at_last,
            cgroup_doors: match &cgroup {
                // Into one of systemd's it is moved.
                Some(cgroup) if !cgroup.is_scope() => cgroup.doors()?,
                _ => Vec::new(),
            },
            cgroup_owner: cgroup_owner(spec, id_map.as_ref()),
            unit_properties: unit_properties(spec)?,
            resources: plan_resources(linux, is_first),
            cgroup,
            has_hooks: spec::has_early_hooks(spec),
            console_place: console_size
                .map(|_| Place::new(Path::new("/dev/console"), true))
                .transpose()?,
            process: program,
            listening: choices.listening,
            fail_at: choices.fail_at,
            id_map,
        })
    }

    /// The child waits at first, until the parent has done its part: ids, systemd.
    pub fn waits_for_parent(&self) -> bool {
        self.maps_ids() || self.cgroup.as_ref().is_some_and(Cgroup::is_scope)
    }

    /// Is the user namespace a new one, whose maps are to be written?
    pub fn maps_ids(&self) -> bool {
        self.clone_flags & libc::CLONE_NEWUSER as u64 != 0
    }

    /// The map that applies; none where there is no user namespace either.
    pub fn map_of<'a>(&'a self, mapping: &'a Mapping) -> Option<&'a IdMap> {
        mapping.map.as_ref().or(self.id_map.as_ref())
    }

    /// Everything whose owners are to be mapped.
    pub fn mapped(&self) -> impl Iterator<Item = &MappedMount> {
        self.root.mapped.iter().chain(self.mounts.iter().filter_map(MountPlan::mapped))
    }
}

/// Its limits. Only the machine's root restricts devices; nor can anybody else make a node that opens anything.
fn plan_resources(linux: &Linux, is_first_user_namespace: bool) -> Option<LinuxResources> {
    let mut resources = linux.resources().clone()?;
    if !is_first_user_namespace || idmap::needs_user_namespace() {
        resources.set_devices(None);
    }
    Some(resources)
}

/// runc's annotations for systemd's driver; without that they say nothing.
fn unit_properties(spec: &Spec) -> Result<Vec<(String, Value)>> {
    let annotations = spec.annotations().iter().flatten();
    let asked = annotations.map(|(name, text)| systemd::property_of_annotation(name, text));
    asked.filter_map(Result::transpose).collect()
}

/// runtime-spec, "Cgroup ownership": where there is a new cgroup namespace and a cgroup filesystem in its usual
/// place that may be written.
fn cgroup_owner(spec: &Spec, id_map: Option<&IdMap>) -> Option<u32> {
    let may_write = spec.mounts().iter().flatten().any(|mount| {
        mount.typ().as_deref() == Some("cgroup")
            && mount.destination() == Path::new("/sys/fs/cgroup")
            && !mount.options().iter().flatten().any(|word| word == "ro")
    });
    let uid = spec.process().as_ref().map_or(0, |process| process.user().uid());
    let outside = id_map.map_or(Some(uid), |map| IdMap::outside(&map.uids, uid));
    outside.filter(|_| may_write && spec::has_new_namespace(spec, LinuxNamespaceType::Cgroup))
}

/// What the root is filled with.
struct Filled {
    mounts: Vec<MountPlan>,
    device_links: bool,
    devices: Vec<DevicePlan>,
    at_last: Vec<(CString, MountChange)>,
}

/// Decides the mounts, and what stands in /dev.
fn fill(
    spec: &Spec,
    root: Option<&Path>,
    in_userns: bool,
    cgroup: Option<&Cgroup>,
) -> Result<Filled> {
    let (mut mounts, mut at_last) = (Vec::new(), Vec::new());
    for mount in spec.mounts().iter().flatten() {
        if mount.typ().as_deref() == Some("cgroup") {
            let layout = Layout::detect();
            // Without a namespace that hides the rest, only its own cgroup is shown, as runc does it. Version 2
            // shows root the whole, and does not let a user namespace mount it.
            let is_hidden = spec::has_new_namespace(spec, LinuxNamespaceType::Cgroup)
                || (layout.is_unified() && !in_userns);
            let own = || cgroup.map_or_else(|| layout.own_folders(), Cgroup::folders);
            let own = (!is_hidden).then(own);
            at_last.extend(cgroup_mount::plan(mount, &layout, own.as_deref(), &mut mounts)?);
        } else {
            let mut planned = mounts::plan(mount, root, in_userns)?;
            if planned.readonly_dev() {
                at_last.push((c"/dev".to_owned(), READONLY));
            }
            mounts.push(planned);
        }
    }
    if !spec::has_namespace(spec, LinuxNamespaceType::User)
        && let Some(mount) = mounts.iter().find(|m| m.mapping().is_some_and(|m| m.map.is_none()))
    {
        let place = mount.place.path.to_string_lossy();
        return Err(Error::new(format!("the mount on {place}: there are no ids to map to"))
            .hint("give it uidMappings and gidMappings, or the container a user namespace"));
    }
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref());
    if let Some(label) = label::of_mounts(label)? {
        for mount in &mut mounts {
            mount.label(&label);
        }
    }
    // A /dev of somebody else's is not ours to fill.
    let brings_dev = mounts.iter().any(MountPlan::brings_dev);
    let mut devices = if brings_dev { Vec::new() } else { node_plans(spec)? };
    if in_userns {
        // mknod(2) makes nothing usable in a user namespace: the host's harmless nodes are bound.
        bind_devices(&devices, &mut mounts)?;
        devices.retain(DevicePlan::is_fifo);
    }
    Ok(Filled { mounts, device_links: !brings_dev, devices, at_last })
}

/// Paths below /proc, and what is written there.
fn plan_sysctls(linux: &Linux) -> Result<Vec<(CString, CString)>> {
    let sysctl = |(key, value): (&String, &String)| -> Result<(CString, CString)> {
        Ok((
            c_string(format!("sys/{}", spec::path_of_sysctl(key)), "a sysctl")?,
            c_string(value.as_str(), "a sysctl's value")?,
        ))
    };
    let mut sysctls = linux.sysctl().iter().flatten().map(sysctl).collect::<Result<Vec<_>>>()?;
    sysctls.sort();
    Ok(sysctls)
}

/// Lines of /proc/PID/timens_offsets, time_namespaces(7).
fn time_offsets(linux: &Linux) -> Vec<u8> {
    let offsets = linux.time_offsets().iter().flatten();
    let line = |(clock, offset): (&String, &LinuxTimeOffset)| {
        format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0))
    };
    let mut lines: Vec<String> = offsets.map(line).collect();
    lines.sort();
    lines.concat().into_bytes()
}

fn own_arguments() -> Result<Arguments> {
    let missing = || Error::new("cannot find this process's own arguments in /proc/self/stat");
    Arguments::find().ok_or_else(missing)
}

/// The kinds of namespace, with their CLONE_* flags and names.
const KINDS: [(LinuxNamespaceType, i32, &str); 8] = [
    (LinuxNamespaceType::User, libc::CLONE_NEWUSER, "CLONE_NEWUSER"),
    (LinuxNamespaceType::Mount, libc::CLONE_NEWNS, "CLONE_NEWNS"),
    (LinuxNamespaceType::Pid, libc::CLONE_NEWPID, "CLONE_NEWPID"),
    (LinuxNamespaceType::Network, libc::CLONE_NEWNET, "CLONE_NEWNET"),
    (LinuxNamespaceType::Ipc, libc::CLONE_NEWIPC, "CLONE_NEWIPC"),
    (LinuxNamespaceType::Uts, libc::CLONE_NEWUTS, "CLONE_NEWUTS"),
    (LinuxNamespaceType::Cgroup, libc::CLONE_NEWCGROUP, "CLONE_NEWCGROUP"),
    (LinuxNamespaceType::Time, sys::CLONE_NEWTIME, "CLONE_NEWTIME"),
];

/// The CLONE_NEW* names of `flags`.
pub fn clone_names(flags: u64) -> Vec<&'static str> {
    let set = KINDS.iter().filter(|(_, flag, _)| flags & *flag as u64 != 0);
    set.map(|(.., name)| *name).collect()
}

fn clone_flags(spec: &Spec) -> u64 {
    // Two come later: see init.rs.
    let later = [LinuxNamespaceType::Cgroup, LinuxNamespaceType::Time];
    let of_clone = KINDS.iter().filter(|(kind, ..)| !later.contains(kind));
    let new = of_clone.filter(|(kind, ..)| spec::has_new_namespace(spec, *kind));
    new.fold(0, |all, (_, flag, _)| all | *flag as u64)
}

/// Opens the namespaces that are to be joined, and checks that they are what they are said to be.
fn plan_joins(linux: &Linux) -> Result<Vec<Join>> {
    let mut joins = Vec::new();
    for namespace in linux.namespaces().iter().flatten() {
        let (Some(path), kind) = (namespace.path(), namespace.typ()) else { continue };
        let Some((_, flag, _)) = KINDS.iter().find(|row| row.0 == kind) else { continue };
        let failed = |call: &str, errno: Errno| {
            Error::new(format!("cannot join the {kind} namespace {}", path.display()))
                .step(Step::Join)
                .call(call)
                .errno(errno)
        };
        let file = std::fs::File::open(path)
            .map_err(|e| failed("open", Errno::from_raw(e.raw_os_error().unwrap_or(0))))?;
        match sys::namespace_kind(file.as_raw_fd()) {
            Ok(real) if real == *flag => {}
            Ok(real) => {
                let real = KINDS.iter().find(|row| row.1 == real);
                let real = real.map_or_else(|| String::from("new"), |row| row.0.to_string());
                return Err(Error::new(format!(
                    "{} is a {real} namespace, and not a {kind} namespace",
                    path.display()
                ))
                .step(Step::Join));
            }
            Err(fault) => return Err(failed(fault.call, fault.errno)),
        }
        joins.push(Join { kind, flag: *flag, path: path.clone(), namespace: file.into() });
    }
    // A plain user has no power over any of them before he is in their user namespace; root might lose
    // his over the others when he enters it.
    let is_user = |join: &Join| join.kind == LinuxNamespaceType::User;
    joins.sort_by_key(|join| is_user(join) == Uid::effective().is_root());
    Ok(joins)
}

/// The maps of the user namespace: a joined one has its own.
fn plan_id_map(linux: &Linux, joins: &[Join], is_new: bool) -> Result<Option<IdMap>> {
    if let Some(join) = joins.iter().find(|join| join.kind == LinuxNamespaceType::User) {
        let what = format!("cannot join the user namespace {}", join.path.display());
        let maps = idmap::of_namespace(&join.namespace);
        return maps.map(Some).map_err(|e| Error { what, step: Some(Step::Join), ..e });
    }
    Ok(is_new.then(|| IdMap {
        uids: ranges(linux.uid_mappings().as_deref()),
        gids: ranges(linux.gid_mappings().as_deref()),
    }))
}

fn ranges(mappings: Option<&[LinuxIdMapping]>) -> Vec<Range> {
    mappings.unwrap_or_default().iter().map(Range::of_spec).collect()
}

/// Decides how the folder `path` becomes a root.
pub fn plan_root(path: &Path, choices: &Choices, in_userns: bool) -> Result<RootPlan> {
    let failed = |errno: Errno| {
        Error::new(format!("cannot use {} as a root filesystem", path.display()))
            .step(Step::OpenRoot)
            .call(format!("open({:?}, O_PATH|O_DIRECTORY)", path.display().to_string()))
            .errno(errno)
    };
    let path = std::fs::canonicalize(path)
        .map_err(|e| failed(Errno::from_raw(e.raw_os_error().unwrap_or(0))))?;
    let folder = open(&path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(failed)?;
    let lower = c_string(path.as_os_str().as_bytes(), "ROOTFS")?;
    let recursive = path != Path::new("/") || in_userns;
    let (mut mapped, mut attach_at) = (Vec::new(), lower.clone());
    if choices.map_root && in_userns {
        let whole = choices.layer.is_none() && recursive;
        let folder = MappedMount::open(lower.clone(), whole)?;
        mapped.push(MappedMount { mapping: Mapping { below: whole, map: None }, ..folder });
        attach_at = c_string("/", "ROOTFS")?;
    }
    let laid_over = choices.no_pivot.then(telling_mounts).transpose()?;
    if laid_over.is_some() {
        attach_at = c_string("/", "ROOTFS")?;
    }
    let mount = match &choices.layer {
        None => RootMount::Folder { recursive },
        Some(layer) if mapped.is_empty() => plan_overlay(&path, layer, in_userns)?,
        Some(layer) => {
            let folder = layer.upper.parent().unwrap_or(Path::new("/"));
            let folder = c_string(folder.as_os_str().as_bytes(), "the layer's folder")?;
            mapped.push(MappedMount::open(folder, false)?);
            // The paths on the host may be closed to the container's ids, and lead to what is not mapped.
            let opened = |mapped: &MappedMount| {
                PathBuf::from(format!("/proc/self/fd/{}", mapped.mount.as_raw_fd()))
            };
            let inside =
                |path: &Path| opened(&mapped[1]).join(path.file_name().unwrap_or_default());
            let (upper, work) = (inside(&layer.upper), inside(&layer.work));
            let layer = Layer { upper, work, volatile: layer.volatile };
            plan_overlay(&opened(&mapped[0]), &layer, in_userns)?
        }
    };
    let attributes = choices.root_attributes;
    let propagation = libc::MS_PRIVATE;
    Ok(RootPlan {
        path,
        folder,
        mount,
        attributes,
        propagation,
        lower,
        attach_at,
        laid_over,
        mapped,
    })
}

/// Where a procfs or sysfs is mounted whole, the latest first.
fn telling_mounts() -> Result<Vec<CString>> {
    let own = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(own).map_err(|error| Error::of_io("read", own, &error))?;
    let is_telling =
        |mount: &Mounted<'_>| mount.root == "/" && matches!(mount.fstype, "proc" | "sysfs");
    let places = mountinfo::parse(&text).rev().filter(is_telling);
    places
        .map(|mount| c_string(mount.place().into_os_string().into_vec(), "a mount's source"))
        .collect()
}

/// With or without the `r` that engines put before it: what is mounted on the root has words of its own.
fn root_propagation(word: &str) -> Result<u64> {
    match word.strip_prefix('r').unwrap_or(word) {
        "" | "private" => Ok(libc::MS_PRIVATE),
        "slave" => Ok(libc::MS_SLAVE),
        "shared" => Ok(libc::MS_SHARED),
        "unbindable" => Ok(libc::MS_UNBINDABLE),
        _ => Err(Error::new(format!(
            "config.json: linux.rootfsPropagation {word:?} is none of private, slave, shared, unbindable"
        ))),
    }
}

fn plan_overlay(lower: &Path, layer: &Layer, in_userns: bool) -> Result<RootMount> {
    // What fsconfig(2) takes of a string.
    const LONGEST: usize = 255;
    let mut options = vec![(c"source".to_owned(), Some(c"overlay".to_owned()))];
    let mut lower_is_cwd = false;
    for (key, path) in [("lowerdir", lower), ("upperdir", &layer.upper), ("workdir", &layer.work)] {
        let mut path_text = overlay_path(path);
        if path_text.len() > LONGEST {
            if key != "lowerdir" {
                let what = format!("the path {} is too long for an overlay", path.display());
                return Err(Error::new(what).hint("choose a shorter one with --data-dir"));
            }
            lower_is_cwd = true;
            path_text = b".".to_vec();
        }
        options.push((c_string(key, key)?, Some(c_string(path_text, key)?)));
    }
    if layer.volatile {
        // Linux 5.10; without it the last unmount writes the whole filesystem's changes to disk.
        options.push((c"volatile".to_owned(), None));
    }
    if in_userns {
        // trusted.* attributes belong to the host's root; user.* serve as well (Linux 5.11).
        options.push((c"userxattr".to_owned(), None));
    }
    Ok(RootMount::Overlay { options, lower_is_cwd })
}

/// A path as overlayfs reads it: `:` parts layers, `,` parts options, `\` quotes both.
pub fn overlay_path(path: &Path) -> Vec<u8> {
    let mut quoted = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted
}

fn plan_cwd(cwd: &Path) -> Result<Option<Place>> {
    if cwd == Path::new("/") {
        return Ok(None);
    }
    let mut place = Place::new(cwd, false)?;
    place.no_links = false;
    Ok(Some(place))
}

fn node_plans(spec: &Spec) -> Result<Vec<DevicePlan>> {
    let mut nodes = Vec::new();
    for (name, major, minor) in devices::DEFAULT {
        nodes.push(DevicePlan::plain(name, major, minor)?);
    }
    let asked = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
    for device in asked.into_iter().flatten() {
        if device.path() == Path::new("/dev/ptmx") {
            // The container's own: a link to the devpts that is its own too.
            continue;
        }
        let node = DevicePlan::of_spec(device)?;
        nodes.retain(|other| other.path() != node.path());
        nodes.push(node);
    }
    Ok(nodes)
}

fn bind_devices(devices: &[DevicePlan], mounts: &mut Vec<MountPlan>) -> Result<()> {
    for device in devices.iter().filter(|device| !device.is_fifo()) {
        let source = Source::Bind { path: device.path().to_owned(), recursive: false };
        let change = MountChange { propagation: libc::MS_PRIVATE, ..MountChange::default() };
        let path = Path::new(OsStr::from_bytes(device.path().to_bytes()));
        mounts.push(MountPlan::new(source, change, Place::new(path, true)?));
    }
    Ok(())
}

/// CLONE_NEW* of the namespaces in which process `pid` differs from the caller.
pub fn foreign_namespaces(pid: i32) -> Result<i32> {
    let mut namespaces = 0;
    for (kind, flag, _) in KINDS {
        let link = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}"));
        // A kind that this kernel does not have is no other.
        let Ok(own) = link("self") else { continue };
        let theirs = link(&pid.to_string()).map_err(|error| {
            Error::of_io("read", format!("/proc/{pid}/ns/{kind}").as_ref(), &error).step(Step::Join)
        })?;
        if own != theirs {
            namespaces |= flag;
        }
    }
    Ok(namespaces)
}

/// Everything about a process that joins, decided.
#[derive(Debug)]
pub struct JoinPlan {
    /// The container's PID 1.
    pub target: OwnedFd,
    /// The caller's pid namespace, for a caller who can come back to it: not from a user namespace.
    pub way_back: Option<std::fs::File>,
    /// Its pid on the host.
    pub pid: i32,
    /// CLONE_NEW* of the namespaces in which it differs from the caller.
    pub namespaces: i32,
    /// Maps of its user namespace, where that differs.
    pub id_map: Option<IdMap>,
    /// Groups cannot be changed in it.
    pub keep_groups: bool,
    /// Version 1 cgroup files to write "0" into.
    pub doors: Vec<CString>,
    /// Version 2 cgroup folder for `CLONE_INTO_CGROUP`.
    pub cgroup_folder: Option<std::fs::File>,
    /// A plain user's systemd moves the process there instead: his unit, and a path below.
    pub usher: Option<(Unit, String)>,
    /// The program.
    pub process: ProcessPlan,
}

impl JoinPlan {
    /// Decides how to join the container whose PID 1 is `pid`, held by `target`, in `cgroup`:
    /// [`Cgroup::for_newcomers`].
    pub fn new(
        pid: i32,
        target: OwnedFd,
        cgroup: Option<&Cgroup>,
        mut process: ProcessPlan,
    ) -> Result<JoinPlan> {
        let namespaces = foreign_namespaces(pid)?;
        let open = |path: &std::path::Path| {
            std::fs::File::open(path).map_err(|e| Error::of_io("open", path, &e))
        };
        let is_other = namespaces & libc::CLONE_NEWUSER != 0;
        let granted = if is_other { u64::MAX } else { capabilities::grantable() };
        process.capabilities.limit_to(granted);
        let id_map = is_other.then(|| IdMap::of_process(pid)).transpose()?;
        let usher = cgroup.and_then(|cgroup| {
            let unit = cgroup.unit.clone().filter(|unit| unit.is_user)?;
            let below = cgroup.path.split_once(&unit.name)?.1.to_owned();
            Some((unit, below))
        });
        let folder = cgroup.filter(|_| usher.is_none()).and_then(Cgroup::unified_folder);
        let comes_back = !is_other && idmap::in_first_user_namespace();
        Ok(JoinPlan {
            target,
            way_back: comes_back.then(|| open(Path::new("/proc/self/ns/pid"))).transpose()?,
            pid,
            namespaces,
            keep_groups: id_map.as_ref().is_some_and(IdMap::denies_groups),
            id_map,
            doors: cgroup.map(Cgroup::doors).transpose()?.unwrap_or_default(),
            cgroup_folder: folder.map(open).transpose()?,
            usher,
            process,
        })
    }
}

/// Decides the program itself; used for PID 1 and for processes that join.
pub fn plan_process(
    process: &Process,
    seccomp: Option<SeccompPlan>,
    single_id: bool,
    stdio: [Option<OwnedFd>; 3],
    terminal: Option<(u16, u16)>,
    die_with_parent: bool,
) -> Result<ProcessPlan> {
    let args = process.args().as_deref().unwrap_or_default();
    let env = process.env().as_deref().unwrap_or_default();
    let Some(program) = args.first() else {
        return Err(Error::new("there is no command to run"));
    };
    if program.is_empty() {
        return Err(Error::new("the command is empty")
            .hint("give the name of a program in the root filesystem"));
    }
    let c_strings = |list: &[String], what: &str| -> Result<Vec<CString>> {
        list.iter().map(|text| c_string(text.as_str(), what)).collect()
    };
    let user = process.user();
    let groups = user.additional_gids().clone().unwrap_or_default();
    if single_id && groups.iter().any(|group| *group != user.gid()) {
        return Err(Error::new(
            "supplementary groups need more than the one id this container has",
        )
        .hint("give this user subordinate ids in /etc/subuid and /etc/subgid"));
    }
    Ok(ProcessPlan {
        candidates: candidates(program, env, process.cwd())?,
        argv: Argv::new(c_strings(args, "an argument")?),
        envp: Argv::new(c_strings(env, "an environment variable")?),
        cwd: c_string(process.cwd().as_os_str().as_bytes(), "the working directory")?,
        uid: user.uid(),
        gid: user.gid(),
        groups: (!single_id).then_some(groups),
        oom_score_adj: process
            .oom_score_adj()
            .map(|score| c_string(score.to_string(), "process.oomScoreAdj"))
            .transpose()?,
        labels: label::plan(
            process.apparmor_profile().as_deref(),
            process.selinux_label().as_deref(),
        )?,
        init: None,
        habits: scheduling::plan(process, None)?,
        affinity: scheduling::affinity(process)?,
        takes_every_processor: false,
        bare_newlines: false,
        keep_keyring: false,
        gate: None,
        umask: user.umask().unwrap_or(0o022),
        capabilities: capabilities::plan(process.capabilities().as_ref())?,
        rlimits: rlimits::plan(process.rlimits().as_deref().unwrap_or_default())?,
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        seccomp,
        terminal: terminal.map(|given| console_size(process, given)).transpose()?,
        stdio: above_stdio(stdio)?,
        first_closed: 3,
        die_with_parent,
    })
}

/// Rows and columns of the terminal: those of config.json, else the `given` ones.
fn console_size(process: &Process, given: (u16, u16)) -> Result<(u16, u16)> {
    let Some(size) = process.console_size().filter(|size| size.height() > 0 && size.width() > 0)
    else {
        return Ok(given);
    };
    let cells = |number: u64| {
        let wrong =
            |_| Error::new(format!("config.json: process.consoleSize: {number} is above 65535"));
        u16::try_from(number).map_err(wrong)
    };
    Ok((cells(size.height())?, cells(size.width())?))
}

/// The paths that execvp(3) would try for `program` with the container's own `PATH`.
fn candidates(program: &str, env: &[String], cwd: &Path) -> Result<Vec<CString>> {
    let what = "the command";
    if program.contains('/') {
        // A relative path starts at the working directory, which the child has entered by then.
        return Ok(vec![c_string(program, what)?]);
    }
    let path = env.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(crate::DEFAULT_PATH);
    path.split(':')
        .map(|dir| if dir.is_empty() { cwd } else { Path::new(dir) })
        .map(|dir| c_string(dir.join(program).into_os_string().into_encoded_bytes(), what))
        .collect()
}

/// A given stream that itself is 0, 1 or 2 would be overwritten before its turn: move it up.
fn above_stdio(stdio: [Option<OwnedFd>; 3]) -> Result<[Option<OwnedFd>; 3]> {
    let mut moved = [None, None, None];
    for (place, fd) in moved.iter_mut().zip(stdio) {
        if let Some(fd) = fd {
            let copy = nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))
                .map_err(|errno| Error::new("cannot duplicate a standard stream").errno(errno))?;
            *place = Some(sys::own(copy));
        }
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_paths_are_quoted() {
        assert_eq!(overlay_path(Path::new("/a:b,c\\d")), b"/a\\:b\\,c\\\\d");
    }

    #[test]
    fn the_search_path_is_the_containers() {
        let env = ["PATH=/one::/two".to_owned()];
        let found = candidates("sh", &env, Path::new("/work")).unwrap();
        assert_eq!(found, [c"/one/sh".to_owned(), c"/work/sh".to_owned(), c"/two/sh".to_owned()]);
        assert_eq!(candidates("./sh", &env, Path::new("/work")).unwrap(), [c"./sh".to_owned()]);
    }
}

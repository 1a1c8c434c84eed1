//! Spec → Plan: every decision, every allocation and every C string, made in the parent.
//!
//! After this file nothing is decided any more. The child receives `&Plan` and carries it out.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Spec};

use crate::capabilities;
use crate::cgroup::{Cgroup, Layout};
use crate::cgroup_mount;
use crate::devices::{self, DevicePlan};
use crate::error::{Error, Result};
use crate::idmap::{self, IdMap};
use crate::label;
use crate::line::Listening;
use crate::mounts::{self, MappedMount, Mapping, MountPlan, Place, Source, c_string};
use crate::namespaces::{self, Join};
use crate::net_devices::{self, NetDevice};
use crate::process::ProcessPlan;
use crate::program;
use crate::resctrl;
use crate::root::{self, RootChoices, RootPlan};
use crate::scheduling;
use crate::seccomp;
use crate::spec;
use crate::step::Step;
use crate::sys::{Arguments, MountChange};
use crate::systemd::bus::Value;
use crate::systemd::{self, Unit};

const READONLY: MountChange =
    MountChange { set: libc::MOUNT_ATTR_RDONLY, clear: 0, propagation: 0 };

/// What a caller chooses beside config.json.
#[derive(Debug, Default)]
pub struct Choices {
    /// How its folder becomes a root.
    pub root: RootChoices,
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
    /// How much the caller wants to hear on the way.
    pub listening: Listening,
    /// Test builds: fail at this step with this errno.
    pub fail_at: Option<(Step, Errno)>,
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
        let joins = namespaces::joins(linux)?;
        let id_map = namespaces::id_map(linux, &joins, own(LinuxNamespaceType::User))?;
        // Its own, or one that whoever calls is root of: to the kernel no device and no mount is theirs alone.
        let is_first = idmap::in_first_user_namespace();
        let in_userns = id_map.is_some() || !is_first;
        let mut root_plan = root::plan(root.path(), &choices.root, in_userns)?;
        if let Some(word) = linux.rootfs_propagation() {
            root_plan.propagation = root::propagation(word)?;
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
        let mut program = program::plan(
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
            clone_flags: namespaces::clone_flags(spec),
            joins,
            descriptors: root_plan
                .mapped
                .iter()
                .map(|mapped| mapped.mount.as_raw_fd())
                .chain(mounts.iter().filter_map(MountPlan::descriptor))
                .collect(),
            resctrl: resctrl::Class::of(spec, &choices.id)?,
            new_cgroup_namespace: own(LinuxNamespaceType::Cgroup),
            new_time_namespace: own(LinuxNamespaceType::Time)
                .then(|| namespaces::time_offsets(linux)),
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

fn own_arguments() -> Result<Arguments> {
    let missing = || Error::new("cannot find this process's own arguments in /proc/self/stat");
    Arguments::find().ok_or_else(missing)
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
        let namespaces = namespaces::foreign(pid)?;
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

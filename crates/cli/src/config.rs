//! What is wanted → an OCI configuration, with the defaults of a careful host.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use minibox_runtime::DEFAULT_PATH;
use minibox_runtime::idmap::{IdMap, Range};
use minibox_runtime::user::User;
use oci_spec::runtime::{self as oci, LinuxNamespaceType as Kind};

use crate::args::CreateArgs;
use crate::host;
use crate::sharing::{Origin, inside};
use crate::userns::UserNamespace;
use crate::wishes::devices::Device;
use crate::wishes::{Wishes, mount};

/// The runtime-spec that a configuration is written to.
pub(crate) const SPEC_VERSION: &str = "1.3.0";

/// Hidden from the container: the kernel's memory, keys, timers, hardware and power readings.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
];

/// Readable, but not to be written.
const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The files of its own that every container gets.
#[derive(Debug)]
pub(crate) struct OwnFiles {
    pub hosts: PathBuf,
    pub hostname: PathBuf,
    pub resolv_conf: PathBuf,
}

/// The environment of a process: the image's usual, then what was asked for.
pub(crate) fn environment(tty: bool, asked: &[String], home: &str, hostname: &str) -> Vec<String> {
    let mut env = vec![
        format!("PATH={DEFAULT_PATH}"),
        format!("HOSTNAME={hostname}"),
        format!("HOME={home}"),
    ];
    if tty {
        env.push(String::from("TERM=xterm"));
        // Without it a shell takes the letters of most languages for noise.
        env.push(String::from("LANG=C.UTF-8"));
    }
    for wish in asked {
        let (key, is_set) = wish.split_once('=').map_or((wish.as_str(), false), |(k, _)| (k, true));
        let prefix = format!("{key}=");
        env.retain(|entry| !entry.starts_with(&prefix));
        if is_set {
            env.push(wish.clone());
        }
    }
    env
}

/// What a config needs to know beside the arguments.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub user: &'a UserNamespace,
    pub cgroup: Option<&'a str>,
    pub hostname: &'a str,
    pub files: &'a OwnFiles,
}

/// The whole OCI configuration.
pub(crate) fn build(args: &CreateArgs, wishes: &Wishes, place: &Place<'_>) -> oci::Spec {
    let mut spec = oci::Spec::default();
    spec.set_version(String::from(SPEC_VERSION));
    let annotations = wishes.annotations.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    spec.set_annotations(Some(annotations).filter(|_| !wishes.annotations.is_empty()));
    let own_name = wishes.namespaces.uts.is_new();
    spec.set_hostname(own_name.then(|| place.hostname.to_owned()));
    spec.set_domainname(args.namespaces.domainname.clone());
    let mut root = oci::Root::default();
    root.set_path(std::path::absolute(&args.rootfs).unwrap_or_else(|_| args.rootfs.clone()));
    root.set_readonly(Some(args.mounts.read_only));
    spec.set_root(Some(root));
    spec.set_mounts(Some(mounts(args, wishes, place)));
    spec.set_process(Some(process(args.process.tty, wishes, place.hostname)));
    spec.set_linux(Some(linux(args, wishes, place)));
    spec
}

fn process(tty: bool, wishes: &Wishes, hostname: &str) -> oci::Process {
    let program = &wishes.program;
    let mut process = oci::Process::default();
    process.set_terminal(Some(tty));
    process.set_args(Some(program.args.clone()));
    process.set_env(Some(environment(tty, &program.env, &program.user.home, hostname)));
    process.set_user(oci_user(&program.user));
    process.set_cwd(program.cwd.clone());
    process.set_no_new_privileges(Some(wishes.privileges.no_new_privs));
    process
        .set_capabilities(Some(capability_sets(&wishes.privileges.capabilities, program.user.uid)));
    process.set_rlimits(Some(wishes.limits.ulimits.clone()));
    process.set_apparmor_profile(wishes.privileges.apparmor.clone());
    process.set_oom_score_adj(wishes.namespaces.oom_score_adj);
    process
}

/// The user of a process, as config.json has it.
pub(crate) fn oci_user(user: &User) -> oci::User {
    let mut made = oci::User::default();
    made.set_uid(user.uid);
    made.set_gid(user.gid);
    // The primary group among them, or a setgid program would shed it, and with it what files deny to that
    // group (CVE-2022-36109).
    let further = user.groups.iter().copied().filter(|group| *group != user.gid);
    made.set_additional_gids(Some(std::iter::once(user.gid).chain(further).collect()));
    made
}

/// Bounding for everyone, effective and permitted for root alone; inheritable and ambient stay empty
/// (CVE-2022-29162).
pub(crate) fn capability_sets(set: &oci::Capabilities, uid: u32) -> oci::LinuxCapabilities {
    let none = oci::Capabilities::new();
    let own = if uid == 0 { set } else { &none };
    let mut sets = oci::LinuxCapabilities::default();
    sets.set_bounding(Some(set.clone()));
    sets.set_effective(Some(own.clone()));
    sets.set_permitted(Some(own.clone()));
    sets.set_inheritable(Some(none.clone()));
    sets.set_ambient(Some(none.clone()));
    sets
}

fn mounts(args: &CreateArgs, wishes: &Wishes, place: &Place<'_>) -> Vec<oci::Mount> {
    let ro = if args.security.privileged { "rw" } else { "ro" };
    let safe = ["nosuid", "nodev", "noexec"];
    // Group 5 is tty nearly everywhere; with a single id there is no group but one's own.
    let has_tty_group = match &place.user.id_map {
        None => host::has_group(5),
        Some(map) => IdMap::outside(&map.gids, 5).is_some(),
    };
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if has_tty_group {
        pts.push("gid=5");
    }
    let own = |path: &Path, destination| {
        mount("bind", &path.to_string_lossy(), destination, &["bind", "nosuid", "nodev", "noexec"])
    };
    // A user namespace may mount anew only what belongs to namespaces of its own.
    let of_namespace = |kind, name: &str, destination: &str, words: &[&str]| {
        if place.user.rules(kind) {
            return mount(name, name, destination, words);
        }
        mount("bind", destination, destination, &[&["rbind"], words].concat())
    };
    let mut mounts = vec![
        of_namespace(Kind::Pid, "proc", "/proc", &safe),
        mount(
            "tmpfs",
            "tmpfs",
            "/dev",
            &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"],
        ),
        mount("devpts", "devpts", "/dev/pts", &pts),
    ];
    mounts.extend(shm(wishes, &safe));
    // The host itself need not have one.
    if place.user.rules(Kind::Ipc) || Path::new("/dev/mqueue").exists() {
        mounts.push(of_namespace(Kind::Ipc, "mqueue", "/dev/mqueue", &safe));
    }
    let kernels = [&safe[..], &[ro]].concat();
    mounts.push(of_namespace(Kind::Network, "sysfs", "/sys", &kernels));
    if place.user.rules(Kind::Network) {
        // Otherwise it has come with /sys.
        mounts.push(of_namespace(Kind::Cgroup, "cgroup", "/sys/fs/cgroup", &kernels));
    }
    let mut files = vec![
        own(&place.files.hosts, "/etc/hosts"),
        own(&place.files.hostname, "/etc/hostname"),
        own(&place.files.resolv_conf, "/etc/resolv.conf"),
    ];
    let device = |device: &&Device| !is_made(device, place);
    let devices = wishes.devices.nodes.iter().filter(device).map(|device| {
        let (host, inside) = (device.host.to_string_lossy(), device.node.path().to_string_lossy());
        mount("bind", &host, &inside, &["bind", "nosuid", "noexec"])
    });
    let asked = wishes.mounts.iter().map(|asked| asked.mount.clone());
    let mut asked: Vec<oci::Mount> = asked.chain(devices).collect();
    // A mount below another must come after it, whatever the order on the command line.
    asked.sort_by_key(|mount| mount.destination().components().count());
    files.extend(asked);
    if place.user.maps_mounts() {
        files.iter_mut().for_each(keep_owners);
    }
    mounts.extend(files);
    mounts.iter_mut().for_each(reach_below);
    mounts
}

/// What is said of a recursive bind is meant for all of it, as docker means it: `ro` alone is the topmost
/// mount's.
fn reach_below(mount: &mut oci::Mount) {
    let mut words = mount.options().clone().unwrap_or_default();
    if words.iter().any(|word| word == "rbind") {
        let reaching = words
            .iter()
            .filter(|word| ["ro", "nosuid", "nodev", "noexec"].contains(&word.as_str()));
        words.extend(reaching.map(|word| format!("r{word}")).collect::<Vec<_>>());
        mount.set_options(Some(words));
    }
}

/// Is its node made, rather than the host's shown? In a user namespace nobody can make one, and the runtime
/// makes them below /dev alone.
fn is_made(device: &Device, place: &Place<'_>) -> bool {
    place.user.id_map.is_none() && device.node.path().starts_with("/dev")
}

/// /dev/shm goes with the ipc namespace, though it does not belong to it.
fn shm(wishes: &Wishes, safe: &[&str]) -> Option<oci::Mount> {
    let bind = |source: &str| mount("bind", source, "/dev/shm", &[&["bind"], safe].concat());
    match &wishes.namespaces.ipc {
        Origin::Host => Some(bind("/dev/shm")),
        Origin::Of(record) => Some(bind(&inside(record, "/dev/shm").to_string_lossy())),
        Origin::New => wishes.namespaces.shm.then(|| {
            let size = format!("size={}", wishes.limits.shm_size);
            mount("tmpfs", "shm", "/dev/shm", &[safe, &["mode=1777", &size]].concat())
        }),
    }
}

/// What is written as owner on the disk is the owner inside too. The kernel's own filesystems have no
/// owners to keep, and cannot map them.
fn keep_owners(mount: &mut oci::Mount) {
    let is_bind = mount.typ().as_deref() == Some("bind");
    let source = mount.source().clone().unwrap_or_default();
    let is_kernels = ["/dev", "/proc", "/sys"].iter().any(|folder| source.starts_with(folder));
    if is_bind && (!is_kernels || source.starts_with("/dev/shm")) {
        let mut words = mount.options().clone().unwrap_or_default();
        words.push(String::from("ridmap"));
        mount.set_options(Some(words));
    }
}

fn linux(args: &CreateArgs, wishes: &Wishes, place: &Place<'_>) -> oci::Linux {
    let asked = &wishes.namespaces;
    let namespaces = [
        (Kind::Pid, &asked.pid),
        (Kind::Mount, &Origin::New),
        (Kind::Ipc, &asked.ipc),
        (Kind::Uts, &asked.uts),
        (Kind::Cgroup, &asked.cgroup),
        (Kind::Network, &asked.net),
        (Kind::User, &place.user.origin),
    ];
    let namespaces = namespaces.into_iter().filter_map(|(kind, origin)| origin.namespace(kind));
    let mut linux = oci::Linux::default();
    linux.set_namespaces(Some(namespaces.collect()));
    let strings = |paths: &[&str]| Some(paths.iter().map(|&path| path.to_owned()).collect());
    linux.set_masked_paths(strings(&MASKED).filter(|_| wishes.privileges.masked));
    linux.set_readonly_paths(strings(&READONLY).filter(|_| wishes.privileges.masked));
    linux.set_seccomp(wishes.privileges.seccomp.clone());
    linux.set_cgroups_path(place.cgroup.map(|path| PathBuf::from("/").join(path)));
    linux.set_resources(Some(resources(args, wishes, place)));
    if let Some(map) = &place.user.id_map {
        let mappings = |ranges: &[Range]| {
            let mapping = |range: &Range| {
                let mapping = oci::LinuxIdMappingBuilder::default().container_id(range.inside);
                mapping.host_id(range.outside).size(range.size).build()
            };
            // Every field has a default, so that building cannot fail.
            Some(ranges.iter().filter_map(|range| mapping(range).ok()).collect())
        };
        linux.set_uid_mappings(mappings(&map.uids));
        linux.set_gid_mappings(mappings(&map.gids));
    }
    let mut sysctls = HashMap::new();
    if asked.net.is_new() {
        // In a network of its own a port below 1024 harms nobody, and ping needs no raw socket.
        let (first, last) = match &place.user.id_map {
            None => (0, host::last_group()),
            Some(map) => (
                map.gids.iter().map(|r| r.inside).min().unwrap_or(0),
                map.gids.iter().map(|r| r.inside + (r.size - 1)).max().unwrap_or(0),
            ),
        };
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), String::from("0"));
        sysctls.insert("net.ipv4.ping_group_range".into(), format!("{first} {last}"));
    }
    sysctls.extend(wishes.limits.sysctls.clone());
    linux.set_sysctl(Some(sysctls).filter(|all| !all.is_empty()));
    let all = args.security.privileged.then(|| host::device_nodes(Path::new("/dev")));
    let asked = wishes.devices.nodes.iter().filter(|device| is_made(device, place));
    let devices = all.into_iter().flatten().chain(asked.map(|device| device.node.clone()));
    linux.set_devices(Some(devices.collect()));
    linux
}

fn resources(args: &CreateArgs, wishes: &Wishes, place: &Place<'_>) -> oci::LinuxResources {
    if place.cgroup.is_none() {
        return oci::LinuxResources::default();
    }
    let mut resources = wishes.limits.resources.clone();
    if !args.security.privileged {
        // Nothing but what was asked for; what every container has is added by the runtime.
        let mut none = oci::LinuxDeviceCgroup::default();
        none.set_access(Some(String::from("rwm")));
        let asked = wishes.devices.rules.iter().cloned();
        resources.set_devices(Some([none].into_iter().chain(asked).collect()));
    }
    resources
}

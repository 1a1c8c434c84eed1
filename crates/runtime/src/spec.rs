//! config.json: read, checked, and everything that is not done yet refused by name.
//!
//! runtime-spec asks that a runtime never silently drops what it was asked for. A field that nothing
//! here acts on therefore stands in [`unsupported`], and leaves it on the day it is built.

use std::collections::HashMap;
use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Spec};

use crate::error::{Error, Result};

/// Reads `config.json` from the folder `bundle`.
pub fn load(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).map_err(|error| Error::of_io("read", &path, &error))?;
    serde_json::from_slice(&text).map_err(|error| {
        Error::new(format!("{} is not a valid config.json: {error}", path.display()))
    })
}

/// Checks what every later part relies on.
pub fn check(spec: &Spec) -> Result<()> {
    let missing = |field: &str| Error::new(format!("config.json: {field} is missing"));
    let process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(missing("process.args"));
    }
    if !process.cwd().is_absolute() {
        return Err(Error::new(format!(
            "config.json: process.cwd {} is not an absolute path",
            process.cwd().display()
        )));
    }
    spec.root().as_ref().ok_or_else(|| missing("root"))?;
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    let mut kinds: Vec<_> = linux.namespaces().iter().flatten().map(|n| n.typ() as u32).collect();
    kinds.sort_unstable();
    if kinds.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::new("config.json: linux.namespaces names one kind twice"));
    }
    if let Some((field, owner)) = foreign(spec).first() {
        return Err(Error::new(format!(
            "config.json: {field} belongs to {owner}, which the container shares with others"
        )));
    }
    match unsupported(spec).first() {
        Some(field) => Err(Error::new(format!(
            "config.json: {field} is not supported by this version of minibox"
        ))),
        None => Ok(()),
    }
}

/// The fields that are set and that nothing acts on.
pub fn unsupported(spec: &Spec) -> Vec<String> {
    let mut fields = Vec::new();
    let mut say = |is_set: bool, field: &str| {
        if is_set {
            fields.push(field.to_owned());
        }
    };
    say(
        spec.solaris().is_some()
            || spec.windows().is_some()
            || spec.vm().is_some()
            || spec.zos().is_some(),
        "a platform other than linux",
    );
    if let Some(process) = spec.process() {
        say(process.scheduler().is_some(), "process.scheduler");
        say(process.io_priority().is_some(), "process.ioPriority");
        say(process.exec_cpu_affinity().is_some(), "process.execCPUAffinity");
    }
    let Some(linux) = spec.linux() else {
        return fields;
    };
    say(linux.net_devices().is_some(), "linux.netDevices");
    say(linux.seccomp().is_some(), "linux.seccomp");
    say(linux.rootfs_propagation().is_some(), "linux.rootfsPropagation");
    say(linux.mount_label().is_some(), "linux.mountLabel");
    say(linux.intel_rdt().is_some(), "linux.intelRdt");
    say(linux.memory_policy().is_some(), "linux.memoryPolicy");
    say(linux.personality().is_some(), "linux.personality");
    say(linux.time_offsets().is_some(), "linux.timeOffsets");
    for namespace in linux.namespaces().iter().flatten() {
        let kind = namespace.typ();
        let by_path = namespace.path().is_some() && kind == LinuxNamespaceType::Mount;
        say(by_path, "joining a mnt namespace by path");
        say(kind == LinuxNamespaceType::Time, "a time namespace");
    }
    if let Some(resources) = linux.resources() {
        say(
            resources.hugepage_limits().as_ref().is_some_and(|h| !h.is_empty()),
            "linux.resources.hugepageLimits",
        );
        say(resources.network().is_some(), "linux.resources.network");
        say(resources.rdma().is_some(), "linux.resources.rdma");
        say(resources.unified().is_some(), "linux.resources.unified");
        fields.extend(unsupported_limits(resources));
    }
    fields
}

/// The same, of those limits that are acted on in part.
fn unsupported_limits(resources: &LinuxResources) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(memory) = resources.memory() {
        #[allow(deprecated)] // Read to be refused.
        let kernel = memory.kernel().is_some();
        found.extend([
            (kernel, "memory.kernel"),
            (memory.kernel_tcp().is_some(), "memory.kernelTCP"),
            (memory.swappiness().is_some(), "memory.swappiness"),
            (memory.disable_oom_killer().is_some_and(|on| on), "memory.disableOOMKiller"),
            (memory.use_hierarchy().is_some(), "memory.useHierarchy"),
            (memory.check_before_update().is_some_and(|on| on), "memory.checkBeforeUpdate"),
        ]);
    }
    if let Some(cpu) = resources.cpu() {
        found.extend([
            (cpu.burst().is_some(), "cpu.burst"),
            (cpu.idle().is_some(), "cpu.idle"),
            (cpu.realtime_period().is_some(), "cpu.realtimePeriod"),
            (cpu.realtime_runtime().is_some(), "cpu.realtimeRuntime"),
        ]);
    }
    if let Some(io) = resources.block_io() {
        found.extend([
            (io.leaf_weight().is_some(), "blockIO.leafWeight"),
            (io.weight_device().as_ref().is_some_and(|d| !d.is_empty()), "blockIO.weightDevice"),
        ]);
    }
    let set = found.into_iter().filter(|(is_set, _)| *is_set);
    set.map(|(_, field)| format!("linux.resources.{field}")).collect()
}

/// What would be changed for others too, since the namespace it belongs to is not the container's own.
fn foreign(spec: &Spec) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut say = |field: String, kind: Option<LinuxNamespaceType>| match kind {
        Some(kind) if has_new_namespace(spec, kind) => {}
        Some(kind) => fields.push((field, format!("the {kind} namespace"))),
        None => fields.push((field, String::from("the whole machine"))),
    };
    if spec.hostname().is_some() {
        say(String::from("hostname"), Some(LinuxNamespaceType::Uts));
    }
    if spec.domainname().is_some() {
        say(String::from("domainname"), Some(LinuxNamespaceType::Uts));
    }
    let sysctls = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    for key in sysctls.into_iter().flat_map(HashMap::keys) {
        say(format!("linux.sysctl {key}"), owner_of_sysctl(key));
    }
    fields
}

/// The kind of namespace that has its own copy of the kernel parameter `key`, where one has: the list of
/// ipc_namespaces(7) and uts_namespaces(7), and all of `net` and `user`.
pub fn owner_of_sysctl(key: &str) -> Option<LinuxNamespaceType> {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    let key = key.replace('/', ".");
    match key.split_once('.')? {
        ("net", _) => Some(LinuxNamespaceType::Network),
        ("kernel", name) if IPC.contains(&name) => Some(LinuxNamespaceType::Ipc),
        ("kernel", "hostname" | "domainname") => Some(LinuxNamespaceType::Uts),
        ("fs", name) if name.starts_with("mqueue.") => Some(LinuxNamespaceType::Ipc),
        ("user", _) => Some(LinuxNamespaceType::User),
        _ => None,
    }
}

/// Are there hooks that are called before the root is made?
pub fn has_early_hooks(spec: &Spec) -> bool {
    spec.hooks().as_ref().is_some_and(|hooks| {
        #[allow(deprecated)] // Engines still send it.
        let lists = [hooks.prestart(), hooks.create_runtime(), hooks.create_container()];
        lists.into_iter().flatten().any(|list| !list.is_empty())
    })
}

/// Takes out the limits that are 0 or empty: engines write them so where they mean none.
pub fn drop_zeros(resources: &mut LinuxResources) {
    if let Some(memory) = resources.memory_mut() {
        memory.set_limit(memory.limit().filter(|limit| *limit != 0));
        memory.set_swap(memory.swap().filter(|limit| *limit != 0));
        memory.set_reservation(memory.reservation().filter(|limit| *limit != 0));
    }
    if let Some(cpu) = resources.cpu_mut() {
        cpu.set_shares(cpu.shares().filter(|shares| *shares != 0));
        cpu.set_quota(cpu.quota().filter(|quota| *quota != 0));
        cpu.set_period(cpu.period().filter(|period| *period != 0));
        cpu.set_realtime_runtime(cpu.realtime_runtime().filter(|time| *time != 0));
        cpu.set_realtime_period(cpu.realtime_period().filter(|time| *time != 0));
        cpu.set_cpus(cpu.cpus().clone().filter(|cpus| !cpus.is_empty()));
        cpu.set_mems(cpu.mems().clone().filter(|mems| !mems.is_empty()));
    }
    if let Some(io) = resources.block_io_mut() {
        io.set_weight(io.weight().filter(|weight| *weight != 0));
        io.set_leaf_weight(io.leaf_weight().filter(|weight| *weight != 0));
    }
    if resources.pids().is_some_and(|pids| pids.limit() == 0) {
        resources.set_pids(None);
    }
}

/// Is the container to be in a namespace of this kind that is not the host's?
pub fn has_namespace(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.into_iter().flatten().any(|namespace| namespace.typ() == kind)
}

/// Does the container get a new namespace of this kind, rather than share one that exists?
pub fn has_new_namespace(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let mut namespaces = namespaces.into_iter().flatten();
    namespaces.any(|namespace| namespace.typ() == kind && namespace.path().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(extra: &str) -> Spec {
        let text = format!(
            r#"{{"ociVersion":"1.2.0","root":{{"path":"/r"}},"process":{{"user":{{"uid":0,"gid":0}},"args":["a"],"cwd":"/"}},"linux":{{{extra}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        assert!(check(&spec("")).is_ok());
        for (field, name) in [
            (r#""seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}"#, "linux.seccomp"),
            (r#""personality":{"domain":"LINUX32"}"#, "linux.personality"),
            (r#""resources":{"memory":{"kernel":1}}"#, "linux.resources.memory.kernel"),
            (r#""resources":{"memory":{"swappiness":0}}"#, "linux.resources.memory.swappiness"),
            (r#""resources":{"cpu":{"idle":1}}"#, "linux.resources.cpu.idle"),
            (r#""resources":{"blockIO":{"leafWeight":10}}"#, "linux.resources.blockIO.leafWeight"),
            (
                r#""namespaces":[{"type":"mount","path":"/proc/1/ns/mnt"}]"#,
                "joining a mnt namespace by path",
            ),
            (r#""namespaces":[{"type":"uts"},{"type":"uts","path":"/x"}]"#, "one kind twice"),
            (r#""sysctl":{"net.ipv4.ip_forward":"1"}"#, "sysctl net.ipv4.ip_forward belongs to"),
            (
                r#""namespaces":[{"type":"ipc","path":"/x"}],"sysctl":{"kernel.sem":"1"}"#,
                "belongs to the ipc namespace",
            ),
            (r#""sysctl":{"vm.swappiness":"1"}"#, "belongs to the whole machine"),
        ] {
            let error = check(&spec(field)).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}

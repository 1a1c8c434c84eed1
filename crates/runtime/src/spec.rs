//! config.json: read, checked, and everything that is not done yet refused by name.
//!
//! runtime-spec asks that a runtime never silently drops what it was asked for. A field that nothing
//! here acts on therefore stands in [`unsupported`], and leaves it on the day it is built.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_spec::runtime::{
    LinuxMemory, LinuxNamespaceType, LinuxResources, MemoryPolicyFlagType, MemoryPolicyModeType,
    Process, Spec,
};
use serde_json::Value;

use crate::capabilities;
use crate::error::{Error, Result};

/// Reads `config.json` from the folder `bundle`.
pub fn load(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).map_err(|error| Error::of_io("read", &path, &error))?;
    read(&text).map_err(|error| {
        Error::new(format!("{} is not a valid config.json: {error}", path.display()))
    })
}

/// Reads the text of a config.json, of any 1.x.
pub fn read(text: &[u8]) -> serde_json::Result<Spec> {
    let mut config: Value = serde_json::from_slice(text)?;
    if let Some(process) = config.get_mut("process").filter(|process| !process.is_null()) {
        correct_process(process);
    }
    for namespace in config.pointer_mut("/linux/namespaces").into_iter().flat_map(each) {
        // Go knows no other way to say that there is none.
        if namespace["path"] == ""
            && let Some(namespace) = namespace.as_object_mut()
        {
            namespace.remove("path");
        }
    }
    for limit in config.pointer_mut("/linux/resources/hugepageLimits").into_iter().flat_map(each) {
        // The type has 63 bits for it, and the kernel no page more.
        if limit["limit"].as_u64().is_some_and(|bytes| bytes > i64::MAX as u64) {
            limit["limit"] = i64::MAX.into();
        }
    }
    // None of it is not a limit of 0.
    if let Some(resources) = config.pointer_mut("/linux/resources").and_then(Value::as_object_mut)
        && resources.get("pids").is_some_and(|pids| pids["limit"].is_null())
    {
        resources.remove("pids");
    }
    if let Some(policy) = config.pointer("/linux/memoryPolicy").filter(|policy| !policy.is_null()) {
        check_memory_policy(policy)?;
    }
    serde_json::from_value(config)
}

/// Says of which field it is that a word is not known.
fn check_memory_policy(policy: &Value) -> serde_json::Result<()> {
    let wrong = |what: &str, value: &Value, error: serde_json::Error| {
        serde::de::Error::custom(format!("invalid memory policy {what} {value}: {error}"))
    };
    let mode = &policy["mode"];
    serde_json::from_value::<MemoryPolicyModeType>(mode.clone())
        .map_err(|e| wrong("mode", mode, e))?;
    for flag in policy["flags"].as_array().into_iter().flatten() {
        serde_json::from_value::<MemoryPolicyFlagType>(flag.clone())
            .map_err(|error| wrong("flag", flag, error))?;
    }
    Ok(())
}

/// Reads the text of a process alone, as `exec` gets it from engines.
pub fn read_process(text: &[u8]) -> serde_json::Result<Process> {
    let mut process: Value = serde_json::from_slice(text)?;
    correct_process(&mut process);
    serde_json::from_value(process)
}

/// What oci-spec's types take otherwise than the specification and Go's have it: a user that is missing is
/// root, a capability that nobody knows is a warning, and two flags of the scheduler are spelled differently.
fn correct_process(process: &mut Value) {
    if let Some(process) = process.as_object_mut()
        && process.get("user").is_none_or(Value::is_null)
    {
        process.insert(String::from("user"), Value::Object(serde_json::Map::new()));
    }
    for set in process.get_mut("capabilities").and_then(Value::as_object_mut).into_iter().flatten()
    {
        if let Some(names) = set.1.as_array_mut() {
            names.retain(|name| match name.as_str().map(capabilities::number) {
                Some(Err(error)) => {
                    tracing::warn!("{} is left out: {}", set.0, error.what);
                    false
                }
                _ => true,
            });
        }
    }
    for flag in process.pointer_mut("/scheduler/flags").into_iter().flat_map(each) {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
            _ => {}
        }
    }
}

/// The members of a list.
fn each(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

/// Checks what every later part relies on.
pub fn check(spec: &Spec) -> Result<()> {
    let missing = |field: &str| Error::new(format!("config.json: {field} is missing"));
    if !matches!(spec.version().split('.').next(), Some("0" | "1")) {
        return Err(Error::new(format!(
            "config.json: ociVersion {:?} is not supported: minibox knows those before 2.0",
            spec.version()
        )));
    }
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
    let mut maps = [linux.uid_mappings(), linux.gid_mappings()].into_iter().flatten();
    if maps.any(|map| !map.is_empty()) && !has_namespace(spec, LinuxNamespaceType::User) {
        return Err(Error::new(
            "config.json: linux.uidMappings or gidMappings is set, and there is no user namespace in linux.namespaces",
        ));
    }
    let moves_devices = linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty());
    if moves_devices && !has_other_namespace(spec, LinuxNamespaceType::Network) {
        return Err(Error::new(
            "config.json: linux.netDevices is set, and there is no network namespace of the container's own in linux.namespaces",
        ));
    }
    let mut clocks = linux.time_offsets().iter().flat_map(HashMap::keys).peekable();
    if clocks.peek().is_some() && !has_new_namespace(spec, LinuxNamespaceType::Time) {
        return Err(Error::new(
            "config.json: linux.timeOffsets is set, and there is no new time namespace in linux.namespaces",
        ));
    }
    if let Some(clock) = clocks.find(|clock| !["monotonic", "boottime"].contains(&clock.as_str())) {
        return Err(Error::new(format!(
            "config.json: linux.timeOffsets: {clock:?} is neither monotonic nor boottime"
        )));
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

/// The fields that are set and that nothing acts on; docs/spec-conformance.md says why.
pub fn unsupported(spec: &Spec) -> Vec<String> {
    let mut fields = Vec::new();
    let mut say = |is_set: bool, field: &str| {
        if is_set {
            fields.push(field.to_owned());
        }
    };
    say(spec.solaris().is_some(), "solaris");
    say(spec.windows().is_some(), "windows");
    say(spec.vm().is_some(), "vm");
    say(spec.zos().is_some(), "zos");
    let Some(linux) = spec.linux() else {
        return fields;
    };
    let flags = linux.personality().as_ref().and_then(|personality| personality.flags().as_ref());
    say(flags.is_some_and(|flags| !flags.is_empty()), "linux.personality.flags");
    say(
        !has_new_namespace(spec, LinuxNamespaceType::Mount),
        "linux.namespaces without a new mount namespace",
    );
    if let Some(resources) = linux.resources() {
        let memory = resources.memory().as_ref();
        say(
            memory.and_then(LinuxMemory::use_hierarchy) == Some(false),
            "linux.resources.memory.useHierarchy false",
        );
        if let Some(io) = resources.block_io() {
            say(io.leaf_weight().is_some_and(|w| w != 0), "linux.resources.blockIO.leafWeight");
            let mut devices = io.weight_device().iter().flatten();
            say(
                devices.any(|device| device.leaf_weight().is_some_and(|weight| weight != 0)),
                "linux.resources.blockIO.weightDevice.leafWeight",
            );
        }
    }
    fields
}

/// What would be changed for others too, since the namespace it belongs to is not the container's own.
fn foreign(spec: &Spec) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut say = |field: String, kind: Option<LinuxNamespaceType>| match kind {
        Some(kind) if has_other_namespace(spec, kind) => {}
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

/// The path of the kernel parameter `key` below /proc/sys: of what stands first, `.` or `/`, parts it, and the
/// other stands for itself, sysctl(8).
pub fn path_of_sysctl(key: &str) -> String {
    if key.find('/').is_some_and(|slash| key.find('.').is_none_or(|dot| slash < dot)) {
        return key.to_owned();
    }
    let other = |letter| match letter {
        '.' => '/',
        '/' => '.',
        letter => letter,
    };
    key.chars().map(other).collect()
}

/// The kind of namespace that has its own copy of the kernel parameter `key`, where one has: the list of
/// ipc_namespaces(7) and uts_namespaces(7), and all of `net` and `user`.
pub fn owner_of_sysctl(key: &str) -> Option<LinuxNamespaceType> {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    let path = path_of_sysctl(key);
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    match path.split_once('/')? {
        ("net", _) => Some(LinuxNamespaceType::Network),
        ("kernel", name) if IPC.contains(&name) => Some(LinuxNamespaceType::Ipc),
        ("kernel", "hostname" | "domainname") => Some(LinuxNamespaceType::Uts),
        ("fs", name) if name.starts_with("mqueue/") => Some(LinuxNamespaceType::Ipc),
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
    // Not so here: since 1.3 of the specification no limit is told by leaving it out. A container without any
    // process is none, and systemd does not take 0; runc makes it 1 as well.
    if let Some(pids) = resources.pids_mut().as_mut().filter(|pids| pids.limit() == 0) {
        pids.set_limit(1);
    }
}

/// Is the container to be in a namespace of this kind that is not the host's?
pub fn has_namespace(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.into_iter().flatten().any(|namespace| namespace.typ() == kind)
}

/// The same, and where it is joined by path, is it another than the caller's own?
fn has_other_namespace(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let Some(found) = namespaces.into_iter().flatten().find(|n| n.typ() == kind) else {
        return false;
    };
    let inode = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let own = inode(Path::new(&format!("/proc/self/ns/{kind}")));
    found.path().as_ref().is_none_or(|path| inode(path) != own)
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
            r#"{{"ociVersion":"1.2.0","root":{{"path":"/r"}},"process":{{"args":["a"],"cwd":"/"}},"linux":{{"namespaces":[{{"type":"mount"}}]{extra}}}}}"#
        );
        read(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        assert!(check(&spec("")).is_ok());
        for (field, name) in [
            (
                r#","resources":{"memory":{"useHierarchy":false}}"#,
                "linux.resources.memory.useHierarchy",
            ),
            (r#","resources":{"blockIO":{"leafWeight":10}}"#, "linux.resources.blockIO.leafWeight"),
            (r#","sysctl":{"net.ipv4.ip_forward":"1"}"#, "sysctl net.ipv4.ip_forward belongs to"),
            (r#","sysctl":{"vm.swappiness":"1"}"#, "belongs to the whole machine"),
        ] {
            let error = check(&spec(field)).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn kernel_parameters_are_spelled_in_two_ways() {
        for (key, path, owner) in [
            ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter", Some("net")),
            ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter", Some("net")),
            ("kernel.shmmax", "kernel/shmmax", Some("ipc")),
            ("fs.mqueue.msg_max", "fs/mqueue/msg_max", Some("ipc")),
            ("net/../kernel/core_pattern", "net/../kernel/core_pattern", None),
            ("kernel.core_pattern", "kernel/core_pattern", None),
        ] {
            assert_eq!(path_of_sysctl(key), path);
            let owner_of = owner_of_sysctl(key).map(|kind| kind.to_string());
            assert_eq!(owner_of.as_deref(), owner, "{key}");
        }
    }

    #[test]
    fn namespaces_are_named_once_and_mounts_have_their_own() {
        for (namespaces, name) in [
            ("", "without a new mount namespace"),
            (r#"{"type":"mount","path":"/proc/1/ns/mnt"}"#, "without a new mount namespace"),
            (r#"{"type":"mount"},{"type":"uts"},{"type":"uts","path":"/x"}"#, "one kind twice"),
        ] {
            let text = format!(
                r#"{{"ociVersion":"1.0.2-dev","root":{{"path":"/r"}},"process":{{"args":["a"],"cwd":"/"}},"linux":{{"namespaces":[{namespaces}]}}}}"#
            );
            let error = check(&read(text.as_bytes()).unwrap()).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn what_go_reads_is_read() {
        let text = r#"{"ociVersion":"1.0.2-dev","future":{"field":1},"process":{"user":null,"args":["a"],"cwd":"/",
            "capabilities":{"bounding":["CAP_CHOWN","CAP_OF_TOMORROW"],"ambient":null},
            "scheduler":{"policy":"SCHED_OTHER","flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_DL_OVERRUN"]}},
            "linux":{"resources":{"pids":{},"hugepageLimits":[{"pageSize":"2MB","limit":18446744073709551615}]}}}"#;
        let spec = read(text.as_bytes()).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.user().uid(), 0);
        assert_eq!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 1);
        assert_eq!(process.scheduler().as_ref().unwrap().flags().as_ref().unwrap().len(), 2);
        let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
        assert!(resources.pids().is_none());
        assert_eq!(resources.hugepage_limits().as_ref().unwrap()[0].limit(), i64::MAX);
        // What one has written is read again.
        let again = serde_json::to_vec(&spec).unwrap();
        assert_eq!(read(&again).unwrap(), spec);
        let mut later = spec.clone();
        later.set_version(String::from("2.0.0"));
        assert!(check(&later).unwrap_err().to_string().contains("ociVersion \"2.0.0\""));
    }
}

//! The verbs that only show: `state`, `list`, `ps`, `features`; and `spec`, which writes a file to start from.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use minibox_runtime::container::{self, Container, Status};
use minibox_runtime::{Error, Result, capabilities, mounts, spec};
use nix::unistd::{Gid, Uid};
use oci_spec::runtime as oci;
use serde_json::{Value, json};

use super::args::{ListArgs, PsArgs, SpecArgs};
use crate::config::SPEC_VERSION;
use crate::host;
use crate::output;

/// The mount options that runtimes know; `features` names those that this one does.
const OPTIONS: [&str; 56] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnosuid",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "idmap",
    "ridmap",
];

/// `minibox-oci state`.
pub(super) fn state(root: &Path, id: &str) -> Result<u8> {
    print(&document(&Container::find(root, id)?));
    Ok(0)
}

/// runc's state: its keys in its order.
fn document(container: &Container) -> Value {
    let status = container.status();
    let mut document = json!({
        "ociVersion": container.spec.version(),
        "id": container.id,
        "pid": container.pid(status),
        "status": status.word(),
        "bundle": container.bundle(),
        "rootfs": container.rootfs(),
        "created": container.created(),
    });
    let Some(map) = document.as_object_mut() else { return document };
    if let Some(annotations) = container.spec.annotations().as_ref().filter(|a| !a.is_empty()) {
        map.insert(String::from("annotations"), json!(annotations));
    }
    map.insert(String::from("owner"), json!(host::user_name(container.owner())));
    document
}

fn print(document: &Value) {
    output::print(&format!("{document:#}\n"));
}

/// `minibox-oci list`. One that cannot be read is told of, and does not hide the others.
pub(super) fn list(root: &Path, args: &ListArgs) -> Result<u8> {
    let mut containers = Vec::new();
    for container in container::list(root) {
        match container {
            Ok(container) => containers.push(container),
            Err(error) => drop(writeln!(std::io::stderr(), "minibox-oci: {}", error.what)),
        }
    }
    if args.quiet {
        output::print(&containers.iter().map(|c| format!("{}\n", c.id)).collect::<String>());
        return Ok(0);
    }
    match args.format.as_str() {
        "json" => {
            let all: Vec<Value> = containers.iter().map(document).collect();
            output::print(&format!("{}\n", Value::Array(all)));
        }
        "table" => {
            let heading = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
            let mut rows = vec![heading.map(str::to_owned).to_vec()];
            rows.extend(containers.iter().map(|container| {
                let status = container.status();
                vec![
                    container.id.clone(),
                    container.pid(status).to_string(),
                    status.word().to_owned(),
                    container.bundle().display().to_string(),
                    container.created().to_owned(),
                    host::user_name(container.owner()),
                ]
            }));
            output::print(&output::columns(&rows, 12, 1));
        }
        other => return Err(crate::wishes::bad("--format", other, "table or json")),
    }
    Ok(0)
}

/// `minibox-oci ps`.
pub(super) fn ps(root: &Path, args: &PsArgs) -> Result<u8> {
    let pids = Container::find(root, &args.id)?.processes()?;
    match args.format.as_str() {
        "json" => {
            output::print(&format!("{}\n", json!(pids)));
            return Ok(0);
        }
        "table" => {}
        other => return Err(crate::wishes::bad("--format", other, "table or json")),
    }
    let default = [String::from("-ef")];
    let options = if args.options.is_empty() { &default[..] } else { &args.options };
    let ran = Command::new("ps").args(options).stderr(Stdio::inherit()).output();
    let ran = ran.map_err(|error| {
        Error::new(format!("cannot run ps: {error}"))
            .hint("install it (procps), or ask for --format json")
    })?;
    let text = String::from_utf8_lossy(&ran.stdout);
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let at = heading.split_whitespace().position(|word| word == "PID");
    let at = at.ok_or_else(|| Error::new("ps shows no PID: its options must leave that column"))?;
    let pid = |line: &str| line.split_whitespace().nth(at)?.parse::<i32>().ok();
    let ours = lines.filter(|line| pid(line).is_some_and(|pid| pids.contains(&pid)));
    output::print(
        &std::iter::once(heading).chain(ours).map(|l| format!("{l}\n")).collect::<String>(),
    );
    Ok(0)
}

/// Is something done with this part of `linux` in config.json, rather than to refuse it?
fn is_done(linux: Value) -> bool {
    let refused = |linux: Value| {
        let config = json!({ "ociVersion": SPEC_VERSION, "linux": linux });
        let spec = serde_json::from_value::<oci::Spec>(config).ok();
        spec.map(|spec| spec::unsupported(&spec).len())
    };
    refused(linux).is_some_and(|fields| Some(fields) == refused(json!({})))
}

/// `minibox-oci features`: only what is true.
pub(super) fn features() -> u8 {
    let capabilities: Vec<String> =
        (0..64).filter_map(capabilities::name).map(|name| name.to_ascii_uppercase()).collect();
    let mut namespaces = vec!["cgroup", "ipc", "mount", "network", "pid", "user", "uts"];
    if is_done(json!({ "namespaces": [{ "type": "time" }] })) {
        namespaces.push("time");
    }
    print(&json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
        ],
        "mountOptions": OPTIONS.iter().filter(|word| mounts::is_option(word)).collect::<Vec<_>>(),
        "linux": {
            "namespaces": namespaces,
            "capabilities": capabilities,
            "cgroup": {
                "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": is_done(json!({ "resources": { "rdma": { "x": {} } } })),
            },
            "seccomp": { "enabled": is_done(json!({ "seccomp": { "defaultAction": "SCMP_ACT_ALLOW" } })) },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": is_done(json!({ "intelRdt": { "closID": "x" } })) },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": is_done(json!({ "netDevices": { "x": {} } })) },
        },
        "annotations": {
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
    }));
    0
}

/// `minibox-oci spec`.
pub(super) fn write_spec(args: &SpecArgs) -> Result<u8> {
    let file = args.bundle.join("config.json");
    if file.exists() {
        return Err(Error::new(format!("file {} exists. Remove it first", file.display())));
    }
    let mut spec = if args.rootless {
        oci::Spec::rootless(Uid::effective().as_raw(), Gid::effective().as_raw())
    } else {
        oci::Spec::default()
    };
    spec.set_version(String::from(SPEC_VERSION));
    spec.set_hostname(Some(String::from("minibox")));
    spec.set_annotations(None);
    let mut root = oci::Root::default();
    root.set_path("rootfs".into());
    root.set_readonly(Some(true));
    spec.set_root(Some(root));
    if let Some(process) = spec.process_mut() {
        process.set_terminal(Some(true));
        let mut sets = process.capabilities().clone().unwrap_or_default();
        sets.set_inheritable(None).set_ambient(None);
        process.set_capabilities(Some(sets));
    }
    let mut nothing = oci::LinuxDeviceCgroup::default();
    nothing.set_access(Some(String::from("rwm")));
    let linux = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut());
    if let Some(resources) = linux.filter(|_| !args.rootless) {
        resources.set_devices(Some(vec![nothing]));
    }
    let text = serde_json::to_string_pretty(&spec)
        .map_err(|error| Error::new(format!("cannot write a config.json: {error}")))?;
    fs::write(&file, text + "\n").map_err(|error| Error::of_io("write", &file, &error))?;
    Ok(0)
}

/// Is it doing something?
pub(super) fn is_stopped(container: &Container) -> bool {
    container.status() == Status::Stopped
}

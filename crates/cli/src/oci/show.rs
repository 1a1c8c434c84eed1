//! The verbs that only show: `state`, `list`, `ps`; and `spec`, which writes a file to start from.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use minibox_runtime::cgroup::Layout;
use minibox_runtime::container::{self, Container, Status};
use minibox_runtime::{Error, Result};
use nix::unistd::{Gid, Uid};
use oci_spec::runtime as oci;
use serde_json::{Value, json};

use super::args::{ListArgs, PsArgs, SpecArgs};
use crate::config::SPEC_VERSION;
use crate::host;
use crate::output;

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

pub(super) fn print(document: &Value) {
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
    // On version 1 engines do without, as runc's does: what is mounted shows the container's own cgroup alone.
    if !Layout::detect().is_unified()
        && let Some(namespaces) =
            spec.linux_mut().as_mut().and_then(|l| l.namespaces_mut().as_mut())
    {
        namespaces.retain(|namespace| namespace.typ() != oci::LinuxNamespaceType::Cgroup);
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

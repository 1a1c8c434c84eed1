//! `minibox info`: what this machine offers for containers, and how to switch on what is missing.

mod findings;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use minibox_runtime::cgroup::Layout;
use minibox_runtime::idmap::{self, IdMap};
use minibox_runtime::{Error, Result, probe, sys};
use nix::sys::statvfs::statvfs;
use nix::unistd::Uid;
use serde_json::{Value, json};

use crate::args::InfoArgs;
use crate::format::Format;
use crate::host;
use crate::language::say;
use crate::living;
use crate::output;
use crate::size;
use crate::store::{Status, Store};
use findings::{Finding, Machine, State, Tried};

/// `minibox info`.
pub(crate) fn info(store: &Store, args: &InfoArgs) -> Result<u8> {
    let format = Format::of_document(args.format.format.as_deref())?;
    let machine = look(store);
    let findings = machine.findings();
    if args.advice {
        output::print(&advice(&findings));
        return Ok(0);
    }
    let document = document(store, &machine, &findings)?;
    let text = match &format {
        Format::Own | Format::Columns(_) => text(&document, &findings),
        Format::Json => format!("{document}\n"),
        Format::Template(template) => template.render(&document)? + "\n",
    };
    output::print(&text);
    Ok(0)
}

/// Tries everything out.
fn look(store: &Store) -> Machine {
    let (uid, user) = (Uid::effective().as_raw(), host::user());
    let word = |error: Error| match error.errno {
        Some(errno) => errno.desc().to_owned(),
        None => error.call.unwrap_or(error.what),
    };
    let subordinate_ids = match IdMap::for_caller() {
        (map, None) => probe::subordinate_ids(&map).map_err(word).map(|()| {
            map.uids.iter().filter(|range| range.inside != 0).map(|range| range.size).sum()
        }),
        (_, Some(why)) => Err(why),
    };
    let tried = Tried {
        user_namespace: probe::user_namespace().map_err(word),
        subordinate_ids,
        overlay: probe::overlay(&store.run).map_err(word),
        idmapped_mount: probe::idmapped_mount(&store.data).map_err(word),
        pidfd: sys::pidfd_open(std::process::id() as i32).is_ok(),
    };
    Machine {
        top: PathBuf::from("/"),
        uid,
        user,
        layout: Layout::detect(),
        filesystem: filesystem(&store.data),
        tried,
    }
}

/// The type of the filesystem on which `path` lies, proc_pid_mountinfo(5).
fn filesystem(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let point = PathBuf::from(left.split(' ').nth(4)?);
        path.starts_with(&point).then(|| (point.components().count(), right.to_owned()))
    };
    // The last of those that reach deepest lies on top.
    let deepest = mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth);
    let kind = deepest.and_then(|(_, right)| right.split(' ').next().map(str::to_owned));
    kind.unwrap_or_else(|| String::from("unknown"))
}

/// Docker's names for what docker has, ours below `Minibox`.
fn document(store: &Store, machine: &Machine, findings: &[Finding]) -> Result<Value> {
    let mut counts = [0; 4];
    for container in store.all() {
        if let Some(container) = living::up_to_date(store, container)? {
            counts[0] += 1;
            counts[match container.status() {
                _ if container.is_paused() => 2,
                Status::Running | Status::Restarting => 1,
                Status::Created | Status::Exited => 3,
            }] += 1;
        }
    }
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = meminfo.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok()
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let free = statvfs(&store.data).map_or(0, |fs| fs.blocks_available() * fs.fragment_size());
    let is = |name: &str| findings.iter().any(|f| f.name == name && f.state == State::Yes);
    let features = serde_json::to_value(findings).map_err(|e| Error::new(e.to_string()))?;
    Ok(json!({
        "Name": host::hostname(),
        "ServerVersion": super::version::VERSION,
        "Containers": counts[0],
        "ContainersRunning": counts[1],
        "ContainersPaused": counts[2],
        "ContainersStopped": counts[3],
        "Driver": "overlay",
        "DockerRootDir": store.data,
        "CgroupVersion": if machine.layout.is_unified() { "2" } else { "1" },
        "MemoryLimit": is("limits"),
        "SwapLimit": is("limits") && is("swap limits"),
        "KernelVersion": kernel.trim(),
        "OperatingSystem": machine.release("PRETTY_NAME"),
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory.unwrap_or(0) * 1024,
        "Minibox": {
            "DataDir": store.data,
            "DataFilesystem": machine.filesystem,
            "DataFree": free,
            "RunDir": store.run,
            "RunFilesystem": filesystem(&store.run),
            "Rootless": idmap::needs_user_namespace(),
            "Features": features,
        },
    }))
}

fn text(document: &Value, findings: &[Finding]) -> String {
    let word = |pointer: &str| match document.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let bytes = |pointer: &str| document.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let lines = [
        ("Name", word("/Name")),
        ("Server Version", word("/ServerVersion")),
        ("Containers", word("/Containers")),
        (" Running", word("/ContainersRunning")),
        (" Paused", word("/ContainersPaused")),
        (" Stopped", word("/ContainersStopped")),
        ("Kernel Version", word("/KernelVersion")),
        ("Operating System", word("/OperatingSystem")),
        ("Architecture", word("/Architecture")),
        ("CPUs", word("/NCPU")),
        ("Total Memory", size::binary(bytes("/MemTotal"))),
        (
            "Data Folder",
            say(&format!(
                "{} ({}, {} free)",
                word("/Minibox/DataDir"),
                word("/Minibox/DataFilesystem"),
                size::decimal(bytes("/Minibox/DataFree"), 4)
            )),
        ),
        ("Run Folder", format!("{} ({})", word("/Minibox/RunDir"), word("/Minibox/RunFilesystem"))),
    ];
    let lines = lines.map(|(title, value)| format!("{}: {value}", say(title)));
    let who = if idmap::needs_user_namespace() { "you, a plain user," } else { "root" };
    let heading = say(&format!("What {who} can use here:"));
    let row = |finding: &Finding| {
        let state = match finding.state {
            State::Yes => "yes",
            State::Partly => "partly",
            State::No => "no",
        };
        [" ".to_owned() + &say(state), say(finding.name), say(&finding.detail)].to_vec()
    };
    let table = output::table(&findings.iter().map(row).collect::<Vec<_>>());
    let mut text = format!("{}\n{heading}\n{table}", lines.join("\n"));
    if findings.iter().any(|finding| !finding.advice.is_empty()) {
        text.push_str(&say(
            "`minibox info --advice` prints the commands that switch on what is missing.\n",
        ));
    }
    text
}

/// A shell script, with the reason above each part.
fn advice(findings: &[Finding]) -> String {
    let part = |finding: &Finding| {
        let commands = finding.advice.iter().map(|command| say(command) + "\n");
        let commands: String = commands.collect();
        format!("# {}: {}\n{commands}", say(finding.name), say(&finding.detail))
    };
    let parts: Vec<String> =
        findings.iter().filter(|finding| !finding.advice.is_empty()).map(part).collect();
    if parts.is_empty() { say("# Nothing is missing.\n") } else { parts.join("\n") }
}

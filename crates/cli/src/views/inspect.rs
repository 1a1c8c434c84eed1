//! `minibox inspect`: everything that is known, in docker's form; what docker does not have stands below
//! `Minibox`.

use minibox_runtime::{Error, Result, capabilities, state};
use serde_json::{Map, Value, json};

use super::words;
use crate::args::InspectArgs;
use crate::format::Format;
use crate::living;
use crate::log;
use crate::monitor::health::Report;
use crate::settings::{Asked, Health, Kind, Restart};
use crate::signals;
use crate::signals::pid_inside;
use crate::size;
use crate::store::{Container, Exit, Record, Status, Store};
use crate::volumes;
use crate::wishes::bad;

/// Docker's moment of what has never happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// `minibox inspect`.
pub(crate) fn inspect(store: &Store, args: &InspectArgs) -> Result<u8> {
    let format = Format::of_document(args.format.format.as_deref())?;
    let find = |name: &str| match args.kind.as_deref() {
        Some("container") => container(store, name, args.size),
        Some("volume") => volumes::document(store, name),
        None => container(store, name, args.size)
            .or_else(|error| volumes::document(store, name).map_err(|_| error)),
        Some(other) => Err(bad("--type", other, "container or volume")),
    };
    format.documents(&args.names, find)
}

fn container(store: &Store, name: &str, size: bool) -> Result<Value> {
    let container = living::find(store, name)?;
    let mut document = document(store, &container)?;
    if let (true, Some(fields)) = (size, document.as_object_mut()) {
        let written = written(&container.record);
        fields.insert("SizeRw".into(), written.into());
        let whole = written + size::of_folder(&container.record.rootfs, None);
        fields.insert("SizeRootFs".into(), whole.into());
    }
    Ok(document)
}

/// Bytes that a container has written into its layer.
pub(crate) fn written(record: &Record) -> u64 {
    let upper = record.layer.as_ref().map(|layer| layer.join("upper"));
    upper.map_or(0, |upper| size::of_folder(&upper, record.id_map.as_ref()))
}

/// config.json of a container; null where it cannot be read. What has no order in there gets the alphabet's.
fn config(store: &Store, record: &Record) -> Value {
    let path = store.folder(&record.id).join("config.json");
    let mut config: Value = state::read(&path).ok().flatten().unwrap_or_default();
    if let Some(Value::Object(sets)) = config.pointer_mut("/process/capabilities") {
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.sort_by(|a, b| text(a).cmp(text(b)));
        }
    }
    if let Some(Value::Object(sysctl)) = config.pointer_mut("/linux/sysctl") {
        sysctl.sort_keys();
    }
    config
}

/// Everything about one container.
fn document(store: &Store, container: &Container) -> Result<Value> {
    let record = &container.record;
    let folder = store.folder(&record.id);
    let config = config(store, record);
    let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    let (program, arguments) = record.command.split_first().map_or(("", &[][..]), |(p, a)| (p, a));
    let running = container.status() == Status::Running;
    let state = container.state.as_ref().filter(|_| running);
    let id_map = serde_json::to_value(&record.id_map).map_err(|e| Error::new(e.to_string()))?;
    Ok(json!({
        "Id": record.id,
        "Created": record.created,
        "Path": program,
        "Args": arguments,
        "State": state_of(store, container),
        "Image": record.rootfs,
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": log::numbers(&folder).pop().map(|number| log::path(&folder, number)),
        "Name": record.name,
        "RestartCount": record.restarts,
        "Driver": if record.layer.is_some() { "overlay" } else { "none" },
        "Platform": "linux",
        "AppArmorProfile": text(&config["process"]["apparmorProfile"]),
        "ProcessLabel": text(&config["process"]["selinuxLabel"]),
        "MountLabel": text(&config["linux"]["mountLabel"]),
        "HostConfig": host_config(record, &config),
        "Mounts": mounts(record),
        "Config": program_config(record, &config),
        "NetworkSettings": {
            "SandboxKey": state.map(|state| format!("/proc/{}/ns/net", state.init.pid)).unwrap_or_default(),
            "Ports": {},
            "IPAddress": "",
            "Networks": { (&record.settings.modes.network): { "IPAddress": "", "Gateway": "", "MacAddress": "" } },
        },
        "Minibox": {
            "rootfs": record.rootfs,
            "layer": record.layer,
            "cgroup": record.cgroup.as_ref().map(|address| &address.path),
            "idMap": id_map,
            "pidInside": state.and_then(|state| pid_inside(state.init.pid)),
            "keeper": state.map(|state| state.keeper.pid),
            "monitored": record.monitored,
            "exit": record.exit,
            "halted": record.halted,
            "pidfile": record.settings.pidfile,
            "config": config,
        },
    }))
}

fn state_of(store: &Store, container: &Container) -> Value {
    let record = &container.record;
    let status = container.status();
    let pid = container.state.as_ref().filter(|_| status == Status::Running).map(|s| s.init.pid);
    let exit = record.exit.as_ref();
    let health = record.settings.health.as_ref().map(|_| {
        let report = Report::read(store, &record.id);
        json!({
            "Status": words::health(store, container),
            "FailingStreak": report.as_ref().map_or(0, |report| report.failing_streak),
            "Log": report.map(|report| report.log).unwrap_or_default(),
        })
    });
    json!({
        "Status": words::state(container),
        // What is paused, or about to be started again, counts as running with docker.
        "Running": matches!(status, Status::Running | Status::Restarting),
        "Paused": container.is_paused(),
        "Restarting": status == Status::Restarting,
        "OOMKilled": exit.is_some_and(|exit| exit.out_of_memory),
        "Dead": false,
        "Pid": pid.unwrap_or(0),
        "ExitCode": exit.map_or(0, Exit::shown_code),
        "Error": exit.and_then(|exit| exit.note.as_deref()).unwrap_or_default(),
        "StartedAt": record.started.as_deref().unwrap_or(NEVER),
        "FinishedAt": exit.map_or(NEVER, |exit| exit.finished.as_str()),
        "Health": health,
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list of config.json, empty where there is none.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// All groups but the primary one, which stands among them.
fn further_groups(user: &Value) -> Vec<&Value> {
    list(&user["additionalGids"]).iter().filter(|gid| **gid != user["gid"]).collect()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What was asked for on the command line about the program.
fn program_config(record: &Record, config: &Value) -> Value {
    let settings = &record.settings;
    let entrypoint: Vec<&str> = settings.entrypoint.iter().map(String::as_str).collect();
    let own = entrypoint.len().min(record.command.len());
    let health = settings.health.as_ref().map(|health: &Health| {
        json!({
            "Test": ["CMD-SHELL", health.command.last()],
            "Interval": nanoseconds(health.interval),
            "Timeout": nanoseconds(health.timeout),
            "StartPeriod": nanoseconds(health.start_period),
            "StartInterval": nanoseconds(health.start_interval),
            "Retries": health.retries,
        })
    });
    json!({
        "Hostname": text(&config["hostname"]),
        "Domainname": text(&config["domainname"]),
        "User": settings.user.as_deref().unwrap_or_default(),
        "Tty": record.terminal,
        "OpenStdin": settings.interactive,
        "StdinOnce": settings.stdin_once,
        "Env": list(&config["process"]["env"]),
        "Cmd": record.command[own..],
        "Healthcheck": health,
        "Image": record.rootfs,
        "WorkingDir": text(&config["process"]["cwd"]),
        "Entrypoint": entrypoint,
        "Labels": settings.labels,
        "Annotations": config["annotations"].as_object().cloned().unwrap_or_default(),
        "StopSignal": signals::name(settings.stop_signal),
        "StopTimeout": settings.stop_timeout,
    })
}

/// What was asked for on the command line about everything else.
fn host_config(record: &Record, config: &Value) -> Value {
    let settings = &record.settings;
    let (process, linux) = (&config["process"], &config["linux"]);
    let resources = &linux["resources"];
    let (memory, cpu) = (&resources["memory"], &resources["cpu"]);
    // One or the other, as it was asked for.
    let (quota, period) = (number(&cpu["quota"]), number(&cpu["period"]));
    let (cpus, quota, period) = match period {
        1.. if settings.counts_cpus => (quota * 1_000_000_000 / period, 0, 0),
        _ => (0, quota, period),
    };
    let most = match settings.restart {
        Restart::OnFailure { most } => most,
        _ => 0,
    };
    let (added, dropped) = capability_changes(&process["capabilities"]["bounding"]);
    let shm = list(&config["mounts"]).iter().find(|mount| mount["destination"] == "/dev/shm");
    let shm = shm.and_then(|mount| option(mount, "size=")).and_then(|size| bytes(&size));
    json!({
        "Binds": binds(record),
        "LogConfig": {
            "Type": if record.monitored { "k8s-file" } else { "none" },
            "Config": {
                "max-size": settings.log.max_size.to_string(),
                "max-file": settings.log.max_file.to_string(),
            },
        },
        "NetworkMode": settings.modes.network,
        "RestartPolicy": { "Name": settings.restart.name(), "MaximumRetryCount": most },
        "AutoRemove": record.auto_remove,
        "CapAdd": added,
        "CapDrop": dropped,
        "GroupAdd": further_groups(&process["user"]),
        "CgroupnsMode": settings.modes.cgroup,
        "IpcMode": settings.modes.ipc,
        "PidMode": settings.modes.pid,
        "UTSMode": settings.modes.uts,
        "UsernsMode": settings.modes.user,
        "OomScoreAdj": number(&process["oomScoreAdj"]),
        "Privileged": settings.privileged,
        "ReadonlyRootfs": config["root"]["readonly"] == true,
        "NoNewPrivileges": process["noNewPrivileges"] == true,
        "Init": settings.init,
        "ShmSize": shm,
        "Tmpfs": tmpfs(record),
        "Sysctls": linux["sysctl"].as_object().cloned().unwrap_or_default(),
        "Ulimits": list(&process["rlimits"]).iter().map(ulimit).collect::<Vec<_>>(),
        "Devices": list(&linux["devices"]).iter().map(device).collect::<Vec<_>>(),
        "DeviceCgroupRules": list(&resources["devices"]),
        "Memory": number(&memory["limit"]),
        "MemoryReservation": number(&memory["reservation"]),
        "MemorySwap": number(&memory["swap"]),
        "NanoCpus": cpus,
        "CpuPeriod": period,
        "CpuQuota": quota,
        "CpuShares": number(&cpu["shares"]),
        "CpusetCpus": text(&cpu["cpus"]),
        "CpusetMems": text(&cpu["mems"]),
        "BlkioWeight": number(&resources["blockIO"]["weight"]),
        "PidsLimit": resources["pids"]["limit"],
        "MaskedPaths": list(&linux["maskedPaths"]),
        "ReadonlyPaths": list(&linux["readonlyPaths"]),
    })
}

/// What is granted beyond the default, and what of it is not; in the order of the alphabet.
fn capability_changes(bounding: &Value) -> (Vec<String>, Vec<String>) {
    let full = |name: &str| format!("CAP_{}", name.trim_start_matches("CAP_"));
    let sorted = |names: &mut dyn Iterator<Item = String>| {
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let has = sorted(&mut list(bounding).iter().filter_map(Value::as_str).map(full));
    let default = sorted(&mut capabilities::DEFAULT.iter().map(|name| full(name)));
    let without = |these: &[String], those: &[String]| {
        these.iter().filter(|name| !those.contains(name)).cloned().collect()
    };
    (without(&has, &default), without(&default, &has))
}

fn ulimit(limit: &Value) -> Value {
    let name = text(&limit["type"]).trim_start_matches("RLIMIT_").to_lowercase();
    json!({ "Name": name, "Soft": limit["soft"], "Hard": limit["hard"] })
}

fn device(device: &Value) -> Value {
    json!({ "PathInContainer": device["path"], "Type": device["type"], "Major": device["major"], "Minor": device["minor"] })
}

/// The value of a mount's option that begins with `key`.
fn option(mount: &Value, key: &str) -> Option<String> {
    let options = list(&mount["options"]).iter().filter_map(Value::as_str);
    options.filter_map(|option| option.strip_prefix(key)).next_back().map(str::to_owned)
}

/// `65536k` as bytes.
fn bytes(size: &str) -> Option<u64> {
    let digits = size.trim_end_matches(char::is_alphabetic);
    let shift = match size[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_shl(shift)
}

fn has_option(mount: &Value, names: &[&str]) -> bool {
    list(&mount["options"]).iter().filter_map(Value::as_str).any(|option| names.contains(&option))
}

fn binds(record: &Record) -> Vec<String> {
    let bind = |mount: &Value| {
        let mode = if mount["RW"] == false { ":ro" } else { "" };
        format!("{}:{}{mode}", origin(mount), text(&mount["Destination"]))
    };
    mounts(record).iter().filter(|mount| mount["Type"] != "tmpfs").map(bind).collect()
}

/// What is mounted: the name of a volume, the path on the host of anything else.
pub(crate) fn origin(mount: &Value) -> &str {
    let key = if mount["Type"] == "volume" { "Name" } else { "Source" };
    text(&mount[key])
}

/// The filesystems in memory that were asked for, and their options.
fn tmpfs(record: &Record) -> Map<String, Value> {
    let all = mounts(record);
    let in_memory = all.iter().filter(|mount| mount["Type"] == "tmpfs");
    in_memory.map(|m| (text(&m["Destination"]).to_owned(), m["Mode"].clone())).collect()
}

/// What is mounted into a container because somebody asked for it.
pub(crate) fn mounts(record: &Record) -> Vec<Value> {
    let shown = |asked: &Asked| {
        let mount = serde_json::to_value(&asked.mount).unwrap_or_default();
        let writable = !has_option(&mount, &["ro"]);
        let propagation = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];
        let propagation = propagation.into_iter().find(|word| has_option(&mount, &[word]));
        let mut shown = json!({
            "Type": "bind",
            "Name": "",
            "Source": mount["source"],
            "Destination": mount["destination"],
            "Driver": "",
            "Mode": if writable { "" } else { "ro" },
            "RW": writable,
            "Propagation": propagation.unwrap_or("rprivate"),
        });
        match &asked.kind {
            Kind::Bind { .. } => {}
            Kind::Volume { name, .. } => {
                shown["Type"] = "volume".into();
                shown["Name"] = name.as_str().into();
                shown["Driver"] = "local".into();
            }
            Kind::Tmpfs => {
                let options: Vec<&str> =
                    list(&mount["options"]).iter().filter_map(Value::as_str).collect();
                shown["Type"] = "tmpfs".into();
                shown["Source"] = "".into();
                shown["Mode"] = options.join(",").into();
                shown["Propagation"] = "".into();
            }
        }
        shown
    };
    record.mounts.iter().map(shown).collect()
}

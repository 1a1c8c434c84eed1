//! `minibox stats`: what containers use, with docker's columns and docker's way to count.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use minibox_lens::cgroup::{self, Pressure, Usage};
use minibox_lens::{Process, Seen, process, processes};
use minibox_runtime::{Error, Result};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::{Canvas, Target, find_process, show};
use crate::args::StatsArgs;
use crate::format::{Format, Row};
use crate::living;
use crate::output;
use crate::size;
use crate::store::{Container, Status, Store};
use crate::template::Labels;
use crate::views::top;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a container has used until now.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    usage: Usage,
    /// It has a cgroup, which counts; else its processes are added up.
    has_cgroup: bool,
    /// Bytes that came in and went out; nothing where the network is not its own.
    network: Option<(u64, u64)>,
    /// CPU time of the host.
    host: u64,
}

/// One line.
struct Entry {
    /// As it was asked for.
    asked: String,
    id: String,
    name: String,
    /// Now, and a moment before; nothing where it does not run.
    samples: Option<(Sample, Sample)>,
    labels: Labels,
}

/// Docker's headings, and ours.
fn headings() -> Value {
    json!({
        "BlockIO": "BLOCK I/O",
        "CPUPerc": "CPU %",
        "CPUPressure": "CPU PRESSURE",
        "Container": "CONTAINER",
        "ID": "CONTAINER ID",
        "IOPressure": "I/O PRESSURE",
        "MemPerc": "MEM %",
        "MemPressure": "MEM PRESSURE",
        "MemUsage": "MEM USAGE / LIMIT",
        "Name": "NAME",
        "NetIO": "NET I/O",
        "PIDs": "PIDS",
        "Source": "SOURCE",
    })
}

/// `minibox stats`.
pub(crate) fn stats(store: &Store, args: &StatsArgs) -> Result<u8> {
    let format = Format::of_list(args.format.format.as_deref())?;
    for name in &args.containers {
        if find_process(store, name)?.is_none() {
            living::find(store, name)?;
        }
    }
    let mut last = HashMap::new();
    look(store, args, &mut last)?;
    let mut is_first = true;
    loop {
        std::thread::sleep(INTERVAL);
        let entries = look(store, args, &mut last)?;
        if let Format::Own = format {
            let canvas = Canvas::of_stdout();
            show(&table(&entries, &canvas), &canvas, !args.no_stream, is_first);
            if is_first && !std::io::stdout().is_terminal() && entries.iter().any(is_added_up) {
                output::note(WITHOUT_CGROUP);
            }
        } else {
            let row = |entry: &Entry| Row { fields: fields(entry), labels: entry.labels.clone() };
            let rows: Vec<Row> = entries.iter().map(row).collect();
            output::print(&format.list(&headings(), &rows)?);
        }
        // Nobody is left of those who were asked for.
        if args.no_stream || (entries.is_empty() && !args.containers.is_empty()) {
            return Ok(0);
        }
        is_first = false;
    }
}

/// Why a line is marked.
const WITHOUT_CGROUP: &str = "*: without a cgroup of its own; its processes are added up, and those that have ended are left out";

fn is_added_up(entry: &Entry) -> bool {
    entry.samples.as_ref().is_some_and(|(now, _)| !now.has_cgroup)
}

/// All lines of this moment. What runs for the first time has no moment before: it is its own.
fn look(store: &Store, args: &StatsArgs, last: &mut HashMap<String, Sample>) -> Result<Vec<Entry>> {
    let (mut containers, mut others) = (Vec::new(), Vec::new());
    if args.containers.is_empty() {
        for container in store.all() {
            containers.extend(living::up_to_date(store, container)?.map(|found| (None, found)));
        }
    } else {
        // One that has ended or was removed meanwhile is left out.
        for name in &args.containers {
            match find_process(store, name) {
                Ok(Some(target)) => others.push((name.clone(), target)),
                _ => containers
                    .extend(living::find(store, name).ok().map(|c| (Some(name.clone()), c))),
            }
        }
    }
    let mut now = HashMap::new();
    let mut entries = Vec::new();
    for (asked, container) in containers {
        let is_meant = args.all || asked.is_some();
        let sample = sample(&container)?;
        if sample.is_none() && !is_meant {
            continue;
        }
        let record = container.record;
        if let Some(sample) = &sample {
            now.insert(record.id.clone(), sample.clone());
        }
        let id = if args.no_trunc { record.id.clone() } else { record.short_id().to_owned() };
        let before = last.get(&record.id).cloned();
        entries.push(Entry {
            asked: asked.unwrap_or_else(|| id.clone()),
            id,
            name: record.name,
            samples: sample.map(|sample| (sample.clone(), before.unwrap_or(sample))),
            labels: record.settings.labels,
        });
    }
    for (asked, target) in others {
        let Some((key, entry)) = entry_of_process(args, &asked, &target, last) else { continue };
        now.extend(entry.samples.as_ref().map(|(sample, _)| (key, sample.clone())));
        entries.push(entry);
    }
    *last = now;
    Ok(entries)
}

/// A process that minibox has not started: its container by another runtime's cgroup, or itself alone.
fn entry_of_process(
    args: &StatsArgs,
    asked: &str,
    target: &Target,
    last: &HashMap<String, Sample>,
) -> Option<(String, Entry)> {
    let container = processes::container_id(&target.process);
    let sample = sample_of_process(&target.process, container.is_some()).ok()?;
    let key = target.pid.to_string();
    let before = last.get(&key).unwrap_or(&sample).clone();
    let length = if args.no_trunc { usize::MAX } else { 12 };
    let id = container.map_or_else(|| String::from("--"), |id| id.chars().take(length).collect());
    let name = output::on_one_line(&target.process.stat().ok()?.comm);
    let samples = Some((sample, before));
    Some((key, Entry { asked: asked.to_owned(), id, name, samples, labels: Labels::new() }))
}

fn sample_of_process(process: &Process, has_cgroup: bool) -> minibox_lens::Result<Sample> {
    let host = cgroup::host_cpu().known().copied().unwrap_or(0);
    let usage =
        if has_cgroup { cgroup::folders(process)?.usage() } else { cgroup::of_process(process)? };
    let is_own = !processes::is_on_hosts_network(process);
    let network = cgroup::network(process)?.known().copied().filter(|_| is_own);
    Ok(Sample { usage, has_cgroup, network, host })
}

/// What a meter shows of a container.
#[derive(Debug)]
pub(crate) struct Reading {
    pub name: String,
    pub status: Status,
    pub is_paused: bool,
    /// Millionths of one CPU.
    pub cpu: Option<u64>,
    /// Bytes, without what the kernel only keeps because nobody else needs the room.
    pub memory: Option<u64>,
    /// Bytes.
    pub limit: u64,
    pub pids: Option<u64>,
}

/// Of every container, the newest first; `last` is what was read the time before.
pub(crate) fn readings(store: &Store, last: &mut HashMap<String, Sample>) -> Result<Vec<Reading>> {
    let (mut all, mut now) = (Vec::new(), HashMap::new());
    for container in store.all() {
        let Some(container) = living::up_to_date(store, container)? else { continue };
        let sample = sample(&container)?;
        let usage = sample.as_ref().map(|sample| &sample.usage);
        let before = sample.as_ref().map(|sample| last.get(&container.record.id).unwrap_or(sample));
        all.push(Reading {
            name: container.record.name.clone(),
            status: container.status(),
            is_paused: container.is_paused(),
            cpu: sample.clone().zip(before.cloned()).as_ref().and_then(cpu),
            memory: usage.and_then(memory),
            limit: usage.map_or_else(cgroup::host_memory, limit),
            pids: usage.and_then(|usage| usage.pids.known().copied()),
        });
        now.extend(sample.map(|sample| (container.record.id, sample)));
    }
    *last = now;
    Ok(all)
}

/// Bytes in use, as docker counts them.
fn memory(usage: &Usage) -> Option<u64> {
    let inactive = usage.inactive_file.known().copied().unwrap_or(0);
    usage.memory.known().map(|bytes| bytes.saturating_sub(inactive))
}

/// Bytes that it may use; beyond what there is, a limit is none.
fn limit(usage: &Usage) -> u64 {
    let host = cgroup::host_memory();
    usage.memory_limit.known().map_or(host, |limit| *limit.min(&host))
}

/// What it has used until now; `None` where it does not run.
fn sample(container: &Container) -> Result<Option<Sample>> {
    let runs = container.status() == Status::Running;
    let Some(init) = container.state.as_ref().filter(|_| runs).map(|state| state.init.pid) else {
        return Ok(None);
    };
    match sample_of(container, init) {
        Ok(sample) => Ok(Some(sample)),
        Err(minibox_lens::Error::Gone(_)) => Ok(None),
        Err(error) => Err(Error::new(error.to_string())),
    }
}

fn sample_of(container: &Container, init: i32) -> minibox_lens::Result<Sample> {
    let host = cgroup::host_cpu().known().copied().unwrap_or(0);
    let process = process::open(init)?;
    let has_cgroup = container.record.cgroup.is_some();
    let usage = if has_cgroup {
        cgroup::folders(&process)?.usage()
    } else {
        let others = top::members(init).into_iter().filter(|pid| *pid != init);
        let others = others.filter_map(|pid| cgroup::of_process(&process::open(pid).ok()?).ok());
        others.fold(cgroup::of_process(&process)?, Usage::plus)
    };
    let is_own = container.record.settings.modes.network != "host";
    let network = cgroup::network(&process)?.known().copied().filter(|_| is_own);
    Ok(Sample { usage, has_cgroup, network, host })
}

/// Docker's texts, in the order of [`headings`].
fn fields(entry: &Entry) -> Value {
    let pair = |one: Option<String>, two: Option<String>| {
        let text = |half: Option<String>| half.unwrap_or_else(|| String::from("--"));
        format!("{} / {}", text(one), text(two))
    };
    let samples = entry.samples.as_ref();
    let usage = samples.map(|(now, _)| &now.usage);
    let known =
        |what: fn(&Usage) -> &Seen<u64>| usage.and_then(|usage| what(usage).known().copied());
    let pressure = |what: fn(&Usage) -> &Seen<Pressure>| {
        let pressure = usage.and_then(|usage| what(usage).known());
        pressure.map_or_else(|| String::from("--"), |pressure| percent(pressure.avg10 * 100))
    };
    let (memory, limit) = (usage.and_then(memory), usage.map(limit));
    let decimal = |bytes: u64| size::decimal(bytes, 3);
    let network = samples.and_then(|(now, _)| now.network);
    let source = match samples {
        None => "nothing",
        Some((now, _)) if now.has_cgroup => "cgroup",
        Some(_) => "processes",
    };
    let dashes = || String::from("--");
    json!({
        "BlockIO": pair(known(|usage| &usage.read).map(decimal), known(|usage| &usage.written).map(decimal)),
        "CPUPerc": samples.and_then(cpu).map_or_else(dashes, percent),
        "CPUPressure": pressure(|usage| &usage.pressure.cpu),
        "Container": entry.asked,
        "ID": entry.id,
        "IOPressure": pressure(|usage| &usage.pressure.io),
        "MemPerc": memory.zip(limit).map_or_else(dashes, |(memory, limit)| {
            percent(u64::try_from(u128::from(memory) * 1_000_000 / u128::from(limit.max(1))).unwrap_or(0))
        }),
        "MemPressure": pressure(|usage| &usage.pressure.memory),
        "MemUsage": pair(memory.map(size::binary), limit.map(size::binary)),
        "Name": entry.name,
        "NetIO": pair(network.map(|(bytes, _)| decimal(bytes)), network.map(|(_, bytes)| decimal(bytes))),
        "PIDs": known(|usage| &usage.pids).map_or_else(dashes, |count| count.to_string()),
        "Source": source,
    })
}

/// `12.34%`, of so many millionths.
fn percent(millionths: u64) -> String {
    let hundredths = (millionths + 50) / 100;
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// Millionths of one CPU: the container's part of what all CPUs of the host did between two looks.
fn cpu((now, before): &(Sample, Sample)) -> Option<u64> {
    let used = now.usage.cpu.known()?.saturating_sub(*before.usage.cpu.known()?);
    let host = now.host.saturating_sub(before.host);
    let part = u128::from(used) * 1_000_000 * u128::from(cgroup::host_cpus());
    Some(u64::try_from(part / u128::from(host.max(1))).unwrap_or(0))
        .filter(|_| host > 0 || used == 0)
}

/// Docker's columns, and what the kernel says of waiting, where it does.
fn table(entries: &[Entry], canvas: &Canvas) -> String {
    let headings = headings();
    let lines: Vec<Value> = entries.iter().map(fields).collect();
    let mut columns =
        vec!["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];
    let has_pressure = |line: &Value| line["CPUPressure"] != "--";
    if lines.iter().any(has_pressure) {
        columns.extend(["CPUPressure", "MemPressure", "IOPressure"]);
    }
    let cell = |line: &Value, column: &&str| match (*column, line["Source"].as_str()) {
        ("Name", Some("processes")) => format!("{}*", line["Name"].as_str().unwrap_or_default()),
        _ => line[*column].as_str().unwrap_or_default().to_owned(),
    };
    let draw = |columns: &[&str]| {
        let titles = columns.iter().map(|column| cell(&headings, column)).collect();
        let mut rows: Vec<Vec<String>> = vec![titles];
        rows.extend(lines.iter().map(|line| columns.iter().map(|c| cell(line, c)).collect()));
        output::columns(&rows, 7, 3)
    };
    let is_terminal = std::io::stdout().is_terminal();
    let mut text = draw(&columns);
    for least in ["IOPressure", "MemPressure", "CPUPressure", "ID", "BlockIO", "NetIO", "MemPerc"] {
        let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
        if !is_terminal || widest < canvas.width {
            break;
        }
        columns.retain(|column| *column != least);
        text = draw(&columns);
    }
    if !is_terminal {
        return text;
    }
    text = text.lines().map(|line| output::shorten(line, canvas.width - 1) + "\n").collect();
    let cpus = cgroup::host_cpus();
    text += "\n";
    text += &canvas.wrap(
        "",
        &format!("CPU % counts in single CPUs: this machine has {cpus}, so all of it is {cpus} times 100 %."),
    );
    if columns.contains(&"CPUPressure") {
        text += &canvas.wrap(
            "",
            "PRESSURE is for how much of the last ten seconds some process could not go on: no CPU, memory or disk was free for it.",
        );
    }
    if entries.iter().any(is_added_up) {
        text += &canvas.wrap("", WITHOUT_CGROUP);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_rounded_as_docker_rounds_them() {
        for (millionths, text) in [
            (0, "0.00%"),
            (49, "0.00%"),
            (50, "0.01%"),
            (999_950, "100.00%"),
            (1_234_500, "123.45%"),
        ] {
            assert_eq!(percent(millionths), text);
        }
    }
}

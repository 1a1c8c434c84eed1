//! `minibox ps`.

use std::collections::HashMap;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use minibox_runtime::Result;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::{inspect, words};
use crate::args::PsArgs;
use crate::clock;
use crate::filter::Filter;
use crate::format::{Format, Row};
use crate::living;
use crate::output;
use crate::signals::pid_inside;
use crate::size;
use crate::store::{Container, Status, Store};
use crate::terminal;
use crate::wishes::bad;

/// Keys of `--filter`.
pub(crate) const KEYS: [&str; 11] = [
    "ancestor", "before", "exited", "health", "id", "label", "name", "network", "since", "status",
    "volume",
];

/// Columns of a command where nobody's terminal limits it.
const COMMAND_WIDTH: usize = 40;

/// Docker's headings for the fields of a row.
fn headings() -> Value {
    json!({
        "Command": "COMMAND",
        "CreatedAt": "CREATED AT",
        "HealthStatus": "HEALTH STATUS",
        "ID": "CONTAINER ID",
        "Image": "IMAGE",
        "Labels": "LABELS",
        "LocalVolumes": "LOCAL VOLUMES",
        "Mounts": "MOUNTS",
        "Names": "NAMES",
        "Networks": "NETWORKS",
        "Pid": "HOST PID",
        "PidInside": "PID INSIDE",
        "Ports": "PORTS",
        "RunningFor": "CREATED",
        "Size": "SIZE",
        "State": "STATE",
        "Status": "STATUS",
    })
}

/// `minibox ps`.
pub(crate) fn ps(store: &Store, args: &PsArgs) -> Result<u8> {
    let format = Format::of_list(args.format.format.as_deref())?;
    let containers = select(store, args)?;
    let text = if args.quiet {
        containers.iter().map(|container| id(container, args) + "\n").collect()
    } else if let Format::Own = format {
        table(store, args, &containers)
    } else {
        let mut sizes = (args.size || format.mentions("Size")).then(Sizes::default);
        let row = |container| row(store, args, container, sizes.as_mut());
        let rows: Vec<Row> = containers.iter().map(row).collect();
        format.list(&headings(), &rows)?
    };
    output::print(&text);
    Ok(0)
}

/// Those that were asked for, the newest first.
fn select(store: &Store, args: &PsArgs) -> Result<Vec<Container>> {
    let filter = Filter::parse(&args.filters, &KEYS)?;
    filter.check("status", &words::STATES)?;
    filter.check("health", &["starting", "healthy", "unhealthy", "none"])?;
    let codes: Vec<i32> = filter
        .values("exited")
        .map(|text| {
            let wrong = || bad("--filter", &format!("exited={text}"), "an exit code");
            text.parse().map_err(|_| wrong())
        })
        .collect::<Result<_>>()?;
    // Made before this one, made after that one; the last word counts.
    let created = |key: &str| {
        let name = filter.values(key).last();
        name.map(|name| store.find(name).map(|found| found.record.created)).transpose()
    };
    let (before, since) = (created("before")?, created("since")?);
    let most = if args.latest { Some(1) } else { args.last.filter(|most| *most > 0) };
    let also_ended = args.all || most.is_some() || filter.has("status");
    let roots: Vec<PathBuf> = filter.values("ancestor").map(real).collect();

    let mut selected = Vec::new();
    for container in store.all() {
        // Met on the way: ends nobody wrote down, and containers whose monitor was killed.
        let Some(container) = living::up_to_date(store, container)? else { continue };
        let record = &container.record;
        let is_up = matches!(container.status(), Status::Running | Status::Restarting);
        let exited = |code| !is_up && record.exit.as_ref().is_some_and(|e| e.shown_code() == code);
        let is_meant = (is_up || also_ended)
            && filter.finds("id", &record.id)
            // Docker's names begin with a slash, and so do some people's patterns.
            && (filter.finds("name", &record.name) || filter.finds("name", &format!("/{}", record.name)))
            && filter.labels("label", &record.settings.labels)
            && filter.any("status", |state| state == words::state(&container))
            && filter.any("health", |health| health == words::health(store, &container))
            && filter.any("network", |network| network == record.settings.modes.network)
            && (codes.is_empty() || codes.iter().any(|code| exited(*code)))
            && (roots.is_empty() || roots.contains(&real(&record.rootfs)))
            && before.as_ref().is_none_or(|before| record.created < *before)
            && since.as_ref().is_none_or(|since| record.created > *since)
            && (!filter.has("volume") || has_volume(&container, &filter));
        if is_meant {
            selected.push(container);
        }
    }
    selected.truncate(most.unwrap_or(usize::MAX));
    Ok(selected)
}

fn real(path: impl AsRef<Path>) -> PathBuf {
    fs::canonicalize(&path).unwrap_or_else(|_| path.as_ref().to_owned())
}

/// Has it mounted a volume of this name, a folder of the host, or anything in this place?
fn has_volume(container: &Container, filter: &Filter) -> bool {
    let mounts = inspect::mounts(&container.record);
    let is = |mount: &Value, value: &str| {
        ["Name", "Source", "Destination"].iter().any(|field| mount[*field] == value)
    };
    filter.any("volume", |value| mounts.iter().any(|mount| is(mount, value)))
}

fn id(container: &Container, args: &PsArgs) -> String {
    let record = &container.record;
    if args.no_trunc { record.id.clone() } else { record.short_id().to_owned() }
}

/// What root filesystems hold, each looked through once.
#[derive(Default)]
struct Sizes(HashMap<PathBuf, u64>);

impl Sizes {
    /// `12.3kB (virtual 45.6MB)`: what it wrote, and together with its root filesystem.
    fn of(&mut self, container: &Container) -> String {
        let record = &container.record;
        let rootfs = self.0.entry(record.rootfs.clone());
        let whole = *rootfs.or_insert_with(|| size::of_folder(&record.rootfs, None));
        let written = inspect::written(record);
        let virtual_size = size::decimal(whole + written, 3);
        format!("{} (virtual {virtual_size})", size::decimal(written, 3))
    }
}

/// A row with docker's fields, all of them texts, in docker's order: the alphabet's.
fn row(store: &Store, args: &PsArgs, container: &Container, sizes: Option<&mut Sizes>) -> Row {
    let record = &container.record;
    let most = |text: &str, most: usize| {
        if args.no_trunc { text.to_owned() } else { output::shorten(text, most) }
    };
    let running = container.state.as_ref().filter(|_| container.status() == Status::Running);
    let mounts = inspect::mounts(record);
    let name = |mount: &Value| most(inspect::origin(mount), 15);
    let labels: Vec<String> =
        record.settings.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let health = words::health(store, container);
    let command = Value::from(most(&output::shell_words(&record.command), 20));
    let inside = running.and_then(|state| pid_inside(state.init.pid));
    let fields = json!({
        // In quotes, as Go writes them.
        "Command": command.to_string(),
        "CreatedAt": clock::local(clock::of_record(&record.created)),
        "HealthStatus": if health == "none" { "" } else { health.as_str() },
        "ID": id(container, args),
        "Image": record.rootfs,
        "Labels": labels.join(","),
        "LocalVolumes": mounts.iter().filter(|mount| mount["Type"] == "volume").count().to_string(),
        "Mounts": mounts.iter().map(name).collect::<Vec<_>>().join(","),
        "Names": record.name,
        "Networks": record.settings.modes.network,
        "Pid": running.map(|state| state.init.pid.to_string()).unwrap_or_default(),
        "PidInside": inside.map(|pid| pid.to_string()).unwrap_or_default(),
        "Ports": "",
        "RunningFor": format!("{} ago", clock::since(&record.created)),
        "Size": sizes.map_or_else(|| String::from("0B"), |sizes| sizes.of(container)),
        "State": words::state(container),
        "Status": words::status(store, container),
    });
    Row { fields, labels: record.settings.labels.clone() }
}

/// minibox's own table: with the two numbers that one process has.
fn table(store: &Store, args: &PsArgs, containers: &[Container]) -> String {
    let mut sizes = Sizes::default();
    let mut titles = vec!["NAME", "ID", "STATUS", "HOST PID", "PID INSIDE", "COMMAND"];
    titles.extend(args.size.then_some("SIZE"));
    let mut rows: Vec<Vec<String>> = vec![titles.iter().map(|&title| title.to_owned()).collect()];
    for container in containers {
        let record = &container.record;
        let running = container.state.as_ref().filter(|_| container.status() == Status::Running);
        let inside = running.and_then(|state| pid_inside(state.init.pid));
        let command = output::shell_words(&record.command);
        let command =
            output::shorten(&command, if args.no_trunc { usize::MAX } else { COMMAND_WIDTH });
        let mut row = vec![
            record.name.clone(),
            id(container, args),
            words::status(store, container),
            running.map_or_else(|| String::from("-"), |state| state.init.pid.to_string()),
            inside.map_or_else(|| String::from("-"), |pid| pid.to_string()),
            command,
        ];
        if args.size {
            row.push(sizes.of(container));
        }
        rows.push(row);
    }
    let columns = terminal::size().map_or(0, |(_, columns)| columns);
    // Some terminals do not know their size.
    if columns > 0 && std::io::stdout().is_terminal() && !args.no_trunc {
        fit(&mut rows, usize::from(columns));
    }
    output::table(&rows)
}

/// Makes the table at most `room` wide: shortens commands, then leaves out what can best be done without, then
/// shortens names and states.
fn fit(rows: &mut [Vec<String>], room: usize) {
    shorten(rows, "COMMAND", room, 12);
    for title in ["PID INSIDE", "ID", "COMMAND", "SIZE", "HOST PID"] {
        if let (true, Some(column)) = (width(rows) > room, column(rows, title)) {
            for row in rows.iter_mut() {
                row.remove(column);
            }
            shorten(rows, "COMMAND", room, 12);
        }
    }
    shorten(rows, "NAME", room, 8);
    shorten(rows, "STATUS", room, 8);
}

fn column(rows: &[Vec<String>], title: &str) -> Option<usize> {
    rows[0].iter().position(|known| known == title)
}

fn width_of(rows: &[Vec<String>], column: usize) -> usize {
    rows.iter().map(|row| row[column].width()).max().unwrap_or(0)
}

fn width(rows: &[Vec<String>]) -> usize {
    let columns = rows[0].len();
    (0..columns).map(|column| width_of(rows, column)).sum::<usize>() + 2 * (columns - 1)
}

/// Shortens one column so far that the table fits into `room`, but not below `least`.
fn shorten(rows: &mut [Vec<String>], title: &str, room: usize, least: usize) {
    let Some(column) = column(rows, title) else { return };
    let surplus = width(rows).saturating_sub(room);
    let most = width_of(rows, column).saturating_sub(surplus).max(least);
    for cell in rows.iter_mut().skip(1).map(|row| &mut row[column]) {
        *cell = output::shorten(cell, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        [
            ["NAME", "ID", "STATUS", "HOST PID", "PID INSIDE", "COMMAND"],
            [
                "calm-otter",
                "9fc98452ac15",
                "Up 3 minutes (healthy)",
                "25514",
                "1",
                "python while_loop.py 1 2 3",
            ],
            [
                "db",
                "111111111111",
                "Exited (137) About an hour ago",
                "-",
                "-",
                "이름이 아주 긴 프로그램 하나",
            ],
        ]
        .map(|row| row.map(str::to_owned).to_vec())
        .to_vec()
    }

    #[test]
    fn a_table_is_never_wider_than_the_terminal() {
        for room in 30..200 {
            let mut fitted = rows();
            fit(&mut fitted, room);
            let text = output::table(&fitted);
            let widest = text.lines().map(UnicodeWidthStr::width).max();
            assert!(widest.is_some_and(|widest| widest <= room), "{room}:\n{text}");
            assert!(text.starts_with("NAME") && text.contains("STATUS"), "{room}:\n{text}");
            assert_eq!(text.lines().count(), 3);
        }
    }

    #[test]
    fn what_is_left_out_first_matters_least() {
        let titles = |room: usize| {
            let mut fitted = rows();
            fit(&mut fitted, room);
            fitted[0].join(" ")
        };
        assert_eq!(titles(200), "NAME ID STATUS HOST PID PID INSIDE COMMAND");
        assert_eq!(titles(80), "NAME ID STATUS HOST PID COMMAND");
        assert_eq!(titles(66), "NAME STATUS HOST PID COMMAND");
        assert_eq!(titles(52), "NAME STATUS HOST PID");
        assert_eq!(titles(40), "NAME STATUS");
    }
}

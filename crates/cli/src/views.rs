//! The verbs that show things: ps, inspect.

use minibox_runtime::{Error, Result, spec};
use serde_json::json;
use unicode_width::UnicodeWidthStr;

use crate::args::{InspectArgs, PsArgs};
use crate::living;
use crate::monitor::health::Report;
use crate::output;
use crate::store::{Container, Status, Store};
use crate::terminal;

fn status_text(container: &Container) -> String {
    match (container.status(), &container.record.exit) {
        (Status::Restarting, Some(exit)) => {
            let code = exit.code.map_or_else(|| String::from("unknown"), |code| code.to_string());
            format!("restarting ({code}) {} ago", output::ago(&exit.finished))
        }
        (_, Some(exit)) => {
            let code = exit.code.map_or_else(|| String::from("unknown"), |code| code.to_string());
            format!("exited ({code}) {} ago", output::ago(&exit.finished))
        }
        (Status::Running, _) => {
            let up = container.record.started.as_deref().map_or_else(String::new, output::ago);
            let lost = if container.has_lost_terminal() { " (terminal lost)" } else { "" };
            let paused = if container.is_paused() { " (paused)" } else { "" };
            format!("up {up}{lost}{paused}")
        }
        (Status::Created, _) => String::from("created"),
        (Status::Exited | Status::Restarting, _) => String::from("ending"),
    }
}

/// `minibox ps`.
pub(crate) fn ps(store: &Store, args: &PsArgs) -> Result<u8> {
    let mut rows = vec![
        ["NAME", "ID", "STATUS", "HOST PID", "PID INSIDE", "COMMAND"].map(str::to_owned).to_vec(),
    ];
    for container in store.all() {
        // Met on the way: ends nobody wrote down, and containers whose monitor was killed.
        let container = living::up_to_date(store, container)?;
        let Some(container) = container else { continue };
        let running = container.status() == Status::Running;
        let is_up = running || container.status() == Status::Restarting;
        if !args.all && !is_up {
            continue;
        }
        let short = container.record.short_id().to_owned();
        if args.quiet {
            output::print(&format!("{short}\n"));
            continue;
        }
        let pid = container.state.as_ref().filter(|_| running).map(|state| state.init.pid);
        rows.push(vec![
            container.record.name.clone(),
            short,
            status_text(&container),
            pid.map_or_else(|| String::from("-"), |pid| pid.to_string()),
            String::from(if pid.is_some() { "1" } else { "-" }),
            output::shell_words(&container.record.command),
        ]);
    }
    if !args.quiet {
        let room = room_for_the_last(&rows);
        for command in rows.iter_mut().skip(1).filter_map(|row| row.last_mut()) {
            *command = output::shorten(command, room);
        }
        output::print(&output::table(&rows));
    }
    Ok(0)
}

/// Columns that the others leave on this terminal; 40 where there is none.
fn room_for_the_last(rows: &[Vec<String>]) -> usize {
    use std::io::IsTerminal;
    let terminal = terminal::size().filter(|_| std::io::stdout().is_terminal());
    let Some((_, columns)) = terminal else { return 40 };
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0) + 2;
    let others: usize = (0..rows[0].len() - 1).map(width).sum();
    usize::from(columns).saturating_sub(others).max("COMMAND".len())
}

/// `minibox inspect`.
pub(crate) fn inspect(store: &Store, args: &InspectArgs) -> Result<u8> {
    let mut all = Vec::new();
    for name in &args.names {
        let container = living::find(store, name)?;
        let record = &container.record;
        let running = container.status() == Status::Running;
        let state = container.state.as_ref().filter(|_| running);
        let status = match container.status() {
            Status::Created => "created",
            Status::Running if container.is_paused() => "paused",
            Status::Running => "running",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
        };
        all.push(json!({
            "id": record.id,
            "name": record.name,
            "status": status,
            "created": record.created,
            "started": record.started,
            "pid": state.map(|s| s.init.pid),
            "pidInside": state.map(|_| 1),
            "keeper": state.map(|s| s.keeper.pid),
            "exit": record.exit,
            "rootfs": record.rootfs,
            "layer": record.layer,
            "command": record.command,
            "cgroup": record.cgroup,
            "idMap": record.id_map,
            "autoRemove": record.auto_remove,
            "labels": record.settings.labels,
            "restarts": record.restarts,
            "restart": record.settings.restart.name(),
            "health": Report::read(store, &record.id),
            "log": record.monitored.then(|| store.folder(&record.id).join("log")),
            "config": spec::load(&store.folder(&record.id)).ok(),
        }));
    }
    let text = serde_json::to_string_pretty(&all).map_err(|e| Error::new(e.to_string()))?;
    output::print(&(text + "\n"));
    Ok(0)
}

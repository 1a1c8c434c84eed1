//! `minibox tree`: the processes of this host and those of containers, which are the same ones.

use minibox_lens::processes::State;
use minibox_lens::tree::{self, Node, Tree, Which};
use minibox_runtime::{Error, Result};

use super::columns::columns;
use super::{Canvas, Style, Target, find, known, look};
use crate::args::TreeArgs;
use crate::language::say;
use crate::output;
use crate::store::Store;

/// `minibox tree`.
pub(crate) fn tree(store: &Store, args: &TreeArgs) -> Result<u8> {
    let target = args.target.as_ref().map(|asked| find(store, asked)).transpose()?;
    let which = match &target {
        Some(target) => Which::Around(target.pid),
        None if args.all => Which::All,
        None => Which::Host,
    };
    let see = || {
        let seen = tree::read(which, &known(store), args.threads);
        match &target {
            Some(target) if target.process.stat().is_err() => {
                Err(Error::new(format!("there is no process {}", target.pid)))
            }
            _ => Ok(seen),
        }
    };
    look(&args.look, "tree/1", target.as_ref(), see, |seen, canvas| draw(which, seen, canvas))
}

/// The same of `target` alone, for another screen.
pub(crate) fn picture(store: &Store, target: &Target, canvas: &Canvas) -> String {
    let which = Which::Around(target.pid);
    draw(which, &tree::read(which, &known(store), false), canvas)
}

/// One word for what a process is doing.
pub(super) fn word(state: State) -> String {
    say(match state {
        State::Running => "runs",
        State::Sleeping => "sleeps",
        State::DiskSleep => "waits",
        State::Stopped => "stopped",
        State::Tracing => "traced",
        State::Zombie => "zombie",
        State::Dead => "ends",
        State::Idle => "idle",
        State::Other => "?",
    })
}

/// CPU time as ps has it: minutes and seconds.
pub(super) fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// What it was started as.
pub(super) fn command(node: &Node) -> String {
    let entry = &node.entry;
    match (&entry.thread_of, entry.arguments.is_empty()) {
        (Some(_), _) => format!("{{{}}}", entry.name),
        (None, true) => format!("[{}]", entry.name),
        (None, false) => output::on_one_line(&output::shell_words(&entry.arguments)),
    }
}

/// The lines that lead to each process from its parent.
fn branches(nodes: &[Node], canvas: &Canvas) -> Vec<String> {
    let mut all = vec![String::new(); nodes.len()];
    // Read from below: at which depths does a line go on?
    let mut open: Vec<bool> = Vec::new();
    for (node, branch) in nodes.iter().zip(&mut all).rev() {
        open.resize(node.depth + 1, false);
        for (depth, goes_on) in open.iter().enumerate().skip(1) {
            *branch += match (depth == node.depth, *goes_on) {
                (true, true) => canvas.glyph("├─ ", "|- "),
                (true, false) => canvas.glyph("└─ ", "`- "),
                (false, true) => canvas.glyph("│  ", "|  "),
                (false, false) => "   ",
            };
        }
        open[node.depth] = true;
    }
    all
}

fn draw(which: Which, seen: &Tree, canvas: &Canvas) -> String {
    let inside = match seen.levels {
        0..=2 => vec![String::from("INSIDE")],
        levels => (1..levels).map(|level| format!("INSIDE {level}")).collect(),
    };
    let mut heading = vec![String::from("HOST PID")];
    heading.extend(inside);
    let first = heading.len();
    // Where there is little room the programs need it most.
    let between: &[&str] =
        if canvas.width < 64 { &["STATE"] } else { &["STATE", "CPU", "CONTAINER"] };
    heading.extend(between.iter().chain(&["PROCESS"]).map(ToString::to_string));
    let mut rows = vec![heading];
    for (node, branch) in seen.processes.iter().zip(branches(&seen.processes, canvas)) {
        let mut row: Vec<String> = node.entry.pids.iter().map(ToString::to_string).collect();
        row.resize(first, String::new());
        let container = output::shorten(node.container.as_deref().unwrap_or_default(), 20);
        let about = [word(node.entry.state), clock(node.entry.cpu_ms), container];
        row.extend(about.into_iter().take(between.len()));
        row.push(branch + &command(node));
        rows.push(row);
    }
    let mut text = String::new();
    let lines =
        columns(&rows, &["HOST PID", "INSIDE", "CPU"], &[("STATE", 7), ("CPU", 7)], canvas.width);
    for (number, line) in lines.iter().enumerate() {
        let stands_out = number == 0 || is_first_of_container(&seen.processes, number - 1);
        text += &if stands_out { canvas.paint(Style::Bold, line) } else { line.clone() };
        text.push('\n');
    }
    text.push('\n');
    text + &explain(which, seen, canvas)
}

/// Does a container begin here: a process with a number 1 of its own?
fn is_first_of_container(nodes: &[Node], at: usize) -> bool {
    let entry = &nodes[at].entry;
    entry.thread_of.is_none() && entry.pids.len() > 1 && entry.pids.last() == Some(&1)
}

fn explain(which: Which, seen: &Tree, canvas: &Canvas) -> String {
    let nodes = &seen.processes;
    let first = match which {
        Which::Around(pid) => nodes.iter().position(|node| node.entry.pid == pid),
        Which::Host | Which::All => None,
    };
    let first = first.filter(|at| nodes[*at].entry.pids.len() > 1);
    let first = first.or_else(|| (0..nodes.len()).find(|at| is_first_of_container(nodes, *at)));
    let mut text = match first.map(|at| &nodes[at]) {
        Some(node) => {
            let (host, inside) = (node.entry.pid, node.entry.pids.last().copied().unwrap_or(1));
            let container = node.container.as_deref().unwrap_or("that pid namespace");
            canvas.wrap("", &format!("{host} on this host and {inside} inside are one and the same process. This host sees every line; {container} sees only those that have a number in the same column as its own."))
        }
        None => canvas.wrap("", "No process here has a second number: all live in one pid namespace, and each sees all the others."),
    };
    if which == Which::Host && seen.kernel_threads > 0 {
        text += &canvas.wrap("", &format!("Not shown: {} threads of the kernel's own, which run no program. See them with --all.", seen.kernel_threads));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_written_as_ps_does() {
        for (ms, text) in [(0, "0:00"), (61_999, "1:01"), (3_600_000, "1:00:00")] {
            assert_eq!(clock(ms), text);
        }
    }
}

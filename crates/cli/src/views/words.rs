//! What a container is doing, in docker's words.

use crate::clock;
use crate::monitor::health::Report;
use crate::store::{Container, Status, Store};

/// Every [`state`] that docker knows; the last two never come up here.
pub(crate) const STATES: [&str; 7] =
    ["created", "running", "paused", "restarting", "exited", "removing", "dead"];

/// In one word.
pub(crate) fn state(container: &Container) -> &'static str {
    match container.status() {
        Status::Created => "created",
        Status::Running if container.is_paused() => "paused",
        Status::Running => "running",
        Status::Restarting => "restarting",
        Status::Exited => "exited",
    }
}

/// With times and codes: `Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`.
pub(crate) fn status(store: &Store, container: &Container) -> String {
    let exit = container.record.exit.as_ref();
    let ended = |word: &str| match exit {
        Some(exit) => {
            format!("{word} ({}) {} ago", exit.shown_code(), clock::since(&exit.finished))
        }
        None => word.to_owned(),
    };
    match container.status() {
        Status::Created => String::from("Created"),
        Status::Restarting => ended("Restarting"),
        Status::Exited => ended("Exited"),
        Status::Running => {
            let up = container.record.started.as_deref().map_or_else(String::new, clock::since);
            let health = health(store, container);
            let detail = match health.as_str() {
                _ if container.is_paused() => " (Paused)",
                "starting" => " (health: starting)",
                "healthy" => " (healthy)",
                "unhealthy" => " (unhealthy)",
                _ if container.has_lost_terminal() => " (terminal lost)",
                _ => "",
            };
            format!("Up {up}{detail}")
        }
    }
}

/// `starting`, `healthy`, `unhealthy`, or `none` where nobody checks.
pub(crate) fn health(store: &Store, container: &Container) -> String {
    let record = &container.record;
    if record.settings.health.is_none() {
        return String::from("none");
    }
    // Docker's word for what is checked no more.
    if matches!(container.status(), Status::Restarting | Status::Exited) {
        return String::from("unhealthy");
    }
    // Before the first check there is no report.
    Report::read(store, &record.id).map_or_else(|| String::from("starting"), |report| report.status)
}

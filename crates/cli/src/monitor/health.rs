//! Health checks: a program in the container, run now and then, whose exit code tells whether all is well.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use minibox_runtime::line::Listening;
use minibox_runtime::state;
use minibox_runtime::sys::{self, Forked};
use minibox_runtime::{Error, Result, join};
use serde::{Deserialize, Serialize};

use crate::ending::{Ended, reap};
use crate::joining::{self, Wish};
use crate::settings::Health;
use crate::store::{Store, now};

/// Bytes of a check's output that are kept, docker's number.
const MOST_OUTPUT: usize = 4096;
/// Results that are kept, docker's number.
const MOST_RESULTS: usize = 5;

/// What is known of a container's health, docker's names: health.json in its run folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Report {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// The last results, the newest last.
    pub log: Vec<Outcome>,
}

/// One check.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Outcome {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// 0 where all is well; -1 where it took too long.
    pub exit_code: i32,
    pub output: String,
}

impl Report {
    /// The report of the container with this id, where it is checked.
    pub(crate) fn read(store: &Store, id: &str) -> Option<Report> {
        state::read(&store.run_folder(id).join("health.json")).ok().flatten()
    }
}

/// The checks of one container.
pub(super) struct Checks {
    health: Option<Health>,
    report: Report,
    /// When the container was started.
    since: Instant,
    next: Instant,
    running: Option<Check>,
}

struct Check {
    pidfd: OwnedFd,
    /// None at its end.
    output: Option<File>,
    text: Vec<u8>,
    start: String,
    deadline: Instant,
}

impl Checks {
    pub(super) fn new(health: Option<&Health>) -> Checks {
        Checks {
            health: health.cloned(),
            report: Report { status: "starting".into(), failing_streak: 0, log: Vec::new() },
            since: Instant::now(),
            next: Instant::now(),
            running: None,
        }
    }

    /// The container has just been started.
    pub(super) fn begin(&mut self) {
        let health = self.health.take();
        *self = Checks::new(health.as_ref());
        self.next += self.pause();
    }

    /// The container has ended.
    pub(super) fn stop(&mut self) {
        if let Some(check) = self.running.take() {
            check.kill();
        }
    }

    /// Time between two checks.
    fn pause(&self) -> Duration {
        let Some(health) = &self.health else { return Duration::ZERO };
        let is_young =
            self.report.status == "starting" && self.since.elapsed() < health.start_period;
        if is_young { health.start_interval } else { health.interval }
    }

    /// What there is to wait for: a check's end, and its output.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let end = self.running.iter().map(|check| check.pidfd.as_raw_fd());
        let output = self.running.iter().filter_map(|check| check.output.as_ref());
        end.chain(output.map(AsRawFd::as_raw_fd))
    }

    /// When there is something to do at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.health.as_ref()?;
        Some(self.running.as_ref().map_or(self.next, |check| check.deadline))
    }

    /// Does what there is to do.
    pub(super) fn go_on(&mut self, store: &Store, id: &str) {
        let Some(health) = self.health.clone() else { return };
        let Some(mut check) = self.running.take() else {
            let container = || store.load(id).ok().flatten();
            if Instant::now() >= self.next && container().is_some_and(|c| c.is_paused()) {
                self.next = Instant::now() + self.pause();
            } else if Instant::now() >= self.next {
                if self.report.log.is_empty() {
                    self.save(store, id);
                }
                match Check::start(store, id, &health) {
                    Ok(check) => self.running = Some(check),
                    Err(error) => self.count(&health, store, id, now(), (-1, error.to_string())),
                }
            }
            return;
        };
        let result = match check.look() {
            Some(ended) => (ended.code, String::from_utf8_lossy(&check.text).into_owned()),
            None if Instant::now() >= check.deadline => {
                let time = humantime::format_duration(health.timeout);
                (-1, format!("Health check exceeded timeout ({time})"))
            }
            None => return self.running = Some(check),
        };
        let start = std::mem::take(&mut check.start);
        check.kill();
        self.count(&health, store, id, start, result);
    }

    fn count(
        &mut self,
        health: &Health,
        store: &Store,
        id: &str,
        start: String,
        (exit_code, output): (i32, String),
    ) {
        if exit_code == 0 {
            self.report.failing_streak = 0;
            self.report.status = "healthy".into();
        } else if self.report.status != "starting" || self.since.elapsed() >= health.start_period {
            self.report.failing_streak += 1;
            if self.report.failing_streak >= health.retries {
                self.report.status = "unhealthy".into();
            }
        }
        self.report.log.push(Outcome { start, end: now(), exit_code, output });
        let surplus = self.report.log.len().saturating_sub(MOST_RESULTS);
        self.report.log.drain(..surplus);
        self.next = Instant::now() + self.pause();
        self.save(store, id);
    }

    /// A full disk costs the report, not the container.
    fn save(&self, store: &Store, id: &str) {
        let _ = state::save(&store.run_folder(id).join("health.json"), &self.report);
    }
}

impl Check {
    /// Starts the check in a process of its own, which waits for it in the monitor's place.
    fn start(store: &Store, id: &str, health: &Health) -> Result<Check> {
        let (output, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
            .map_err(|errno| Error::new("cannot make a pipe").errno(errno))?;
        let forked =
            sys::clone3(0, None).map_err(|f| Error::of_fault("cannot start a health check", f))?;
        if let Forked::Parent { pidfd, .. } = forked {
            let _ = sys::set_nonblocking(output.as_raw_fd());
            return Ok(Check {
                pidfd,
                output: Some(output.into()),
                text: Vec::new(),
                start: now(),
                deadline: Instant::now() + health.timeout,
            });
        }
        let _ = sys::set_pdeathsig(libc::SIGKILL);
        let code = match Check::run(store, id, health, &theirs) {
            Ok(ended) => ended.code,
            Err(error) => {
                let _ = sys::write(theirs.as_raw_fd(), error.to_string().as_bytes());
                i32::from(error.blame.exit_code())
            }
        };
        sys::exit_now(code)
    }

    fn run(store: &Store, id: &str, health: &Health, output: &OwnedFd) -> Result<Ended> {
        let gone = || Error::new("the container is gone");
        let container = store.load(id)?.ok_or_else(gone)?;
        let end = || output.try_clone().map(Some).map_err(|e| Error::new(e.to_string()));
        let wish = Wish { command: &health.command, ..Wish::default() };
        let stdio = [Some(joining::null()?), end()?, end()?];
        let plan = joining::plan(store, &container, &wish, stdio, None, true)?;
        let running = join::start(&plan, Listening::Quiet, None, &mut |_| Ok(()))?;
        let death = sys::wait_pidfd(running.pidfd.as_raw_fd(), true);
        death.ok().flatten().map(Ended::of).ok_or_else(gone)
    }

    /// Reads what it has printed; how it ended, where it has.
    fn look(&mut self) -> Option<Ended> {
        let mut buffer = [0; MOST_OUTPUT];
        while let Some(output) = &self.output {
            match sys::read(output.as_raw_fd(), &mut buffer) {
                Ok(0) => self.output = None,
                Ok(count) => {
                    let room = MOST_OUTPUT - self.text.len();
                    self.text.extend_from_slice(&buffer[..count.min(room)]);
                }
                Err(_) => break,
            }
        }
        reap(self.pidfd.as_fd())
    }

    /// Ends it, and what it has started with it.
    fn kill(self) {
        let _ = sys::pidfd_send_signal(self.pidfd.as_raw_fd(), libc::SIGKILL);
        let _ = sys::wait_pidfd(self.pidfd.as_raw_fd(), true);
    }
}

//! Health checks: a program in the container, run now and then, whose exit code tells whether all is well.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use minibox_runtime::line::Listening;
use minibox_runtime::state;
use minibox_runtime::sys::{self, Forked};
use minibox_runtime::{Error, Result, join};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg, raise};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::ending::{Ended, reap};
use crate::joining::{self, Wish};
use crate::settings::Health;
use crate::store::{HEALTH, Store, now};

/// Bytes of a check's output that are kept, docker's number.
const MOST_OUTPUT: usize = 4096;
/// Results that are kept, docker's number.
const MOST_RESULTS: usize = 5;

/// What is known of a container's health, docker's names: health.json in its run folder, and beside its
/// record once it has ended.
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
        let read = |folder: PathBuf| state::read(&folder.join(HEALTH)).ok().flatten();
        read(store.run_folder(id)).or_else(|| read(store.folder(id)))
    }

    /// Its last results are of no interest any more: it is about to be started.
    pub(crate) fn forget(store: &Store, id: &str) {
        let _ = std::fs::remove_file(store.folder(id).join(HEALTH));
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

/// A check's own process ends it in time; one that cannot is ended a little later.
const GRACE: Duration = Duration::from_secs(1);

struct Check {
    pidfd: OwnedFd,
    /// None at its end.
    output: Option<File>,
    text: Vec<u8>,
    start: String,
    /// It was begun in the start period.
    is_early: bool,
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

    /// The container has just been started, or another monitor has checked it before, with this report.
    pub(super) fn begin(&mut self, store: &Store, id: &str, report: Option<Report>) {
        let health = self.health.take();
        *self = Checks::new(health.as_ref());
        self.report = report.unwrap_or_else(|| self.report.clone());
        self.next += self.pause();
        self.save(store, id);
    }

    /// The container has ended.
    pub(super) fn stop(&mut self) {
        if let Some(check) = self.running.take() {
            check.kill();
        }
    }

    /// Is this the start period, in which failures do not count?
    fn is_early(&self, health: &Health) -> bool {
        self.report.status == "starting" && self.since.elapsed() < health.start_period
    }

    /// Time between two checks.
    fn pause(&self) -> Duration {
        let Some(health) = &self.health else { return Duration::ZERO };
        if self.is_early(health) { health.start_interval } else { health.interval }
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
                let is_early = self.is_early(&health);
                match Check::start(store, id, &health, is_early) {
                    Ok(check) => self.running = Some(check),
                    Err(error) => {
                        let result = Outcome::new(now(), -1, error.to_string());
                        self.count(&health, store, id, result, is_early);
                    }
                }
            }
            return;
        };
        let ended = check.look();
        if ended.is_none() && Instant::now() < check.deadline {
            return self.running = Some(check);
        }
        let text = String::from_utf8_lossy(&check.text).into_owned();
        let start = std::mem::take(&mut check.start);
        let result = match ended {
            Some(ended) if !ended.killed => Outcome::new(start, ended.code, text),
            _ => {
                let time = humantime::format_duration(health.timeout);
                let colon = if text.is_empty() { "" } else { ": " };
                let text = format!("Health check exceeded timeout ({time}){colon}{text}");
                Outcome::new(start, -1, text)
            }
        };
        let is_early = check.is_early;
        check.kill();
        self.count(&health, store, id, result, is_early);
    }

    fn count(&mut self, health: &Health, store: &Store, id: &str, result: Outcome, is_early: bool) {
        let before = self.report.status.clone();
        if result.exit_code == 0 {
            self.report.failing_streak = 0;
            self.report.status = "healthy".into();
        } else if !is_early {
            self.report.failing_streak += 1;
            if self.report.failing_streak >= health.retries {
                self.report.status = "unhealthy".into();
            }
        }
        self.report.log.push(result);
        let surplus = self.report.log.len().saturating_sub(MOST_RESULTS);
        self.report.log.drain(..surplus);
        self.next = Instant::now() + self.pause();
        self.save(store, id);
        if let (true, Ok(Some(container))) = (self.report.status != before, store.load(id)) {
            let action = format!("health_status: {}", self.report.status);
            store.tell(&container.record, &action, &[]);
        }
    }

    /// A full disk costs the report, not the container.
    fn save(&self, store: &Store, id: &str) {
        if self.health.is_some() {
            let _ = state::save(&store.run_folder(id).join(HEALTH), &self.report);
        }
    }
}

impl Outcome {
    /// One that has just ended.
    fn new(start: String, exit_code: i32, output: String) -> Outcome {
        Outcome { start, end: now(), exit_code, output }
    }
}

impl Check {
    /// Starts the check in a process of its own, which waits for it in the monitor's place.
    fn start(store: &Store, id: &str, health: &Health, is_early: bool) -> Result<Check> {
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
                is_early,
                deadline: Instant::now() + health.timeout + GRACE,
            });
        }
        let _ = sys::set_pdeathsig(libc::SIGKILL);
        // The monitor's ends of the program's streams, and its clients, are the monitor's alone.
        let _ = sys::close_all_but(3, &std::iter::once(theirs.as_raw_fd()));
        let code = match Check::run(store, id, health, &theirs) {
            Ok(Some(ended)) => ended.code,
            Ok(None) => {
                let _ = raise(Signal::SIGKILL);
                1
            }
            Err(error) => {
                let _ = sys::write(theirs.as_raw_fd(), error.to_string().as_bytes());
                i32::from(error.blame.exit_code())
            }
        };
        sys::exit_now(code)
    }

    /// Runs it to its end; `None` where it took too long.
    fn run(store: &Store, id: &str, health: &Health, output: &OwnedFd) -> Result<Option<Ended>> {
        let gone = || Error::new("the container is gone");
        let container = store.load(id)?.ok_or_else(gone)?;
        let end = || output.try_clone().map(Some).map_err(|e| Error::new(e.to_string()));
        let wish = Wish { command: &health.command, ..Wish::default() };
        let stdio = [Some(joining::null()?), end()?, end()?];
        let plan = joining::plan(store, &container, &wish, stdio, None, true)?;
        let running = join::start(&plan, Listening::Quiet, None, &mut |_| Ok(()))?;
        let mut end = [PollFd::new(running.pidfd.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(health.timeout).unwrap_or(PollTimeout::MAX);
        let in_time = poll(&mut end, limit) != Ok(0);
        if !in_time {
            // It leads a group of its own, to which belongs what it has started.
            let _ = killpg(Pid::from_raw(running.pid), Signal::SIGKILL);
        }
        let death = sys::wait_pidfd(running.pidfd.as_raw_fd(), true).ok().flatten();
        Ok(death.map(Ended::of).filter(|_| in_time))
    }

    /// Reads what it has printed; how it ended, where it has.
    fn look(&mut self) -> Option<Ended> {
        // Asked before reading: what was printed before the end is then surely read.
        let ended = reap(self.pidfd.as_fd());
        let mut buffer = [0; MOST_OUTPUT];
        while let Some(output) = &self.output {
            match sys::read(output.as_raw_fd(), &mut buffer) {
                Ok(0) => self.output = None,
                Ok(count) => {
                    let room = MOST_OUTPUT - self.text.len();
                    self.text.extend_from_slice(&buffer[..count.min(room)]);
                    // One that prints for ever has its turn again.
                    if count >= room {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        ended
    }

    /// Ends it where it has not ended.
    fn kill(self) {
        let _ = sys::pidfd_send_signal(self.pidfd.as_raw_fd(), libc::SIGKILL);
        let _ = sys::wait_pidfd(self.pidfd.as_raw_fd(), true);
    }
}

//! A pause: no process of the cgroup runs until it is thawed. cgroups(7), "freezer"; cgroup-v2, "cgroup.freeze".

use std::time::{Duration, Instant};

use super::folders::Cgroup;
use crate::error::{Error, Result};

/// How long a process may take to leave the kernel, where alone it can be stopped.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Freezes every process of it, and returns when all are. One that cannot be (it waits for a disk, say)
    /// is an error, and then all run on.
    pub fn freeze(&self) -> Result<()> {
        let frozen = if self.unified { self.freeze_v2() } else { self.freeze_v1() };
        if let Ok(true) = frozen {
            return Ok(());
        }
        let _ = self.thaw();
        let what = format!("a process does not freeze within {} s", PATIENCE.as_secs());
        frozen
            .and(Err(Error::new(what)
                .hint("it may wait for a disk or a network filesystem: state D in ps")))
    }

    fn freeze_v2(&self) -> Result<bool> {
        self.write("freezer", "cgroup.freeze", "1")?;
        Ok(wait_for(|_| {
            let events = self.read("freezer", "cgroup.events").unwrap_or_default();
            events.lines().any(|line| line == "frozen 1")
        }))
    }

    /// Processes that are made meanwhile can leave it half frozen for ever: it is asked for again, and now
    /// and then all are let go first. runc's way, and its numbers.
    fn freeze_v1(&self) -> Result<bool> {
        self.write("freezer", "freezer.state", "FROZEN")?;
        Ok(wait_for(|attempt| {
            if attempt % 50 == 49 {
                let _ = self.thaw();
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = self.write("freezer", "freezer.state", "FROZEN");
            self.read("freezer", "freezer.state").as_deref() == Some("FROZEN")
        }))
    }

    /// Lets its processes run on; nothing to do where none is frozen.
    pub fn thaw(&self) -> Result<()> {
        let (file, value) =
            if self.unified { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        self.write("freezer", file, value)
    }

    /// Is it frozen, or about to be?
    pub fn is_frozen(&self) -> bool {
        let file = if self.unified { "cgroup.freeze" } else { "freezer.self_freezing" };
        self.read("freezer", file).as_deref() == Some("1")
    }
}

fn wait_for(mut is_done: impl FnMut(u32) -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    for attempt in 0.. {
        if is_done(attempt) {
            return true;
        }
        if Instant::now() > deadline {
            break;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    false
}

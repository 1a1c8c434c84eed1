//! Hooks: programs of the host, named by config.json, that are called at six points of a container's life
//! with its state on their standard input. runtime-spec, config.md#posix-platform-hooks.
//!
//! A hook gets its own environment and nothing of the caller's: what the image says must never reach a
//! program that runs with the host's rights (CVE-2025-23266). State and output go through files in memory,
//! so that a hook that reads nothing, or leaves a daemon behind, keeps nobody waiting.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use oci_spec::runtime::{Hook, Process};

use crate::error::{Error, Result};
use crate::join;
use crate::line::Listening;
use crate::plan::JoinPlan;
use crate::sys::{self, Death};

/// The most of a failed hook's output that is told, in bytes.
const TOLD: u64 = 4096;

/// How a process with these standard streams joins the container.
pub type Join<'a> = dyn Fn(&Process, [Option<OwnedFd>; 3]) -> Result<JoinPlan> + 'a;

/// A list of hooks with what they are told.
#[derive(Debug, Clone, Copy)]
pub struct Hooks<'a> {
    /// The list's name in config.json.
    pub point: &'static str,
    /// The hooks, in order.
    pub list: Option<&'a Vec<Hook>>,
    /// The container's state, for their standard input.
    pub state: &'a [u8],
}

impl Hooks<'_> {
    /// Runs them in the caller's own namespaces, in `folder`, one after the other up to the first that fails;
    /// of a poststop hook a failure is a warning.
    pub fn run(self, folder: &Path) -> Result<()> {
        self.each(|hook, [stdin, stdout, stderr]| {
            let args = hook.args().as_deref().unwrap_or_default();
            let mut command = Command::new(hook.path());
            if let Some((name, args)) = args.split_first() {
                command.arg0(name).args(args);
            }
            let env = hook.env().iter().flatten().filter_map(|entry| entry.split_once('='));
            command.env_clear().envs(env).process_group(0);
            command.current_dir(if folder.is_dir() { folder } else { Path::new("/") });
            command.stdin(Stdio::from(stdin)).stdout(stdout).stderr(stderr);
            let child = command.spawn().map_err(|e| Error::of_io("execute", hook.path(), &e))?;
            let pid = child.id() as i32;
            let held = sys::pidfd_open(pid);
            held.map(|pidfd| (pid, pidfd)).map_err(|f| Error::of_fault("cannot hold it", f))
        })
    }

    /// Runs them in a container, with the rights of `process`, by the plan that `join` makes for each. Their
    /// paths are looked up there. One without an environment gets that of `process`.
    pub fn run_inside(self, process: &Process, join: &Join<'_>) -> Result<()> {
        self.each(|hook, stdio| {
            let path = hook.path().clone().into_os_string().into_encoded_bytes();
            let path = CString::new(path).map_err(|_| Error::new("its path has a NUL in it"))?;
            let own = || vec![hook.path().display().to_string()];
            let args = hook.args().clone().filter(|args| !args.is_empty()).unwrap_or_else(own);
            let mut process = process.clone();
            process.set_args(Some(args));
            if let Some(env) = hook.env() {
                process.set_env(Some(env.clone()));
            }
            let mut plan = join(&process, stdio.map(|file| Some(OwnedFd::from(file))))?;
            plan.process.candidates = vec![path];
            let running = join::start(&plan, Listening::Quiet, None, &mut |_| Ok(()))?;
            Ok((running.pid, running.pidfd))
        })
    }

    fn each(self, start: impl Fn(&Hook, [File; 3]) -> Result<(i32, OwnedFd)>) -> Result<()> {
        for (number, hook) in self.list.into_iter().flatten().enumerate() {
            let failed = |error: Error| {
                let (point, path) = (self.point, hook.path().display());
                let what = format!("error running {point} hook #{number}: {path}: {}", error.what);
                Error { what, ..error }
            };
            match self.one(hook, &start).map_err(failed) {
                // What such a hook leaves undone is nothing of the container's, and must not keep it, nor the others.
                Err(error) if self.point == "poststop" => tracing::warn!("{error}"),
                result => result?,
            }
        }
        Ok(())
    }

    fn one(
        self,
        hook: &Hook,
        start: &impl Fn(&Hook, [File; 3]) -> Result<(i32, OwnedFd)>,
    ) -> Result<()> {
        if !hook.path().is_absolute() {
            return Err(Error::new("its path is not absolute"));
        }
        let mut output = in_memory(&[])?;
        let shared = || output.try_clone().map_err(|e| Error::new(e.to_string()));
        let (pid, pidfd) = start(hook, [in_memory(self.state)?, shared()?, shared()?])?;
        let seconds = hook.timeout().map(|seconds| seconds.max(0) as u64);
        let death = match wait(&pidfd, seconds.map(Duration::from_secs)) {
            Ok(death) => death,
            Err(error) => {
                // It leads a process group, and its children go with it.
                let _ = sys::kill(-pid, libc::SIGKILL);
                let _ = sys::wait_pidfd(pidfd.as_raw_fd(), true);
                return Err(error);
            }
        };
        let how = match death {
            Death::Exited(0) => return Ok(()),
            Death::Exited(code) => format!("exit status {code}"),
            Death::Signaled(libc::SIGSYS) => String::from(
                "killed by signal 31, bad system call: its seccomp profile forbids one",
            ),
            Death::Signaled(signal) => format!("killed by signal {signal}"),
        };
        let mut said = Vec::new();
        let _ = output.rewind();
        let _ = output.take(TOLD).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        Err(Error::new(match said.trim() {
            "" => how,
            said => format!("{how}: {said}"),
        }))
    }
}

/// Waits for the end of our child; an error where it does not end in time.
fn wait(pidfd: &OwnedFd, timeout: Option<Duration>) -> Result<Death> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], left) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new("cannot wait for it").errno(errno)),
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() < deadline) => {}
            Ok(0) => {
                let seconds = timeout.unwrap_or_default().as_secs();
                return Err(Error::new(format!("not done within its {seconds} s, and killed")));
            }
            Ok(_) => break,
        }
    }
    let death = sys::wait_pidfd(pidfd.as_raw_fd(), true);
    let death = death.map_err(|fault| Error::of_fault("cannot wait for it", fault))?;
    death.ok_or_else(|| Error::new("it vanished"))
}

fn in_memory(bytes: &[u8]) -> Result<File> {
    let failed = |errno| Error::new("cannot make a file in memory").errno(errno);
    let mut file = File::from(memfd_create(c"hook", MFdFlags::MFD_CLOEXEC).map_err(failed)?);
    let written = file.write_all(bytes).and_then(|()| file.rewind());
    written.map_err(|e| failed(Errno::from_raw(e.raw_os_error().unwrap_or(0))))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(json: &str) -> Result<()> {
        let list: Vec<Hook> = serde_json::from_str(json).unwrap();
        Hooks { point: "poststart", list: Some(&list), state: b"{\"id\":\"x\"}" }
            .run(Path::new("/"))
    }

    #[test]
    fn hooks_hear_the_state_and_their_own_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f").display().to_string();
        let script = format!("cat > {file}; /usr/bin/env >> {file}");
        let hook =
            serde_json::json!([{"path": "/bin/sh", "args": ["s", "-c", script], "env": ["A=1"]}]);
        run(&hook.to_string()).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.starts_with("{\"id\":\"x\"}A=1\n"), "{text}");
        assert!(!text.contains("CARGO"), "{text}");
    }

    #[test]
    fn the_first_that_fails_is_the_last_that_runs() {
        let error = run(
            r#"[{"path":"/bin/true"},{"path":"/bin/sh","args":["s","-c","echo no >&2; exit 3"]},{"path":"/bin/nothing"}]"#,
        );
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "error running poststart hook #1: /bin/sh: exit status 3: no");
        assert!(run(r#"[{"path":"/bin/nothing"}]"#).is_err());
        assert!(run(r#"[{"path":"bin/true"}]"#).is_err());
    }

    #[test]
    fn what_does_not_end_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid").display().to_string();
        let script = format!("sleep 100 & echo $! > {file}; wait");
        let hook =
            serde_json::json!([{"path": "/bin/sh", "args": ["s", "-c", script], "timeout": 1}]);
        let error = run(&hook.to_string()).unwrap_err().to_string();
        assert!(error.contains("not done within its 1 s"), "{error}");
        let pid: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !matches!(crate::state::letter(pid), None | Some('Z' | 'X')) {
            assert!(Instant::now() < deadline);
        }
    }
}

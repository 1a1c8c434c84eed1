//! `SCMP_ACT_NOTIFY`: a process on the host, the agent, decides on calls; seccomp_unotify(2). It listens on a
//! socket, where it is handed a descriptor for each process that is filtered: runtime-spec, config-linux.md,
//! "The Container Process State".

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use oci_spec::runtime::{
    ContainerProcessState, ContainerState, LinuxSeccomp, LinuxSeccompAction as Action,
    LinuxSyscall, SECCOMP_FD_NAME, State,
};

use crate::error::{Error, Result};
use crate::sys;

/// Calls that this process itself makes between the filter and the word of the agent.
const OURS: [&str; 2] = ["sendmsg", "write"];

/// Where the agent is, and what it hears.
#[derive(Debug)]
pub struct Agent {
    path: PathBuf,
    metadata: Option<String>,
    container: State,
}

impl Agent {
    /// The agent of a profile that needs one.
    pub fn of(profile: &LinuxSeccomp, container: &State) -> Result<Option<Agent>> {
        let path = profile.listener_path().clone().filter(|path| !path.as_os_str().is_empty());
        let metadata = profile.listener_metadata().clone();
        if path.is_none() && metadata.is_some() {
            return Err(Error::new("linux.seccomp: listenerMetadata without a listenerPath"));
        }
        let entries = profile.syscalls().iter().flatten();
        let mut notified =
            entries.filter(|entry| entry.action() == Action::ScmpActNotify).peekable();
        if profile.default_action() == Action::ScmpActNotify {
            return Err(Error::new(
                "linux.seccomp: SCMP_ACT_NOTIFY cannot be used as default action",
            )
            .hint("the call by which the agent gets its descriptor would wait for the agent"));
        }
        if notified.peek().is_none() {
            return Ok(None);
        }
        if let Some(name) = notified.flat_map(LinuxSyscall::names).find(|n| OURS.contains(&&***n)) {
            return Err(Error::new(format!(
                "linux.seccomp: SCMP_ACT_NOTIFY cannot be used for the {name} syscall"
            ))
            .hint(
                "by it the agent gets its descriptor, and minibox says that the program begins",
            ));
        }
        let path = path.ok_or_else(|| {
            Error::new("linux.seccomp: SCMP_ACT_NOTIFY needs a listenerPath")
                .hint("the path of the socket on which the agent listens")
        })?;
        Ok(Some(Agent { path, metadata, container: container.clone() }))
    }

    /// Hands over `listener`, of process `pid` in the container of `init`.
    pub fn tell(&self, listener: &OwnedFd, pid: i32, init: i32) -> Result<()> {
        let mut container = self.container.clone();
        container.set_pid(Some(init));
        let is_first = pid == init;
        container.set_status(if is_first {
            ContainerState::Creating
        } else {
            ContainerState::Running
        });
        let mut state = ContainerProcessState::default();
        state.set_version(container.version().clone());
        state.set_fds(vec![String::from(SECCOMP_FD_NAME)]);
        state.set_pid(pid);
        state.set_metadata(self.metadata.clone());
        state.set_state(container);
        let words = serde_json::to_vec(&state)
            .map_err(|e| Error::new(format!("cannot write down the container's state: {e}")))?;
        let path = self.path.display();
        let failed = || format!("failed to connect with seccomp agent {path}");
        let socket = UnixStream::connect(&self.path)
            .map_err(|e| Error::new(format!("{}: {e}", failed())).hint("is the agent running?"))?;
        sys::send_with_fd(socket.as_raw_fd(), &words, listener.as_raw_fd())
            .map_err(|fault| Error::of_fault(failed(), fault))
    }
}

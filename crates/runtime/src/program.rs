//! The program and everything that it is given, decided; `process.rs` carries it out.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime::Process;

use crate::capabilities;
use crate::error::{Error, Result};
use crate::idmap;
use crate::label;
use crate::mounts::c_string;
use crate::process::ProcessPlan;
use crate::rlimits;
use crate::scheduling;
use crate::seccomp::SeccompPlan;
use crate::sys::{self, Argv};

/// Decides the program itself; used for PID 1 and for processes that join.
pub fn plan(
    process: &Process,
    seccomp: Option<SeccompPlan>,
    single_id: bool,
    stdio: [Option<OwnedFd>; 3],
    terminal: Option<(u16, u16)>,
    die_with_parent: bool,
) -> Result<ProcessPlan> {
    let args = process.args().as_deref().unwrap_or_default();
    let env = process.env().as_deref().unwrap_or_default();
    let Some(program) = args.first() else {
        return Err(Error::new("there is no command to run"));
    };
    if program.is_empty() {
        return Err(Error::new("the command is empty")
            .hint("give the name of a program in the root filesystem"));
    }
    let c_strings = |list: &[String], what: &str| -> Result<Vec<CString>> {
        list.iter().map(|text| c_string(text.as_str(), what)).collect()
    };
    let user = process.user();
    let groups = user.additional_gids().clone().unwrap_or_default();
    if single_id && groups.iter().any(|group| *group != user.gid()) {
        return Err(Error::new(
            "supplementary groups need more than the one id this container has",
        )
        .hint(idmap::MORE_IDS));
    }
    Ok(ProcessPlan {
        candidates: candidates(program, env, process.cwd())?,
        argv: Argv::new(c_strings(args, "an argument")?),
        envp: Argv::new(c_strings(env, "an environment variable")?),
        cwd: c_string(process.cwd().as_os_str().as_bytes(), "the working directory")?,
        uid: user.uid(),
        gid: user.gid(),
        groups: (!single_id).then_some(groups),
        oom_score_adj: process
            .oom_score_adj()
            .map(|score| c_string(score.to_string(), "process.oomScoreAdj"))
            .transpose()?,
        labels: label::plan(
            process.apparmor_profile().as_deref(),
            process.selinux_label().as_deref(),
        )?,
        init: None,
        habits: scheduling::plan(process, None)?,
        affinity: scheduling::affinity(process)?,
        takes_every_processor: false,
        bare_newlines: false,
        keep_keyring: false,
        gate: None,
        umask: user.umask().unwrap_or(0o022),
        capabilities: capabilities::plan(process.capabilities().as_ref())?,
        rlimits: rlimits::plan(process.rlimits().as_deref().unwrap_or_default())?,
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        seccomp,
        terminal: terminal.map(|given| console_size(process, given)).transpose()?,
        stdio: above_stdio(stdio)?,
        first_closed: 3,
        die_with_parent,
    })
}

/// Rows and columns of the terminal: those of config.json, else the `given` ones.
fn console_size(process: &Process, given: (u16, u16)) -> Result<(u16, u16)> {
    let Some(size) = process.console_size().filter(|size| size.height() > 0 && size.width() > 0)
    else {
        return Ok(given);
    };
    let cells = |number: u64| {
        let wrong =
            |_| Error::new(format!("config.json: process.consoleSize: {number} is above 65535"));
        u16::try_from(number).map_err(wrong)
    };
    Ok((cells(size.height())?, cells(size.width())?))
}

/// The paths that execvp(3) would try for `program` with the container's own `PATH`.
fn candidates(program: &str, env: &[String], cwd: &Path) -> Result<Vec<CString>> {
    let what = "the command";
    if program.contains('/') {
        // A relative path starts at the working directory, which the child has entered by then.
        return Ok(vec![c_string(program, what)?]);
    }
    let path = env.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(crate::DEFAULT_PATH);
    path.split(':')
        .map(|dir| if dir.is_empty() { cwd } else { Path::new(dir) })
        .map(|dir| c_string(dir.join(program).into_os_string().into_encoded_bytes(), what))
        .collect()
}

/// A given stream that itself is 0, 1 or 2 would be overwritten before its turn: move it up.
fn above_stdio(stdio: [Option<OwnedFd>; 3]) -> Result<[Option<OwnedFd>; 3]> {
    let mut moved = [None, None, None];
    for (place, fd) in moved.iter_mut().zip(stdio) {
        if let Some(fd) = fd {
            let copy = nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))
                .map_err(|errno| Error::new("cannot duplicate a standard stream").errno(errno))?;
            *place = Some(sys::own(copy));
        }
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_path_is_the_containers() {
        let env = ["PATH=/one::/two".to_owned()];
        let found = candidates("sh", &env, Path::new("/work")).unwrap();
        assert_eq!(found, [c"/one/sh".to_owned(), c"/work/sh".to_owned(), c"/two/sh".to_owned()]);
        assert_eq!(candidates("./sh", &env, Path::new("/work")).unwrap(), [c"./sh".to_owned()]);
    }
}

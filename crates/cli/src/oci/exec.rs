//! `exec`: another program into a container.

use std::path::Path;

use minibox_runtime::container::{Container, Status};
use minibox_runtime::line::Listening;
use minibox_runtime::{Choices, Error, Result, join, spec};
use oci_spec::runtime as oci;

use super::args::ExecArgs;
use super::create::{absolute, check_console, check_preserved, console_size, has_bare_newlines};
use crate::supervise::{self, Streams};
use crate::terminal;

/// `minibox-oci exec`.
pub(super) fn exec(root: &Path, args: &ExecArgs) -> Result<u8> {
    check_preserved(args.preserve_fds)?;
    let hand_over = absolute(&args.hand_over)?;
    let container = Container::find(root, &args.id)?;
    match container.status() {
        Status::Stopped | Status::Creating => {
            return Err(Error::new("cannot exec in a stopped container: container not running"));
        }
        Status::Paused if !args.ignore_paused => {
            return Err(Error::new("cannot exec in a paused container")
                .hint("`resume` it first, or give --ignore-paused"));
        }
        _ => {}
    }
    let process = process(&container, args)?;
    let has_terminal = process.terminal().unwrap_or(false);
    check_console(has_terminal, hand_over.console_socket.is_some(), args.detach)?;
    let own_size = if args.detach { None } else { terminal::size() };
    let size = has_terminal.then(|| console_size(&process).or(own_size).unwrap_or((0, 0)));
    let bare_newlines = has_bare_newlines(args.detach);
    let choices = Choices { preserve_fds: args.preserve_fds, bare_newlines, ..Choices::default() };
    let plan = container.join(process, &args.cgroup, size, choices)?;
    let signals = if args.detach { None } else { Some(supervise::catch_signals(true)?) };
    let fail_at = crate::trial::fail_at()?;
    let running = join::start(&plan, Listening::Quiet, fail_at, &mut |_| Ok(()))?;
    drop(plan);
    if let Err(error) = hand_over.give(&running) {
        crate::signals::kill(&running.pidfd, None);
        return Err(error);
    }
    match signals {
        Some(signals) => {
            let ended = supervise::stay(&running, Streams::default(), &signals, true, None)?;
            Ok(ended.code as u8)
        }
        None => Ok(0),
    }
}

/// The process that is wanted: from a file, or the container's own with what the options change.
fn process(container: &Container, args: &ExecArgs) -> Result<oci::Process> {
    let mut process = match &args.process {
        Some(path) => {
            let text = std::fs::read(path).map_err(|e| Error::of_io("read", path, &e))?;
            spec::read_process(&text).map_err(|error| {
                Error::new(format!("{} is not a valid process: {error}", path.display()))
            })?
        }
        None => from_options(container, args)?,
    };
    if args.tty {
        process.set_terminal(Some(true));
    }
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::new("there is no command to run"));
    }
    Ok(process)
}

fn from_options(container: &Container, args: &ExecArgs) -> Result<oci::Process> {
    let own = || Error::new("its config.json has no process");
    let mut process = container.spec.process().clone().ok_or_else(own)?;
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(false));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let env = process.env().iter().flatten().chain(&args.env).cloned().collect();
    process.set_env(Some(env));
    if args.apparmor.is_some() {
        process.set_apparmor_profile(args.apparmor.clone());
    }
    if args.process_label.is_some() {
        process.set_selinux_label(args.process_label.clone());
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(user) = &args.user {
        let id = |text: &str| {
            // parse() takes a sign too.
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            let id = text.parse().ok().filter(|id| is_number && *id != u32::MAX);
            id.ok_or_else(|| crate::wishes::bad("--user", user, "UID or UID:GID, as numbers"))
        };
        let (uid, gid) = user.split_once(':').map_or((user.as_str(), None), |(u, g)| (u, Some(g)));
        process.user_mut().set_uid(id(uid)?);
        if let Some(gid) = gid {
            process.user_mut().set_gid(id(gid)?);
        }
    }
    let groups = process.user().additional_gids().iter().flatten().chain(&args.additional_gids);
    let groups = groups.copied().collect();
    process.user_mut().set_additional_gids(Some(groups));
    if !args.cap.is_empty() {
        let mut asked = Vec::new();
        for name in &args.cap {
            // An unknown one is told so.
            minibox_runtime::capabilities::number(name)?;
            let upper = name.to_ascii_uppercase();
            asked.extend(upper.trim_start_matches("CAP_").parse::<oci::Capability>());
        }
        let mut sets = process.capabilities().clone().unwrap_or_default();
        let with = |set: &Option<oci::Capabilities>| {
            Some(set.iter().flatten().chain(&asked).copied().collect())
        };
        let (bounding, effective) = (with(sets.bounding()), with(sets.effective()));
        let permitted = with(sets.permitted());
        // Ambient ones must be inheritable too, and those are config.json's to name.
        if sets.inheritable().as_ref().is_some_and(|set| !set.is_empty()) {
            let ambient = with(sets.ambient());
            sets.set_ambient(ambient);
        }
        sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
        process.set_capabilities(Some(sets));
    }
    Ok(process)
}

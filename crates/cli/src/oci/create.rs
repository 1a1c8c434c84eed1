//! `create` and `run`: from a bundle to a container, and who is handed what of it.

use std::fs;
use std::io::IsTerminal;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use minibox_runtime::container::{self, Cgroups, Container, Creation};
use minibox_runtime::{Choices, Error, Result, RootChoices, Running, spec, sys};
use nix::fcntl::{FcntlArg, fcntl};
use oci_spec::runtime as oci;

use super::args::{CreateArgs, HandOver, RunArgs};
use crate::supervise::{self, Streams};
use crate::terminal;

/// `minibox-oci create`.
pub(super) fn create(root: &Path, args: &CreateArgs, cgroups: Cgroups) -> Result<u8> {
    check_preserved(args.preserve_fds)?;
    make(root, args, cgroups, true).map(|_| 0)
}

/// `minibox-oci run`.
pub(super) fn run(root: &Path, args: &RunArgs, cgroups: Cgroups) -> Result<u8> {
    let id = &args.create.id;
    check_preserved(args.create.preserve_fds)?;
    // Before there is anybody they could be meant for, so that none is lost.
    let signals = if args.detach { None } else { Some(supervise::catch_signals(true)?) };
    let running = make(root, &args.create, cgroups, args.detach)?;
    let ended = container::start(root, id).and_then(|()| match &signals {
        Some(signals) => {
            supervise::stay(&running, Streams::default(), signals, true, None).map(Some)
        }
        None => Ok(None),
    });
    match ended {
        Ok(None) => Ok(0),
        Ok(Some(ended)) => {
            if !args.keep {
                container::delete(root, id, true)?;
            }
            Ok(ended.code as u8)
        }
        Err(error) => {
            // The first error is the one to tell.
            let _ = container::delete(root, id, true);
            Err(error)
        }
    }
}

/// Are there hooks that `start` runs inside? One that cannot be looked at is told so by `start`.
pub(super) fn has_start_hooks(root: &Path, id: &str) -> bool {
    let container = Container::find(root, id).ok();
    let hooks = container.as_ref().and_then(|container| container.spec.hooks().as_ref());
    hooks.is_some_and(|hooks| hooks.start_container().as_ref().is_some_and(|h| !h.is_empty()))
}

fn make(root: &Path, args: &CreateArgs, cgroups: Cgroups, is_left: bool) -> Result<Running> {
    let hand_over = absolute(&args.hand_over)?;
    let bundle = fs::canonicalize(&args.bundle)
        .map_err(|error| Error::of_io("find the bundle", &args.bundle, &error))?;
    // Relative paths in config.json begin there.
    std::env::set_current_dir(&bundle).map_err(|e| Error::of_io("enter", &bundle, &e))?;
    let spec = spec::load(&bundle)?;
    let process = spec.process().as_ref();
    let has_terminal = process.and_then(oci::Process::terminal).unwrap_or(false);
    check_console(has_terminal, hand_over.console_socket.is_some(), is_left)?;
    let own_size = if is_left { None } else { terminal::size() };
    let choices = Choices {
        console_size: process.and_then(console_size).or(own_size),
        preserve_fds: args.preserve_fds,
        bare_newlines: has_bare_newlines(is_left),
        root: RootChoices { no_pivot: args.no_pivot, ..RootChoices::default() },
        fail_at: crate::trial::fail_at()?,
        ..Choices::default()
    };
    let creation =
        Creation { bundle: &bundle, spec, choices, cgroups, keep_keyring: args.no_new_keyring };
    container::create(root, &args.id, creation, &mut |running| hand_over.give(running))
}

/// A caller who sees no terminal gets lines as the program wrote them, as runc has it; a terminal, and whoever is
/// handed one, what terminals get.
pub(super) fn has_bare_newlines(is_left: bool) -> bool {
    !is_left && !std::io::stdout().is_terminal()
}

/// Rows and columns that are asked for.
pub(super) fn console_size(process: &oci::Process) -> Option<(u16, u16)> {
    process.console_size().map(|size| (size.height() as u16, size.width() as u16))
}

/// A terminal needs somebody who has its other side: this process where it stays, otherwise whoever listens
/// at the socket.
pub(super) fn check_console(has_terminal: bool, has_socket: bool, is_left: bool) -> Result<()> {
    if has_terminal && is_left && !has_socket {
        return Err(Error::new(
            "cannot allocate tty if minibox-oci will detach without setting console socket",
        ));
    }
    if has_socket && !(has_terminal && is_left) {
        return Err(Error::new(
            "cannot use console socket if minibox-oci will not detach or allocate tty",
        ));
    }
    Ok(())
}

/// What the caller says he hands on must be there, before this process opens anything: that would take its place.
pub(super) fn check_preserved(count: u32) -> Result<()> {
    let is_open = |fd: &i32| fcntl(sys::borrow(*fd), FcntlArg::F_GETFD).is_ok();
    match (3..3 + count as i32).find(|fd| !is_open(fd)) {
        Some(fd) => Err(Error::new(format!("--preserve-fds {count}: descriptor {fd} is not open"))),
        None => Ok(()),
    }
}

/// Relative paths are the caller's, and not of the bundle.
pub(super) fn absolute(wanted: &HandOver) -> Result<HandOver> {
    let absolute = |path: &Option<PathBuf>| -> Result<Option<PathBuf>> {
        let find = |path: &PathBuf| {
            std::path::absolute(path).map_err(|error| Error::of_io("find", path, &error))
        };
        path.as_ref().map(find).transpose()
    };
    Ok(HandOver {
        console_socket: absolute(&wanted.console_socket)?,
        pidfd_socket: absolute(&wanted.pidfd_socket)?,
        pid_file: absolute(&wanted.pid_file)?,
    })
}

impl HandOver {
    /// Gives everybody what he waits for.
    pub(super) fn give(&self, running: &Running) -> Result<()> {
        if let (Some(socket), Some(console)) = (&self.console_socket, &running.console) {
            send(socket, b"/dev/ptmx", sys::borrow(console.as_raw_fd()))?;
        }
        if let Some(socket) = &self.pidfd_socket {
            send(socket, b"pidfd", sys::borrow(running.pidfd.as_raw_fd()))?;
        }
        if let Some(file) = &self.pid_file {
            write_pid(file, running.pid)?;
        }
        Ok(())
    }
}

fn send(socket: &Path, name: &[u8], fd: BorrowedFd<'_>) -> Result<()> {
    let stream = UnixStream::connect(socket).map_err(|e| Error::of_io("connect to", socket, &e))?;
    sys::send_with_fd(stream.as_raw_fd(), name, fd.as_raw_fd())
        .map_err(|fault| Error::of_fault(format!("cannot send to {}", socket.display()), fault))
}

/// Whoever sees the file sees the whole number.
fn write_pid(file: &Path, pid: i32) -> Result<()> {
    let failed = |error: std::io::Error| Error::of_io("write", file, &error);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(format!(".{name}.{}", std::process::id()));
    fs::write(&beside, pid.to_string()).map_err(failed)?;
    fs::rename(&beside, file).map_err(failed)
}

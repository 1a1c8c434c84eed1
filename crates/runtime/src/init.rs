//! CHILD: PID 1, top to bottom, from clone3(2) to execve(2).
//!
//! Everything here is a thin call on data that the parent has prepared: no allocation, no lock, no
//! panic, no way out but execve and _exit. A test build aborts at the first allocation.
#![deny(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, RawFd};

use libc::AT_FDCWD;
use nix::errno::Errno;

use crate::idmap::IdMap;
use crate::line::{Line, Told};
use crate::mounts::{MountPlan, mask_path, readonly_path};
use crate::plan::Plan;
use crate::process::set_groups;
use crate::root::{RootMount, RootPlan};
use crate::step::Step;
use crate::sys::{self, Fault, MountChange, Sys};
use crate::{cgroup, devices};

/// Neither tells the host of a mount on it, nor hears of the host's.
const PRIVATE: MountChange = MountChange { set: 0, clear: 0, propagation: libc::MS_PRIVATE };

/// Becomes the container's first process; `taken` has one slot per mount of the plan.
pub fn run(plan: &Plan, line: Line, taken: &mut [RawFd]) -> ! {
    let Err(Told) = be_born(plan, line, taken);
    sys::exit_now(125)
}

/// The middle process's part, where there is something to join: see [`crate::middle`].
pub fn join(plan: &Plan, line: Line) -> Result<(), Told> {
    plan.process.write_about_itself(line)?;
    for (index, join) in plan.joins.iter().enumerate() {
        line.at(Step::Join, index, || {
            // Processes in there may see this one from now on; they must not look into it.
            sys::set_dumpable(false)?;
            sys::setns(join.namespace.as_raw_fd(), join.flag)
        })?;
    }
    Ok(())
}

fn be_born(plan: &Plan, line: Line, taken: &mut [RawFd]) -> Result<Infallible, Told> {
    // Ids first: until the parent has written the maps, this process is nobody and may do nothing.
    line.at(Step::Release, 0, || release(plan, line))?;
    plan.process.detach_from_caller(line, &plan.descriptors)?;
    if plan.joins.is_empty() {
        plan.process.write_about_itself(line)?;
    }

    // While cgroupfs can still be reached by the host's paths; the namespace after the move.
    line.at(Step::EnterCgroup, 0, || {
        cgroup::enter(&plan.cgroup_doors)?;
        plan.process.take_processors();
        if plan.new_cgroup_namespace { sys::unshare(libc::CLONE_NEWCGROUP) } else { Ok(()) }
    })?;

    if let Some(offsets) = &plan.new_time_namespace {
        line.at(Step::TimeNamespace, 0, || enter_time_namespace(offsets))?;
    }
    if plan.id_map.as_ref().is_some_and(IdMap::has_root) {
        line.at(Step::BecomeRoot, 0, || become_root(plan.keep_groups))?;
    }

    // Mounts in three movements: take while the host is in sight, swap the root, attach inside.
    line.at(Step::PrivateMounts, 0, tell_nobody)?;
    if plan.has_hooks {
        line.at(Step::Hooks, 0, || {
            if line.after_hooks() { Ok(()) } else { Err(Fault::new("recv", Errno::EPIPE)) }
        })?;
    }
    let root = line.at(Step::TakeRoot, 0, || take_root(&plan.root))?;
    for (index, mount) in plan.mounts.iter().enumerate() {
        taken[index] = line.at(Step::TakeMounts, index, || mount.take())?;
    }
    line.at(Step::PivotRoot, 0, || pivot(root, &plan.root))?;
    for (index, mount) in plan.mounts.iter().enumerate() {
        line.at(Step::AttachMounts, index, || {
            mount.attach(taken[index], |inside| line.have_mapped(index, inside))
        })?;
    }
    if let Some(place) = &plan.cwd_place {
        // Where this is not possible, entering it will say why.
        line.at(Step::AttachMounts, plan.mounts.len(), || {
            let _ = place.make();
            Ok(())
        })?;
    }
    if plan.device_links {
        line.at(Step::Devices, 0, devices::make_links)?;
    }
    if !plan.devices.is_empty() {
        line.at(Step::Devices, 1, || devices::make_nodes(&plan.devices))?;
    }

    // What belongs to the other namespaces; parameters while /proc/sys can still be written.
    if let Some(name) = &plan.hostname {
        line.at(Step::Hostname, 0, || sys::sethostname(name.as_bytes()))?;
    }
    if let Some(name) = &plan.domainname {
        line.at(Step::Hostname, 1, || sys::setdomainname(name.as_bytes()))?;
    }
    if plan.loopback {
        line.at(Step::Loopback, 0, sys::loopback_up)?;
    }
    for (index, (path, value)) in plan.sysctls.iter().enumerate() {
        line.at(Step::Sysctls, index, || set_sysctl(path, value))?;
    }
    let terminal = plan.process.open_console(line)?;
    if let (Some(place), Some(terminal)) = (&plan.console_place, terminal) {
        line.at(Step::Console, 1, || place.attach(sys::open_tree_clone(terminal, c"", false)?))?;
    }

    // Now that nothing needs writing any more.
    for (index, path) in plan.readonly_paths.iter().enumerate() {
        line.at(Step::HidePaths, index, || readonly_path(path))?;
    }
    let mut empty = None;
    for (index, path) in plan.masked_paths.iter().enumerate() {
        let number = plan.readonly_paths.len() + index;
        line.at(Step::HidePaths, number, || mask_path(path, &mut empty))?;
    }
    if let Some(empty) = empty {
        sys::close(empty);
    }
    for (index, (path, change)) in plan.at_last.iter().enumerate() {
        line.at(Step::ReadonlyRoot, index, || sys::mount_setattr(AT_FDCWD, path, false, *change))?;
    }
    Err(plan.process.become_program(line, terminal))
}

fn release(plan: &Plan, line: Line) -> Sys<()> {
    if plan.process.die_with_parent {
        sys::set_pdeathsig(libc::SIGKILL)?;
    }
    if plan.waits_for_parent() && !line.wait() {
        // The parent could not map the ids and says why itself; or it is gone.
        return Err(Fault::new("recv", Errno::EPIPE));
    }
    Ok(())
}

fn enter_time_namespace(offsets: &[u8]) -> Sys<()> {
    sys::unshare(sys::CLONE_NEWTIME)?;
    if !offsets.is_empty() {
        sys::write_file(c"/proc/self/timens_offsets", offsets)?;
    }
    // unshare(2) makes it for children alone.
    let made = sys::openat2(AT_FDCWD, c"/proc/self/ns/time_for_children", libc::O_RDONLY, 0, 0)?;
    let entered = sys::setns(made, sys::CLONE_NEWTIME);
    sys::close(made);
    entered
}

/// Id 0 of the user namespace; the caller's groups mean nothing inside.
pub fn become_root(keep_groups: bool) -> Sys<()> {
    sys::setgid(0)?;
    if !keep_groups {
        set_groups(&[], 0)?;
    }
    sys::setuid(0)
}

/// No mount made from here on is seen outside; what the host mounts still comes here, to whatever is not
/// made private.
pub fn tell_nobody() -> Sys<()> {
    let slave = MountChange { propagation: libc::MS_SLAVE, ..MountChange::default() };
    sys::mount_setattr(AT_FDCWD, c"/", true, slave)
}

/// The root as a detached mount.
pub fn take_root(root: &RootPlan) -> Sys<RawFd> {
    match &root.mount {
        RootMount::Folder { recursive } => {
            let mount = match root.mapped.first() {
                Some(mapped) => mapped.mount.as_raw_fd(),
                None => sys::open_tree_clone(AT_FDCWD, &root.lower, *recursive)?,
            };
            // pivot_root(2) wants no shared mount; it may become one later.
            let heard =
                if root.propagation == libc::MS_SLAVE { libc::MS_SLAVE } else { libc::MS_PRIVATE };
            let change = MountChange { set: root.attributes, clear: 0, propagation: heard };
            sys::mount_setattr(mount, c"", *recursive, change)?;
            Ok(mount)
        }
        RootMount::Overlay { options, lower_is_cwd } => {
            if *lower_is_cwd {
                sys::chdir(&root.lower)?;
            }
            // Before Linux 6.15 an overlay takes no layer that is attached nowhere. The host's peers of one,
            // which the parent has opened, must not get what lies on it.
            for layer in &root.mapped {
                sys::mount_setattr(layer.mount.as_raw_fd(), c"", layer.recursive, PRIVATE)?;
                attach(layer.mount.as_raw_fd(), root)?;
            }
            let mount = MountPlan::take_fresh(c"overlay", options, None, root.attributes)?;
            // One on top of the other, so back in reverse: the old root must go with nothing on it.
            for layer in root.mapped.iter().rev() {
                sys::fchdir(layer.mount.as_raw_fd())?;
                sys::detach(c".")?;
            }
            Ok(mount)
        }
    }
}

/// pivot_root(2) wants the new root attached somewhere.
fn attach(mount: RawFd, root: &RootPlan) -> Sys<()> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let place = sys::openat2(AT_FDCWD, &root.attach_at, flags, 0, 0)?;
    sys::move_mount(mount, place)?;
    sys::close(place);
    Ok(())
}

/// From here on `/` is the container's. The old root lies over it for one call, then it is gone; or it stays below,
/// where it is one that cannot be swapped.
pub fn pivot(mount: RawFd, root: &RootPlan) -> Sys<()> {
    attach(mount, root)?;
    sys::fchdir(mount)?;
    sys::close(mount);
    if let Some(telling) = &root.laid_over {
        // Paths still begin at the old one.
        for path in telling {
            take_away(path)?;
        }
        sys::chroot_here()?;
    } else {
        sys::pivot_root_here()?;
        sys::detach(c".")?;
    }
    sys::chdir(c"/")
}

/// A mount of the host's; in a user namespace it cannot go, and is covered.
fn take_away(path: &CStr) -> Sys<()> {
    match sys::detach(path) {
        Err(fault) if matches!(fault.errno, Errno::EINVAL | Errno::EPERM) => {
            let place = sys::openat2(AT_FDCWD, path, libc::O_PATH, 0, libc::RESOLVE_NO_SYMLINKS)?;
            let cover = MountPlan::take_fresh(c"tmpfs", &[], None, libc::MOUNT_ATTR_RDONLY)?;
            sys::move_mount(cover, place)?;
            sys::close(cover);
            sys::close(place);
            Ok(())
        }
        done => done,
    }
}

/// Writes below the container's own procfs and nowhere else (CVE-2025-52881).
fn set_sysctl(path: &CStr, value: &CStr) -> Sys<()> {
    let proc = sys::openat2(
        AT_FDCWD,
        c"/proc",
        libc::O_PATH | libc::O_DIRECTORY,
        0,
        libc::RESOLVE_NO_SYMLINKS,
    )?;
    let inside = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_XDEV;
    let file = sys::openat2(proc, path, libc::O_WRONLY, 0, inside)?;
    sys::close(proc);
    sys::write_and_close(file, value.to_bytes())
}

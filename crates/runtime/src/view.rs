//! A container's files as it sees them, for a process of our own: `cp`, `diff`, `export`, and what fills a
//! volume.
//!
//! The process is a jail. Its root is the container's, every descriptor but the few it is given is closed,
//! and it stays in our pid namespace, where the container cannot see it: whatever links and races wait in
//! the files, none leads out. It has one thread, so that malloc is usable in it, and never becomes the
//! container's program.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use libc::AT_FDCWD;
use nix::errno::Errno;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::error::{Error, Result};
use crate::idmap::{self, IdMap};
use crate::init::{become_root, pivot, take_root, tell_nobody};
use crate::mounts::{self, MountPlan};
use crate::namespaces;
use crate::root::{self, Layer, RootChoices, RootPlan};
use crate::spec;
use crate::step::Step;
use crate::sys::{self, Death, Fault, Forked, MountChange, Sys};

/// The files of one container, or of one folder, and the ids that they have there.
#[derive(Debug)]
pub struct View {
    door: Door,
    id_map: Option<IdMap>,
}

/// How one gets in.
#[derive(Debug)]
enum Door {
    /// Through its PID 1, whose mounts are there.
    Living { pidfd: OwnedFd, namespaces: i32 },
    /// The mounts are made anew, in a mount namespace that ends with the process.
    Planned { root: RootPlan, mounts: Vec<MountPlan>, readonly: bool },
}

impl View {
    /// What the running container sees whose PID 1 is `pid`, held by `pidfd`.
    pub fn of_running(pid: i32, pidfd: OwnedFd, id_map: Option<IdMap>) -> Result<View> {
        let namespaces = namespaces::foreign(pid)? & (libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
        let id_map = id_map.filter(|_| namespaces & libc::CLONE_NEWUSER != 0);
        Ok(View { door: Door::Living { pidfd, namespaces }, id_map })
    }

    /// What the container of `spec` would see if it ran: its root and its volumes. Nobody may start it
    /// meanwhile, since two overlays must not share a layer.
    pub fn of_stopped(spec: &Spec, layer: Option<Layer>, id_map: Option<IdMap>) -> Result<View> {
        let root = spec.root().as_ref().ok_or_else(|| Error::new("its config.json has no root"))?;
        let choices = RootChoices { layer, ..RootChoices::default() };
        // Its layer is read as it was written, even where mapped mounts make a user namespace of this process
        // needless.
        let in_userns = spec::has_namespace(spec, LinuxNamespaceType::User)
            || !idmap::in_first_user_namespace();
        let planned = root::plan(root.path(), &choices, in_userns)?;
        let mut mounts = Vec::new();
        for mount in spec.mounts().iter().flatten() {
            // Other filesystems begin empty, and the kernel's own are not files to be kept.
            let kept = matches!(mount.typ().as_deref(), Some("bind" | "overlay"));
            if kept {
                mounts.push(mounts::plan(mount, None, false)?);
            }
        }
        mounts.retain(|mount| !mount.place.no_links);
        let readonly = root.readonly() == Some(true);
        Ok(View { door: Door::Planned { root: planned, mounts, readonly }, id_map })
    }

    /// A folder of the host, as if it were a root.
    pub fn of_folder(path: &Path, id_map: Option<IdMap>) -> Result<View> {
        let root = root::plan(path, &RootChoices::default(), id_map.is_some())?;
        Ok(View { door: Door::Planned { root, mounts: Vec::new(), readonly: false }, id_map })
    }

    /// PARENT: starts `work` inside. It is given /proc/self/fd of the process, for [`reopen_in`], and may use
    /// the descriptors in `keep`.
    ///
    /// [`reopen_in`]: crate::user::reopen_in
    pub fn start(
        &self,
        keep: &[RawFd],
        work: impl FnOnce(&File) -> Result<Vec<u8>>,
    ) -> Result<Worker> {
        let (ours, theirs) = UnixStream::pair().map_err(|e| Error::new(e.to_string()))?;
        let flags = match (&self.door, &self.id_map) {
            (Door::Living { .. }, _) => 0,
            (Door::Planned { .. }, None) => libc::CLONE_NEWNS,
            (Door::Planned { .. }, Some(_)) => libc::CLONE_NEWNS | libc::CLONE_NEWUSER,
        };
        // Asked here: whoever has entered a user namespace takes himself for root.
        let keep_groups = self.id_map.as_ref().is_some_and(IdMap::denies_groups);
        let forked = sys::clone3(flags as u64, None).map_err(|fault| {
            Error::of_fault("cannot make a process that sees the files", fault).step(Step::Clone)
        })?;
        let Forked::Parent { pid, pidfd } = forked else {
            drop(ours);
            let done =
                self.enter(&theirs, keep, keep_groups).and_then(|descriptors| work(&descriptors));
            let (code, text) = match done {
                Ok(answer) => (0, answer),
                Err(error) if error.errno == Some(Errno::EPIPE) => (HUNG_UP, Vec::new()),
                Err(error) => (FAILED, error.to_string().into_bytes()),
            };
            let _ = (&theirs).write_all(&text);
            sys::exit_now(code)
        };
        drop(theirs);
        let worker = Worker { pidfd, answer: ours };
        if let (Door::Planned { .. }, Some(map)) = (&self.door, &self.id_map) {
            map.write(pid)?;
        }
        let _ = (&worker.answer).write_all(b".");
        Ok(worker)
    }

    /// CHILD: /proc/self/fd, opened before the container's files take the host's place.
    fn enter(&self, gate: &UnixStream, keep: &[RawFd], keep_groups: bool) -> Result<File> {
        let failed = |fault: Fault| Error::of_fault("cannot enter the container's files", fault);
        (&mut &*gate).read_exact(&mut [0]).map_err(|_| Error::new("").errno(Errno::EPIPE))?;
        let own = Path::new("/proc/self/fd");
        let descriptors = File::open(own).map_err(|error| Error::of_io("open", own, &error))?;
        let mut kept = keep.to_vec();
        kept.extend([gate.as_raw_fd(), descriptors.as_raw_fd()]);
        match &self.door {
            Door::Living { pidfd, .. } => kept.push(pidfd.as_raw_fd()),
            Door::Planned { mounts, .. } => {
                kept.extend(mounts.iter().filter_map(MountPlan::descriptor));
            }
        }
        sys::close_all_but(3, &kept.into_iter()).map_err(failed)?;
        sys::set_dumpable(false).map_err(failed)?;
        if let Door::Living { pidfd, namespaces } = &self.door {
            sys::setns(pidfd.as_raw_fd(), *namespaces).map_err(failed)?;
            sys::close(pidfd.as_raw_fd());
        }
        if self.id_map.as_ref().is_some_and(IdMap::has_root) {
            become_root(keep_groups).map_err(failed)?;
        }
        // After the ids have changed, which makes the kernel forget it.
        sys::set_pdeathsig(libc::SIGKILL).map_err(failed)?;
        if let Door::Planned { root, mounts, readonly } = &self.door {
            mount(root, mounts, *readonly)?;
        }
        Ok(descriptors)
    }
}

/// CHILD: the container's mounts, in the order of init.rs.
fn mount(root: &RootPlan, mounts: &[MountPlan], readonly: bool) -> Result<()> {
    let of_root = |done: Sys<RawFd>| {
        let what = format!("cannot mount the root filesystem {}", root.path.display());
        done.map_err(|fault| Error::of_fault(what, fault))
    };
    let top = of_root(tell_nobody().and_then(|()| take_root(root)))?;
    let of_mount = |mount: &MountPlan, fault| {
        let place = mount.place.path.to_string_lossy().into_owned();
        Error::of_fault(format!("cannot mount the volume on {place}"), fault)
    };
    let mut taken = Vec::with_capacity(mounts.len());
    for mount in mounts {
        taken.push(mount.take().map_err(|fault| of_mount(mount, fault))?);
    }
    of_root(pivot(top, root).map(|()| top))?;
    for (mount, taken) in mounts.iter().zip(taken) {
        mount.attach(taken, |_| Ok(())).map_err(|fault| of_mount(mount, fault))?;
    }
    if readonly {
        let change = MountChange { set: libc::MOUNT_ATTR_RDONLY, ..MountChange::default() };
        of_root(sys::mount_setattr(AT_FDCWD, c"/", false, change).map(|()| top))?;
    }
    Ok(())
}

/// Exit status of a worker that says in words what failed.
const FAILED: i32 = 1;
/// Exit status of a worker whose stream was cut by us.
const HUNG_UP: i32 = 2;

/// A process at work in a view; killed where nobody waits for it.
#[derive(Debug)]
pub struct Worker {
    pidfd: OwnedFd,
    answer: UnixStream,
}

impl Worker {
    /// Waits for its end: what it answered, or `None` where it found its stream cut off by the other side,
    /// which then knows better what failed.
    pub fn finish(self) -> Result<Option<Vec<u8>>> {
        let mut answer = Vec::new();
        let heard = (&self.answer).read_to_end(&mut answer);
        let death = sys::wait_pidfd(self.pidfd.as_raw_fd(), true);
        match (heard, death) {
            (Ok(_), Ok(Some(Death::Exited(0)))) => Ok(Some(answer)),
            (Ok(_), Ok(Some(Death::Exited(FAILED)))) => {
                Err(Error::new(String::from_utf8_lossy(&answer)))
            }
            (Ok(_), Ok(Some(Death::Exited(HUNG_UP)))) => Ok(None),
            _ => Err(Error::new("the process that saw the container's files was killed")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has been waited for is gone, and its pidfd reaches nobody.
        if sys::pidfd_send_signal(self.pidfd.as_raw_fd(), libc::SIGKILL).is_ok() {
            let _ = sys::wait_pidfd(self.pidfd.as_raw_fd(), true);
        }
    }
}

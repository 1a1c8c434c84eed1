//! The files of containers: `cp`, `diff`, `export`, and what fills a volume.
//!
//! A worker inside the container's view ([`View`]) reads or writes its side, and this process, with the
//! caller's own rights, the host's; a tar archive goes from one to the other. Neither trusts the other's
//! files: see `pack.rs` and `unpack.rs`.

mod cp;
mod diff;
mod export;
mod pack;
mod paths;
mod unpack;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use minibox_runtime::idmap::{self, IdMap};
use minibox_runtime::state::Lock;
use minibox_runtime::view::{View, Worker};
use minibox_runtime::{Error, Layer, Result, spec};
use nix::errno::Errno;
use nix::libc;
use oci_spec::runtime as oci;

use crate::birth;
use crate::living;
use crate::progress::Progress;
use crate::store::{Container, Status, Store};

pub(crate) use cp::cp;
pub(crate) use diff::diff;
pub(crate) use export::export;

use pack::Packer;
use paths::{Asked, Side};
use unpack::{IN_VIEW, Owners, Target, unpack};

/// A container's view; while it lives nobody starts a container that does not run.
#[derive(Debug)]
struct Open {
    container: Container,
    view: View,
    _lock: Option<Lock>,
}

fn open(store: &Store, asked: &str) -> Result<Open> {
    loop {
        let container = living::find_started(store, asked)?;
        if let Some((pid, pidfd)) = container.hold()? {
            let id_map = container.record.id_map.clone();
            let view = View::of_running(pid, pidfd, id_map)?;
            return Ok(Open { container, view, _lock: None });
        }
        let folder = store.folder(&container.record.id);
        let lock = Lock::wait(&folder)?;
        // Somebody may have started or removed it before the lock was ours.
        let now = store.load(&container.record.id)?;
        let Some(container) = now.filter(|now| lock.is_some() && now.status() != Status::Running)
        else {
            continue;
        };
        let spec = spec::load(&folder)?;
        birth::make_layer(&container.record)?;
        let layer = container.record.layer.as_ref().filter(|_| !container.record.is_patchwork);
        let layer = layer.map(|folder| Layer::below(folder, false));
        let view = View::of_stopped(&spec, layer, container.record.ids_on_disk().cloned())?;
        return Ok(Open { container, view, _lock: lock });
    }
}

/// The folders of a root that was put together from several overlays (`patchwork.rs`).
fn parts_of_root(spec: &oci::Spec) -> Vec<Vec<u8>> {
    let mounts = spec.mounts().iter().flatten();
    let parts = mounts.filter(|mount| mount.typ().as_deref() == Some("overlay"));
    parts.map(|part| part.destination().as_os_str().as_bytes().to_vec()).collect()
}

/// A pipe for an archive: its reading and its writing end.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|errno| Error::new("cannot make a pipe").errno(errno))
}

/// What came of both sides of a pipe. Who found it cut off knows less than who cut it off.
fn settle<T>(ours: Result<T>, worker: Worker, cut: &str) -> Result<(T, Vec<u8>)> {
    match (worker.finish(), ours) {
        (Err(theirs), _) => Err(theirs),
        (_, Err(ours)) => Err(ours),
        (Ok(None), Ok(_)) => Err(Error::new(cut)),
        (Ok(Some(answer)), Ok(ours)) => Ok((ours, answer)),
    }
}

/// Passes everything on, and closes where it came from.
fn relay(mut from: impl io::Read, to: &mut impl io::Write) -> Result<()> {
    let passed = io::copy(&mut from, to).and_then(|_| to.flush());
    passed.map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        Error::new("cannot pass the archive on").errno(errno)
    })
}

fn refuse_terminal(hint: &str) -> Error {
    Error::new("an archive is nothing for a terminal").hint(hint)
}

/// Fills the empty folder `volume` with what the root filesystem `rootfs` has at `place`, owners and modes
/// included; nothing where it has no folder there.
pub(crate) fn fill(
    volume: &Path,
    rootfs: &Path,
    place: &Path,
    id_map: Option<&IdMap>,
) -> Result<()> {
    // Whoever needs no user namespace keeps the owners as they are numbered inside.
    let id_map = id_map.filter(|_| idmap::needs_user_namespace());
    let asked = Asked::in_container(place.join(".").as_os_str());
    let metadata = fs::metadata(volume).map_err(|e| Error::of_io("look at", volume, &e))?;
    let (from, packed) = pipe()?;
    let packing = View::of_folder(rootfs, id_map.cloned())?;
    let packing = packing.start(&[packed.as_raw_fd()], |descriptors| {
        let mut packer = Packer::new(File::from(packed), descriptors.as_fd())
            .on_one_mount(Vec::new())
            .without((metadata.dev(), metadata.ino()));
        if let Ok(folder) = asked.open(&Side::Container, true) {
            packer.add(&folder, b".")?;
        }
        packer.finish().map(|()| Vec::new())
    })?;
    let (unpacked, to) = pipe()?;
    let unpacking = View::of_folder(volume, id_map.cloned())?;
    let unpacking = unpacking.start(&[unpacked.as_raw_fd()], |_| {
        let top = Asked::in_container("/".as_ref()).open(&Side::Container, false)?;
        // With a single id there is nobody else to own anything.
        let owners = match id_map {
            Some(map) if map.is_single() => Owners::Mine { tamed: false },
            _ => Owners::Kept(None),
        };
        unpack(File::from(unpacked), Target::Itself(top), owners, IN_VIEW)?;
        Ok(Vec::new())
    })?;
    let title = format!("filling a new volume with {}", place.display());
    let mut to = Progress::new(File::from(to), &title);
    let ours = relay(File::from(from), &mut to);
    drop(to);
    let cut = "the volume could not be filled";
    let (ours, _) = settle(ours, packing, cut)
        .map_or_else(|error| (Err(error), Vec::new()), |(ours, answer)| (Ok(ours), answer));
    settle(ours, unpacking, cut).map(drop)
}

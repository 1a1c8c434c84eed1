//! `minibox diff`: what a container has changed in its root, read from its overlay's upper folder.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use minibox_runtime::view::View;
use minibox_runtime::{Error, Result, spec, sys};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::libc::{S_IFCHR, S_IFDIR, S_IFMT};
use nix::sys::stat::{FileStat, Mode, fstatat};

use super::pack::names_in;
use super::parts_of_root;
use crate::args::DiffArgs;
use crate::living;
use crate::output;
use crate::store::Store;

/// `minibox diff`.
pub(crate) fn diff(store: &Store, args: &DiffArgs) -> Result<u8> {
    let container = living::find_started(store, &args.container)?;
    let record = &container.record;
    let Some(layer) = &record.layer else {
        return Err(Error::new(format!("{} has no layer of its own", record.name)).hint(
            "with --rw it writes into its root folder, where nobody tells what was there before",
        ));
    };
    if !layer.exists() {
        // It lay in memory, and the machine was restarted.
        return Ok(0);
    }
    let spec = spec::load(&store.folder(&record.id))?;
    let mounts = spec.mounts().iter().flatten();
    let mut differ = Differ {
        mounts: mounts.map(|mount| plain(mount.destination())).collect(),
        parts: parts_of_root(&spec),
        is_skeleton: false,
        lines: Vec::new(),
    };
    let look = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let lower = open(&record.rootfs, look, Mode::empty()).map_err(|errno| {
        Error::new(format!("cannot open {}", record.rootfs.display())).errno(errno)
    })?;
    differ.mounts.retain(|place| !differ.parts.contains(place));
    let view = View::of_folder(layer, record.ids_on_disk().cloned())?;
    let worker = view.start(&[lower.as_raw_fd()], |_| {
        // `root` is there where the root was put together.
        for (name, is_skeleton) in [("/upper", false), ("/root", true)] {
            differ.is_skeleton = is_skeleton;
            match open(name, look, Mode::empty()) {
                Ok(upper) => drop(differ.folder(&upper, Some(&lower), b"", false)?),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(Error::new("cannot open the layer").errno(errno)),
            }
        }
        differ.lines.sort_by(|a, b| a.1.cmp(&b.1));
        let lines =
            differ.lines.iter().map(|(kind, path)| [&[*kind, b' '], &path[..], b"\0"].concat());
        Ok(lines.collect::<Vec<_>>().concat())
    })?;
    let answer = worker.finish()?.unwrap_or_default();
    let lines = answer.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    let text: String =
        lines.map(|line| output::on_one_line(&String::from_utf8_lossy(line)) + "\n").collect();
    output::print(&text);
    Ok(0)
}

/// A place without `.` and `..`, as the bytes of its path.
fn plain(place: &Path) -> Vec<u8> {
    let mut path = PathBuf::from("/");
    for component in place.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            _ => {}
        }
    }
    path.as_os_str().as_bytes().to_vec()
}

struct Differ {
    /// Where something is mounted: places that minibox made, or that nothing in the container can change.
    mounts: BTreeSet<Vec<u8>>,
    /// Folders of the root that are overlays of their own.
    parts: Vec<Vec<u8>>,
    /// The folder that is compared holds no layer, but the places for the parts of the root, made in the image
    /// of what lies below, and what the container has made beside them.
    is_skeleton: bool,
    lines: Vec<(u8, Vec<u8>)>,
}

impl Differ {
    /// Compares a folder of the upper layer with what lies below it; `hidden` where it, or one above it, was
    /// made anew in the place of another. Has anything in it changed?
    fn folder(
        &mut self,
        upper: &OwnedFd,
        lower: Option<&OwnedFd>,
        at: &[u8],
        hidden: bool,
    ) -> Result<bool> {
        let failed = |errno: Errno| {
            Error::new(format!("cannot read {}", String::from_utf8_lossy(at))).errno(errno)
        };
        let before = self.lines.len();
        let names = names_in(upper.as_fd()).map_err(failed)?;
        if let Some(lower) = lower.filter(|_| hidden) {
            for name in names_in(lower.as_fd()).map_err(failed)? {
                if names.binary_search(&name).is_err() {
                    self.lines.push((b'D', join(at, &name)));
                }
            }
        }
        for name in &names {
            let path = join(at, name);
            let Ok(now) = look(upper, name) else { continue };
            let then = lower.and_then(|lower| look(lower, name).ok());
            if self.mounts.contains(&path) {
                continue;
            }
            match (now.st_mode & S_IFMT, &then) {
                (S_IFCHR, _) if now.st_rdev == 0 => {
                    if then.is_some() {
                        self.lines.push((b'D', path));
                    }
                }
                (S_IFDIR, _) => {
                    self.subfolder([Some(upper), lower], name, path, (&now, then), hidden)?;
                }
                (_, Some(_)) if self.is_skeleton => {}
                (_, then) => self.lines.push((if then.is_some() { b'C' } else { b'A' }, path)),
            }
        }
        Ok(self.lines.len() > before)
    }

    fn subfolder(
        &mut self,
        [upper, lower]: [Option<&OwnedFd>; 2],
        name: &CStr,
        path: Vec<u8>,
        (now, then): (&FileStat, Option<FileStat>),
        hidden: bool,
    ) -> Result<()> {
        let open_in = |folder: Option<&OwnedFd>| {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(folder?, name, flags, Mode::empty()).ok()
        };
        let Some(folder) = open_in(upper) else { return Ok(()) };
        let was_folder = then.is_some_and(|then| then.st_mode & S_IFMT == S_IFDIR);
        let below = open_in(lower.filter(|_| was_folder && !self.is_skeleton));
        let has_changed =
            self.folder(&folder, below.as_ref(), &path, hidden || is_opaque(&folder))?;
        let owner = |stat: &FileStat| (stat.st_mode, stat.st_uid, stat.st_gid);
        let is_made = self.is_skeleton || self.parts.contains(&path);
        // The times of a folder change with what is in it, places for mounts included.
        let line = match then {
            None if has_changed || !self.leads_to_a_mount(&path) => Some(b'A'),
            Some(then) if has_changed || !is_made && owner(&then) != owner(now) => Some(b'C'),
            _ => None,
        };
        self.lines.extend(line.map(|kind| (kind, path)));
        Ok(())
    }

    fn leads_to_a_mount(&self, path: &[u8]) -> bool {
        let below = [path, b"/"].concat();
        self.mounts.iter().any(|place| place.starts_with(&below))
    }
}

/// Does it hide what lies below it? The attribute is the kernel's, and no container can set it through an
/// overlay.
fn is_opaque(folder: &OwnedFd) -> bool {
    [c"trusted.overlay.opaque", c"user.overlay.opaque"]
        .iter()
        .any(|name| sys::fgetxattr(folder, name, &mut [0; 8]) == Some(b"y"))
}

fn join(at: &[u8], name: &CStr) -> Vec<u8> {
    [at, b"/", name.to_bytes()].concat()
}

fn look(folder: &OwnedFd, name: &CStr) -> nix::Result<FileStat> {
    fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

//! The root filesystem: which mount becomes the root, and how. What is decided here `init.rs` carries out.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};
use crate::mountinfo::{self, Mounted};
use crate::mounts::{MappedMount, Mapping, c_string};
use crate::step::Step;

/// How a folder becomes a root.
#[derive(Debug, Default)]
pub struct RootChoices {
    /// Where changes to it go; `None` shows the folder itself.
    pub layer: Option<Layer>,
    /// MOUNT_ATTR_* of it.
    pub attributes: u64,
    /// It shows the ids that are written on its filesystem as the container's own. The caller is root of the
    /// host; without a user namespace there is nothing to do.
    pub maps_owners: bool,
    /// The root of the host cannot be swapped: [`RootPlan::laid_over`].
    pub no_pivot: bool,
}

/// The two folders of an overlay that are written to; they lie beside each other, in one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What the container has changed.
    pub upper: PathBuf,
    /// The kernel's workshop, empty.
    pub work: PathBuf,
    /// Nobody will read it after the container's end, so that the end need not wait for the disk.
    pub volatile: bool,
}

impl Layer {
    /// The layer whose two folders lie in `folder`.
    pub fn below(folder: &Path, volatile: bool) -> Layer {
        Layer { upper: folder.join("upper"), work: folder.join("work"), volatile }
    }
}

/// The root filesystem, decided.
#[derive(Debug)]
pub struct RootPlan {
    /// The folder on the host, absolute, without links.
    pub path: PathBuf,
    /// The folder, opened: what parents look names up in.
    pub folder: OwnedFd,
    /// The mount that becomes the root.
    pub mount: RootMount,
    /// MOUNT_ATTR_* of that mount.
    pub attributes: u64,
    /// MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE; `linux.rootfsPropagation`.
    pub propagation: u64,
    /// The folder once more, for the child.
    pub lower: CString,
    /// Where on the host it is attached for the moment of pivot_root: the folder itself, or `/` where it is
    /// mapped, since the container's ids may not reach the folder, and where it is laid over the old root.
    pub attach_at: CString,
    /// The old root is no mount that could be swapped but an initial ramdisk's, and this is to be laid over it. What
    /// is named must go from there first, the latest first: where a whole procfs or sysfs is in sight the kernel
    /// lets a user namespace mount one without what is masked (mount_too_revealing()).
    pub laid_over: Option<Vec<CString>>,
    /// What it is made of, where its owners are mapped: the folder, then the folder of the layer.
    pub mapped: Vec<MappedMount>,
}

impl RootPlan {
    /// The folder, where nothing else is the container's root.
    pub fn own_folder(&self) -> Option<&Path> {
        let is_folder = matches!(self.mount, RootMount::Folder { .. });
        Some(self.path.as_path()).filter(|path| is_folder && *path != Path::new("/"))
    }
}

/// How the root becomes a mount.
#[derive(Debug)]
pub enum RootMount {
    /// An overlay.
    Overlay {
        /// For fsconfig(2).
        options: Vec<(CString, Option<CString>)>,
        /// The lower folder's path is too long for fsconfig(2): it is `.`, and the child goes there.
        lower_is_cwd: bool,
    },
    /// The folder itself.
    Folder {
        /// With what is mounted below it. Not for `/`, whose submounts are the host's /proc, /sys, …; a
        /// user namespace may not part a mount from those below it.
        recursive: bool,
    },
}

/// Decides how the folder `path` becomes a root.
pub fn plan(path: &Path, choices: &RootChoices, in_userns: bool) -> Result<RootPlan> {
    let failed = |errno: Errno| {
        Error::new(format!("cannot use {} as a root filesystem", path.display()))
            .step(Step::OpenRoot)
            .call(format!("open({:?}, O_PATH|O_DIRECTORY)", path.display().to_string()))
            .errno(errno)
    };
    let path = std::fs::canonicalize(path)
        .map_err(|e| failed(Errno::from_raw(e.raw_os_error().unwrap_or(0))))?;
    let folder = open(&path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(failed)?;
    let lower = c_string(path.as_os_str().as_bytes(), "ROOTFS")?;
    let recursive = path != Path::new("/") || in_userns;
    let (mut mapped, mut attach_at) = (Vec::new(), lower.clone());
    if choices.maps_owners && in_userns {
        let whole = choices.layer.is_none() && recursive;
        let folder = MappedMount::open(lower.clone(), whole)?;
        mapped.push(MappedMount { mapping: Mapping { below: whole, map: None }, ..folder });
        attach_at = c_string("/", "ROOTFS")?;
    }
    let laid_over = choices.no_pivot.then(telling_mounts).transpose()?;
    if laid_over.is_some() {
        attach_at = c_string("/", "ROOTFS")?;
    }
    let mount = match &choices.layer {
        None => RootMount::Folder { recursive },
        Some(layer) if mapped.is_empty() => plan_overlay(&path, layer, in_userns)?,
        Some(layer) => {
            let folder = layer.upper.parent().unwrap_or(Path::new("/"));
            let folder = c_string(folder.as_os_str().as_bytes(), "the layer's folder")?;
            mapped.push(MappedMount::open(folder, false)?);
            // The paths on the host may be closed to the container's ids, and lead to what is not mapped.
            let opened = |mapped: &MappedMount| {
                PathBuf::from(format!("/proc/self/fd/{}", mapped.mount.as_raw_fd()))
            };
            let inside =
                |path: &Path| opened(&mapped[1]).join(path.file_name().unwrap_or_default());
            let (upper, work) = (inside(&layer.upper), inside(&layer.work));
            let layer = Layer { upper, work, volatile: layer.volatile };
            plan_overlay(&opened(&mapped[0]), &layer, in_userns)?
        }
    };
    let attributes = choices.attributes;
    Ok(RootPlan {
        path,
        folder,
        mount,
        attributes,
        propagation: libc::MS_PRIVATE,
        lower,
        attach_at,
        laid_over,
        mapped,
    })
}

/// Where a procfs or sysfs is mounted whole, the latest first.
fn telling_mounts() -> Result<Vec<CString>> {
    let own = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(own).map_err(|error| Error::of_io("read", own, &error))?;
    let is_telling =
        |mount: &Mounted<'_>| mount.root == "/" && matches!(mount.fstype, "proc" | "sysfs");
    let places = mountinfo::parse(&text).rev().filter(is_telling);
    places
        .map(|mount| c_string(mount.place().into_os_string().into_vec(), "a mount's source"))
        .collect()
}

/// `linux.rootfsPropagation` as MS_*. With or without the `r` that engines put before it: what is mounted on the root has words of its own.
pub fn propagation(word: &str) -> Result<u64> {
    match word.strip_prefix('r').unwrap_or(word) {
        "" | "private" => Ok(libc::MS_PRIVATE),
        "slave" => Ok(libc::MS_SLAVE),
        "shared" => Ok(libc::MS_SHARED),
        "unbindable" => Ok(libc::MS_UNBINDABLE),
        _ => Err(Error::new(format!(
            "config.json: linux.rootfsPropagation {word:?} is none of private, slave, shared, unbindable"
        ))),
    }
}

fn plan_overlay(lower: &Path, layer: &Layer, in_userns: bool) -> Result<RootMount> {
    // What fsconfig(2) takes of a string.
    const LONGEST: usize = 255;
    let mut options = vec![(c"source".to_owned(), Some(c"overlay".to_owned()))];
    let mut lower_is_cwd = false;
    for (key, path) in [("lowerdir", lower), ("upperdir", &layer.upper), ("workdir", &layer.work)] {
        let mut path_text = overlay_path(path);
        if path_text.len() > LONGEST {
            if key != "lowerdir" {
                let what = format!("the path {} is too long for an overlay", path.display());
                return Err(Error::new(what).hint("choose a shorter one with --data-dir"));
            }
            lower_is_cwd = true;
            path_text = b".".to_vec();
        }
        options.push((c_string(key, key)?, Some(c_string(path_text, key)?)));
    }
    if layer.volatile {
        // Linux 5.10; without it the last unmount writes the whole filesystem's changes to disk.
        options.push((c"volatile".to_owned(), None));
    }
    if in_userns {
        // trusted.* attributes belong to the host's root; user.* serve as well (Linux 5.11).
        options.push((c"userxattr".to_owned(), None));
    }
    Ok(RootMount::Overlay { options, lower_is_cwd })
}

/// A path as overlayfs reads it: `:` parts layers, `,` parts options, `\` quotes both.
pub fn overlay_path(path: &Path) -> Vec<u8> {
    let mut quoted = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_paths_are_quoted() {
        assert_eq!(overlay_path(Path::new("/a:b,c\\d")), b"/a\\:b\\,c\\\\d");
    }
}

//! A plain user's container on a root filesystem with mounts below it, `/` above all.
//!
//! The kernel lets no user namespace lay an overlay over a folder in which mounts of the host lie: that
//! would uncover what they hide. So the root is put together from the folders in which none lies, an
//! overlay each; the others are empty.

use std::fs;
use std::path::{Path, PathBuf};

use minibox_runtime::{Error, Result, mountinfo, root};
use oci_spec::runtime as oci;

/// A root put together: the folder that is the root, and what is mounted in it.
#[derive(Debug)]
pub(crate) struct Patchwork {
    pub root: PathBuf,
    pub mounts: Vec<oci::Mount>,
}

/// The host's mount points strictly below `folder`.
pub(crate) fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mountinfo::parse(&text).map(|mount| mount.place());
    points.filter(|point| point.starts_with(folder) && point != folder).collect()
}

/// Puts the root together in `layer`.
pub(crate) fn make(rootfs: &Path, layer: &Path) -> Result<Patchwork> {
    let failed = |e| Error::of_io("find", rootfs, &e);
    let rootfs = &fs::canonicalize(rootfs).map_err(failed)?;
    let mounted = mounts_below(rootfs);
    let root = layer.join("root");
    let make = |path: &Path| fs::create_dir_all(path).map_err(|e| Error::of_io("make", path, &e));
    make(&root)?;
    let mut patchwork = Patchwork { root: root.clone(), mounts: Vec::new() };
    let entries = fs::read_dir(rootfs).map_err(|e| Error::of_io("read", rootfs, &e))?;
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(|e| Error::of_io("read", &path, &e))?;
            let _ = std::os::unix::fs::symlink(target, root.join(&name));
        } else if kind.is_dir() {
            make(&root.join(&name))?;
            let readable = fs::read_dir(&path).is_ok() && name.to_str().is_some();
            if ["proc", "sys", "dev"].iter().any(|own| name == *own) {
                continue;
            }
            if mounted.iter().any(|point| point.starts_with(&path)) || !readable {
                continue;
            }
            let (upper, work) = (layer.join("upper").join(&name), layer.join("work").join(&name));
            make(&upper)?;
            make(&work)?;
            if let Ok(metadata) = fs::metadata(&path) {
                let _ = fs::set_permissions(&upper, metadata.permissions());
            }
            patchwork.mounts.push(overlay(&path, &upper, &work, &Path::new("/").join(&name)));
        }
    }
    Ok(patchwork)
}

fn overlay(lower: &Path, upper: &Path, work: &Path, destination: &Path) -> oci::Mount {
    let mut mount = oci::Mount::default();
    mount.set_typ(Some(String::from("overlay")));
    mount.set_source(Some(PathBuf::from("overlay")));
    mount.set_destination(destination.to_owned());
    // Paths here have been checked to be text.
    let quoted = |path: &Path| String::from_utf8_lossy(&root::overlay_path(path)).into_owned();
    let pair = |key: &str, path: &Path| format!("{key}={}", quoted(path));
    let options = [
        pair("lowerdir", lower),
        pair("upperdir", upper),
        pair("workdir", work),
        "userxattr".into(),
    ];
    mount.set_options(Some(options.into()));
    mount
}

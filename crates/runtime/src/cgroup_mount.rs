//! A mount of type `cgroup`: what a container sees of the hierarchies that this machine has.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use crate::cgroup::Layout;
use crate::error::Result;
use crate::mounts::{MountPlan, Place, Source, c_string};
use crate::sys::MountChange;

/// `cgroup` in config.json means what this machine has: cgroup2, or a folder of version 1 hierarchies.
///
/// Shows `own` folders alone, in the order of the hierarchies, where they are given. Adds to `mounts`; what is to change
/// on a mount when everything else is in place is returned.
pub fn plan(
    mount: &Mount,
    layout: &Layout,
    own: Option<&[PathBuf]>,
    mounts: &mut Vec<MountPlan>,
) -> Result<Option<(CString, MountChange)>> {
    let mut flags = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let readonly = mount.options().iter().flatten().any(|word| word == "ro");
    if readonly {
        flags |= libc::MOUNT_ATTR_RDONLY;
    }
    let mut add = |source: Source, path: &Path, set: u64| -> Result<()> {
        let change = MountChange { set, ..MountChange::default() };
        mounts.push(MountPlan::new(source, change, Place::new(path, false)?));
        Ok(())
    };
    let fresh = |fstype: &CStr, options| Source::Fresh { fstype: fstype.to_owned(), options };
    let bind = |folder: &Path| -> Result<Source> {
        let path = c_string(folder.as_os_str().as_bytes(), "a cgroup's path")?;
        Ok(Source::Bind { path, recursive: false })
    };
    let source = |name: &CStr| (c"source".to_owned(), Some(name.to_owned()));
    let destination = mount.destination();
    if layout.is_unified() {
        let source = match own.and_then(<[PathBuf]>::first) {
            Some(folder) => bind(folder)?,
            None => fresh(c"cgroup2", vec![source(c"cgroup")]),
        };
        return add(source, destination, flags).map(|()| None);
    }
    if layout.v1.is_empty() {
        return Ok(None);
    }
    // The folder itself must take subfolders first; it becomes read-only with the root.
    let tmpfs = vec![source(c"tmpfs"), (c"mode".to_owned(), Some(c"755".to_owned()))];
    add(fresh(c"tmpfs", tmpfs), destination, flags & !libc::MOUNT_ATTR_RDONLY)?;
    for (number, hierarchy) in layout.v1.iter().enumerate() {
        let name = hierarchy.controllers.join(",");
        let place = destination.join(name.strip_prefix("name=").unwrap_or(&name));
        if let Some(folder) = own.and_then(|own| own.get(number)) {
            add(bind(folder)?, &place, flags)?;
            continue;
        }
        let mut options = vec![source(c"cgroup")];
        for controller in &hierarchy.controllers {
            match controller.split_once('=') {
                Some((key, value)) => {
                    options.push((c"none".to_owned(), None));
                    options.push((
                        c_string(key, "a controller")?,
                        Some(c_string(value, "a controller")?),
                    ));
                }
                None => options.push((c_string(controller.as_str(), "a controller")?, None)),
            }
        }
        add(fresh(c"cgroup", options), &place, flags)?;
    }
    let place = c_string(destination.as_os_str().as_bytes(), "the cgroup mount")?;
    let set = libc::MOUNT_ATTR_RDONLY;
    Ok(readonly.then_some((place, MountChange { set, ..MountChange::default() })))
}

//! The container's /dev: six nodes and a few links, no device of the host.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use libc::AT_FDCWD;
use nix::errno::Errno;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use crate::error::Result;
use crate::mounts::{c_string, tolerate};
use crate::sys::{self, Sys};

/// Name below /dev, major, minor of the nodes every container has; see null(4), random(4), tty(4).
pub const DEFAULT: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Links below /dev that programs expect (runtime-spec, "Dev symbolic links").
const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"pts/ptmx", c"ptmx"),
];

/// One node, decided.
#[derive(Debug)]
pub struct DevicePlan {
    path: CString,
    ancestors: Vec<CString>,
    mode: u32,
    device: u64,
    owner: (u32, u32),
}

impl DevicePlan {
    /// A node that everyone may read and write.
    pub fn plain(name: &str, major: u32, minor: u32) -> Result<DevicePlan> {
        Ok(DevicePlan {
            path: c_string(name, "a device's path")?,
            ancestors: Vec::new(),
            mode: libc::S_IFCHR | 0o666,
            device: libc::makedev(major, minor),
            owner: (0, 0),
        })
    }

    /// A node that config.json asks for; its path must lie below /dev.
    pub fn of_spec(device: &LinuxDevice) -> Result<DevicePlan> {
        let path = device.path();
        let is_name = |part| matches!(part, std::path::Component::Normal(_));
        let below = path.strip_prefix("/dev").ok().filter(|below| below.components().all(is_name));
        let below = below.ok_or_else(|| {
            crate::Error::new(format!("linux.devices: {} does not lie below /dev", path.display()))
        })?;
        let kind = match device.typ() {
            LinuxDeviceType::B => libc::S_IFBLK,
            LinuxDeviceType::P => libc::S_IFIFO,
            _ => libc::S_IFCHR,
        };
        let mut ancestors = Vec::new();
        for folder in below.ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()) {
            ancestors
                .insert(0, c_string(folder.as_os_str().as_encoded_bytes(), "a device's path")?);
        }
        Ok(DevicePlan {
            path: c_string(below.as_os_str().as_encoded_bytes(), "a device's path")?,
            ancestors,
            mode: kind | (device.file_mode().unwrap_or(0o666) & 0o7777),
            device: libc::makedev(device.major() as u32, device.minor() as u32),
            owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
        })
    }

    /// The path below /dev, for messages.
    pub fn path(&self) -> &CStr {
        &self.path
    }
}

/// CHILD: opens the container's /dev, which must be a real folder (CVE-2026-41579).
fn open_dev() -> Sys<RawFd> {
    sys::openat2(AT_FDCWD, c"/dev", libc::O_PATH | libc::O_DIRECTORY, 0, libc::RESOLVE_NO_SYMLINKS)
}

/// CHILD: makes the nodes below /dev.
pub fn make_nodes(nodes: &[DevicePlan]) -> Sys<()> {
    let dev = open_dev()?;
    for node in nodes {
        for folder in &node.ancestors {
            tolerate(sys::mkdirat(dev, folder, 0o755), Errno::EEXIST)?;
        }
        sys::mknodat(dev, &node.path, node.mode, node.device)?;
        if node.owner != (0, 0) {
            sys::fchownat(dev, &node.path, node.owner.0, node.owner.1)?;
        }
    }
    sys::close(dev);
    Ok(())
}

/// CHILD: makes the links below /dev.
pub fn make_links() -> Sys<()> {
    let dev = open_dev()?;
    for (target, name) in LINKS {
        tolerate(sys::symlinkat(target, dev, name), Errno::EEXIST)?;
    }
    sys::close(dev);
    Ok(())
}

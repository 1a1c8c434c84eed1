//! The container's /dev: six nodes and a few links, no device of the host.

use std::ffi::CStr;
use std::path::Path;

use libc::AT_FDCWD;
use nix::errno::Errno;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use crate::error::{Error, Result};
use crate::mounts::{Place, tolerate};
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
    place: Place,
    mode: u32,
    device: u64,
    owner: (u32, u32),
}

impl DevicePlan {
    /// A node below /dev that everyone may read and write.
    pub fn plain(name: &str, major: u32, minor: u32) -> Result<DevicePlan> {
        Ok(DevicePlan {
            place: Place::new(&Path::new("/dev").join(name), true)?,
            mode: libc::S_IFCHR | 0o666,
            device: libc::makedev(major, minor),
            owner: (0, 0),
        })
    }

    /// A node that config.json asks for, anywhere in the container.
    pub fn of_spec(device: &LinuxDevice) -> Result<DevicePlan> {
        let kind = match device.typ() {
            LinuxDeviceType::B => libc::S_IFBLK,
            LinuxDeviceType::P => libc::S_IFIFO,
            LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
            LinuxDeviceType::A => {
                return Err(Error::new(format!(
                    "config.json: linux.devices: {} is of type \"a\", and must be one of c, b, u, p",
                    device.path().display()
                )));
            }
        };
        let device_number = if kind == libc::S_IFIFO {
            0
        } else {
            libc::makedev(device.major() as u32, device.minor() as u32)
        };
        Ok(DevicePlan {
            place: Place::new(device.path(), true)?,
            mode: kind | (device.file_mode().unwrap_or(0o666) & 0o7777),
            device: device_number,
            owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
        })
    }

    /// The path in the container.
    pub fn path(&self) -> &CStr {
        &self.place.path
    }

    /// Is it a FIFO, which may be made in any user namespace?
    pub fn is_fifo(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFIFO
    }

    /// CHILD: makes it. Where there is one already it must be the same.
    fn make(&self) -> Sys<()> {
        let folder = self.place.open_parent()?;
        let name = self.place.name();
        let made = match sys::mknodat(folder, name, self.mode, self.device) {
            Err(fault) if fault.errno == Errno::EEXIST => {
                let there = sys::fstatat(folder, name)?;
                let same = there.mode & libc::S_IFMT == self.mode & libc::S_IFMT
                    && there.rdev == self.device;
                if same { Ok(()) } else { Err(fault) }
            }
            made => made,
        };
        if made.is_ok() && self.owner != (0, 0) {
            sys::fchownat(folder, name, self.owner.0, self.owner.1)?;
        }
        sys::close(folder);
        made
    }
}

/// CHILD: makes the nodes.
pub fn make_nodes(nodes: &[DevicePlan]) -> Sys<()> {
    nodes.iter().try_for_each(DevicePlan::make)
}

/// CHILD: makes the links below /dev, which must be a real folder (CVE-2026-41579).
pub fn make_links() -> Sys<()> {
    tolerate(sys::mkdirat(AT_FDCWD, c"/dev", 0o755), Errno::EEXIST)?;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let dev = sys::openat2(AT_FDCWD, c"/dev", flags, 0, libc::RESOLVE_NO_SYMLINKS)?;
    for (target, name) in LINKS {
        tolerate(sys::symlinkat(target, dev, name), Errno::EEXIST)?;
    }
    sys::close(dev);
    Ok(())
}

//! The arguments of `run` and `create`, understood: everything a person can get wrong on the command line
//! is found here, before anything is made. One file per concern, as the flags are grouped.

pub(crate) mod devices;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod policy;
pub(crate) mod process;
pub(crate) mod security;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use minibox_runtime::{Error, Result};
use oci_spec::runtime as oci;

use crate::args::CreateArgs;
use crate::settings::{Asked, Settings};
use crate::store::Store;

/// What the arguments say, understood and checked.
#[derive(Debug)]
pub(crate) struct Wishes {
    pub program: process::Program,
    pub limits: limits::Limits,
    pub devices: devices::Devices,
    pub namespaces: namespaces::Namespaces,
    pub mounts: Vec<Asked>,
    pub privileges: security::Privileges,
    pub annotations: BTreeMap<String, String>,
    pub settings: Settings,
    /// Lines to say before the start: what a flag opens.
    pub warnings: Vec<String>,
}

/// An error about one flag: its name, its value, what would be right.
pub(crate) fn bad(flag: &str, value: &str, right: &str) -> Error {
    Error::new(format!("{flag} {value:?} is not understood")).hint(right.to_owned())
}

/// Checks every flag's value; nothing has been made yet. `detached`: nobody stays with it.
pub(crate) fn understand(store: &Store, args: &CreateArgs, detached: bool) -> Result<Wishes> {
    if let Some(name) = &args.name {
        check_name(name)?;
    }
    let mut warnings = Vec::new();
    let privileges = security::understand(&args.security, &mut warnings)?;
    let namespaces = namespaces::understand(store, args, &mut warnings)?;
    let root = open_root(&args.rootfs)?;
    let mounts = mounts::understand(store, args)?;
    Ok(Wishes {
        program: process::understand(args, root.as_fd(), &namespaces.default_user())?,
        limits: limits::understand(args)?,
        devices: devices::understand(&args.hardware, &mounts)?,
        settings: policy::understand(args, detached, namespaces.modes.clone())?,
        namespaces,
        mounts,
        privileges,
        annotations: annotations(&args.labels.annotations)?,
        warnings,
    })
}

fn annotations(asked: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(bad("--annotation", text, "KEY=VALUE")),
    };
    asked.iter().map(pair).collect()
}

fn open_root(path: &Path) -> Result<std::os::fd::OwnedFd> {
    use nix::fcntl::{OFlag, open};
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, nix::sys::stat::Mode::empty()).map_err(|errno| {
        let error = Error::new(format!("cannot use {} as a root filesystem", path.display()))
            .step(minibox_runtime::Step::OpenRoot)
            .call(format!("open({:?}, O_PATH|O_DIRECTORY)", path.display().to_string()))
            .errno(errno);
        match errno {
            nix::errno::Errno::ENOENT => {
                error.hint("the first word after the options is the root filesystem: a folder with bin, lib, usr …; `make rootfs` fills one")
            }
            nix::errno::Errno::ENOTDIR => error.hint("unpack the archive or image into a folder first"),
            _ => error,
        }
    })
}

/// Docker's rule for names.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && name.len() <= 128 && letters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    {
        return Ok(());
    }
    Err(bad("--name", name, "letters, digits, `_`, `.` and `-`, beginning with a letter or digit"))
}

/// Bytes, with docker's suffixes b, k, m, g, t.
pub(crate) fn parse_size(flag: &str, text: &str) -> Result<i64> {
    let wrong = || bad(flag, text, "a number of bytes, or with k, m or g: 64m");
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, shift) = match lower.bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], 10),
        Some(b'm') => (&lower[..lower.len() - 1], 20),
        Some(b'g') => (&lower[..lower.len() - 1], 30),
        Some(b't') => (&lower[..lower.len() - 1], 40),
        _ => (lower, 0),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number * 2_f64.powi(shift);
    if !(1.0..=9e18).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes as i64)
}

/// One mount of a configuration.
pub(crate) fn mount(kind: &str, source: &str, destination: &str, options: &[&str]) -> oci::Mount {
    let mut mount = oci::Mount::default();
    mount.set_typ(Some(kind.to_owned()));
    mount.set_source(Some(PathBuf::from(source)));
    mount.set_destination(PathBuf::from(destination));
    mount.set_options(Some(options.iter().map(|&word| word.to_owned()).collect()));
    mount
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_docker_writes_them() {
        for (text, bytes) in [
            ("64m", 64 << 20),
            ("1g", 1 << 30),
            ("512K", 512 << 10),
            ("100", 100),
            ("100b", 100),
            ("1.5k", 1536),
            ("2GiB", 2 << 30),
            ("1t", 1 << 40),
        ] {
            assert_eq!(parse_size("-m", text).unwrap(), bytes, "{text}");
        }
        for text in ["", "m", "-1", "0", "64x", "1e400", "nan", "9999999999g"] {
            assert!(parse_size("-m", text).is_err(), "{text}");
        }
    }

    #[test]
    fn names() {
        for name in ["a", "web-1", "A.b_c"] {
            assert!(check_name(name).is_ok());
        }
        for name in ["", "-a", ".", "..", "a/b", "한"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}

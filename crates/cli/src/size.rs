//! Amounts of bytes: how much a folder holds, and how docker writes it.

use std::collections::HashSet;
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;

use minibox_runtime::idmap::{self, IdMap};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};

/// In powers of 1000, with `digits` digits: `12.3kB`.
pub(crate) fn decimal(bytes: u64, digits: usize) -> String {
    scale(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], digits)
}

/// In powers of 1024: `3.811GiB`.
pub(crate) fn binary(bytes: u64) -> String {
    scale(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

#[allow(clippy::cast_precision_loss)]
fn scale(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let whole = format!("{value:.0}").len();
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    let text =
        if text.contains('.') { text.trim_end_matches(['0']).trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}

/// Bytes in the files of a folder, those of other filesystems in it left out. What a container wrote is read
/// from inside its user namespace, where its files belong to somebody.
pub(crate) fn of_folder(folder: &Path, id_map: Option<&IdMap>) -> u64 {
    let (Some(map), true) = (id_map, idmap::needs_user_namespace()) else {
        return count(folder);
    };
    let Ok((mut ours, mut theirs)) = UnixStream::pair() else { return 0 };
    let work =
        || theirs.write_all(&count(folder).to_ne_bytes()).map_err(|_| nix::errno::Errno::EIO);
    let mut bytes = [0; 8];
    match idmap::in_user_namespace(map, work) {
        Ok(()) if ours.read_exact(&mut bytes).is_ok() => u64::from_ne_bytes(bytes),
        _ => count(folder),
    }
}

/// By descriptors and without following a link: a container may move its folders while they are counted.
/// What lies deeper than one may have descriptors is not seen.
fn count(folder: &Path) -> u64 {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(top) = Dir::open(folder, flags, Mode::empty()) else { return 0 };
    let Ok(device) = fstat(&top).map(|stat| stat.st_dev) else { return 0 };
    let (mut total, mut seen) = (0, HashSet::new());
    let mut folders = vec![(Rc::new(top), CString::from(c"."))];
    while let Some((parent, name)) = folders.pop() {
        let opened = Dir::openat(&*parent, name.as_c_str(), flags, Mode::empty());
        let Ok(mut folder) = opened else { continue };
        let names: Vec<CString> =
            folder.iter().flatten().map(|entry| entry.file_name().to_owned()).collect();
        let folder = Rc::new(folder);
        for name in names {
            let stat = fstatat(&*folder, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
            let Ok(stat) = stat else { continue };
            let is_folder = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
            let is_here =
                is_folder && stat.st_dev == device && !matches!(name.to_bytes(), b"." | b"..");
            if is_here {
                folders.push((Rc::clone(&folder), name));
            } else if !is_folder && (stat.st_nlink < 2 || seen.insert(stat.st_ino)) {
                total += stat.st_size.max(0) as u64;
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_docker_s() {
        for (bytes, short, long) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (12_345, "12.3kB", "12.35kB"),
            (123_456, "123kB", "123.5kB"),
            (1_000_000, "1MB", "1MB"),
            (123_456_789, "123MB", "123.5MB"),
            (u64::MAX, "18.4EB", "18.45EB"),
        ] {
            assert_eq!((decimal(bytes, 3), decimal(bytes, 4)), (short.into(), long.into()));
        }
        assert_eq!(binary(32 * 1024 * 1024), "32MiB");
        assert_eq!(binary(4_092_000_000), "3.811GiB");
    }

    #[test]
    fn a_folder_holds_what_its_files_hold_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(below.join("file"), [0; 1000]).unwrap();
        std::fs::hard_link(below.join("file"), folder.path().join("same")).unwrap();
        std::os::unix::fs::symlink("/usr", folder.path().join("usr")).unwrap();
        assert_eq!(of_folder(folder.path(), None), 1000 + "/usr".len() as u64);
        assert_eq!(of_folder(&folder.path().join("usr"), None), 0);
    }
}

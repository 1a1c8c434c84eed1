//! What a process holds open that lies outside its root: a folder of the host's leads to all that is below it,
//! whatever the root is, and a terminal of the host's can be typed into.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs;

use nix::libc;

use super::{Audit, Id, Subject, Weight};
use crate::guide::text;
use crate::{Seen, sys};

/// How many are looked at.
const MOST: usize = 4096;

pub(super) fn check(subject: &Subject<'_>, audit: &mut Audit) {
    if subject.mounts.is_empty() {
        return;
    }
    let folder = format!("/proc/{}/fd", subject.process.pid());
    let Ok(entries) = fs::read_dir(&folder) else {
        return audit.hidden.push(Id::OutsideDescriptors);
    };
    let names = entries.flatten().take(MOST).filter_map(|e| e.file_name().into_string().ok());
    let outside = names.filter_map(|name| {
        let target = fs::read_link(format!("{folder}/{name}")).ok()?;
        let target = target.to_string_lossy().into_owned();
        let is_file = target.starts_with('/') && !target.starts_with("/memfd:");
        let is_outside = is_file
            && !is_on(&subject.mount_ids, &text(subject.process, &format!("fdinfo/{name}")));
        (is_outside && leads_somewhere(&name, &folder)).then(|| format!("fd {name}: {target}"))
    });
    audit.find(Id::OutsideDescriptors, Weight::Serious, outside.collect());
}

/// Is what it was opened on among these mounts? proc_pid_fdinfo(5).
fn is_on(mounts: &HashSet<i32>, fdinfo: &Seen<String>) -> bool {
    let text = fdinfo.known().map_or("", String::as_str);
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.is_none_or(|id| mounts.contains(&id))
}

/// Folders, disks and terminals do; files only where they are not what its output was sent to.
fn leads_somewhere(name: &str, folder: &str) -> bool {
    let path = CString::new(format!("{folder}/{name}")).unwrap_or_default();
    let Some((mode, major, _)) = sys::remembered(&path) else { return false };
    match mode & libc::S_IFMT {
        libc::S_IFDIR | libc::S_IFBLK => true,
        libc::S_IFREG => !matches!(name, "0" | "1" | "2"),
        libc::S_IFCHR => matches!(major, 4 | 136..=143),
        _ => false,
    }
}

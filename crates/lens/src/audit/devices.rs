//! Device nodes below its /dev, and who decides whether they open.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::libc::{major, minor};

use super::files::{Walk, is_asked_of_a_program};
use super::{Audit, Id, Subject, Weight};
use crate::cgroup::DeviceRules;

/// How many entries of /dev are looked at.
const MOST: usize = 4096;

pub(super) fn check(subject: &Subject<'_>, audit: &mut Audit) {
    nodes(subject, audit);
    if !subject.is_hosts_root {
        return;
    }
    let evidence = subject.folders.device_rules().map(|rules| match rules {
        DeviceRules::List(list) => {
            list.lines().filter(|line| line.starts_with("a ")).map(str::to_owned).collect()
        }
        DeviceRules::Program(false) => vec![String::from("BPF_CGROUP_DEVICE: 0")],
        DeviceRules::Program(true) => Vec::new(),
    });
    audit.see(Id::DeviceRules, Weight::Notable, evidence);
}

fn nodes(subject: &Subject<'_>, audit: &mut Audit) {
    let mount = subject.mounts.iter().rfind(|mount| mount.mount_point == "/dev");
    let mount = mount.or_else(|| subject.mounts.iter().find(|mount| mount.mount_point == "/"));
    let Some(mount) = mount.filter(|mount| !mount.has("nodev")) else { return };
    let root = subject.root().filter(|_| !is_asked_of_a_program(mount));
    let Some(walk) = root.and_then(|root| Walk::below(&root, "dev", MOST)) else {
        return audit.hidden.push(Id::DeviceNodes);
    };
    let mut weight = Weight::Small;
    let mut found = Vec::new();
    for (path, entry) in walk {
        let Ok(about) = entry.metadata() else { continue };
        let (kind, device) = (about.file_type(), about.rdev());
        let (major, minor) = (major(device), minor(device));
        if kind.is_block_device() || kind.is_char_device() && (major, minor) != (0, 0) {
            let is_usual =
                matches!((major, minor), (1, 3 | 5 | 7..=9) | (5, 0..=2) | (136..=143, _));
            // A disk, or the machine's memory and ports.
            let is_mighty = kind.is_block_device() || (major == 1 && matches!(minor, 1 | 2 | 4));
            if kind.is_char_device() && is_usual {
                continue;
            }
            if is_mighty {
                weight = Weight::Serious;
            }
            let letter = if kind.is_block_device() { 'b' } else { 'c' };
            found.push((!is_mighty, format!("/dev/{} {letter} {major}:{minor}", path.display())));
        }
    }
    found.sort();
    audit.find(Id::DeviceNodes, weight, found.into_iter().map(|(_, node)| node).collect());
}

//! Device nodes below its /dev, and who decides whether they open.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::libc::{major, minor};

use super::ebpf;
use super::files::{Walk, is_asked_of_a_program};
use super::{Audit, Id, Subject, Weight};
use crate::cgroup::DeviceRules;
use crate::seen::Seen;
use crate::sys::Instruction;

/// How many entries of /dev are looked at.
const MOST: usize = 4096;

pub(super) fn check(subject: &Subject<'_>, audit: &mut Audit) {
    nodes(subject, audit);
    if !subject.is_hosts_root {
        return;
    }
    let evidence = subject.folders.device_rules().and_then(|rules| match rules {
        DeviceRules::List(list) => Seen::Known(open_doors(list)),
        DeviceRules::Programs(programs) => {
            let doors = [('b', 1), ('c', 2)].map(|(letter, kind)| {
                let is_open = opens_the_unknown(programs, kind)?;
                Some(is_open.then(|| format!("BPF_CGROUP_DEVICE: {letter} *:* rw")))
            });
            let doors: Option<Vec<_>> = doors.into_iter().collect();
            doors.map_or(Seen::Denied, |doors| Seen::Known(doors.into_iter().flatten().collect()))
        }
    });
    audit.see(Id::DeviceRules, Weight::Notable, evidence);
}

/// Those lines of devices.list that open every device of a kind; making nodes alone is no danger.
fn open_doors(list: &str) -> Vec<String> {
    let opens = |line: &&str| {
        let mut words = line.split(' ');
        let (kind, device, access) = (words.next(), words.next(), words.next());
        kind == Some("a")
            || device == Some("*:*") && access.is_some_and(|word| word.contains(['r', 'w']))
    };
    list.lines().filter(opens).map(str::to_owned).collect()
}

/// May a device of a number that no list names, one for local use (devices.txt of the kernel), be read and written?
/// Without a program everything may.
fn opens_the_unknown(programs: &[Vec<Instruction>], kind: u32) -> Option<bool> {
    const LOCAL: u32 = 60;
    const READ_AND_WRITE: u32 = 6;
    // struct bpf_cgroup_dev_ctx.
    let question = [READ_AND_WRITE << 16 | kind, LOCAL, 7].map(u32::to_ne_bytes).concat();
    let verdicts = programs.iter().map(|program| Some(ebpf::run(program, &question)? & 1 != 0));
    verdicts.collect::<Option<Vec<_>>>().map(|all| all.into_iter().all(|verdict| verdict))
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

//! What a process has mounted where, proc_pid_mountinfo(5).

use std::collections::HashMap;

use procfs::process::Process;
use serde::Serialize;

use crate::process::{link, read};
use crate::{Result, Seen};

/// The tree of mounts that a process sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mounts {
    /// Its mount namespace is the caller's.
    pub in_callers_mount_namespace: Seen<bool>,
    /// How many mounts the caller sees.
    pub callers: usize,
    /// In the kernel's order: parents stand before what is mounted on them.
    pub mounts: Seen<Vec<Mount>>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Its number.
    pub id: i32,
    /// The number of the mount that it is mounted on.
    pub parent: i32,
    /// Major and minor number of its filesystem: `0:21`.
    pub device: String,
    /// Which part of the filesystem it shows; `/` is all.
    pub root: String,
    /// Where it is, as the process sees it.
    pub mount_point: String,
    /// What holds here: rw, nosuid, idmapped, …
    pub options: Vec<String>,
    /// `shared:1`, `master:2`, `propagate_from:3`, `unbindable`; none of these is private.
    pub propagation: Vec<String>,
    /// The filesystem's type.
    pub fs_type: String,
    /// What it was mounted from: a device, or a word.
    pub source: String,
    /// What holds wherever the filesystem is mounted: size=…, lowerdir=…
    pub super_options: Vec<String>,
    /// The mount that lies over it, so that no path leads to it.
    pub hidden_by: Option<i32>,
    /// The same files as the caller sees them, where he does.
    pub callers_path: Option<String>,
}

impl Mount {
    /// The value of `key=value` among what holds for the filesystem.
    pub fn super_option(&self, key: &str) -> Option<&str> {
        self.super_options.iter().find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
    }

    /// Does this hold, here or wherever it is mounted?
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().chain(&self.super_options).any(|known| known == option)
    }
}

/// What this process sees.
pub fn of(process: &Process) -> Result<Mounts> {
    let mine = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut mine = parse(&String::from_utf8_lossy(&mine));
    hide(&mut mine);
    let mounts = read(process, "mountinfo")?.map(|text| {
        let mut all = parse(&text);
        hide(&mut all);
        for mount in &mut all {
            mount.callers_path = path_among(&mine, mount);
        }
        all
    });
    Ok(Mounts {
        in_callers_mount_namespace: link(process, "ns/mnt")
            .map(|theirs| std::fs::read_link("/proc/self/ns/mnt").is_ok_and(|ours| ours == theirs)),
        callers: mine.len(),
        mounts,
    })
}

/// All lines. Not procfs's parser: it loses the order of options, and leaves blanks in names as `\040`.
fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let mut right = right.split(' ');
    let list = |text: &str| text.split(',').map(plain).collect::<Vec<String>>();
    Some(Mount {
        id: left.next()?.parse().ok()?,
        parent: left.next()?.parse().ok()?,
        device: left.next()?.to_owned(),
        root: plain(left.next()?),
        mount_point: plain(left.next()?),
        options: list(left.next()?),
        propagation: left.map(str::to_owned).collect(),
        fs_type: plain(right.next()?),
        source: plain(right.next()?),
        super_options: list(right.next()?),
        hidden_by: None,
        callers_path: None,
    })
}

/// A name without its escapes: `\040` is a blank.
fn plain(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut plain, mut index) = (Vec::with_capacity(bytes.len()), 0);
    while index < bytes.len() {
        let digits = bytes.get(index + 1..index + 4).and_then(|d| std::str::from_utf8(d).ok());
        let letter = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let letter = letter.filter(|_| bytes[index] == b'\\');
        plain.push(letter.unwrap_or(bytes[index]));
        index += if letter.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Finds for each mount the one that lies over it: where a path to it ends instead.
fn hide(all: &mut [Mount]) {
    let ids: Vec<i32> = all.iter().map(|mount| mount.id).collect();
    let Some(root) =
        all.iter().find(|mount| !ids.contains(&mount.parent) || mount.parent == mount.id)
    else {
        return;
    };
    let root = root.id;
    // What is mounted on what, and where.
    let mut on: HashMap<(i32, &str), i32> = HashMap::new();
    for mount in all.iter().filter(|mount| mount.id != root) {
        on.insert((mount.parent, mount.mount_point.as_str()), mount.id);
    }
    let reached = |path: &str| {
        let inner = path.match_indices('/').map(|(index, _)| &path[..index.max(1)]);
        inner.chain([path]).fold(root, |mut mount, place| {
            while let Some(above) = on.get(&(mount, place)) {
                mount = *above;
            }
            mount
        })
    };
    let hidden: Vec<Option<i32>> = all
        .iter()
        .map(|mount| Some(reached(&mount.mount_point)).filter(|reached| *reached != mount.id))
        .collect();
    for (mount, by) in all.iter_mut().zip(hidden) {
        mount.hidden_by = by;
    }
}

/// `path` without `base` and the slash behind it.
pub(crate) fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(base.trim_end_matches('/'))?;
    if rest.is_empty() || rest.starts_with('/') { Some(rest.trim_start_matches('/')) } else { None }
}

/// Where those who see `mounts` find the same files: the same part of the same filesystem.
fn path_among(mounts: &[Mount], wanted: &Mount) -> Option<String> {
    let same = mounts.iter().filter(|mount| mount.device == wanted.device);
    let seen = same.filter(|mount| mount.hidden_by.is_none());
    let with_rest = seen.filter_map(|mount| Some((mount, below(&wanted.root, &mount.root)?)));
    let (mount, rest) = with_rest.min_by_key(|(_, rest)| rest.len())?;
    let base = mount.mount_point.trim_end_matches('/');
    let path = if rest.is_empty() { base.to_owned() } else { format!("{base}/{rest}") };
    Some(if path.is_empty() { String::from("/") } else { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = r"1 0 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
2 1 0:5 / /tmp rw master:1 - tmpfs tmpfs rw,size=4k
3 2 0:6 /a\040b /tmp/x ro,nosuid - ext4 /dev/vdb rw
4 2 0:7 / /tmp rw - tmpfs none rw
5 1 0:8 / /proc rw - proc proc rw
6 5 0:9 / /proc rw - tmpfs none rw
7 4 0:9 / /tmp/x rw - tmpfs none rw
";

    #[test]
    fn what_lies_below_another_is_hidden() {
        let mut all = parse(TREE);
        hide(&mut all);
        let by: Vec<Option<i32>> = all.iter().map(|mount| mount.hidden_by).collect();
        assert_eq!(by, [None, Some(4), Some(7), None, Some(6), None, None]);
    }

    #[test]
    fn names_are_plain_and_found_elsewhere() {
        let all = parse(TREE);
        assert_eq!((all[2].root.as_str(), all[2].propagation.len()), ("/a b", 0));
        assert_eq!(
            (all[1].propagation[0].as_str(), all[1].super_option("size")),
            ("master:1", Some("4k"))
        );
        assert_eq!(
            path_among(&all, &Mount { root: "/srv/x".into(), ..all[0].clone() }),
            Some("/srv/x".into())
        );
        assert_eq!(
            path_among(&all, &Mount { root: "/a b/c".into(), ..all[2].clone() }),
            Some("/tmp/x/c".into())
        );
        assert_eq!(path_among(&all, &Mount { root: "/a bc".into(), ..all[2].clone() }), None);
    }
}

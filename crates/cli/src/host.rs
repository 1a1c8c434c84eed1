//! What the host has, for `--privileged` and for a container's own files in /etc.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use oci_spec::runtime as oci;

/// The device node at `path`, or all below the folder at `path` but for those that belong to a terminal or
/// to a container itself; none where there is none.
pub(crate) fn device_nodes(path: &Path) -> Vec<oci::LinuxDevice> {
    let own = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console", "/dev/ptmx"];
    let Ok(metadata) = std::fs::metadata(path) else { return Vec::new() };
    if metadata.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        // A link below it leads to what stands elsewhere.
        let entries = entries.filter(|entry| entry.file_type().is_ok_and(|t| !t.is_symlink()));
        let paths = entries.map(|entry| entry.path());
        let paths = paths.filter(|path| own.iter().all(|own| path != Path::new(own)));
        return paths.flat_map(|path| device_nodes(&path)).collect();
    }
    let kind = match metadata.file_type() {
        kind if kind.is_block_device() => oci::LinuxDeviceType::B,
        kind if kind.is_char_device() => oci::LinuxDeviceType::C,
        _ => return Vec::new(),
    };
    let mut device = oci::LinuxDevice::default();
    device.set_path(path.to_owned());
    device.set_typ(kind);
    device.set_major(nix::sys::stat::major(metadata.rdev()) as i64);
    device.set_minor(nix::sys::stat::minor(metadata.rdev()) as i64);
    device.set_file_mode(Some(metadata.mode() & 0o7777));
    device.set_uid(Some(metadata.uid()));
    device.set_gid(Some(metadata.gid()));
    vec![device]
}

/// The group ids that exist here: all of them, but for a root of some user namespace.
fn groups() -> Vec<(u32, u32)> {
    let text = std::fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Is group `gid` mapped here?
pub(crate) fn has_group(gid: u32) -> bool {
    groups().iter().any(|&(first, count)| gid >= first && gid - first < count)
}

/// The last group that net.ipv4.ping_group_range can name here.
pub(crate) fn last_group() -> u32 {
    let last = groups().iter().map(|&(first, count)| first.saturating_add(count - 1)).max();
    last.unwrap_or(0).min(2_147_483_647)
}

/// The host's name, uname(2).
pub(crate) fn hostname() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// The caller's name, from /etc/passwd; his number where he is not in there.
pub(crate) fn user() -> String {
    user_name(nix::unistd::Uid::effective().as_raw())
}

/// The name of user `uid`, likewise.
pub(crate) fn user_name(uid: u32) -> String {
    let uid = uid.to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.as_str()));
    let name = line.and_then(|line| line.split(':').next()).map(str::to_owned);
    name.unwrap_or(uid)
}

/// /etc/resolv.conf for a container: what was asked for, the host's where it shares the network,
/// otherwise none.
pub(crate) fn resolv_conf(host_network: bool, asked: &[String]) -> String {
    if !asked.is_empty() {
        return asked.join("\n") + "\n";
    }
    if host_network {
        return std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    }
    String::from("# This container has a network of its own, with nothing but lo in it.\n")
}

/// /etc/hosts for a container: the host's where it shares the network; then what was asked for, address
/// and name.
pub(crate) fn hosts(host_network: bool, hostname: &str, asked: &[(String, String)]) -> String {
    let mut text = if host_network {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.extend(asked.iter().map(|(address, name)| format!("{address}\t{name}\n")));
    text
}

//! Devices of the host's: `--device`, `--device-cgroup-rule`, and those among the volumes.

use std::path::{Path, PathBuf};

use minibox_runtime::{Error, Result};
use oci_spec::runtime as oci;

use super::bad;
use crate::args::HardwareArgs;
use crate::host;
use crate::settings::{Asked, Kind};

/// A device that the container gets.
#[derive(Debug)]
pub(crate) struct Device {
    /// Its node on the host.
    pub host: PathBuf,
    /// Its node in the container.
    pub node: oci::LinuxDevice,
}

/// The devices that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    pub nodes: Vec<Device>,
    /// What the cgroup is to allow.
    pub rules: Vec<oci::LinuxDeviceCgroup>,
}

/// A device among the `mounts` is asked for like any other, and so are those of a folder with `dev`.
pub(super) fn understand(args: &HardwareArgs, mounts: &[Asked]) -> Result<Devices> {
    let mut devices = Devices::default();
    for text in &args.devices {
        let (host, inside, access) = parse(text)?;
        let nodes = host::device_nodes(&host);
        if nodes.is_empty() {
            return Err(Error::new(format!(
                "--device {text}: there is no device {}",
                host.display()
            ))
            .hint("a device node of this host, or a folder of such nodes: /dev/fuse, /dev/snd"));
        }
        for mut node in nodes {
            devices.rules.push(allow(&node, &access));
            let host_node = node.path().clone();
            if let Ok(below) = host_node.strip_prefix(&host)
                && below != Path::new("")
            {
                node.set_path(inside.join(below));
            } else {
                node.set_path(inside.clone());
            }
            devices.nodes.push(Device { host: host_node, node });
        }
    }
    let binds = mounts.iter().filter(|asked| matches!(asked.kind, Kind::Bind { .. }));
    for volume in binds.map(|asked| &asked.mount) {
        let Some(source) = volume.source().as_ref() else { continue };
        if !source.is_dir() || volume.options().iter().flatten().any(|option| option == "dev") {
            devices.rules.extend(host::device_nodes(source).iter().map(|node| allow(node, "rw")));
        }
    }
    let rules = args.device_rules.iter().map(|text| parse_rule(text));
    devices.rules.extend(rules.collect::<Result<Vec<_>>>()?);
    Ok(devices)
}

fn allow(node: &oci::LinuxDevice, access: &str) -> oci::LinuxDeviceCgroup {
    let mut rule = oci::LinuxDeviceCgroup::from(node);
    rule.set_access(Some(access.to_owned()));
    rule
}

/// Some of r, w and m, each once at most.
fn is_access(text: &str) -> bool {
    let once = |letter| text.matches(letter).count() <= 1;
    !text.is_empty() && text.chars().all(|c| "rwm".contains(c) && once(c))
}

/// `HOST[:CONTAINER][:rwm]`, as host path, path in the container, access.
fn parse(text: &str) -> Result<(PathBuf, PathBuf, String)> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, access) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, access] if is_access(access) => (host, host, access),
        [host, inside] => (host, inside, "rwm"),
        [host, inside, access] => (host, inside, access),
        _ => ("", "", ""),
    };
    let is_path = |path: &str| path.starts_with('/') && !path.split('/').any(|part| part == "..");
    if !is_path(host) || !is_path(inside) || !is_access(access) {
        let right = "HOST, HOST:CONTAINER or HOST:CONTAINER:rwm, paths beginning with /; r is to read, w to write, m to make a node";
        return Err(bad("--device", text, right));
    }
    Ok((host.into(), inside.into(), access.to_owned()))
}

/// `c 10:229 rwm`: kind a, b or c, numbers or `*`.
fn parse_rule(text: &str) -> Result<oci::LinuxDeviceCgroup> {
    let right = "KIND MAJOR:MINOR ACCESS, such as 'c 10:229 rwm' or 'b 8:* r'";
    let wrong = || bad("--device-cgroup-rule", text, right);
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = words[..] else { return Err(wrong()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        _ => text.parse::<u32>().map(|number| Some(number.into())).map_err(|_| wrong()),
    };
    let mut rule = oci::LinuxDeviceCgroup::default();
    rule.set_allow(true);
    rule.set_typ(Some(match kind {
        "a" => oci::LinuxDeviceType::A,
        "b" => oci::LinuxDeviceType::B,
        "c" => oci::LinuxDeviceType::C,
        _ => return Err(wrong()),
    }));
    rule.set_major(number(major)?);
    rule.set_minor(number(minor)?);
    rule.set_access(Some(access.to_owned()).filter(|access| is_access(access)));
    rule.access().as_ref().ok_or_else(wrong)?;
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_as_docker_writes_them() {
        let parsed = |text| {
            let (host, inside, access) = parse(text).unwrap();
            format!("{} {} {access}", host.display(), inside.display())
        };
        assert_eq!(parsed("/dev/fuse"), "/dev/fuse /dev/fuse rwm");
        assert_eq!(parsed("/dev/fuse:/dev/f"), "/dev/fuse /dev/f rwm");
        assert_eq!(parsed("/dev/fuse:r"), "/dev/fuse /dev/fuse r");
        assert_eq!(parsed("/dev/fuse:/dev/f:rw"), "/dev/fuse /dev/f rw");
        for text in
            ["", "fuse", "/dev/fuse:x", "/dev/a:/b:", "/dev/a:/b:rr", "/dev/a:/../b", "/a:/b:r:w"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rules_as_docker_writes_them() {
        let rule = parse_rule("c 10:* rm").unwrap();
        assert_eq!((rule.major(), rule.minor()), (Some(10), None));
        assert_eq!(rule.access().as_deref(), Some("rm"));
        for text in
            ["", "c 10:229", "c 10 rwm", "d 1:1 r", "c 1:x r", "c 1:1 ", "c -1:1 r", "c  1:1 r"]
        {
            assert!(parse_rule(text).is_err(), "{text}");
        }
    }
}

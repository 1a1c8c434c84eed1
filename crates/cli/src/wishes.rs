//! `minibox run`'s arguments, understood: everything a person can get wrong on the command line is found
//! here, before anything is made.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use minibox_runtime::capabilities;
use minibox_runtime::user::{self, User};
use minibox_runtime::{Error, Result};
use oci_spec::runtime as oci;

use crate::args::RunArgs;

/// Default of `--pids-limit`: enough for any teaching, too few for a fork bomb.
pub(crate) const PIDS_LIMIT: i64 = 512;

/// What the arguments say, understood and checked.
#[derive(Debug)]
pub(crate) struct Wishes {
    pub memory: Option<i64>,
    pub cpu_quota: Option<i64>,
    pub host_network: bool,
    pub no_new_privs: bool,
    pub capabilities: oci::Capabilities,
    pub volumes: Vec<oci::Mount>,
    pub tmpfs: Vec<oci::Mount>,
    pub user: User,
    /// Lines to say before the start: what a flag opens.
    pub warnings: Vec<String>,
}

/// An error about one flag: its name, its value, what would be right.
pub(crate) fn bad(flag: &str, value: &str, right: &str) -> Error {
    Error::new(format!("{flag} {value:?} is not understood")).hint(right.to_owned())
}

/// Checks every flag's value; nothing has been made yet.
pub(crate) fn understand(args: &RunArgs) -> Result<Wishes> {
    if let Some(ports) = args.publish.first() {
        return Err(Error::new(format!(
            "-p {ports}: publishing ports needs a network bridge, which this version does not have"
        ))
        .hint("with --net host the program listens on the host's own ports"));
    }
    let host_network = match args.net.as_str() {
        "none" => false,
        "host" => true,
        "bridge" => {
            return Err(Error::new("--net bridge: there is no network bridge in this version")
                .hint("today: --net none (loopback only) or --net host (the host's network)"));
        }
        other => return Err(bad("--net", other, "none or host")),
    };
    if let Some(name) = &args.name {
        check_name(name)?;
    }
    if let Some(hostname) = &args.hostname
        && (hostname.is_empty() || hostname.len() > 64)
    {
        return Err(bad("--hostname", hostname, "1 to 64 bytes"));
    }
    if args.pids_limit == 0 || args.pids_limit < -1 {
        return Err(bad(
            "--pids-limit",
            &args.pids_limit.to_string(),
            "a number above 0, or -1 for no limit",
        ));
    }
    let mut warnings = Vec::new();
    let mut no_new_privs = !args.privileged;
    for option in &args.security_opt {
        no_new_privs = match option.as_str() {
            "no-new-privileges" | "no-new-privileges=true" | "no-new-privileges:true" => true,
            "no-new-privileges=false" | "no-new-privileges:false" => false,
            other => {
                return Err(bad(
                    "--security-opt",
                    other,
                    "no-new-privileges=true or no-new-privileges=false",
                ));
            }
        };
    }
    let capabilities = capability_set(args, &mut warnings)?;
    if args.privileged {
        warnings.push("--privileged: every capability and device of this host is open to the container; nothing of /proc and /sys is hidden".into());
    } else if !no_new_privs {
        warnings.push("--security-opt no-new-privileges=false: setuid programs in the container may raise their privileges".into());
    }
    if host_network {
        warnings.push(
            "--net host: the container sees and uses the host's network, abstract sockets included"
                .into(),
        );
    }
    let root = open_root(&args.rootfs)?;
    let parse = |text: &String| parse_volume(text, args.privileged);
    let volumes = args.volumes.iter().map(parse).collect::<Result<Vec<_>>>()?;
    let tmpfs = args.tmpfs.iter().map(|text| parse_tmpfs(text)).collect::<Result<Vec<_>>>()?;
    let mut places: Vec<&Path> =
        volumes.iter().chain(&tmpfs).map(|mount| mount.destination().as_path()).collect();
    places.sort();
    if let Some(twice) = places.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::new(format!("two mounts for the same place: {}", twice[0].display()))
            .hint("each --volume and --tmpfs needs a destination of its own"));
    }
    Ok(Wishes {
        memory: args.memory.as_deref().map(parse_size).transpose()?,
        cpu_quota: args.cpus.as_deref().map(parse_cpus).transpose()?,
        host_network,
        no_new_privs,
        capabilities,
        volumes,
        tmpfs,
        user: user::resolve(root.as_fd(), args.process.user.as_deref().unwrap_or(""))?,
        warnings,
    })
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
pub(crate) fn parse_size(text: &str) -> Result<i64> {
    let wrong = || bad("--memory", text, "a number of bytes, or with k, m or g: 64m");
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

/// `--cpus 0.5` as microseconds of every 100 000.
fn parse_cpus(text: &str) -> Result<i64> {
    let wrong = || bad("--cpus", text, "a number of CPUs from 0.01 on, such as 0.5 or 2");
    let cpus: f64 = text.parse().map_err(|_| wrong())?;
    if !cpus.is_finite() || !(0.01..=100_000.0).contains(&cpus) {
        return Err(wrong());
    }
    Ok((cpus * 100_000.0) as i64)
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

fn parse_volume(text: &str, devices: bool) -> Result<oci::Mount> {
    let right = "SRC:DST or SRC:DST:ro, both paths, DST beginning with /";
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, words) = match parts[..] {
        [source, destination] => (source, destination, ""),
        [source, destination, words] => (source, destination, words),
        _ => return Err(bad("--volume", text, right)),
    };
    if source.is_empty()
        || !destination.starts_with('/')
        || destination.trim_matches('/').is_empty()
    {
        return Err(bad("--volume", text, right));
    }
    if !source.contains('/') && !source.starts_with('.') {
        return Err(Error::new(format!(
            "--volume {text}: {source:?} would be a named volume, which this version does not have"
        ))
        .hint(format!("for a folder write its path: ./{source}:{destination}")));
    }
    let mut options = vec!["rbind"];
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" | "rw" | "nosuid" | "dev" | "nodev" | "noexec" | "rprivate" | "private"
            | "rslave" | "slave" | "rshared" | "shared" => options.push(word),
            "z" | "Z" => {} // SELinux relabelling: nothing to do where minibox sets no label.
            other => {
                return Err(bad(
                    "--volume option",
                    other,
                    "ro, rw, nosuid, nodev, noexec, rslave, rshared",
                ));
            }
        }
    }
    let path = Path::new(source);
    let absolute = std::path::absolute(path).map_err(|e| Error::of_io("find", path, &e))?;
    // A device node in a shared folder opens a device only where one asks for it; a device given as the
    // source itself is asked for.
    if !is_file(&absolute) && !devices && !options.contains(&"dev") {
        options.push("nodev");
    }
    Ok(mount("bind", &absolute.to_string_lossy(), destination, &options))
}

/// Anything but a folder; what is missing will be one.
fn is_file(path: &Path) -> bool {
    path.exists() && !path.is_dir()
}

fn parse_tmpfs(text: &str) -> Result<oci::Mount> {
    let (destination, words) = text.split_once(':').unwrap_or((text, ""));
    if !destination.starts_with('/') || destination.trim_matches('/').is_empty() {
        return Err(bad(
            "--tmpfs",
            text,
            "DST or DST:size=64m,mode=1777 with DST beginning with /",
        ));
    }
    let mut options = vec!["nosuid", "nodev", "noexec"];
    options.extend(words.split(',').filter(|word| !word.is_empty()));
    if !words.contains("mode=") {
        options.push("mode=1777");
    }
    Ok(mount("tmpfs", "tmpfs", destination, &options))
}

fn capability_set(args: &RunArgs, warnings: &mut Vec<String>) -> Result<oci::Capabilities> {
    let grantable = capabilities::grantable();
    let has = |number: u8| grantable & (1 << number) != 0;
    let all = || (0..64).filter(|number| has(*number)).filter_map(capabilities::name);
    let expand = |names: &[String]| -> Result<Vec<String>> {
        let mut expanded = Vec::new();
        for name in names {
            if name.eq_ignore_ascii_case("all") {
                expanded.extend(all());
            } else {
                expanded.extend(capabilities::name(capabilities::number(name)?));
            }
        }
        Ok(expanded)
    };
    let added = expand(&args.cap_add)?;
    for name in &added {
        if !has(capabilities::number(name)?) {
            return Err(Error::new(format!(
                "--cap-add {name}: this root does not have {name} itself"
            ))
            .hint("inside another container? That one must be given it first"));
        }
    }
    let is_all = |name: &String| name.eq_ignore_ascii_case("all");
    let drop_all = args.cap_drop.iter().any(is_all);
    let by_name: Vec<String> = args.cap_drop.iter().filter(|n| !is_all(n)).cloned().collect();
    let dropped = expand(&by_name)?;
    let mut names: Vec<String> = if args.privileged {
        all().collect()
    } else {
        all().filter(|name| capabilities::DEFAULT.contains(&name.as_str())).collect()
    };
    // Docker's order: `--cap-drop ALL --cap-add X` leaves X, `--cap-add ALL --cap-drop X` all but X.
    if drop_all {
        names.clear();
    }
    names.extend(added.iter().cloned());
    names.retain(|name| !dropped.contains(name));
    for name in
        args.cap_add.iter().filter(|name| !capabilities::DEFAULT.contains(&&*full_name(name)))
    {
        warnings.push(format!("--cap-add {name}: {}", opens(&full_name(name))));
    }
    names.iter().map(|name| parse_capability(name)).collect()
}

fn full_name(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

fn parse_capability(name: &str) -> Result<oci::Capability> {
    let short = name.strip_prefix("CAP_").unwrap_or(name);
    short.parse().map_err(|_| Error::new(format!("unknown capability {name:?}")))
}

/// What a capability beyond the default eleven opens, in one clause.
fn opens(name: &str) -> &'static str {
    match name {
        "CAP_ALL" => "root in the container can do nearly everything that root of the host can",
        "CAP_SYS_ADMIN" => {
            "the container may mount, join namespaces and much more: nearly root of the host"
        }
        "CAP_SYS_MODULE" => "the container may load kernel modules, that is, take over the host",
        "CAP_SYS_PTRACE" => "the container may read and change every process it can see",
        "CAP_SYS_RAWIO" => "the container may talk to hardware directly",
        "CAP_NET_ADMIN" => "the container may change its network's interfaces, routes and firewall",
        "CAP_NET_RAW" => "the container may forge and read packets on its network",
        "CAP_MKNOD" => "the container may make device nodes, disks of the host among them",
        "CAP_SYS_TIME" => "the container may set the host's clock",
        "CAP_SYS_BOOT" => "the container may reboot",
        "CAP_DAC_READ_SEARCH" => "the container may open files of the host by handle",
        "CAP_BPF" | "CAP_PERFMON" => "the container may look into the kernel",
        "CAP_SYSLOG" => "the container may read the kernel's log",
        "CAP_AUDIT_WRITE" => "the container may write the host's audit log",
        _ => "beyond the default eleven: see capabilities(7)",
    }
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
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "m", "-1", "0", "64x", "1e400", "nan", "9999999999g"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cpus_are_a_share_of_time() {
        assert_eq!(parse_cpus("0.5").unwrap(), 50_000);
        assert_eq!(parse_cpus("2").unwrap(), 200_000);
        for text in ["0", "-1", "x", "inf", ""] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn volumes_and_names() {
        let volume = parse_volume("/tmp:/data:ro", false).unwrap();
        assert_eq!(volume.options().as_ref().unwrap(), &["rbind", "ro", "nodev"]);
        for text in ["/tmp", "/tmp:data", "/tmp:/", "data:/x", "/tmp:/x:what", "a:b:c:d", ":/x"] {
            assert!(parse_volume(text, false).is_err(), "{text}");
        }
        for name in ["a", "web-1", "A.b_c"] {
            assert!(check_name(name).is_ok());
        }
        for name in ["", "-a", ".", "..", "a/b", "한"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}

//! Privileges: capabilities, no_new_privs, system calls, labels.

use std::path::Path;

use minibox_runtime::capabilities;
use minibox_runtime::{Error, Result};
use oci_spec::runtime as oci;

use super::bad;
use crate::args::SecurityArgs;
use crate::seccomp;

/// What the program may do.
#[derive(Debug)]
pub(crate) struct Privileges {
    pub no_new_privs: bool,
    pub capabilities: oci::Capabilities,
    /// Parts of /proc and /sys are hidden.
    pub masked: bool,
    /// Which system calls it may make; none for all of them.
    pub seccomp: Option<oci::LinuxSeccomp>,
    /// An AppArmor profile.
    pub apparmor: Option<String>,
}

pub(super) fn understand(args: &SecurityArgs, warnings: &mut Vec<String>) -> Result<Privileges> {
    let mut no_new_privs = !args.privileged;
    let mut masked = !args.privileged;
    let mut apparmor = None;
    let mut filter = None;
    for option in &args.security_opt {
        // docker takes `:` too.
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (key, value) {
            ("no-new-privileges", "" | "true") => no_new_privs = true,
            ("no-new-privileges", "false") => no_new_privs = false,
            ("systempaths", "unconfined") => masked = false,
            // What minibox does not set needs no switching off.
            ("label", "disable") => {}
            ("label", _) => {
                return Err(Error::new(format!(
                    "--security-opt {option}: minibox sets no SELinux labels"
                ))
                .hint("label=disable is what every container has"));
            }
            ("apparmor", profile) if !profile.is_empty() => apparmor = Some(profile.to_owned()),
            ("seccomp", profile) if !profile.is_empty() => filter = Some(profile),
            _ => {
                let right = "no-new-privileges=true|false, label=disable, apparmor=PROFILE|unconfined, seccomp=FILE|builtin|unconfined, systempaths=unconfined";
                return Err(bad("--security-opt", option, right));
            }
        }
    }
    let capabilities = capability_set(args, warnings)?;
    let seccomp = match filter {
        Some("unconfined") => None,
        Some("builtin") => seccomp::builtin(&capabilities)?,
        Some(path) => seccomp::file(Path::new(path), &capabilities)?,
        None if args.privileged => None,
        None if seccomp::is_possible() => seccomp::builtin(&capabilities)?,
        None => {
            warnings.push(String::from(
                "this kernel has no seccomp: the container may ask it for every call there is",
            ));
            None
        }
    };
    if let Some(filter) = filter.filter(|_| !args.privileged) {
        warnings.extend(opened(filter, seccomp.as_ref(), &capabilities)?);
    }
    if args.privileged {
        warnings.push("--privileged: every capability and device of this host is open to the container; nothing of /proc and /sys is hidden".into());
    } else if !no_new_privs {
        warnings.push("--security-opt no-new-privileges=false: setuid programs in the container may raise their privileges".into());
    }
    if !masked && !args.privileged {
        warnings.push("--security-opt systempaths=unconfined: the container sees and may turn what /proc and /sys offer".into());
    }
    Ok(Privileges { no_new_privs, capabilities, masked, seccomp, apparmor })
}

/// What a filter lets through that every other container's refuses.
fn opened(
    asked: &str,
    profile: Option<&oci::LinuxSeccomp>,
    capabilities: &oci::Capabilities,
) -> Result<Option<String>> {
    let Some(profile) = profile else {
        return Ok(Some(format!(
            "--security-opt seccomp={asked}: the container may ask the kernel for every call there is, also for those by which others have broken out (io_uring, AF_ALG, user namespaces of its own)"
        )));
    };
    let calls = seccomp::opened(profile, capabilities)?;
    let mut some = calls[..calls.len().min(8)].join(" ");
    if calls.len() > 8 {
        some += " …";
    }
    Ok((!calls.is_empty()).then(|| {
        format!(
            "--security-opt seccomp={asked} lets calls through that minibox's own filter refuses: {some}"
        )
    }))
}

fn capability_set(args: &SecurityArgs, warnings: &mut Vec<String>) -> Result<oci::Capabilities> {
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
        "CAP_MKNOD" => {
            "the container may make device nodes, which open only what its device list allows"
        }
        "CAP_SYS_TIME" => "the container may set the host's clock",
        "CAP_SYS_BOOT" => "the container may reboot",
        "CAP_DAC_READ_SEARCH" => "the container may open files of the host by handle",
        "CAP_BPF" | "CAP_PERFMON" => "the container may look into the kernel",
        "CAP_SYSLOG" => "the container may read the kernel's log",
        "CAP_AUDIT_WRITE" => "the container may write the host's audit log",
        _ => "beyond the default eleven: see capabilities(7)",
    }
}

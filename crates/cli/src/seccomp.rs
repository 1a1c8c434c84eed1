//! Filters for system calls, in docker's format: what config.json knows, and rules that depend on the machine and
//! on the container's capabilities.

use std::fs;
use std::path::Path;

use minibox_runtime::{Error, Result, capabilities, seccomp};
use oci_spec::runtime as oci;
use serde::Deserialize;

/// What every container gets that asks for nothing else.
const BUILTIN: &str = include_str!("seccomp/builtin.json");

/// A profile as docker reads it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: Option<oci::LinuxSeccompAction>,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<oci::Arch>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<oci::LinuxSeccompFilterFlag>>,
    listener_path: Option<std::path::PathBuf>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Entry>>,
}

/// On this architecture, calls by those others too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: oci::Arch,
    sub_architectures: Option<Vec<oci::Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    names: Option<Vec<String>>,
    /// Of old profiles.
    name: Option<String>,
    action: oci::LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<oci::LinuxSeccompArg>>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
}

/// When a rule counts, or does not.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    caps: Option<Vec<String>>,
    /// Docker's words: amd64, arm64, …
    arches: Option<Vec<String>>,
    /// "4.8"
    min_kernel: Option<String>,
}

/// Who asks.
struct Asker {
    /// The bounding set, a bit for each.
    capabilities: u64,
    architecture: &'static str,
    kernel: (u32, u32),
}

/// The filter that every container gets, for one with these capabilities.
pub(crate) fn builtin(bounding: &oci::Capabilities) -> Result<Option<oci::LinuxSeccomp>> {
    understand(BUILTIN, &Asker::new(bounding)?)
}

/// The filter in the file `path`; none where it asks for none.
pub(crate) fn file(path: &Path, bounding: &oci::Capabilities) -> Result<Option<oci::LinuxSeccomp>> {
    let named = |error: Error| Error {
        what: format!("--security-opt seccomp={}: {}", path.display(), error.what),
        ..error
    };
    let text = fs::read_to_string(path).map_err(|error| {
        Error::of_io("read", path, &error).hint("seccomp=FILE|builtin|unconfined; FILE is JSON")
    })?;
    let profile = understand(&text, &Asker::new(bounding)?).map_err(named)?;
    if let Some(profile) = &profile {
        seccomp::plan(profile, &oci::State::default()).map_err(named)?;
    }
    Ok(profile)
}

/// The calls that `profile` may let through and the builtin one never does.
pub(crate) fn opened(
    profile: &oci::LinuxSeccomp,
    bounding: &oci::Capabilities,
) -> Result<Vec<&'static str>> {
    let own = builtin(bounding)?.unwrap_or_default();
    let refused = seccomp::outlook(profile)?.refused;
    let mut calls = seccomp::outlook(&own)?.refused;
    calls.retain(|call| !refused.contains(call));
    Ok(calls)
}

/// Does this kernel filter calls?
pub(crate) fn is_possible() -> bool {
    Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

fn understand(text: &str, asker: &Asker) -> Result<Option<oci::LinuxSeccomp>> {
    let profile: Profile = serde_json::from_str(text)
        .map_err(|error| Error::new(format!("not a seccomp profile: {error}")))?;
    let entries = profile.syscalls.unwrap_or_default();
    let Some(default) = profile.default_action else {
        return if entries.is_empty() {
            Ok(None)
        } else {
            Err(Error::new("not a seccomp profile: it has no defaultAction"))
        };
    };
    let mut architectures = profile.architectures;
    if let Some(map) = profile.arch_map.filter(|map| !map.is_empty()) {
        if architectures.as_ref().is_some_and(|all| !all.is_empty()) {
            return Err(Error::new("both architectures and archMap are in it, and one is enough"));
        }
        let native = seccomp::calls::Architecture::native().map(|native| native.arch);
        let own = map.into_iter().find(|row| Some(row.architecture) == native);
        architectures = own.map(|row| {
            [row.architecture]
                .into_iter()
                .chain(row.sub_architectures.unwrap_or_default())
                .collect()
        });
    }
    let mut calls = Vec::with_capacity(entries.len());
    for entry in entries {
        if entry.names.is_some() && entry.name.is_some() {
            return Err(Error::new("a rule has both name and names, and one is enough"));
        }
        if asker.is_told(&entry)? {
            let mut call = oci::LinuxSyscall::default();
            call.set_names(entry.names.unwrap_or_else(|| entry.name.into_iter().collect()));
            call.set_action(entry.action);
            call.set_errno_ret(entry.errno_ret);
            call.set_args(entry.args.filter(|args| !args.is_empty()));
            calls.push(call);
        }
    }
    let mut made = oci::LinuxSeccomp::default();
    made.set_default_action(default);
    made.set_default_errno_ret(profile.default_errno_ret);
    made.set_architectures(architectures.filter(|all| !all.is_empty()));
    made.set_flags(profile.flags);
    made.set_listener_path(profile.listener_path);
    made.set_listener_metadata(profile.listener_metadata);
    made.set_syscalls(Some(calls));
    Ok(Some(made))
}

impl Asker {
    fn new(bounding: &oci::Capabilities) -> Result<Asker> {
        let mut capabilities = 0;
        for capability in bounding {
            capabilities |= 1 << capabilities::number(&capability.to_string())?;
        }
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Asker {
            capabilities,
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                "powerpc64" => "ppc64le",
                other => other,
            },
            kernel: version(&release).unwrap_or((0, 0)),
        })
    }

    /// Does this rule count?
    fn is_told(&self, entry: &Entry) -> Result<bool> {
        if let Some(excludes) = &entry.excludes {
            let caps = excludes.caps.iter().flatten().any(|name| self.has(name));
            let kernel = excludes.min_kernel.as_deref().map(|least| self.is_since(least));
            if caps || self.is_among(excludes) == Some(true) || kernel.transpose()? == Some(true) {
                return Ok(false);
            }
        }
        let Some(includes) = &entry.includes else { return Ok(true) };
        let caps = includes.caps.iter().flatten().all(|name| self.has(name));
        let kernel = includes.min_kernel.as_deref().map(|least| self.is_since(least));
        Ok(caps && self.is_among(includes) != Some(false) && kernel.transpose()? != Some(false))
    }

    /// A capability that this version does not know, nobody has.
    fn has(&self, capability: &str) -> bool {
        capabilities::number(capability).is_ok_and(|number| self.capabilities & (1 << number) != 0)
    }

    fn is_among(&self, condition: &Condition) -> Option<bool> {
        let arches = condition.arches.as_ref().filter(|arches| !arches.is_empty())?;
        Some(arches.iter().any(|arch| arch == self.architecture))
    }

    fn is_since(&self, least: &str) -> Result<bool> {
        let least = version(least).ok_or_else(|| {
            Error::new(format!("{least:?} is no kernel version")).hint("such as \"4.8\"")
        })?;
        Ok(self.kernel >= least)
    }
}

/// The first two numbers of a kernel's version.
fn version(text: &str) -> Option<(u32, u32)> {
    let (first, rest) = text.split_once('.')?;
    let second = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((first.parse().ok()?, second.parse().ok()?))
}

//! What a container was made with beside its OCI configuration: kept in its record for every later start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use oci_spec::runtime as oci;
use serde::{Deserialize, Serialize};

/// The part of a record that comes from the command line and not from the machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Standard input is kept open for it.
    pub interactive: bool,
    /// Its input ends with that of the client it was started with (docker's `StdinOnce`).
    pub stdin_once: bool,
    /// `--privileged`.
    pub privileged: bool,
    /// `-u`, as it was given.
    pub user: Option<String>,
    /// `--entrypoint`.
    pub entrypoint: Option<String>,
    /// Where its namespaces come from.
    pub modes: Modes,
    /// `--init`.
    pub init: bool,
    pub labels: BTreeMap<String, String>,
    /// Number of the signal that `stop` sends.
    pub stop_signal: i32,
    /// Seconds until `stop` kills; below 0: never.
    pub stop_timeout: i64,
    pub restart: Restart,
    pub health: Option<Health>,
    pub log: LogLimits,
    /// Its share of CPU time was given as a number of CPUs, not as quota and period.
    #[serde(default)]
    pub counts_cpus: bool,
    pub pidfile: Option<PathBuf>,
}

/// A mount that was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub kind: Kind,
    /// As config.json has it.
    pub mount: oci::Mount,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A file or folder of the host.
    Bind {
        /// A missing one becomes an empty folder.
        make: bool,
    },
    /// A volume.
    Volume {
        name: String,
        /// Nobody gave it the name.
        anonymous: bool,
        /// While it is empty, it is filled with what the root filesystem has in its place.
        copy: bool,
        /// For one that is made for it.
        labels: BTreeMap<String, String>,
    },
    /// A filesystem in memory.
    Tmpfs,
}

/// Where its namespaces come from, as docker spells it: `private`, `host`, `container:ID`, and what else
/// a kind knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Modes {
    /// `none` is a private one.
    pub network: String,
    pub pid: String,
    pub ipc: String,
    pub uts: String,
    pub cgroup: String,
    pub user: String,
}

/// When a container that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Restart {
    No,
    /// After an exit code other than 0; at most `most` times in a row, 0 for any number.
    OnFailure {
        most: u32,
    },
    Always,
    UnlessStopped,
}

impl Restart {
    /// Reads docker's spelling.
    pub(crate) fn parse(text: &str) -> Option<Restart> {
        let (name, most) = text.split_once(':').map_or((text, None), |(n, m)| (n, Some(m)));
        match (name, most) {
            ("no" | "", None) => Some(Restart::No),
            ("always", None) => Some(Restart::Always),
            ("unless-stopped", None) => Some(Restart::UnlessStopped),
            ("on-failure", None) => Some(Restart::OnFailure { most: 0 }),
            ("on-failure", Some(most)) => Some(Restart::OnFailure { most: most.parse().ok()? }),
            _ => None,
        }
    }

    /// Its name, docker's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::OnFailure { .. } => "on-failure",
            Restart::Always => "always",
            Restart::UnlessStopped => "unless-stopped",
        }
    }

    /// Is it to be started once more, after `restarts` times in a row and an end with `code`?
    pub(crate) fn again(self, code: Option<i32>, restarts: u32) -> bool {
        match self {
            Restart::No => false,
            Restart::OnFailure { most } => code != Some(0) && (most == 0 || restarts < most),
            Restart::Always | Restart::UnlessStopped => true,
        }
    }
}

/// How it is found out whether the container is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Health {
    /// The program and its arguments, run in the container.
    pub command: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// Time after the start in which failures do not count.
    pub start_period: Duration,
    /// Time between two checks in the start period.
    pub start_interval: Duration,
}

/// How much of a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogLimits {
    /// Bytes after which a new file is begun.
    pub max_size: u64,
    /// How many files there are at most.
    pub max_file: u32,
}

impl Default for LogLimits {
    /// As docker's `local` driver has it.
    fn default() -> LogLimits {
        LogLimits { max_size: 20 << 20, max_file: 5 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_as_docker_spells_them() {
        for (text, policy) in [
            ("no", Restart::No),
            ("always", Restart::Always),
            ("unless-stopped", Restart::UnlessStopped),
            ("on-failure", Restart::OnFailure { most: 0 }),
            ("on-failure:3", Restart::OnFailure { most: 3 }),
        ] {
            assert_eq!(Restart::parse(text), Some(policy));
        }
        for text in ["never", "always:3", "on-failure:", "on-failure:-1", "on-failure:x"] {
            assert_eq!(Restart::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_policy_decides_by_code_and_count() {
        let three = Restart::OnFailure { most: 3 };
        assert!(three.again(Some(1), 2));
        assert!(!three.again(Some(1), 3));
        assert!(!three.again(Some(0), 0));
        assert!(three.again(None, 0));
        assert!(Restart::Always.again(Some(0), 1000));
        assert!(!Restart::No.again(Some(1), 0));
    }
}

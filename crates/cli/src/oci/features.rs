//! `minibox-oci features`: what engines may ask for, runtime-spec features.md. tests/oci.rs asks for each.

use minibox_runtime::capabilities;
use minibox_runtime::seccomp::{self, calls};
use oci_spec::runtime::{
    LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator as Operator,
    MemoryPolicyFlagType as Policy, MemoryPolicyModeType as Mode,
};
use serde_json::json;

use super::show::print;
use crate::config::SPEC_VERSION;

/// `minibox-oci features`.
pub(super) fn features() -> u8 {
    let capabilities: Vec<String> =
        (0..64).filter_map(capabilities::name).map(|name| name.to_ascii_uppercase()).collect();
    let architectures: Vec<_> = calls::ALL.iter().map(|architecture| architecture.arch).collect();
    let flags = [
        Flag::SeccompFilterFlagLog,
        Flag::SeccompFilterFlagSpecAllow,
        Flag::SeccompFilterFlagTsync,
        Flag::SeccompFilterFlagWaitKillableRecv,
    ];
    let supported: Vec<_> = flags.into_iter().filter(|flag| seccomp::is_supported(*flag)).collect();
    print(&json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
        ],
        "mountOptions": OPTIONS,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": [
                    Action::ScmpActAllow, Action::ScmpActErrno, Action::ScmpActKill, Action::ScmpActKillProcess,
                    Action::ScmpActKillThread, Action::ScmpActLog, Action::ScmpActNotify, Action::ScmpActTrace,
                    Action::ScmpActTrap,
                ],
                "operators": [
                    Operator::ScmpCmpEq, Operator::ScmpCmpGe, Operator::ScmpCmpGt, Operator::ScmpCmpLe,
                    Operator::ScmpCmpLt, Operator::ScmpCmpMaskedEq, Operator::ScmpCmpNe,
                ],
                "archs": architectures,
                "knownFlags": flags,
                "supportedFlags": supported,
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "memoryPolicy": {
                "modes": [
                    Mode::MpolBind, Mode::MpolDefault, Mode::MpolInterleave, Mode::MpolLocal, Mode::MpolPreferred,
                    Mode::MpolPreferredMany, Mode::MpolWeightedInterleave,
                ],
                "flags": [Policy::MpolFNumaBalancing, Policy::MpolFRelativeNodes, Policy::MpolFStaticNodes],
            },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": { "org.opencontainers.runc.checkpoint.enabled": "false" },
    }));
    0
}

/// Those of any mount; filesystems have more of their own.
const OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnosuid",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "idmap",
    "ridmap",
];

//! The flags of `run` and `create`, one group per concern. wishes/ has a file for each of them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ProcessArgs;

#[derive(Debug, Args)]
#[command(override_usage = "minibox run [OPTIONS] ROOTFS COMMAND [ARG…]", disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Leave it running in the background; print its id
    #[arg(short, long, help_heading = "Options")]
    pub detach: bool,
    #[command(flatten)]
    pub create: CreateArgs,
    /// Keys that leave it running, with -it
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", help_heading = "Terminal")]
    pub detach_keys: String,
    /// Pass signals on to it
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Terminal")]
    pub sig_proxy: bool,
    /// Hand N descriptors of yours on, from number 3 on; not at later starts
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Process")]
    pub preserve_fds: u32,
    /// Print every step as it is done: what, the call, why, how long
    #[arg(long, help_heading = "Teaching")]
    pub explain: bool,
    /// Print the plan and do nothing; `=sh` prints it as a shell script
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "plan", help_heading = "Teaching")]
    pub dry_run: Option<DryRun>,
    /// Halt before each step until Enter
    #[arg(long, help_heading = "Teaching")]
    pub step: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong, help_heading = "Options")]
    pub help: Option<bool>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DryRun {
    Plan,
    Sh,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "minibox create [OPTIONS] ROOTFS COMMAND [ARG…]",
    disable_help_flag = true
)]
pub(crate) struct CreateVerbArgs {
    #[command(flatten)]
    pub create: CreateArgs,
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong, help_heading = "Options")]
    pub help: Option<bool>,
}

/// What `run` and `create` have in common.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The folder that becomes `/`
    #[arg(value_name = "ROOTFS")]
    pub rootfs: PathBuf,
    /// The program, and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
    /// Remove it, with all it has written, when it ends
    #[arg(long, help_heading = "Options")]
    pub rm: bool,
    /// Its name [default: made up, such as calm-otter]
    #[arg(long, value_name = "NAME", help_heading = "Options")]
    pub name: Option<String>,
    /// Write its id into a new file
    #[arg(long, value_name = "FILE", help_heading = "Options")]
    pub cidfile: Option<PathBuf>,
    /// Write the host PID of its program into a file, at every start
    #[arg(long, value_name = "FILE", help_heading = "Options")]
    pub pidfile: Option<PathBuf>,
    /// Say nothing that is not an error
    #[arg(short, long, help_heading = "Options")]
    pub quiet: bool,
    #[command(flatten)]
    pub labels: LabelArgs,
    #[command(flatten)]
    pub process: ProcessArgs,
    #[command(flatten)]
    pub program: ProgramArgs,
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub hardware: HardwareArgs,
    #[command(flatten)]
    pub mounts: MountArgs,
    #[command(flatten)]
    pub security: SecurityArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options")]
pub(crate) struct LabelArgs {
    /// A word about it, for filters and tools (repeatable)
    #[arg(short, long = "label", value_name = "KEY[=VALUE]")]
    pub labels: Vec<String>,
    /// A file of labels, one a line (repeatable)
    #[arg(long = "label-file", value_name = "FILE")]
    pub label_files: Vec<PathBuf>,
    /// An annotation of its OCI configuration (repeatable)
    #[arg(long = "annotation", value_name = "KEY=VALUE")]
    pub annotations: Vec<String>,
}

/// The program and what surrounds it, at its first start and at every later one.
#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProgramArgs {
    /// A program that COMMAND is given to as arguments
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// A further group of the user, by name or number (repeatable)
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Put a small init in front of it, which passes signals on and collects zombies
    #[arg(long)]
    pub init: bool,
    /// Most it may have of something: NAME=SOFT[:HARD] (repeatable)
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub ulimits: Vec<String>,
    /// How willingly the kernel ends it when memory runs out: -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub oom_score_adj: Option<i32>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Network and namespaces")]
pub(crate) struct NamespaceArgs {
    /// Network: none (loopback only), host, or container:NAME
    #[arg(long, visible_alias = "network", value_name = "MODE", default_value = "none")]
    pub net: String,
    /// Publish a port: needs a network bridge, which minibox does not have yet
    #[arg(short, long = "publish", value_name = "PORTS", hide = true)]
    pub publish: Vec<String>,
    /// Its host name [default: its name]
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Its NIS domain name
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// A line for its /etc/hosts; host-gateway is not known (repeatable)
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,
    /// A name server for its /etc/resolv.conf (repeatable)
    #[arg(long, value_name = "IP")]
    pub dns: Vec<String>,
    /// A search domain for its /etc/resolv.conf (repeatable)
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// An option for its /etc/resolv.conf (repeatable)
    #[arg(long, value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Process ids: private, host, or container:NAME
    #[arg(long, value_name = "MODE", default_value = "private")]
    pub pid: String,
    /// Message queues and shared memory: private, shareable, none, host, or container:NAME
    #[arg(long, value_name = "MODE", default_value = "private")]
    pub ipc: String,
    /// Host name: private, host, or container:NAME
    #[arg(long, value_name = "MODE", default_value = "private")]
    pub uts: String,
    /// View of the cgroups: private, host, or container:NAME
    #[arg(long, value_name = "MODE", default_value = "private")]
    pub cgroupns: String,
    /// User ids: host, auto[:size=N] (a range of its own), keep-id[:uid=N,gid=N] (a plain user's id is the same inside), private, or container:NAME
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
    /// A range of user ids; a plain user's OUTSIDE counts his own, 0 being himself (repeatable)
    #[arg(long = "uidmap", value_name = "INSIDE:OUTSIDE[:COUNT]", conflicts_with = "userns")]
    pub uid_maps: Vec<String>,
    /// A range of group ids [default: as --uidmap] (repeatable)
    #[arg(long = "gidmap", value_name = "INSIDE:OUTSIDE[:COUNT]", conflicts_with = "userns")]
    pub gid_maps: Vec<String>,
}

/// Limits that `update` can change.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Memory limit: bytes, or with k, m, g
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Memory and swap together; -1 for no limit of swap [default: twice --memory]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub memory_swap: Option<String>,
    /// Memory that it is left with when the host runs short
    #[arg(long, value_name = "SIZE")]
    pub memory_reservation: Option<String>,
    /// How many CPUs' worth of time, such as 0.5
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<String>,
    /// Its share of CPU time beside others, 1024 being the usual
    #[arg(short, long, value_name = "NUMBER")]
    pub cpu_shares: Option<u64>,
    /// Microseconds in which --cpu-quota is counted
    #[arg(long, value_name = "MICROSECONDS", conflicts_with = "cpus")]
    pub cpu_period: Option<u64>,
    /// Microseconds of CPU time in each period
    #[arg(
        long,
        value_name = "MICROSECONDS",
        conflicts_with = "cpus",
        allow_negative_numbers = true
    )]
    pub cpu_quota: Option<i64>,
    /// The CPUs it may use, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// The memory nodes it may use
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Most processes and threads at a time; -1 for no limit [default: 512]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// Its share of disk time beside others: 10 to 1000
    #[arg(long, value_name = "NUMBER")]
    pub blkio_weight: Option<u16>,
}

/// Devices, shared memory and kernel parameters.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct HardwareArgs {
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE", default_value = "64m")]
    pub shm_size: String,
    /// A kernel parameter of its namespaces (repeatable)
    #[arg(long = "sysctl", value_name = "KEY=VALUE")]
    pub sysctls: Vec<String>,
    /// A device of the host, or all below a folder: HOST[:CONTAINER][:rwm] (repeatable)
    #[arg(long = "device", value_name = "HOST[:CONTAINER][:rwm]")]
    pub devices: Vec<String>,
    /// Allow devices by number: 'c 10:229 rwm' (repeatable)
    #[arg(long = "device-cgroup-rule", value_name = "RULE")]
    pub device_rules: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct MountArgs {
    /// Mount a file or folder of the host, or a named volume: SRC:DST[:OPTIONS], VOLUME:DST, DST (repeatable)
    #[arg(short, long = "volume", value_name = "SRC:DST[:ro]")]
    pub volumes: Vec<String>,
    /// Mount anything, spelled out: type=bind|tmpfs|volume,source=…,target=… (repeatable)
    #[arg(long = "mount", value_name = "KEY=VALUE,…")]
    pub mounts: Vec<String>,
    /// Mount an empty filesystem in memory: DST or DST:size=64m,mode=755 (repeatable)
    #[arg(long, value_name = "DST[:OPTIONS]")]
    pub tmpfs: Vec<String>,
    /// Mount what another container has mounted (repeatable)
    #[arg(long, value_name = "CONTAINER[:ro]")]
    pub volumes_from: Vec<String>,
    /// Write into ROOTFS itself instead of a layer of the container's own
    #[arg(long, conflicts_with = "read_only")]
    pub rw: bool,
    /// Let nothing be written to the root
    #[arg(long)]
    pub read_only: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct SecurityArgs {
    /// Grant a capability, or ALL (repeatable)
    #[arg(long, value_name = "CAP")]
    pub cap_add: Vec<String>,
    /// Take a capability away, or ALL (repeatable)
    #[arg(long, value_name = "CAP")]
    pub cap_drop: Vec<String>,
    /// no-new-privileges=true|false, seccomp=FILE, … (repeatable)
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// All capabilities and devices, nothing masked: root inside is nearly root outside
    #[arg(long)]
    pub privileged: bool,
}

/// What happens to it while it runs and when it ends.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    /// Start it again when it ends: no, on-failure[:TIMES], always, unless-stopped [default: no]
    #[arg(long, value_name = "POLICY", help_heading = "Stop and restart")]
    pub restart: Option<String>,
    /// The signal that `stop` sends [default: TERM]
    #[arg(long, value_name = "SIGNAL", help_heading = "Stop and restart")]
    pub stop_signal: Option<String>,
    /// Seconds that `stop` waits before it kills; -1 for ever [default: 10]
    #[arg(
        long,
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Stop and restart"
    )]
    pub stop_timeout: Option<i64>,
    /// A shell command in the container that tells whether it is well, by exit code 0
    #[arg(
        long,
        value_name = "COMMAND",
        conflicts_with = "no_healthcheck",
        help_heading = "Health"
    )]
    pub health_cmd: Option<String>,
    /// Time between two checks, such as 30s
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "Health")]
    pub health_interval: String,
    /// Time after which a check has failed
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "Health")]
    pub health_timeout: String,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "TIMES", default_value_t = 3, help_heading = "Health")]
    pub health_retries: u32,
    /// Time after the start in which failures do not count
    #[arg(long, value_name = "TIME", default_value = "0s", help_heading = "Health")]
    pub health_start_period: String,
    /// Time between two checks in the start period
    #[arg(long, value_name = "TIME", default_value = "5s", help_heading = "Health")]
    pub health_start_interval: String,
    /// No checks
    #[arg(long, help_heading = "Health")]
    pub no_healthcheck: bool,
    /// max-size=SIZE or max-file=COUNT of its log (repeatable) [default: 5 files of 20m]
    #[arg(long = "log-opt", value_name = "KEY=VALUE", help_heading = "Log")]
    pub log_opts: Vec<String>,
}

//! The engines' grammar: runc's, to the letter.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The engines' command line.
#[derive(Debug, Parser)]
#[command(name = "minibox-oci", about = "Runs containers for engines, with runc's command line")]
#[command(disable_version_flag = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Print version, commit and the version of the specification
    #[arg(long, short = 'v')]
    pub version: bool,
    /// Folder of the containers' states
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Write a failure to this file
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How a failure is written there: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: String,
    /// Tell on standard error what is done
    #[arg(long)]
    pub debug: bool,
    /// Ask systemd for cgroups
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// cgroupfs, systemd or disabled
    #[arg(long, value_name = "MANAGER")]
    pub cgroup_manager: Option<String>,
    /// Accepted: what a plain user may do is asked of the kernel (true, false, auto)
    #[arg(long, value_name = "BOOL", default_value = "auto")]
    pub rootless: String,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a container, up to the last step before its program
    Create(CreateArgs),
    /// Start the program of a created container
    Start(Id),
    /// Create, start, and wait for the end
    Run(RunArgs),
    /// Print what a container is doing, as JSON
    State(Id),
    /// Send a signal to a container, TERM if none is named
    Kill(KillArgs),
    /// Remove what is left of a container
    Delete(DeleteArgs),
    /// Run another program in a container
    Exec(ExecArgs),
    /// List the containers of this root
    List(ListArgs),
    /// List the processes of a container
    Ps(PsArgs),
    /// Freeze a container
    Pause(Id),
    /// Let a frozen container go on
    Resume(Id),
    /// Change the limits of a container
    Update(UpdateArgs),
    /// Print figures of a container, and when memory runs out
    Events(EventsArgs),
    /// Write a config.json to start from
    Spec(SpecArgs),
    /// Print what this runtime can do, as JSON
    Features,
    #[command(hide = true, disable_help_flag = true)]
    Checkpoint(Rest),
    #[command(hide = true, disable_help_flag = true)]
    Restore(Rest),
}

#[derive(Debug, Args)]
pub(crate) struct Id {
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Whatever stands behind a verb that there is none of.
#[derive(Debug, Args)]
pub(crate) struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[arg(value_name = "ID")]
    pub id: String,
    /// Folder with config.json
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    #[command(flatten)]
    pub hand_over: HandOver,
    /// Lay the root over the host's, which is an initial ramdisk's and cannot be swapped
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Hand on so many further descriptors, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
}

/// What somebody is to have of a new process.
#[derive(Debug, Args)]
pub(crate) struct HandOver {
    /// Socket that receives the terminal's master side
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// Socket that receives a pidfd of the process
    #[arg(long, value_name = "PATH")]
    pub pidfd_socket: Option<PathBuf>,
    /// File to write the pid to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub create: CreateArgs,
    /// Return once it runs
    #[arg(long, short)]
    pub detach: bool,
    /// Do not delete it when it has ended
    #[arg(long)]
    pub keep: bool,
    /// Accepted: orphans are never collected by this process
    #[arg(long)]
    pub no_subreaper: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    #[arg(value_name = "ID")]
    pub id: String,
    #[arg(value_name = "SIGNAL", default_value = "TERM")]
    pub signal: String,
    /// To every process
    #[arg(long, short)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[arg(value_name = "ID")]
    pub id: String,
    /// Kill it first where it runs; no error where there is none
    #[arg(long, short)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[arg(value_name = "ID")]
    pub id: String,
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
    #[command(flatten)]
    pub hand_over: HandOver,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// KEY=VALUE of the environment
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Give it a terminal
    #[arg(long, short)]
    pub tty: bool,
    /// UID or UID:GID
    #[arg(long, short, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Further group ids
    #[arg(long, short = 'g', value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// File with a process object of config.json
    #[arg(long, short, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Return once it runs
    #[arg(long, short)]
    pub detach: bool,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// No setuid or file capability has an effect
    #[arg(long)]
    pub no_new_privs: bool,
    /// A further capability
    #[arg(long, short, value_name = "NAME")]
    pub cap: Vec<String>,
    /// Hand on so many further descriptors, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// A cgroup below the container's, that exists
    #[arg(long, value_name = "[CONTROLLER,…:]PATH")]
    pub cgroup: Vec<String>,
    /// Join a paused container too: the program runs when it is resumed
    #[arg(long)]
    pub ignore_paused: bool,
    /// Accepted: orphans are never collected by this process
    #[arg(long)]
    pub no_subreaper: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// table or json
    #[arg(long, short, default_value = "table")]
    pub format: String,
    /// Ids only
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    #[arg(value_name = "ID")]
    pub id: String,
    /// table or json
    #[arg(long, short, default_value = "table")]
    pub format: String,
    /// Options of ps(1), for the table
    #[arg(value_name = "PS OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[arg(value_name = "ID")]
    pub id: String,
    /// File with linux.resources of config.json, `-` for standard input; the other options then do not count
    #[arg(long, short, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    #[arg(long, value_name = "10-1000")]
    pub blkio_weight: Option<u16>,
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_quota: Option<i64>,
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_burst: Option<u64>,
    #[arg(long, value_name = "WEIGHT")]
    pub cpu_share: Option<u64>,
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<u64>,
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_runtime: Option<i64>,
    #[arg(long, value_name = "0|1")]
    pub cpu_idle: Option<i64>,
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<String>,
    #[arg(long, value_name = "BYTES")]
    pub memory_reservation: Option<String>,
    /// Memory and swap together; -1 for no limit
    #[arg(long, value_name = "BYTES")]
    pub memory_swap: Option<String>,
    /// Accepted: the kernel has no such limit any more
    #[arg(long, value_name = "BYTES", hide = true)]
    pub kernel_memory: Option<String>,
    /// Accepted: the kernel has no such limit any more
    #[arg(long, value_name = "BYTES", hide = true)]
    pub kernel_memory_tcp: Option<String>,
    #[arg(long, value_name = "N")]
    pub pids_limit: Option<i64>,
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[arg(value_name = "ID")]
    pub id: String,
    /// Print the figures once
    #[arg(long)]
    pub stats: bool,
    /// Time between two prints
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub interval: String,
}

#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    /// Folder to write config.json to
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// For a plain user
    #[arg(long)]
    pub rootless: bool,
}

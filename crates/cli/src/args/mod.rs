//! The command line, docker's grammar. Parsing only: what it means is decided in config.rs and the verbs.

mod create;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};

use crate::complete::Shell;
use crate::language::Language;
pub(crate) use create::*;

const EXAMPLES: &str = "\
Examples:
  minibox run ./rootfs python while_loop.py      run a program, isolated
  minibox run -it ./rootfs sh                    a shell inside, to look around
  minibox run -d --name web ./rootfs python while_loop.py
  minibox ps                                     host PID and PID inside
  minibox run --explain ./rootfs true            every step, as it is done";

/// Run a program in a container, and see how it is done.
// Of a flag that is given twice the last counts, as for docker: a script's defaults come first.
#[derive(Debug, Parser)]
#[command(name = "minibox", version, after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 100, args_override_self = true)]
pub(crate) struct Cli {
    /// Folder for what lives with the processes [default: /run/minibox, or below XDG_RUNTIME_DIR]
    #[arg(
        long,
        global = true,
        help_heading = "With every verb",
        value_name = "DIR",
        env = "MINIBOX_RUN_DIR",
        hide_env_values = true
    )]
    pub run_dir: Option<PathBuf>,
    /// Folder for what outlives a reboot [default: /var/lib/minibox, or below XDG_DATA_HOME]
    #[arg(
        long,
        global = true,
        help_heading = "With every verb",
        value_name = "DIR",
        env = "MINIBOX_DATA_DIR",
        hide_env_values = true
    )]
    pub data_dir: Option<PathBuf>,
    /// Print what minibox does internally to stderr
    #[arg(
        long,
        global = true,
        help_heading = "With every verb",
        env = "MINIBOX_DEBUG",
        value_parser = FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub debug: bool,
    /// Language of help and messages [default: the locale's]
    #[arg(
        long,
        global = true,
        help_heading = "With every verb",
        env = "MINIBOX_LANG",
        hide_env_values = true
    )]
    pub lang: Option<Language>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a program in a new container
    Run(Box<RunArgs>),
    /// Make a container without starting it; print its id
    Create(Box<CreateVerbArgs>),
    /// Start containers that were made or have ended
    Start(StartArgs),
    /// Run another program in a running container
    Exec(ExecArgs),
    /// See and type what a running container prints and reads
    Attach(AttachArgs),
    /// List containers
    Ps(PsArgs),
    /// Show what is known of containers, as JSON
    Inspect(InspectArgs),
    /// Show what a container has printed
    Logs(LogsArgs),
    /// Show the processes of a container
    Top(TopArgs),
    /// Watch containers from outside and inside, on the whole screen
    Watch(WatchArgs),
    /// Show who has made whom: the processes of this host and of containers
    Tree(TreeArgs),
    /// Show what a process shares with this host or another process: its namespaces
    Ns(NsArgs),
    /// Show the threads of a process: what they share, and where each is
    Threads(LookTargetArgs),
    /// Walk through /proc/PID: which file answers which question
    Proc(ProcArgs),
    /// Show which system calls a process may make
    Seccomp(LookTargetArgs),
    /// Show how well containers are isolated from this host, and what would mend it
    Audit(AuditArgs),
    /// Show why a container ended, or what it waits for
    Why(LookTargetArgs),
    /// Show what a process may do: its capabilities
    Caps(LookTargetArgs),
    /// Show what containers use, live
    Stats(StatsArgs),
    /// Show the memory of a process: its address space, drawn
    Mem(MemArgs),
    /// Show which files a process sees: its mounts, and where they come from
    Mounts(MountsArgs),
    /// Show the network of a process: interfaces, routes, sockets
    Net(NetArgs),
    /// Ask containers to end, and end them after a while
    Stop(StopArgs),
    /// Stop containers and start them again
    Restart(RestartArgs),
    /// Send a signal to containers [default: KILL]
    Kill(KillArgs),
    /// Let every process of containers sleep
    Pause(PauseArgs),
    /// Wake containers that were paused
    Unpause(PauseArgs),
    /// Wait until containers end, and print their exit codes
    Wait(Names),
    /// Remove containers that have ended
    Rm(RmArgs),
    /// Give a container another name
    Rename(RenameArgs),
    /// Change limits and restart policy of containers
    Update(UpdateArgs),
    /// Copy files between a container and this host
    Cp(CpArgs),
    /// Show which files a container has added, changed, deleted
    Diff(DiffArgs),
    /// Write a container's files as a tar archive
    Export(ExportArgs),
    /// Volumes: folders with a name, which outlive containers
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Show what happens to containers, as it happens
    Events(EventsArgs),
    /// Remove all containers that have ended
    Prune(PruneArgs),
    /// Show what this machine offers for containers
    Info(InfoArgs),
    /// Write a file that starts a container with the machine
    #[command(subcommand)]
    Generate(GenerateVerb),
    /// Find what a crash left behind, and remove it with --force
    Gc(GcArgs),
    /// Learn how it all works, in lessons with real commands
    Lab(LabArgs),
    /// Show the version
    Version(VersionArgs),
    /// Print the script that makes a shell complete minibox's words
    Completion(CompletionArgs),
    /// Write the manual's pages into a folder
    #[command(hide = true)]
    Man(ManArgs),
    /// Print the table of steps
    #[command(hide = true)]
    Steps(StepsArgs),
}

/// What `run`, `create` and `exec` have in common.
#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessArgs {
    /// Pass standard input on
    #[arg(short, long, help_heading = "Terminal")]
    pub interactive: bool,
    /// Give it a terminal of its own
    #[arg(short, long, help_heading = "Terminal")]
    pub tty: bool,
    /// Set an environment variable; KEY alone takes yours (repeatable)
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,
    /// A file of environment variables, one a line (repeatable)
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Run as NAME, UID, NAME:GROUP or UID:GID of the container
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "minibox exec [OPTIONS] CONTAINER COMMAND [ARG…]")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Leave it running in the background
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    pub detach: bool,
    /// All capabilities
    #[arg(long)]
    pub privileged: bool,
    /// Print every step as it is done
    #[arg(long)]
    pub explain: bool,
    /// Name or id
    pub container: String,
    /// The program, and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<String>,
}

/// How a list is printed.
#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// table, json, a template such as '{{.Names}}', or 'table {{.Names}}\t{{.Status}}'
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// How a document is printed.
#[derive(Debug, Args)]
pub(crate) struct DocumentFormatArgs {
    /// json, or a template such as '{{.State.Pid}}'
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Show what it prints, and pass signals on
    #[arg(short, long)]
    pub attach: bool,
    /// Pass standard input on too
    #[arg(short, long)]
    pub interactive: bool,
    /// Keys that leave it running
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub detach_keys: String,
    /// Start every container whose restart policy says so, as after a reboot
    #[arg(long, conflicts_with_all = ["attach", "interactive", "containers"])]
    pub at_boot: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER", required_unless_present = "at_boot")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Pass nothing that is typed on
    #[arg(long)]
    pub no_stdin: bool,
    /// Pass signals on to it
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub sig_proxy: bool,
    /// Keys that leave it running
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub detach_keys: String,
    /// Name or id
    pub container: String,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Also those that have ended
    #[arg(short, long)]
    pub all: bool,
    /// Only those of which this is true, such as status=exited or label=a (repeatable)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// The N that were made last, running or not
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<usize>,
    /// The one that was made last
    #[arg(short, long)]
    pub latest: bool,
    /// Cut nothing short
    #[arg(long)]
    pub no_trunc: bool,
    /// Ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// How much they have written
    #[arg(short, long)]
    pub size: bool,
    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub format: DocumentFormatArgs,
    /// container or volume [default: whatever has the name]
    #[arg(long = "type", value_name = "KIND")]
    pub kind: Option<String>,
    /// How much a container has written
    #[arg(short, long)]
    pub size: bool,
    /// Names or ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Name or id
    pub container: String,
    /// Options of ps(1), such as -eo pid,comm
    #[arg(value_name = "PS OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

/// How often, and as what, a verb shows what the kernel knows of a process.
#[derive(Debug, Args)]
pub(crate) struct LookArgs {
    /// Show it again and again, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    /// Seconds from one look to the next, with --watch
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    pub interval: f64,
    #[command(flatten)]
    pub format: DocumentFormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TreeArgs {
    /// Their threads too
    #[arg(short = 'T', long)]
    pub threads: bool,
    /// The kernel's own threads too
    #[arg(short, long, conflicts_with = "target")]
    pub all: bool,
    #[command(flatten)]
    pub look: LookArgs,
    /// Name or id of a container, PID of any process, or self [default: all of this host]
    #[arg(value_name = "CONTAINER|PID")]
    pub target: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NsArgs {
    #[command(flatten)]
    pub look: LookArgs,
    /// Name or id of a container, PID of any process, or self [default: self]
    #[arg(value_name = "CONTAINER|PID")]
    pub target: Option<String>,
    /// Another, to be compared with it
    #[arg(value_name = "CONTAINER|PID")]
    pub other: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ProcArgs {
    /// Values of environment variables too, which may be secrets
    #[arg(long)]
    pub values: bool,
    #[command(flatten)]
    pub look: LookArgs,
    /// Name or id of a container, PID of any process, or self
    #[arg(value_name = "CONTAINER|PID")]
    pub target: String,
    /// One file of that folder, such as status, explained line by line
    #[arg(value_name = "FILE")]
    pub file: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LookTargetArgs {
    #[command(flatten)]
    pub look: LookArgs,
    /// Name or id of a container, PID of any process, or self
    #[arg(value_name = "CONTAINER|PID")]
    pub target: String,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// What this command was started from: a shell, or a container's program
    #[arg(long = "self", conflicts_with = "target")]
    pub myself: bool,
    /// Exit with 1 where a score is below this
    #[arg(long, value_name = "SCORE", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub fail_under: Option<u32>,
    #[command(flatten)]
    pub look: LookArgs,
    /// Name or id of a container, PID of any process, or self [default: every container that runs]
    #[arg(value_name = "CONTAINER|PID")]
    pub target: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Also those that do not run
    #[arg(short, long)]
    pub all: bool,
    /// Show them once
    #[arg(long)]
    pub no_stream: bool,
    /// Cut nothing short
    #[arg(long)]
    pub no_trunc: bool,
    #[command(flatten)]
    pub format: FormatArgs,
    /// Names or ids of containers, PIDs of any processes [default: all containers that run]
    #[arg(value_name = "CONTAINER|PID")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct MountsArgs {
    #[command(flatten)]
    pub look: LookArgs,
    /// Name or id of a container, PID of any process, or self
    #[arg(value_name = "CONTAINER|PID")]
    pub target: String,
}

#[derive(Debug, Args)]
pub(crate) struct NetArgs {
    #[command(flatten)]
    pub look: LookArgs,
    /// Name or id of a container, PID of any process, or self
    #[arg(value_name = "CONTAINER|PID")]
    pub target: String,
}

#[derive(Debug, Args)]
pub(crate) struct MemArgs {
    /// List every mapping, and draw nothing
    #[arg(short, long)]
    pub all: bool,
    #[command(flatten)]
    pub look: LookArgs,
    /// Name or id of a container, PID of any process, or self
    #[arg(value_name = "CONTAINER|PID")]
    pub target: String,
}

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Go on until the container ends
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last N lines, or all
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value = "all",
        allow_negative_numbers = true
    )]
    pub tail: String,
    /// From this time on: 2026-01-31T12:00:00, a Unix time, or 10m for ten minutes ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Until this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Put the time before each line
    #[arg(short, long)]
    pub timestamps: bool,
    /// Name or id
    pub container: String,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Seconds to wait before it is killed; -1 for ever [default: its --stop-timeout, or 10]
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub time: Option<i64>,
    /// The signal to ask with [default: its --stop-signal, or TERM]
    #[arg(short, long)]
    pub signal: Option<String>,
    /// Stop every running one, to be started again by `start --at-boot`
    #[arg(long, conflicts_with = "containers")]
    pub at_shutdown: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER", required_unless_present = "at_shutdown")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Seconds to wait before it is killed; -1 for ever [default: its --stop-timeout, or 10]
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub time: Option<i64>,
    /// The signal to ask with [default: its --stop-signal, or TERM]
    #[arg(short, long)]
    pub signal: Option<String>,
    #[command(flatten)]
    pub names: Names,
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Name or number of the signal
    #[arg(short, long, default_value = "KILL")]
    pub signal: String,
    #[command(flatten)]
    pub names: Names,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    pub names: Names,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Kill it first where it runs; a missing one is no error
    #[arg(short, long)]
    pub force: bool,
    /// Its volumes without a name too
    #[arg(short, long)]
    pub volumes: bool,
    #[command(flatten)]
    pub names: Names,
}

#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// Name or id
    pub container: String,
    /// The new name
    pub name: String,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Start it again when it ends: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    #[command(flatten)]
    pub names: Names,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "minibox cp [OPTIONS] CONTAINER:SRC DST|-\n       minibox cp [OPTIONS] SRC|- CONTAINER:DST"
)]
pub(crate) struct CpArgs {
    /// Keep owners
    #[arg(short, long)]
    pub archive: bool,
    /// Copy what a symbolic link SRC leads to
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// A path, CONTAINER:PATH, or - for a tar archive on standard input
    pub source: OsString,
    /// A path, CONTAINER:PATH, or - for a tar archive on standard output
    pub destination: OsString,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Name or id
    pub container: String,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write to this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Name or id
    pub container: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeVerb {
    /// Make a volume; print its name
    Create(VolumeCreateArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(VolumeLsArgs),
    /// Show what is known of volumes, as JSON
    Inspect(VolumeInspectArgs),
    /// Remove volumes that no container uses
    #[command(visible_alias = "remove")]
    Rm(VolumeRmArgs),
    /// Remove all volumes that no container uses
    Prune(VolumePruneArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VolumeCreateArgs {
    /// A word about it (repeatable)
    #[arg(long = "label", value_name = "KEY[=VALUE]")]
    pub labels: Vec<String>,
    /// Only local
    #[arg(short, long, default_value = "local")]
    pub driver: String,
    /// Options of the driver (repeatable)
    #[arg(short, long = "opt", value_name = "KEY=VALUE")]
    pub options: Vec<String>,
    /// Its name [default: 64 hexadecimal digits]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeLsArgs {
    /// Only those of which this is true: name=, label=, dangling= (repeatable)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// Names only
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeInspectArgs {
    #[command(flatten)]
    pub format: DocumentFormatArgs,
    /// Names
    #[arg(value_name = "VOLUME", required = true)]
    pub volumes: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeRmArgs {
    /// A missing one is no error
    #[arg(short, long)]
    pub force: bool,
    /// Names
    #[arg(value_name = "VOLUME", required = true)]
    pub volumes: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VolumePruneArgs {
    /// Those with a name too
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only those of which this is true: label= (repeatable)
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only those of which this is true: container=, event=, label=, type= (repeatable)
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// From this time on
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Until this time, then end
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Volumes without a name that no container uses too
    #[arg(long)]
    pub volumes: bool,
    /// Only those of which this is true: until=, label= (repeatable)
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Print the commands that switch on what is missing
    #[arg(long)]
    pub advice: bool,
    #[command(flatten)]
    pub format: DocumentFormatArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GenerateVerb {
    /// Print a systemd unit for a container
    Systemd(GenerateSystemdArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GenerateSystemdArgs {
    /// Make the container at every start and remove it at every stop
    #[arg(long)]
    pub new: bool,
    /// Use its name instead of its id
    #[arg(short, long)]
    pub name: bool,
    /// Write the unit to a file in this folder instead
    #[arg(short, long)]
    pub files: bool,
    /// systemd's Restart=
    #[arg(long, value_name = "POLICY", default_value = "on-failure")]
    pub restart_policy: String,
    /// Seconds to wait before it is killed
    #[arg(short, long, value_name = "SECONDS")]
    pub time: Option<u32>,
    /// Name or id
    pub container: String,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    pub interval: f64,
    /// The container to begin with: name or id
    pub container: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    /// From the beginning, not from where you left it
    #[arg(long)]
    pub restart: bool,
    /// The root filesystem of its containers
    #[arg(long, value_name = "DIR", default_value = "./rootfs")]
    pub rootfs: PathBuf,
    /// A lesson's name or number [default: all are listed]
    pub lesson: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    pub format: DocumentFormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Remove what is found
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// Which shell
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Where they are written
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct StepsArgs {
    /// Only markdown
    #[arg(long, default_value = "markdown")]
    pub format: String,
}

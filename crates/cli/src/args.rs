//! The command line, docker's grammar. Parsing only: what it means is decided in config.rs and the verbs.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  minibox run ./rootfs python while_loop.py      run a program, isolated
  minibox run -it ./rootfs sh                    a shell inside, to look around
  minibox run -d --name web ./rootfs python while_loop.py
  minibox ps                                     host PID and PID inside
  minibox run --explain ./rootfs true            every step, as it is done";

/// Run a program in a container, and see how it is done.
#[derive(Debug, Parser)]
#[command(name = "minibox", version, after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 100)]
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
        hide_env_values = true
    )]
    pub debug: bool,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a program in a new container
    Run(Box<RunArgs>),
    /// Run another program in a running container
    Exec(ExecArgs),
    /// List containers
    Ps(PsArgs),
    /// Show what is known of containers, as JSON
    Inspect(Names),
    /// Show what a container has printed
    Logs(LogsArgs),
    /// Ask containers to end, and end them after a while
    Stop(StopArgs),
    /// Send a signal to containers [default: KILL]
    Kill(KillArgs),
    /// Wait until containers end, and print their exit codes
    Wait(Names),
    /// Remove containers that have ended
    Rm(RmArgs),
    /// Find what a crash left behind, and remove it with --force
    Gc(GcArgs),
    /// Show the version
    Version,
    /// Print the table of steps
    #[command(hide = true)]
    Steps(StepsArgs),
}

#[derive(Debug, Args)]
#[command(override_usage = "minibox run [OPTIONS] ROOTFS COMMAND [ARG…]", disable_help_flag = true)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Leave it running in the background; print its id
    #[arg(short, long)]
    pub detach: bool,
    /// Remove it, with all it has written, when it ends
    #[arg(long)]
    pub rm: bool,
    /// Its name [default: made up, such as calm-otter]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Its host name [default: its name]
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Mount a file or folder of the host: SRC:DST or SRC:DST:ro (repeatable)
    #[arg(short, long = "volume", value_name = "SRC:DST[:ro]")]
    pub volumes: Vec<String>,
    /// Mount an empty filesystem in memory: DST or DST:size=64m,mode=755 (repeatable)
    #[arg(long, value_name = "DST[:OPTIONS]")]
    pub tmpfs: Vec<String>,
    /// Network: none (loopback only) or host
    #[arg(long, visible_alias = "network", value_name = "MODE", default_value = "none")]
    pub net: String,
    /// Publish a port: needs a network bridge, which minibox does not have yet
    #[arg(short, long = "publish", value_name = "PORTS", hide = true)]
    pub publish: Vec<String>,
    /// Memory limit: bytes, or with k, m, g
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// How many CPUs' worth of time, such as 0.5
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<String>,
    /// Most processes and threads at a time; -1 for no limit
    #[arg(long, value_name = "NUMBER", default_value = "512", allow_negative_numbers = true)]
    pub pids_limit: i64,
    /// Grant a capability, or ALL (repeatable)
    #[arg(long, value_name = "CAP")]
    pub cap_add: Vec<String>,
    /// Take a capability away, or ALL (repeatable)
    #[arg(long, value_name = "CAP")]
    pub cap_drop: Vec<String>,
    /// no-new-privileges=true|false (repeatable)
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// All capabilities and devices, nothing masked: root inside is nearly root outside
    #[arg(long)]
    pub privileged: bool,
    /// Write into ROOTFS itself instead of a layer of the container's own
    #[arg(long, conflicts_with = "read_only")]
    pub rw: bool,
    /// Let nothing be written to the root
    #[arg(long)]
    pub read_only: bool,
    /// Print every step as it is done: what, the call, why, how long
    #[arg(long)]
    pub explain: bool,
    /// Print the plan and do nothing; `=sh` prints it as a shell script
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "plan")]
    pub dry_run: Option<DryRun>,
    /// Halt before each step until Enter
    #[arg(long)]
    pub step: bool,
    /// The folder that becomes `/`
    #[arg(value_name = "ROOTFS")]
    pub rootfs: PathBuf,
    /// The program, and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    pub help: Option<bool>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DryRun {
    Plan,
    Sh,
}

/// What `run` and `exec` have in common.
#[derive(Debug, Args)]
pub(crate) struct ProcessArgs {
    /// Pass standard input on
    #[arg(short, long)]
    pub interactive: bool,
    /// Give it a terminal of its own
    #[arg(short, long)]
    pub tty: bool,
    /// Set an environment variable; KEY alone takes yours (repeatable)
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,
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

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Also those that have ended
    #[arg(short, long)]
    pub all: bool,
    /// Ids only
    #[arg(short, long)]
    pub quiet: bool,
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
    /// Name or id
    pub container: String,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Seconds to wait before it is killed
    #[arg(short, long, default_value_t = 10, value_name = "SECONDS")]
    pub time: u32,
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
pub(crate) struct RmArgs {
    /// Kill it first where it runs; a missing one is no error
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub names: Names,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Remove what is found
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StepsArgs {
    /// Only markdown
    #[arg(long, default_value = "markdown")]
    pub format: String,
}

//! Every flag of docker's command line for the verbs that minibox has, as docker/cli's reference lists them
//! (version 29), and what becomes of it. docs/docker-compat.md is made from this.

/// What becomes of a flag of docker's.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    /// It means the same.
    Same,
    /// It means something else, and what.
    Differs(&'static str),
    /// It is refused, and why.
    Absent(&'static str),
    /// docker has no such flag.
    Ours(&'static str),
}

/// One flag: its names, what becomes of it, and where that is shown: the name of a case of compat/cases.rs,
/// or `file::function` of a test.
pub(crate) type Flag = (&'static str, Verdict, &'static str);

/// The flags of one verb.
pub(crate) struct Verb {
    /// minibox's words for it.
    pub name: &'static str,
    /// docker's words for it, where they are others.
    pub docker: &'static str,
    pub flags: &'static [Flag],
}

use Verdict::{Absent, Differs, Ours, Same};

const NO_BRIDGE: &str = "there is no network bridge yet";
const NO_IMAGES: &str = "there are no images";
const NO_DAEMON: &str = "there is no daemon";
const WINDOWS: &str = "Windows only";
const SWARM: &str = "volumes of a swarm";
const ONE_DRIVER: &str = "volumes are folders, and nothing else";
const REAL_TIME: &str = "needs a kernel with real-time groups, which no distribution builds";
const BY_DEVICE: &str = "no limits for single disks yet";

/// docker's verbs that minibox has not, and why.
pub(crate) const ABSENT_VERBS: &[(&[&str], &str)] = &[
    (
        &[
            "build", "builder", "commit", "history", "image", "images", "import", "load", "login",
            "logout", "manifest", "pull", "push", "rmi", "save", "search", "tag", "trust",
        ],
        NO_IMAGES,
    ),
    (&["network", "port"], NO_BRIDGE),
    (&["context", "plugin"], NO_DAEMON),
    (&["system"], "`info`, `events` and `prune` are verbs of their own"),
    (&["config", "node", "secret", "service", "stack", "swarm"], "there is no swarm"),
    (&["checkpoint"], "there are no checkpoints"),
];

pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "run",
        docker: "run, and create but for -d, --detach-keys and --sig-proxy",
        flags: &[
            (
                "--add-host",
                Differs("host-gateway is not known, since there is no bridge"),
                "lines of /etc/hosts",
            ),
            ("--annotation", Same, "create_start::annotations_stand_in_its_configuration"),
            ("-a, --attach", Absent("-d, -i and the shell's redirections say what goes where"), ""),
            ("--blkio-weight", Same, "inspect: every limit"),
            ("--blkio-weight-device", Absent(BY_DEVICE), ""),
            (
                "--cap-add",
                Differs("says in one line what it opens; the set that it adds to is smaller"),
                "capabilities",
            ),
            ("--cap-drop", Same, "capabilities"),
            ("--cgroup-parent", Absent("all lie in one cgroup of minibox's own"), ""),
            (
                "--cgroupns",
                Differs("container:NAME too"),
                "namespaces_shared::host_modes_share_the_hosts",
            ),
            ("--cidfile", Same, "cidfile"),
            ("--cpu-count", Absent(WINDOWS), ""),
            ("--cpu-percent", Absent(WINDOWS), ""),
            ("--cpu-period", Same, "inspect: every limit"),
            ("--cpu-quota", Same, "inspect: every limit"),
            ("--cpu-rt-period", Absent(REAL_TIME), ""),
            ("--cpu-rt-runtime", Absent(REAL_TIME), ""),
            ("-c, --cpu-shares", Same, "inspect: limits"),
            ("--cpus", Same, "limits"),
            ("--cpuset-cpus", Same, "limits"),
            ("--cpuset-mems", Same, "inspect: every limit"),
            (
                "-d, --detach",
                Differs(
                    "says the host PID of the program on standard error, as a shell does of its jobs",
                ),
                "in the background",
            ),
            ("--detach-keys", Same, "keys to detach"),
            (
                "--device",
                Differs("a plain user gets the host's own node, as with podman"),
                "devices",
            ),
            ("--device-cgroup-rule", Same, "devices::devices_can_be_allowed_by_number"),
            ("--device-read-bps", Absent(BY_DEVICE), ""),
            ("--device-read-iops", Absent(BY_DEVICE), ""),
            ("--device-write-bps", Absent(BY_DEVICE), ""),
            ("--device-write-iops", Absent(BY_DEVICE), ""),
            ("--dns", Same, "name servers"),
            ("--dns-option", Same, "name servers"),
            ("--dns-search", Same, "name servers"),
            ("--domainname", Same, "namespaces_shared::what_excludes_each_other_is_refused"),
            ("--entrypoint", Same, "entry point"),
            ("-e, --env", Same, "environment"),
            ("--env-file", Same, "environment"),
            ("--expose", Absent(NO_BRIDGE), ""),
            ("--gpus", Absent("--device hands a graphics card on"), ""),
            ("--group-add", Differs("refused where a plain user has but one id"), "user"),
            ("--health-cmd", Same, "health checks"),
            ("--health-interval", Same, "health checks"),
            ("--health-retries", Same, "health checks"),
            ("--health-start-interval", Same, "health::in_the_start_period_failures_do_not_count"),
            ("--health-start-period", Same, "health checks"),
            ("--health-timeout", Same, "health checks"),
            ("--help", Same, "cli::help_of_each_verb_is_complete_and_has_no_colour"),
            (
                "-h, --hostname",
                Differs("without it the host name is the container's name, not its id"),
                "host name",
            ),
            ("--init", Same, "a small init"),
            ("-i, --interactive", Same, "standard input"),
            ("--io-maxbandwidth", Absent(WINDOWS), ""),
            ("--io-maxiops", Absent(WINDOWS), ""),
            ("--ip", Absent(NO_BRIDGE), ""),
            ("--ip6", Absent(NO_BRIDGE), ""),
            ("--ipc", Same, "namespaces_shared::ipc_is_shared_by_those_who_allow_it"),
            ("--isolation", Absent(WINDOWS), ""),
            ("-l, --label", Same, "labels"),
            ("--label-file", Same, "labels"),
            ("--link", Absent(NO_BRIDGE), ""),
            ("--link-local-ip", Absent(NO_BRIDGE), ""),
            (
                "--log-driver",
                Absent("there is one log format, Kubernetes', which `logs` reads"),
                "",
            ),
            (
                "--log-opt",
                Differs("max-size and max-file"),
                "inspect::what_was_asked_for_is_told_in_dockers_names",
            ),
            ("--mac-address", Absent(NO_BRIDGE), ""),
            (
                "-m, --memory",
                Differs("a plain user is told that it has no effect where he may not make cgroups"),
                "limits",
            ),
            ("--memory-reservation", Same, "inspect: limits"),
            ("--memory-swap", Same, "limits"),
            ("--memory-swappiness", Absent("cgroups of version 2 have no such thing"), ""),
            ("--mount", Differs("type=bind, tmpfs and volume"), "folders of the host"),
            ("--name", Same, "names"),
            (
                "--network",
                Differs(
                    "none, which is the default, host and container:NAME; there is no bridge yet",
                ),
                "networks",
            ),
            ("--network-alias", Absent(NO_BRIDGE), ""),
            ("--no-healthcheck", Same, "health checks"),
            ("--oom-kill-disable", Absent("cgroups of version 2 have no such thing"), ""),
            ("--oom-score-adj", Same, "limits of a process, kernel parameters, shared memory"),
            ("--pid", Same, "namespaces of another container and of the host"),
            ("--pids-limit", Differs("without it 512: a fork bomb stops there"), "limits"),
            ("--platform", Absent(NO_IMAGES), ""),
            ("--privileged", Differs("says in one line what it opens"), "privileged"),
            ("-p, --publish", Absent(NO_BRIDGE), ""),
            ("-P, --publish-all", Absent(NO_BRIDGE), ""),
            ("--pull", Absent(NO_IMAGES), ""),
            (
                "-q, --quiet",
                Differs("keeps notes and warnings back; there is nothing to pull"),
                "capabilities",
            ),
            ("--read-only", Same, "a root that nothing can be written to"),
            ("--restart", Same, "restart policies"),
            ("--rm", Same, "with --rm nothing is left"),
            ("--runtime", Absent("minibox is the runtime"), ""),
            (
                "--security-opt",
                Differs(
                    "no-new-privileges is on without it; apparmor=PROFILE as docker's, without one unconfined; seccomp=FILE, builtin and unconfined as docker's, but the builtin one also refuses 32-bit programs and more kinds of sockets; label is only there to be switched off",
                ),
                "new privileges",
            ),
            ("--shm-size", Same, "limits of a process, kernel parameters, shared memory"),
            (
                "--sig-proxy",
                Differs("without -d the container ends with its client all the same"),
                "signals that are not passed on",
            ),
            ("--stop-signal", Same, "stop"),
            ("--stop-timeout", Same, "stopping what does not listen"),
            ("--storage-opt", Absent("a container's layer is a folder on the host's disk"), ""),
            ("--sysctl", Same, "limits of a process, kernel parameters, shared memory"),
            ("--tmpfs", Same, "tmpfs"),
            ("-t, --tty", Same, "a terminal of its own"),
            ("--ulimit", Same, "limits of a process, kernel parameters, shared memory"),
            ("--use-api-socket", Absent(NO_DAEMON), ""),
            ("-u, --user", Differs("only root where a plain user has but one id"), "user"),
            (
                "--userns",
                Differs("podman's auto, keep-id and container:NAME, and private, beside host"),
                "userns::auto_gives_each_container_of_roots_a_range_of_its_own",
            ),
            (
                "--uts",
                Differs("container:NAME too"),
                "namespaces of another container and of the host",
            ),
            ("-v, --volume", Same, "folders of the host"),
            ("--volume-driver", Absent(ONE_DRIVER), ""),
            ("--volumes-from", Same, "volumes from another container"),
            ("-w, --workdir", Same, "working directory"),
            (
                "--uidmap",
                Ours("podman's: which ids of the host stand for which inside"),
                "userns::root_inside_is_nobody_outside",
            ),
            ("--gidmap", Ours("podman's: the same for groups"), "userns::maps_are_podmans"),
            (
                "--pidfile",
                Ours("podman's --pidfile: the host PID of the program in a file"),
                "create_start::a_pidfile_names_the_program_as_long_as_it_runs",
            ),
            (
                "--preserve-fds",
                Ours("podman's: descriptors of the caller's for the program"),
                "standard input",
            ),
            ("--net", Ours("--network, in docker's older spelling"), "networks"),
            (
                "--rw",
                Ours("writes go into the root filesystem's folder itself, not into a layer"),
                "root::rw_writes_into_the_folder_itself",
            ),
            (
                "--explain",
                Ours("every step, as it is done"),
                "steps::explain_tells_every_step_in_order_on_stderr_and_without_colour",
            ),
            (
                "--dry-run",
                Ours("the plan, and nothing is done"),
                "steps::a_dry_run_lists_the_calls_and_does_nothing",
            ),
            (
                "--step",
                Ours("a halt before each step"),
                "steps::step_halts_before_each_step_so_that_one_can_look_from_outside",
            ),
        ],
    },
    Verb {
        name: "exec",
        docker: "exec",
        flags: &[
            ("-d, --detach", Same, "exec"),
            ("--detach-keys", Absent("what is not to end with its client is started with -d"), ""),
            ("-e, --env", Same, "exec"),
            ("--env-file", Same, "exec"),
            ("-i, --interactive", Same, "exec"),
            ("--privileged", Same, "devices::who_gains_power_later_is_bound_by_the_list_too"),
            ("-t, --tty", Same, "a terminal of its own"),
            ("-u, --user", Same, "exec"),
            ("-w, --workdir", Same, "exec"),
            (
                "--explain",
                Ours("every step, as it is done"),
                "steps::explain_of_exec_tells_its_steps_and_the_true_pid",
            ),
        ],
    },
    Verb {
        name: "ps",
        docker: "ps, container ls",
        flags: &[
            ("-a, --all", Same, "ps: filters"),
            (
                "-f, --filter",
                Differs(
                    "ancestor is the root filesystem's folder; no publish, expose, isolation and is-task",
                ),
                "ps: filters",
            ),
            (
                "--format",
                Differs("the table shows the PIDs outside and inside"),
                "ps: a column's name and how it is written",
            ),
            ("-n, --last", Same, "ps: the last ones"),
            ("-l, --latest", Same, "ps: the last ones"),
            ("--no-trunc", Same, "an id stands for a name, and its beginning too"),
            ("-q, --quiet", Same, "ps: the last ones"),
            ("-s, --size", Same, "ps::fields_are_dockers"),
        ],
    },
    Verb {
        name: "logs",
        docker: "logs",
        flags: &[
            ("--details", Absent("there are no log drivers that would add any"), ""),
            ("-f, --follow", Same, "logs: following to the end"),
            ("--since", Same, "logs"),
            ("-n, --tail", Same, "logs"),
            ("-t, --timestamps", Same, "logs"),
            ("--until", Same, "logs"),
        ],
    },
    Verb {
        name: "start",
        docker: "start",
        flags: &[
            ("-a, --attach", Same, "create, start, restart"),
            ("--checkpoint", Absent("there are no checkpoints"), ""),
            ("--checkpoint-dir", Absent("there are no checkpoints"), ""),
            ("--detach-keys", Same, "keys to detach"),
            ("-i, --interactive", Same, "start -a gives the exit code, start -ai the input too"),
            (
                "--at-boot",
                Ours("all whose restart policy says so, for the unit that starts with the machine"),
                "restart_policy::a_shutdown_and_a_boot",
            ),
        ],
    },
    Verb {
        name: "stop",
        docker: "stop",
        flags: &[
            ("-s, --signal", Same, "create_start::it_is_stopped_as_it_was_made_to_be"),
            ("-t, --timeout", Same, "stopping what does not listen"),
            (
                "--time",
                Ours("--timeout, in docker's older spelling"),
                "stopping what does not listen",
            ),
            (
                "--at-shutdown",
                Ours("all that run, to be started again at boot"),
                "restart_policy::a_shutdown_and_a_boot",
            ),
        ],
    },
    Verb {
        name: "restart",
        docker: "restart",
        flags: &[
            ("-s, --signal", Same, "create, start, restart"),
            ("-t, --timeout", Same, "stopping what does not listen"),
            (
                "--time",
                Ours("--timeout, in docker's older spelling"),
                "stopping what does not listen",
            ),
        ],
    },
    Verb { name: "kill", docker: "kill", flags: &[("-s, --signal", Same, "kill")] },
    Verb { name: "wait", docker: "wait", flags: &[] },
    Verb {
        name: "rm",
        docker: "rm",
        flags: &[
            ("-f, --force", Same, "rm"),
            ("-l, --link", Absent(NO_BRIDGE), ""),
            ("-v, --volumes", Same, "volumes without a name"),
        ],
    },
    Verb {
        name: "attach",
        docker: "attach",
        flags: &[
            ("--detach-keys", Same, "keys to detach"),
            ("--no-stdin", Same, "attach"),
            ("--sig-proxy", Same, "signals that are not passed on"),
        ],
    },
    Verb { name: "pause", docker: "pause", flags: &[] },
    Verb { name: "unpause", docker: "unpause", flags: &[] },
    Verb { name: "rename", docker: "rename", flags: &[] },
    Verb {
        name: "update",
        docker: "update",
        flags: &[
            ("--blkio-weight", Same, "update: every limit"),
            ("--cpu-period", Same, "update: every limit"),
            ("--cpu-quota", Same, "update: every limit"),
            ("--cpu-rt-period", Absent(REAL_TIME), ""),
            ("--cpu-rt-runtime", Absent(REAL_TIME), ""),
            ("-c, --cpu-shares", Same, "update: every limit"),
            ("--cpus", Same, "update"),
            ("--cpuset-cpus", Same, "update: every limit"),
            ("--cpuset-mems", Same, "update: every limit"),
            ("-m, --memory", Same, "update: every limit"),
            ("--memory-reservation", Same, "update: every limit"),
            ("--memory-swap", Same, "update: every limit"),
            ("--pids-limit", Same, "update: every limit"),
            ("--restart", Same, "update::a_restart_policy_can_be_changed_while_it_runs"),
        ],
    },
    Verb { name: "top", docker: "top", flags: &[] },
    Verb {
        name: "stats",
        docker: "stats",
        flags: &[
            ("-a, --all", Same, "stats::numbers_are_those_of_the_cgroup"),
            ("--format", Same, "stats::the_table_is_dockers"),
            ("--no-stream", Same, "stats::the_table_is_dockers"),
            ("--no-trunc", Same, "stats::numbers_are_those_of_the_cgroup"),
        ],
    },
    Verb {
        name: "cp",
        docker: "cp",
        flags: &[
            (
                "-a, --archive",
                Same,
                "cp::copies_belong_to_whoever_they_come_to_unless_they_keep_their_owners",
            ),
            ("-L, --follow-link", Same, "cp: out of a container"),
            ("-q, --quiet", Same, "cp::a_long_copy_shows_on_a_terminal_how_far_it_has_come"),
        ],
    },
    Verb { name: "diff", docker: "diff", flags: &[] },
    Verb { name: "export", docker: "export", flags: &[("-o, --output", Same, "export")] },
    Verb {
        name: "inspect",
        docker: "inspect",
        flags: &[
            ("-f, --format", Same, "inspect: fields"),
            ("-s, --size", Same, "inspect::sizes_are_told_when_asked_for"),
            ("--type", Differs("container and volume"), "inspect: fields"),
        ],
    },
    Verb {
        name: "events",
        docker: "events, system events",
        flags: &[
            (
                "-f, --filter",
                Differs(
                    "image is the root filesystem's folder; there are containers and volumes to tell of, and no daemon",
                ),
                "events::times_and_filters_choose",
            ),
            (
                "--format",
                Differs("without it a line of JSON for each"),
                "events::what_happens_is_shown_as_it_happens",
            ),
            ("--since", Same, "events::times_and_filters_choose"),
            ("--until", Same, "events::times_and_filters_choose"),
        ],
    },
    Verb {
        name: "volume create",
        docker: "volume create",
        flags: &[
            ("--availability", Absent(SWARM), ""),
            ("-d, --driver", Differs("only local"), "volume create, ls, inspect, rm"),
            ("--group", Absent(SWARM), ""),
            ("--label", Same, "volume create, ls, inspect, rm"),
            ("--limit-bytes", Absent(SWARM), ""),
            (
                "-o, --opt",
                Differs("refused with the reason: a volume is a plain folder"),
                "named_volumes::what_is_no_volume_is_refused",
            ),
            ("--required-bytes", Absent(SWARM), ""),
            ("--scope", Absent(SWARM), ""),
            ("--secret", Absent(SWARM), ""),
            ("--sharing", Absent(SWARM), ""),
            ("--topology-preferred", Absent(SWARM), ""),
            ("--topology-required", Absent(SWARM), ""),
            ("--type", Absent(SWARM), ""),
        ],
    },
    Verb {
        name: "volume ls",
        docker: "volume ls",
        flags: &[
            ("--cluster", Absent(SWARM), ""),
            ("-f, --filter", Same, "volume create, ls, inspect, rm"),
            ("--format", Same, "volume create, ls, inspect, rm"),
            ("-q, --quiet", Same, "volume create, ls, inspect, rm"),
        ],
    },
    Verb {
        name: "volume inspect",
        docker: "volume inspect",
        flags: &[("-f, --format", Same, "volume create, ls, inspect, rm")],
    },
    Verb {
        name: "volume rm",
        docker: "volume rm",
        flags: &[("-f, --force", Same, "volume create, ls, inspect, rm")],
    },
    Verb {
        name: "volume prune",
        docker: "volume prune",
        flags: &[
            (
                "-a, --all",
                Same,
                "named_volumes::prune_asks_and_takes_what_has_no_name_unless_told_otherwise",
            ),
            (
                "--filter",
                Same,
                "named_volumes::prune_asks_and_takes_what_has_no_name_unless_told_otherwise",
            ),
            ("-f, --force", Same, "volume prune"),
        ],
    },
    Verb {
        name: "prune",
        docker: "container prune, system prune",
        flags: &[
            ("-a, --all", Absent(NO_IMAGES), ""),
            ("--filter", Same, "prune::filters_choose"),
            ("-f, --force", Same, "prune"),
            ("--volumes", Same, "prune::volumes_without_a_name_go_when_they_are_meant"),
        ],
    },
    Verb {
        name: "info",
        docker: "info, system info",
        flags: &[
            (
                "-f, --format",
                Differs("other fields: there is no daemon to tell of"),
                "format::documents_come_whole_or_through_a_template",
            ),
            (
                "--advice",
                Ours("how to switch on what is missing"),
                "info::what_is_switched_off_is_told_with_its_commands",
            ),
        ],
    },
    Verb {
        name: "version",
        docker: "version",
        flags: &[(
            "-f, --format",
            Differs("other fields: there is no daemon to tell of"),
            "format::documents_come_whole_or_through_a_template",
        )],
    },
];

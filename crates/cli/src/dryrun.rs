//! `--dry-run`: the plan in words, or as the nearest script of unshare, mount and friends.

use std::fmt::Write as _;

use minibox_runtime::describe::{self, Subject};
use minibox_runtime::idmap::IdMap;
use minibox_runtime::namespaces::Join;
use minibox_runtime::root::RootMount;
use minibox_runtime::{Plan, Step};

use crate::language::say;
use crate::output::shell_word;

/// Every step that would be done, with its call.
pub(crate) fn plan(plan: &Plan) -> String {
    let mut text = say("Nothing is done. These are the steps, in order:") + "\n\n";
    for step in Step::ALL {
        let items = items_of(plan, *step);
        if items == 0 {
            continue;
        }
        let about = step.about();
        let _ = writeln!(
            text,
            "{:>3}. {}\n     {}",
            *step as usize + 1,
            say(about.title),
            say(about.why)
        );
        for index in 0..items {
            let call = describe::call(Subject::Container(plan), *step, index);
            if !call.is_empty() {
                let _ = writeln!(text, "       {}", say(&call));
            }
        }
    }
    text
}

/// How many calls a step of this plan makes; none where it is left out.
fn items_of(plan: &Plan, step: Step) -> usize {
    match step {
        Step::Join => plan.joins.len(),
        Step::MakeCgroup => usize::from(plan.cgroup.is_some()),
        Step::MapMounts => usize::from(plan.mapped().next().is_some()),
        Step::MapIds => usize::from(plan.maps_ids()),
        Step::BecomeRoot => usize::from(plan.id_map.as_ref().is_some_and(IdMap::has_root)),
        Step::OomScore => usize::from(plan.process.oom_score_adj.is_some()),
        Step::Label => plan.process.labels.len(),
        Step::Init => usize::from(plan.process.init.is_some()),
        Step::Hooks => usize::from(plan.has_hooks),
        Step::Gate => usize::from(plan.process.gate.is_some()),
        Step::TakeMounts => plan.mounts.len(),
        Step::AttachMounts => plan.mounts.len() + usize::from(plan.cwd_place.is_some()),
        Step::Devices => usize::from(plan.device_links) + usize::from(!plan.devices.is_empty()),
        Step::Hostname => usize::from(plan.hostname.is_some()),
        Step::Loopback => usize::from(plan.loopback),
        Step::Sysctls => plan.sysctls.len(),
        Step::Console => usize::from(plan.console_place.is_some()) * 2,
        Step::HidePaths => plan.readonly_paths.len() + plan.masked_paths.len(),
        Step::ReadonlyRoot => plan.at_last.len(),
        Step::NetDevices => usize::from(!plan.net_devices.is_empty()),
        Step::TimeNamespace => usize::from(plan.new_time_namespace.is_some()),
        Step::Scheduling => plan.process.habits.len(),
        Step::Rlimits => plan.process.rlimits.len(),
        Step::NoNewPrivileges => usize::from(plan.process.no_new_privs),
        Step::Seccomp => usize::from(plan.process.seccomp.is_some()),
        Step::Guard => usize::from(plan.process.die_with_parent),
        _ => 1,
    }
}

/// The commands that join and make its namespaces.
fn into_namespaces(plan: &Plan) -> String {
    let is_new = |flag: i32| plan.clone_flags & flag as u64 != 0;
    let kinds = [
        (libc::CLONE_NEWNS, "--mount"),
        (libc::CLONE_NEWPID, "--pid"),
        (libc::CLONE_NEWIPC, "--ipc"),
        (libc::CLONE_NEWUTS, "--uts"),
        (libc::CLONE_NEWNET, "--net"),
        (libc::CLONE_NEWUSER, "--user --map-root-user"),
    ];
    let mut flags = vec!["--fork"];
    flags.extend(kinds.iter().filter(|(flag, _)| is_new(*flag)).map(|(_, word)| *word));
    if plan.new_cgroup_namespace {
        flags.push("--cgroup");
    }
    let join = |join: &Join| format!("--{}={} ", join.kind, join.path.display());
    let enter = match plan.joins.as_slice() {
        [] => String::new(),
        joins => format!("nsenter {}", joins.iter().map(join).collect::<String>()),
    };
    format!("{enter}unshare {}", flags.join(" "))
}

/// The nearest script: what a person would type to get the same container, minus what has no command
/// (the keyring, masked paths by descriptor, the exact capability sets).
pub(crate) fn script(plan: &Plan, hostname: &str) -> String {
    let root = shell_word(&plan.root.path.to_string_lossy());
    let mut text = say(
        "#!/bin/sh\n# The nearest thing to this container, by hand. Needs: util-linux, and root or user namespaces.\n# In parentheses, so that it can be pasted into a shell without changing that shell.\n(\nset -eu\nPATH=$PATH:/usr/sbin:/sbin\n",
    );
    let _ = writeln!(text, "LAYER=$(mktemp -d); trap 'rm -rf \"$LAYER\"' EXIT; export LAYER");
    let _ = writeln!(
        text,
        "printf '127.0.0.1 localhost %s\\n' {0} > \"$LAYER/hosts\"; echo {0} > \"$LAYER/hostname\"; : > \"$LAYER/resolv.conf\"",
        shell_word(hostname)
    );
    if plan.mapped().next().is_some() {
        text.push_str(&say("# Not in it: the owners of mounts are not mapped.\n"));
    }
    if plan.process.seccomp.is_some() {
        text.push_str(&say("# Not in it: no system call is refused. A seccomp filter is a compiled program; no shell has a command for it.\n"));
    }
    let _ = writeln!(text, "{} sh -eu <<'INSIDE'", into_namespaces(plan));
    let _ = writeln!(text, "mount --make-rprivate /");
    match &plan.root.mount {
        RootMount::Overlay { .. } => {
            let userxattr = if plan.id_map.is_some() { ",userxattr" } else { "" };
            let _ = writeln!(text, "mkdir -p \"$LAYER/upper\" \"$LAYER/work\" \"$LAYER/root\"");
            let _ = writeln!(
                text,
                "mount -t overlay -o lowerdir={root},upperdir=\"$LAYER/upper\",workdir=\"$LAYER/work\"{userxattr} overlay \"$LAYER/root\""
            );
        }
        RootMount::Folder { .. } => {
            let _ =
                writeln!(text, "mkdir -p \"$LAYER/root\" && mount --bind {root} \"$LAYER/root\"");
        }
    }
    let _ = writeln!(text, "cd \"$LAYER/root\"");
    for mount in &plan.mounts {
        let place = mount.place.path.to_string_lossy();
        let place = shell_word(place.trim_start_matches('/'));
        let (source, options) = mount.as_mount_command();
        let make = if mount.place.is_file {
            format!("[ -e {place} ] || : > {place}")
        } else {
            format!("mkdir -p {place}")
        };
        // unshare maps one id only, and group 5 is not it.
        let own_group = |word: &String| match plan.id_map {
            Some(_) => word.replace(",gid=5", ""),
            None => word.clone(),
        };
        let options: Vec<String> = options.iter().map(own_group).map(|w| shell_word(&w)).collect();
        let optional = if source == "cgroup" || source == "mqueue" { " || true" } else { "" };
        let _ = writeln!(
            text,
            "{make}; mount {} {} {place}{optional}",
            options.join(" "),
            shell_word(&source)
        );
        if mount.is_readonly_bind() {
            let _ = writeln!(text, "mount -o remount,bind,ro {place}");
        }
    }
    for node in &plan.devices {
        let path = node.path().to_string_lossy();
        let _ = writeln!(text, "[ -e .{path} ] || {{ : > .{path}; mount --bind {path} .{path}; }}");
    }
    let _ = writeln!(
        text,
        "ln -sf /proc/self/fd dev/fd; ln -sf /proc/self/fd/0 dev/stdin; ln -sf /proc/self/fd/1 dev/stdout; ln -sf /proc/self/fd/2 dev/stderr; ln -sf pts/ptmx dev/ptmx"
    );
    if plan.hostname.is_some() {
        let name = shell_word(hostname);
        let _ = writeln!(
            text,
            "hostname {name} 2>/dev/null || echo {name} > /proc/sys/kernel/hostname"
        );
    }
    if plan.loopback {
        let _ = writeln!(text, "ip link set lo up 2>/dev/null || true");
    }
    let _ = writeln!(text, "mkdir -p .old && pivot_root . .old");
    let _ = writeln!(text, "cd {}", shell_word(&plan.process.cwd.to_string_lossy()));
    let words: Vec<String> =
        plan.process.argv.strings().iter().map(|w| shell_word(&w.to_string_lossy())).collect();
    let env: Vec<String> =
        plan.process.envp.strings().iter().map(|w| shell_word(&w.to_string_lossy())).collect();
    // The old root's tools are gone with the old root: from here on the container's own are used.
    let _ = writeln!(
        text,
        "exec env -i {} sh -c 'umount -l /.old && rmdir /.old; exec \"$@\"' sh {}",
        env.join(" "),
        words.join(" ")
    );
    text.push_str("INSIDE\n)\n");
    text
}

//! Namespaces that are shared: with another container, or with the host.

use std::fs;
use std::process::{Command, Stdio};

use minibox_tests::{Beside, Caller, Ran, Sandbox, is_alive, wait_until};

/// The namespace of `kind` that process `pid` of the host is in.
fn namespace(pid: &str, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
    link.to_string_lossy().into_owned()
}

fn namespace_of(sandbox: &Sandbox, container: &str, kind: &str) -> String {
    namespace(&sandbox.pid(container).to_string(), kind)
}

/// A container to share with.
fn donor(sandbox: &Sandbox, options: &[&str]) {
    let options = [&["--name", "donor", "--ipc", "shareable"], options].concat();
    sandbox.start(&options, &["sleep", "1000"]);
}

/// Shares everything with the donor that can be shared.
const ALL: [&str; 8] = [
    "--net",
    "container:donor",
    "--pid",
    "container:donor",
    "--ipc",
    "container:donor",
    "--uts",
    "container:donor",
];

#[test]
fn what_is_shared_is_the_donors_and_the_rest_its_own() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        donor(&sandbox, &["-h", "donor.example"]);
        let guest = sandbox.start(&ALL, &["sleep", "1000"]);
        for kind in ["net", "pid", "ipc", "uts", "user"] {
            let theirs = namespace_of(&sandbox, "donor", kind);
            assert_eq!(namespace_of(&sandbox, &guest, kind), theirs, "{kind}, {caller:?}");
            let is_the_hosts = theirs == namespace("self", kind);
            assert_eq!(is_the_hosts, kind == "user" && caller == Caller::Root, "{kind}");
        }
        for kind in ["mnt", "cgroup"] {
            let theirs = namespace_of(&sandbox, "donor", kind);
            assert_ne!(namespace_of(&sandbox, &guest, kind), theirs, "{kind}, {caller:?}");
        }
        // One more, in the same way: the program, and what exec brings.
        let look = "hostname; cat /proc/1/comm; tr '\\0' ' ' < /proc/self/cmdline";
        let ran = sandbox.sh(&ALL, look);
        assert_eq!(ran.ok().lines().take(2).collect::<Vec<_>>(), ["donor.example", "sleep"]);
        let ran =
            sandbox.call(&["exec", &guest, "sh", "-c", "hostname; readlink /proc/self/ns/net"]);
        let net = namespace_of(&sandbox, "donor", "net");
        assert_eq!(ran.ok().lines().collect::<Vec<_>>(), ["donor.example", net.as_str()]);
        let inside = sandbox.inspect(&guest)["Minibox"]["pidInside"].as_i64().expect("a pid");
        assert!(inside > 1, "PID 1 is the donor's");
    }
}

#[test]
fn one_kind_is_shared_without_the_others() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        donor(&sandbox, &[]);
        let kinds = [
            ("--net", "net"),
            ("--pid", "pid"),
            ("--ipc", "ipc"),
            ("--uts", "uts"),
            ("--cgroupns", "cgroup"),
        ];
        for (flag, shared) in kinds {
            let links = "cd /proc/self/ns; for n in net pid ipc uts cgroup; do readlink $n; done";
            let ran = sandbox.sh(&[flag, "container:donor"], links);
            for link in ran.ok().lines() {
                let (kind, _) = link.split_once(':').expect("kind:[inode]");
                let same = namespace_of(&sandbox, "donor", kind) == link;
                assert_eq!(same, kind == shared, "{flag} {link}, {caller:?}");
            }
        }
    }
}

#[test]
fn a_server_is_reached_over_the_loopback_that_two_share() {
    let server = "
import socket
server = socket.create_server(('127.0.0.1', 80))
print('listening', flush=True)
server.accept()[0].sendall(b'hello')";
    let client = "
import socket
print(socket.create_connection(('127.0.0.1', 80)).recv(5).decode())";
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let running = sandbox.run_beside(&["--name", "server"], &["python", "-c", server]);
        running.wait_for("listening");
        let ran = sandbox.run(&["--net", "container:server"], &["python", "-c", client]);
        assert_eq!(ran.ok(), "hello", "{caller:?}");
        running.end().ok();
    }
}

#[test]
fn shared_memory_and_message_queues_are_seen_by_both() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        donor(&sandbox, &[]);
        let there = |script: &str| sandbox.call(&["exec", "donor", "sh", "-c", script]);
        there("echo theirs > /dev/shm/a; touch /dev/mqueue/queue").ok();
        let script = "cat /dev/shm/a; echo ours > /dev/shm/b; ls /dev/mqueue
            awk '$2 == \"/dev/shm\" {print $4}' /proc/mounts | tr , '\\n' | grep -c -E 'nosuid|nodev|noexec'";
        let ran = sandbox.sh(&["--ipc", "container:donor"], script);
        assert_eq!(ran.ok(), "theirs\nqueue\n3", "{caller:?}");
        assert_eq!(there("cat /dev/shm/b").ok(), "ours");
        // Without it nothing of that is there.
        assert_eq!(sandbox.sh(&[], "ls -A /dev/shm /dev/mqueue").ok(), "/dev/mqueue:\n\n/dev/shm:");
    }
}

#[test]
fn a_link_in_place_of_dev_shm_leads_nowhere() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        // Root of its mounts can put anything there.
        donor(&sandbox, &["--cap-add", "SYS_ADMIN"]);
        let script = "umount /dev/shm && rmdir /dev/shm && ln -s /etc /dev/shm";
        sandbox.call(&["exec", "donor", "sh", "-c", script]).ok();
        let ran = sandbox.run(&["--ipc", "container:donor"], &["ls", "/dev/shm"]);
        ran.code(125).says("cannot mount /dev/shm on /dev/shm: ");
        ran.says("ELOOP");
    }
}

#[test]
fn ipc_is_shared_by_those_who_allow_it() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for mode in ["private", "none"] {
            sandbox.start(&["--name", mode, "--ipc", mode], &["sleep", "1000"]);
            let ran = sandbox.run(&["--ipc", &format!("container:{mode}")], &["true"]);
            ran.code(125).says("keeps its message queues and shared memory to itself\n  hint: ");
        }
        let ran = sandbox.run(&["--ipc", "none"], &["ls", "/dev/shm"]);
        assert_ne!(ran.code, 0, "there is none: {ran:?}");
    }
}

#[test]
fn hosts_and_name_servers_come_with_the_network() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        donor(&sandbox, &["-h", "web", "--add-host", "db:192.0.2.7", "--dns", "192.0.2.53"]);
        let look = "cat /etc/hosts /etc/resolv.conf /etc/hostname; hostname";
        let theirs = sandbox.call(&["exec", "donor", "sh", "-c", look]).ok().to_owned();
        assert!(theirs.contains("192.0.2.7\tdb\n") && theirs.contains("nameserver 192.0.2.53\n"));
        assert_eq!(sandbox.sh(&["--net", "container:donor"], look).ok(), theirs, "{caller:?}");
        // And on to a third.
        sandbox.start(&["--name", "second", "--net", "container:donor"], &["sleep", "1000"]);
        assert_eq!(sandbox.sh(&["--net", "container:second"], look).ok(), theirs);
        sandbox.call(&["rm", "-f", "second"]).ok();
    }
}

#[test]
fn host_modes_share_the_hosts() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let options: &[&str] =
            &["--net=host", "--pid=host", "--ipc=host", "--uts=host", "--cgroupns=host"];
        let links =
            "cd /proc/self/ns; for n in net pid ipc uts cgroup; do readlink $n; done; hostname";
        let ran = sandbox.sh(options, links);
        let mut lines: Vec<&str> = ran.ok().lines().collect();
        let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
        assert_eq!(lines.pop(), Some(name.trim()), "{caller:?}");
        for link in lines {
            let (kind, _) = link.split_once(':').expect("kind:[inode]");
            assert_eq!(namespace("self", kind), link, "{caller:?}");
        }
        ran.says("--net host: ").says("--pid host: ").says("--ipc host: ");
        // /proc shows what the host's shows, with the same parts hidden as ever.
        let me = std::process::id();
        let look =
            format!("cat /proc/{me}/comm; head -c 1 /proc/kcore | wc -c; touch /proc/sys/kernel/x");
        let ran = sandbox.sh(&["--pid", "host"], &look);
        let comm = fs::read_to_string("/proc/self/comm").expect("a name");
        assert_eq!(ran.stdout, format!("{comm}0\n"), "{caller:?}");
        ran.says("/proc/sys/kernel/x");
    }
}

#[test]
fn what_is_the_hosts_is_not_configured() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let read = |path: &str| fs::read_to_string(path).expect("a parameter");
        let paths = [
            "/proc/sys/kernel/hostname",
            "/proc/sys/net/ipv4/ping_group_range",
            "/proc/sys/net/ipv4/ip_unprivileged_port_start",
        ];
        let before = paths.map(read);
        sandbox.run(&["--net", "host", "--uts", "host"], &["true"]).ok();
        assert_eq!(paths.map(read), before, "{caller:?}");
    }
}

#[test]
fn without_a_pid_namespace_the_rest_ends_with_the_first() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for options in
            [&["--pid", "host"][..], &["--pid", "host", "--rm"], &["--pid", "host", "--init"]]
        {
            let script = "(setsid sleep 1000 > /dev/null 2>&1 & echo $!); sleep 0.01";
            let ran = sandbox.sh(options, script);
            let left: i32 = ran.ok().parse().expect("a pid of the host");
            wait_until("it is gone", || !is_alive(left));
        }
        // Killed from outside, too.
        let script = "setsid sleep 1000 & echo $!; wait";
        let id = sandbox.start(&["--pid", "host"], &["sh", "-c", script]);
        let logs = || sandbox.call(&["logs", &id]).stdout;
        wait_until("it has said so", || logs().ends_with('\n'));
        let left: i32 = logs().trim().parse().expect("a pid of the host");
        assert!(is_alive(left));
        sandbox.call(&["rm", "-f", &id]).ok();
        assert!(!is_alive(left), "{caller:?}");
    }
}

#[test]
fn signals_do_what_they_do_to_any_process_that_is_not_pid_1() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        donor(&sandbox, &[]);
        for mode in ["host", "container:donor"] {
            let id = sandbox.start(&["--pid", mode], &["sleep", "1000"]);
            let ran = sandbox.call(&["stop", &id]);
            ran.ok();
            assert_eq!(ran.stderr, "", "{mode}");
            assert_eq!(sandbox.inspect(&id)["State"]["ExitCode"], 143, "{mode}, {caller:?}");
        }
    }
}

#[test]
fn the_end_of_a_pid_namespace_is_the_end_of_its_guests() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        donor(&sandbox, &[]);
        let options = ["--pid", "container:donor"];
        let guest = sandbox.start(&options, &["sleep", "1000"]);
        sandbox.call(&["kill", "donor"]).ok();
        assert_eq!(sandbox.call(&["wait", &guest]).ok(), "137", "{caller:?}");
    }
}

#[test]
fn a_network_outlives_its_maker_for_as_long_as_somebody_uses_it() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        donor(&sandbox, &[]);
        let guest = sandbox.start(&["--net", "container:donor"], &["sleep", "1000"]);
        let before = namespace_of(&sandbox, &guest, "net");
        sandbox.call(&["rm", "-f", "donor"]).ok();
        let ran = sandbox.call(&["exec", &guest, "readlink", "/proc/self/ns/net"]);
        assert_eq!(ran.ok(), before, "{caller:?}");
        sandbox.call(&["stop", "-t", "0", &guest]).ok();
        let ran = sandbox.call(&["start", &guest]);
        ran.code(1).says("whose namespaces it shares, is gone");
    }
}

#[test]
fn a_later_start_joins_whatever_the_donor_is_by_then() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        donor(&sandbox, &[]);
        let guest = sandbox.start(&ALL, &["sleep", "1000"]);
        sandbox.call(&["stop", "-t", "0", &guest, "donor"]).ok();
        let ran = sandbox.call(&["start", &guest]);
        ran.code(1).says("container donor is not running, and its namespaces are to be shared\n  hint: `minibox start donor` first");
        sandbox.call(&["start", "donor", &guest]).ok();
        for kind in ["net", "pid", "ipc", "uts", "user"] {
            let theirs = namespace_of(&sandbox, "donor", kind);
            assert_eq!(namespace_of(&sandbox, &guest, kind), theirs, "{kind}, {caller:?}");
        }
        // And when it is started again by its policy.
        sandbox.call(&["rm", "-f", &guest]).ok();
        let options = [&ALL[..], &["--name", "again", "--restart", "on-failure:1"]].concat();
        sandbox.start(&options, &["sh", "-c", "readlink /proc/self/ns/net; exit 3"]);
        wait_until("it has given up", || {
            sandbox.inspect("again")["State"]["ExitCode"] == 3
                && sandbox.inspect("again")["State"]["Status"] == "exited"
        });
        let net = namespace_of(&sandbox, "donor", "net");
        assert_eq!(sandbox.call(&["logs", "again"]).stdout, format!("{net}\n{net}\n"));
    }
}

#[test]
fn with_an_ended_donor_nothing_is_made() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.run(&["--name", "donor"], &["true"]).ok();
        let ran = sandbox.run(&["--name", "guest", "--net", "container:donor"], &["true"]);
        ran.code(125).says("container donor is not running");
        assert_ne!(sandbox.call(&["inspect", "guest"]).code, 0);
    }
}

#[test]
fn one_container_has_one_user_namespace() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        for name in ["one", "two"] {
            sandbox.start(&["--name", name], &["sleep", "1000"]);
        }
        let ran = sandbox.run(&["--net", "container:one", "--pid", "container:two"], &["true"]);
        ran.code(125).says("--pid container:two: that container is in another user namespace");
        let ran = sandbox.run(&["--net", "container:one", "--userns", "keep-id"], &["true"]);
        ran.code(125).says("--net container:one: that container is in another user namespace");
    }
    for caller in Caller::root_only("sharing across user namespaces") {
        let sandbox = Sandbox::new(caller);
        let options = ["--name", "one", "--userns", "auto", "--ipc", "shareable"];
        sandbox.start(&options, &["sleep", "1000"]);
        // Root may join anything from his own; in another one he would have no power over it.
        let look = "readlink /proc/self/ns/net; cat /proc/1/comm";
        let shared = ["--net", "container:one", "--pid", "container:one", "--uts", "container:one"];
        let net = namespace_of(&sandbox, "one", "net");
        assert_eq!(sandbox.sh(&shared, look).ok(), format!("{net}\nsleep"));
        // In shared memory there is no id for him.
        let ran = sandbox.run(&["--ipc", "container:one"], &["true"]);
        ran.code(125).says("another user namespace");
        for flag in ["--pid", "--ipc"] {
            let ran = sandbox.run(&["--userns", "auto", flag, "container:one"], &["true"]);
            ran.code(125).says("another user namespace");
            ran.says("hint: --userns container:one puts this one into the same");
        }
        donor(&sandbox, &[]);
        for flag in ["--pid", "--ipc"] {
            let ran = sandbox.run(&["--userns", "auto", flag, "container:donor"], &["true"]);
            ran.code(125).says("another user namespace");
        }
        let own = ["--userns", "auto", "--net", "container:donor", "--uts", "container:donor"];
        let theirs = namespace_of(&sandbox, "donor", "net");
        assert_eq!(sandbox.run(&own, &["readlink", "/proc/self/ns/net"]).ok(), theirs);
        let own = ["--userns", "auto", "--net", "container:one", "--uts", "container:one"];
        assert_eq!(sandbox.run(&own, &["readlink", "/proc/self/ns/net"]).ok(), net);
        let same = [&["--userns=container:one", "--ipc=container:one"], &shared[..]].concat();
        let ran = sandbox.sh(&same, &format!("{look}; touch /dev/shm/x; stat -c %u /dev/shm/x"));
        assert_eq!(ran.ok(), format!("{net}\nsleep\n0"));
    }
}

#[test]
fn what_excludes_each_other_is_refused() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        donor(&sandbox, &[]);
        for (options, says) in [
            (
                &["--net", "container:donor", "-h", "x"][..],
                "--hostname and --net container:donor exclude each other",
            ),
            (&["--uts", "host", "-h", "x"], "--hostname and --uts host exclude each other"),
            (
                &["--uts", "container:donor", "--domainname", "x"],
                "--domainname and --uts container:donor exclude",
            ),
            (
                &["--net", "container:donor", "--add-host", "a:192.0.2.1"],
                "--add-host and --net container:donor",
            ),
            (
                &["--net", "container:donor", "--dns", "192.0.2.1"],
                "--dns and --net container:donor",
            ),
            (
                &["--net", "container:nobody"],
                "--net container:nobody: there is no container \"nobody\"",
            ),
            (&["--pid", "container:"], "--pid container:: there is no container \"\""),
            (
                &["--pid", "what"],
                "--pid \"what\" is not understood\n  hint: private, host or container:NAME",
            ),
            (&["--ipc", "what"], "--ipc \"what\" is not understood"),
            (&["--uts", "none"], "--uts \"none\" is not understood"),
            (&["--cgroupns", ""], "--cgroupns \"\" is not understood"),
            (&["--net", "private"], "--net \"private\" is not understood"),
            (&["--oom-score-adj", "1001"], "--oom-score-adj \"1001\" is not understood"),
        ] {
            sandbox.run(options, &["true"]).code(125).says(&format!("minibox: {says}"));
        }
        // -h is the container's own business where only the network is the host's.
        let ran = sandbox.run(&["--net", "host", "-h", "own"], &["hostname"]);
        assert_eq!(ran.ok(), "own");
    }
}

#[test]
fn a_guest_cannot_be_looked_into_while_it_is_born() {
    // Whoever lives in the namespaces could otherwise take over a process that still sees the host.
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        // Of the host's root nothing can be hidden that has this of the host's.
        let ptrace = ["--cap-add", "SYS_PTRACE"];
        donor(&sandbox, if caller == Caller::Root { &[] } else { &ptrace });
        let rootfs = sandbox.rootfs();
        let options = ["run", "--rm", "--step", "--pid", "container:donor", &rootfs, "true"];
        let mut running = Beside::spawn(sandbox.minibox(&options).stdin(Stdio::piped()));
        let mut keyboard = running.stdin();
        let look = "for p in /proc/[0-9]*; do [ $p = /proc/1 ] || [ $p = /proc/$$ ] || ls -l $p/root $p/fd/ 2>&1; done";
        let mut halts = 0;
        while !running.has_ended() {
            let asked = |said: &str| said.matches("[Enter] goes on").count();
            wait_until("it halts or ends", || {
                asked(&running.printed()[1]) > halts || running.has_ended()
            });
            halts = asked(&running.printed()[1]);
            let title = running.printed()[1].clone();
            if title.contains("swap the root") || title.contains("  stay") {
                break;
            }
            let seen = sandbox.call(&["exec", "donor", "sh", "-c", look]);
            assert!(!seen.stdout.contains("->"), "{caller:?}, {title}: {seen:?}");
            std::io::Write::write_all(&mut keyboard, b"\n").expect("Enter");
        }
        assert!(halts > 3, "it was looked at");
        drop(keyboard);
        running.end();
    }
}

#[test]
fn a_pasted_dry_run_joins_too() {
    for caller in Caller::root_only("a dry run that joins") {
        let sandbox = Sandbox::new(caller);
        donor(&sandbox, &[]);
        let options = ["--dry-run=sh", "--net", "container:donor"];
        let script = sandbox.run(&options, &["readlink", "/proc/self/ns/net"]).ok().to_owned();
        let output = Command::new("sh").arg("-c").arg(&script).output().expect("sh");
        let net = namespace_of(&sandbox, "donor", "net");
        assert_eq!(Ran::of(&output).ok(), net, "{script}");
        let plan = sandbox.run(&["--dry-run", "--net", "container:donor"], &["true"]);
        assert!(plan.ok().contains("/ns/net\", CLONE_NEWNET)"), "{plan:?}");
    }
}

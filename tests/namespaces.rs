//! Each namespace is the container's own: pid, net, ipc, mnt, uts, cgroup, and user for plain callers.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use minibox_tests::{Caller, Ran, Sandbox};

#[test]
fn every_namespace_differs_from_the_hosts() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let links = "cd /proc/self/ns; for n in pid net ipc mnt uts cgroup; do readlink $n; done";
        let inside = sandbox.sh(&[], links).ok().to_owned();
        for link in inside.lines() {
            let (kind, _) = link.split_once(':').expect("kind:[inode]");
            assert_ne!(host_namespace(kind), link, "{caller:?}");
        }
        assert_eq!(inside.lines().count(), 6);
    }
}

fn host_namespace(kind: &str) -> String {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
    link.to_string_lossy().into_owned()
}

#[test]
fn pid_one_inside_is_the_host_pid_that_inspect_names() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&[], &["sleep", "1000"]);
        let pid = sandbox.pid(&id);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("NSpid");
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        assert_eq!(numbers, [pid.to_string().as_str(), "1"], "{caller:?}");
        assert_eq!(sandbox.inspect(&id)["Minibox"]["pidInside"], 1);

        // The same process from inside: number 1, and the only other is the one that looks.
        let script = "tr '\\0' ' ' < /proc/1/cmdline; echo; cd /proc; echo [0-9]*";
        let seen = sandbox.call(&["exec", &id, "sh", "-c", script]);
        let lines: Vec<&str> = seen.ok().lines().collect();
        assert_eq!(lines[0].trim(), "sleep 1000");
        let pids: Vec<&str> = lines[1].split(' ').collect();
        assert!(pids.len() == 2 && pids[0] == "1", "{pids:?}");
        assert_eq!(sandbox.sh(&[], "echo $$ $PPID").ok(), "1 0");
    }
}

#[test]
fn a_process_of_the_host_cannot_be_signalled() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let me = std::process::id().to_string();
        let ran = sandbox.sh(&[], &format!("kill -0 {me}"));
        ran.code(1).says("No such process");
    }
}

#[test]
fn its_own_hostname_does_not_change_the_hosts() {
    let host = || fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let before = host();
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let named =
            sandbox.sh(&["-h", "inside.example"], "hostname; cat /proc/sys/kernel/hostname");
        assert_eq!(named.ok(), "inside.example\ninside.example");
        // Without -h it is the container's name.
        assert_eq!(sandbox.run(&["--name", "my-box"], &["hostname"]).ok(), "my-box");
        // CAP_SYS_ADMIN is not among the defaults.
        let changed = sandbox.run(&[], &["hostname", "other"]);
        assert_ne!(changed.code, 0, "{changed:?}");
        assert_eq!(host(), before);
    }
}

#[test]
fn a_hostname_may_have_64_bytes() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let name = |length: usize| "x".repeat(length);
        assert_eq!(sandbox.run(&["-h", &name(64)], &["hostname"]).ok(), name(64), "{caller:?}");
        for wrong in [String::new(), name(65)] {
            let ran = sandbox.run(&[&format!("--hostname={wrong}")], &["true"]);
            ran.code(125)
                .says(&format!("minibox: --hostname {wrong:?} is not understood\n  hint: "));
        }
        // A longer name of the container is cut; a part of it may still be told apart.
        let long = sandbox.run(&["--name", &name(100)], &["hostname"]);
        assert_eq!(long.ok(), name(63));
    }
}

#[test]
fn shared_memory_of_the_host_is_not_seen() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let tool = |name: &str, args: &[&str]| {
            let output = sandbox.command(Path::new(name)).args(args).output();
            Ran::of(&output.expect("util-linux")).ok().to_owned()
        };
        let made = tool("ipcmk", &["--shmem", "4096"]);
        let segment = made.rsplit(' ').next().expect("its id").to_owned();
        let lists =
            |table: &str| table.lines().any(|l| l.split_whitespace().nth(1) == Some(&segment));
        let outside = fs::read_to_string("/proc/sysvipc/shm").expect("the host's table");
        let inside = sandbox.run(&[], &["cat", "/proc/sysvipc/shm"]);
        tool("ipcrm", &["--shmem-id", &segment]);
        assert!(lists(&outside), "{outside}");
        assert!(!lists(&inside.stdout), "{inside:?}");
        assert_eq!(inside.ok().lines().count(), 1, "only the heading");
    }
}

#[test]
fn message_queues_belong_to_one_container() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&[], &["sleep", "1000"]);
        sandbox.call(&["exec", &id, "touch", "/dev/mqueue/queue"]).ok();
        assert_eq!(sandbox.call(&["exec", &id, "ls", "/dev/mqueue"]).ok(), "queue");
        assert_eq!(sandbox.run(&[], &["ls", "-A", "/dev/mqueue"]).ok(), "");
    }
}

/// Connects to 127.0.0.1 at the port given, and says how that went.
const CONNECT: &str = "
import socket, sys
print(socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1]))))";

#[test]
fn the_network_is_a_loopback_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the host");
    let port = listener.local_addr().expect("an address").port().to_string();
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let interfaces = "sed -n 's/^ *\\([^ ]*\\):.*/\\1/p' /proc/net/dev; ls /sys/class/net";
        assert_eq!(sandbox.sh(&[], interfaces).ok(), "lo\nlo", "{caller:?}");
        // IFF_UP and IFF_LOOPBACK.
        assert_eq!(sandbox.run(&[], &["cat", "/sys/class/net/lo/flags"]).ok(), "0x9");
        // A server and its client inside, on a port that outside belongs to root.
        let own = "
import socket
server = socket.create_server(('127.0.0.1', 80))
client = socket.create_connection(('127.0.0.1', 80))
client.sendall(b'hello')
print(server.accept()[0].recv(5).decode())";
        assert_eq!(sandbox.run(&[], &["python", "-c", own]).ok(), "hello");
        let refused = sandbox.run(&[], &["python", "-c", CONNECT, &port]);
        assert_eq!(refused.ok(), nix::libc::ECONNREFUSED.to_string());
    }
}

#[test]
fn net_host_shares_the_hosts_network_and_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the host");
    let port = listener.local_addr().expect("an address").port().to_string();
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["--net", "host"], &["readlink", "/proc/self/ns/net"]);
        assert_eq!(ran.ok(), host_namespace("net"), "{caller:?}");
        ran.says("minibox: --net host: the container sees and uses the host's network");
        let reached = sandbox.run(&["--net", "host"], &["python", "-c", CONNECT, &port]);
        assert_eq!(reached.ok(), "0");
        // The other namespaces stay its own.
        let links = "cd /proc/self/ns; for n in pid ipc mnt uts cgroup; do readlink $n; done";
        for link in sandbox.sh(&["--net", "host"], links).ok().lines() {
            let (kind, _) = link.split_once(':').expect("kind:[inode]");
            assert_ne!(host_namespace(kind), link);
        }
    }
}

#[test]
fn its_cgroup_looks_like_the_root_of_all() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let inside = sandbox.run(&[], &["cat", "/proc/self/cgroup"]).ok().to_owned();
        assert!(!inside.is_empty());
        for line in inside.lines() {
            assert!(line.ends_with(":/"), "{caller:?}: {line}");
        }
    }
}

#[test]
fn a_plain_caller_is_root_of_a_user_namespace() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "readlink /proc/self/ns/user; cat /proc/self/setgroups /proc/self/uid_map";
        let inside = sandbox.sh(&[], script).ok().to_owned();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = inside.lines().map(words).collect();
        if caller == Caller::Root {
            assert_eq!(lines[0], host_namespace("user"));
            assert_eq!(
                lines[2..],
                [words(&fs::read_to_string("/proc/self/uid_map").expect("a map"))]
            );
            continue;
        }
        assert_ne!(lines[0], host_namespace("user"));
        assert_eq!(lines[2], format!("0 {} 1", sandbox.uid()), "he is root inside");
        match caller {
            Caller::SingleId => assert_eq!((lines[1].as_str(), lines.len()), ("deny", 3)),
            Caller::SubordinateIds => {
                assert_eq!((lines[1].as_str(), lines[3].as_str()), ("allow", "1 300000 65536"));
            }
            Caller::Root | Caller::Myself => {}
        }
    }
}

#[test]
fn mounts_of_the_host_do_not_arrive_later_and_those_inside_never_leave() {
    for caller in Caller::root_only("mount propagation") {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("folder");
        fs::create_dir(folder.join("below")).expect("mkdir");
        let volume = format!("{}:/folder", folder.display());
        // A host where every mount is shared, as systemd makes it; gone with the last process in it.
        // Cut off from this one first: where `/` is shared already, its mounts would arrive here.
        let script = r#"
            mount --make-rshared /
            id=$("$@" run -d -v "$0" --tmpfs /folder/inside "$ROOTFS" sleep 1000)
            mount -t tmpfs tmpfs folder/below
            touch folder/below/later
            "$@" exec $id sh -c 'ls -A /folder/below; touch /folder/inside/own'
            ls -A folder/inside
            "$@" rm -f $id >&2"#;
        let wrapper =
            ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, &volume];
        let ran = Ran::of(
            &sandbox.wrapped(&wrapper, &[]).env("ROOTFS", sandbox.rootfs()).output().expect("sh"),
        );
        assert_eq!(ran.ok(), "", "{ran:?}");
    }
}

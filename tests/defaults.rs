//! What a container gets when nothing is asked for, and what each flag opens.

use std::fs;
use std::path::Path;

use minibox_tests::{Caller, Ran, Sandbox, cgroup_file, copy_program, has, wait_until};

/// The eleven default capabilities by number, linux/capability.h.
const ELEVEN: [u8; 11] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31];

fn bits(numbers: &[u8]) -> u64 {
    numbers.iter().fold(0, |all, number| all | 1 << number)
}

/// All that this kernel knows and this caller can have: in a user namespace of his own every one, as
/// root of a machine that is itself confined perhaps fewer.
fn every_capability(caller: Caller) -> u64 {
    if caller == Caller::Root {
        let status = Status(fs::read_to_string("/proc/self/status").expect("proc"));
        return status.set("CapBnd") & status.set("CapPrm");
    }
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("proc");
    u64::MAX >> (63 - last.trim().parse::<u32>().expect("a number"))
}

/// A field of /proc/self/status as PID 1 itself sees it, without a shell in between.
struct Status(String);

impl Status {
    #[track_caller]
    fn of(ran: &Ran) -> Status {
        Status(ran.ok().to_owned())
    }

    #[track_caller]
    fn field(&self, name: &str) -> &str {
        let value = self.0.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {name} in {}", self.0)).trim()
    }

    #[track_caller]
    fn set(&self, name: &str) -> u64 {
        u64::from_str_radix(self.field(name), 16).expect("hexadecimal")
    }
}

fn status(sandbox: &Sandbox, options: &[&str]) -> Status {
    Status::of(&sandbox.run(options, &["cat", "/proc/self/status"]))
}

/// Callers whose containers have more users than root.
fn with_several_ids() -> impl Iterator<Item = Caller> {
    Caller::all().into_iter().filter(|c| matches!(c, Caller::Root | Caller::SubordinateIds))
}

#[test]
fn root_has_exactly_the_eleven_capabilities_and_can_gain_none() {
    for caller in Caller::all() {
        let status = status(&Sandbox::new(caller), &[]);
        for set in ["CapBnd", "CapPrm", "CapEff"] {
            assert_eq!(status.set(set), bits(&ELEVEN), "{caller:?} {set}");
        }
        assert_eq!((status.set("CapInh"), status.set("CapAmb")), (0, 0), "{caller:?}");
        assert_eq!(status.field("NoNewPrivs"), "1");
    }
}

#[test]
fn another_user_has_none_of_them() {
    for caller in with_several_ids() {
        let status = status(&Sandbox::new(caller), &["-u", "learner"]);
        for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(status.set(set), 0, "{caller:?} {set}");
        }
        assert_eq!(status.set("CapBnd"), bits(&ELEVEN));
        assert_eq!(status.field("NoNewPrivs"), "1");
    }
}

#[test]
fn capabilities_are_added_and_dropped_as_docker_does() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let effective = |options: &[&str]| {
            let status = status(&sandbox, options);
            assert_eq!(status.set("CapBnd"), status.set("CapEff"), "{options:?}");
            assert_eq!((status.set("CapInh"), status.set("CapAmb")), (0, 0), "{options:?}");
            status.set("CapEff")
        };
        let eleven = bits(&ELEVEN);
        assert_eq!(effective(&["--cap-add", "NET_ADMIN"]), eleven | 1 << 12);
        assert_eq!(
            effective(&["--cap-add", "cap_net_admin", "--cap-add=sys_ptrace"]),
            eleven | 1 << 12 | 1 << 19
        );
        assert_eq!(effective(&["--cap-add", "CHOWN"]), eleven);
        assert_eq!(effective(&["--cap-drop", "CAP_CHOWN"]), eleven & !1);
        assert_eq!(effective(&["--cap-drop", "ALL"]), 0);
        assert_eq!(effective(&["--cap-drop", "all", "--cap-add", "CHOWN"]), 1);
        assert_eq!(effective(&["--cap-add", "ALL"]), every_capability(caller));
        assert_eq!(
            effective(&["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"]),
            every_capability(caller) & !(1 << 21)
        );
        assert_eq!(effective(&["--cap-drop", "ALL", "--cap-add", "ALL"]), every_capability(caller));
        assert_eq!(effective(&["--cap-add", "KILL", "--cap-drop", "KILL"]), eleven & !(1 << 5));
    }
}

#[test]
fn an_added_capability_beyond_the_default_is_said_in_one_line() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let lines = |options: &[&str]| {
            let ran = sandbox.run(options, &["true"]).code(0).clone();
            ran.stderr
                .lines()
                .filter(|l| l.contains("--cap-add"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let said = lines(&["--cap-add", "sys_admin", "--cap-add", "KILL", "--cap-drop", "CHOWN"]);
        assert_eq!(
            said,
            [
                "minibox: --cap-add sys_admin: the container may mount, join namespaces and much more: nearly root of the host"
            ]
        );
        assert_eq!(lines(&["--cap-add", "CAP_CHOWN"]), [""; 0]);
        assert_eq!(lines(&["--cap-add", "ALL"]).len(), 1);
    }
}

#[test]
fn an_unknown_capability_is_refused() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    for flag in ["--cap-add", "--cap-drop"] {
        for name in ["SYS_EVERYTHING", "", "CAP_", "21"] {
            let ran = sandbox.run(&[flag, name], &["true"]);
            ran.code(125).says(&format!("unknown capability {name:?}"));
        }
    }
}

#[test]
fn no_signal_is_ignored_or_blocked_whatever_the_caller_does() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let wrapper = ["env", "--ignore-signal=INT,QUIT,HUP,PIPE,USR1", "--block-signal=TERM,USR2"];
        let args = ["run", &rootfs, "cat", "/proc/self/status"];
        let ran = Ran::of(&sandbox.wrapped(&wrapper, &args).output().expect("env"));
        let status = Status::of(&ran);
        for set in ["SigIgn", "SigBlk", "SigPnd", "ShdPnd"] {
            assert_eq!(status.set(set), 0, "{caller:?} {set}");
        }
    }
}

#[test]
fn a_caller_that_ignores_sigchld_gets_the_exit_code_all_the_same() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let run = |options: &[&str]| {
            let args = [&["run"], options, &[&rootfs, "sh", "-c", "exit 7"]].concat();
            let mut command = sandbox.wrapped(&["env", "--ignore-signal=CHLD"], &args);
            Ran::of(&command.output().expect("env"))
        };
        run(&[]).code(7);
        let id = run(&["-d"]).ok().to_owned();
        assert_eq!(sandbox.call(&["wait", &id]).ok(), "7", "{caller:?}");
    }
}

#[test]
fn no_descriptor_of_the_caller_is_inherited() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let wrapper = ["sh", "-c", "exec 3</etc/passwd 8<. 9</etc/passwd; exec \"$@\"", "sh"];
        let list = "import os; print(*sorted(os.listdir('/proc/self/fd'), key=int))";
        for options in [&[][..], &["-i"], &["-t"]] {
            let args = [&["run"], options, &[&rootfs, "python", "-c", list]].concat();
            let ran = Ran::of(&sandbox.wrapped(&wrapper, &args).output().expect("sh"));
            // 3 is the listing itself.
            assert_eq!(ran.ok(), "0 1 2 3", "{caller:?} {options:?}");
        }
        let args = ["run", "-d", &rootfs, "sh", "-c", "python -c \"$0\"; exec sleep 1000", list];
        let id = Ran::of(&sandbox.wrapped(&wrapper, &args).output().expect("sh")).ok().to_owned();
        wait_until("it has listed", || !sandbox.call(&["logs", &id]).stdout.is_empty());
        assert_eq!(sandbox.call(&["logs", &id]).ok(), "0 1 2 3", "{caller:?} -d");
        let args = ["exec", &id, "python", "-c", list];
        let ran = Ran::of(&sandbox.wrapped(&wrapper, &args).output().expect("sh"));
        assert_eq!(ran.ok(), "0 1 2 3", "{caller:?} exec");
    }
}

#[test]
fn the_umask_is_022_whatever_the_callers_is() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let wrapper = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
        let args = [
            "run",
            &rootfs,
            "sh",
            "-c",
            "umask; touch /x; stat -c %a /x /etc /dev /dev/null /dev/shm",
        ];
        let ran = Ran::of(&sandbox.wrapped(&wrapper, &args).output().expect("sh"));
        assert_eq!(ran.ok(), "0022\n644\n755\n755\n666\n1777", "{caller:?}");
    }
}

#[test]
fn no_core_is_dumped() {
    for caller in Caller::all() {
        let limits = Sandbox::new(caller).run(&[], &["cat", "/proc/self/limits"]).ok().to_owned();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("it");
        assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{caller:?}");
    }
}

#[test]
fn the_session_keyring_is_new_and_anonymous() {
    // keyctl(2): GET_KEYRING_ID of the session keyring, then DESCRIBE; glibc has no function for it.
    let script = "
import ctypes, os
number = {'x86_64': 250, 'aarch64': 219}[os.uname().machine]
keyctl = lambda *words: ctypes.CDLL(None).syscall(number, *words)
key = keyctl(0, -3, 0)
text = ctypes.create_string_buffer(200)
keyctl(6, key, text, 200)
print('%08x' % key, text.value.decode())";
    // Programs may not even ask, otherwise.
    let options = ["--security-opt", "seccomp=unconfined"];
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let before = sandbox.command(Path::new("cat")).arg("/proc/keys").output().expect("cat");
        let before = Ran::of(&before).stdout;
        let described = sandbox.run(&options, &["python", "-c", script]).ok().to_owned();
        let (id, description) = described.split_once(' ').expect("two words");
        assert!(
            description.starts_with("keyring;") && description.ends_with(";_ses"),
            "{described}"
        );
        assert!(!before.contains(id), "{caller:?}: {described} in\n{before}");
        assert_ne!(sandbox.run(&options, &["python", "-c", script]).ok(), described);
    }
}

#[test]
fn at_most_512_processes_run_at_a_time() {
    for caller in Caller::root_only("the default pids limit") {
        let sandbox = Sandbox::new(caller);
        let script = "cat /sys/fs/cgroup/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids/pids.max";
        let id = sandbox.start(&[], &["sleep", "1000"]);
        let file = cgroup_file(sandbox.pid(&id), "pids", "pids.max");
        assert_eq!(fs::read_to_string(file).expect("a limit"), "512\n");
        // Inside, the root of cgroupfs is its own.
        assert_eq!(sandbox.sh(&[], script).ok(), "512");
    }
}

const MASKED: &str = "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys
    /proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats
    /sys/devices/virtual/powercap /sys/firmware /sys/devices/system/cpu/cpu0/thermal_throttle";

#[test]
fn masked_paths_are_empty_and_stay_so() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = format!(
            "for path in {}; do
                if [ -d $path ]; then ls -A $path; touch $path/x 2>/dev/null && echo $path/x
                elif [ -e $path ]; then echo text 2>/dev/null >$path; head -c 100 $path; fi; done",
            MASKED.replace('\n', " ")
        );
        assert_eq!(sandbox.sh(&[], &script).stdout, "", "{caller:?}");
    }
    // The test means something only where the host has content there.
    let full = MASKED.split_whitespace().filter(|path| {
        let holds = |mut entries: fs::ReadDir| entries.next().is_some();
        fs::read_dir(path).map_or_else(|_| Path::new(path).exists(), holds)
    });
    assert!(full.count() >= 3);
}

#[test]
fn parameters_of_the_kernel_are_read_only() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "for file in /proc/sys/kernel/core_pattern /proc/sys/net/ipv4/ip_forward /proc/sysrq-trigger \
             /proc/irq/default_smp_affinity /sys/kernel/uevent_helper /sys/class/net/lo/mtu; do
                [ ! -e $file ] || ( : > $file ) 2>&1; done; mkdir /sys/fs/cgroup/x; true";
        let ran = sandbox.sh(&[], script);
        let expected = ran.stdout.lines().count();
        assert!(expected >= 3, "{ran:?}");
        let refused = |text: &str| text.matches("Read-only file system").count();
        assert_eq!(
            (refused(&ran.stdout), refused(&ran.stderr)),
            (expected, 1),
            "{caller:?} {ran:?}"
        );
    }
}

#[test]
fn mounts_have_the_flags_that_keep_them_harmless() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mounts = sandbox.run(&[], &["cat", "/proc/self/mountinfo"]).ok().to_owned();
        let mut seen = Vec::new();
        for line in mounts.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (place, flags, fstype) =
                (words[4], words[5], words[8 - usize::from(words[6] == "-")]);
            let has = |flag: &str| flags.split(',').any(|f| f == flag);
            let (nosuid, nodev, noexec, ro) =
                (has("nosuid"), has("nodev"), has("noexec"), has("ro"));
            let expected = match place {
                "/proc" | "/dev/mqueue" | "/dev/shm" => (true, true, true, false),
                "/dev" | "/dev/pts" => (true, false, true, false),
                "/proc/bus" | "/proc/fs" | "/proc/irq" | "/proc/sys" | "/sys" => {
                    (true, true, true, true)
                }
                place if place.starts_with("/sys/fs/cgroup") => (true, true, true, true),
                "/etc/hosts" | "/etc/hostname" | "/etc/resolv.conf" => (true, true, true, false),
                _ => continue,
            };
            assert_eq!((nosuid, nodev, noexec, ro), expected, "{caller:?} {line}");
            seen.push((place.to_owned(), fstype.to_owned()));
        }
        for (place, fstype) in [
            ("/proc", "proc"),
            ("/dev", "tmpfs"),
            ("/dev/pts", "devpts"),
            ("/dev/shm", "tmpfs"),
            ("/dev/mqueue", "mqueue"),
            ("/sys", "sysfs"),
            ("/proc/sys", "proc"),
        ] {
            assert!(
                seen.contains(&(place.into(), fstype.into())),
                "{caller:?} {place} {fstype}\n{mounts}"
            );
        }
    }
}

#[test]
fn dev_holds_the_harmless_nodes_and_nothing_else() {
    let entries = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        assert_eq!(sandbox.sh(&[], "cd /dev; echo *").ok(), entries, "{caller:?}");
        let console = entries.replace("fd", "console fd");
        assert_eq!(sandbox.sh(&["-t"], "cd /dev; echo *").ok(), console, "{caller:?}");
        let script = "cd /dev; stat -c '%n %a %t:%T' full null random tty urandom zero
            for link in fd ptmx stderr stdin stdout; do readlink $link; done";
        let facts = "full 666 1:7\nnull 666 1:3\nrandom 666 1:8\ntty 666 5:0\nurandom 666 1:9\nzero 666 1:5\n\
            /proc/self/fd\npts/ptmx\n/proc/self/fd/2\n/proc/self/fd/0\n/proc/self/fd/1";
        assert_eq!(sandbox.sh(&[], script).ok(), facts, "{caller:?}");
    }
}

#[test]
fn devices_work() {
    let script = "
import os, pty
open('/dev/null', 'w').write('gone')
assert open('/dev/null').read() == ''
assert open('/dev/zero', 'rb').read(3) == bytes(3)
for name in ('random', 'urandom'):
    assert open('/dev/' + name, 'rb').read(64) != open('/dev/' + name, 'rb').read(64)
try: os.write(os.open('/dev/full', os.O_WRONLY), b'x')
except OSError as error: print(error.strerror)
ours, theirs = pty.openpty()
print(os.ttyname(theirs))
os.write(theirs, b'through a terminal')
print(os.read(ours, 100).decode())
open('/dev/stdout', 'w').write('through a link\\n')";
    // Through a pipe of the container: one of the test's own belongs to root.
    for caller in Caller::all() {
        let ran = Sandbox::new(caller).run(&[], &["sh", "-c", "python -u -c \"$0\" | cat", script]);
        let lines: Vec<&str> = ran.ok().lines().collect();
        assert_eq!(lines.len(), 4, "{ran:?}");
        assert_eq!(lines[0], "No space left on device");
        assert!(lines[1].starts_with("/dev/pts/"), "{ran:?}");
        assert_eq!(lines[2..], ["through a terminal", "through a link"], "{caller:?}");
    }
}

#[test]
fn device_nodes_cannot_be_made() {
    for caller in Caller::all() {
        let ran = Sandbox::new(caller).run(&[], &["mknod", "/disk", "b", "8", "0"]);
        assert_ne!(ran.code, 0);
        ran.says("Operation not permitted");
    }
}

#[test]
fn etc_has_files_of_its_own() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "cat /etc/hostname; grep -c nameserver /etc/resolv.conf; cat /etc/hosts; echo own >> /etc/hosts; stat -c %a:%u:%g /etc/hosts";
        let ran = sandbox.sh(&["-h", "my-host"], script);
        let lines: Vec<&str> = ran.ok().lines().collect();
        assert_eq!(lines[..2], ["my-host", "0"]);
        assert!(
            lines[2].starts_with("127.0.0.1") && lines[2].ends_with("localhost my-host"),
            "{ran:?}"
        );
        assert_eq!(lines.last(), Some(&"644:0:0"), "{caller:?}");
        // Its name leads to itself.
        let lookup = "import socket; print(socket.gethostbyname(socket.gethostname()))";
        assert_eq!(sandbox.run(&["-h", "my-host"], &["python", "-c", lookup]).ok(), "127.0.0.1");
    }
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for caller in Caller::all() {
        let ran = Sandbox::new(caller).run(&["--net", "host"], &["cat", "/etc/resolv.conf"]);
        assert_eq!(ran.ok(), host.trim(), "with the host's network come its name servers");
    }
}

#[test]
fn in_its_own_network_low_ports_and_ping_need_no_privilege() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script =
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range";
        let last = match caller {
            Caller::Root => "2147483647",
            Caller::SingleId => "0",
            Caller::SubordinateIds => "65536",
            Caller::Myself => continue,
        };
        assert_eq!(sandbox.sh(&[], script).ok(), format!("0\n0\t{last}"), "{caller:?}");
    }
    let host = fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").expect("proc");
    for caller in Caller::all() {
        if caller != Caller::Root {
            continue; // In a user namespace the host's groups have other numbers.
        }
        let file = "/proc/sys/net/ipv4/ping_group_range";
        let ran = Sandbox::new(caller).run(&["--net", "host"], &["cat", file]);
        assert_eq!(ran.ok(), host.trim(), "the host's own parameters stay");
    }
}

fn environment(sandbox: &Sandbox, options: &[&str]) -> Vec<String> {
    let script = "import os; print(*sorted(f'{k}={v}' for k, v in os.environ.items() if k != 'LC_CTYPE'), sep='|')";
    let options = [&["--name", "box"], options].concat();
    let ran =
        sandbox.run(&[&["--rm"], options.as_slice()].concat(), &["/usr/bin/python", "-c", script]);
    ran.ok().split('|').map(str::to_owned).collect()
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[test]
fn the_environment_is_three_variables_and_what_was_asked_for() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        assert_eq!(environment(&sandbox, &[]), ["HOME=/root", "HOSTNAME=box", PATH], "{caller:?}");
        assert_eq!(
            environment(&sandbox, &["-t"]),
            ["HOME=/root", "HOSTNAME=box", "LANG=C.UTF-8", PATH, "TERM=xterm"]
        );
        let asked = [
            "-e",
            "A=1=2",
            "--env",
            "EMPTY=",
            "-e",
            "HOSTNAME=other",
            "-e",
            "A=last",
            "-e",
            "PATH=/usr/bin",
        ];
        let expected = ["A=last", "EMPTY=", "HOME=/root", "HOSTNAME=other", "PATH=/usr/bin"];
        assert_eq!(environment(&sandbox, &asked), expected, "{caller:?}");
        sandbox.run(&["-e", "=x"], &["true"]).code(125).says("--env \"=x\"");
        sandbox.run(&["-e", ""], &["true"]).code(125).says("--env \"\"");
    }
    for caller in with_several_ids() {
        let home = &environment(&Sandbox::new(caller), &["-u", "learner"])[0];
        assert_eq!(home, "HOME=/home/learner");
    }
}

#[test]
fn a_key_alone_passes_the_callers_variable_on() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let args = [
            "run",
            "-e",
            "GIVEN",
            "-e",
            "MISSING",
            &rootfs,
            "sh",
            "-c",
            "echo $GIVEN; env | grep -c MISSING",
        ];
        let mut command = sandbox.minibox(&args);
        let ran = Ran::of(
            &command.env("GIVEN", "two  words").env_remove("MISSING").output().expect("minibox"),
        );
        assert_eq!(ran.code(1).stdout, "two words\n0\n", "{caller:?}");
    }
}

#[test]
fn privileged_opens_everything_and_says_so() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["--privileged"], &["cat", "/proc/self/status"]);
        ran.says("minibox: --privileged: ");
        let status = Status::of(&ran);
        assert_eq!(
            (status.set("CapEff"), status.set("CapBnd")),
            (every_capability(caller), every_capability(caller))
        );
        assert_eq!((status.set("CapInh"), status.set("CapAmb")), (0, 0), "{caller:?}");
        assert_eq!(status.field("NoNewPrivs"), "0");
        let script = "head -c 1 /proc/interrupts | wc -c
            mount -t tmpfs tmpfs /mnt && echo mounted; mkdir /sys/fs/cgroup/x 2>&1 | grep -c Read-only; ls /dev | wc -l";
        let ran = sandbox.sh(&["--privileged"], script);
        let lines: Vec<&str> = ran.ok().lines().collect();
        assert_eq!(lines[..3], ["1", "mounted", "0"], "{caller:?} {ran:?}");
        assert!(lines[3].parse::<u32>().expect("a number") > 14, "devices of the host: {ran:?}");
    }
}

#[test]
fn no_new_privileges_decides_whether_setuid_programs_work() {
    for caller in with_several_ids() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let bash = root.join("usr/bin/bash");
        let setuid = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
        fs::set_permissions(&bash, setuid).expect("chmod");
        let euid = ["bash", "-p", "-c", "echo $EUID"];
        let user = |option: &'static str| ["-u", "1000", "--security-opt", option];
        assert_eq!(sandbox.run_on(&root, &["-u", "1000"], &euid).ok(), "1000", "{caller:?}");
        for option in ["no-new-privileges=true", "no-new-privileges", "no-new-privileges:true"] {
            assert_eq!(sandbox.run_on(&root, &user(option), &euid).ok(), "1000", "{option}");
        }
        for option in ["no-new-privileges=false", "no-new-privileges:false"] {
            let ran = sandbox.run_on(&root, &user(option), &euid);
            assert_eq!(ran.ok(), "0", "{caller:?} {option}");
            ran.says("minibox: --security-opt no-new-privileges=false: setuid programs in the container may");
        }
        // A setuid program that fails without its privileges: the hint names the switch.
        let failing = ["bash", "-p", "-c", "exit $((EUID != 0))"];
        let ran = sandbox.run_on(&root, &["-u", "1000"], &failing);
        ran.code(1).says("--security-opt no-new-privileges=false");
        sandbox
            .run(&["--security-opt", "what=ever"], &["true"])
            .code(125)
            .says("--security-opt \"what=ever\"");
    }
}

#[test]
fn file_capabilities_do_not_help_either() {
    if !has("setcap") {
        minibox_tests::skip("file capabilities under no_new_privs", "setcap is not installed");
        return;
    }
    for caller in Caller::root_only("file capabilities under no_new_privs") {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let cat = root.join("usr/bin/privileged-cat");
        let busybox = fs::canonicalize(root.join("usr/bin/cat")).expect("cat");
        copy_program(&busybox, &cat);
        let mut setcap = std::process::Command::new("setcap");
        assert!(setcap.arg("cap_kill+ep").arg(&cat).status().expect("setcap").success());
        let ran = sandbox.run_on(&root, &["-u", "1000"], &["privileged-cat", "/proc/self/status"]);
        if ran.code == 0 {
            assert_eq!(Status::of(&ran).set("CapEff"), 0);
        }
    }
}

#[test]
fn device_nodes_that_the_root_filesystem_brings_along_open_nothing() {
    // A disk of the host's is only a number away; /dev/zero's stands in for it.
    for caller in Caller::root_only("device_nodes_that_the_root_filesystem_brings_along") {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let data = sandbox.folder("data");
        for folder in [&root, &data] {
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
            let device = nix::sys::stat::makedev(1, 5);
            nix::sys::stat::mknod(
                &folder.join("zero"),
                nix::sys::stat::SFlag::S_IFCHR,
                mode,
                device,
            )
            .expect("mknod");
        }
        let volume = format!("{}:/data", data.display());
        let read = |options: &[&str], path: &str| {
            let options = [&["-v", volume.as_str()], options].concat();
            sandbox.run_on(&root, &options, &["head", "-c", "1", path])
        };
        for options in [&[][..], &["--rw"], &["--read-only"]] {
            for path in ["/zero", "/data/zero"] {
                read(options, path).code(1).says("Permission denied");
            }
        }
        read(&["--privileged"], "/zero").code(0);
    }
}

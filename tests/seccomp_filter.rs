//! The filter of system calls: what it refuses, how, and for whom.

use std::fs;
use std::path::{Path, PathBuf};

use minibox_tests::{Beside, Caller, Ran, Sandbox, checkout, wait_until};
use serde_json::{Value, json};

/// Python's beginning of a script that makes calls by their numbers: `call(number, …)` prints an errno's name.
const CALL: &str = "import ctypes, errno, os, socket, struct, sys, mmap
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    done = libc.syscall(number, *map(ctypes.c_long, args))
    print(errno.errorcode[ctypes.get_errno()] if done == -1 else 'OK', flush=True)
";

/// The calls that are made by number.
const NUMBERS: [(&str, libc::c_long); 16] = [
    ("bpf", libc::SYS_bpf),
    ("clone", libc::SYS_clone),
    ("clone3", libc::SYS_clone3),
    ("getpid", libc::SYS_getpid),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl),
    ("mkdirat", libc::SYS_mkdirat),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("reboot", libc::SYS_reboot),
    ("times", libc::SYS_times),
    ("unshare", libc::SYS_unshare),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("the_socket", libc::SYS_socket),
    // No kernel has it yet.
    ("tomorrow", 999),
    // x32's, on x86_64.
    ("x32_getpid", 0x4000_0000 + libc::SYS_getpid),
];

/// A script's beginning: [`CALL`], and the numbers by name.
fn script(text: &str) -> String {
    let numbers: String =
        NUMBERS.iter().map(|(name, number)| format!("{name} = {number}\n")).collect();
    format!("{CALL}{numbers}{text}")
}

/// What a script prints.
fn python(sandbox: &Sandbox, options: &[&str], text: &str) -> Ran {
    sandbox.run(options, &["python", "-c", &script(text)])
}

/// A file with a profile, which the caller may read.
fn profile(sandbox: &Sandbox, profile: &Value) -> String {
    let path = sandbox.path("profile.json");
    fs::write(&path, profile.to_string()).expect("write");
    sandbox.give(&path);
    format!("seccomp={}", path.display())
}

/// Everything is let through but these.
fn refusing(entries: &Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": entries})
}

const SECCOMP: &str = "grep ^Seccomp: /proc/1/status /proc/self/status";

#[test]
fn every_process_of_a_container_is_filtered() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let own = "/proc/1/status:Seccomp:\t2\n/proc/self/status:Seccomp:\t2\n";
        let none = own.replace('2', "0");
        let loose = ["--security-opt", "no-new-privileges=false"];
        for options in [&[][..], &["--init"], &loose, &["--cap-drop", "ALL"]] {
            sandbox.start(&[&["--name", "c"], options].concat(), &["sleep", "1000"]);
            let exec = |flags: &[&str]| {
                sandbox.call(&[&["exec"], flags, &["c", "sh", "-c", SECCOMP]].concat())
            };
            assert_eq!(exec(&[]).ok(), own.trim_end(), "{caller:?} {options:?}");
            assert_eq!(exec(&["--privileged"]).ok(), own.trim_end());
            sandbox.call(&["rm", "-f", "c"]).ok();
        }
        for options in [&["--security-opt", "seccomp=unconfined"][..], &["--privileged"]] {
            let ran = sandbox.sh(options, SECCOMP);
            assert_eq!(ran.ok(), none.trim_end(), "{caller:?} {options:?}");
        }
        let builtin = ["--privileged", "--security-opt", "seccomp=builtin"];
        assert_eq!(sandbox.sh(&builtin, SECCOMP).ok(), own.trim_end());
    }
}

#[test]
fn health_checks_are_filtered_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let check = "grep Seccomp: /proc/self/status";
        let options = ["--name", "c", "--health-cmd", check, "--health-interval", "1s"];
        sandbox.start(&options, &["sleep", "1000"]);
        let log = || sandbox.inspect("c")["State"]["Health"]["Log"][0]["Output"].clone();
        wait_until("a check", || log().is_string());
        assert_eq!(log(), "Seccomp:\t2\n", "{caller:?}");
    }
}

#[test]
fn what_has_led_out_of_containers_is_refused() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        // CLONE_NEWUSER; clone3, of whose flags a filter sees nothing; one that no kernel has yet.
        let script = "for number, *args in [(io_uring_setup, 1, 0), (keyctl, 0), (userfaultfd, 0), (bpf, 0),
            (perf_event_open, 0), (unshare, 0x10000000), (clone, 0x10000000 | 17, 0), (clone3, 0, 0),
            (tomorrow,)]: call(number, *args)
def family(*args):
    try: socket.socket(*args); print('OK')
    except OSError as e: print(errno.errorcode[e.errno])
for args in [(38, 5), (33, 2), (40, 1), (15, 3, 2), (16, 3, 6), (16, 3, 21), (16, 3, 0), (16, 3, 16), (2, 1), (10, 2), (1, 1)]: family(*args)
call(the_socket, 1 << 32 | 38, 5, 0)";
        let ran = python(&sandbox, &[], script);
        let words: Vec<&str> = ran.ok().lines().collect();
        let (calls, families) = words.split_at(9);
        assert_eq!(calls[..7], ["EPERM"; 7], "{caller:?} {words:?}");
        assert_eq!(calls[7..], ["ENOSYS"; 2], "{caller:?}");
        assert_eq!(families[..6], ["EPERM"; 6], "{caller:?} {families:?}");
        assert_eq!(families[6..11], ["OK"; 5], "{caller:?} {families:?}");
        // AF_ALG to the kernel, which looks at 32 bits.
        assert_eq!(families[11], "EPERM", "{caller:?}");
        // With the capability comes the call.
        let mount =
            "import ctypes; print(ctypes.CDLL(None).mount(b'x', b'/mnt', b'tmpfs', 0, None))";
        let mount = ["python", "-c", mount];
        assert_eq!(sandbox.run(&[], &mount).ok(), "-1");
        assert_eq!(sandbox.run(&["--cap-add", "SYS_ADMIN"], &mount).ok(), "0", "{caller:?}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_another_architecture_kill() {
    // mov $20 (getpid), %eax; int $0x80; ret. And x32's getpid.
    let script = "if sys.argv[1] == 'x32': call(x32_getpid)
else:
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes.fromhex('b814000000cd80c3'))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    print('pid', ctypes.CFUNCTYPE(ctypes.c_int)(address)())";
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let run = |options: &[&str], way: &str| {
            sandbox.run(options, &["python", "-c", &self::script(script), way])
        };
        for way in ["x32", "int80"] {
            let ran = run(&["--name", way], way);
            ran.code(159).says("made a system call that its filter kills for");
            let why = sandbox.call(&["why", way]);
            let said = why.ok().split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains("SIGSYS, exit code 159: it made a system call"), "{said}");
        }
        let free = ["--security-opt", "seccomp=unconfined"];
        assert_eq!(run(&free, "int80").ok(), "pid 1", "{caller:?}");
        let listed = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]});
        let options = ["--security-opt", &profile(&sandbox, &listed)];
        assert_eq!(run(&options, "int80").ok(), "pid -7", "{caller:?}");
        run(&options, "x32").code(159);
    }
}

#[test]
fn each_action_does_what_it_says() {
    for caller in Caller::all() {
        for loose in ["no-new-privileges=true", "no-new-privileges=false"] {
            let sandbox = Sandbox::new(caller);
            let run = |entry: Value| {
                let option = profile(&sandbox, &refusing(&json!([entry])));
                let options = ["--security-opt", &option, "--security-opt", loose];
                python(&sandbox, &options, "call(reboot, 0, 0, 0)")
            };
            let reboot = |action: &str| json!({"names": ["reboot"], "action": action});
            assert_eq!(run(reboot("SCMP_ACT_ERRNO")).ok(), "EPERM", "{caller:?}");
            let mut errno = reboot("SCMP_ACT_ERRNO");
            errno["errnoRet"] = json!(28);
            assert_eq!(run(errno.clone()).ok(), "ENOSPC");
            // Only who traces it could let it through.
            assert_eq!(run(reboot("SCMP_ACT_TRACE")).ok(), "ENOSYS");
            for action in ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"] {
                run(reboot(&format!("SCMP_ACT_{action}"))).code(159);
            }
            // Both get through to the kernel, which finds that the magic numbers are missing, or the capability.
            for action in ["ALLOW", "LOG"] {
                let said = run(reboot(&format!("SCMP_ACT_{action}")));
                assert!(["EPERM", "EINVAL"].contains(&said.ok()), "{}", said.stdout);
            }
            errno["args"] = json!([{"index": 0, "value": 0xffff_ffff_u32, "valueTwo": 5, "op": "SCMP_CMP_MASKED_EQ"}]);
            assert_ne!(run(errno.clone()).ok(), "ENOSPC");
            errno["args"][0]["valueTwo"] = json!(0);
            assert_eq!(run(errno).ok(), "ENOSPC");
        }
    }
}

#[test]
fn dockers_format_is_understood() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let path = sandbox.path("profile.json");
        fs::copy(checkout().join("tests/seccomp/conditions.json"), &path).expect("copy");
        sandbox.give(&path);
        let option = format!("seccomp={}", path.display());
        let options = ["--name", "c", "--security-opt", &option];
        sandbox.create(&options, &["true"]);
        let config = &sandbox.inspect("c")["Minibox"]["config"]["linux"]["seccomp"];
        let names = |config: &Value| {
            let entries = config["syscalls"].as_array().expect("a list");
            let first = |entry: &Value| entry["names"][0].as_str().expect("a name").to_owned();
            entries.iter().map(first).collect::<Vec<_>>().join(" ")
        };
        let own = if cfg!(target_arch = "x86_64") { " getppid" } else { "" };
        let told = format!("io_uring_setup unshare times{own} call_of_tomorrow");
        assert_eq!(names(config), told, "{caller:?}");
        let architectures = config["architectures"].as_array().map_or(0, Vec::len);
        assert_eq!(architectures, if cfg!(target_arch = "x86_64") { 3 } else { 2 });
        let more = ["--name", "d", "--security-opt", &option, "--cap-add", "SYS_ADMIN"];
        sandbox.create(&more, &["true"]);
        let config = &sandbox.inspect("d")["Minibox"]["config"]["linux"]["seccomp"];
        assert_eq!(names(config), told.replace("unshare", "acct"), "{caller:?}");
        // What it opens is said, and it is what happens.
        let script = "call(io_uring_setup, 1, 0); call(unshare, 0x10000000); call(times, 0)";
        let ran = python(&sandbox, &["--security-opt", &option], script);
        assert_eq!(ran.ok(), "EPERM\nEPERM\nEIO", "{caller:?}");
        ran.says("lets calls through that minibox's own filter refuses: _sysctl acct add_key ");
    }
}

#[test]
fn a_profile_that_is_none_is_refused_before_anything_is_made() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    for (text, words) in [
        ("{", "not a seccomp profile"),
        (
            r#"{"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#,
            "it has no defaultAction",
        ),
        (r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#, "SCMP_ACT_MAYBE"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
            "both architectures and archMap",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","names":["write"],"action":"SCMP_ACT_LOG"}]}"#,
            "both name and names",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","action":"SCMP_ACT_LOG","includes":{"minKernel":"new"}}]}"#,
            "\"new\" is no kernel version",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","action":"SCMP_ACT_NOTIFY"}]}"#,
            "needs a listenerPath",
        ),
    ] {
        let path = sandbox.path("profile.json");
        fs::write(&path, text).expect("write");
        let option = format!("seccomp={}", path.display());
        let ran = sandbox.run(&["--security-opt", &option], &["true"]);
        ran.code(125).says(words).says("--security-opt seccomp=");
    }
    sandbox.run(&["--security-opt", "seccomp=/no/such"], &["true"]).code(125).says("FILE|builtin");
    // Of old profiles, and without any rule.
    for text in ["{}", r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":null,"syscalls":null}"#]
    {
        let path = sandbox.path("profile.json");
        fs::write(&path, text).expect("write");
        let option = format!("seccomp={}", path.display());
        let ran = sandbox.run(&["--security-opt", &option], &["true"]);
        let said = ran.says("--security-opt seccomp=").ok();
        assert_eq!(said, "");
    }
}

#[test]
fn a_profile_that_leaves_no_way_to_begin_is_named() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for (call, action) in [("execve", "ERRNO"), ("execve", "KILL"), ("write", "KILL_PROCESS")] {
            let entry = json!([{"names": [call], "action": format!("SCMP_ACT_{action}")}]);
            let option = profile(&sandbox, &refusing(&entry));
            let ran = sandbox.run(&["--security-opt", &option], &["/bin/true"]);
            let hint = "the seccomp profile must allow write and execve";
            if (call, action) == ("execve", "KILL") {
                // Nothing tells this from a program that is killed at its first call.
                ran.code(159);
            } else {
                ran.says(hint);
                assert!([125, 126].contains(&ran.code), "{call} {action} {ran:?}");
            }
        }
    }
}

/// An agent, in a container of its own: answers each call it is asked about with EXDEV, and counts them.
const AGENT: &str = "import fcntl, json, os, select, socket, struct
listener = socket.socket(socket.AF_UNIX)
listener.bind('/agent/socket')
os.chmod('/agent/socket', 0o666)
listener.listen()
print('listens', flush=True)
connection = listener.accept()[0]
words, descriptors = socket.recv_fds(connection, 65536, 1)[:2]
poll, answered = select.poll(), 0
poll.register(descriptors[0], select.POLLIN)
while not poll.poll()[0][1] & select.POLLHUP:
    request = bytearray(80)
    try: fcntl.ioctl(descriptors[0], 0xc0502100, request)
    except OSError: continue
    fcntl.ioctl(descriptors[0], 0xc0182101, bytes(request[:8]) + struct.pack('qiI', 0, -18, 0))
    answered += 1
print(json.dumps([json.loads(words), answered]), flush=True)";

struct Agent {
    socket: PathBuf,
    process: Beside,
}

impl Agent {
    fn new(sandbox: &Sandbox, name: &str) -> Agent {
        let folder = sandbox.folder(name);
        let volume = format!("{}:/agent", folder.display());
        let process = sandbox.run_beside(&["--rm", "-v", &volume], &["python", "-c", AGENT]);
        process.wait_for("listens");
        Agent { socket: folder.join("socket"), process }
    }

    /// Once nobody is filtered any more: what it heard, and how many calls it answered.
    fn end(self) -> (Value, Value) {
        let ran = self.process.end();
        let mut said: Value =
            serde_json::from_str(ran.ok().lines().nth(1).expect("a line")).expect("JSON");
        (said[0].take(), said[1].take())
    }
}

fn notifying(agent: &Path) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent, "listenerMetadata": "opaque",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]})
}

#[test]
fn an_agent_is_asked() {
    for caller in Caller::all() {
        for options in [&[][..], &["--init"], &["--security-opt", "no-new-privileges=false"]] {
            let sandbox = Sandbox::new(caller);
            let agent = Agent::new(&sandbox, "agent");
            let option = profile(&sandbox, &notifying(&agent.socket));
            let all = [&["--rm", "--security-opt", &option], options].concat();
            let ran = python(&sandbox, &all, "call(mkdirat, 0, 0, 0)\nos.system('mkdir /tmp/x')");
            assert!(ran.stdout.starts_with("EXDEV\n"), "{caller:?} {ran:?}");
            let (state, answered) = agent.end();
            assert_eq!(answered, json!(2), "{caller:?} {options:?}");
            assert_eq!(state["fds"], json!(["seccompFd"]));
            assert_eq!(state["state"]["status"], "creating");
            assert_eq!(
                (&state["metadata"], &state["state"]["pid"]),
                (&json!("opaque"), &state["pid"])
            );
            assert!(state["pid"].as_i64().is_some_and(|pid| pid > 1), "{state}");
            let bundle = state["state"]["bundle"].as_str().expect("a path");
            assert!(bundle.ends_with(state["state"]["id"].as_str().expect("an id")), "{state}");
        }
    }
}

#[test]
fn an_agent_hears_of_each_process() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let first = Agent::new(&sandbox, "first");
        let option = profile(&sandbox, &notifying(&first.socket));
        sandbox.start(&["--name", "c", "--security-opt", &option], &["sleep", "1000"]);
        let pid = sandbox.pid("c");
        let second = Agent::new(&sandbox, "second");
        fs::rename(&second.socket, &first.socket).expect("rename");
        sandbox.call(&["exec", "c", "mkdir", "/tmp/x"]).says("Invalid cross-device link");
        let (state, answered) = second.end();
        assert_eq!((&state["state"]["pid"], answered), (&json!(pid), json!(1)), "{caller:?}");
        assert_ne!(state["pid"], pid);
        assert_eq!(state["state"]["status"], "running");
        // Nobody listens any more.
        let ran = sandbox.call(&["exec", "c", "true"]);
        ran.code(125).says("failed to connect with seccomp agent");
        sandbox.call(&["rm", "-f", "c"]).ok();
        first.end();
    }
}

#[test]
fn the_program_holds_nothing_of_the_agents() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let agent = Agent::new(&sandbox, "agent");
        let option = profile(&sandbox, &notifying(&agent.socket));
        let look = "ls /proc/1/fd /proc/self/fd | tr '\\n' ' '";
        let ran = sandbox.sh(&["--rm", "--init", "--security-opt", &option], look);
        assert!(!ran.ok().contains('5'), "{caller:?} {}", ran.stdout);
        agent.end();
    }
}

/// What podman and docker have written into config.json.
#[test]
fn what_engines_ask_for_is_understood() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    for engine in ["podman", "docker"] {
        let path = checkout().join(format!("tests/seccomp/{engine}.json"));
        let option = format!("seccomp={}", path.display());
        let ran = python(
            &sandbox,
            &["--security-opt", &option],
            "call(getpid); call(kexec_load, 0, 0, 0, 0)",
        );
        assert_eq!(ran.ok(), "OK\nEPERM", "{engine}");
    }
}

#[test]
fn the_plan_shows_it() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let plan = sandbox.run(&["--dry-run"], &["true"]);
        assert!(plan.ok().contains("seccomp(SECCOMP_SET_MODE_FILTER, "), "{}", plan.stdout);
        let script = sandbox.run(&["--dry-run=sh"], &["true"]);
        assert!(
            script.ok().contains("# Not in it: no system call is refused"),
            "{}",
            script.stdout
        );
        let free = ["--security-opt", "seccomp=unconfined"];
        let ran = sandbox.run(&free, &["true"]);
        ran.says("the container may ask the kernel for every call there is").ok();
        let script = sandbox.run(&[&free[..], &["--dry-run=sh"]].concat(), &["true"]);
        assert!(!script.ok().contains("system call"), "{}", script.stdout);
        sandbox.run(&["--explain"], &["true"]).says("filter system calls").ok();
    }
}

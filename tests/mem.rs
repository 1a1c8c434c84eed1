//! `minibox mem`: the address space is what the kernel's own files say, of containers and of any process.

use std::fs;
use std::num::NonZero;
use std::process::{Child, Command, Stdio};

use minibox_tests::{Caller, Ran, Sandbox, has, on_a_terminal_of, skip, wait_until, write_program};
use serde_json::Value;

fn json(ran: &Ran) -> Value {
    serde_json::from_str(ran.ok()).expect("JSON")
}

fn see(sandbox: &Sandbox, target: &str) -> Value {
    json(&sandbox.call(&["mem", "--format", "json", target]))
}

/// The sum of all lines of one key in /proc/PID/smaps_rollup, in bytes.
fn rollup(pid: i32, keys: &[&str]) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let kib = |value: &str| value.trim().strip_suffix(" kB")?.parse::<u64>().ok();
    lines.filter(|(key, _)| keys.contains(key)).filter_map(|(_, value)| kib(value)).sum::<u64>()
        * 1024
}

/// A program of this host that waits for ever.
struct Waiting(Child);

impl Waiting {
    fn spawn(command: &mut Command) -> Waiting {
        Waiting(command.stdin(Stdio::null()).spawn().expect("it starts"))
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// RAM behind all mappings of a kind.
fn rss(seen: &Value, kind: &str) -> u64 {
    let all = seen["mappings"].as_array().expect("mappings").iter();
    let of_kind = all.filter(|mapping| mapping["kind"] == kind);
    of_kind.filter_map(|mapping| mapping["amounts"]["rss"].as_u64()).sum()
}

#[test]
fn mappings_and_totals_are_those_of_the_kernel() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["sleep", "1000"]);
        let pid = sandbox.pid("web");
        let is_asleep = || fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|w| w != "0");
        wait_until("it sleeps", is_asleep);
        let seen = see(&sandbox, "web");
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
        let listed = seen["mappings"].as_array().expect("mappings");
        assert_eq!(listed.len(), maps.lines().count());
        for (mapping, line) in listed.iter().zip(maps.lines()) {
            let text = |key: &str| mapping[key].as_str().unwrap_or_default().to_owned();
            let address =
                |key: &str| u64::from_str_radix(&text(key), 16).expect("a hexadecimal number");
            let begin =
                format!("{:08x}-{:08x} {} ", address("start"), address("end"), text("permissions"));
            assert!(line.starts_with(&begin) && line.ends_with(&text("name")), "{line}: {mapping}");
        }
        for (key, names) in [
            ("rss", &["Rss"][..]),
            ("pss", &["Pss"]),
            ("swap", &["Swap"]),
            ("shared", &["Shared_Clean", "Shared_Dirty"]),
            ("private", &["Private_Clean", "Private_Dirty"]),
        ] {
            // Others may begin to share a page with it at any time, and others end.
            let slack = if key == "rss" || key == "swap" { 0 } else { 1 << 20 };
            let total = seen["totals"][key].as_u64().expect("a number");
            assert!(total.abs_diff(rollup(pid, names)) <= slack, "{key}: {seen}");
        }
        let sum: u64 = listed.iter().filter_map(|m| m["amounts"]["rss"].as_u64()).sum();
        assert_eq!(seen["totals"]["rss"], sum);
        if has("pmap") {
            let pmap = Command::new("pmap").args(["-x", &pid.to_string()]).output().expect("pmap");
            let pmap = String::from_utf8_lossy(&pmap.stdout).into_owned();
            let total = pmap.lines().last().expect("a line").split_whitespace().nth(3);
            assert_eq!(total, Some((sum / 1024).to_string().as_str()), "{pmap}");
        }
        // Its parts lie as the lecture says.
        let start = |kind: &str| {
            let found = listed.iter().find(|mapping| mapping["kind"] == kind);
            let found = found.unwrap_or_else(|| panic!("no {kind}: {seen}"));
            u64::from_str_radix(found["start"].as_str().expect("text"), 16).expect("a number")
        };
        assert!(start("stack") > start("heap") && start("heap") > start("data"), "{seen}");
        assert!(start("data") > start("code"), "{seen}");
    }
}

#[test]
fn a_list_grows_where_python_keeps_it_and_calls_grow_the_stack() {
    let list = "l = []\nwhile True: l.append(list(range(1000)))";
    // Only calls that go through C use the stack: those of Python alone do not, since 3.11.
    let calls = "import sys, time
sys.setrecursionlimit(100000)
def call(n):
    if n == 0: time.sleep(1000)
    return max([n], key=lambda _: call(n - 1))
call(1000)";
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "list"], &["python", "-c", list]);
        let held = |seen: &Value| rss(seen, "heap") + rss(seen, "anonymous");
        let first = held(&see(&sandbox, "list"));
        wait_until("it grows", || held(&see(&sandbox, "list")) > first + (1 << 20));
        sandbox.call(&["kill", "list"]).code(0);

        sandbox.start(&["--name", "calls"], &["python", "-c", calls]);
        wait_until("the stack grows", || rss(&see(&sandbox, "calls"), "stack") > 256 << 10);
        let watch = ["mem", "--watch", "--interval", "0.05", "calls"];
        let watch = minibox_tests::Beside::spawn(&mut sandbox.minibox(&watch));
        watch.wait_for("The next look shows what has changed");
        watch.wait_for("Since the last look nothing has changed.");
        sandbox.call(&["kill", "calls"]).code(0);
        watch.end().code(0);
    }
}

#[test]
fn what_may_not_be_seen_is_not_zero() {
    for caller in Caller::all().into_iter().filter(|caller| *caller != Caller::Myself) {
        let sandbox = Sandbox::new(caller);
        let roots = Waiting::spawn(Command::new("sleep").arg("1000"));
        wait_until("it has memory", || rollup(roots.pid(), &["Rss"]) > 0);
        let seen = see(&sandbox, &roots.pid().to_string());
        let picture = sandbox.call(&["mem", &roots.pid().to_string()]);
        let is_root = caller == Caller::Root;
        for field in ["mappings", "totals", "marks"] {
            assert_eq!(seen[field]["denied"] == true, !is_root, "{field}: {seen}");
        }
        assert!(seen["counters"]["vm_size"].as_u64() > Some(0));
        assert_eq!(picture.ok().contains("only root and its owner"), !is_root, "{picture:?}");
        assert!(picture.ok().contains("stack"));
    }
}

#[test]
fn kernel_threads_and_zombies_have_no_memory() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut zombie = Command::new("true").spawn().expect("true");
        let pid = zombie.id().to_string();
        wait_until("it has ended", || see(&sandbox, &pid)["state"] == "Z");
        let seen = see(&sandbox, &pid);
        assert!(seen["counters"].is_null() && seen["mappings"].is_null(), "{seen}");
        assert!(sandbox.call(&["mem", &pid]).ok().contains("a zombie"));
        zombie.wait().expect("wait");
        sandbox.call(&["mem", &pid]).code(125).says("there is no process");
        if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
            assert_eq!(see(&sandbox, "2")["kernel_thread"], true);
            assert!(sandbox.call(&["mem", "2"]).ok().contains("a thread of the kernel's own"));
        } else {
            skip("mem of kernel threads", "they are not in this pid namespace");
        }
    }
}

/// A program of 32 bits that calls pause(2), nothing more: one header, one segment, nine bytes of code.
const PROGRAM_OF_32_BITS: [u8; 93] = [
    0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0,
    0, // a 32-bit, little-endian ELF file
    2, 0, 3, 0, 1, 0, 0, 0, 0x54, 0x80, 0x04, 0x08, 52, 0, 0,
    0, // executable, i386, its entry
    0, 0, 0, 0, 0, 0, 0, 0, 52, 0, 32, 0, 1, 0, 40, 0, 0, 0, 0, 0, // one program header
    1, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x80, 0x04, 0x08, 0x00, 0x80, 0x04, 0x08, // PT_LOAD
    93, 0, 0, 0, 93, 0, 0, 0, 5, 0, 0, 0, 0, 0x10, 0, 0, // all of the file, r-x
    0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7, // mov eax, 29; int 0x80; again
];

#[test]
fn programs_of_32_bits_and_of_one_piece() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let path = sandbox.path("program");
        write_program(&path, PROGRAM_OF_32_BITS);
        let mut command = sandbox.command(&path);
        let Ok(child) = command.spawn() else {
            skip("mem of programs of 32 bits", "this kernel runs none");
            return;
        };
        let program = Waiting(child);
        let name = |seen: &Value| seen["name"] == "program";
        wait_until("it runs", || name(&see(&sandbox, &program.pid().to_string())));
        let seen = see(&sandbox, &program.pid().to_string());
        let kinds: Vec<&str> = seen["mappings"]
            .as_array()
            .expect("mappings")
            .iter()
            .filter_map(|mapping| mapping["kind"].as_str())
            .collect();
        assert_eq!(seen["bits"], 32, "{seen}");
        assert!(kinds.contains(&"code") && kinds.contains(&"stack"), "{seen}");
        // No heap, no data: nothing is invented.
        assert!(!kinds.contains(&"heap") && !kinds.contains(&"data"), "{seen}");
    }
}

#[test]
fn what_files_are_called_does_not_speak_to_the_terminal() {
    let script = "import mmap, os, time
f = os.open('/tmp/\\x1b[2J\\n0-1 rwxp 한글', os.O_RDWR | os.O_CREAT); os.ftruncate(f, 4096)
m = mmap.mmap(f, 4096); time.sleep(1000)";
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["python", "-c", script]);
        wait_until("it is mapped", || see(&sandbox, "web").to_string().contains("한글"));
        let seen = see(&sandbox, "web");
        let all = seen["mappings"].as_array().expect("mappings");
        let mapping = all.iter().find(|mapping| mapping["name"].to_string().contains("한글"));
        assert_eq!(mapping.expect("one")["name"], "/tmp/\u{1b}[2J\n0-1 rwxp 한글");
        let list = sandbox.call(&["mem", "--all", "web"]);
        assert!(list.ok().contains("한글") && !list.ok().contains('\u{1b}'), "{list:?}");
        assert!(!sandbox.call(&["mem", "web"]).ok().contains('\u{1b}'));
    }
}

#[test]
fn the_picture_fits_its_terminal_and_lies_as_in_the_lecture() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "import threading, time\nfor _ in range(2): threading.Thread(target=time.sleep, args=(1000,)).start()";
        sandbox.start(&["--name", "web"], &["python", "-c", script]);
        wait_until("its threads", || rss(&see(&sandbox, "web"), "thread_stack") > 0);
        let number = |n| NonZero::new(n).expect("more than none");
        for columns in [80, 160] {
            let shown = on_a_terminal_of(columns, &mut sandbox.minibox(&["mem", "web"])).stdout;
            let mut screen = vt100::Parser::new(number(24), number(columns), 0);
            screen.process(shown.as_bytes());
            let screen = screen.screen().contents();
            let lines: Vec<&str> = screen.lines().collect();
            assert!(lines.len() < 24, "{columns}: {screen}");
            assert!(lines[0].starts_with("The memory of container web"), "{screen}");
            let line = |what: &str| {
                let found = lines.iter().position(|line| line.contains(what));
                found.unwrap_or_else(|| panic!("{what}: {screen}"))
            };
            let order = [
                "kernel space",
                "│ stack",
                "↓ grows",
                "threads' stacks",
                "anonymous",
                "↑ grows",
                "│ heap",
                "│ data",
                "│ code",
                "together",
            ];
            assert!(order.map(line).is_sorted(), "{screen}");
        }
        let list = sandbox.call(&["mem", "--all", "web"]);
        assert!(list.ok().contains("stack of thread ") && list.ok().contains("[heap]"), "{list:?}");
    }
}

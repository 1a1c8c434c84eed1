//! The table of steps: each can be seen, halted at and failed at, and a failure leaves nothing.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use minibox_tests::{Beside, Caller, Ran, Sandbox, checkout, is_alive, on_a_terminal, wait_until};

/// One row of `minibox steps`.
#[derive(Debug)]
struct Row {
    number: usize,
    side: String,
    name: String,
    title: String,
    why: String,
}

fn table(sandbox: &Sandbox) -> Vec<Row> {
    let markdown = sandbox.call(&["steps", "--format", "markdown"]).ok().to_owned();
    let cells = |line: &str| line.split(" | ").map(str::to_owned).collect::<Vec<_>>();
    let row = |line: &str| {
        let cells = cells(line);
        let number = cells.first()?.strip_prefix("| ")?.parse().ok()?;
        let (name, title) = cells.get(2)?.strip_prefix("**")?.split_once("**: ")?;
        let (name, title) = (name.to_owned(), title.to_owned());
        Some(Row { number, side: cells[1].clone(), name, title, why: cells[3].clone() })
    };
    let rows: Vec<Row> = markdown.lines().filter_map(row).collect();
    assert!(rows.len() > 20, "{markdown}");
    rows
}

/// The three ways to start a container.
const WAYS: [&[&str]; 3] = [&[], &["-d"], &["-t"]];

/// Is the step called `name` taken by `run --rm --read-only`, started in this way by this caller?
fn is_taken(name: &str, caller: Caller, way: &[&str]) -> bool {
    match name {
        // Only where it is asked for, or shares something, or an engine asks.
        "join" | "map-mounts" | "oom-score" | "label" | "net-devices" | "time-namespace"
        | "scheduling" | "init" | "hooks" | "gate" => false,
        "make-cgroup" => caller.has_limits(),
        "map-ids" | "become-root" => caller != Caller::Root,
        "console" => way.contains(&"-t"),
        // The monitor may die without its container.
        "guard" => way.is_empty(),
        _ => true,
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

/// Before anything cleans up: no record, no run folder, no process that was started for this sandbox.
#[track_caller]
fn assert_nothing_is_left(sandbox: &Sandbox, after: &str) {
    for place in ["run", "data/containers", "data/names"] {
        assert_eq!(entries(&sandbox.path(place)), [""; 0], "{after}, {:?}", sandbox.caller);
    }
    // Until execve a container's process still has the environment of the minibox that made it.
    let mark = sandbox.path("run").display().to_string();
    let ours = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(&mark) && is_alive(*pid)
    };
    let pids = || entries(Path::new("/proc")).into_iter().filter_map(|path| path[6..].parse().ok());
    wait_until(&format!("every process is gone: {after}"), || !pids().any(|pid| ours(&pid)));
}

fn guarded(sandbox: &Sandbox, fail_at: &str, args: &[&str]) -> Ran {
    let mut command = sandbox.guarded(args);
    Ran::of(&command.env("MINIBOX_FAIL_AT", fail_at).output().expect("the test build starts"))
}

fn fail_at_every_step(caller: Caller) {
    let sandbox = Sandbox::new(caller);
    let rootfs = sandbox.rootfs();
    let rows = table(&sandbox);
    for way in WAYS {
        for row in &rows {
            let what = format!("{} of run {way:?} as {caller:?}", row.name);
            let args = [&["run", "--rm", "--read-only"], way, &[&rootfs, "true"]].concat();
            let ran = guarded(&sandbox, &format!("{}:EPERM", row.name), &args);
            if is_taken(&row.name, caller, way) {
                let code = if row.name == "exec" { 126 } else { 125 };
                assert_eq!(ran.code, code, "{what}: {ran:?}");
                let step = format!("\n  step: {} ({} of {})\n", row.title, row.number, rows.len());
                assert!(ran.stderr.contains(&step), "{what}: {ran:?}");
                assert!(ran.stderr.contains("EPERM (Operation not permitted)"), "{what}: {ran:?}");
                assert_eq!(ran.stdout, "", "{what}");
            } else {
                assert_eq!(ran.code, 0, "{what} is not taken, so it cannot fail: {ran:?}");
                // Its name goes last.
                wait_until("--rm removes it", || entries(&sandbox.path("data/names")).is_empty());
            }
            assert_nothing_is_left(&sandbox, &what);
            sandbox.check_empty();
        }
    }
}

#[test]
fn failing_at_any_step_leaves_nothing_of_roots() {
    Caller::root_only("failing at any step leaves nothing of root's")
        .into_iter()
        .for_each(fail_at_every_step);
}

#[test]
fn failing_at_any_step_leaves_nothing_of_a_plain_users() {
    Caller::plain().into_iter().for_each(fail_at_every_step);
}

/// What every `minibox exec` does, whoever calls it.
const OF_EXEC: [&str; 13] = [
    "release",
    "join",
    "setsid",
    "keyring",
    "rlimits",
    "bound-capabilities",
    "user",
    "capabilities",
    "workdir",
    "no-new-privileges",
    "guard",
    "stdio",
    "exec",
];

#[test]
fn failing_at_any_step_of_exec_leaves_the_container_alone() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&[], &["sleep", "1000"]);
        let pid = sandbox.pid(&id);
        for row in table(&sandbox).iter().filter(|row| OF_EXEC.contains(&&*row.name)) {
            let ran = guarded(&sandbox, &format!("{}:EPERM", row.name), &["exec", &id, "true"]);
            let what = format!("{} of exec as {caller:?}: {ran:?}", row.name);
            assert_eq!(ran.code, if row.name == "exec" { 126 } else { 125 }, "{what}");
            assert!(ran.stderr.contains(&format!("\n  step: {} (", row.title)), "{what}");
            assert!(is_alive(pid), "{what}");
            let processes = sandbox.call(&["exec", &id, "sh", "-c", "echo /proc/[0-9]*"]);
            let processes = processes.ok().split(' ').count();
            assert_eq!(processes, 2, "PID 1 and the shell that counts; {what}");
        }
    }
}

#[test]
fn an_unknown_step_to_fail_at_is_an_error() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    let ran = guarded(&sandbox, "no-such-step:EPERM", &["run", &sandbox.rootfs(), "true"]);
    ran.code(125).says("MINIBOX_FAIL_AT=no-such-step:EPERM names no step and errno");
}

// The child allocates nothing: the test build aborts where it does.

#[test]
fn the_allocator_guard_fires_at_whatever_step_the_child_allocates() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        for row in table(&sandbox).iter().filter(|row| row.side == "child") {
            if !is_taken(&row.name, caller, &[]) {
                continue;
            }
            let args = ["run", "--rm", "--read-only", &rootfs, "true"];
            let ran = guarded(&sandbox, &format!("{}:ALLOC", row.name), &args);
            let what = format!("{} as {caller:?}: {ran:?}", row.name);
            assert_eq!(ran.code, 125, "{what}");
            assert!(ran.stderr.contains("trial: the child touched the allocator\n"), "{what}");
            // PID 1 ignores its own SIGABRT; abort(3) then ends it in the hard way.
            assert!(ran.stderr.contains("the new process was killed by SIG"), "{what}");
            assert!(!ran.stderr.contains("memory limit"), "{what}");
            assert_nothing_is_left(&sandbox, &what);
        }
    }
}

fn guarded_ok(sandbox: &Sandbox, args: &[&str]) -> String {
    Ran::of(&sandbox.guarded(args).output().expect("the test build starts")).ok().to_owned()
}

#[test]
fn the_guarded_program_does_everything_without_allocating_in_the_child() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let volume = sandbox.folder("volume").display().to_string() + ":/volume:ro";
        let full: &[&str] = &[
            "run",
            "-v",
            &volume,
            "--tmpfs",
            "/scratch",
            "-w",
            "/scratch",
            "-e",
            "COLOUR=blue",
            "--read-only",
            "--cap-drop",
            "ALL",
        ];
        let script = "pwd; echo $COLOUR; touch /volume/x 2>/dev/null || echo read-only";
        let args = [full, &[&rootfs, "sh", "-c", script]].concat();
        assert_eq!(guarded_ok(&sandbox, &args), "/scratch\nblue\nread-only", "{caller:?}");

        // With a single id there is no learner to become.
        if caller != Caller::SingleId {
            let args = ["run", "-u", "learner", &rootfs, "id", "-un"];
            assert_eq!(guarded_ok(&sandbox, &args), "learner", "{caller:?}");
        }

        let args = ["run", "--net", "host", &rootfs, "echo", "connected"];
        assert_eq!(guarded_ok(&sandbox, &args), "connected", "{caller:?}");
        let args = ["run", "--rw", &rootfs, "echo", "written"];
        assert_eq!(guarded_ok(&sandbox, &args), "written", "{caller:?}");

        // What only engines ask for.
        let id =
            sandbox.configure(&["-w", "/not/there"], &["sh", "-c", "pwd; uname -n"], |config| {
                let linux = &mut config["linux"];
                linux["namespaces"]
                    .as_array_mut()
                    .expect("namespaces")
                    .push(json!({"type": "time"}));
                linux["timeOffsets"] = json!({"boottime": {"secs": 1000}});
                linux["personality"] = json!({"domain": "LINUX"});
                linux["memoryPolicy"] = json!({"mode": "MPOL_DEFAULT"});
                linux["rootfsPropagation"] = json!("shared");
                linux["devices"] = json!([{"path": "/opt/pipe", "type": "p"}]);
                config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 5});
                config["process"]["ioPriority"] =
                    json!({"class": "IOPRIO_CLASS_BE", "priority": 5});
                config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
                let mounts = config["mounts"].as_array_mut().expect("mounts");
                mounts.push(
                    json!({"destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup"]}),
                );
                mounts.push(
                    json!({"destination": "/etc", "type": "none", "options": ["remount", "ro"]}),
                );
            });
        guarded_ok(&sandbox, &["start", "-a", &id]);

        let id = guarded_ok(&sandbox, &["run", "-d", &rootfs, "sleep", "1000"]);
        assert_eq!(guarded_ok(&sandbox, &["exec", &id, "cat", "/proc/1/comm"]), "sleep");
        let mut exec = sandbox.guarded(&["exec", "-it", &id, "tty"]);
        let ran = on_a_terminal(&mut exec);
        assert_eq!(ran.code(0).stdout, "/dev/pts/0\r\n", "{caller:?}");

        let mut run = sandbox.guarded(&["run", "-it", &rootfs, "tty"]);
        let ran = on_a_terminal(&mut run);
        assert_eq!(ran.code(0).stdout, "/dev/pts/0\r\n", "{caller:?}");
    }
}

// --explain

/// Number and title of each heading `  7. leave the caller's session  (child; …)`.
fn headings(text: &str) -> Vec<(usize, String)> {
    let heading = |line: &str| {
        let (number, rest) = line.trim_start().split_once(". ")?;
        let title = rest.split("  (").next()?;
        Some((number.parse().ok()?, title.to_owned()))
    };
    text.lines().filter_map(heading).collect()
}

fn taken(sandbox: &Sandbox, way: &[&str]) -> Vec<(usize, String)> {
    let rows = table(sandbox).into_iter().filter(|row| is_taken(&row.name, sandbox.caller, way));
    rows.map(|row| (row.number, row.title)).collect()
}

#[test]
fn explain_tells_every_step_in_order_on_stderr_and_without_colour() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for way in WAYS {
            let ran = sandbox
                .run(&[&["--explain", "--rm", "--read-only"], way].concat(), &["echo", "hi"]);
            let said = &ran.code(0).stderr;
            assert_eq!(headings(said), taken(&sandbox, way), "{way:?}, {caller:?}");
            assert!(!said.contains('\x1b') && !ran.stdout.contains('\x1b'), "{ran:?}");
            assert!(!ran.stdout.contains("pivot_root"), "{ran:?}");
            if way.is_empty() {
                assert_eq!(ran.stdout, "hi\n");
            }
            wait_until("--rm removes it", || entries(&sandbox.path("data/containers")).is_empty());
        }
    }
}

#[test]
fn explain_gives_call_reason_and_microseconds_of_each_step() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["--explain", "--read-only", "-h", "box"], &["true"]);
        let rows = table(&sandbox);
        let lines: Vec<&str> = ran.stderr.lines().filter(|l| l.starts_with(' ')).collect();
        let is_heading = |line: &str| !headings(line).is_empty();
        let starts = (0..lines.len()).filter(|at| is_heading(lines[*at]));
        for at in starts {
            let (number, _) = headings(lines[at])[0];
            let row = &rows[number - 1];
            assert!(lines[at].contains(&format!("({}; ", row.side)), "{}", lines[at]);
            assert_eq!(lines[at + 1].trim(), row.why);
            let calls: Vec<&&str> = lines[at + 2..].iter().take_while(|l| !is_heading(l)).collect();
            assert!(!calls.is_empty(), "{} has no call", row.name);
            for line in calls {
                let (call, micros) = line.rsplit_once("  ").expect("call and time");
                assert!(!call.trim().is_empty(), "{} has an empty call: {line:?}", row.name);
                let micros = micros.strip_suffix(" µs").map(str::parse::<u64>);
                assert!(matches!(micros, Some(Ok(_))), "{line:?}");
            }
        }
        let root = fs::canonicalize(sandbox.rootfs()).expect("the root");
        ran.says(&format!("open(\"{}\", O_PATH|O_DIRECTORY)", root.display()));
        ran.says("sethostname(\"box\")").says("clone3(CLONE_NEW");
        let user = caller != Caller::Root;
        assert_eq!(ran.stderr.contains("CLONE_NEWUSER"), user, "{ran:?}");
    }
}

#[test]
fn explain_of_exec_tells_its_steps_and_the_true_pid() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&[], &["sleep", "1000"]);
        let ran = sandbox.call(&["exec", "--explain", &id, "true"]);
        let said = &ran.code(0).stderr;
        let told: HashSet<String> = headings(said).into_iter().map(|(_, title)| title).collect();
        for row in table(&sandbox).iter().filter(|row| OF_EXEC.contains(&&*row.name)) {
            assert!(told.contains(&row.title), "{} is not told, {caller:?}: {said}", row.name);
        }
        let pid = said.rsplit_once("as PID ").and_then(|(_, rest)| rest.split(' ').next());
        let pid: i32 = pid.and_then(|pid| pid.parse().ok()).expect("the last line tells the PID");
        assert!(pid > 0, "{caller:?}: {said}");
    }
}

// --step

fn namespace(pid: &str, kind: &str) -> Option<String> {
    Some(fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?.display().to_string())
}

#[test]
fn step_halts_before_each_step_so_that_one_can_look_from_outside() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let mut command =
            sandbox.minibox(&["run", "--rm", "--step", "--read-only", &rootfs, "echo", "hi"]);
        let mut running = Beside::spawn(command.stdin(Stdio::piped()));
        let mut keyboard = running.stdin();
        let mut seen = HashSet::new();
        for halt in 1.. {
            let halts = |said: &str| said.matches("[Enter] goes on").count();
            wait_until("it halts or ends", || {
                halts(&running.printed()[1]) == halt || running.has_ended()
            });
            let [printed, said] = running.printed();
            if halts(&said) < halt {
                break;
            }
            assert_eq!(printed, "", "the program runs only after the last step");
            let pid = said.rsplit_once("/proc/").expect("where to look").0;
            let pid = pid.rsplit_once("/proc/").expect("where to look").1;
            let pid = pid.split_once("/ns").expect("its namespaces").0.to_owned();
            let (_, title) = headings(&said).pop().expect("a heading");
            if !seen.insert(title.clone()) {
                keyboard.write_all(b"\n").expect("Enter");
                continue;
            }
            assert!(is_alive(pid.parse().expect("a pid")), "halted before {title}");
            for kind in ["mnt", "pid", "net", "ipc", "uts"] {
                assert_ne!(namespace(&pid, kind), namespace("self", kind), "before {title}");
            }
            let entered = namespace(&pid, "cgroup") != namespace("self", "cgroup");
            let inside = Path::new(&format!("/proc/{pid}/root/while_loop.py")).exists();
            match &*title {
                "enter the cgroup, then hide the ones above it" => assert!(!entered),
                "cut the mounts off from the host's" => assert!(entered),
                "swap the root, and let the old one go" => assert!(!inside),
                "attach the mounts, each at its place" => assert!(inside),
                _ => {}
            }
            keyboard.write_all(b"\n").expect("Enter");
        }
        let expected = table(&sandbox).into_iter();
        let expected = expected.filter(|r| r.side == "child" && is_taken(&r.name, caller, &[]));
        let expected: HashSet<String> = expected.map(|row| row.title).collect();
        assert_eq!(seen, expected, "{caller:?}");
        let ran = running.end();
        ran.code(0);
        assert_eq!(ran.stdout, "hi\n");
        assert!(!ran.stderr.contains('\x1b'), "{ran:?}");
    }
}

// --dry-run

#[test]
fn a_dry_run_lists_the_calls_and_does_nothing() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let explained = sandbox.run(&["--explain", "--rm", "--read-only", "-h", "box"], &["true"]);
        let ran =
            sandbox.run(&["--dry-run", "--rm", "--read-only", "-h", "box"], &["touch", "/done"]);
        assert_nothing_is_left(&sandbox, "--dry-run");
        assert_eq!(headings(ran.ok()), headings(&explained.stderr), "{caller:?}");
        assert_eq!(ran.stderr, "");
        for call in ["sethostname(\"box\")", "pivot_root(\".\", \".\")", "[\"touch\", \"/done\"]"] {
            assert!(ran.stdout.contains(call), "{call} is not in {ran:?}");
        }
        assert!(!ran.stdout.contains('\x1b'), "{ran:?}");
    }
}

#[test]
fn a_pasted_dry_run_does_the_same_as_the_run() {
    let look = "hostname; pwd; echo $$; echo /*; cat /etc/hostname; echo \"it's $COLOUR\"; echo /volume/*
        grep -E '^[^ ]+ (/|/proc|/dev|/dev/pts|/sys) ' /proc/mounts | cut -d ' ' -f 2,3; ls /sys/class/net";
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let tmp = sandbox.folder("tmp");
        fs::write(sandbox.folder("volume").join("a file"), "").expect("write");
        let options =
            ["-h", "box", "-w", "/etc", "-e", "COLOUR=dark blue", "-v", "./volume:/volume:ro"];
        let real = sandbox.sh(&options, look);
        let script = sandbox.sh(&[&["--dry-run=sh"], &options[..]].concat(), look).ok().to_owned();
        let mut shell = sandbox.command(Path::new("sh"));
        let mut shell = shell
            .env("TMPDIR", &tmp)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh starts");
        shell.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("a paste");
        let pasted = Ran::of(&shell.wait_with_output().expect("sh ends"));
        assert_eq!(pasted.code, 0, "{caller:?}: {pasted:?}\n{script}");
        assert_eq!(pasted.stdout, real.ok().to_owned() + "\n", "{caller:?}: {pasted:?}\n{script}");
        assert_eq!(entries(&tmp), [""; 0], "the script leaves its layer behind");
    }
}

// The document

#[test]
fn the_document_is_the_programs_own() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    let printed = sandbox.call(&["steps", "--format", "markdown"]);
    let written = fs::read_to_string(checkout().join("docs/steps.md")).expect("docs/steps.md");
    assert!(printed.stdout == written, "docs/steps.md is old: run `make docs`");
}

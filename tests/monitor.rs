//! The monitor of a container in the background: what it shows, what it holds, and that its death ends nothing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use minibox_tests::{Beside, Caller, Sandbox, is_alive, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Prints 1, 2, 3 … until there is a file /stop, then ends with 5.
const COUNTING: &str =
    "n=0; while [ ! -e /stop/now ]; do n=$((n+1)); echo $n; sleep 0.01; done; exit 5";

/// Starts `script` as container `c`, with the folder /stop that the test can write to.
fn start(sandbox: &Sandbox, options: &[&str], script: &str) {
    let volume = format!("{}:/stop", sandbox.folder("stop").display());
    sandbox.start(&[&["--name", "c", "-v", &volume], options].concat(), &["sh", "-c", script]);
}

fn stop(sandbox: &Sandbox) {
    fs::write(sandbox.path("stop/now"), "").expect("write");
}

fn keeper(sandbox: &Sandbox) -> i32 {
    sandbox.inspect("c")["Minibox"]["keeper"].as_i64().expect("a pid") as i32
}

/// Its keeper, without starting a new one where it is gone.
fn written_keeper(sandbox: &Sandbox, id: &str) -> i32 {
    let text = fs::read(sandbox.path("run").join(id).join("state.json")).expect("a state");
    let state: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    state["keeper"]["pid"].as_i64().expect("a pid") as i32
}

/// Since 6.15 it tells them to others than the parent.
fn kernel_tells_exit_codes() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
    wait_until("it is gone", || !is_alive(pid));
}

fn cmdline(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches([' ', '\0']).to_owned()
}

/// How many lines the log has; all must be 1, 2, 3 … without a gap or a double.
fn counted(sandbox: &Sandbox) -> usize {
    let log = sandbox.call(&["logs", "c"]).code(0).stdout.clone();
    let numbers: Vec<usize> = log.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "{numbers:?}");
    numbers.len()
}

#[test]
fn it_shows_itself_and_holds_nothing_of_the_callers() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        fs::write(sandbox.path("leak"), "").expect("write");
        let mut shell = sandbox.command("sh".as_ref());
        shell.args(["-c", "exec 7<leak 8</ 9<leak; exec \"$@\"", "sh"]).arg(sandbox.program());
        shell.args(["run", "-d", "--name", "c", &sandbox.rootfs(), "sleep", "1000"]);
        // It also lets go of the caller's streams: else this would wait for its end.
        Beside::spawn(&mut shell).end().code(0);
        let pid = keeper(&sandbox);
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).expect("/proc");
        wait_until("it shows itself", || cmdline(pid) == "minibox: c");
        assert_eq!(read("comm"), "minibox\n");
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).expect("cwd");
        assert_eq!(cwd, Path::new("/"));
        let session =
            read("stat").rsplit_once(") ").expect("stat").1.split(' ').nth(3).map(str::to_owned);
        assert_eq!(session, Some(pid.to_string()), "a session of its own");
        let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").flatten();
        let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        let ours = |path: &Path| {
            path == Path::new("/dev/null")
                || path == Path::new("anon_inode:[pidfd]")
                || path.to_str().is_some_and(|path| path.starts_with("socket:["))
                || path.starts_with(sandbox.path("run"))
                || path.starts_with(sandbox.path("data"))
        };
        assert!(open.len() <= 8 && open.iter().all(|path| ours(path)), "{caller:?}: {open:#?}");
    }
}

#[test]
fn it_ends_with_its_container() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        start(&sandbox, &[], COUNTING);
        let pid = keeper(&sandbox);
        stop(&sandbox);
        wait_until("the monitor has ended", || !is_alive(pid));
        assert_eq!(sandbox.inspect("c")["State"]["ExitCode"], 5);
        assert_eq!(sandbox.inspect("c")["Minibox"]["keeper"], serde_json::Value::Null);
    }
}

#[test]
fn when_it_is_killed_the_container_goes_on_and_the_next_verb_replaces_it() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        start(&sandbox, &[], COUNTING);
        wait_until("it counts", || counted(&sandbox) > 3);
        let (program, first) = (sandbox.pid("c"), keeper(&sandbox));
        kill_9(first);
        let written = || fs::read_to_string(format!("/proc/{program}/io")).unwrap_or_default();
        let before = written();
        wait_until("the program goes on printing", || is_alive(program) && written() != before);

        sandbox.call(&["ps"]).code(0).says("");
        let second = keeper(&sandbox);
        assert!(second != first && is_alive(second) && is_alive(program));
        assert_eq!(cmdline(second), "minibox: c");
        assert_eq!(sandbox.pid("c"), program);
        let before = counted(&sandbox);
        wait_until("the log goes on", || counted(&sandbox) > before);

        stop(&sandbox);
        wait_until("the second monitor has ended", || !is_alive(second));
        let exit = sandbox.inspect("c")["Minibox"]["exit"].clone();
        if kernel_tells_exit_codes() {
            assert_eq!(exit["code"], 5, "{exit}");
        } else {
            assert!(exit["note"].as_str().is_some_and(|note| note.contains("before 6.15")));
            assert!(sandbox.call(&["ps", "-a"]).ok().contains("Exited (255)"));
        }
        counted(&sandbox);
    }
}

#[test]
fn when_it_is_killed_the_programs_input_is_as_it_was() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let logs = || sandbox.call(&["logs", "c"]).stdout;
        let id = sandbox.start(
            &["-i", "--name", "c"],
            &["sh", "-c", "echo ready; while read line; do echo got $line; done; exit 9"],
        );
        wait_until("it is ready", || logs() == "ready\n");
        // Open: it is no end that nobody is there for a while.
        kill_9(written_keeper(&sandbox, &id));
        let mut visitor = sandbox.minibox(&["attach", "c"]);
        let mut visitor = Beside::spawn(visitor.stdin(Stdio::piped()));
        visitor.stdin().write_all(b"hello\n").expect("write");
        wait_until("it goes on reading", || logs() == "ready\ngot hello\n");
        sandbox.call(&["rm", "-f", "c"]).code(0);
        visitor.end().code(137);

        // Ended: it stays so.
        let volume = format!("{}:/stop", sandbox.folder("stop").display());
        let script =
            "cat; echo one; while [ ! -e /stop/now ]; do sleep 0.01; done; cat; echo two; exit 7";
        let run = sandbox.run_beside(&["-i", "--name", "c", "-v", &volume], &["sh", "-c", script]);
        run.wait_for("one");
        kill_9(keeper(&sandbox));
        run.end().code(125).says("the monitor of c is gone");
        assert_eq!(logs(), "one\n");
        stop(&sandbox);
        wait_until("it sees the end again", || sandbox.status("c") == "exited");
        assert_eq!(logs(), "one\ntwo\n");
        fs::remove_dir_all(sandbox.path("stop")).expect("rm");
    }
}

#[test]
fn of_many_verbs_at_once_one_replaces_it() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let name = format!("one-of-many-{}", std::process::id());
        sandbox.start(&["--name", &name], &["sleep", "1000"]);
        kill_9(sandbox.inspect(&name)["Minibox"]["keeper"].as_i64().expect("a pid") as i32);
        let verbs =
            (0..10).map(|_| Beside::spawn(&mut sandbox.minibox(&["ps"]))).collect::<Vec<_>>();
        for verb in verbs {
            assert!(verb.end().ok().contains(&name));
        }
        let monitors = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = monitors.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let monitors: Vec<i32> =
            pids.filter(|pid| cmdline(*pid) == format!("minibox: {name}")).collect();
        let keeper = sandbox.inspect(&name)["Minibox"]["keeper"].as_i64().expect("a pid") as i32;
        assert_eq!(monitors, [keeper]);
    }
}

#[test]
fn where_both_were_killed_the_end_is_noted_as_unknown() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        start(&sandbox, &[], COUNTING);
        let (program, monitor) = (sandbox.pid("c"), keeper(&sandbox));
        kill_9(monitor);
        kill_9(program);
        assert!(sandbox.call(&["ps", "-a"]).ok().contains("Exited (255)"));
        let exit = sandbox.inspect("c")["Minibox"]["exit"].clone();
        let note = "nobody was left to see how it ended: its minibox process was killed";
        assert_eq!(exit["note"], note);
        assert_eq!(sandbox.call(&["wait", "c"]).stdout, "255\n");
    }
}

#[test]
fn with_a_terminal_the_kernel_hangs_up_and_ps_says_so() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        // Without a handler PID 1 survives the hangup.
        start(&sandbox, &["-t"], "exec sleep 1000");
        assert!(!sandbox.call(&["ps"]).ok().contains("terminal lost"));
        kill_9(keeper(&sandbox));
        wait_until("ps says so", || sandbox.call(&["ps"]).ok().contains("(terminal lost)"));
        assert!(is_alive(sandbox.pid("c")));
    }
}

#[test]
fn a_full_disk_under_the_log_holds_nobody_up() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        start(&sandbox, &[], "while [ ! -e /stop/now ]; do seq 1 1000; done; exit 5");
        let id = sandbox.inspect("c")["Id"].as_str().expect("an id").to_owned();
        // The next monitor opens the log anew, on a device that is always full.
        kill_9(written_keeper(&sandbox, &id));
        let log = sandbox.path("data/containers").join(&id).join("log.1");
        fs::remove_file(&log).expect("rm");
        symlink("/dev/full", &log).expect("symlink");
        let program = sandbox.pid("c");
        let written = || fs::read_to_string(format!("/proc/{program}/io")).unwrap_or_default();
        let before = written();
        wait_until("the program goes on printing", || written() != before);
        stop(&sandbox);
        wait_until("it ends", || !is_alive(program));
        let code = if kernel_tells_exit_codes() { "5\n" } else { "255\n" };
        assert_eq!(sandbox.call(&["wait", "c"]).stdout, code, "{caller:?}");
        fs::remove_file(&log).expect("rm");
    }
}

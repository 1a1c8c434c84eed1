//! gc finds what a crash left behind, shows it, and with --force removes that and nothing else.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use minibox_tests::{Beside, Caller, Ran, Sandbox, is_alive, wait_until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// An id that no container has.
const STRANGER: &str = "deadbeef0000000000000000000000000000000000000000000000000000beef";

/// Runs `gc`, then `gc --force`; both must tell `text`, and only the second removes.
#[track_caller]
fn found_then_removed(sandbox: &Sandbox, text: &str, is_there: impl Fn() -> bool) {
    let dry = sandbox.call(&["gc"]);
    assert!(dry.ok().lines().any(|line| line.contains(text)), "{text:?} is not in {dry:?}");
    dry.says("minibox: nothing was removed: `minibox gc --force` does\n");
    assert!(is_there(), "the dry run removed it");
    let force = sandbox.call(&["gc", "--force"]);
    assert_eq!(force.ok(), dry.stdout.trim(), "both tell the same");
    assert!(!is_there(), "it is still there: {text}");
    nothing_left(sandbox);
}

#[track_caller]
fn nothing_left(sandbox: &Sandbox) {
    let ran = sandbox.call(&["gc"]);
    assert_eq!((ran.ok(), ran.stderr.as_str()), ("", "minibox: nothing was left behind\n"));
}

/// Starts a container that halts before each step; answers `steps` of them.
fn halted(sandbox: &Sandbox, options: &[&str], steps: usize) -> (Beside, ChildStdin) {
    let rootfs = sandbox.rootfs();
    let args = [&["run", "--step"], options, &[rootfs.as_str(), "sleep", "1000"]].concat();
    let mut run = Beside::spawn(sandbox.minibox(&args).stdin(Stdio::piped()));
    let mut stdin = run.stdin();
    for step in 0..=steps {
        let halts = || run.printed()[1].matches("[Enter] goes on").count();
        wait_until("the next step", || halts() > step || run.printed()[1].contains("runs now"));
        if step < steps {
            let _ = stdin.write_all(b"\n");
        }
    }
    // The end of its input would be the end of the start.
    (run, stdin)
}

/// The folders of a container's cgroup, one for each hierarchy.
fn cgroups(path: &str) -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten().map(|e| e.path()));
    roots.into_iter().map(|root| root.join(path.trim_start_matches('/'))).collect()
}

/// Every process that minibox runs as in this sandbox: known by its environment.
fn minibox_processes(sandbox: &Sandbox) -> Vec<i32> {
    let place = format!("MINIBOX_RUN_DIR={}\0", sandbox.path("run").display());
    let numbers = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_ours = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environ).contains(&place) && is_alive(*pid)
    };
    pids.filter(is_ours).collect()
}

#[test]
fn killed_before_any_step_of_the_start_gc_removes_all_of_it() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "living"], &["sleep", "1000"]);
        let mut times_found = 0;
        let (living, others) = (sandbox.pid("living"), minibox_processes(&sandbox));
        let every = if caller == Caller::Root { 1 } else { 5 };
        for steps in (0..30).step_by(every) {
            // A name that is no beginning of an id.
            let (run, _stdin) = halted(&sandbox, &["--name", "x"], steps);
            if run.printed()[1].contains("runs now") {
                assert!(steps > 10, "{:?}", run.printed());
                break;
            }
            // The one that was typed alone, and everybody at once.
            let all = minibox_processes(&sandbox).into_iter().filter(|pid| !others.contains(pid));
            let all: Vec<i32> = if steps % 2 == 0 { all.collect() } else { vec![run.pid()] };
            for pid in &all {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            drop(run);
            wait_until("its processes are gone", || minibox_processes(&sandbox) == others);
            let over = "a container whose end nobody wrote down: x\n";
            let mut found = false;
            // A monitor that lives takes back what it has begun.
            let is_gone = || !sandbox.path("data/names/x").is_symlink();
            // Dying processes may hold its lock for a moment; one may live to write down the end.
            wait_until("its end is known", || {
                found |= sandbox.call(&["gc"]).stdout == over;
                sandbox.call(&["gc", "--force"]).code(0);
                let status = sandbox.call(&["inspect", "-f", "{{.State.Status}}", "x"]);
                is_gone() || status.stdout == "exited\n"
            });
            nothing_left(&sandbox);
            let inspected = sandbox.call(&["inspect", "x"]);
            if inspected.code != 0 {
                wait_until("it was taken back", is_gone);
                continue;
            }
            let inspected: serde_json::Value =
                serde_json::from_str(&inspected.stdout).expect("JSON");
            let exit = inspected[0]["Minibox"]["exit"].clone();
            // By how far it had come: before its record had a PID, and after.
            let why = ["never started: minibox was killed before", "was killed", "so it was too"];
            let note = exit["note"].as_str().unwrap_or_default();
            assert!(!found || why.iter().any(|why| note.ends_with(why)), "{exit}");
            times_found += usize::from(found);
            assert_eq!(sandbox.call(&["rm", "x"]).ok(), "x");
            assert_eq!(sandbox.call(&["ps", "-aq"]).ok().lines().count(), 1);
        }
        assert!(times_found > 0 || every > 1, "no round left anything");
        assert_eq!(sandbox.pid("living"), living, "the living one is untouched");
    }
}

#[test]
fn a_container_that_is_being_made_is_no_garbage() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for options in [&[][..], &["-d"], &["-t"]] {
            let options = [&["--name", "c"], options].concat();
            let (mut run, mut stdin) = halted(&sandbox, &options, 5);
            assert_eq!(sandbox.call(&["gc"]).ok(), "", "{options:?}");
            assert_eq!(sandbox.call(&["gc", "--force"]).ok(), "");
            sandbox.call(&["ps", "-a"]).code(0);
            assert!(!run.has_ended(), "{options:?}: {:?}", run.printed());
            stdin.write_all(&[b'\n'; 64]).expect("an Enter for every step");
            wait_until("it runs", || sandbox.call(&["ps", "-q"]).stdout.len() == 13);
            sandbox.call(&["rm", "-f", "c"]).code(0);
            nothing_left(&sandbox);
        }
    }
}

#[test]
fn names_without_a_container() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "living"], &["sleep", "1000"]);
        let name = sandbox.path("data/names/lost");
        symlink(STRANGER, &name).expect("symlink");
        found_then_removed(&sandbox, "a name without a container: lost", || name.is_symlink());
        assert!(sandbox.path("data/names/living").is_symlink());
        // A lost name is in nobody's way either.
        symlink(STRANGER, &name).expect("symlink");
        sandbox.run(&["--name", "lost"], &["true"]).code(0);
    }
}

#[test]
fn containers_that_were_half_removed() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox
            .sh(&["--name", "c"], "mkdir /x; echo hello > /x/y; chmod 0 /x; chown 1 /x; true")
            .code(0);
        let id = sandbox.inspect("c")["Id"].as_str().expect("an id").to_owned();
        let folder = sandbox.path("data/containers").join(&id);
        let renamed = sandbox.path("data/containers").join(format!(".removed-{id}"));
        fs::rename(&folder, &renamed).expect("rename");
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), "", "it is no container any more");
        found_then_removed(&sandbox, "a half-removed container: ", || renamed.exists());
        assert!(!sandbox.path("data/names/c").is_symlink(), "nor is its name left");
    }
}

#[test]
fn run_folders_without_a_container() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let living = sandbox.start(&[], &["sleep", "1000"]);
        let folder = sandbox.folder(&format!("run/{STRANGER}"));
        fs::write(folder.join("state.json"), "{}").expect("write");
        let not_ours = sandbox.folder("run/notes");
        found_then_removed(&sandbox, "a folder without a container: ", || folder.exists());
        assert!(not_ours.exists() && sandbox.path("run").join(living).exists());
        fs::remove_dir(not_ours).expect("rmdir");
    }
}

#[test]
fn folders_without_a_record() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        nothing_left(&sandbox);
        let folder = sandbox.folder(&format!("data/containers/{STRANGER}"));
        found_then_removed(&sandbox, "a container without a readable record: ", || folder.exists());
    }
}

#[test]
fn cgroups_without_a_container_and_whoever_is_in_them() {
    for caller in Caller::root_only("cgroups_without_a_container_and_whoever_is_in_them") {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "living"], &["sleep", "1000"]);
        let path =
            sandbox.inspect("living")["Minibox"]["cgroup"].as_str().expect("a path").to_owned();
        let (parent, _) = path.rsplit_once('/').expect("PARENT/ID");
        let lost = cgroups(&format!("{parent}/{STRANGER}"));
        let lost: Vec<PathBuf> =
            lost.into_iter().filter(|f| f.parent().is_some_and(Path::is_dir)).collect();
        assert!(!lost.is_empty(), "a hierarchy");
        let mut process = Command::new("sleep").arg("1000").spawn().expect("sleep");
        for folder in &lost {
            fs::create_dir(folder).expect("mkdir");
            let procs = folder.join("cgroup.procs");
            // A new cpuset takes nobody.
            let _ = fs::write(procs, process.id().to_string());
        }
        assert!(
            fs::read_to_string(format!("/proc/{}/cgroup", process.id()))
                .is_ok_and(|c| c.contains(STRANGER))
        );
        let there = || lost.iter().any(|folder| folder.exists());
        let reaper = std::thread::spawn(move || process.wait().expect("it ends"));
        found_then_removed(
            &sandbox,
            &format!("a cgroup without a container: {parent}/{STRANGER}"),
            there,
        );
        reaper.join().expect("the process in it was ended");
        assert!(is_alive(sandbox.pid("living")));
    }
}

#[test]
fn a_container_of_a_newer_minibox_is_left_alone() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.run(&["--name", "c"], &["true"]).code(0);
        let id = sandbox.inspect("c")["Id"].as_str().expect("an id").to_owned();
        let record = sandbox.path("data/containers").join(&id).join("container.json");
        let ours = fs::read_to_string(&record).expect("a record");
        let newer = ours.replace("\"version\": 1", "\"version\": 2");
        assert_ne!(ours, newer);
        fs::write(&record, &newer).expect("write");
        sandbox.call(&["ps", "-a"]).code(0);
        sandbox.call(&["gc", "--force"]);
        assert_eq!(fs::read_to_string(&record).ok(), Some(newer));
        sandbox.call(&["inspect", "c"]).code(1).says("newer minibox");
        fs::write(&record, &ours).expect("write");
    }
}

#[test]
fn what_cannot_be_removed_is_an_error_and_keeps_nothing_else() {
    for caller in Caller::root_only("what_cannot_be_removed_is_an_error_and_keeps_nothing_else") {
        let sandbox = Sandbox::new(caller);
        nothing_left(&sandbox);
        let stuck = sandbox.folder(&format!("run/{STRANGER}/mounted"));
        let none: Option<&str> = None;
        mount(Some("none"), &stuck, Some("tmpfs"), MsFlags::empty(), none).expect("a mount");
        // Many: the folder says in which order they come.
        let other = |digit: char| sandbox.folder(&format!("run/{}", digit.to_string().repeat(64)));
        let others: Vec<_> = "0123456789abcdef".chars().map(other).collect();
        let half = sandbox.folder(&format!("data/containers/.removed-{}", "a".repeat(64)));
        let ran: Ran = sandbox.call(&["gc", "--force"]);
        umount2(&stuck, MntFlags::MNT_DETACH).expect("umount");
        assert_ne!(ran.code, 0, "never 0 while something is left: {ran:?}");
        ran.says(STRANGER).says("EBUSY");
        assert!(!others.iter().any(|other| other.exists()) && !half.exists(), "{ran:?}");
        sandbox.call(&["gc", "--force"]).code(0);
        nothing_left(&sandbox);
    }
}

#[test]
fn an_empty_store_has_nothing_to_tell() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        nothing_left(&sandbox);
        assert_eq!(sandbox.call(&["gc", "--force"]).ok(), "");
    }
}

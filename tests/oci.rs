//! `minibox-oci`, the engines' command line: the verbs themselves, without an engine.

use std::fs;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use minibox_tests::{
    Beside, Caller, Engine, Ran, is_alive, is_version_2, wait_until, write_program,
};
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

/// The descriptor that somebody sends to the socket.
fn received(listener: &UnixListener) -> OwnedFd {
    received_with_text(listener).0
}

/// The same, with what was said beside it.
fn received_with_text(listener: &UnixListener) -> (OwnedFd, Vec<u8>) {
    let (stream, _) = listener.accept().expect("a connection");
    let (mut bytes, mut space) = ([0; 8192], nix::cmsg_space!(i32));
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::empty();
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags);
    let message = message.expect("a message");
    let length = message.bytes;
    let descriptor = message.cmsgs().expect("control messages").find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made it for this process.
    #[allow(unsafe_code)]
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor.expect("a descriptor came")) };
    (descriptor, bytes[..length].to_vec())
}

fn listener(engine: &Engine, name: &str) -> (UnixListener, String) {
    let path = engine.path(name);
    let listener = UnixListener::bind(&path).expect("a socket");
    engine.sandbox.give(&path);
    (listener, path.display().to_string())
}

#[test]
fn from_create_to_delete() {
    for engine in Engine::all() {
        let id = engine.id("c");
        engine.program(&["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.01; done"]);
        // Options may follow the ID.
        engine.quietly(&["create", &id, "--bundle", "bundle", "-pid-file", "out/pid"]).ok();
        let state = engine.state(&id);
        let keys: Vec<&String> = state.as_object().expect("an object").keys().collect();
        let wanted = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"];
        assert_eq!(keys, wanted);
        assert_eq!((&state["status"], &state["id"]), (&json!("created"), &json!(id)));
        let pid = engine.pid(&id);
        assert_eq!(fs::read_to_string(engine.path("out/pid")).expect("it"), pid.to_string());
        assert_eq!(engine.call(&["list", "-q"]).ok(), id);
        let list = engine.call(&["list"]);
        let words: Vec<&str> = list.ok().split_whitespace().collect();
        assert_eq!(words[..6], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
        assert_eq!(words[6..9], [&id, &pid.to_string(), "created"]);
        let again = engine.create(&id);
        again.code(1).says("already exists");

        engine.call(&["start", &id]).ok();
        assert_eq!((engine.status(&id), engine.pid(&id)), (String::from("running"), pid));
        engine.call(&["start", &id]).code(1).says("cannot start an already running container");
        engine.call(&["delete", &id]).code(1).says("that is not stopped: running");
        let json: Value = serde_json::from_str(engine.call(&["list", "-f", "json"]).ok()).unwrap();
        assert_eq!(json[0]["status"], "running");

        // Its trap is set in its own time.
        wait_until("it ends", || {
            let _ = engine.call(&["kill", &id]);
            engine.status(&id) == "stopped"
        });
        assert_eq!(engine.pid(&id), 0);
        engine.call(&["kill", &id, "KILL"]).code(1).says("container not running");
        engine.call(&["start", &id]).code(1).says("cannot start a container that has stopped");
        engine.call(&["exec", &id, "true"]).code(255).says("container not running");
        engine.call(&["delete", &id]).ok();
        engine.call(&["delete", &id]).code(1).says("container does not exist");
        engine.call(&["delete", "--force", &id]).ok();
        engine.call(&["state", &id]).code(1).says("container does not exist");
        assert_eq!(engine.call(&["list", "-f", "json"]).ok(), "[]");
    }
}

#[test]
fn what_cannot_be_executed_is_told_by_create_in_words_that_engines_know() {
    for engine in Engine::all() {
        let id = engine.id("c");
        for (program, words) in [
            ("nonexist", ["executable file not found", "no such file or directory"]),
            ("/none/such", ["executable file not found", "no such file or directory"]),
            ("/etc", ["permission denied", "/etc"]),
            ("/etc/passwd", ["permission denied", "/etc/passwd"]),
        ] {
            engine.program(&[program]);
            let ran = engine.create(&id);
            ran.code(1).says(words[0]).says(words[1]);
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
            assert!(engine.states().is_empty());
        }
        // Any other lack of a file has other words.
        engine.program(&["true"]);
        engine.config(|config| {
            let mount = json!({"destination": "/x", "source": "/none/such", "type": "bind"});
            config["mounts"].as_array_mut().expect("mounts").push(mount);
        });
        let ran = engine.create(&id);
        assert!(
            !ran.code(1).stderr.to_lowercase().contains("no such file or directory"),
            "{ran:?}"
        );
        assert!(ran.stderr.contains("ENOENT"), "{ran:?}");
    }
}

#[test]
fn what_fails_at_the_last_call_is_told_by_start() {
    for engine in Engine::all() {
        let shared = engine.sandbox.folder("shared");
        write_program(&shared.join("broken"), "neither script nor program");
        engine.config(|config| {
            let mount = json!({"destination": "/mnt", "source": shared, "options": ["bind"]});
            config["mounts"].as_array_mut().expect("mounts").push(mount);
        });
        let id = engine.id("c");
        engine.program(&["/mnt/broken"]);
        engine.create(&id).ok();
        engine.call(&["start", &id]).code(1).says("exec format error");
        engine.wait_for(&id, "stopped");
    }
}

#[test]
fn a_created_container_can_be_killed_and_deleted() {
    for engine in Engine::all() {
        let (one, two) = (engine.id("one"), engine.id("two"));
        engine.program(&["sleep", "1000"]);
        engine.create(&one).ok();
        engine.create(&two).ok();
        let pid = engine.pid(&two);
        engine.call(&["kill", &one, "9"]).ok();
        engine.wait_for(&one, "stopped");
        engine.call(&["start", &one]).code(1).says("has stopped");
        engine.call(&["delete", &one]).ok();
        // As with runc, nobody misses what has never run.
        engine.call(&["delete", &two]).ok();
        assert!(!is_alive(pid));
    }
}

#[test]
fn whoever_is_killed_while_he_creates_leaves_nothing_that_delete_does_not_find() {
    for engine in Engine::all() {
        let (id, file) = (engine.id("c"), engine.sandbox.folder("seen").join("pid"));
        engine.program(&["sleep", "1000"]);
        let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", file.display());
        engine.config(|config| {
            let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
            config["hooks"] = json!({ "createRuntime": hook });
        });
        let mut command = engine.command(&["create", "-b", "bundle", &id]);
        let beside = Beside::spawn(&mut command);
        wait_until("the hook runs", || file.exists());
        assert_eq!(engine.status(&id), "creating");
        let hook: i32 = fs::read_to_string(&file).expect("it").trim().parse().expect("a pid");
        let maker = fs::read_to_string(format!("/proc/{hook}/stat")).expect("it runs");
        let maker = maker.rsplit_once(") ").expect("fields").1.split(' ').nth(1).expect("a parent");
        let maker = nix::unistd::Pid::from_raw(maker.parse().expect("a pid"));
        nix::sys::signal::kill(maker, Signal::SIGKILL).expect("a signal");
        let pid = engine.pid(&id);
        drop(beside);
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(hook), Signal::SIGKILL);
        engine.call(&["delete", "--force", &id]).ok();
        assert!(!is_alive(pid), "{pid}");
        assert!(engine.states().is_empty());
    }
}

#[test]
fn killed_at_any_moment_create_leaves_what_delete_removes() {
    for engine in Engine::all() {
        engine.program(&["sleep", "1000"]);
        let id = engine.id("c");
        for millis in 0..40 {
            let mut command = engine.command(&["create", "-b", "bundle", &id]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().expect("it starts");
            // Any moment will do.
            std::thread::sleep(std::time::Duration::from_millis(millis));
            let _ = child.kill();
            child.wait().expect("it ends");
            let pid = engine.call(&["list", "-f", "json"]).ok().to_owned();
            let pid = serde_json::from_str::<Value>(&pid).expect("JSON")[0]["pid"].as_i64();
            engine.call(&["delete", "--force", &id]).ok();
            assert!(engine.states().is_empty(), "{millis}");
            assert!(!pid.is_some_and(|pid| pid != 0 && is_alive(pid as i32)), "{millis}");
        }
        let mark = engine.path("states").display().to_string();
        wait_until("nobody waits any more", || {
            let processes = fs::read_dir("/proc").expect("it").flatten();
            let mut lines =
                processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
            !lines.any(|line| String::from_utf8_lossy(&line).contains(&mark))
        });
    }
}

#[test]
fn failing_at_any_step_leaves_nothing() {
    for caller in Caller::root_only("engines' containers that fail at any step") {
        let mut engine = Engine::new(caller);
        // Called by its own name, the test build would speak to people.
        let folder = engine.sandbox.folder("guard");
        engine.program = folder.join("minibox-oci");
        let guard = engine.sandbox.guarded::<&str>(&[]).get_program().to_owned();
        let guard = fs::canonicalize(guard).expect("the test build");
        std::os::unix::fs::symlink(guard, &engine.program).expect("a link");
        let hook = json!([{"path": "/bin/true"}]);
        engine.config(|config| config["hooks"] = json!({ "createContainer": hook }));
        engine.program(&["true"]);
        let id = engine.id("c");
        let table = engine.sandbox.call(&["steps", "--format", "markdown"]);
        let rows = table.ok().lines().filter_map(|line| line.split("**").nth(1));
        let not_taken = ["map-mounts", "map-ids", "join", "become-root", "oom-score", "label"];
        let mut failed = 0;
        for step in rows.filter(|step| !not_taken.contains(step)) {
            let mut command = engine.command(&["create", "-b", "bundle", &id]);
            command.env("MINIBOX_FAIL_AT", format!("{step}:EIO"));
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let code = command.status().expect("it starts").code();
            if code != Some(0) {
                failed += 1;
                assert_eq!((code, engine.states()), (Some(1), Vec::<String>::new()), "{step}");
            }
            engine.call(&["delete", "--force", &id]).ok();
        }
        assert!(failed > 20, "{failed} steps were taken");
    }
}

#[test]
fn one_of_many_wins_and_many_may_delete() {
    for engine in Engine::all() {
        let id = engine.id("c");
        engine.program(&["sleep", "1000"]);
        let spawn = |args: &[&str]| {
            let mut command = engine.command(args);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
        };
        let many: Vec<_> = (0..8).map(|_| spawn(&["create", "-b", "bundle", &id])).collect();
        let codes = many.into_iter().map(|mut child| child.wait().expect("it ends").code());
        assert_eq!(codes.filter(|code| *code == Some(0)).count(), 1);
        assert_eq!(engine.status(&id), "created");
        let many: Vec<_> = (0..8).map(|_| spawn(&["delete", "-f", &id])).collect();
        for mut child in many {
            assert_eq!(child.wait().expect("it ends").code(), Some(0));
        }
        assert!(engine.states().is_empty());
    }
}

#[test]
fn run_waits_and_ends_as_the_program_does() {
    for engine in Engine::all() {
        let id = engine.id("c");
        engine.program(&["sh", "-c", "cat; echo $HOME; echo no >&2; exit 7"]);
        let mut child = engine
            .command(&["run", "-b", "bundle", "-no-subreaper", &id])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        child.stdin.take().expect("stdin").write_all(b"in\n").expect("write");
        let ran = Ran::of(&child.wait_with_output().expect("it ends"));
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("in\n/root\n", "no\n"));
        ran.code(7);
        assert!(engine.states().is_empty());

        engine.call(&["run", "-b", "bundle", "--keep", &id]).code(7);
        assert_eq!(engine.status(&id), "stopped");
        engine.call(&["delete", &id]).ok();

        engine.program(&["sleep", "1000"]);
        engine.quietly(&["run", "-d", "-b", "bundle", &id]).ok();
        assert_eq!(engine.status(&id), "running");
    }
}

#[test]
fn signals_reach_the_program_of_run() {
    for engine in Engine::all() {
        let id = engine.id("c");
        engine.program(&[
            "sh",
            "-c",
            "trap 'exit 5' USR1; echo ready; while :; do sleep 0.01; done",
        ]);
        let beside = Beside::spawn(&mut engine.command(&["run", "-b", "bundle", &id]));
        beside.wait_for("ready");
        // A caller with a user database of his own is played by processes in between, which exec.
        beside.signal(Signal::SIGUSR1);
        beside.end().code(5);
        assert!(engine.states().is_empty());
    }
}

#[test]
fn exec_has_the_containers_place_and_what_it_is_given() {
    for engine in Engine::all() {
        let id = engine.running("c", &["sleep", "1000"]);
        let script = "echo $PPID $A $HOME; pwd; id -u; exit 9";
        let ran = engine.call(&["exec", "--cwd", "/tmp", "-e", "A=b,c", &id, "sh", "-c", script]);
        assert_eq!(ran.code(9).stdout, "0 b,c /root\n/tmp\n0\n");
        engine.call(&["exec", &id, "nonexist"]).code(255).says("executable file not found");
        engine.call(&["exec", "none", "true"]).code(255).says("container does not exist");
        for user in ["+0", "4294967296", "0:", "root"] {
            engine.call(&["exec", "--user", user, &id, "true"]).code(255).says("UID or UID:GID");
        }

        let process = json!({
            "args": ["sh", "-c", "echo $B; sleep 1000"], "cwd": "/", "env": ["PATH=/bin", "B=1"],
            "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true,
        });
        fs::write(engine.path("process.json"), process.to_string()).expect("write");
        let args = ["exec", "--pid-file", "out/p", "--process", "process.json", "--detach", &id];
        engine.quietly(&args).ok();
        let pid: i32 =
            fs::read_to_string(engine.path("out/p")).expect("it").parse().expect("a pid");
        assert!(is_alive(pid));
        let pids: Vec<i32> =
            serde_json::from_str(engine.call(&["ps", "-f", "json", &id]).ok()).expect("pids");
        assert!(pids.contains(&pid) && pids.contains(&engine.pid(&id)), "{pids:?}");
        let table = engine.call(&["ps", &id]);
        assert!(table.ok().starts_with("UID ") && table.ok().contains("sleep 1000"), "{table:?}");
        engine.call(&["kill", "--all", &id, "KILL"]).ok();
        wait_until("both have ended", || !is_alive(pid));
        engine.wait_for(&id, "stopped");
        engine.call(&["kill", "--all", &id, "9"]).code(i32::from(engine.sandbox.uid() != 0));
    }
}

#[test]
fn a_terminal_goes_to_whoever_listens() {
    for engine in Engine::all() {
        let id = engine.id("c");
        engine.config(|config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
        });
        engine.program(&["sh", "-c", "tty; stty size; sleep 1000"]);
        engine.create(&id).code(1).says("console socket");
        assert!(engine.states().is_empty());
        let (console, path) = listener(&engine, "console");
        engine.quietly(&["create", "-b", "bundle", "--console-socket", &path, &id]).ok();
        let mut master = fs::File::from(received(&console));
        engine.call(&["start", &id]).ok();
        let (mut shown, mut buffer) = (String::new(), [0; 256]);
        while !shown.contains("33 77") {
            let count = master.read(&mut buffer).expect("the terminal");
            shown += &String::from_utf8_lossy(&buffer[..count]);
        }
        assert!(shown.starts_with("/dev/pts/0\r\n"), "{shown}");

        let args = ["exec", "-d", "-t", "--console-socket", &path, &id, "tty"];
        engine.quietly(&args).ok();
        let mut master = fs::File::from(received(&console));
        let count = master.read(&mut buffer).expect("the terminal");
        assert_eq!(&buffer[..count], b"/dev/pts/1\r\n");
        engine.call(&["exec", "-d", "-t", &id, "tty"]).code(255).says("console socket");
    }
}

#[test]
fn a_pidfd_goes_to_whoever_listens() {
    for engine in Engine::all() {
        let id = engine.id("c");
        engine.program(&["sleep", "1000"]);
        let (socket, path) = listener(&engine, "pidfd");
        engine.quietly(&["create", "-b", "bundle", "--pidfd-socket", &path, &id]).ok();
        let pidfd = received(&socket);
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
        let line = format!("Pid:\t{}\n", engine.pid(&id));
        assert!(info.expect("it").contains(&line));
    }
}

#[test]
fn descriptors_are_handed_on_that_are_there() {
    for engine in Engine::all() {
        let id = engine.id("c");
        engine.program(&["sh", "-c", "cat <&3; ls /proc/self/fd | tr '\\n' ' '"]);
        let run = |count: &str, redirect: &str| {
            let mut command = engine.sandbox.command("sh".as_ref());
            let script = format!(
                "exec \"$0\" --root \"$1\" run -b bundle --preserve-fds {count} {id} {redirect}"
            );
            command.args(["-c", &script]).arg(&engine.program).arg(engine.path("states"));
            Ran::of(&command.output().expect("it starts"))
        };
        fs::write(engine.path("three"), "three ").expect("write");
        assert_eq!(run("1", "3<three 4<&-").ok(), "three 0 1 2 3 4");
        run("2", "3<three 4<&-").code(1).says("descriptor 4 is not open");
    }
}

#[test]
fn hooks_are_called_where_and_when_the_specification_says() {
    for engine in Engine::all() {
        let notes = engine.sandbox.folder("notes");
        let host = fs::read_link("/proc/self/ns/uts").expect("a link").display().to_string();
        engine.config(|config| {
            let hook = |point: &str, folder: &Path| {
                let script = format!(
                    "cat > {0}/{point}; echo >> {0}/{point}; readlink /proc/self/ns/uts >> {0}/{point}; env >> {0}/{point}; echo {point} >> {0}/order",
                    folder.display()
                );
                json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin", "H=1"]}])
            };
            let mut hooks = json!({"startContainer": hook("startContainer", Path::new("/mnt"))});
            for point in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
                hooks[point] = hook(point, &notes);
            }
            config["hooks"] = hooks;
            let mount = json!({"destination": "/mnt", "source": notes, "options": ["bind"]});
            config["mounts"].as_array_mut().expect("mounts").push(mount);
            config["annotations"] = json!({"a": "b"});
        });
        let order = || fs::read_to_string(notes.join("order")).unwrap_or_default();
        let id = engine.id("c");
        engine.program(&["sleep", "1000"]);
        engine.create(&id).ok();
        assert_eq!(order(), "prestart\ncreateRuntime\ncreateContainer\n");
        let pid = engine.pid(&id);
        let inside =
            fs::read_link(format!("/proc/{pid}/ns/uts")).expect("it").display().to_string();
        engine.call(&["start", &id]).ok();
        engine.call(&["kill", &id, "KILL"]).ok();
        engine.wait_for(&id, "stopped");
        engine.call(&["delete", &id]).ok();
        let all = "prestart\ncreateRuntime\ncreateContainer\nstartContainer\npoststart\npoststop\n";
        assert_eq!(order(), all);
        for (point, namespace, status, own_pid) in [
            ("prestart", &host, "creating", pid),
            ("createRuntime", &host, "creating", pid),
            ("createContainer", &inside, "creating", pid),
            ("startContainer", &inside, "created", pid),
            ("poststart", &host, "running", pid),
            ("poststop", &host, "stopped", 0),
        ] {
            let text = fs::read_to_string(notes.join(point)).expect("a note");
            let lines: Vec<&str> = text.lines().collect();
            let state: Value = serde_json::from_str(lines[0]).expect("the state");
            assert_eq!((&state["id"], &state["status"]), (&json!(id), &json!(status)), "{point}");
            assert_eq!((&state["pid"], &state["annotations"]["a"]), (&json!(own_pid), &json!("b")));
            assert_eq!(lines[1], namespace, "{point}");
            let others = lines[2..].iter().filter(|line| {
                !["PATH=", "H=1", "PWD=", "SHLVL=", "_=", "OLDPWD="]
                    .iter()
                    .any(|own| line.starts_with(own))
            });
            assert_eq!(others.count(), 0, "its own environment only, {point}: {text}");
        }
    }
}

#[test]
fn a_hook_that_fails_ends_the_container() {
    for engine in Engine::all() {
        let note = engine.sandbox.folder("notes").join("poststop");
        let fails = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 4"]}]);
        let script = format!("cat > {}", note.display());
        let stop = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        let id = engine.id("c");
        engine.program(&["sleep", "1000"]);
        for point in ["prestart", "createRuntime", "createContainer"] {
            engine.config(|config| config["hooks"] = json!({point: fails, "poststop": stop}));
            let ran = engine.create(&id);
            ran.code(1)
                .says(&format!("error running {point} hook #0: /bin/sh: exit status 4: why"));
            assert!(engine.states().is_empty(), "{point}");
            fs::remove_file(&note).expect("poststop was called");
        }
        for point in ["startContainer", "poststart"] {
            engine.config(|config| config["hooks"] = json!({point: fails, "poststop": stop}));
            engine.create(&id).ok();
            engine
                .call(&["start", &id])
                .code(1)
                .says(&format!("{point} hook #0: /bin/sh: exit status 4: why"));
            engine.wait_for(&id, "stopped");
            engine.call(&["delete", &id]).ok();
            fs::remove_file(&note).expect("poststop was called");
        }
    }
}

#[test]
fn failures_are_one_line_and_one_object() {
    for engine in Engine::all() {
        let log = |name: &str, format: &str| {
            let args = ["--log", name, "--log-format", format, "state", "none"];
            let ran = engine.call(&args);
            assert_eq!(ran.code(1).stderr.lines().count(), 1, "{ran:?}");
            fs::read_to_string(engine.path(name)).expect("a log")
        };
        let entry: Value = serde_json::from_str(&log("out/json", "json")).expect("one object");
        assert_eq!(entry["level"], "error");
        assert!(entry["msg"].as_str().expect("text").contains("does not exist"));
        assert!(entry["time"].is_string());
        assert!(log("out/text", "text").contains("level=error msg="));
        engine.call(&["--log", "out/quiet", "--log-format", "json", "list"]).ok();
        assert!(!engine.path("out/quiet").exists(), "nothing is written where nothing fails");
        for verb in ["checkpoint", "restore"] {
            engine.call(&[verb, "--help"]).code(1).says("not supported");
        }
        engine.call(&["create", "a/b"]).code(1).says("config.json");
        engine.call(&["create", "-b", "bundle", "a/b"]).code(1).says("invalid container ID");
    }
}

#[test]
fn one_bad_folder_hides_no_other() {
    for engine in Engine::all() {
        let id = engine.running("c", &["sleep", "1000"]);
        let bad = engine.sandbox.folder("states/bad");
        for torn in ["", "{", "null", "{\"bundle\":"] {
            fs::write(bad.join("state.json"), torn).expect("write");
            let list = engine.call(&["list", "-q"]);
            assert_eq!(list.says("bad/state.json is damaged").ok(), id);
            engine.call(&["delete", "bad"]).code(1);
        }
        fs::copy(engine.path("bundle/config.json"), bad.join("config.json")).expect("a copy");
        engine.call(&["delete", "--force", "bad"]).ok();
    }
}

#[test]
fn paused_updated_and_counted() {
    for caller in Caller::root_only("pause, update and events of engines") {
        let engine = Engine::new(caller);
        engine.config(|config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20, "swap": 0});
            config["linux"]["resources"]["cpu"] = json!({"shares": 0, "quota": 50_000});
        });
        let id = engine.running("c", &["sleep", "1000"]);
        engine.call(&["pause", &id]).ok();
        assert_eq!(engine.status(&id), "paused");
        engine.call(&["pause", &id]).code(1);
        engine.call(&["exec", &id, "true"]).code(255).says("paused");
        engine.call(&["resume", &id]).ok();
        engine.call(&["resume", &id]).code(1).says("not paused");
        let limit = |controller: &str, v2: &str, v1: &str| {
            minibox_tests::limit(engine.pid(&id), controller, v2, v1)
        };
        let memory = || limit("memory", "memory.max", "memory.limit_in_bytes");
        assert_eq!(memory(), (64 << 20).to_string());
        engine.call(&["update", "--memory", "128m", "--pids-limit", "20", &id]).ok();
        assert_eq!(memory(), (128 << 20).to_string());
        let pids = || limit("pids", "pids.max", "pids.max");
        assert_eq!(pids(), "20");
        let mut child = engine
            .command(&["update", "--resources", "-", &id])
            .stdin(Stdio::piped())
            .spawn()
            .expect("it starts");
        let text = r#"{"memory":{"limit":100663296},"cpu":{"quota":0},"pids":{"limit":0}}"#;
        child.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("write");
        assert!(child.wait().expect("it ends").success());
        // No process at all is no limit that anybody means; as runc has it.
        assert_eq!((memory(), pids()), ((96 << 20).to_string(), String::from("1")));

        let stats: Value =
            serde_json::from_str(engine.call(&["events", "--stats", &id]).ok()).expect("JSON");
        assert_eq!((&stats["type"], &stats["id"]), (&json!("stats"), &json!(id)));
        assert_eq!(stats["data"]["pids"]["current"], 1);
        assert_eq!(stats["data"]["memory"]["usage"]["limit"], 96 << 20);
        if is_version_2() {
            assert!(stats["data"]["cpu"]["psi"]["some"]["total"].is_u64(), "{stats}");
            assert!(stats["data"]["blkio"]["psi"]["full"]["avg10"].is_f64(), "{stats}");
            assert_eq!(stats["data"]["hugetlb"]["2MB"]["failcnt"], 0, "{stats}");
        }
        let events = Beside::spawn(&mut engine.command(&["events", "--interval=10ms", &id]));
        events.wait_for("\"stats\"");
        engine.call(&["pause", &id]).ok();
        engine.call(&["delete", "--force", &id]).ok();
        events.end().ok();
    }
}

#[test]
fn events_tell_when_memory_runs_out() {
    for caller in Caller::root_only("oom events of engines") {
        let engine = Engine::new(caller);
        engine.config(|config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
        });
        let id = engine.running("c", &["sleep", "1000"]);
        let events = Beside::spawn(&mut engine.command(&["events", "--interval=10ms", &id]));
        // Its alarm is set by then.
        events.wait_for("\"stats\"");
        engine.call(&["exec", &id, "tail", "/dev/zero"]).code(137);
        events.wait_for("\"type\":\"oom\"");
    }
}

#[test]
fn a_cgroup_that_is_somebody_elses_is_left_alone() {
    for caller in Caller::root_only("cgroups of engines") {
        let engine = Engine::new(caller);
        let (one, two) = (engine.id("one"), engine.id("two"));
        let path = format!("/{}/inner", engine.id("minibox-oci-parent"));
        engine.config(|config| config["linux"]["cgroupsPath"] = json!(path));
        engine.program(&["sleep", "1000"]);
        engine.create(&one).ok();
        let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", engine.pid(&one))).expect("it");
        assert!(cgroups.lines().any(|line| line.ends_with(&path)), "{cgroups}");
        engine.create(&two).code(1).says("cgroup is not empty");
        assert_eq!(engine.status(&one), "created");
        engine.call(&["delete", &one]).ok();
        let parents: Vec<PathBuf> = if is_version_2() {
            vec![PathBuf::from("/sys/fs/cgroup")]
        } else {
            fs::read_dir("/sys/fs/cgroup").expect("it").flatten().map(|e| e.path()).collect()
        };
        for parent in parents {
            // What is above the container's own was made for it, but may have become others' too.
            let _ = fs::remove_dir(parent.join(engine.id("minibox-oci-parent")));
        }
    }
}

/// Whatever `features` names is asked for at once; what it only says yes to has tests of its own: tests/spec_*.rs.
#[test]
fn features_are_true() {
    for engine in Engine::all() {
        let features: Value = serde_json::from_str(engine.call(&["features"]).ok()).expect("JSON");
        let list = |path: &str| features.pointer(path).and_then(Value::as_array).expect(path);
        // Each option is taken, one mount after the other, but for those that name a kind of mount.
        let kinds = ["bind", "rbind", "idmap", "ridmap"];
        let simple = list("/mountOptions").iter().filter(|o| !kinds.iter().any(|kind| o == kind));
        let mounts = simple.enumerate().map(|(n, option)| {
            let destination = format!("/dev/shm/m{n}");
            json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": [option]})
        });
        let hooks = list("/hooks").iter().map(|point| {
            let point = point.as_str().expect("a name");
            (point.to_owned(), json!([{"path": "/bin/true"}]))
        });
        // Those that this caller has to give away.
        let mine = fs::read_to_string("/proc/self/status").expect("status");
        let mine = mine.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("a set");
        let mine = u64::from_str_radix(mine, 16).expect("a mask");
        let all = engine.sandbox.caller != Caller::Root;
        let capabilities = list("/linux/capabilities").iter().enumerate();
        let capabilities: Vec<&Value> =
            capabilities.filter(|(n, _)| all || mine >> n & 1 == 1).map(|(_, name)| name).collect();
        let listener = engine.path("out/listener");
        let _agent = UnixListener::bind(&listener).expect("a socket");
        fs::set_permissions(&listener, fs::Permissions::from_mode(0o666)).expect("a socket");
        let rule = |number: usize, action: &Value, args: Value| {
            let name = [
                "acct",
                "swapon",
                "swapoff",
                "reboot",
                "vhangup",
                "nfsservctl",
                "pivot_root",
                "quotactl",
                "syslog",
            ][number % 9];
            json!({"names": [name], "action": action, "args": args})
        };
        let actions = list("/linux/seccomp/actions").iter().enumerate();
        let actions = actions.map(|(n, action)| rule(n, action, json!([])));
        let operators = list("/linux/seccomp/operators").iter().map(|operator| {
            let arg = json!({"index": 0, "value": 1, "valueTwo": 1, "op": operator});
            json!({"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [arg]})
        });
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": listener,
            "architectures": list("/linux/seccomp/archs"),
            "flags": list("/linux/seccomp/supportedFlags"),
            "syscalls": actions.chain(operators).collect::<Vec<_>>(),
        });
        let identity = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        let namespaces = list("/linux/namespaces").iter().map(|kind| json!({"type": kind}));
        engine.config(|config| {
            config["mounts"].as_array_mut().expect("mounts").extend(mounts);
            config["hooks"] = hooks.collect();
            for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
                config["process"]["capabilities"][set] = json!(capabilities);
            }
            config["linux"]["seccomp"] = profile;
            config["linux"]["namespaces"] = namespaces.collect();
            if engine.sandbox.caller == Caller::Root {
                config["linux"]["uidMappings"] = identity.clone();
                config["linux"]["gidMappings"] = identity;
            }
        });
        engine.program(&["true"]);
        engine.call(&["run", "-b", "bundle", &engine.id("c")]).ok();
        let flags = list("/linux/memoryPolicy/flags").iter().map(Some).chain([None]);
        let flagged = flags.map(|flag| (json!("MPOL_BIND"), flag));
        let modes = list("/linux/memoryPolicy/modes").iter().map(|mode| (mode.clone(), None));
        for (mode, flag) in modes.chain(flagged) {
            let nodes = if mode == "MPOL_DEFAULT" || mode == "MPOL_LOCAL" { "" } else { "0" };
            engine.config(|config| {
                config["linux"]["memoryPolicy"] =
                    json!({"mode": mode, "nodes": nodes, "flags": flag.into_iter().collect::<Vec<_>>()});
            });
            engine.call(&["run", "-b", "bundle", &engine.id("m")]).ok();
        }
    }
}

#[test]
fn the_filter_stands_only_behind_the_gate() {
    for engine in Engine::all() {
        // What waiting takes is minibox's own affair: a profile need not allow it.
        let calls = ["accept", "accept4", "recvfrom", "recvmsg"];
        let rule = json!({"names": calls, "action": "SCMP_ACT_KILL_PROCESS"});
        engine.config(|config| {
            config["linux"]["seccomp"] =
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        });
        let id = engine.running("c", &["sleep", "1000"]);
        let state = engine.state(&id);
        assert_eq!(state["status"], "running");
        let status = fs::read_to_string(format!("/proc/{}/status", state["pid"])).expect("status");
        assert!(status.contains("Seccomp:\t2\n"), "{status}");
    }
}

#[test]
fn an_agent_hears_of_the_filter_when_it_stands() {
    for engine in Engine::all() {
        let path = engine.path("out/agent");
        let agent = UnixListener::bind(&path).expect("a socket");
        agent.set_nonblocking(true).expect("a socket");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("a socket");
        engine.config(|config| {
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
            });
        });
        let id = engine.id("c");
        engine.program(&["sleep", "1000"]);
        engine.create(&id).ok();
        assert!(agent.accept().is_err(), "nothing is filtered yet");
        engine.call(&["start", &id]).ok();
        let (_listener, said) = received_with_text(&agent);
        let told: Value = serde_json::from_slice(&said).expect("JSON");
        assert_eq!(told["state"]["id"], id.as_str(), "{told}");
        assert_eq!(told["pid"], engine.state(&id)["pid"], "{told}");
    }
}

#[test]
fn without_a_cgroup_namespace_its_own_cgroup_is_all_it_sees() {
    for engine in Engine::all() {
        engine.config(|config| {
            let is_other = |entry: &Value| entry["type"] != "cgroup";
            for list in ["/linux/namespaces", "/mounts"] {
                let list = config.pointer_mut(list).and_then(Value::as_array_mut);
                list.expect("a list").retain(is_other);
            }
            let mounts = config["mounts"].as_array_mut().expect("a list");
            mounts.push(json!({
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            }));
        });
        let folder = if is_version_2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
        let look = format!("[ -e {folder}/cgroup.procs ] && exec cat {folder}/cgroup.procs");
        engine.program(&["sh", "-c", &look]);
        let ran = engine.call(&["run", "-b", "bundle", &engine.id("c")]);
        // Root of a machine with version 2 sees the whole; who has no cgroup sees the caller's.
        if engine.sandbox.caller == Caller::Root && !is_version_2() {
            assert_eq!(ran.ok(), "1");
        } else {
            ran.ok();
        }
    }
}

/// What runc's own suite asks of a runtime beside the specification, and engines get used to.
#[test]
fn a_program_gets_the_environment_and_the_home_of_its_user() {
    for engine in Engine::all() {
        let id = engine.id("c");
        engine.config(|config| {
            config["process"]["env"] = json!(["HOME=", "A=1", "PATH=/bin", "A=2"]);
        });
        engine.program(&["sh", "-c", "env; sleep 1000"]);
        engine.config(|config| config["process"]["args"] = json!(["env"]));
        let ran = engine.call(&["run", "-b", "bundle", &id]);
        let mut lines: Vec<&str> = ran.ok().lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["A=2", "HOME=/root", "PATH=/bin"]);
        if engine.sandbox.caller == Caller::Root {
            let id = engine.running("d", &["sleep", "1000"]);
            let home = engine.call(&["exec", "-u", "4711", &id, "sh", "-c", "echo $HOME"]);
            assert_eq!(home.ok(), "/");
            engine.call(&["delete", "--force", &id]).ok();
        }
    }
}

#[test]
fn a_terminal_that_nobody_sees_ends_lines_as_the_program_does() {
    for engine in Engine::all() {
        let id = engine.id("c");
        engine.config(|config| config["process"]["terminal"] = json!(true));
        engine.program(&["printf", "one\\ntwo\\n"]);
        assert_eq!(engine.call(&["run", "-b", "bundle", &id]).ok(), "one\ntwo");
    }
}

#[test]
fn warnings_and_steps_go_where_the_log_goes() {
    for engine in Engine::all() {
        let (id, log) = (engine.id("c"), engine.sandbox.folder("notes").join("log"));
        engine.program(&["true"]);
        let log = log.to_str().expect("a path");
        let ran = engine.call(&[
            "--debug",
            "--log",
            log,
            "--log-format",
            "json",
            "run",
            "-b",
            "bundle",
            &id,
        ]);
        ran.ok();
        assert!(!ran.stderr.contains("level"), "{}", ran.stderr);
        let text = fs::read_to_string(log).expect("the log");
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("an object");
            assert!(line["level"] == "debug" || line["level"] == "warning", "{line}");
        }
        assert!(text.contains("child process in init()"), "{text}");
    }
}

#[test]
fn a_container_waits_in_no_frozen_cgroup_and_dies_at_its_gate() {
    for engine in Engine::all() {
        let id = engine.id("c");
        engine.program(&["sleep", "1000"]);
        engine.create(&id).ok();
        engine.call(&["kill", &id, "0"]).ok();
        engine.call(&["kill", &id, "TERM"]).ok();
        engine.wait_for(&id, "stopped");
        assert_eq!(engine.call(&["ps", "-f", "json", &id]).ok().trim(), "[]");
        engine.call(&["kill", &id, "0"]).code(1).says("container not running");
        engine.call(&["delete", &id]).ok();
        let folder = Path::new("/sys/fs/cgroup/freezer");
        if engine.sandbox.caller != Caller::Root || !folder.exists() {
            continue;
        }
        let frozen = folder.join(engine.id("frozen"));
        fs::create_dir(&frozen).expect("a cgroup");
        fs::write(frozen.join("freezer.state"), "FROZEN").expect("freeze");
        engine.config(|config| config["linux"]["cgroupsPath"] = json!(engine.id("frozen")));
        let ran = engine.create(&id);
        fs::remove_dir(&frozen).expect("rmdir");
        ran.code(1).says("container's cgroup unexpectedly frozen");
    }
}

#[test]
fn exec_joins_the_cgroups_it_names() {
    let engine = Engine::new(Caller::Root);
    let id = engine.running("c", &["sleep", "1000"]);
    for (asked, said) in [
        ("..", "bad sub cgroup path"),
        ("nowhere", "adding pid of the new process to cgroups: no such file"),
        ("what:/", "unknown controller what"),
    ] {
        engine.call(&["exec", "--cgroup", asked, &id, "true"]).code(255).says(said);
    }
    let own = Path::new("/sys/fs/cgroup/pids").join(&id);
    if own.exists() {
        fs::create_dir(own.join("inner")).expect("a cgroup");
        let ran = engine.call(&["exec", "--cgroup", "pids:inner", &id, "cat", "/proc/self/cgroup"]);
        let inner: Vec<&str> = ran.ok().lines().filter(|line| line.ends_with("/inner")).collect();
        assert!(matches!(&inner[..], [one] if one.contains(":pids:")), "{inner:?}");
    }
    if is_version_2() {
        let place = |ran: &Ran| ran.ok().trim_start_matches("0::").to_owned();
        let own = Path::new("/sys/fs/cgroup").join(&id);
        let move_to = |folder: &Path| {
            fs::create_dir(folder).expect("a cgroup");
            fs::write(folder.join("cgroup.procs"), engine.pid(&id).to_string()).expect("moved");
        };
        move_to(&own.join("inner"));
        fs::write(own.join("cgroup.subtree_control"), "+pids").expect("divided");
        let show = ["cat", "/proc/self/cgroup"];
        let exec = |options: &[&str]| engine.call(&[&["exec"], options, &[&id], &show].concat());
        assert_eq!(place(&exec(&[])), "/inner");
        assert_eq!(place(&exec(&["--cgroup", "inner"])), "/inner");
        exec(&["--cgroup", "/"]).code(255).says("device or resource busy");
        // It has gone elsewhere, and somebody has tidied up behind it.
        let elsewhere = own.with_file_name(format!("{id}-elsewhere"));
        move_to(&elsewhere);
        fs::remove_dir(own.join("inner")).expect("empty");
        fs::remove_dir(&own).expect("empty");
        assert!(place(&exec(&[])).ends_with("-elsewhere"));
        engine.call(&["delete", "--force", &id]).ok();
        return fs::remove_dir(elsewhere).expect("empty");
    }
    engine.call(&["delete", "--force", &id]).ok();
}

#[test]
fn mounts_come_in_order_and_lose_what_is_not_named() {
    for engine in Engine::all() {
        let id = engine.id("c");
        let (rootfs, host) = (engine.sandbox.rootfs(), engine.sandbox.folder("host"));
        fs::create_dir(host.join("below")).expect("a folder");
        fs::write(host.join("below/file"), "found").expect("a file");
        let inside = |path: &str| format!("{rootfs}{path}");
        engine.config(|config| {
            let mounts = config["mounts"].as_array_mut().expect("a list");
            let bind = |from: &str, to: &str, word: &str| {
                json!({"source": from, "destination": to, "options": ["rbind", word]})
            };
            mounts.push(bind(host.to_str().expect("a path"), "/mnt", "rprivate"));
            mounts.push(bind(&inside("/mnt/below"), &inside("/opt"), "ro"));
        });
        engine.program(&[
            "sh",
            "-c",
            "cat /opt/file; touch /opt/new 2> /dev/null || exit 0; exit 1",
        ]);
        let ran = engine.call(&["run", "-b", "bundle", &id]);
        assert_eq!(ran.ok(), "found", "{}", ran.stderr);
    }
}

#[test]
fn what_another_mount_brought_is_mapped_too() {
    for engine in
        Caller::root_only("mounts with mappings of their own").into_iter().map(Engine::new)
    {
        let (rootfs, host) = (engine.sandbox.rootfs(), engine.sandbox.folder("host"));
        fs::write(host.join("file"), "").expect("a file");
        for own_users in [false, true] {
            engine.config(|config| {
                let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
                let inside = |path: &str| format!("{rootfs}{path}");
                let bind = |from: &str, to: &str| {
                    json!({"source": from, "destination": to, "options": ["rbind"],
                        "uidMappings": map, "gidMappings": map})
                };
                let mut brought = bind(host.to_str().expect("a path"), "/mnt");
                for key in ["uidMappings", "gidMappings"] {
                    brought.as_object_mut().expect("an object").remove(key);
                    if own_users {
                        config["linux"][key] = map.clone();
                    }
                }
                if own_users {
                    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
                    namespaces.push(json!({"type": "user"}));
                }
                let mounts = config["mounts"].as_array_mut().expect("a list");
                mounts.retain(|mount| mount["options"] != json!(["rbind"]));
                mounts.extend([brought, bind(&inside("/mnt"), &inside("/opt"))]);
            });
            engine.program(&["stat", "-c", "%u", "/mnt/file", "/opt/file"]);
            let ran = engine.call(&["run", "-b", "bundle", &engine.id("c")]);
            // As the host has it and as the map says; seen from inside the user namespace.
            let seen = if own_users { "65534\n0" } else { "0\n100000" };
            assert_eq!(ran.ok(), seen, "{own_users}: {}", ran.stderr);
        }
    }
}

#[test]
fn a_root_that_cannot_be_swapped_stays_below_and_tells_nothing() {
    for engine in Engine::all() {
        let id = engine.id("c");
        // Who maps id 0 must have this.
        engine.config(|config| {
            for set in ["bounding", "permitted"] {
                let set = config["process"]["capabilities"][set].as_array_mut().expect("a set");
                set.push(json!("CAP_SETFCAP"));
            }
        });
        // Where a whole procfs is in sight, one without masks could be mounted.
        let mount = "mount -t proc none /mnt || echo refused";
        let script =
            format!("ls /; wc -l < /proc/1/mountinfo; unshare -Urmpf sh -c '{mount}'; cat");
        engine.program(&["sh", "-c", &script]);
        let run = |options: &[&str]| {
            let args = [&["run", "-b", "bundle"], options, &[&id]].concat();
            engine.call(&args).ok().to_owned()
        };
        let laid_over = run(&["--no-pivot"]);
        assert!(
            laid_over.contains("while_loop.py\n") && laid_over.ends_with("refused"),
            "{laid_over}"
        );
        assert_eq!(laid_over, run(&[]));

        engine.program(&["sleep", "1000"]);
        engine.quietly(&["create", "-b", "bundle", "--no-pivot", &id]).ok();
        engine.call(&["start", &id]).ok();
        assert!(engine.call(&["exec", &id, "ls", "/"]).ok().contains("while_loop.py"));
        engine.call(&["delete", "--force", &id]).ok();
    }
}

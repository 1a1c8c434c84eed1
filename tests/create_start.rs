//! create, start and restart: a container that is made, started, and started again.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use minibox_tests::{Beside, Caller, Sandbox, is_alive, wait_until};

#[test]
fn what_is_created_waits_until_it_is_started() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.create(&["--name", "c"], &["sh", "-c", "echo one; echo two >&2; exit 3"]);
        assert_eq!(id.len(), 64);
        assert_eq!(sandbox.status("c"), "created");
        assert_eq!(sandbox.call(&["ps", "-q"]).ok(), "", "it does not run");
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), &id[..12]);
        assert!(!sandbox.path("run").join(&id).join("state.json").exists());
        sandbox.call(&["attach", "c"]).code(125).says("container c is not running");

        let ran = sandbox.call(&["start", "c"]);
        assert_eq!((ran.ok(), ran.stderr.as_str()), ("c", ""));
        assert_eq!(sandbox.call(&["wait", "c"]).ok(), "3");
        assert_eq!(sandbox.status("c"), "exited");
        let ran = sandbox.call(&["logs", "c"]);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("one\n", "two\n"));
    }
}

#[test]
fn start_a_shows_what_it_prints_and_ends_as_it_does() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.create(&["--name", "c"], &["sh", "-c", "echo one; echo two >&2; exit 3"]);
        for _ in 0..3 {
            let ran = sandbox.call(&["start", "-a", "c"]);
            assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("one\n", "two\n"));
            ran.code(3);
        }
        sandbox.create(&["--name", "killed"], &["sh", "-c", "kill -9 $$; echo not reached"]);
        // PID 1 cannot kill itself; its child can be killed.
        assert_eq!(sandbox.call(&["start", "-a", "killed"]).code(0).stdout, "not reached\n");
        sandbox.call(&["start", "-a", "c", "killed"]).code(125).says("only one container");
    }
}

#[test]
fn start_a_misses_nothing_however_slowly_it_is_read() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.create(&["--name", "c"], &["sh", "-c", "seq 1 400000; exit 3"]);
        let mut shell = sandbox.command("sh".as_ref());
        // A reader that is slow to begin: by then the program is held back, or has long ended.
        let script = "{ \"$@\"; echo code $? >&2; } | { sleep 0.5; cat; }";
        shell.args(["-c", script, "sh"]).arg(sandbox.program()).args(["start", "-a", "c"]);
        let ran = Beside::spawn(&mut shell).end();
        let expected: String = (1..=400_000).map(|n| format!("{n}\n")).collect();
        assert!(ran.stdout == expected, "{} bytes, {}", ran.stdout.len(), ran.stderr);
        ran.says("code 3\n");
    }
}

#[test]
fn start_ai_passes_piped_input_on_to_its_end() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "cat; echo the end; exit 4";
        sandbox.create(&["--name", "c", "-i"], &["sh", "-c", script]);
        let long = "line\n".repeat(100_000);
        for input in ["hello\n", "", long.as_str()] {
            let mut command = sandbox.minibox(&["start", "-ai", "c"]);
            let mut start = Beside::spawn(command.stdin(Stdio::piped()));
            start.stdin().write_all(input.as_bytes()).expect("input");
            let ran = start.end();
            assert!(ran.stdout == format!("{input}the end\n"), "{} bytes", ran.stdout.len());
            ran.code(4);
        }
    }
}

#[test]
fn a_container_made_without_i_has_no_input() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.create(&["--name", "c"], &["sh", "-c", "cat; readlink /proc/self/fd/0"]);
        let mut command = sandbox.minibox(&["start", "-ai", "c"]);
        let mut start = Beside::spawn(command.stdin(Stdio::piped()));
        let _ = start.stdin().write_all(b"hello\n");
        assert_eq!(start.end().ok(), "/dev/null");
    }
}

#[test]
fn starting_what_runs_is_no_error_and_one_failure_keeps_no_other() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for name in ["a", "b"] {
            sandbox.create(&["--name", name], &["sleep", "1000"]);
        }
        sandbox.call(&["start", "a"]).code(0);
        let pid = sandbox.pid("a");
        let ran = sandbox.call(&["start", "a", "nobody", "b"]);
        ran.code(1).says("there is no container \"nobody\"");
        assert_eq!(ran.stdout, "a\nb\n");
        assert_eq!(sandbox.pid("a"), pid, "it is the same program");
        assert!(is_alive(sandbox.pid("b")));
    }
}

#[test]
fn of_many_starts_at_once_one_starts_it() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.create(&["--name", "c"], &["sh", "-c", "echo once; exec sleep 1000"]);
        let starts = (0..10).map(|_| Beside::spawn(&mut sandbox.minibox(&["start", "c"])));
        for start in starts.collect::<Vec<_>>() {
            assert_eq!(start.end().ok(), "c");
        }
        wait_until("it has printed", || sandbox.call(&["logs", "c"]).stdout == "once\n");
        assert_eq!(sandbox.record(&id)["restarts"], 0);
    }
}

#[test]
fn a_start_at_the_very_end_of_the_run_before_is_a_run_of_its_own() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.create(&["--name", "c"], &["sh", "-c", "echo x >> /runs"]);
        let runs = 15;
        for _ in 0..runs {
            // As soon as its program is gone, whatever its monitor still has to do.
            let started = sandbox.call(&["start", "c"]);
            started.code(0);
            let state = fs::read(sandbox.path("run").join(&id).join("state.json"));
            let state: Option<serde_json::Value> =
                state.ok().and_then(|text| serde_json::from_slice(&text).ok());
            let pid = state.and_then(|state| state["init"]["pid"].as_i64()).unwrap_or(0);
            wait_until("its program is gone", || !is_alive(pid as i32));
        }
        sandbox.call(&["wait", "c"]).code(0);
        let log = sandbox.call(&["cp", "c:/runs", "-"]).code(0).stdout.clone();
        assert_eq!(log.matches("x\n").count(), runs, "{caller:?}");
    }
}

#[test]
fn what_was_written_is_there_at_the_next_start() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "echo hello >> /made; rm -f /bin/vi; mkdir -m 700 /own; cat /made";
        let id = sandbox.create(&["--name", "c"], &["sh", "-c", script]);
        assert_eq!(sandbox.call(&["start", "-a", "c"]).ok(), "hello");
        assert_eq!(sandbox.call(&["start", "-a", "c"]).stdout, "hello\nhello\n");

        // A layer that lay in memory is gone after a reboot; the container is not.
        let layer = sandbox.record(&id)["layer"].as_str().expect("a layer").to_owned();
        fs::remove_dir_all(layer).expect("rm");
        assert_eq!(sandbox.call(&["start", "-a", "c"]).ok(), "hello");
    }
}

#[test]
fn a_start_that_fails_says_why_and_keeps_the_container() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for (program, code) in [("no-such-program", 127), ("/etc/passwd", 126)] {
            let id = sandbox.create(&["--name", "c"], &[program]);
            for args in [&["start", "-a", "c"][..], &["start", "c"]] {
                let attached = args.len() == 3;
                sandbox.call(args).code(if attached { code } else { 1 }).says("minibox: ");
                let exit = sandbox.record(&id)["exit"].clone();
                assert_eq!(exit["code"], code, "{caller:?}: {exit}");
                let note = exit["note"].as_str().expect("a note");
                assert!(note.starts_with("it could not be started: "), "{note}");
                assert!(!sandbox.path("run").join(&id).exists(), "nothing lives");
            }
            assert_eq!(sandbox.call(&["wait", "c"]).stdout, format!("{code}\n"));
            assert_eq!(sandbox.call(&["gc"]).ok(), "");
            sandbox.call(&["rm", "c"]).code(0);
        }
        // With --rm nothing is kept.
        sandbox.create(&["--name", "c", "--rm"], &["no-such-program"]);
        sandbox.call(&["start", "-a", "c"]).code(127);
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), "");
    }
}

#[test]
fn created_with_rm_it_goes_after_its_run() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.create(&["--name", "c", "--rm"], &["sh", "-c", "echo hello; exit 3"]);
        assert_eq!(sandbox.call(&["start", "-a", "c"]).code(3).stdout, "hello\n");
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), "");
    }
}

#[test]
fn a_cidfile_is_new_and_goes_with_what_was_not_made() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("files");
        let file = folder.join("id");
        let path = file.display().to_string();
        let id = sandbox.create(&["--name", "c", "--cidfile", &path], &["true"]);
        assert_eq!(fs::read_to_string(&file).expect("an id"), id);
        // It must not be there.
        let ran = sandbox.run(&["--cidfile", &path], &["true"]);
        ran.code(125).says("--cidfile").says("it must not be there yet");
        assert_eq!(fs::read_to_string(&file).expect("an id"), id, "and stays as it was");
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), &id[..12], "nothing was made");
        fs::remove_file(&file).expect("rm");

        // Nothing made: the name is taken, the program is missing.
        sandbox.run(&["--name", "c", "--cidfile", &path], &["true"]).code(125);
        assert!(!file.exists());
        for options in [&[][..], &["--rm"], &["-d"]] {
            let options = [options, &["--cidfile", &path]].concat();
            sandbox.run(&options, &["no-such-program"]).code(127);
            assert!(!file.exists(), "{options:?}");
        }
        let id = sandbox.start(&["--cidfile", &path], &["true"]);
        assert_eq!(fs::read_to_string(&file).expect("an id"), id);
        sandbox.run(&["--cidfile", "/no/such/folder/id"], &["true"]).code(125).says("--cidfile");
    }
}

#[test]
fn a_pidfile_names_the_program_as_long_as_it_runs() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let file = sandbox.folder("files").join("pid");
        let path = file.display().to_string();
        fs::write(&file, "somebody's\n").expect("write");
        sandbox.give(&file);
        sandbox.create(&["--name", "never", "--pidfile", &path], &["true"]);
        sandbox.call(&["rm", "never"]).code(0);
        assert_eq!(fs::read_to_string(&file).expect("a file"), "somebody's\n");

        // Relative to where it was said.
        sandbox.create(&["--name", "c", "--pidfile", "files/pid"], &["sleep", "1000"]);
        let mut before = 0;
        for _ in 0..2 {
            sandbox.call(&["start", "c"]).code(0);
            let pid = sandbox.pid("c");
            assert_eq!(fs::read_to_string(&file).expect("a pid"), pid.to_string());
            assert_ne!(pid, before);
            before = pid;
            sandbox.call(&["stop", "-t", "0", "c"]).code(0);
            assert!(!file.exists());
        }
        let ran = sandbox.run(&["--pidfile", &path], &["sh", "-c", "echo ran"]);
        assert_eq!((ran.ok(), file.exists()), ("ran", false));
        sandbox.run(&["--pidfile", "/no/such/folder/pid"], &["true"]).code(125).says("/no/such");
    }
}

#[test]
fn an_entry_point_comes_before_the_command() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        assert_eq!(sandbox.run(&["--entrypoint", "echo"], &["a", "b c"]).ok(), "a b c");
        assert_eq!(sandbox.run(&["--entrypoint", "pwd"], &[]).ok(), "/");
        assert_eq!(sandbox.run(&["--entrypoint", ""], &["echo", "a"]).ok(), "a");
        let none = "minibox: there is no command to run in";
        sandbox.run(&[], &[]).code(125).says(none);
        sandbox.run(&["--entrypoint", ""], &[]).code(125).says(none);
        let rootfs = sandbox.rootfs();
        sandbox.call(&["create", &rootfs]).code(125).says(none);
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok().lines().count(), 3, "and nothing is made");
    }
}

#[test]
fn variables_and_labels_come_from_files_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let env = sandbox.path("env");
        fs::write(
            &env,
            "# words\n\nA=one two\n  B=\"quoted\"\nFROM_CALLER\nMISSING\nC=file\nHOME=/x\n",
        )
        .expect("write");
        let rootfs = sandbox.rootfs();
        let script = "echo \"$A|$B|$FROM_CALLER|${MISSING-unset}|$C|$HOME\"";
        let args = ["run", "--env-file", "env", "-e", "C=flag", &rootfs, "sh", "-c", script];
        let mut command = sandbox.minibox(&args);
        let ran = Beside::spawn(command.env("FROM_CALLER", "yours").env_remove("MISSING")).end();
        assert_eq!(ran.ok(), "one two|\"quoted\"|yours|unset|flag|/x");
        for (text, line) in [("A=1\nA B=2\n", "line 2"), ("=1\n", "line 1")] {
            fs::write(&env, text).expect("write");
            let ran = sandbox.run(&["--env-file", "env"], &["true"]);
            ran.code(125).says("--env-file env").says(line);
        }
        sandbox.run(&["--env-file", "nothing"], &["true"]).code(125).says("--env-file");

        fs::write(sandbox.path("labels"), "# words\na=file\nb=two words\nbare\n").expect("write");
        let options = ["--label-file", "labels", "-l", "a=flag", "--label", "x.y/z=1=2"];
        let id = sandbox.create(&options, &["true"]);
        let expected =
            serde_json::json!({"a": "flag", "b": "two words", "bare": "", "x.y/z": "1=2"});
        assert_eq!(sandbox.record(&id)["settings"]["labels"], expected);
        sandbox.run(&["-l", "=x"], &["true"]).code(125).says("--label \"=x\"");
    }
}

#[test]
fn annotations_stand_in_its_configuration() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.create(&["--annotation", "a.b=1", "--annotation", "c="], &["true"]);
        let path = sandbox.path("data/containers").join(id).join("config.json");
        let config: serde_json::Value =
            serde_json::from_slice(&fs::read(path).expect("config.json")).expect("JSON");
        assert_eq!(config["annotations"], serde_json::json!({"a.b": "1", "c": ""}));
        for wrong in ["x", "=x"] {
            sandbox.run(&["--annotation", wrong], &["true"]).code(125).says("--annotation");
        }
    }
}

#[test]
fn further_groups_by_name_and_number() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["--group-add", "tty", "--group-add", "12"], &["id", "-G"]);
        if caller == Caller::SingleId {
            ran.code(125).says("supplementary groups need more than the one id");
        } else {
            assert_eq!(ran.ok(), "0 5 12");
        }
        sandbox
            .run(&["--group-add", "no-such-group"], &["true"])
            .code(125)
            .says("--group-add")
            .says("no-such-group");
    }
}

#[test]
fn names_and_name_servers_are_written_into_its_own_files() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let options = [
            "--add-host",
            "db:192.0.2.7",
            "--add-host",
            "six=[2001:db8::1]",
            "--dns",
            "192.0.2.53",
        ];
        let more = ["--dns-search", "a.example", "--dns-search", "b.example"];
        let still_more = ["--dns-option", "ndots:2", "--dns-option", "timeout:1"];
        let options = [&options[..], &more, &still_more].concat();
        sandbox.create(
            &[&["--name", "c"], options.as_slice()].concat(),
            &["sh", "-c", "cat /etc/hosts; cat /etc/resolv.conf"],
        );
        // At every start.
        for _ in 0..2 {
            let text = sandbox.call(&["start", "-a", "c"]).ok().to_owned();
            for line in [
                "127.0.0.1\tlocalhost c",
                "192.0.2.7\tdb",
                "2001:db8::1\tsix",
                "nameserver 192.0.2.53",
                "search a.example b.example",
                "options ndots:2 timeout:1",
            ] {
                assert!(text.lines().any(|l| l == line), "no {line:?} in {text}");
            }
        }
        for wrong in [["--add-host", "db"], ["--dns", "example"], ["--dns-search", "a b"]] {
            sandbox.run(&wrong, &["true"]).code(125).says(wrong[0]).says(wrong[1]);
        }
    }
}

#[test]
fn it_is_stopped_as_it_was_made_to_be() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "trap 'exit 7' USR1; trap 'exit 8' TERM; trap 'exit 9' INT; echo ready; while :; do sleep 0.02; done";
        let is_ready = |name: &str| {
            wait_until("it is ready", || sandbox.call(&["logs", name]).stdout == "ready\n");
        };
        sandbox.start(&["--name", "c", "--stop-signal", "SIGUSR1"], &["sh", "-c", script]);
        is_ready("c");
        sandbox.call(&["stop", "c"]).code(0);
        assert_eq!(sandbox.call(&["wait", "c"]).ok(), "7");
        sandbox.start(&["--name", "d", "--stop-signal", "10"], &["sh", "-c", script]);
        is_ready("d");
        sandbox.call(&["stop", "-s", "INT", "d"]).code(0);
        assert_eq!(sandbox.call(&["wait", "d"]).ok(), "9");

        // PID 1 of a namespace is deaf for what it does not handle.
        sandbox.start(&["--name", "deaf", "--stop-timeout", "0"], &["sleep", "1000"]);
        sandbox.call(&["stop", "deaf"]).code(0).says("deaf did not end within 0 s");
        assert_eq!(sandbox.call(&["wait", "deaf"]).ok(), "137");
        // Whoever stops it has the last word.
        sandbox.start(&["--name", "long", "--stop-timeout", "-1"], &["sleep", "1000"]);
        sandbox.call(&["stop", "-t", "0", "long"]).code(0);
        // As long as a clock can count, and longer.
        sandbox.start(&["--name", "ever"], &["sh", "-c", script]);
        is_ready("ever");
        sandbox.call(&["stop", "-t", "9223372036854775807", "ever"]).code(0);
        assert_eq!(sandbox.call(&["wait", "ever"]).ok(), "8");

        sandbox.run(&["--stop-signal", "NOPE"], &["true"]).code(125).says("--stop-signal \"NOPE\"");
        assert!(
            sandbox.run(&["--stop-timeout", "x"], &["true"]).code(125).stderr.contains("\"x\"")
        );
    }
}

#[test]
fn with_q_nothing_is_said() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["-d", "-q", "--net", "host"], &["true"]);
        assert_eq!((ran.ok().len(), ran.stderr.as_str()), (64, ""));
        let ran = sandbox.run(&["-d", "--net", "host"], &["true"]);
        ran.says("--net host").says("the program's PID on this host");
        sandbox.run(&["-q"], &["no-such-program"]).code(127).says("executable file not found");
    }
}

#[test]
fn restart_ends_and_starts_again() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "trap 'echo bye; exit 3' TERM; echo x >> /runs; cat /runs; echo ready; while :; do sleep 0.02; done";
        sandbox.start(&["--name", "c"], &["sh", "-c", script]);
        let logs = || sandbox.call(&["logs", "c"]).stdout;
        wait_until("it is ready", || logs() == "x\nready\n");
        let pid = sandbox.pid("c");
        assert_eq!(sandbox.call(&["restart", "c"]).ok(), "c");
        assert!(!is_alive(pid));
        wait_until("it is ready again", || logs() == "x\nready\nbye\nx\nx\nready\n");
        assert_ne!(sandbox.pid("c"), pid);

        // One that has ended, and one that was never started.
        sandbox.call(&["stop", "c"]).code(0);
        sandbox.create(&["--name", "d"], &["sleep", "1000"]);
        let ran = sandbox.call(&["restart", "-t", "0", "c", "nobody", "d"]);
        ran.code(1).says("nobody");
        assert_eq!(ran.stdout, "c\nd\n");
        assert!(is_alive(sandbox.pid("c")) && is_alive(sandbox.pid("d")));
    }
}

#[test]
fn what_was_made_to_go_is_restarted_and_goes_later() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "trap 'exit 3' TERM; echo x >> /runs; cat /runs; while :; do sleep 0.02; done";
        sandbox.start(&["--name", "c", "--rm"], &["sh", "-c", script]);
        // In the foreground without a monitor: what was its terminal hears the end of the first.
        let beside = sandbox.run_beside(&["--name", "d", "--rm"], &["sh", "-c", script]);
        beside.wait_for("x\n");
        for name in ["c", "d"] {
            for runs in 2..4 {
                let pid = sandbox.pid(name);
                assert_eq!(sandbox.call(&["restart", name]).ok(), name);
                assert!(!is_alive(pid) && is_alive(sandbox.pid(name)));
                let lines = || sandbox.call(&["exec", name, "cat", "/runs"]).stdout;
                wait_until("it runs on the same files", || lines() == "x\n".repeat(runs));
            }
        }
        beside.end().code(3);
        sandbox.call(&["stop", "c", "d"]).code(0);
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), "", "{caller:?}");
    }
}

#[test]
fn descriptors_of_the_callers_are_handed_on_where_he_says_so() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let (given, kept) = (sandbox.path("given"), sandbox.path("kept"));
        std::fs::write(&given, "given\n").expect("write");
        std::fs::write(&kept, "kept\n").expect("write");
        for options in ["--rm", "--name=a", "--init --name=b", "-i --name=c"] {
            let script = format!(
                "exec \"$0\" run --preserve-fds 1 {options} \"$1\" sh -c 'cat <&3; cat <&4' 3<\"$2\" 4<\"$3\""
            );
            let mut shell = sandbox.command("sh".as_ref());
            shell.args(["-c", &script]).arg(sandbox.program()).arg(sandbox.rootfs());
            let ran =
                minibox_tests::Ran::of(&shell.arg(&given).arg(&kept).output().expect("a shell"));
            assert_eq!(ran.stdout, "given\n", "{options}: {ran:?}");
            assert_ne!(ran.code, 0, "the second is the caller's own: {ran:?}");
        }
        let ran = sandbox.run(&["--preserve-fds", "1"], &["true"]);
        ran.code(125).says("--preserve-fds 1: descriptor 3 is not open");
    }
}

#[test]
fn of_a_flag_that_is_given_twice_the_last_counts() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let options = ["--rm", "--rm", "-h", "one", "-h", "two", "-e", "A=1", "-e", "A=2"];
        assert_eq!(sandbox.sh(&options, "hostname; echo $A").ok(), "two\n2");
    }
}

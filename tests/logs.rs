//! What a container in the background prints is kept, to the last byte, and shown again.

use std::fs;
use std::process::Output;

use minibox_tests::{Beside, Caller, Sandbox, is_alive, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What `logs c` prints, as bytes.
fn logs(sandbox: &Sandbox) -> Output {
    sandbox.minibox(&["logs", "c"]).output().expect("minibox starts")
}

/// Runs `script` in the background, as `c`, and waits for its end.
fn run_to_the_end(sandbox: &Sandbox, options: &[&str], script: &str) {
    sandbox.start(&[&["--name", "c"], options].concat(), &["sh", "-c", script]);
    sandbox.call(&["wait", "c"]).code(0);
}

#[test]
fn the_two_streams_stay_apart() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        run_to_the_end(&sandbox, &[], "echo one; echo two >&2; echo three; echo four >&2");
        let ran = sandbox.call(&["logs", "c"]);
        assert_eq!(ran.stdout, "one\nthree\n");
        assert_eq!(ran.stderr, "two\nfour\n");
        sandbox.call(&["logs", "nobody"]).code(125).says("there is no container \"nobody\"");
    }
}

#[test]
fn a_line_without_an_end_is_shown_as_it_is() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script =
            "printf 'a b'; sleep 0.1; printf '  c\\n\\nd '; printf e >&2; sleep 0.1; printf 'f'";
        run_to_the_end(&sandbox, &[], script);
        let ran = sandbox.call(&["logs", "c"]);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("a b  c\n\nd f", "e"));
    }
}

#[test]
fn every_byte_survives() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 300)";
        sandbox.start(&["--name", "c"], &["python", "-c", program]);
        sandbox.call(&["wait", "c"]).code(0);
        let all: Vec<u8> = (0..=255).collect();
        assert!(logs(&sandbox).stdout == all.repeat(300));
    }
}

#[test]
fn five_megabytes_are_complete_and_nobody_had_to_wait() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        run_to_the_end(&sandbox, &[], "seq 1 700000");
        let output = logs(&sandbox);
        let expected: String = (1..=700_000).map(|n| format!("{n}\n")).collect();
        assert!(output.stdout == expected.as_bytes(), "{} bytes", output.stdout.len());
        let followed = sandbox.call(&["logs", "-f", "c"]);
        assert!(followed.stdout == expected, "{} bytes", followed.stdout.len());
    }
}

#[test]
fn a_program_that_prints_for_ever_is_never_held_up() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script =
            "trap 'exit 5' TERM; while :; do echo 0123456789012345678901234567890123456789; done";
        sandbox.start(&["--name", "c"], &["sh", "-c", script]);
        wait_until("much more than a pipe holds is in the log", || {
            logs(&sandbox).stdout.len() > 300_000
        });
        sandbox.call(&["stop", "c"]).code(0);
        assert_eq!(sandbox.call(&["wait", "c"]).ok(), "5");
    }
}

#[test]
fn with_f_it_follows_until_the_container_ends() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "trap 'echo bye; exit 0' TERM; trap 'echo two' USR1
            echo one; echo problem >&2; while :; do sleep 0.02; done";
        sandbox.start(&["--name", "c"], &["sh", "-c", script]);
        let mut following = Beside::spawn(&mut sandbox.minibox(&["logs", "-f", "c"]));
        following.wait_for("one");
        sandbox.call(&["kill", "-s", "USR1", "c"]).code(0);
        following.wait_for("two");
        assert!(!following.has_ended());
        sandbox.call(&["stop", "c"]).code(0);
        let ran = following.end();
        assert_eq!((ran.ok(), ran.stderr.as_str()), ("one\ntwo\nbye", "problem\n"));
        assert_eq!(sandbox.call(&["logs", "-f", "c"]).ok(), "one\ntwo\nbye", "after the end");
    }
}

#[test]
fn following_ends_when_the_container_is_removed() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "c", "--rm"], &["sh", "-c", "echo one; exec sleep 1000"]);
        let following = Beside::spawn(&mut sandbox.minibox(&["logs", "-f", "c"]));
        following.wait_for("one");
        let pid = sandbox.pid("c");
        sandbox.call(&["rm", "-f", "c"]).code(0);
        following.end().code(0);
        assert!(!is_alive(pid));
    }
}

#[test]
fn a_terminals_output_is_logged_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        run_to_the_end(&sandbox, &["-t"], "echo one; echo two >&2");
        let ran = sandbox.call(&["logs", "c"]);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("one\r\ntwo\r\n", ""));
    }
}

#[test]
fn in_the_foreground_a_log_is_kept_but_with_rm() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.sh(&["--name", "c"], "echo hello; echo oh >&2").code(0);
        let ran = sandbox.call(&["logs", "c"]);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("hello\n", "oh\n"));
        let run = sandbox
            .run_beside(&["--name", "r", "--rm"], &["sh", "-c", "echo ready; exec sleep 1000"]);
        run.wait_for("ready");
        sandbox
            .call(&["logs", "r"])
            .code(125)
            .says("minibox: r runs in the foreground with --rm: what it prints goes to the terminal it was started from")
            .says("hint: every other container keeps a log");
    }
}

#[test]
fn a_torn_last_line_of_the_log_is_no_error() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        run_to_the_end(&sandbox, &[], "echo one");
        let id = sandbox.inspect("c")["Id"].as_str().expect("an id").to_owned();
        let path = sandbox.path("data/containers").join(id).join("log.1");
        for torn in ["2026-01-01T00:00:00Z stdo", "\n \n\u{0}\n", "2026 stdout F"] {
            let before = std::fs::read_to_string(&path).expect("a log");
            std::fs::write(&path, before + torn).expect("write");
            assert!(sandbox.call(&["logs", "c"]).code(0).stdout.starts_with("one\n"));
        }
    }
}

/// Five lines on both streams, at five different times, and one without an end.
const SIX: &str = "for n in 1 2 3 4 5; do
        if [ $n = 2 ]; then echo line $n >&2; else echo line $n; fi; sleep 0.02; done; printf end";

#[test]
fn the_last_lines() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        run_to_the_end(&sandbox, &[], SIX);
        let all = ("line 1\nline 3\nline 4\nline 5\nend", "line 2\n");
        for (tail, stdout, stderr) in [
            ("1", "end", ""),
            ("2", "line 5\nend", ""),
            ("5", "line 3\nline 4\nline 5\nend", "line 2\n"),
            ("6", all.0, all.1),
            ("100", all.0, all.1),
            ("all", all.0, all.1),
            ("-1", all.0, all.1),
            ("0", "", ""),
        ] {
            for follow in [&[][..], &["-f"]] {
                let args = [&["logs", "--tail", tail], follow, &["c"]].concat();
                let ran = sandbox.call(&args);
                let seen = (ran.stdout.as_str(), ran.stderr.as_str());
                assert_eq!(seen, (stdout, stderr), "{args:?}");
            }
        }
        sandbox.call(&["logs", "-n", "many", "c"]).code(125).says("--tail \"many\"");
    }
}

#[test]
fn the_lines_of_a_time() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        run_to_the_end(&sandbox, &[], SIX);
        let ran = sandbox.call(&["logs", "-t", "c"]);
        let mut times: Vec<&str> = ran.stdout.lines().chain(ran.stderr.lines()).collect();
        // RFC 3339 with nanoseconds: they sort as they follow each other.
        times.sort_unstable();
        let times: Vec<(&str, &str)> =
            times.into_iter().map(|line| line.split_once(' ').expect("a time")).collect();
        let texts: Vec<&str> = times.iter().map(|(_, text)| *text).collect();
        assert_eq!(texts, ["line 1", "line 2", "line 3", "line 4", "line 5", "end"]);
        assert!(times[0].0.len() == 30 && times[0].0.ends_with('Z'), "{times:?}");

        let shown = |options: &[&str]| {
            let ran = sandbox.call(&[&["logs"], options, &["c"]].concat());
            assert_eq!(ran.code, 0, "{ran:?}");
            ran.stdout + &ran.stderr
        };
        assert_eq!(shown(&["--since", times[3].0]), "line 4\nline 5\nend");
        assert_eq!(shown(&["--until", times[1].0]), "line 1\nline 2\n");
        assert_eq!(shown(&["--since", times[1].0, "--until", times[2].0]), "line 3\nline 2\n");
        assert_eq!(shown(&["--since", times[0].0, "--tail", "1"]), "end");
        assert_eq!(shown(&["--until", times[2].0, "--tail", "1"]), "line 3\n");
        assert_eq!(shown(&["--since", "1h"]), shown(&[]));
        assert_eq!(shown(&["--since", "1000y"]), shown(&[]));
        assert_eq!(shown(&["--since", "2100-01-01"]), "");
        assert_eq!(shown(&["--until", "1h"]), "");
        assert_eq!(shown(&["--until", "2100-01-01", "--since", "0"]), shown(&[]));
        assert_eq!(shown(&["-f", "--until", "1h"]), "", "it is over before it begins");
        for flag in ["--since", "--until"] {
            sandbox.call(&["logs", flag, "yesterday", "c"]).code(125).says(flag).says("10m");
        }
    }
}

#[test]
fn following_ends_with_its_time() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "while echo tick; do sleep 0.02; done";
        sandbox.start(&["--name", "c"], &["sh", "-c", script]);
        let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
        let soon = soon.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let until = format!("{}.{:09}", soon.as_secs(), soon.subsec_nanos());
        let follow = Beside::spawn(&mut sandbox.minibox(&["logs", "-f", "--until", &until, "c"]));
        follow.wait_for("tick\n");
        follow.end().code(0);
        assert!(is_alive(sandbox.pid("c")));
    }
}

/// How many files the log has; the last is the one that `inspect` names.
fn log_files(sandbox: &Sandbox, id: &str) -> usize {
    let entries = fs::read_dir(sandbox.path("data/containers").join(id)).expect("a folder");
    let names = entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"));
    let mut numbers: Vec<u32> =
        names.filter_map(|name| name.strip_prefix("log.")?.parse().ok()).collect();
    numbers.sort_unstable();
    let last = format!("log.{}", numbers.last().expect("one"));
    assert!(sandbox.inspect("c")["LogPath"].as_str().is_some_and(|path| path.ends_with(&last)));
    numbers.len()
}

#[test]
fn an_old_log_makes_room_for_a_new_one() {
    for caller in Caller::all() {
        for (options, files) in [
            (&["--log-opt", "max-size=1k", "--log-opt", "max-file=3"][..], 3),
            (&["--log-opt", "max-size=1k", "--log-opt", "max-file=1"], 1),
            (&["--log-opt", "max-size=1k", "--log-opt", "max-file=1000000000"], 40),
        ] {
            let sandbox = Sandbox::new(caller);
            let script = "for n in $(seq 1 600); do echo line $n
                [ $((n % 20)) != 0 ] || sleep 0.02; done";
            let id = sandbox.start(&[&["--name", "c"], options].concat(), &["sh", "-c", script]);
            sandbox.call(&["wait", "c"]).code(0);
            let kept = log_files(&sandbox, &id);
            // How much is written at a time, and so how full a file gets, is the kernel's business.
            assert!(kept <= files && kept > files / 40, "{options:?}: {kept}");
            let text = sandbox.call(&["logs", "c"]).stdout;
            let numbers: Vec<u32> = text
                .lines()
                .map(|line| line.strip_prefix("line ").expect("a line").parse().expect("a number"))
                .collect();
            let first = numbers[0];
            assert!(numbers.iter().copied().eq(first..=600), "{options:?}: {numbers:?}");
            assert_eq!(
                sandbox.call(&["logs", "-n", "3", "c"]).stdout,
                "line 598\nline 599\nline 600\n"
            );
            if files == 40 {
                assert_eq!(first, 1, "all of it is kept");
            }
        }
        let sandbox = Sandbox::new(caller);
        for wrong in
            ["max-size=0", "max-size=x", "max-file=0", "max-file=x", "colour=red", "max-size"]
        {
            sandbox.run(&["--log-opt", wrong], &["true"]).code(125).says("--log-opt");
        }
    }
}

#[test]
fn nothing_is_lost_where_one_file_follows_another() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        // A file is full after some 20 lines; many of them while the follower looks away.
        let options = ["--log-opt", "max-size=1k", "--log-opt", "max-file=1000"];
        let script = "n=0; while [ $n -lt 6000 ]; do n=$((n+1)); echo $n; done; printf end";
        sandbox.create(&[&["--name", "c"], &options[..]].concat(), &["sh", "-c", script]);
        let follow = Beside::spawn(&mut sandbox.minibox(&["logs", "-f", "c"]));
        sandbox.call(&["start", "c"]).code(0);
        let ran = follow.end();
        let expected: String = (1..=6000).map(|n| format!("{n}\n")).collect::<String>() + "end";
        assert!(ran.ok() == expected, "{caller:?}: {} bytes", ran.stdout.len());
        assert!(sandbox.call(&["logs", "c"]).stdout == expected);
    }
}

#[test]
fn following_a_container_whose_monitor_is_killed_goes_on() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "trap 'exit 0' TERM; n=0; while n=$((n+1)); do echo $n; sleep 0.01; done";
        let id = sandbox.start(&["--name", "c"], &["sh", "-c", script]);
        let follow = Beside::spawn(&mut sandbox.minibox(&["logs", "-f", "c"]));
        follow.wait_for("3\n");
        let state = fs::read(sandbox.path("run").join(&id).join("state.json")).expect("a state");
        let state: serde_json::Value = serde_json::from_slice(&state).expect("JSON");
        let monitor = state["keeper"]["pid"].as_i64().expect("a pid") as i32;
        kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("kill");
        wait_until("it is gone", || !is_alive(monitor));
        let before = follow.printed()[0].len();
        wait_until("more is shown", || follow.printed()[0].len() > before + 100);
        sandbox.call(&["stop", "c"]).code(0);
        let text = follow.end().stdout;
        let numbers: Vec<u32> = text.lines().map(|line| line.parse().expect("a number")).collect();
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u32), "{numbers:?}");
    }
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    // A small filesystem of its own for the store, which only this process and what it starts can see.
    for caller in Caller::root_only("a_full_disk_costs_lines_and_nothing_else") {
        let sandbox = Sandbox::new(caller);
        let (go, small) = (sandbox.folder("go"), sandbox.folder("small"));
        let script = "mount -t tmpfs -o size=3m tmpfs $SMALL; export MINIBOX_DATA_DIR=$SMALL
            until_there() { n=0; until [ -e $GO/$1 ]; do sleep 0.05; n=$((n+1)); [ $n -lt 200 ]; done; }
            $MINIBOX run -d -q --name c --restart on-failure:1 -v $GO:/go $ROOTFS sh -c '
                echo begin; seq 1 500000; echo through >> /go/through
                while [ ! -e /go/on ]; do sleep 0.02; done; exit 5' > $GO/id
            until_there through
            # Nor is there room for anything else.
            dd if=/dev/zero of=$SMALL/fill bs=1k 2>/dev/null || true
            $MINIBOX ps -a; $MINIBOX logs -n 1 c
            rm $SMALL/fill
            touch $GO/on
            echo code $($MINIBOX wait c); wc -l < $GO/through
            dd if=/dev/zero of=$SMALL/fill bs=1k 2>/dev/null || true
            $MINIBOX rm -f c; $MINIBOX gc --force";
        let mut command =
            sandbox.wrapped(&["unshare", "--mount", "sh", "-euc", script], &["version"]);
        command.env("SMALL", &small).env("GO", &go).env("MINIBOX", sandbox.program());
        command.env("ROOTFS", sandbox.rootfs());
        let ran = Beside::spawn(&mut command).end();
        let text = ran.ok();
        assert!(text.starts_with("NAME") && text.ends_with("code 5\n2\nc"), "{ran:?}");
        ran.says("nothing was left behind");
    }
}

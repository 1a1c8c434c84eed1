//! --init: PID 1 collects zombies, passes signals on and ends with the program; oom_score_adj beside it.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use minibox_tests::{Caller, Sandbox, wait_until};
use nix::sys::signal::Signal;

#[test]
fn pid_1_is_an_init_that_shows_nothing_of_the_caller() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let look = "echo $$ $PPID; cat /proc/1/comm; tr -d '\\0' < /proc/1/cmdline; echo
            tr -d '\\0' < /proc/1/environ | wc -c; ls /proc/1/fd | wc -l; ls -l /proc/1/root /proc/1/cwd | grep -c -- '-> /$'";
        let ran = sandbox.sh(&["--init", "-e", "SECRET=1"], look);
        // The one descriptor is its signalfd.
        assert_eq!(ran.ok(), "2 1\ninit\ninit\n0\n1\n2", "{caller:?}");
        assert_eq!(sandbox.sh(&[], "echo $$").ok(), "1");
    }
}

#[test]
fn it_is_as_confined_as_the_program() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let fields = "grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):'";
        let look =
            format!("{fields} /proc/1/status > /tmp/1; {fields} /proc/self/status | diff - /tmp/1");
        sandbox.sh(&["--init"], &look).ok();
        if caller != Caller::SingleId {
            sandbox.sh(&["--init", "-u", "learner", "-w", "/tmp"], &look).ok();
        }
    }
}

#[test]
fn orphans_are_collected() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        // The parent of the inner sleep is gone at once; PID 1 is its parent when it ends.
        let script = "sh -c 'sleep 0.1 & echo $! > /tmp/orphan'; exec sleep 1000";
        let state = |id: &str| {
            let look =
                "sed -n 's/^State:.//p' /proc/$(cat /tmp/orphan)/status 2>/dev/null || echo gone";
            sandbox.call(&["exec", id, "sh", "-c", look]).stdout
        };
        let bare = sandbox.start(&[], &["sh", "-c", script]);
        wait_until("nobody collects it", || state(&bare).starts_with('Z'));
        let donor = format!("container:{bare}");
        for options in [&["--init"][..], &["--init", "--pid", &donor]] {
            let kept = sandbox.start(options, &["sh", "-c", script]);
            wait_until("it is collected", || state(&kept) == "gone\n");
        }
        assert!(state(&bare).starts_with('Z'), "{caller:?}");
    }
}

#[test]
fn signals_are_passed_on() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "for s in HUP INT QUIT USR1 USR2 ALRM TERM WINCH CONT RTMIN; do trap \"echo $s\" $s; done
            echo ready; while :; do sleep 0.02; done";
        let id = sandbox.start(&["--init"], &["bash", "-c", script]);
        let shown = |text: &str| sandbox.call(&["logs", &id]).stdout.contains(text);
        wait_until("it is ready", || shown("ready"));
        for name in ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "WINCH", "CONT"] {
            let ran = sandbox.call(&["kill", "-s", name, &id]);
            ran.ok();
            assert_eq!(ran.stderr, "", "{name}");
            wait_until(name, || shown(&format!("\n{name}\n")));
        }
        sandbox.call(&["kill", "-s", "34", &id]).ok();
        wait_until("RTMIN", || shown("\nRTMIN\n"));
        sandbox.call(&["rm", "-f", &id]).ok();
    }
}

#[test]
fn a_program_without_handlers_ends_when_it_is_asked() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--init"], &["sleep", "1000"]);
        // Not killed after ten seconds, as a PID 1 would be.
        let ran = sandbox.call(&["stop", "-t", "-1", &id]);
        ran.ok();
        assert_eq!(ran.stderr, "");
        assert_eq!(sandbox.inspect(&id)["State"]["ExitCode"], 143, "{caller:?}");

        let running =
            sandbox.run_beside(&["--init", "--rm"], &["sh", "-c", "echo ready; exec sleep 1000"]);
        running.wait_for("ready");
        running.signal(Signal::SIGINT);
        running.end().code(130);
    }
}

#[test]
fn the_exit_code_is_the_programs() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for (script, code) in
            [("exit 0", 0), ("exit 7", 7), ("kill -SEGV $$", 139), ("kill -9 $$", 137)]
        {
            sandbox.sh(&["--init", "--rm"], script).code(code);
            sandbox.sh(&["--init"], script).code(code);
        }
        // With its last child alive: the end of PID 1 is everybody's.
        sandbox.sh(&["--init"], "sleep 1000 & exit 3").code(3);
        let said = |command: &str| {
            let plain = sandbox.run(&[], &[command]);
            let init = sandbox.run(&["--init"], &[command]);
            assert_eq!((plain.code, &plain.stderr), (init.code, &init.stderr), "{caller:?}");
            init.code
        };
        assert_eq!((said("no-such-program"), said("/etc/passwd")), (127, 126));
    }
}

#[test]
fn out_of_memory_is_still_told() {
    for caller in Caller::root_only("out of memory below an init") {
        let sandbox = Sandbox::new(caller);
        let eat = "x = bytearray(1 << 30)";
        let ran = sandbox.run(&["--init", "-m", "32m"], &["python", "-c", eat]);
        ran.code(137).says("out of memory: the kernel killed it at its limit of 32 MiB");
    }
}

#[test]
fn exec_finds_its_way_past_the_init() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--init"], &["sleep", "1000"]);
        assert_eq!(sandbox.call(&["exec", &id, "cat", "/proc/2/comm"]).ok(), "sleep", "{caller:?}");
        if caller != Caller::SingleId {
            // Whose memory nobody but his namespace's root may read.
            let id = sandbox.start(&["--init", "-u", "learner"], &["sleep", "1000"]);
            assert_eq!(sandbox.call(&["exec", &id, "id", "-un"]).ok(), "learner", "{caller:?}");
        }
    }
}

#[test]
fn on_a_terminal_the_program_is_in_the_foreground() {
    let look = "
import os, signal, sys, time
print(os.getpid(), os.tcgetpgrp(0) == os.getpgrp() == os.getpid(), os.getsid(0), os.ttyname(0))
print('blocked', len(signal.pthread_sigmask(signal.SIG_BLOCK, [])), flush=True)
time.sleep(1000)";
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let pty = nix::pty::openpty(None, None).expect("a pty");
        let end = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
        let mut command =
            sandbox.minibox(&["run", "--rm", "-it", "--init", &rootfs, "python", "-c", look]);
        let mut running =
            command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it starts");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        drop(pty.slave);
        let mut keyboard = fs::File::from(pty.master.try_clone().expect("a copy"));
        let shown = Arc::new(Mutex::new(String::new()));
        let to = Arc::clone(&shown);
        let mut screen = fs::File::from(pty.master);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                to.lock().expect("a lock").push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        let text = || shown.lock().expect("a lock").clone();
        wait_until("it has looked", || text().contains("blocked"));
        assert!(text().contains("2 True 1 /dev/pts/0\r\nblocked 0\r\n"), "{caller:?}: {}", text());
        keyboard.write_all(b"\x03").expect("Ctrl-C");
        wait_until("Ctrl-C has reached it", || text().contains("KeyboardInterrupt"));
        assert_eq!(running.wait().expect("it ends").code(), Some(130), "{caller:?}");
        reader.join().expect("the end of the screen");
    }
}

#[test]
fn there_must_be_room_for_two() {
    for caller in Caller::root_only("an init without room") {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["--init", "--pids-limit", "1"], &["true"]);
        ran.code(125)
            .says("cannot stay as a small init")
            .says("--pids-limit must leave room for two");
    }
}

#[test]
fn oom_score_adj_is_the_programs_and_of_what_joins_it() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let read = ["cat", "/proc/self/oom_score_adj"];
        assert_eq!(sandbox.run(&["--oom-score-adj", "500"], &read).ok(), "500", "{caller:?}");
        assert_eq!(sandbox.run(&["--oom-score-adj", "501", "--init"], &read).ok(), "501");
        let id = sandbox.start(&["--oom-score-adj", "502", "--name", "donor"], &["sleep", "1000"]);
        assert_eq!(sandbox.call(&["exec", &id, read[0], read[1]]).ok(), "502", "{caller:?}");
        let shared = ["--oom-score-adj", "503", "--net", "container:donor"];
        assert_eq!(sandbox.run(&shared, &read).ok(), "503", "{caller:?}");
        let own = fs::read_to_string("/proc/self/oom_score_adj").expect("a number");
        assert_eq!(sandbox.run(&[], &read).ok(), own.trim());
    }
}

#[test]
fn a_plain_user_cannot_lower_it_and_is_told() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["--oom-score-adj", "-500"], &["true"]);
        ran.code(125).says("cannot set oom_score_adj to -500: ");
        ran.says("cause: lowering the value below the caller's needs CAP_SYS_RESOURCE");
    }
}

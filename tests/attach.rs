//! attach: several visitors of one container, what they see, type, and leave behind.

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use minibox_tests::{Beside, Caller, Sandbox, Terminal, is_alive, is_full_run, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Prints a line now and then, so that one can tell who is there.
const TICKING: &str = "while echo tick; do sleep 0.02; done";

/// A shell with an easy prompt, on a terminal, in the background.
fn start_a_shell(sandbox: &Sandbox) {
    sandbox.start(&["-it", "--name", "c", "-e", "PS1=> "], &["sh"]);
}

fn attach(sandbox: &Sandbox, options: &[&str]) -> Terminal {
    Terminal::start(sandbox, &[&["attach"], options, &["c"]].concat())
}

/// A visitor with a pipe as his keyboard.
fn visitor(sandbox: &Sandbox, args: &[&str]) -> (Beside, ChildStdin) {
    let mut visitor = Beside::spawn(sandbox.minibox(args).stdin(Stdio::piped()));
    let keyboard = visitor.stdin();
    (visitor, keyboard)
}

/// Much input, typed beside the test as far as it is taken.
struct Paste(Arc<AtomicUsize>);

impl Paste {
    fn begin(mut keyboard: ChildStdin, bytes: usize) -> Paste {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        std::thread::spawn(move || {
            while count.load(Ordering::Relaxed) < bytes && keyboard.write_all(&[b'x'; 4096]).is_ok()
            {
                count.fetch_add(4096, Ordering::Relaxed);
            }
        });
        Paste(taken)
    }

    /// How much was taken so far, by whatever lies between.
    fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn all_see_the_same_and_hear_how_it_ended() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let volume = format!("{}:/go", sandbox.folder("go").display());
        let script = "while [ ! -e /go/on ]; do echo tick; echo tock >&2; sleep 0.02; done
            echo bye; exit 6";
        sandbox.start(&["--name", "c", "-v", &volume], &["sh", "-c", script]);
        let visitors: Vec<Beside> =
            (0..4).map(|_| Beside::spawn(&mut sandbox.minibox(&["attach", "c"]))).collect();
        for visitor in &visitors {
            visitor.wait_for("tick\n");
            visitor.wait_for("tock\n");
        }
        fs::write(sandbox.path("go/on"), "").expect("write");
        for visitor in visitors {
            let ran = visitor.end();
            assert!(ran.code(6).stdout.ends_with("tick\nbye\n"), "{ran:?}");
            assert!(ran.stderr.replace("tock\n", "").is_empty(), "{ran:?}");
        }
        sandbox.call(&["attach", "c"]).code(125).says("container c is not running");
    }
}

#[test]
fn several_may_type() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "echo ready; while read line; do echo \"<$line>\"; done; echo the end";
        sandbox.start(&["-i", "--name", "c"], &["sh", "-c", script]);
        let (one, mut keys_of_one) = visitor(&sandbox, &["attach", "c"]);
        let (two, mut keys_of_two) = visitor(&sandbox, &["attach", "c"]);
        let (deaf, mut keys_of_deaf) = visitor(&sandbox, &["attach", "--no-stdin", "c"]);
        keys_of_deaf.write_all(b"not heard\n").expect("keys");
        for (keys, line) in [(&mut keys_of_one, "of one"), (&mut keys_of_two, "of two")] {
            keys.write_all(format!("{line}\n").as_bytes()).expect("keys");
            let answer = format!("<{line}>\n");
            wait_until("it is answered", || sandbox.call(&["logs", "c"]).stdout.contains(&answer));
        }
        two.wait_for("<of two>");
        // In the background input never ends, whoever leaves.
        drop(keys_of_one);
        keys_of_two.write_all(b"again\n").expect("keys");
        for visitor in [&one, &two, &deaf] {
            visitor.wait_for("<again>");
        }
        assert!(!sandbox.call(&["logs", "c"]).stdout.contains("not heard"));
        sandbox.call(&["stop", "-t", "0", "c"]).code(0);
        for visitor in [one, two, deaf] {
            visitor.end().code(137);
        }
    }
}

#[test]
fn the_keys_for_leaving() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        start_a_shell(&sandbox);
        let left =
            "minibox: left c running; `minibox attach c` comes back, `minibox stop c` ends it";
        for (options, keys) in [
            (&[][..], "\u{10}\u{11}"),
            (&["--detach-keys", "ctrl-a,x"], "\u{1}x"),
            (&["--detach-keys=q"], "q"),
            (&["--detach-keys", "ctrl-@,ctrl-]"], "\u{0}\u{1d}"),
        ] {
            let mut terminal = attach(&sandbox, options);
            wait_until("the keys are the container's", || terminal.is_raw());
            // What only begins like them is for the program.
            terminal.types("echo he''re\r");
            terminal.shows("here\r\n");
            terminal.types(keys);
            assert_eq!(terminal.end(), 0, "{options:?}");
            terminal.shows(left);
        }
        // With none, or others, they are for the program.
        for options in [&["--detach-keys", ""][..], &["--detach-keys", "ctrl-a,x"]] {
            let mut terminal = attach(&sandbox, options);
            wait_until("the keys are the container's", || terminal.is_raw());
            let two = "stty raw; echo rea''dy; dd bs=1 count=2 2>/dev/null | od -An -tx1";
            terminal.types(&format!("{two}; stty sane\r"));
            terminal.shows("ready\n");
            terminal.types("\u{10}\u{11}");
            terminal.shows(" 10 11");
            terminal.signal(Signal::SIGHUP);
            assert_eq!(terminal.end(), 129);
        }
        assert!(is_alive(sandbox.pid("c")));
        let ran = sandbox.call(&["attach", "--detach-keys", "ctrl-1", "c"]);
        ran.code(125).says("--detach-keys \"ctrl-1\"").says("ctrl-p,ctrl-q");
    }
}

#[test]
fn signals_are_passed_on_or_end_the_visit() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "trap 'echo got-usr1' USR1; trap 'echo got-term; exit 9' TERM
            while echo tick; do sleep 0.02; done";
        sandbox.start(&["--name", "c"], &["sh", "-c", script]);
        let visit = Beside::spawn(&mut sandbox.minibox(&["attach", "--sig-proxy=false", "c"]));
        visit.wait_for("tick");
        visit.signal(Signal::SIGTERM);
        visit.end().code(143);
        assert!(!sandbox.call(&["logs", "c"]).stdout.contains("got-term"));

        let visit = Beside::spawn(&mut sandbox.minibox(&["attach", "c"]));
        visit.wait_for("tick");
        visit.signal(Signal::SIGUSR1);
        visit.wait_for("got-usr1");
        // One whose terminal is gone only leaves.
        visit.signal(Signal::SIGHUP);
        visit.end().code(129);
        let visit = Beside::spawn(&mut sandbox.minibox(&["attach", "c"]));
        visit.wait_for("tick");
        visit.signal(Signal::SIGTERM);
        let ran = visit.end();
        assert!(ran.code(9).stdout.ends_with("got-term\n"), "{ran:?}");
    }
}

#[test]
fn the_terminal_is_as_before_however_the_visit_ends() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        start_a_shell(&sandbox);
        // By a signal that is not passed on, by the loss of the terminal.
        for (options, signal, code) in [
            (&["--sig-proxy=false"][..], Signal::SIGTERM, 143),
            (&["--sig-proxy=false"], Signal::SIGINT, 130),
            (&[], Signal::SIGHUP, 129),
        ] {
            let mut terminal = attach(&sandbox, options);
            wait_until("the keys are the container's", || terminal.is_raw());
            terminal.signal(signal);
            assert_eq!(terminal.end(), code, "{signal}");
        }
        // A visitor that is killed cannot restore anything; the container does not care.
        let mut terminal = attach(&sandbox, &[]);
        wait_until("the keys are the container's", || terminal.is_raw());
        terminal.signal(Signal::SIGKILL);
        wait_until("he has gone", || terminal.has_ended());
        assert!(is_alive(sandbox.pid("c")));

        // By the end of the program, which another asks for.
        let (mut one, mut two) = (attach(&sandbox, &[]), attach(&sandbox, &[]));
        for terminal in [&one, &two] {
            wait_until("the keys are the container's", || terminal.is_raw());
        }
        two.types("echo he''re\r");
        one.shows("here\r\n");
        two.types("exit 7\r");
        assert_eq!((one.end(), two.end()), (7, 7));

        // By the end of its monitor.
        sandbox.call(&["start", "c"]).code(0);
        let mut terminal = attach(&sandbox, &[]);
        wait_until("the keys are the container's", || terminal.is_raw());
        let monitor = sandbox.inspect("c")["Minibox"]["keeper"].as_i64().expect("a pid") as i32;
        kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("kill");
        assert_eq!(terminal.end(), 125);
        terminal.shows("the monitor of c is gone");
    }
}

#[test]
fn when_the_window_is_closed_the_visit_is_over_and_nothing_else() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        start_a_shell(&sandbox);
        // script(1) is the terminal's window here: its death closes the terminal.
        let mut command = sandbox.command("script".as_ref());
        let typed = format!("{} attach c", sandbox.program().display());
        command.args(["-qfec", &typed, "/dev/null"]).stdin(Stdio::piped());
        let (out, file) = (sandbox.path("shown"), "shown");
        command.stdout(fs::File::create(&out).expect(file));
        let mut window = command.spawn().expect("script");
        let mut keyboard = window.stdin.take().expect("stdin");
        wait_until("he is there", || {
            keyboard.write_all(b"echo he''re\r").expect("keys");
            fs::read_to_string(&out).is_ok_and(|shown| shown.contains("here\r\n"))
        });
        let is_visited = || {
            let marker = format!("{}\0attach\0c\0", sandbox.program().display());
            fs::read_dir("/proc").expect("/proc").flatten().any(|entry| {
                let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let run_dir = format!("MINIBOX_RUN_DIR={}\0", sandbox.path("run").display());
                let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
                String::from_utf8_lossy(&cmdline) == marker
                    && String::from_utf8_lossy(&environ).contains(&run_dir)
            })
        };
        assert!(is_visited());
        window.kill().expect("kill");
        window.wait().expect("a child");
        wait_until("the client has ended", || !is_visited());
        assert!(is_alive(sandbox.pid("c")));
    }
}

#[test]
fn a_change_of_size_is_passed_on() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        start_a_shell(&sandbox);
        let mut terminal = attach(&sandbox, &[]);
        terminal.has_size_inside("24 80");
        terminal.resize(33, 101);
        terminal.has_size_inside("33 101");
        terminal.types("\u{10}\u{11}");
        assert_eq!(terminal.end(), 0);
        // The next brings his own.
        let mut terminal = attach(&sandbox, &[]);
        terminal.has_size_inside("24 80");
    }
}

#[test]
fn a_container_without_a_terminal_takes_lines() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["-i", "--name", "c"], &["cat"]);
        let mut terminal = attach(&sandbox, &[]);
        terminal.types("hello\r");
        terminal.shows("hello\r\nhello\r\n");
        assert!(!terminal.is_raw(), "lines are still edited by the caller's terminal");
        // The keys for leaving belong to terminals; Ctrl-C is a signal for it.
        terminal.types("\u{3}");
        terminal.shows("has no handler for SIGINT");
        assert!(is_alive(sandbox.pid("c")));
        terminal.types("\u{3}");
        assert_eq!(terminal.end(), 137);
    }
}

#[test]
fn what_cannot_be_attached_to_says_so() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.run(&["--name", "over"], &["true"]).code(0);
        sandbox.call(&["attach", "over"]).code(125).says("container over is not running");
        sandbox.call(&["attach", "nobody"]).code(125).says("there is no container \"nobody\"");
        let run = sandbox.run_beside(&["--rm", "--name", "fg"], &["sh", "-c", TICKING]);
        run.wait_for("tick");
        sandbox
            .call(&["attach", "fg"])
            .code(125)
            .says("fg runs in the foreground of another minibox, with --rm")
            .says("`minibox exec -it fg sh`");
        run.signal(Signal::SIGKILL);
        run.end();
        wait_until("it has gone", || !sandbox.path("data/names/fg").is_symlink());

        // One whose first monitor was killed has no terminal any more.
        sandbox.start(&["-it", "--name", "lost"], &["sleep", "1000"]);
        let monitor = sandbox.inspect("lost")["Minibox"]["keeper"].as_i64().expect("a pid");
        kill(Pid::from_raw(monitor as i32), Signal::SIGKILL).expect("kill");
        wait_until("he has gone", || !is_alive(monitor as i32));
        sandbox.call(&["attach", "lost"]).code(125).says("lost has lost its terminal");
    }
}

#[test]
fn a_visitor_who_stands_still_holds_nobody_up_and_hears_what_he_missed() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let volume = format!("{}:/go", sandbox.folder("go").display());
        let script = "while [ ! -e /go/on ]; do echo tick; sleep 0.02; done
            seq 1 500000; echo through; while [ ! -e /go/off ]; do sleep 0.02; done; exit 6";
        sandbox.start(&["--name", "c", "-v", &volume], &["sh", "-c", script]);
        let (slow, quick) =
            [(); 2].map(|()| Beside::spawn(&mut sandbox.minibox(&["attach", "c"]))).into();
        slow.wait_for("tick");
        quick.wait_for("tick");
        slow.signal(Signal::SIGSTOP);
        fs::write(sandbox.path("go/on"), "").expect("write");
        wait_until("the program is through", || {
            sandbox.call(&["logs", "-n", "1", "c"]).stdout == "through\n"
        });
        quick.wait_for("through");
        fs::write(sandbox.path("go/off"), "").expect("write");
        assert_eq!(sandbox.call(&["wait", "c"]).ok(), "6", "and has ended");
        quick.end().code(6);

        slow.signal(Signal::SIGCONT);
        let ran = slow.end();
        ran.code(6).says("bytes of output went by while nobody took them here; `minibox logs c`");
        let lost = ran.stderr.lines().find(|line| line.contains("went by")).expect("a line");
        let lost: usize = lost.split(' ').nth(1).expect("a number").parse().expect("a number");
        let all = sandbox.call(&["logs", "c"]).stdout;
        let from = all.find("tick\n1\n").expect("the beginning");
        // What he saw and what he missed is everything; he came a few ticks late.
        let seen = ran.stdout.find("tick\n1\n").map(|begin| ran.stdout.len() - begin);
        assert_eq!(seen.expect("the beginning") + lost, all.len() - from, "{caller:?}");
    }
}

#[test]
fn input_that_nobody_takes_stands_in_nobodys_way() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        // Shells catch SIGINT.
        let ticking = "import signal, time; signal.signal(2, signal.SIG_DFL)
while True: print('tick', flush=True); time.sleep(0.02)";
        let args = ["run", "-i", "--name", "c", &rootfs, "python", "-c", ticking];
        let (run, keys) = visitor(&sandbox, &args);
        run.wait_for("tick");
        // More than all that lies between takes.
        let paste = Paste::begin(keys, 4 << 20);
        let (visit, keys) = visitor(&sandbox, &["attach", "c"]);
        visit.wait_for("tick");
        let more = Paste::begin(keys, 4 << 20);
        wait_until("much is on its way", || paste.taken() > 128 << 10 && more.taken() > 60 << 10);
        // Others come and go, and signals arrive.
        let third = Beside::spawn(&mut sandbox.minibox(&["attach", "c"]));
        third.wait_for("tick");
        run.signal(Signal::SIGINT);
        run.wait_for("Ctrl-C once more within two seconds kills it");
        run.signal(Signal::SIGINT);
        for client in [run, visit, third] {
            client.end().code(137);
        }
    }
}

#[test]
fn whoever_comes_at_the_very_end_hears_the_truth() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.create(&["--name", "c"], &["sh", "-c", "exit 6"]);
        let (mut seen, mut late) = (0, 0);
        for _ in 0..25 {
            sandbox.call(&["start", "c"]).code(0);
            let ran = sandbox.call(&["attach", "c"]);
            if ran.code == 6 {
                seen += 1;
            } else {
                let words = ["container c is not running", "has just ended"];
                assert!(words.iter().any(|word| ran.stderr.contains(word)), "{ran:?}");
                ran.code(125);
                late += 1;
            }
        }
        assert_eq!(seen + late, 25);
        sandbox.call(&["wait", "c"]).code(0);
    }
}

#[test]
fn a_terminal_that_nobody_has_open_for_a_while_is_still_there() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let volume = format!("{}:/go", sandbox.folder("go").display());
        let script = "echo before; exec </dev/null >/dev/null 2>&1; touch /go/closed
            while [ ! -e /go/on ]; do sleep 0.02; done; echo after > /dev/console; read line < /dev/console
            echo \"<$line>\" > /dev/console; exit 6";
        sandbox.start(&["-it", "--name", "c", "-v", &volume], &["sh", "-c", script]);
        let mut terminal = attach(&sandbox, &[]);
        wait_until("the keys are the container's", || terminal.is_raw());
        wait_until("it has closed its terminal", || sandbox.path("go/closed").exists());
        fs::write(sandbox.path("go/on"), "").expect("write");
        terminal.shows("after\r\n");
        terminal.types("hello\r");
        terminal.shows("<hello>\r\n");
        assert_eq!(terminal.end(), 6);
    }
}

/// Waits until process `pid` uses no time of any CPU.
#[track_caller]
fn rests(pid: i64) {
    wait_until("it rests", || {
        let before = ticks(pid);
        std::thread::sleep(Duration::from_millis(300));
        ticks(pid) == before
    });
}

/// Hundredths of a second that process `pid` has had a CPU.
#[track_caller]
fn ticks(pid: i64) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields = stat.rsplit_once(") ").expect("stat").1.split(' ').skip(11).take(2);
    fields.map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// A child that is killed with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_idle_monitor_uses_no_cpu() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["-i", "--name", "c"], &["sleep", "1000"]);
        let monitor = sandbox.inspect("c")["Minibox"]["keeper"].as_i64().expect("a pid");
        // Visitors of every kind: one that reads, one that left, one that was killed, one full of input.
        let (one, keys) = visitor(&sandbox, &["attach", "c"]);
        let (two, _keys) = visitor(&sandbox, &["attach", "--sig-proxy=false", "c"]);
        two.signal(Signal::SIGTERM);
        drop(two);
        let full = Paste::begin(keys, 1 << 20);
        wait_until("much is on its way", || full.taken() > 128 << 10);
        let mut yes = Command::new("yes");
        let yes = yes.stdout(Stdio::piped()).spawn().expect("yes");
        let mut yes = Killed(yes);
        let mut command = sandbox.minibox(&["attach", "c"]);
        let three = Beside::spawn(command.stdin(yes.0.stdout.take().expect("stdout")));
        rests(monitor);
        sandbox.call(&["stop", "-t", "0", "c"]).code(0);
        one.end().code(137);
        three.end().code(137);
    }
}

#[test]
fn a_crowd_at_the_door_waits_outside() {
    use nix::sys::socket as net;
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let run = ["run", "-d", "-q", "--name", "c", &rootfs, "sleep", "1000"];
        let mut run = sandbox.wrapped(&["prlimit", "--nofile=64"], &run);
        let id = Beside::spawn(&mut run).end().ok().to_owned();
        let monitor = sandbox.inspect("c")["Minibox"]["keeper"].as_i64().expect("a pid");
        let door =
            net::UnixAddr::new(&sandbox.path("run").join(id).join("monitor")).expect("a path");
        let knock = |_| {
            let (family, kind) = (net::AddressFamily::Unix, net::SockType::SeqPacket);
            let socket =
                net::socket(family, kind, net::SockFlag::SOCK_CLOEXEC, None).expect("a socket");
            net::connect(socket.as_raw_fd(), &door).expect("a connection");
            socket
        };
        let crowd: Vec<_> = (0..100).map(knock).collect();
        let open = || fs::read_dir(format!("/proc/{monitor}/fd")).expect("descriptors").count();
        wait_until("it has no room for more", || open() >= 64);
        rests(monitor);

        let visitor = Beside::spawn(&mut sandbox.minibox(&["attach", "c"]));
        drop(crowd);
        wait_until("he is let in", || {
            sandbox
                .call(&["events", "--since", "1h", "--until", "0s", "--filter", "event=attach"])
                .stdout
                .lines()
                .count()
                == 1
        });
        sandbox.call(&["stop", "-t", "0", "c"]).code(0);
        visitor.end().code(137);
    }
}

#[test]
fn who_was_stopped_keeps_no_monitor_for_ever() {
    // It is waited for a whole minute.
    if !is_full_run() {
        return;
    }
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "c"], &["sh", "-c", "sleep 1; echo go; exec seq 1 1000000"]);
        let monitor = sandbox.inspect("c")["Minibox"]["keeper"].as_i64().expect("a pid") as i32;
        let slow = Beside::spawn(&mut sandbox.minibox(&["attach", "c"]));
        slow.wait_for("go");
        slow.signal(Signal::SIGSTOP);
        assert_eq!(sandbox.call(&["wait", "c"]).ok(), "0");
        assert!(is_alive(monitor), "it waits for him");
        std::thread::sleep(Duration::from_secs(55));
        wait_until("it waits no longer", || !is_alive(monitor));
        slow.signal(Signal::SIGCONT);
        slow.end().code(125).says("the monitor of c is gone");
    }
}

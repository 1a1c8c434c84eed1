//! -t: a terminal of the container's own, shown on the caller's, which is as before when all is over.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use minibox_tests::{Beside, Caller, Ran, Sandbox, is_alive, wait_until};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

/// minibox on a terminal of 24 rows and 80 columns, with what it has shown so far.
struct Terminal {
    child: Child,
    master: File,
    slave: OwnedFd,
    before: Termios,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts minibox as a shell in a terminal does: session leader, with the terminal as its own.
    fn start(sandbox: &Sandbox, args: &[&str]) -> Terminal {
        let mut command = sandbox.command("setsid".as_ref());
        command.arg("--ctty").arg(sandbox.program()).args(args);
        Terminal::start_command(command, |_| {})
    }

    /// Any command; `change` may replace one of its streams.
    fn start_command(mut command: Command, change: impl Fn(&mut Command)) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
        let before = tcgetattr(&slave).expect("settings");
        let stream = || Stdio::from(slave.try_clone().expect("a copy"));
        command.stdin(stream()).stdout(stream()).stderr(stream());
        change(&mut command);
        let child = command.spawn().expect("minibox starts");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (File::from(master.try_clone().expect("a copy")), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                to.lock().expect("a lock").extend_from_slice(&buffer[..count]);
            }
        });
        Terminal { child, master: File::from(master), slave, before, shown }
    }

    /// `minibox run OPTIONS ROOTFS COMMAND…` on a terminal.
    fn run(sandbox: &Sandbox, options: &[&str], command: &[&str]) -> Terminal {
        let rootfs = sandbox.rootfs();
        Terminal::start(sandbox, &[&["run"], options, &[rootfs.as_str()], command].concat())
    }

    /// Types keys.
    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("keys");
    }

    /// What it has shown.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("a lock")).into_owned()
    }

    /// Waits until it shows `text`.
    #[track_caller]
    fn shows(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.text().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Changes the size, as a window manager would.
    fn resize(&self, rows: u16, columns: u16) {
        let mut stty = Command::new("stty");
        stty.args(["rows", &rows.to_string(), "cols", &columns.to_string()]);
        let status = stty.stdin(self.slave.try_clone().expect("a copy")).status();
        assert!(status.expect("stty").success());
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).expect("settings").local_flags.contains(LocalFlags::ICANON)
    }

    fn is_as_before(&self) -> bool {
        tcgetattr(&self.slave).expect("settings") == self.before
    }

    /// Waits for minibox's end: its exit code. The terminal must be as before.
    #[track_caller]
    fn end(&mut self) -> i32 {
        wait_until("minibox has ended", || self.child.try_wait().expect("a child").is_some());
        assert!(self.is_as_before(), "the terminal's settings are not what they were");
        let status = self.child.wait().expect("a child");
        Ran::of(&std::process::Output { status, stdout: Vec::new(), stderr: Vec::new() }).code
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks the shell inside until it tells `size`: a change travels as a signal.
#[track_caller]
fn asks_for_size(terminal: &mut Terminal, size: &str) {
    let mut asked = 0;
    wait_until(&format!("the size inside is {size}"), || {
        let answered = terminal.text().matches("size ").count();
        if answered == asked {
            terminal.types("echo si''ze $(stty size)\r");
            asked += 1;
        }
        terminal.text().contains(&format!("size {size}\r\n"))
    });
}

/// A shell with an easy prompt.
const SHELL: &[&str] = &["-it", "--name", "c", "-e", "PS1=> "];

#[test]
fn the_first_thing_a_learner_types_is_a_shell_on_a_terminal_of_its_own() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut terminal = Terminal::run(&sandbox, SHELL, &["sh"]);
        terminal.shows("> ");
        assert!(terminal.is_raw(), "the keys are the container's");
        terminal.types("tty; ls -l /dev/console; test -t 2 && echo also-2 > /dev/tty\r");
        terminal.shows("/dev/pts/0\r\ncrw");
        terminal.shows("/dev/console\r\nalso-2\r\n");
        terminal.types("stty size; echo $TERM\r");
        terminal.shows("24 80\r\nxterm\r\n");
        terminal.resize(33, 101);
        asks_for_size(&mut terminal, "33 101");
        terminal.types("exit 42\r");
        assert_eq!(terminal.end(), 42);
        assert!(!terminal.text().contains("can't access tty"), "{}", terminal.text());
        assert!(!terminal.text().contains("job control"), "{}", terminal.text());
    }
}

#[test]
fn ctrl_c_and_ctrl_z_are_for_the_program_inside() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut terminal = Terminal::run(&sandbox, SHELL, &["sh"]);
        terminal.shows("> ");
        terminal.types("sh -c 'echo sta\"\"rt; exec sleep 1000'\r");
        terminal.shows("start\r\n");
        terminal.types("\u{3}");
        terminal.shows("^C");
        terminal.types("echo code $?\r");
        terminal.shows("code 130\r\n");
        // Job control: stop, list, go on in the foreground, interrupt.
        terminal.types("sh -c 'echo aga\"\"in; exec sleep 1001'\r");
        terminal.shows("again\r\n");
        terminal.types("\u{1a}");
        terminal.shows("Stopped");
        terminal.types("jobs; fg\r");
        wait_until("it goes on", || terminal.text().matches("exec sleep 1001").count() >= 4);
        terminal.types("\u{3}");
        terminal.types("\recho do''ne; exit\r");
        terminal.shows("done\r\n");
        terminal.end();
        assert!(!terminal.text().contains("second Ctrl-C"), "{}", terminal.text());
    }
}

#[test]
fn kill_9_of_the_client_ends_the_container_and_restores_the_terminal() {
    for caller in Caller::all() {
        for signal in [Signal::SIGKILL, Signal::SIGHUP] {
            let sandbox = Sandbox::new(caller);
            let mut terminal = Terminal::run(&sandbox, SHELL, &["sh"]);
            terminal.shows("> ");
            let pid = sandbox.pid("c");
            assert!(terminal.is_raw());
            kill(Pid::from_raw(terminal.child.id() as i32), signal).expect("kill");
            wait_until("the client has ended", || {
                terminal.child.try_wait().expect("a child").is_some()
            });
            wait_until(&format!("{signal}: PID 1 is gone"), || !is_alive(pid));
            wait_until(&format!("{caller:?}, {signal}: restored"), || terminal.is_as_before());
            let exit = || sandbox.inspect("c")["State"]["ExitCode"].clone();
            wait_until("the end is written down", || exit().is_i64());
            terminal.end();
        }
    }
}

#[test]
fn when_the_callers_terminal_goes_away_the_container_ends() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        // script(1) is the terminal's window here: its death closes the terminal.
        let mut command = sandbox.command("script".as_ref());
        let typed =
            format!("{} run -it --name c {rootfs} sh -c 'sleep 1000'", sandbox.program().display());
        command.args(["-qec", &typed, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut window = command.spawn().expect("script");
        wait_until("it runs", || sandbox.call(&["ps", "-q"]).stdout.len() == 13);
        let pid = sandbox.pid("c");
        window.kill().expect("kill");
        window.wait().expect("a child");
        wait_until("PID 1 is gone", || !is_alive(pid));
    }
}

#[test]
fn ctrl_p_ctrl_q_leaves_the_container_running() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut terminal = Terminal::run(&sandbox, SHELL, &["sh"]);
        terminal.shows("> ");
        let pid = sandbox.pid("c");
        terminal.types("\u{10}\u{11}");
        assert_eq!(terminal.end(), 0);
        terminal.shows("minibox: left c running; `minibox ps` shows it, `minibox stop c` ends it");
        assert!(is_alive(pid));
        let table = sandbox.call(&["ps"]).ok().to_owned();
        assert!(table.contains("\nc ") && table.contains(&format!(" {pid} ")), "{table}");
        assert!(!table.contains("terminal lost"), "{table}");
        sandbox.call(&["stop", "-t", "0", "c"]).code(0);
        assert!(!is_alive(pid));
    }
}

#[test]
fn exec_has_a_terminal_of_its_own_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "c"], &["sleep", "1000"]);
        let mut terminal = Terminal::start(&sandbox, &["exec", "-it", "-e", "PS1=> ", "c", "sh"]);
        terminal.shows("> ");
        assert!(terminal.is_raw());
        terminal.types("tty; stty size\r");
        terminal.shows("/dev/pts/0\r\n24 80\r\n");
        terminal.resize(40, 120);
        asks_for_size(&mut terminal, "40 120");
        terminal.types("sh -c 'echo sta\"\"rt; exec sleep 1000'\r");
        terminal.shows("start\r\n");
        terminal.types("\u{3}");
        terminal.types("\recho aft''er; exit 7\r");
        terminal.shows("after");
        assert_eq!(terminal.end(), 7);
        assert!(!terminal.text().contains("can't access tty"), "{}", terminal.text());
        assert!(is_alive(sandbox.pid("c")), "the container goes on");
    }
}

#[test]
fn a_terminal_without_i_takes_no_keys() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script =
            "tty; trap 'echo got-it; exit 9' INT; echo rea''dy; while :; do sleep 0.05; done";
        let mut terminal = Terminal::run(&sandbox, &["-t"], &["sh", "-c", script]);
        terminal.shows("/dev/pts/0\r");
        terminal.shows("\nready\r");
        assert!(!terminal.is_raw(), "the keys are still the caller's");
        // Ctrl-C on the caller's terminal is a signal for minibox, which passes it on.
        terminal.types("\u{3}");
        terminal.shows("got-it");
        assert_eq!(terminal.end(), 9);
    }
}

#[test]
fn without_t_the_callers_terminal_is_out_of_reach() {
    let script =
        "for n in 0 1 2; do readlink /proc/self/fd/$n; done; tty; (: < /dev/tty) 2>&1; ls /dev/pts";
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for options in [&[][..], &["-i"]] {
            let mut terminal = Terminal::run(&sandbox, options, &["sh", "-c", script]);
            terminal.shows("not a tty");
            terminal.end();
            let text = terminal.text();
            assert!(!text.contains("/dev/pts/"), "{options:?}: {text}");
            assert!(text.matches("pipe:[").count() >= 2, "{options:?}: {text}");
            assert!(text.contains("/dev/tty"), "its own /dev/tty cannot be opened: {text}");
        }
        sandbox.start(&["--name", "c"], &["sleep", "1000"]);
        let mut terminal = Terminal::start(&sandbox, &["exec", "c", "sh", "-c", script]);
        terminal.shows("not a tty");
        terminal.end();
        assert!(!terminal.text().contains("/dev/pts/"), "{}", terminal.text());
    }
}

#[test]
fn what_is_typed_arrives_with_i_alone() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut terminal = Terminal::run(
            &sandbox,
            &["-i"],
            &["sh", "-c", "echo rea''dy; read line; echo \"<$line>\"; cat"],
        );
        terminal.shows("ready");
        assert!(!terminal.is_raw());
        terminal.types("hello\r");
        terminal.shows("<hello>");
        terminal.types("\u{4}");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn a_pipe_is_no_terminal_and_i_and_t_together_need_one() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "c"], &["sleep", "1000"]);
        let rootfs = sandbox.rootfs();
        for args in [&["run", "-it", &rootfs, "cat"], &["exec", "-it", "c", "cat"]] {
            let ran = Beside::spawn(sandbox.minibox(args).stdin(Stdio::piped())).end();
            ran.code(125).says("minibox: -it: standard input is not a terminal");
        }
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok().lines().count(), 1, "nothing was made");
    }
}

#[test]
fn much_output_of_a_terminal_arrives_whole() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut terminal = Terminal::run(&sandbox, &["-it"], &["sh", "-c", "seq 1 100000; exit 4"]);
        assert_eq!(terminal.end(), 4);
        let expected: String = (1..=100_000).map(|n| format!("{n}\r\n")).collect();
        wait_until("all of it is shown", || terminal.text().len() >= expected.len());
        assert!(terminal.text().ends_with(&expected));
    }
}

#[test]
fn much_pasted_at_a_program_that_does_not_read_blocks_nobody() {
    for caller in Caller::all() {
        for verb in ["run", "exec"] {
            let sandbox = Sandbox::new(caller);
            let script = "stty raw -echo; echo ready; sleep 1000";
            let mut terminal = if verb == "run" {
                Terminal::run(&sandbox, &["-it", "--name", "c"], &["sh", "-c", script])
            } else {
                sandbox.start(&["--name", "c"], &["sleep", "1000"]);
                Terminal::start(&sandbox, &["exec", "-it", "c", "sh", "-c", script])
            };
            terminal.shows("ready");
            // More than every buffer on the way holds; a terminal that is full takes no more.
            let mut paste = terminal.master.try_clone().expect("a copy");
            std::thread::spawn(move || {
                let _ = paste.write_all(&vec![b'x'; 1 << 20]);
            });
            wait_until("minibox has taken what it can", || {
                sandbox.call(&["ps", "-q"]).ok().lines().count() == 1
            });
            std::thread::sleep(Duration::from_millis(200));
            let pid = sandbox.pid("c");
            kill(Pid::from_raw(terminal.child.id() as i32), Signal::SIGKILL).expect("kill");
            if verb == "run" {
                wait_until("PID 1 ends with its client", || !is_alive(pid));
            }
            assert_eq!(sandbox.call(&["rm", "-f", "c"]).ok(), "c");
            let _ = terminal.child.wait();
        }
    }
}

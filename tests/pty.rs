//! minibox on a terminal, as a person has it: what is typed, what is shown, and what the screen looks like.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

use crate::{Ran, Sandbox, patience, wait_until};

/// minibox on a terminal, of 24 rows and 80 columns where nothing else is said, with what it has shown so far.
#[derive(Debug)]
pub struct Terminal {
    /// minibox, or what was started in its place.
    pub child: Child,
    /// The side of the person.
    pub master: File,
    slave: OwnedFd,
    before: Termios,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts minibox as a shell in a terminal does: session leader, with the terminal as its own.
    pub fn start(sandbox: &Sandbox, args: &[&str]) -> Terminal {
        Terminal::start_command(on_its_terminal(sandbox, args), |_| {})
    }

    /// The same on a terminal of so many rows and columns.
    pub fn of_size(sandbox: &Sandbox, size: (u16, u16), args: &[&str]) -> Terminal {
        Terminal::begin(size, on_its_terminal(sandbox, args), |_| {})
    }

    /// Any command; `change` may replace one of its streams.
    pub fn start_command(command: Command, change: impl Fn(&mut Command)) -> Terminal {
        Terminal::begin((24, 80), command, change)
    }

    fn begin(
        (rows, columns): (u16, u16),
        mut command: Command,
        change: impl Fn(&mut Command),
    ) -> Terminal {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
        // Or what runs on it would keep it open, and never hear that it was closed.
        for end in [&master, &slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a descriptor");
        }
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
    pub fn run(sandbox: &Sandbox, options: &[&str], command: &[&str]) -> Terminal {
        let rootfs = sandbox.rootfs();
        Terminal::start(sandbox, &[&["run"], options, &[rootfs.as_str()], command].concat())
    }

    /// Types keys.
    pub fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("keys");
    }

    /// Sends minibox a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("a signal");
    }

    /// Has minibox ended?
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// What it has shown.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("a lock")).into_owned()
    }

    /// Waits until it shows `text`.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let deadline = Instant::now() + patience();
        while !self.text().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The screen of `rows` and `columns` after everything that was shown, blanks at its edges cut off.
    pub fn screen(&self, rows: u16, columns: u16) -> String {
        let number = |number| NonZero::new(number).expect("a size above 0");
        let mut screen = vt100::Parser::new(number(rows), number(columns), 0);
        screen.process(&self.shown.lock().expect("a lock"));
        let contents = screen.screen().contents();
        contents.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Waits until the screen satisfies `condition`.
    #[track_caller]
    pub fn shows_screen(
        &self,
        (rows, columns): (u16, u16),
        what: &str,
        condition: impl Fn(&str) -> bool,
    ) {
        let deadline = Instant::now() + patience();
        while !condition(&self.screen(rows, columns)) {
            let screen = self.screen(rows, columns);
            assert!(Instant::now() < deadline, "not {what}:\n{screen}\n--- {:?}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Forgets what was shown so far.
    pub fn forget(&self) {
        self.shown.lock().expect("a lock").clear();
    }

    /// Changes the size, as a window manager would.
    pub fn resize(&self, rows: u16, columns: u16) {
        let mut stty = Command::new("stty");
        stty.args(["rows", &rows.to_string(), "cols", &columns.to_string()]);
        let status = stty.stdin(self.slave.try_clone().expect("a copy")).status();
        assert!(status.expect("stty").success());
    }

    /// Asks the shell inside until it tells `size`, rows and columns: a change travels as a signal.
    #[track_caller]
    pub fn has_size_inside(&mut self, size: &str) {
        self.forget();
        let mut asked = 0;
        wait_until(&format!("the size inside is {size}"), || {
            let text = self.text();
            let has_it = text.contains(&format!("size {size}\r\n"));
            if !has_it && text.matches("size ").count() >= asked {
                self.types("echo si''ze $(stty size)\r");
                asked += 1;
            }
            has_it
        });
    }

    /// Are keys passed on as they are typed?
    pub fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).expect("settings").local_flags.contains(LocalFlags::ICANON)
    }

    /// Has the terminal the settings that it had before minibox was started?
    pub fn is_as_before(&self) -> bool {
        tcgetattr(&self.slave).expect("settings") == self.before
    }

    /// Waits for minibox's end: its exit code. The terminal must be as before.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        wait_until("minibox has ended", || self.child.try_wait().expect("a child").is_some());
        assert!(self.is_as_before(), "the terminal's settings are not what they were");
        let status = self.child.wait().expect("a child");
        Ran::of(&std::process::Output { status, stdout: Vec::new(), stderr: Vec::new() }).code
    }
}

/// minibox as a session leader with the terminal as its own.
fn on_its_terminal(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.command("setsid".as_ref());
    command.arg("--ctty").arg(sandbox.program()).args(args);
    command
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

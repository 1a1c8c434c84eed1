//! Full-screen programs on a container's terminal, at several sizes: the screen is what it is without one.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use minibox_tests::{Caller, Sandbox, Terminal, skip, wait_until};

/// Rows and columns: the usual, a small and a large one.
const SIZES: [(u16, u16); 3] = [(24, 80), (7, 33), (60, 200)];

/// Everybody, where the root filesystem has busybox and with it vi, less and top.
fn callers() -> Vec<Caller> {
    let has_it = |caller: &Caller| {
        Path::new(&Sandbox::new(*caller).rootfs()).join("usr/bin/busybox").exists()
    };
    let callers: Vec<Caller> = Caller::all().into_iter().filter(has_it).collect();
    if callers.is_empty() {
        skip("!full-screen programs", "the root filesystem has no busybox");
    }
    callers
}

/// A container with a file of a hundred lines, on a terminal of this size.
fn start(sandbox: &Sandbox, size: (u16, u16), command: &[&str]) -> Terminal {
    let folder = sandbox.folder("files");
    let text: String = (1..=100).map(|number| format!("line {number}\n")).collect();
    fs::write(folder.join("text"), text).expect("write");
    sandbox.give(&folder.join("text"));
    let (volume, rootfs) = (format!("{}:/files", folder.display()), sandbox.rootfs());
    let args = ["run", "-it", "--rm", "--name", "c", "-v", &volume, &rootfs];
    Terminal::of_size(sandbox, size, &[&args[..], command].concat())
}

/// The lines of the file from `first` on, as many as there is room for beside `others` rows.
fn lines(first: u16, rows: u16, others: u16) -> String {
    (first..first + rows - others).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "line {number}");
        text
    })
}

#[test]
fn vi_edits_a_file() {
    for caller in callers() {
        for (rows, columns) in SIZES {
            let sandbox = Sandbox::new(caller);
            let size = (rows, columns);
            let mut terminal = start(&sandbox, size, &["busybox", "vi", "/files/text"]);
            let first = lines(1, rows, 1);
            terminal.shows_screen(size, "the first lines", |screen| {
                screen.starts_with(&first) && screen.contains("/files/text")
            });
            terminal.types("G");
            terminal.shows_screen(size, "the last line", |screen| {
                screen.contains("\nline 100\n") && !screen.contains("line 1\n")
            });
            // Cursor keys, in the form that the terminal's name promises.
            terminal.types("1G\u{1b}[B\u{1b}[BA and more\u{1b}");
            terminal.shows_screen(size, "the change", |screen| {
                screen.starts_with("line 1\nline 2\nline 3 and more\nline 4\n")
            });
            terminal.types(":wq\r");
            assert_eq!(terminal.end(), 0);
            let text = fs::read_to_string(sandbox.path("files/text")).expect("a file");
            assert!(text.contains("line 2\nline 3 and more\nline 4\n"));
        }
    }
}

#[test]
fn less_turns_pages() {
    for caller in callers() {
        for (rows, columns) in SIZES {
            let sandbox = Sandbox::new(caller);
            let size = (rows, columns);
            let mut terminal = start(&sandbox, size, &["busybox", "less", "/files/text"]);
            let first = lines(1, rows, 1);
            terminal.shows_screen(size, "the first page", |screen| screen.starts_with(&first));
            terminal.types(" ");
            let second = if 2 * rows < 100 { lines(rows, rows, 1) } else { "line ".into() };
            terminal.shows_screen(size, "the second page", |screen| {
                screen.starts_with(&second) && !screen.starts_with("line 1\n")
            });
            terminal.types("/line 77\r");
            terminal
                .shows_screen(size, "what was looked for", |screen| screen.contains("line 77\n"));
            terminal.types("q");
            assert_eq!(terminal.end(), 0);
        }
    }
}

#[test]
fn top_fills_the_screen() {
    for caller in callers() {
        for (rows, columns) in SIZES {
            let sandbox = Sandbox::new(caller);
            let size = (rows, columns);
            let mut terminal = start(&sandbox, size, &["busybox", "top", "-d", "1"]);
            terminal.shows_screen(size, "its head and itself", |screen| {
                screen.starts_with("Mem: ")
                    && screen.contains("Load average: ")
                    && screen.lines().any(|line| line.trim_start().starts_with("1 "))
            });
            let screen = terminal.screen(rows, columns);
            assert!(screen.lines().all(|line| line.chars().count() <= usize::from(columns)));
            terminal.types("q");
            assert_eq!(terminal.end(), 0);
        }
    }
}

#[test]
fn pythons_prompt_remembers() {
    for caller in callers() {
        for (rows, columns) in SIZES {
            let sandbox = Sandbox::new(caller);
            let size = (rows, columns);
            let mut terminal = start(&sandbox, size, &["python", "-q"]);
            terminal.shows_screen(size, "the prompt", |screen| screen.ends_with(">>>"));
            terminal.types("6 * 7\r");
            terminal.shows_screen(size, "the answer", |screen| screen.ends_with("\n42\n>>>"));
            // Up, left, another digit, and Home to put something before it.
            terminal.types("\u{1b}[A0\u{1b}[D\u{1b}[D1\u{1b}[H1 + \r");
            terminal.shows_screen(size, "the edited line, and its answer", |screen| {
                screen.ends_with(">>> 1 + 6 * 170\n1021\n>>>")
            });
            terminal.types("\u{4}");
            assert_eq!(terminal.end(), 0);
        }
    }
}

#[test]
fn a_screen_changes_its_size_with_the_window() {
    for caller in callers() {
        let sandbox = Sandbox::new(caller);
        let mut terminal = start(&sandbox, (24, 80), &["busybox", "vi", "/files/text"]);
        terminal.shows_screen((24, 80), "the file", |screen| screen.starts_with(&lines(1, 24, 1)));
        for (rows, columns) in [(40, 100), (10, 40)] {
            terminal.forget();
            terminal.resize(rows, columns);
            terminal.shows_screen((rows, columns), "the file", |screen| {
                screen.starts_with(&lines(1, rows, 1))
                    && !screen.contains(&format!("line {rows}\n"))
            });
        }
        terminal.types(":q\r");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn whoever_comes_sees_what_is_there() {
    for caller in callers() {
        let sandbox = Sandbox::new(caller);
        let size = (24, 80);
        let mut first = start(&sandbox, size, &["busybox", "vi", "/files/text"]);
        first.shows_screen(size, "the file", |screen| screen.starts_with(&lines(1, 24, 1)));
        first.types("50G");
        first.shows_screen(size, "line 50", |screen| screen.contains("line 50\n"));
        let before = first.screen(24, 80);
        // Another terminal of the same size; nobody presses a key.
        let mut second = Terminal::of_size(&sandbox, size, &["attach", "c"]);
        let text = |screen: &str| screen.lines().take(23).collect::<Vec<_>>().join("\n");
        second.shows_screen(size, "the same", |screen| text(screen) == text(&before));
        // What one types the other sees.
        second.types("1G");
        for terminal in [&first, &second] {
            terminal.shows_screen(size, "line 1", |screen| screen.starts_with("line 1\n"));
        }
        second.types("\u{10}\u{11}");
        assert_eq!(second.end(), 0);
        wait_until("the first is still there", || !first.has_ended());
        first.types(":q\r");
        assert_eq!(first.end(), 0);
    }
}

#[test]
fn exec_has_a_screen_too() {
    for caller in callers() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "c"], &["sleep", "1000"]);
        for size in SIZES {
            let mut terminal = Terminal::of_size(
                &sandbox,
                size,
                &["exec", "-it", "c", "busybox", "vi", "/etc/passwd"],
            );
            terminal.shows_screen(size, "the file", |screen| {
                screen.starts_with("root:") && screen.contains("/etc/passwd")
            });
            terminal.types("ihello \u{1b}");
            terminal.shows_screen(size, "the change", |screen| screen.starts_with("hello root:"));
            terminal.types(":q!\r");
            assert_eq!(terminal.end(), 0);
        }
    }
}

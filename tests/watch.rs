//! `minibox watch` on a real terminal: what it shows at several sizes, what its keys do, and that the terminal
//! is given back whatever happens.

use minibox_tests::{Caller, Sandbox, Terminal, wait_until};
use nix::sys::signal::Signal;

fn started(caller: Caller) -> Sandbox {
    let sandbox = Sandbox::new(caller);
    sandbox.start(&["--name", "web"], &["sleep", "1000"]);
    sandbox.run(&["--name", "over"], &["sh", "-c", "exit 3"]).code(3);
    sandbox
}

fn watch(sandbox: &Sandbox, size: (u16, u16)) -> Terminal {
    Terminal::of_size(sandbox, size, &["watch", "--interval", "0.2", "web"])
}

#[test]
fn at_any_size_it_shows_whom_it_is_about() {
    for caller in Caller::all() {
        let sandbox = started(caller);
        let pid = sandbox.pid("web").to_string();
        for (rows, columns) in [(24, 80), (50, 160), (12, 60)] {
            let mut terminal = watch(&sandbox, (rows, columns));
            let size = (rows, columns);
            terminal.shows_screen(size, "list, meters, tree", |screen| {
                ["containers: 2, alive: 1", "▶ web", "ended", "CPU", "RAM", &pid]
                    .iter()
                    .all(|text| screen.contains(text))
            });
            for (key, text) in [("2", "cgroup"), ("3", "The memory of"), ("4", "The threads of")] {
                terminal.types(key);
                terminal.shows_screen(size, text, |screen| screen.contains(text));
            }
            // What has ended tells why.
            terminal.types("k");
            terminal.shows_screen(size, "why", |screen| screen.contains("▶ over"));
            terminal.types("j");
            // A smaller window is filled anew.
            terminal.forget();
            terminal.resize(10, 50);
            terminal.shows_screen((10, 50), "smaller", |screen| screen.contains("▶ web"));
            terminal.types("q");
            assert_eq!(terminal.end(), 0, "{caller:?} {size:?}");
        }
    }
}

#[test]
fn keys_do_what_verbs_do() {
    for caller in Caller::all() {
        let sandbox = started(caller);
        let mut terminal = watch(&sandbox, (24, 80));
        let state = |field: &str| sandbox.inspect("web")["State"][field].clone();
        terminal.shows("web");
        terminal.types("p");
        wait_until("it is paused", || state("Paused") == true);
        terminal.types("p");
        wait_until("it goes on", || state("Paused") == false);
        let size = (24, 80);
        terminal.types("K");
        terminal.shows_screen(size, "a question", |screen| screen.contains("kill -9 web?"));
        terminal.types("n");
        terminal.shows_screen(size, "none", |screen| !screen.contains("kill -9 web?"));
        terminal.types("x");
        terminal.shows("$ minibox exec -it web sh");
        terminal.types("echo in''side; exit\n");
        terminal.shows("inside");
        terminal.shows("Enter goes back");
        terminal.types("\n");
        terminal.forget();
        terminal.types("3");
        terminal.shows_screen(size, "its memory", |screen| screen.contains("The memory of"));
        assert_eq!(state("Running"), true);
        terminal.types("K");
        terminal.shows_screen(size, "a question", |screen| screen.contains("kill -9 web?"));
        terminal.types("y");
        wait_until("it was killed", || state("Running") == false);
        assert_eq!(state("ExitCode"), 137);
        terminal.types("r");
        wait_until("it runs again", || state("Running") == true);
        terminal.types("q");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn signals_give_the_terminal_back() {
    for caller in Caller::all() {
        let sandbox = started(caller);
        for signal in [Signal::SIGTERM, Signal::SIGHUP] {
            let mut terminal = watch(&sandbox, (24, 80));
            terminal.shows("web");
            wait_until("it is raw", || terminal.is_raw());
            terminal.signal(signal);
            assert_eq!(terminal.end(), 0, "{signal}");
        }
    }
}

#[test]
fn without_a_terminal_it_says_so() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    sandbox.call(&["watch"]).code(125).says("watch needs a terminal");
}

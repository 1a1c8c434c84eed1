//! Tab in real shells: verbs, options, values, files, and the containers that a verb can do something with.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use minibox_tests::{Caller, Ran, Sandbox, has, skip};

/// What is typed before Tab, and the line after it. `DIR` is the sandbox's folder.
const LINES: [(&str, &str); 23] = [
    ("minibox ins", "minibox inspect "),
    ("minibox run --read", "minibox run --read-only "),
    ("minibox run --net h", "minibox run --net host "),
    ("minibox run --net=h", "minibox run --net=host "),
    ("minibox run -it --cap-add SYS_PTR", "minibox run -it --cap-add SYS_PTRACE "),
    // The one that runs, not its ended sibling; the one that has ended, not the one that runs.
    ("minibox stop w", "minibox stop webserver "),
    ("minibox exec -it w", "minibox exec -it webserver "),
    ("minibox rm w", "minibox rm website "),
    ("minibox --debug rm --force website w", "minibox --debug rm --force website webserver "),
    ("minibox volume rm ga", "minibox volume rm garden "),
    ("minibox inspect ga", "minibox inspect garden "),
    ("minibox run -v ga", "minibox run -v garden:"),
    ("minibox run -v ./my-f", "minibox run -v ./my-file "),
    ("minibox run -v garden:/my", "minibox run -v garden:/my"),
    ("minibox cp webse", "minibox cp webserver:"),
    ("minibox cp my-r", "minibox cp my-root/"),
    ("minibox container unp", "minibox container unpause "),
    ("minibox run --pid=container:webser", "minibox run --pid=container:webserver "),
    ("minibox run --rm ./my", "minibox run --rm ./my-root/"),
    ("minibox --data-dir=./my", "minibox --data-dir=./my-root/"),
    // The container's own words are none of the host's files.
    ("minibox run ./my-root ./my", "minibox run ./my-root ./my"),
    ("minibox exec webserver --for", "minibox exec webserver --for"),
    ("minibox nonsense --for", "minibox nonsense --for"),
];

/// A program in the sandbox's folder, with minibox in its path.
fn with_path(sandbox: &Sandbox, program: &str) -> Command {
    let mut command = sandbox.command(program.as_ref());
    let folder = sandbox.program().parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{folder}:{path}")).env("TERM", "xterm");
    command
}

/// Types `keys` on a terminal and gives what was shown until the shell ended.
fn typed(mut command: Command, keys: &str) -> String {
    let pty = nix::pty::openpty(None, None).expect("a pty");
    let end = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it starts");
    drop((command, pty.slave));
    let mut master = File::from(pty.master);
    master.write_all(keys.as_bytes()).expect("keys");
    let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
    }
    child.wait().expect("it ends");
    String::from_utf8_lossy(&shown).into_owned()
}

/// A container that runs, one that has ended, and a folder.
fn prepared(caller: Caller) -> Sandbox {
    let sandbox = Sandbox::new(caller);
    sandbox.start(&["--name", "webserver"], &["sleep", "1000"]);
    sandbox.run(&["--name", "website"], &["true"]).ok();
    sandbox.call(&["volume", "create", "garden"]).ok();
    sandbox.folder("my-root");
    fs::write(sandbox.path("my-file"), "").expect("a file");
    sandbox
}

/// Types each line and Tab; then goes to its beginning and has the shell print what it has become.
fn check_by_typing(program: &str, arguments: &[&str], setup: &str) {
    if !has(program) {
        return skip(&format!("completion in {program}"), "it is not installed");
    }
    for caller in Caller::all() {
        let sandbox = prepared(caller);
        let mut keys = format!("{setup}\r");
        for (line, _) in LINES {
            keys.extend([line, "\t\u{1}echo \"<\u{5}>\"\r"]);
        }
        keys.push_str("exit\r");
        let mut command = with_path(&sandbox, "setsid");
        command.arg("--ctty").arg(program).args(arguments);
        let shown = typed(command, &keys);
        for (line, wanted) in LINES {
            // zsh takes back what it has put after a word when the cursor leaves.
            let wanted =
                if program == "zsh" { wanted.trim_end_matches([' ', '/']) } else { wanted };
            assert!(shown.contains(&format!("<{wanted}>")), "{caller:?}: {line:?}: {shown}");
        }
    }
}

#[test]
fn tab_in_bash() {
    let setup = "set +o history; source <(minibox completion bash)";
    check_by_typing("bash", &["--norc", "--noprofile", "-i"], setup);
}

#[test]
fn tab_in_zsh() {
    let setup =
        "bindkey -e; autoload -U compinit; compinit -u -D; source <(minibox completion zsh)";
    check_by_typing("zsh", &["-f", "-i"], setup);
}

#[test]
fn tab_in_fish() {
    if !has("fish") {
        return skip("completion in fish", "it is not installed");
    }
    for caller in Caller::all() {
        let sandbox = prepared(caller);
        for (line, wanted) in LINES {
            let script =
                format!("minibox completion fish | source; complete --do-complete '{line}'");
            let mut fish = with_path(&sandbox, "fish");
            fish.args(["--no-config", "-c", &script]);
            let ran = Ran::of(&fish.output().expect("fish starts"));
            // The last word as it becomes, with what it is.
            let word = ran.ok().split('\t').next().unwrap_or_default().to_owned();
            let typed = line.rsplit(' ').next().unwrap_or_default();
            let wanted = wanted.trim_end().rsplit(' ').next().unwrap_or_default();
            let unchanged = if word.is_empty() { typed.to_owned() } else { word };
            assert_eq!(unchanged, wanted, "{caller:?}: {line:?}: {ran:?}");
        }
    }
}

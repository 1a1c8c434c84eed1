//! `prune`: what has ended goes, after a question; what runs stays.

use std::io::Write;
use std::process::Stdio;

use minibox_tests::{Caller, Ran, Sandbox};

/// `minibox prune OPTIONS`, and this typed into it.
fn prune(sandbox: &Sandbox, options: &[&str], typed: &str) -> Ran {
    let mut command = sandbox.minibox(&[&["prune"], options].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let _ = child.stdin.take().expect("stdin").write_all(typed.as_bytes());
    Ran::of(&child.wait_with_output().expect("it ends"))
}

fn left(sandbox: &Sandbox) -> String {
    sandbox.call(&["ps", "-a", "--format", "{{.Names}}"]).ok().replace('\n', " ")
}

#[test]
fn what_has_ended_is_removed_and_counted() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "on"], &["sleep", "1000"]);
        let script = "head -c 3000000 /dev/zero > /big";
        sandbox.run(&["--name", "over"], &["sh", "-c", script]).code(0);
        sandbox.call(&["create", "--name", "new", &sandbox.rootfs(), "true"]).code(0);
        let (over, new) =
            (sandbox.inspect("over")["Id"].clone(), sandbox.inspect("new")["Id"].clone());
        let ran = prune(&sandbox, &["-f"], "");
        assert!(ran.ok().starts_with("Deleted Containers:\n"), "{ran:?}");
        for id in [over, new] {
            assert!(ran.stdout.contains(id.as_str().expect("an id")), "{ran:?}");
        }
        assert!(ran.stdout.ends_with("\n\nTotal reclaimed space: 3MB\n"), "{ran:?}");
        assert_eq!(left(&sandbox), "on");
        assert_eq!(prune(&sandbox, &["-f"], "").stdout, "Total reclaimed space: 0B\n");
    }
}

#[test]
fn it_asks_first() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    sandbox.run(&["--name", "over"], &["true"]).code(0);
    let warning = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ";
    for answer in ["n\n", "\n", "no\n", "what?\n"] {
        let ran = prune(&sandbox, &[], answer);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, warning), "{answer:?}");
    }
    prune(&sandbox, &[], "").code(0).says("nobody answered; -f asks nobody");
    assert_eq!(left(&sandbox), "over");
    let ran = prune(&sandbox, &[], "Y\n");
    assert!(ran.ok().contains("Deleted Containers:"), "{ran:?}");
    assert_eq!(left(&sandbox), "");
}

#[test]
fn volumes_without_a_name_go_when_they_are_meant() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.call(&["volume", "create", "named"]).code(0);
        sandbox
            .run(&["-v", "/data", "-v", "named:/named"], &["sh", "-c", "echo 123 > /data/f"])
            .code(0);
        let volumes = || sandbox.call(&["volume", "ls", "-q"]).ok().lines().count();
        assert_eq!(volumes(), 2);
        prune(&sandbox, &["--volumes", "-f", "--filter", "until=1h"], "").code(125).says("until");
        prune(&sandbox, &["-f"], "").code(0);
        assert_eq!((left(&sandbox).as_str(), volumes()), ("", 2));
        let ran = prune(&sandbox, &["--volumes"], "y\n");
        assert!(ran.ok().contains("  - all anonymous volumes not used"), "{ran:?}");
        assert!(ran.stdout.contains("Deleted Volumes:\n"), "{ran:?}");
        assert!(ran.stdout.ends_with("Total reclaimed space: 4B\n"), "{ran:?}");
        assert_eq!(sandbox.call(&["volume", "ls", "-q"]).ok(), "named");
    }
}

#[test]
fn filters_choose() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    for (name, label) in [("a", "keep=no"), ("b", "keep=yes"), ("c", "x")] {
        sandbox.run(&["--name", name, "-l", label], &["true"]).code(0);
    }
    prune(&sandbox, &["-f", "--filter", "until=1h"], "").code(0);
    assert_eq!(left(&sandbox), "c b a");
    prune(&sandbox, &["-f", "--filter", "label=keep=no"], "").code(0);
    assert_eq!(left(&sandbox), "c b");
    prune(&sandbox, &["-f", "--filter", "label!=keep"], "").code(0);
    assert_eq!(left(&sandbox), "b");
    prune(&sandbox, &["-f", "--filter", "until=0s"], "").code(0);
    assert_eq!(left(&sandbox), "");
    prune(&sandbox, &["-f", "--filter", "name=a"], "")
        .code(125)
        .says("there is no filter \"name\"");
}

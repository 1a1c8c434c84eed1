//! `rename`: another name, whatever the container is doing.

use std::fs;
use std::os::unix::fs::symlink;

use minibox_tests::{Caller, Sandbox, wait_until};

#[test]
fn a_running_one_keeps_running_under_its_new_name() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--name", "old"], &["sleep", "1000"]);
        let pid = sandbox.pid("old");
        sandbox.call(&["rename", "old", "new"]).code(0);
        assert_eq!(sandbox.pid("new"), pid);
        assert_eq!(sandbox.inspect(&id[..8])["Name"], "new");
        sandbox.call(&["exec", "old", "true"]).code(125).says("there is no container \"old\"");
        sandbox.call(&["exec", "new", "true"]).code(0);
        sandbox.call(&["kill", "new"]).code(0);
        assert_eq!(sandbox.inspect("new")["State"]["ExitCode"], 137);
        // By its id, and back again; and the old name is free.
        sandbox.call(&["rename", &id[..10], "old"]).code(0);
        sandbox.start(&["--name", "new"], &["sleep", "1000"]);
    }
}

#[test]
fn one_in_the_foreground_ends_under_its_new_name() {
    for caller in Caller::all() {
        for options in [&[][..], &["--rm"]] {
            let sandbox = Sandbox::new(caller);
            let options = [&["--name", "old", "-i"], options].concat();
            let rootfs = sandbox.rootfs();
            let args =
                [&["run"], &options[..], &[&rootfs, "sh", "-c", "echo begun; read x; exit 4"]]
                    .concat();
            let mut command = sandbox.minibox(&args);
            command.stdin(std::process::Stdio::piped());
            let mut beside = minibox_tests::Beside::spawn(&mut command);
            beside.wait_for("begun");
            sandbox.call(&["rename", "old", "new"]).code(0);
            assert_eq!(sandbox.inspect("new")["State"]["Status"], "running");
            drop(beside.stdin());
            beside.end().code(4);
            if options.contains(&"--rm") {
                wait_until("it is gone", || sandbox.call(&["ps", "-aq"]).stdout.is_empty());
                assert_eq!(fs::read_dir(sandbox.path("data/names")).expect("a folder").count(), 0);
            } else {
                assert_eq!(sandbox.inspect("new")["State"]["ExitCode"], 4);
            }
        }
    }
}

#[test]
fn names_are_not_taken_from_others() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.run(&["--name", "one"], &["true"]).code(0);
        sandbox.run(&["--name", "two"], &["true"]).code(0);
        sandbox
            .call(&["rename", "one", "two"])
            .code(125)
            .says("the name \"two\" is taken")
            .says("minibox rm two");
        sandbox.call(&["rename", "one", "one"]).code(125).says("\"one\" is its name already");
        sandbox.call(&["rename", "one", "a/b"]).code(125).says("a/b");
        sandbox.call(&["rename", "nobody", "three"]).code(125).says("there is no container");
        assert_eq!(sandbox.inspect("one")["Name"], "one");
    }
}

#[test]
fn a_rename_that_was_killed_half_way_costs_no_name() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.run(&["--name", "one"], &["true"]).code(0);
        sandbox.run(&["--name", "two"], &["true"]).code(0);
        let names = sandbox.path("data/names");
        // The new name was taken, and nothing more.
        let one = fs::read_link(names.join("one")).expect("a link");
        for name in ["half", "other"] {
            symlink(&one, names.join(name)).expect("a link");
        }
        sandbox.call(&["inspect", "half"]).code(1).says("there is no container \"half\"");
        sandbox.call(&["rename", "two", "half"]).code(0);
        assert_ne!(sandbox.inspect("half")["Id"].as_str(), one.to_str());
        sandbox.call(&["rename", "one", "other"]).code(0);
        assert_eq!(sandbox.inspect("other")["Id"].as_str(), one.to_str());
        sandbox.call(&["inspect", "one"]).code(1);
    }
}

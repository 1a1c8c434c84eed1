//! exec: another program inside a running container, with no more rights than the first.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use minibox_tests::{Beside, Caller, Sandbox, is_alive, is_version_2, skip, wait_until};
use nix::sys::signal::Signal;

/// A sandbox with a running container `c`.
fn with_container(caller: Caller, options: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new(caller);
    sandbox.start(&[&["--name", "c"], options].concat(), &["sleep", "1000"]);
    sandbox
}

/// What `exec OPTIONS c sh -c SCRIPT` prints.
#[track_caller]
fn inside(sandbox: &Sandbox, options: &[&str], script: &str) -> String {
    let args = [&["exec"], options, &["c", "sh", "-c", script]].concat();
    sandbox.call(&args).ok().to_owned()
}

/// The host pid of the process whose whole command line is `words`.
fn find(words: &[&str]) -> Option<i32> {
    let wanted = words.iter().map(|word| format!("{word}\0")).collect::<String>();
    let numbers = fs::read_dir("/proc").expect("/proc").flatten();
    let mut pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c == wanted.as_bytes()))
}

/// Starts `exec OPTIONS c sleep N` with an N that nobody else has; the client and the host pid of sleep.
fn exec_sleep(sandbox: &Sandbox, options: &[&str], salt: u32) -> (Beside, i32) {
    let number = format!("8{}{salt}", std::process::id());
    let args = [&["exec"], options, &["c", "sleep", &number]].concat();
    let client = Beside::spawn(&mut sandbox.minibox(&args));
    let mut pid = None;
    wait_until("the program runs", || {
        pid = find(&["sleep", &number]);
        pid.is_some()
    });
    (client, pid.expect("a pid"))
}

#[test]
fn exit_codes_are_the_programs_or_dockers() {
    for caller in Caller::all() {
        let sandbox = with_container(caller, &[]);
        let exec = |script: &str| sandbox.call(&["exec", "c", "sh", "-c", script]);
        for code in [0, 1, 42, 255] {
            exec(&format!("exit {code}")).code(code);
        }
        exec("kill -9 $$").code(137);
        exec("kill -15 $$").code(143);
        let missing = sandbox.call(&["exec", "c", "no-such-program"]);
        missing.code(127).says("executable file not found: \"no-such-program\"");
        sandbox.call(&["exec", "c", "/etc"]).code(126).says("hint: /etc is a folder");
        sandbox.call(&["exec", "c", "/etc/passwd"]).code(126).says("chmod +x it");
        let nowhere = sandbox.call(&["exec", "-w", "/nowhere", "c", "true"]);
        nowhere.code(125).says("cannot enter the working directory /nowhere");
        assert!(is_alive(sandbox.pid("c")), "the container is as it was");
    }
}

#[test]
fn again_and_again_it_works() {
    for caller in Caller::all() {
        let sandbox = with_container(caller, &[]);
        let all = (0..60).map(|n| sandbox.call(&["exec", "c", "sh", "-c", &format!("exit {n}")]));
        let wrong: Vec<_> = all.enumerate().filter(|(n, ran)| ran.code != *n as i32).collect();
        assert!(wrong.is_empty(), "{caller:?}: {} of 60, such as {:?}", wrong.len(), wrong[0]);
    }
}

#[test]
fn only_a_running_container_can_be_entered() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let nobody = sandbox.call(&["exec", "nobody", "true"]);
        nobody.code(125).says("minibox: there is no container \"nobody\"\n  hint: `minibox ps -a`");
        sandbox.run(&["--name", "over"], &["true"]).code(0);
        let over = sandbox.call(&["exec", "over", "true"]);
        over.code(125).says("minibox: container over is not running\n  hint: ");
    }
}

#[test]
fn environment_and_folder_are_the_containers_and_what_was_asked() {
    for caller in Caller::all() {
        let sandbox =
            with_container(caller, &["-e", "A=1", "-e", "B=2", "-w", "/tmp", "-h", "box"]);
        assert_eq!(
            inside(&sandbox, &[], "echo $A $B $HOSTNAME; pwd; hostname"),
            "1 2 box\n/tmp\nbox"
        );
        assert_eq!(inside(&sandbox, &["-e", "B=3", "-e", "C=4"], "echo $A $B $C"), "1 3 4");
        assert_eq!(inside(&sandbox, &["-w", "/etc"], "pwd"), "/etc");
        let mut command = sandbox.minibox(&["exec", "-e", "MINE", "-e", "NOT_SET", "c", "env"]);
        let env = Beside::spawn(command.env("MINE", "yours")).end().ok().to_owned();
        assert!(env.contains("\nMINE=yours") && !env.contains("NOT_SET"), "{env}");
        assert!(!env.contains("MINIBOX"), "nothing else of the caller's: {env}");
        let first =
            fs::read_to_string(format!("/proc/{}/environ", sandbox.pid("c"))).expect("environ");
        let path = first.split('\0').find(|e| e.starts_with("PATH=")).expect("a PATH");
        assert!(env.lines().any(|line| line == path), "{env}");
    }
}

#[test]
fn users_are_looked_up_inside() {
    for caller in Caller::all() {
        let sandbox = with_container(caller, &[]);
        assert_eq!(inside(&sandbox, &[], "id -u; id -g"), "0\n0");
        let strangers = sandbox.call(&["exec", "-u", "kim", "c", "true"]);
        strangers.code(125).says("kim");
        if caller == Caller::SingleId {
            continue;
        }
        inside(
            &sandbox,
            &[],
            "echo kim:x:1234:1235::/home/kim:/bin/sh >> /etc/passwd; echo team:x:77:kim >> /etc/group",
        );
        assert_eq!(
            inside(&sandbox, &["-u", "kim"], "id -u; id -g; echo $HOME"),
            "1234\n1235\n/home/kim"
        );
        assert_eq!(inside(&sandbox, &["-u", "kim"], "id -G"), "1235 77");
        assert_eq!(inside(&sandbox, &["-u", "55:66"], "id -u; id -g"), "55\n66");
        assert_eq!(inside(&sandbox, &["-u", "kim:team"], "id -g"), "77");
    }
}

#[test]
fn without_u_it_runs_as_the_containers_own_user() {
    for caller in Caller::all().into_iter().filter(|caller| *caller != Caller::SingleId) {
        let sandbox = with_container(caller, &["-u", "1000:1001"]);
        assert_eq!(inside(&sandbox, &[], "id -u; id -g"), "1000\n1001");
        assert_eq!(inside(&sandbox, &["-u", "0"], "id -u"), "0");
    }
}

#[test]
fn it_has_every_namespace_and_the_cgroup_of_pid_1() {
    for caller in Caller::all() {
        let sandbox = with_container(caller, &[]);
        let (_client, pid) = exec_sleep(&sandbox, &[], 1);
        let first = sandbox.pid("c");
        let names = fs::read_dir(format!("/proc/{first}/ns")).expect("namespaces").flatten();
        let mut count = 0;
        for name in names.map(|entry| entry.file_name()) {
            let of = |pid: i32| {
                fs::read_link(Path::new("/proc").join(pid.to_string()).join("ns").join(&name))
            };
            assert_eq!(of(pid).expect("a link"), of(first).expect("a link"), "{name:?}");
            count += 1;
        }
        assert!(count >= 8, "{count}");
        let cgroup = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
        assert_eq!(cgroup(pid), cgroup(first));
        if caller.has_limits() {
            let path =
                sandbox.inspect("c")["Minibox"]["cgroup"].as_str().expect("a path").to_owned();
            assert!(cgroup(pid).contains(&path), "{} has no {path}", cgroup(pid));
        }
        let root = |pid: i32| fs::read_link(format!("/proc/{pid}/root")).expect("root");
        assert_eq!(root(pid), root(first));
    }
}

#[test]
fn it_has_no_more_rights_than_pid_1() {
    let rights =
        "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/$N/status; ulimit -c; cat /proc/$N/limits";
    for caller in Caller::all() {
        for options in
            [&[][..], &["--cap-drop", "ALL", "--cap-add", "CHOWN"], &["--cap-drop", "KILL"]]
        {
            let sandbox = with_container(caller, options);
            let own = inside(&sandbox, &[], &rights.replace("$N", "self"));
            assert_eq!(own, inside(&sandbox, &[], &rights.replace("$N", "1")), "{options:?}");
            assert!(own.contains("NoNewPrivs:\t1") && own.contains("CapInh:\t0000000000000000"));
            if caller != Caller::SingleId {
                let plain = inside(&sandbox, &["-u", "1000"], "grep ^Cap /proc/self/status");
                let line = |text: &str, key: &str| {
                    text.lines().find(|line| line.starts_with(key)).expect("a line").to_owned()
                };
                assert_eq!(line(&plain, "CapEff"), "CapEff:\t0000000000000000");
                assert_eq!(line(&plain, "CapBnd"), line(&own, "CapBnd"));
            }
        }
    }
}

#[test]
fn input_arrives_with_i_and_without_it_is_dev_null() {
    for caller in Caller::all() {
        let sandbox = with_container(caller, &[]);
        let mut command =
            sandbox.minibox(&["exec", "-i", "c", "sh", "-c", "cat; echo end >&2; exit 6"]);
        let mut client = Beside::spawn(command.stdin(Stdio::piped()));
        std::io::Write::write_all(&mut client.stdin(), b"one\ntwo").expect("write");
        let ran = client.end();
        assert_eq!((ran.code(6).stdout.as_str(), ran.stderr.as_str()), ("one\ntwo", "end\n"));
        assert_eq!(inside(&sandbox, &[], "readlink /proc/self/fd/0; cat"), "/dev/null");
    }
}

#[test]
fn with_d_it_goes_on_in_the_background() {
    for caller in Caller::all() {
        let sandbox = with_container(caller, &[]);
        let script =
            "while [ ! -e /go ]; do sleep 0.02; done; stat -L -c %t:%T /proc/$$/fd/1 > /done";
        let ran = sandbox.call(&["exec", "-d", "c", "sh", "-c", script]);
        assert_eq!((ran.ok(), ran.stderr.as_str()), ("", ""));
        inside(&sandbox, &[], "touch /go");
        let mut done = sandbox.call(&["exec", "c", "cat", "/done"]);
        wait_until("it has done its work", || {
            done = sandbox.call(&["exec", "c", "cat", "/done"]);
            !done.stdout.is_empty()
        });
        assert_eq!(done.stdout, "1:3\n", "/dev/null");
        sandbox.call(&["exec", "-d", "c", "no-such-program"]).code(127);
    }
}

#[test]
fn it_ends_with_its_client() {
    for caller in Caller::all() {
        let sandbox = with_container(caller, &[]);
        for (salt, options) in [&[][..], &["-i"], &["-t"]].into_iter().enumerate() {
            let (client, pid) = exec_sleep(&sandbox, options, 20 + salt as u32);
            client.signal(Signal::SIGKILL);
            client.end().code(137);
            wait_until(&format!("{options:?}: its program is gone"), || !is_alive(pid));
        }
        assert!(is_alive(sandbox.pid("c")), "the container goes on");
    }
}

#[test]
fn it_ends_with_its_container() {
    for caller in Caller::all() {
        let sandbox = with_container(caller, &[]);
        let (client, pid) = exec_sleep(&sandbox, &[], 30);
        sandbox.call(&["kill", "c"]).code(0);
        client.end().code(137);
        assert!(!is_alive(pid));
    }
}

#[test]
fn signals_to_the_client_reach_the_program() {
    for caller in Caller::all() {
        let sandbox = with_container(caller, &[]);
        for (salt, signal) in
            [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().enumerate()
        {
            let (client, _) = exec_sleep(&sandbox, &[], 40 + salt as u32);
            client.signal(signal);
            let ran = client.end();
            ran.code(128 + signal as i32);
            assert!(!ran.stderr.contains("PID 1"), "it is not PID 1: {ran:?}");
        }
    }
}

#[test]
fn no_descriptor_leaks_into_a_container() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        fs::write(sandbox.path("leak"), "").expect("write");
        let rootfs = sandbox.rootfs();
        let number = format!("9{}", std::process::id());
        let start = |args: &[&str]| {
            let mut shell = sandbox.command("sh".as_ref());
            shell.args(["-c", "exec 7<leak 8</ 9<leak; exec \"$@\"", "sh"]);
            Beside::spawn(shell.arg(sandbox.program()).args(args))
        };
        let running = [
            start(&["run", "--name", "c", &rootfs, "sleep", &format!("{number}1")]),
            start(&["run", "-t", &rootfs, "sleep", &format!("{number}2")]),
            start(&["run", "-d", &rootfs, "sleep", &format!("{number}3")]),
        ];
        wait_until("c runs", || sandbox.call(&["exec", "c", "true"]).code == 0);
        let joined = start(&["exec", "c", "sleep", &format!("{number}4")]);
        for which in 1..=4 {
            let program = ["sleep", &format!("{number}{which}")];
            wait_until("it runs", || find(&program).is_some());
            let pid = find(&program).expect("a process");
            let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").flatten();
            let mut open: Vec<_> = open.map(|e| e.file_name()).collect();
            open.sort();
            assert_eq!(open, ["0", "1", "2"], "of {program:?}");
            assert!(
                fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == Path::new("/"))
            );
        }
        drop((running, joined));
    }
}

/// As a systemd does, or an engine in a container: version 2 then has no place for it in the container's own.
#[test]
fn it_finds_a_place_where_the_program_has_divided_the_cgroup() {
    const TEST: &str = "exec into a divided cgroup";
    for caller in Caller::root_only(TEST) {
        if !is_version_2() {
            skip(TEST, "version 1 of cgroups has a place in each");
            continue;
        }
        let sandbox = Sandbox::new(caller);
        let divide = "cd /sys/fs/cgroup && mkdir first && echo 1 >first/cgroup.procs &&
            echo +pids >cgroup.subtree_control && echo divided; exec sleep 1000";
        let id = sandbox.start(&["--privileged"], &["sh", "-c", divide]);
        wait_until("it has divided it", || !sandbox.call(&["logs", &id]).stdout.is_empty());
        assert_eq!(sandbox.call(&["exec", &id, "cat", "/proc/self/cgroup"]).ok(), "0::/first");
    }
}

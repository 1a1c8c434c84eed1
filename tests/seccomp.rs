//! `minibox seccomp`: whether calls are filtered, and which of the mighty ones get through all the same.

use minibox_tests::{Beside, Caller, Ran, Sandbox, wait_until};
use serde_json::Value;
use std::process::Command;

fn json(ran: &Ran) -> Value {
    serde_json::from_str(ran.ok()).expect("JSON")
}

/// Tries some of the calls that cannot do harm, and prints which the kernel refuses.
const TRIES: &str = "import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, *args):
    done = getattr(libc, name)(*args)
    print(name, done == -1 and ctypes.get_errno() == errno.EPERM)
attempt('chroot', b'/')
attempt('sethostname', b'other', 5)
attempt('setdomainname', b'other', 5)
attempt('acct', b'/nonexistent')
attempt('swapon', b'/nonexistent', 0)";

#[test]
fn what_is_said_to_be_refused_is_refused() {
    for caller in Caller::all() {
        let unconfined = ["--security-opt", "seccomp=unconfined", "--cap-add", "SYS_ADMIN"];
        for options in
            [&[][..], &["--cap-add", "SYS_ADMIN"], &["--cap-drop", "SYS_CHROOT"], &unconfined]
        {
            let sandbox = Sandbox::new(caller);
            sandbox.start(&[&["--name", "web"], options].concat(), &["sleep", "1000"]);
            let seen = json(&sandbox.call(&["seccomp", "--format", "json", "web"]));
            let is_filtered = options != unconfined;
            let mode = if is_filtered { "filter" } else { "disabled" };
            assert_eq!((&seen["mode"], &seen["configured"]), (&mode.into(), &is_filtered.into()));
            let tried = sandbox.call(&["exec", "web", "python", "-c", TRIES]);
            assert_eq!(tried.ok().lines().count(), 5);
            for line in tried.ok().lines() {
                let (name, is_refused) = line.split_once(' ').expect("two words");
                let calls = seen["calls"].as_array().expect("a list");
                let call = calls.iter().find(|call| call["name"] == name).expect("known");
                let by_filter =
                    |list: &Value| list.as_array().is_some_and(|l| l.contains(&name.into()));
                let said = call["permitted"] == false || by_filter(&seen["refused"]);
                assert_eq!(said, is_refused == "True", "{caller:?} {options:?} {name}");
            }
            let text = sandbox.call(&["seccomp", "web"]);
            let said = text.ok().split_whitespace().collect::<Vec<_>>().join(" ");
            let sentence = if is_filtered {
                "calls: _sysctl acct add_key"
            } else {
                "No filter (seccomp mode 0): it may ask the kernel for every call there is. Its configuration asks for none"
            };
            assert!(said.contains(sentence) || options.contains(&"SYS_ADMIN"), "{said}");
            // Root of the host could, by his capabilities.
            let by_filter = caller == Caller::Root && options == ["--cap-add", "SYS_ADMIN"];
            let verdict = "swapon CAP_SYS_ADMIN refused by the filter";
            assert_eq!(said.contains(verdict), by_filter, "{caller:?} {said}");
        }
    }
}

#[test]
fn a_filter_of_the_programs_own_is_counted() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        // struct sock_filter { BPF_RET | BPF_K, SECCOMP_RET_ALLOW }, twice.
        let script = "import ctypes, struct, time
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000), 8)
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', 1, ctypes.addressof(code)), 16)
for number in range(2): libc.prctl(22, 2, program, 0, 0)
print('filtered', flush=True)
time.sleep(1000)";
        let free = ["--name", "web", "--security-opt", "seccomp=unconfined"];
        sandbox.start(&free, &["python", "-c", script]);
        wait_until("its filters", || sandbox.call(&["logs", "web"]).stdout.contains("filtered"));
        sandbox.start(&["--name", "own"], &["python", "-c", script]);
        wait_until("its filters", || sandbox.call(&["logs", "own"]).stdout.contains("filtered"));
        let seen = json(&sandbox.call(&["seccomp", "--format", "json", "web"]));
        assert_eq!((&seen["mode"], &seen["filters"]), (&"filter".into(), &2.into()), "{caller:?}");
        let own = json(&sandbox.call(&["seccomp", "--format", "json", "own"]));
        assert_eq!(own["filters"], 3);
        assert_eq!(seen["no_new_privileges"], true);
        let text = sandbox.call(&["seccomp", "web"]);
        let said = text.ok().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("filters on top of each other: 2."), "{said}");
        assert!(said.contains("the program has made it"), "{said}");
        let sleep = Beside::spawn(Command::new("sleep").arg("1000"));
        let other = json(&sandbox.call(&["seccomp", "--format", "json", &sleep.pid().to_string()]));
        assert_eq!(other["configured"], Value::Null);
    }
}

//! AppArmor profiles: what is asked for confines the program, or nothing runs.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use minibox_tests::{Caller, Sandbox, has, skip};

fn in_use() -> bool {
    Path::new("/proc/self/attr/apparmor/exec").exists()
}

/// Loads or removes a profile of this name, which allows everything but reading /etc/passwd.
fn parser(option: &str, name: &str) {
    let profile = format!(
        "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n\
         file, capability, network, mount, signal, ptrace, unix,\n\
         deny /etc/passwd r,\n}}\n"
    );
    let mut parser = Command::new("apparmor_parser");
    let mut parser = parser.arg(option).stdin(Stdio::piped()).spawn().expect("apparmor_parser");
    parser.stdin.take().expect("a pipe").write_all(profile.as_bytes()).expect("written");
    assert!(parser.wait().expect("it ends").success());
}

#[test]
fn a_profile_that_cannot_be_put_on_lets_nothing_run() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["--rm", "--security-opt", "apparmor=no-such-profile"], &["true"]);
        ran.code(125).says("no-such-profile");
        if in_use() {
            ran.says("no profile of this name is loaded");
        } else {
            ran.says("this kernel does not use AppArmor");
        }
        sandbox.run(&["--rm", "--security-opt", "apparmor=unconfined"], &["true"]).code(0);
        sandbox.run(&["--security-opt", "apparmor"], &["true"]).code(125).says("--security-opt");
    }
}

#[test]
fn a_profile_confines_the_program_and_what_joins_it() {
    const TEST: &str = "an AppArmor profile confines";
    if !in_use() || !has("apparmor_parser") {
        return skip(TEST, "this kernel does not use AppArmor, or apparmor_parser is missing");
    }
    for caller in Caller::root_only(TEST) {
        let sandbox = Sandbox::new(caller);
        let name = format!("minibox-test-{}", std::process::id());
        parser("-r", &name);
        let option = format!("apparmor={name}");
        let confined = format!("{name} (enforce)");
        for more in [&[][..], &["--init"], &["--pid", "host"]] {
            let options = [&["--rm", "--security-opt", &option], more].concat();
            let ran = sandbox.run(&options, &["cat", "/proc/self/attr/current"]);
            assert_eq!(ran.ok(), confined, "{more:?}");
            sandbox.run(&options, &["cat", "/etc/passwd"]).code(1).says("Permission denied");
        }
        sandbox.start(&["--name", "web", "--security-opt", &option], &["sleep", "1000"]);
        let exec = sandbox.call(&["exec", "web", "cat", "/proc/self/attr/current"]);
        assert_eq!(exec.ok(), confined);
        assert_eq!(sandbox.inspect("web")["AppArmorProfile"], name);
        sandbox.call(&["rm", "-f", "web"]).code(0);
        parser("-R", &name);
    }
}

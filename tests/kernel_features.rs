//! docs/kernel-features.md: what minibox does on a kernel that lacks something. The kernel is this one, and a
//! filter of system calls (kernel/older) makes the newer calls fail as an older one would.

use std::fs;
use std::process::Command;

use minibox_tests::{
    Caller, Ran, Sandbox, checkout, copy_program, has, is_alive, skip, wait_until,
};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// linux/pidfd.h, the first published size.
const PIDFD_GET_INFO: u32 = 0xc040_ff0b;
/// linux/sched.h.
const CLONE_NEWTIME: u32 = 0x80;

/// `number,argument,mask,value,errno` for kernel/older: the call fails whatever its arguments are.
fn missing(call: libc::c_long) -> String {
    format!("{call},-1,0,0,{}", Errno::ENOSYS as i32)
}

/// The call fails where this argument has these bits.
fn without(call: libc::c_long, argument: usize, mask: u32, value: u32, errno: Errno) -> String {
    format!("{call},{argument},{mask},{value},{}", errno as i32)
}

/// The command, on a kernel that lacks this.
fn on_an_older_kernel(sandbox: &Sandbox, rule: &str, inner: &Command) -> Command {
    let wrapper = checkout().join("tests/kernel/older").display().to_string();
    sandbox.around(&[&wrapper, rule], inner)
}

#[track_caller]
fn run(sandbox: &Sandbox, rule: &str, args: &[&str]) -> Ran {
    let mut command = on_an_older_kernel(sandbox, rule, &sandbox.minibox(args));
    Ran::of(&command.output().expect("it starts"))
}

/// Root, where kernel/older can run.
fn callers(test: &str) -> Vec<Caller> {
    if has("python3") && cfg!(target_arch = "x86_64") {
        return Caller::root_only(test);
    }
    skip(test, "needs python3 and an x86_64");
    Vec::new()
}

#[test]
fn what_is_needed_is_missed_by_the_step_that_needs_it() {
    for caller in callers("kernels that are too old") {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let all = [
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("fsopen", libc::SYS_fsopen),
            ("fsconfig", libc::SYS_fsconfig),
            ("fsmount", libc::SYS_fsmount),
            ("open_tree", libc::SYS_open_tree),
            ("move_mount", libc::SYS_move_mount),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("close_range", libc::SYS_close_range),
        ];
        for (name, call) in all {
            let ran = run(&sandbox, &missing(call), &["run", "--rm", &rootfs, "true"]);
            ran.code(125).says("ENOSYS").says("\n  step: ").says(name);
            sandbox.check_empty();
        }
    }
}

#[test]
fn where_there_are_no_keys_none_can_leak() {
    for caller in callers("kernels without keys") {
        let sandbox = Sandbox::new(caller);
        let ran =
            run(&sandbox, &missing(libc::SYS_keyctl), &["run", &sandbox.rootfs(), "echo", "hi"]);
        assert_eq!(ran.ok(), "hi");
    }
}

#[test]
fn a_strangers_exit_status_stays_unknown_before_6_15() {
    for caller in callers("PIDFD_GET_INFO is missing") {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--name", "c"], &["sleep", "1000"]);
        let keeper = sandbox.inspect("c")["Minibox"]["keeper"].as_i64().expect("a pid") as i32;
        let program = sandbox.pid(&id);
        kill(Pid::from_raw(keeper), Signal::SIGKILL).expect("kill");
        wait_until("the monitor is gone", || !is_alive(keeper));
        let rule = without(libc::SYS_ioctl, 1, u32::MAX, PIDFD_GET_INFO, Errno::ENOTTY);
        // The next verb starts another, which then lacks it.
        run(&sandbox, &rule, &["ps"]).code(0);
        kill(Pid::from_raw(program), Signal::SIGKILL).expect("kill");
        wait_until("it has ended", || sandbox.status("c") == "exited");
        let exit = sandbox.inspect("c")["Minibox"]["exit"].clone();
        assert!(exit["note"].as_str().is_some_and(|note| note.contains("before 6.15")), "{exit}");
    }
}

#[test]
fn the_seal_needs_no_flag_that_is_newer_than_the_memory() {
    for _ in callers("MFD_EXEC is missing") {
        let sandbox = Sandbox::new(Caller::SingleId);
        let own = sandbox.path("minibox");
        copy_program(&sandbox.program(), &own);
        sandbox.give(&own);
        let rule =
            without(libc::SYS_memfd_create, 1, libc::MFD_EXEC, libc::MFD_EXEC, Errno::EINVAL);
        let mut inner = sandbox.command(&own);
        inner.args(["run", "--name", "c", &sandbox.rootfs(), "sleep", "1000"]);
        let mut running =
            on_an_older_kernel(&sandbox, &rule, &inner).spawn().expect("minibox starts");
        wait_until("it runs", || sandbox.call(&["ps", "-q"]).stdout.lines().count() == 1);
        let keeper = sandbox.inspect("c")["Minibox"]["keeper"].as_i64().expect("a keeper");
        let exe = fs::read_link(format!("/proc/{keeper}/exe")).expect("exe");
        assert!(exe.display().to_string().contains("memfd:minibox"), "{}", exe.display());
        sandbox.call(&["kill", "c"]).code(0);
        running.wait().expect("wait");
    }
}

#[test]
fn a_wish_that_this_kernel_cannot_meet_is_an_error_that_says_so() {
    for caller in callers("wishes that need a newer kernel") {
        let sandbox = Sandbox::new(caller);
        let clocks = sandbox.configure(&[], &["true"], |config| {
            let all = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            all.push(serde_json::json!({"type": "time"}));
        });
        let rule = without(libc::SYS_unshare, 0, CLONE_NEWTIME, CLONE_NEWTIME, Errno::EINVAL);
        let ran = run(&sandbox, &rule, &["start", "-a", &clocks]);
        ran.code(125).says("take clocks of its own").says("this kernel has no time namespaces");
        let memory = sandbox.configure(&[], &["true"], |config| {
            config["linux"]["memoryPolicy"] = serde_json::json!({"mode": "MPOL_DEFAULT"});
        });
        let ran = run(&sandbox, &missing(libc::SYS_set_mempolicy), &["start", "-a", &memory]);
        ran.code(125).says("set_mempolicy").says("ENOSYS");
    }
}

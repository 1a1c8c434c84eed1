//! A container that has minibox itself executed inside gets no way to write its binary (CVE-2019-5736).

use std::fs;

use minibox_tests::{Caller, Sandbox, copy_program, wait_until};
use nix::sys::stat::Mode;

/// A store in which a record is a FIFO: whoever reads it waits for ever.
fn store_that_halts_minibox(sandbox: &Sandbox) -> String {
    let folder = sandbox.folder("store/containers/halt");
    nix::unistd::mkfifo(&folder.join("container.json"), Mode::S_IRWXU).expect("mkfifo");
    for path in ["store", "store/containers", "store/containers/halt/container.json"] {
        sandbox.give(&sandbox.path(path));
    }
    format!("{}:/store", sandbox.path("store").display())
}

#[test]
fn the_binary_of_minibox_cannot_be_written_from_inside() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let store = store_that_halts_minibox(&sandbox);
        let hostile =
            ["/proc/self/exe", "--data-dir", "/store", "--run-dir", "/run", "inspect", "halt"];
        sandbox.start(&["--name", "c", "-v", &store], &hostile);
        let cmdline =
            || fs::read(format!("/proc/{}/cmdline", sandbox.pid("c"))).unwrap_or_default();
        wait_until("minibox runs inside", || cmdline().ends_with(b"halt\0"));
        // Whoever owns the binary is asked only where he exists inside: a plain user knows no root.
        let look = "
import fcntl, os
seals = 0
fd = os.open('/proc/1/exe', os.O_RDONLY)
try: seals = fcntl.fcntl(fd, 1034)
except OSError: pass
read_only = os.fstatvfs(fd).f_flag & os.ST_RDONLY
foreign = os.fstat(fd).st_uid == 65534
print('sealed' if seals & 8 or read_only or foreign else 'open', len(os.read(fd, 100)))";
        assert_eq!(sandbox.call(&["exec", "c", "python", "-c", look]).ok(), "sealed 100");
    }
}

#[test]
fn a_plain_users_own_binary_is_sealed_too() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let own = sandbox.path("minibox");
        copy_program(&sandbox.program(), &own);
        sandbox.give(&own);
        // The process in the foreground shows what it was executed from.
        let mut command = sandbox.command(&own);
        let rootfs = sandbox.rootfs();
        let mut running = command
            .args(["run", "--name", "c", &rootfs, "sleep", "1000"])
            .spawn()
            .expect("minibox starts");
        wait_until("it runs", || sandbox.call(&["ps", "-q"]).stdout.lines().count() == 1);
        let keeper = sandbox.inspect("c")["Minibox"]["keeper"].as_i64().expect("a keeper");
        let exe = fs::read_link(format!("/proc/{keeper}/exe")).expect("exe");
        assert!(exe.display().to_string().contains("memfd:minibox"), "{}", exe.display());
        sandbox.call(&["kill", "c"]).code(0);
        running.wait().expect("wait");
    }
}

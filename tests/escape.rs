//! Nothing of the host can be reached through what minibox has open while it makes a container.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use minibox_tests::{Beside, Caller, Sandbox, wait_until};

#[test]
fn no_descriptor_leads_a_program_a_folder_or_a_mount_outside() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let outside = sandbox.folder("outside");
        fs::copy("/bin/true", outside.join("program")).expect("cp");
        fs::create_dir(outside.join("folder")).expect("mkdir");
        fs::set_permissions(outside.join("folder"), fs::Permissions::from_mode(0o777))
            .expect("chmod");
        sandbox.start(&["--name", "c"], &["sleep", "1000"]);
        for fd in 3..24 {
            for (name, target) in [("program", "outside/program"), ("folder", "outside/folder")] {
                let link = root.join(name);
                let _ = fs::remove_file(&link);
                symlink(format!("/proc/self/fd/{fd}/../{target}"), &link).expect("symlink");
            }
            assert_ne!(sandbox.run_on(&root, &["--rm"], &["/program"]).code, 0, "{fd}");
            let pwd = ["sh", "-c", "echo intruder > here"];
            sandbox.run_on(&root, &["--rm", "-w", "/folder"], &pwd);
            sandbox.run_on(&root, &["--rm", "--tmpfs", "/folder/made"], &["true"]);
            let here = format!("/proc/self/fd/{fd}/../outside/program");
            assert_ne!(sandbox.run_on(&root, &["--rm"], &[here.as_str()]).code, 0, "{fd}");
            assert_ne!(sandbox.call(&["exec", "c", &here]).code, 0, "{fd}");
        }
        assert_eq!(fs::read_dir(outside.join("folder")).expect("ls").count(), 0, "{caller:?}");
    }
}

#[test]
fn the_null_device_of_the_host_keeps_its_mode_and_owner() {
    for caller in Caller::root_only("the null device of the host") {
        let sandbox = Sandbox::new(caller);
        let before = fs::metadata("/dev/null").expect("stat");
        let script = "
import os
for fd in range(3):
    try: os.fchmod(fd, 0o1640); os.fchown(fd, 1, 1)
    except OSError: pass";
        sandbox.run(&["--rm"], &["python", "-c", script]);
        let mut command =
            sandbox.minibox(&["run", "--rm", &sandbox.rootfs(), "python", "-c", script]);
        command.stdout(fs::File::create("/dev/null").expect("null")).status().expect("run");
        sandbox.start(&["--name", "c"], &["sleep", "1000"]);
        sandbox.call(&["exec", "c", "python", "-c", script]);
        let after = fs::metadata("/dev/null").expect("stat");
        assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()));
    }
}

#[test]
fn exec_waits_until_the_container_has_a_root_of_its_own() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let args = ["run", "--step", "--name", "c", "-h", "inside", &rootfs, "sleep", "1000"];
        let mut run = Beside::spawn(sandbox.minibox(&args).stdin(std::process::Stdio::piped()));
        let mut stdin = run.stdin();
        wait_until("it halts", || run.printed()[1].contains("[Enter] goes on"));
        let exec = Beside::spawn(&mut sandbox.minibox(&["exec", "c", "hostname"]));
        std::io::Write::write_all(&mut stdin, &[b'\n'; 64]).expect("an Enter for every step");
        let ran = exec.end();
        assert_eq!(ran.ok(), "inside");
        sandbox.call(&["kill", "c"]).code(0);
    }
}

//! Which devices a container may open: the list of its cgroup, for root; a plain user has none, and no way
//! to make a node that opens anything.

use minibox_tests::{Caller, Ran, Sandbox};

/// /dev/kmsg, which every host has and no container: may it be made, and opened for writing?
const TRY_KMSG: [&str; 3] = [
    "python",
    "-c",
    "
import errno, os, stat
def tell(what, call):
    try:
        call()
        print(what, 'yes')
    except OSError as error: print(what, errno.errorcode[error.errno])
path = '/dev/kmsg-%d' % os.getpid()
tell('make', lambda: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 11)))
tell('open', lambda: os.open(path, os.O_WRONLY))",
];

#[track_caller]
fn lines(ran: &Ran) -> Vec<&str> {
    ran.ok().lines().collect()
}

#[test]
fn a_node_that_may_be_made_opens_nothing() {
    for caller in Caller::root_only("!the device list") {
        let sandbox = Sandbox::new(caller);
        assert_eq!(lines(&sandbox.run(&[], &TRY_KMSG)), ["make EPERM", "open ENOENT"]);
        let made = sandbox.run(&["--cap-add", "MKNOD"], &TRY_KMSG);
        assert_eq!(lines(&made), ["make yes", "open EPERM"]);
        // It is the list, and nothing else, that keeps it shut.
        let all = sandbox.run(&["--privileged"], &TRY_KMSG);
        assert_eq!(lines(&all), ["make yes", "open yes"]);
    }
}

#[test]
fn who_gains_power_later_is_bound_by_the_list_too() {
    for caller in Caller::root_only("the device list for exec") {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&[], &["sleep", "1000"]);
        let ran = sandbox.call(&[&["exec", "--privileged", &id][..], &TRY_KMSG].concat());
        assert_eq!(lines(&ran), ["make yes", "open EPERM"]);
    }
}

#[test]
fn a_disk_of_the_host_stays_shut() {
    for caller in Caller::root_only("disks of the host") {
        let sandbox = Sandbox::new(caller);
        // Whatever the numbers stand for: the list is asked before the kernel looks for a driver.
        let script = "mknod /dev/disk b 259 0 && dd if=/dev/disk of=/dev/null count=1";
        let ran = sandbox.sh(&["--cap-add", "MKNOD"], script);
        ran.code(1).says("/dev/disk").says("Operation not permitted");
    }
}

#[test]
fn a_plain_user_makes_no_node_at_all() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["--privileged"], &TRY_KMSG);
        assert_eq!(lines(&ran), ["make EPERM", "open ENOENT"], "{caller:?}");
    }
}

/// What opening `path` inside comes to, by flags of open(2).
const OPEN: &str = "
import errno, os, sys
for flags in os.O_RDONLY, os.O_WRONLY, os.O_RDWR:
    try:
        os.open(sys.argv[1], flags)
        print('yes', end=' ')
    except OSError as error: print(errno.errorcode[error.errno], end=' ')";

#[test]
fn a_device_that_was_asked_for_opens_as_far_as_was_asked() {
    for caller in Caller::root_only("--device in the device list") {
        let sandbox = Sandbox::new(caller);
        let open = |device: &str, path: &str| {
            let options = ["--cap-add", "SYSLOG", "--device", device];
            sandbox.run(&options, &["python", "-c", OPEN, path]).ok().to_owned()
        };
        assert_eq!(open("/dev/kmsg", "/dev/kmsg"), "yes yes yes");
        assert_eq!(open("/dev/kmsg:r", "/dev/kmsg"), "yes EPERM EPERM");
        assert_eq!(open("/dev/kmsg:/dev/deep/log", "/dev/deep/log"), "yes yes yes");
        assert_eq!(open("/dev/kmsg:/dev/log:w", "/dev/log"), "EPERM yes EPERM");
        // Not below /dev either.
        assert_eq!(open("/dev/kmsg:/srv/log:w", "/srv/log"), "EPERM yes EPERM");
    }
}

#[test]
fn a_device_keeps_its_mode_and_owner() {
    for caller in Caller::root_only("nodes of devices") {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("nodes");
        std::fs::create_dir(folder.join("deep")).expect("mkdir");
        for (name, minor) in [("mine", 5), ("deep/too", 7)] {
            make_node(&folder.join(name), minor);
        }
        std::fs::write(folder.join("file"), "no device").expect("write");
        let device = format!("{}:/dev/all", folder.display());
        let script = "cd /dev/all; find . -type c | sort; stat -c '%a %u:%g %t:%T' mine; head -c 2 mine | wc -c";
        let ran = sandbox.sh(&["--device", &device], script);
        assert_eq!(ran.ok(), "./deep/too\n./mine\n640 7:8 1:5\n2");
    }
}

fn make_node(path: &std::path::Path, minor: u64) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    use std::os::unix::fs::{PermissionsExt, chown};
    mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(1, minor)).expect("mknod");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o640)).expect("chmod");
    chown(path, Some(7), Some(8)).expect("chown");
}

#[test]
fn a_plain_user_gets_the_hosts_own_node() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let script = "head -c 2 /dev/mine | wc -c; head -c 3 /srv/other | wc -c";
        let options = ["--device", "/dev/zero:/dev/mine", "--device", "/dev/zero:/srv/other:r"];
        assert_eq!(sandbox.sh(&options, script).ok(), "2\n3", "{caller:?}");
    }
}

#[test]
fn devices_can_be_allowed_by_number() {
    for caller in Caller::root_only("--device-cgroup-rule") {
        let sandbox = Sandbox::new(caller);
        let options = ["--cap-add", "MKNOD", "--device-cgroup-rule", "c 1:11 w"];
        assert_eq!(lines(&sandbox.run(&options, &TRY_KMSG)), ["make yes", "open yes"]);
        let options = ["--cap-add", "MKNOD", "--device-cgroup-rule", "c *:11 r"];
        assert_eq!(lines(&sandbox.run(&options, &TRY_KMSG)), ["make yes", "open EPERM"]);
    }
    for caller in Caller::plain() {
        let ran = Sandbox::new(caller).run(&["--device-cgroup-rule", "c 1:11 w"], &["true"]);
        ran.code(0).says("minibox: --device-cgroup-rule: no effect, ");
    }
}

#[test]
fn a_device_among_the_volumes_opens() {
    for caller in Caller::root_only("devices among volumes") {
        let sandbox = Sandbox::new(caller);
        let open = |volume: &str, path: &str| {
            let options = ["--cap-add", "SYSLOG", "-v", volume];
            sandbox.run(&options, &["python", "-c", OPEN, path]).ok().to_owned()
        };
        assert_eq!(open("/dev/kmsg:/srv/log", "/srv/log"), "yes yes yes");
        let nodes = sandbox.folder("nodes");
        make_node(&nodes.join("kmsg"), 11);
        let folder = format!("{}:/srv", nodes.display());
        assert_eq!(open(&folder, "/srv/kmsg"), "EACCES EACCES EACCES");
        assert_eq!(open(&(folder + ":dev"), "/srv/kmsg"), "yes yes yes");
    }
}

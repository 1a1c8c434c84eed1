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

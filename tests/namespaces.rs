//! Each namespace is the container's own, and the old root is out of reach.

use minibox_tests::{Caller, Sandbox};

#[test]
fn every_namespace_differs_from_the_hosts() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let links = "cd /proc/self/ns; for n in pid net ipc mnt uts cgroup; do readlink $n; done";
        let inside = sandbox.sh(&[], links).ok().to_owned();
        for link in inside.lines() {
            let (kind, _) = link.split_once(':').expect("kind:[inode]");
            let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
            assert_ne!(host.to_string_lossy(), link, "{caller:?}");
        }
        assert_eq!(inside.lines().count(), 6);
    }
}

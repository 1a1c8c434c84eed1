//! `minibox mounts`: what is shown is what the process itself reads in /proc/self/mountinfo.

use std::process::Command;

use minibox_tests::{Caller, Ran, Sandbox, has};
use serde_json::Value;

fn see(sandbox: &Sandbox, target: &str) -> Value {
    let ran: Ran = sandbox.call(&["mounts", "--format", "json", target]);
    serde_json::from_str(ran.ok()).expect("JSON")
}

#[test]
fn mounts_are_those_that_are_seen_inside() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("with a blank").display().to_string();
        let bind = format!("{folder}:/shared:ro");
        let options =
            ["--name", "web", "-v", &bind, "-v", "data:/data", "--tmpfs", "/scratch:size=64k"];
        sandbox.start(&options, &["sleep", "1000"]);
        let inside = sandbox.call(&["exec", "web", "cat", "/proc/self/mountinfo"]);
        let seen = see(&sandbox, "web");
        let all = seen["mounts"].as_array().expect("mounts");
        assert_eq!(all.len(), inside.ok().lines().count());
        for (mount, line) in all.iter().zip(inside.ok().lines()) {
            let fields: Vec<&str> = line.split(' ').collect();
            let right = line.split_once(" - ").expect("two halves").1;
            let ours = format!("{} {} {}", mount["id"], mount["parent"], mount["mount_point"]);
            assert_eq!(ours, format!("{} {} {:?}", fields[0], fields[1], fields[4]), "{line}");
            assert!(right.starts_with(mount["fs_type"].as_str().expect("a type")), "{line}");
            let options = mount["options"].as_array().expect("options");
            let options: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
            assert_eq!(options.join(","), fields[5]);
        }
        let at = |place: &str| {
            let found = all.iter().find(|mount| mount["mount_point"] == place);
            found.unwrap_or_else(|| panic!("{place}: {seen}"))
        };
        assert_eq!(at("/shared")["callers_path"], folder.as_str());
        assert_eq!(
            (&at("/scratch")["callers_path"], seen["in_callers_mount_namespace"] == true),
            (&Value::Null, false)
        );
        let picture = sandbox.call(&["mounts", "web"]);
        let line = |place: &str| {
            let line = picture.ok().lines().find(|line| line.contains(place));
            line.unwrap_or_else(|| panic!("{place}: {picture:?}")).to_owned()
        };
        assert!(
            line("─ shared ").contains("  ro ") && line("─ shared ").contains(" of this host"),
            "{picture:?}"
        );
        assert!(line("─ data ").contains("volume data"), "{picture:?}");
        assert!(line("─ scratch ").contains("tmpfs: in RAM, at most 64KiB"), "{picture:?}");
        assert!(line("─ keys ").contains("masked by /dev/null"), "{picture:?}");
        assert!(line("─ firmware ").contains("masked by an empty folder"), "{picture:?}");
        assert!(
            picture.ok().contains("pivot_root(2) has put this tree in the place of the host's")
        );
        sandbox.call(&["rm", "-f", "web"]).code(0);
        sandbox.call(&["volume", "rm", "data"]).code(0);
    }
}

#[test]
fn the_hosts_own_and_what_is_hidden() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let seen = see(&sandbox, "self");
        let all = seen["mounts"].as_array().expect("mounts");
        assert_eq!(seen["in_callers_mount_namespace"], true);
        assert_eq!(seen["callers"], all.len());
        assert!(sandbox.call(&["mounts", "self"]).ok().contains("the same mounts as you"));
        // In a container one mount is put over another, on one place.
        let script =
            "mkdir -p /m/a && mount -t tmpfs one /m && mkdir /m/a && mount -t tmpfs two /m/a &&
            mount -t tmpfs three /m && exec sleep 1000";
        sandbox.start(&["--name", "web", "--cap-add", "SYS_ADMIN"], &["sh", "-c", script]);
        minibox_tests::wait_until("they are mounted", || {
            see(&sandbox, "web")["mounts"].to_string().contains("\"three\"")
        });
        let seen = see(&sandbox, "web");
        let of = |source: &str| {
            let all = seen["mounts"].as_array().expect("mounts");
            all.iter().find(|mount| mount["source"] == source).expect("a mount").clone()
        };
        assert_eq!(of("one")["hidden_by"], of("three")["id"], "{seen}");
        assert_eq!(of("two")["hidden_by"], of("three")["id"], "{seen}");
        assert_eq!(of("three")["hidden_by"], Value::Null);
        let picture = sandbox.call(&["mounts", "web"]);
        assert_eq!(picture.ok().matches(" (hidden)").count(), 2, "{picture:?}");
    }
}

#[test]
fn findmnt_says_the_same_of_this_host() {
    if !has("findmnt") {
        minibox_tests::skip("mounts beside findmnt", "findmnt is not installed");
        return;
    }
    for caller in Caller::root_only("mounts beside findmnt") {
        let sandbox = Sandbox::new(caller);
        let findmnt = Command::new("findmnt").args(["-rno", "ID,TARGET,FSTYPE"]).output();
        let findmnt = String::from_utf8(findmnt.expect("findmnt").stdout).expect("text");
        let seen = see(&sandbox, &std::process::id().to_string());
        let mut ours: Vec<String> = seen["mounts"]
            .as_array()
            .expect("mounts")
            .iter()
            .filter(|mount| !mount["mount_point"].to_string().contains(' '))
            .map(|mount| {
                let text = |key: &str| mount[key].as_str().unwrap_or_default().to_owned();
                format!("{} {} {}", mount["id"], text("mount_point"), text("fs_type"))
            })
            .collect();
        let mut theirs: Vec<&str> =
            findmnt.lines().filter(|line| !line.contains("\\x20")).collect();
        ours.sort();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }
}

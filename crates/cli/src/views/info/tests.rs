//! Machines that are not at hand, as folders with the files that would be read.

use std::path::Path;

use minibox_runtime::cgroup::{Hierarchy, Layout};

use super::findings::{Machine, State, Tried};

struct Fake {
    folder: tempfile::TempDir,
    machine: Machine,
}

fn fake(uid: u32, unified: bool, files: &[(&str, &str)]) -> Fake {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mount = folder.path().join("sys/fs/cgroup");
    let v1 = Hierarchy { mount: mount.clone(), controllers: vec!["memory".into()] };
    let layout = Layout { v1: if unified { vec![] } else { vec![v1] }, v2: Some(mount) };
    let machine = Machine {
        top: folder.path().to_owned(),
        uid,
        user: String::from("learner"),
        layout,
        filesystem: String::from("ext4"),
        tried: Tried {
            user_namespace: Ok(()),
            subordinate_ids: Ok(65536),
            overlay: Ok(()),
            idmapped_mount: Ok(()),
            pidfd: true,
        },
    };
    Fake { folder, machine }
}

impl Fake {
    #[track_caller]
    fn says(&self, name: &str, state: State, detail: &str, advice: &[&str]) {
        let findings = self.machine.findings();
        let finding = findings.iter().find(|finding| finding.name == name).expect(name);
        assert_eq!(finding.state, state, "{finding:?}");
        assert!(finding.detail.contains(detail), "{finding:?}");
        assert_eq!(finding.advice, advice, "{finding:?}");
    }
}

const UBUNTU: (&str, &str) =
    ("etc/os-release", "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"20.04\"\n");
const AMAZON: (&str, &str) = ("etc/os-release", "ID=\"amzn\"\nID_LIKE=\"fedora\"\n");
const SYSTEMD: (&str, &str) = ("run/systemd/system/x", "");

#[test]
fn a_switch_that_is_off_is_named_with_its_commands() {
    for (file, text, key) in [
        ("proc/sys/user/max_user_namespaces", "0\n", "user.max_user_namespaces = 15000"),
        (
            "proc/sys/kernel/unprivileged_userns_clone",
            "0\n",
            "kernel.unprivileged_userns_clone = 1",
        ),
        (
            "proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1\n",
            "kernel.apparmor_restrict_unprivileged_userns = 0",
        ),
    ] {
        let mut fake = fake(1000, true, &[UBUNTU, (file, text)]);
        fake.machine.tried.user_namespace = Err("Operation not permitted".into());
        fake.machine.tried.overlay = Err("Operation not permitted".into());
        let write = format!("echo '{key}' | sudo tee -a /etc/sysctl.d/90-minibox.conf");
        let advice = [write.as_str(), "sudo sysctl --system"];
        fake.says("user namespaces", State::No, key.split(' ').next().unwrap(), &advice);
        fake.says("overlay", State::No, "needs user namespaces first", &[]);
        fake.machine.uid = 0;
        let write = write.replace("sudo ", "");
        let advice = [write.as_str(), "sysctl --system"];
        fake.says("user namespaces", State::No, "", &advice);
    }
}

#[test]
fn an_old_kernel_is_told_apart() {
    let old = ("proc/sys/kernel/osrelease", "5.4.0-200-generic\n");
    fake(0, true, &[UBUNTU, old]).says(
        "kernel",
        State::No,
        "5.4.0-200-generic; 5.12 is needed",
        &["apt install --install-recommends linux-generic-hwe-20.04", "reboot"],
    );
    fake(1000, true, &[AMAZON, old]).says(
        "kernel",
        State::No,
        "",
        &["sudo amazon-linux-extras install kernel-5.15", "sudo reboot"],
    );
    let new = ("proc/sys/kernel/osrelease", "6.1.0");
    fake(0, true, &[new]).says("kernel", State::Yes, "6.1.0", &[]);
    fake(0, true, &[new]).says("pidfd", State::Yes, "exit codes are lost", &[]);
}

#[test]
fn subordinate_ids_get_a_range_that_nobody_has() {
    let ids = ("etc/subuid", "anna:100000:65536\nbert:300000:1000\n");
    let mut fake = fake(1000, true, &[UBUNTU, ids, ("etc/subgid", "anna:100000:65536\n")]);
    fake.machine.tried.subordinate_ids = Err("newuidmap is not installed".into());
    fake.says(
        "subordinate ids",
        State::Partly,
        "only your own id: newuidmap",
        &[
            "sudo apt install uidmap",
            "sudo usermod --add-subuids 301000-366535 --add-subgids 301000-366535 learner",
        ],
    );
    std::fs::create_dir_all(fake.folder.path().join("usr/bin")).unwrap();
    std::fs::write(fake.folder.path().join("usr/bin/newuidmap"), "").unwrap();
    for file in ["etc/subuid", "etc/subgid"] {
        std::fs::write(fake.folder.path().join(file), "learner:1:1\n").unwrap();
    }
    fake.says("subordinate ids", State::Partly, "", &[]);
}

#[test]
fn limits_are_what_systemd_hands_down() {
    let delegated = "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers";
    let linger = ["sudo loginctl enable-linger learner", "# then log in anew"];
    fake(1000, true, &[SYSTEMD]).says("limits", State::No, "no service manager", &linger);
    let some = fake(1000, true, &[SYSTEMD, (delegated, "memory pids\n")]);
    some.says(
        "limits",
        State::Partly,
        "hands you memory pids, and not cpu cpuset io",
        &[
            "sudo mkdir -p /etc/systemd/system/user@.service.d",
            "printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf",
            "sudo systemctl daemon-reload",
            "# then log in anew",
        ],
    );
    some.says("lingering", State::No, "log out", &linger[..1]);
    fake(1000, true, &[SYSTEMD, (delegated, "cpu cpuset io memory pids hugetlb\n")]).says(
        "limits",
        State::Yes,
        "pids hugetlb",
        &[],
    );
    let all = ("sys/fs/cgroup/cgroup.controllers", "cpu cpuset io pids\n");
    fake(0, true, &[AMAZON, all]).says(
        "limits",
        State::Partly,
        "no memory",
        &["grubby --update-kernel=ALL --args=cgroup_enable=memory", "reboot"],
    );
}

#[test]
fn version_1_is_left_by_a_kernel_parameter() {
    let parameter = "systemd.unified_cgroup_hierarchy=1";
    let sed = format!("sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{parameter} /' /etc/default/grub");
    let advice = [sed.as_str(), "sudo update-grub", "sudo reboot"];
    fake(1000, false, &[UBUNTU, SYSTEMD]).says("cgroups", State::Partly, "version 1", &advice);
    fake(1000, false, &[UBUNTU]).says("cgroups", State::Partly, "version 1", &[]);
    let swap = ("sys/fs/cgroup/memory.memsw.limit_in_bytes", "");
    fake(0, false, &[swap]).says("swap limits", State::Yes, "", &[]);
    let swap = ("sys/fs/cgroup/system.slice/memory.swap.max", "");
    fake(0, true, &[swap]).says("swap limits", State::Yes, "", &[]);
    let none = ["# start the kernel with the parameter swapaccount=1"];
    fake(0, true, &[]).says("swap limits", State::No, "", &none);
}

#[test]
fn a_data_folder_that_cannot_hold_layers_is_told() {
    let mut fake = fake(0, true, &[]);
    assert!(fake.folder.path().starts_with(Path::new("/")));
    fake.machine.filesystem = "nfs4".into();
    fake.says("layers", State::No, "nfs4", &["export MINIBOX_DATA_DIR=/a/folder/on/a/disk"]);
}

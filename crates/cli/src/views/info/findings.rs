//! What containers need or can use, whether it is there, and how to switch it on.

use std::path::PathBuf;

use minibox_runtime::cgroup::Layout;
use serde::Serialize;

/// Is it there?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Yes,
    Partly,
    No,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Finding {
    pub name: &'static str,
    pub state: State,
    pub detail: String,
    /// Commands that switch it on; none where that is not possible, or not needed.
    pub advice: Vec<String>,
}

fn yes(name: &'static str, detail: impl Into<String>) -> Finding {
    Finding { name, state: State::Yes, detail: detail.into(), advice: Vec::new() }
}

fn partly(name: &'static str, detail: impl Into<String>) -> Finding {
    Finding { state: State::Partly, ..yes(name, detail) }
}

fn no(name: &'static str, detail: impl Into<String>) -> Finding {
    Finding { state: State::No, ..yes(name, detail) }
}

impl Finding {
    fn advice<const N: usize>(mut self, commands: [String; N]) -> Finding {
        self.advice.extend(commands);
        self
    }
}

/// Which commands a distribution has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Debian,
    Fedora,
    Other,
}

/// What can only be found out by trying, in words where it fails.
#[derive(Debug)]
pub(super) struct Tried {
    pub user_namespace: Result<(), String>,
    /// The ids that are the caller's beside his own; why not, where there are none.
    pub subordinate_ids: Result<u32, String>,
    pub overlay: Result<(), String>,
    pub idmapped_mount: Result<(), String>,
    pub pidfd: bool,
}

/// The machine and the caller, as far as the findings ask.
#[derive(Debug)]
pub(super) struct Machine {
    /// `/`, but in tests.
    pub top: PathBuf,
    pub uid: u32,
    pub user: String,
    pub layout: Layout,
    /// Of the folder with the layers.
    pub filesystem: String,
    pub tried: Tried,
}

/// The controllers that limits need.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

impl Machine {
    fn read(&self, path: &str) -> Option<String> {
        Some(std::fs::read_to_string(self.top.join(path)).ok()?.trim().to_owned())
    }

    fn has(&self, path: &str) -> bool {
        self.top.join(path).exists()
    }

    fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// A value of /etc/os-release, os-release(5).
    pub(super) fn release(&self, key: &str) -> String {
        let text = self.read("etc/os-release").unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    }

    fn family(&self) -> Family {
        let ids = format!("{} {}", self.release("ID"), self.release("ID_LIKE"));
        let is = |names: &[&str]| ids.split_whitespace().any(|id| names.contains(&id));
        if is(&["debian", "ubuntu"]) {
            Family::Debian
        } else if is(&["fedora", "rhel", "centos", "amzn"]) {
            Family::Fedora
        } else {
            Family::Other
        }
    }

    /// Everything, in the order in which a container needs it.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.kernel(), self.namespaces(), self.user_namespaces()];
        if !self.is_root() {
            findings.push(self.subordinate_ids());
        }
        findings.extend([self.overlay(), self.layers()]);
        if self.is_root() {
            findings.push(self.idmapped_mounts());
        }
        findings.extend([self.cgroups(), self.limits(), self.swap(), self.pidfd(), self.seccomp()]);
        findings.extend([self.apparmor(), self.selinux(), self.systemd()]);
        if !self.is_root() && self.has("run/systemd/system") {
            findings.push(self.lingering());
        }
        findings.extend([
            self.device("network tunnels", "dev/net/tun", "tun"),
            self.device("FUSE", "dev/fuse", "fuse"),
        ]);
        for command in findings.iter_mut().flat_map(|finding| &mut finding.advice) {
            if self.is_root() {
                *command = command.replace("sudo ", "");
            }
        }
        findings
    }

    /// Its version, in two numbers.
    fn version(&self) -> (String, (u32, u32)) {
        let release = self.read("proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers =
            release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        (release, version)
    }

    fn kernel(&self) -> Finding {
        let (release, version) = self.version();
        if version >= (5, 12) {
            return yes("kernel", format!("{release}; 5.12 is needed"));
        }
        let newer = match (self.release("ID").as_str(), self.family()) {
            ("ubuntu", _) => {
                format!(
                    "sudo apt install --install-recommends linux-generic-hwe-{}",
                    self.release("VERSION_ID")
                )
            }
            (_, Family::Debian) => {
                format!(
                    "sudo apt install -t {}-backports linux-image-amd64",
                    self.release("VERSION_CODENAME")
                )
            }
            ("amzn", _) => String::from("sudo amazon-linux-extras install kernel-5.15"),
            (_, Family::Fedora) => String::from("sudo dnf upgrade kernel"),
            _ => String::from("# install a kernel of 5.12 or later"),
        };
        no("kernel", format!("{release}; 5.12 is needed"))
            .advice([newer, String::from("sudo reboot")])
    }

    fn namespaces(&self) -> Finding {
        let all = ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time"];
        let (there, missing): (Vec<&str>, Vec<&str>) =
            all.into_iter().partition(|name| self.has(&format!("proc/self/ns/{name}")));
        match missing.as_slice() {
            [] => yes("namespaces", there.join(" ")),
            missing => {
                no("namespaces", format!("this kernel was built without {}", missing.join(" ")))
            }
        }
    }

    fn user_namespaces(&self) -> Finding {
        let name = "user namespaces";
        let sysctl = |name: &str| self.read(&format!("proc/sys/{}", name.replace('.', "/")));
        let most = sysctl("user.max_user_namespaces").unwrap_or_default();
        let Err(why) = &self.tried.user_namespace else {
            return yes(name, format!("up to {most} of them"));
        };
        for (key, wrong, right, who) in [
            ("user.max_user_namespaces", "0", "15000", "switched off"),
            ("kernel.unprivileged_userns_clone", "0", "1", "Debian keeps plain users from them"),
            (
                "kernel.apparmor_restrict_unprivileged_userns",
                "1",
                "0",
                "AppArmor keeps plain users from them",
            ),
        ] {
            if sysctl(key).as_deref() == Some(wrong) {
                return no(name, format!("{who}: {key} is {wrong}")).advice([
                    format!("echo '{key} = {right}' | sudo tee -a /etc/sysctl.d/90-minibox.conf"),
                    String::from("sudo sysctl --system"),
                ]);
            }
        }
        no(name, format!("{why}; inside another container, that one must be allowed to make them"))
    }

    fn subordinate_ids(&self) -> Finding {
        let name = "subordinate ids";
        let why = match &self.tried.subordinate_ids {
            Ok(count) => return yes(name, format!("{count} ids beside your own")),
            Err(why) => why,
        };
        let mut finding = partly(name, format!("only your own id: {why}"));
        if !["usr/bin/newuidmap", "bin/newuidmap"].iter().any(|path| self.has(path)) {
            finding = finding.advice([self.install("uidmap", "shadow-utils")]);
        }
        let ranges = |file: &str| self.read(file).unwrap_or_default();
        let both = ranges("etc/subuid") + "\n" + &ranges("etc/subgid");
        let ends = both.lines().filter_map(|line| {
            let mut fields = line.split(':').skip(1).map(|field| field.trim().parse::<u64>().ok());
            Some(fields.next()?? + fields.next()??)
        });
        let first = ends.max().unwrap_or(0).max(100_000);
        let has_range = |file: &str| {
            let ids = [self.user.clone(), self.uid.to_string()];
            ranges(file).lines().any(|line| ids.iter().any(|id| line.split(':').next() == Some(id)))
        };
        if !has_range("etc/subuid") || !has_range("etc/subgid") {
            let range = format!("{first}-{}", first + 65535);
            finding = finding.advice([format!(
                "sudo usermod --add-subuids {range} --add-subgids {range} {}",
                self.user
            )]);
        }
        finding
    }

    fn overlay(&self) -> Finding {
        let who = if self.is_root() { "" } else { ", in a user namespace too" };
        match &self.tried.overlay {
            Ok(()) => yes("overlay", format!("mounted for a try{who}")),
            Err(_) if self.tried.user_namespace.is_err() => {
                no("overlay", "needs user namespaces first; until then --rw")
            }
            Err(why) => no("overlay", format!("{why}; without it, only --rw")).advice([
                String::from("sudo modprobe overlay"),
                String::from("echo overlay | sudo tee /etc/modules-load.d/overlay.conf"),
            ]),
        }
    }

    fn layers(&self) -> Finding {
        match self.filesystem.as_str() {
            "overlay" => partly(
                "layers",
                "what containers write lies in memory: the data folder is on an overlay",
            )
            .advice([String::from("export MINIBOX_DATA_DIR=/a/folder/on/a/disk")]),
            "nfs" | "nfs4" | "cifs" | "9p" | "vfat" | "exfat" => no(
                "layers",
                format!("the data folder is on {}, which cannot hold them", self.filesystem),
            )
            .advice([String::from("export MINIBOX_DATA_DIR=/a/folder/on/a/disk")]),
            other => yes("layers", format!("on {other}")),
        }
    }

    fn idmapped_mounts(&self) -> Finding {
        match &self.tried.idmapped_mount {
            Ok(()) => yes("idmapped mounts", format!("on {}", self.filesystem)),
            Err(why) => no("idmapped mounts", why),
        }
    }

    fn cgroups(&self) -> Finding {
        if self.layout.is_unified() {
            return yes("cgroups", "version 2");
        }
        if self.layout.v1.is_empty() {
            return no("cgroups", "none are mounted; so no limits");
        }
        let beside = if self.layout.v2.is_some() { ", and 2 beside it for names only" } else { "" };
        let finding = partly("cgroups", format!("version 1{beside}: limits for root alone"));
        self.unified(finding)
    }

    /// Adds how version 2 becomes the only one, where systemd mounts them.
    fn unified(&self, finding: Finding) -> Finding {
        if self.has("run/systemd/system") {
            return self.kernel_parameter(finding, "systemd.unified_cgroup_hierarchy=1");
        }
        finding
    }

    fn kernel_parameter(&self, finding: Finding, parameter: &str) -> Finding {
        let reboot = String::from("sudo reboot");
        match self.family() {
            Family::Debian => finding.advice([
                format!("sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{parameter} /' /etc/default/grub"),
                String::from("sudo update-grub"),
                reboot,
            ]),
            Family::Fedora => finding
                .advice([format!("sudo grubby --update-kernel=ALL --args={parameter}"), reboot]),
            Family::Other => {
                finding.advice([format!("# start the kernel with the parameter {parameter}")])
            }
        }
    }

    fn install(&self, debian: &str, fedora: &str) -> String {
        match self.family() {
            Family::Debian => format!("sudo apt install {debian}"),
            Family::Fedora => format!("sudo dnf install {fedora}"),
            Family::Other => {
                format!("# install the package {debian}, or {fedora}, as it is called here")
            }
        }
    }

    /// Which controllers the caller may use; `None` where no cgroup is his.
    fn controllers(&self) -> Option<Vec<String>> {
        let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
        if !self.layout.is_unified() {
            let named = self.layout.v1.iter().flat_map(|hierarchy| hierarchy.controllers.clone());
            // Version 1 calls it by another name.
            let named = named.map(|name| if name == "blkio" { String::from("io") } else { name });
            return self.is_root().then(|| named.collect());
        }
        if self.is_root() {
            return self.read("sys/fs/cgroup/cgroup.controllers").map(words);
        }
        let uid = self.uid;
        let own = format!(
            "sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers"
        );
        self.read(&own).map(words)
    }

    fn limits(&self) -> Finding {
        let controllers = self.controllers().unwrap_or_default();
        let missing: Vec<&str> =
            CONTROLLERS.into_iter().filter(|name| !controllers.iter().any(|c| c == name)).collect();
        let name = "limits";
        if self.is_root() {
            if missing.is_empty() {
                return yes(name, CONTROLLERS.join(" "));
            }
            let finding = partly(name, format!("this kernel has no {}", missing.join(" ")));
            if missing.contains(&"memory") {
                return self.kernel_parameter(finding, "cgroup_enable=memory");
            }
            return finding;
        }
        if !self.layout.is_unified() {
            let finding = no(name, "cgroups of version 1 are handed to root alone");
            return self.unified(finding);
        }
        if !self.has("run/systemd/system") {
            return no(name, "no systemd is there to hand a cgroup to you");
        }
        if controllers.is_empty() {
            return no(name, "no cgroup is yours: systemd runs no service manager for you").advice(
                [
                    format!("sudo loginctl enable-linger {}", self.user),
                    String::from("# then log in anew"),
                ],
            );
        }
        let (has, missing) = (controllers.join(" "), missing.join(" "));
        if missing.is_empty() {
            return yes(name, format!("systemd hands you {has}"));
        }
        let finding = partly(name, format!("systemd hands you {has}, and not {missing}"));
        finding.advice([
            String::from("sudo mkdir -p /etc/systemd/system/user@.service.d"),
            String::from("printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf"),
            String::from("sudo systemctl daemon-reload"),
            String::from("# then log in anew"),
        ])
    }

    fn swap(&self) -> Finding {
        let name = "swap limits";
        let file = if self.layout.is_unified() {
            "memory.swap.max"
        } else {
            "memory.memsw.limit_in_bytes"
        };
        let hierarchies = self.layout.hierarchies();
        let mounts = hierarchies.iter().filter(|hierarchy| {
            self.layout.is_unified() || hierarchy.controllers.iter().any(|name| name == "memory")
        });
        // The root of version 2 has no limits; any folder below it shows what there is.
        let is_there = |mount: &PathBuf| {
            let below = std::fs::read_dir(mount).into_iter().flatten().flatten();
            mount.join(file).exists()
                || below.into_iter().any(|entry| entry.path().join(file).exists())
        };
        if mounts.map(|hierarchy| &hierarchy.mount).any(is_there) {
            return yes(name, "counted and limited");
        }
        let finding = no(name, "the kernel does not count swap: --memory-swap has no effect");
        self.kernel_parameter(finding, "swapaccount=1")
    }

    fn pidfd(&self) -> Finding {
        let (_, version) = self.version();
        match (self.tried.pidfd, version >= (6, 15)) {
            (false, _) => no("pidfd", "processes cannot be held; a kernel of 5.12 could"),
            (true, false) => {
                yes("pidfd", "exit codes are lost where a monitor was killed: 6.15 keeps them")
            }
            (true, true) => yes("pidfd", "exit codes are known whoever was killed"),
        }
    }

    fn seccomp(&self) -> Finding {
        if !self.has("proc/sys/kernel/seccomp/actions_avail") {
            return no("seccomp", "this kernel was built without");
        }
        let status = self.read("proc/self/status").unwrap_or_default();
        let filtered =
            status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2'));
        let detail = if filtered { "there, and this very process is filtered" } else { "there" };
        yes("seccomp", detail)
    }

    fn apparmor(&self) -> Finding {
        if self.read("sys/module/apparmor/parameters/enabled").as_deref() != Some("Y") {
            return no("AppArmor", "not in use");
        }
        let profile = self.read("proc/self/attr/current").unwrap_or_default();
        yes(
            "AppArmor",
            match profile.as_str() {
                "" => "in use; minibox runs unconfined".to_owned(),
                profile => format!("in use; minibox runs as {profile}"),
            },
        )
    }

    fn selinux(&self) -> Finding {
        match self.read("sys/fs/selinux/enforce").as_deref() {
            Some("1") => yes("SELinux", "enforcing"),
            Some(_) => partly("SELinux", "permissive"),
            None => no("SELinux", "not in use"),
        }
    }

    fn systemd(&self) -> Finding {
        if self.has("run/systemd/system") {
            yes("systemd", "containers can be started at boot")
        } else {
            no("systemd", "not in use here: nothing starts containers at boot")
        }
    }

    fn lingering(&self) -> Finding {
        if self.has(&format!("var/lib/systemd/linger/{}", self.user)) {
            return yes("lingering", "your containers may outlive your login");
        }
        no(
            "lingering",
            "what you leave running may end when you log out, and nothing starts at boot",
        )
        .advice([format!("sudo loginctl enable-linger {}", self.user)])
    }

    fn device(&self, name: &'static str, path: &str, module: &str) -> Finding {
        if self.has(path) {
            return yes(name, format!("--device /{path}"));
        }
        no(name, format!("there is no /{path}")).advice([
            format!("sudo modprobe {module}"),
            format!("echo {module} | sudo tee /etc/modules-load.d/{module}.conf"),
        ])
    }
}

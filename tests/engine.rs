//! `minibox-oci`, as an engine calls it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{Caller, Ran, Sandbox, wait_until};

/// A bundle of one caller's, and a root of its own for the states. Dropping it deletes every container and
/// fails the test where anything is left.
#[derive(Debug)]
pub struct Engine {
    /// Where all of it is: `bundle`, `states`, and `out` for the test's own use.
    pub sandbox: Sandbox,
    /// minibox by its other name.
    pub program: PathBuf,
    /// What is said before each verb.
    pub options: Vec<&'static str>,
}

impl Engine {
    /// One with a bundle of the demo's root filesystem.
    pub fn new(caller: Caller) -> Engine {
        let sandbox = Sandbox::new(caller);
        let program = sandbox.path("minibox-oci");
        std::os::unix::fs::symlink(sandbox.program(), &program).expect("a link");
        let engine = Engine { sandbox, program, options: Vec::new() };
        for folder in ["bundle", "states", "out"] {
            engine.sandbox.folder(folder);
        }
        let rootless: &[&str] = if caller == Caller::Root { &[] } else { &["--rootless"] };
        engine.call(&[&["spec", "-b", "bundle"], rootless].concat()).ok();
        let rootfs = engine.sandbox.rootfs();
        engine.config(|config| {
            config["root"]["path"] = json!(rootfs);
            config["process"]["terminal"] = json!(false);
        });
        engine
    }

    /// One for each caller that the present user can be.
    pub fn all() -> impl Iterator<Item = Engine> {
        Caller::all().into_iter().map(Engine::new)
    }

    /// A file of the sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path(name)
    }

    /// Changes config.json.
    pub fn config(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path("bundle/config.json");
        let mut config = serde_json::from_slice(&fs::read(&path).expect("it")).expect("JSON");
        change(&mut config);
        fs::write(&path, config.to_string()).expect("write");
    }

    /// What the next container executes.
    pub fn program(&self, args: &[&str]) {
        self.config(|config| config["process"]["args"] = json!(args));
    }

    /// A name that no other test has: it is a cgroup's too.
    pub fn id(&self, name: &str) -> String {
        let folder = self.path("").display().to_string();
        let end = folder.trim_end_matches('/').rsplit('-').next().unwrap_or_default().to_owned();
        format!("{name}-{end}")
    }

    /// `minibox-oci` with `args`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.command(&self.program);
        command.args(&self.options).arg("--root").arg(self.path("states")).args(args);
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().expect("it starts"))
    }

    /// For verbs after which a process goes on that has their streams.
    #[track_caller]
    pub fn quietly(&self, args: &[&str]) -> Ran {
        let errors = self.path("errors");
        let file = fs::File::create(&errors).expect("a file");
        let mut command = self.command(args);
        command.stdout(Stdio::null()).stderr(file);
        let code = command.status().expect("it starts").code().unwrap_or(-1);
        Ran { code, stdout: String::new(), stderr: fs::read_to_string(&errors).expect("errors") }
    }

    /// Makes a container of the bundle.
    #[track_caller]
    pub fn create(&self, id: &str) -> Ran {
        self.quietly(&["create", "-b", "bundle", id])
    }

    /// A container that runs `args`.
    #[track_caller]
    pub fn running(&self, name: &str, args: &[&str]) -> String {
        let id = self.id(name);
        self.program(args);
        self.create(&id).ok();
        self.call(&["start", &id]).ok();
        id
    }

    /// runtime-spec's state.
    #[track_caller]
    pub fn state(&self, id: &str) -> Value {
        serde_json::from_str(self.call(&["state", id]).ok()).expect("JSON")
    }

    /// What a container is doing.
    #[track_caller]
    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().expect("a status").to_owned()
    }

    /// Waits until it does that.
    #[track_caller]
    pub fn wait_for(&self, id: &str, status: &str) {
        wait_until(&format!("{id} is {status}"), || self.status(id) == status);
    }

    /// Its first process's pid on the host.
    #[track_caller]
    pub fn pid(&self, id: &str) -> i32 {
        self.state(id)["pid"].as_i64().expect("a pid") as i32
    }

    /// The ids of all that are written down.
    pub fn states(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("states")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for id in self.states() {
            let ran = self.call(&["delete", "--force", &id]);
            assert!(std::thread::panicking() || ran.code == 0, "{ran:?}");
        }
        if !std::thread::panicking() {
            assert!(self.states().is_empty(), "left behind: {:?}", self.states());
            let own = self.id("");
            let mut find = Command::new("find");
            find.args(["/sys/fs/cgroup", "-name"]).arg(format!("*{own}*"));
            let found = find.output().expect("find");
            assert!(found.stdout.is_empty(), "left behind: {}", Ran::of(&found).stdout);
        }
    }
}

//! What every test needs: a sandbox of its own for one of several callers, and a check that nothing of
//! it is left on the machine.
//!
//! The program under test is the real one (`MINIBOX_BIN`), the kernel is the real kernel. Each test runs
//! as every caller that the present user can be: root, a plain user with one id, a plain user with
//! subordinate ids ([`Caller::all`]).

mod engine;
mod pty;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use engine::Engine;
pub use pty::Terminal;

/// The uid of the plain user that root plays.
const PLAIN: u32 = 23456;

/// Who calls minibox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Root of this machine.
    Root,
    /// A plain user whose own id alone can be mapped.
    SingleId,
    /// A plain user with subordinate ids.
    SubordinateIds,
    /// The plain user who runs the tests, with whatever he has.
    Myself,
}

impl Caller {
    /// Everyone that the present user can be. What cannot be tried is noted as skipped.
    pub fn all() -> Vec<Caller> {
        if !is_root() {
            return vec![Caller::Myself];
        }
        let mut all = vec![Caller::Root, Caller::SingleId];
        if has("newuidmap") {
            all.push(Caller::SubordinateIds);
        } else {
            skip("!callers with subordinate ids", "newuidmap is not installed");
        }
        all
    }

    /// Root alone; nobody, and a noted skip, where the present user is not root.
    pub fn root_only(test: &str) -> Vec<Caller> {
        if is_root() {
            return vec![Caller::Root];
        }
        skip(test, "needs root");
        Vec::new()
    }

    /// Every plain user.
    pub fn plain() -> Vec<Caller> {
        Caller::all().into_iter().filter(|caller| *caller != Caller::Root).collect()
    }

    /// Does he get cgroups, and so limits?
    pub fn has_limits(self) -> bool {
        self == Caller::Root
    }
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// Is `program` in the search path?
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Notes that `test` did not run, and why; a `!` before the name marks a main capability.
pub fn skip(test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
    if let Some(file) = std::env::var_os("MINIBOX_SKIPS") {
        let line = format!("{test}\t{reason}\n");
        let opened = fs::OpenOptions::new().append(true).create(true).open(file);
        let _ = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

fn from_env(name: &str, default: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    std::env::var_os(name).map_or_else(|| top.join(default), PathBuf::from)
}

/// Writes a file that can be executed, mode 0755. A process of its own does: what this one has open for
/// writing, the children that other tests start have too until they call execve(2), and a program
/// that somebody may write to is busy (ETXTBSY).
pub fn write_program(path: &Path, content: impl AsRef<[u8]>) {
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = writer.spawn().expect("sh starts");
    let mut input = writer.stdin.take().expect("a pipe");
    input.write_all(content.as_ref()).expect("it is read");
    drop(input);
    assert!(writer.wait().expect("it ends").success(), "{}", path.display());
}

/// As [`write_program`], with what another file holds.
pub fn copy_program(from: &Path, to: &Path) {
    write_program(to, fs::read(from).expect("a program"));
}

/// The top folder of the checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Program and root filesystem where the plain user can reach them: a checkout below /root is closed to
/// him. Made once per test program, removed when its last sandbox goes.
struct Shared {
    folder: tempfile::TempDir,
}

fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| match std::env::var_os("MINIBOX_TEST_SHARED") {
        // scripts/test makes it once for all test programs and removes it.
        Some(folder) => PathBuf::from(folder),
        None => make_shared().folder.keep(),
    })
}

fn make_shared() -> Shared {
    let folder = tempfile::Builder::new().prefix("minibox-shared-").tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let copy = |from: PathBuf, to: &str| {
        let status = Command::new("cp").arg("-aL").arg(from).arg(folder.path().join(to)).status();
        assert!(status.expect("cp").success());
    };
    copy(from_env("MINIBOX_BIN", "minibox"), "minibox");
    copy(from_env("MINIBOX_GUARD_BIN", "target/minibox-guard"), "minibox-guard");
    let cp = Command::new("cp")
        .arg("-a")
        .arg(from_env("MINIBOX_ROOTFS", "rootfs"))
        .arg(folder.path().join("rootfs"))
        .status();
    assert!(cp.expect("cp").success());
    if is_root() {
        let owner = format!("{PLAIN}:{PLAIN}");
        let status = Command::new("chown")
            .args(["-R", "-h", &owner])
            .arg(folder.path().join("rootfs"))
            .status();
        assert!(status.expect("chown").success());
    }
    Shared { folder }
}

/// What a command printed, and how it ended.
#[derive(Clone)]
pub struct Ran {
    /// Exit code; 128 + n where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// From what std collected.
    pub fn of(output: &Output) -> Ran {
        use std::os::unix::process::ExitStatusExt;
        let code =
            output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// The output without surrounding blanks, after checking that the command succeeded.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout.trim()
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn code(&self, code: i32) -> &Ran {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Checks that standard error contains `text`.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Ran {
        assert!(self.stderr.contains(text), "{text:?} is not in {self:?}");
        self
    }
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// A store of its own for one test. Dropping it removes every container in it and fails the test where
/// anything is left.
#[derive(Debug)]
pub struct Sandbox {
    /// Who calls.
    pub caller: Caller,
    folder: tempfile::TempDir,
}

impl Sandbox {
    /// An empty store for `caller`.
    pub fn new(caller: Caller) -> Sandbox {
        let folder = tempfile::Builder::new().prefix("minibox-test-").tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let sandbox = Sandbox { caller, folder };
        for name in ["run", "data", "home"] {
            let path = sandbox.path(name);
            fs::create_dir(&path).expect("mkdir");
            sandbox.give(&path);
        }
        if let Caller::SingleId | Caller::SubordinateIds = caller {
            let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
            let home = sandbox.path("home").display().to_string();
            let line = format!("minibox-plain:x:{PLAIN}:{PLAIN}::{home}:/bin/sh\n");
            fs::write(sandbox.path("passwd"), passwd + &line).expect("write");
            let group = fs::read_to_string("/etc/group").unwrap_or_default();
            let line = format!("minibox-plain:x:{PLAIN}:\n");
            fs::write(sandbox.path("group"), group + &line).expect("write");
            let ids =
                if caller == Caller::SubordinateIds { "minibox-plain:300000:65536\n" } else { "" };
            fs::write(sandbox.path("subids"), ids).expect("write");
        }
        sandbox
    }

    /// A path in the sandbox's own folder, for files of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes `path` the caller's own.
    pub fn give(&self, path: &Path) {
        if let Caller::SingleId | Caller::SubordinateIds = self.caller {
            std::os::unix::fs::chown(path, Some(PLAIN), Some(PLAIN)).expect("chown");
        }
    }

    /// A new folder of the caller's, for volumes.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("mkdir");
        self.give(&path);
        path
    }

    /// The demo root filesystem, as this caller may use it.
    pub fn rootfs(&self) -> String {
        let path = match self.caller {
            Caller::Root | Caller::Myself => from_env("MINIBOX_ROOTFS", "rootfs"),
            Caller::SingleId | Caller::SubordinateIds => shared().join("rootfs"),
        };
        path.display().to_string()
    }

    /// The caller's uid.
    pub fn uid(&self) -> u32 {
        match self.caller {
            Caller::Root => 0,
            Caller::SingleId | Caller::SubordinateIds => PLAIN,
            Caller::Myself => nix::unistd::Uid::effective().as_raw(),
        }
    }

    /// Any program, run as the caller.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match self.caller {
            Caller::Root | Caller::Myself => Command::new(program),
            Caller::SingleId | Caller::SubordinateIds => {
                // The host's own user database stays as it is: only this process sees another.
                let script = "for file in passwd group; do mount --bind $1/$file /etc/$file; done
                    mount --bind $1/subids /etc/subuid; mount --bind $1/subids /etc/subgid; shift
                    exec setpriv --reuid $0 --regid $0 --clear-groups --inh-caps=-all \"$@\"";
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "private", "sh", "-euc", script]);
                command.arg(PLAIN.to_string()).arg(self.folder.path()).arg(program);
                command
            }
        };
        command
            .env("HOME", self.path("home"))
            .env("MINIBOX_RUN_DIR", self.path("run"))
            .env("MINIBOX_DATA_DIR", self.path("data"))
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("XDG_DATA_HOME")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("MINIBOX_LANG")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// The program under test, where the caller can reach it.
    pub fn program(&self) -> PathBuf {
        match self.caller {
            Caller::Root | Caller::Myself => from_env("MINIBOX_BIN", "minibox"),
            Caller::SingleId | Caller::SubordinateIds => shared().join("minibox"),
        }
    }

    /// minibox with `args`, ready to run.
    pub fn minibox<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut command = self.command(&self.program());
        command.args(args);
        command
    }

    /// The test build (allocator guard, injected failures) with `args`.
    pub fn guarded<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let program = match self.caller {
            Caller::Root | Caller::Myself => from_env("MINIBOX_GUARD_BIN", "target/minibox-guard"),
            Caller::SingleId | Caller::SubordinateIds => shared().join("minibox-guard"),
        };
        let mut command = self.command(&program);
        command.args(args);
        command
    }

    /// Runs minibox and waits.
    #[track_caller]
    pub fn call<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Ran {
        Ran::of(&self.minibox(args).output().expect("minibox starts"))
    }

    /// `minibox run OPTIONS ROOTFS COMMAND…` on the demo root filesystem.
    #[track_caller]
    pub fn run(&self, options: &[&str], command: &[&str]) -> Ran {
        let rootfs = self.rootfs();
        let args: Vec<&str> = [&["run"], options, &[rootfs.as_str()], command].concat();
        self.call(&args)
    }

    /// `minibox run OPTIONS ROOTFS COMMAND…` on any root filesystem.
    #[track_caller]
    pub fn run_on(&self, rootfs: &Path, options: &[&str], command: &[&str]) -> Ran {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let rootfs = vec![rootfs.as_os_str().to_owned()];
        self.call(&[words(&["run"]), words(options), rootfs, words(command)].concat())
    }

    /// A root filesystem of the test's own: the demo's programs, and no /etc, /proc, /dev, /sys or /tmp.
    pub fn bare_rootfs(&self, name: &str) -> PathBuf {
        let root = self.folder(name);
        let usr = Path::new(&self.rootfs()).join("usr");
        assert!(Command::new("cp").arg("-a").arg(usr).arg(&root).status().expect("cp").success());
        for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            std::os::unix::fs::symlink(target, root.join(link)).expect("symlink");
        }
        root
    }

    /// `inner`, started by `wrapper`, a program that executes what follows its own words. The wrapper is the
    /// test's own user, whoever the caller is.
    pub fn around(&self, wrapper: &[&str], inner: &Command) -> Command {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// minibox with `args`, started by `wrapper`, as in [`Sandbox::around`].
    pub fn wrapped(&self, wrapper: &[&str], args: &[&str]) -> Command {
        self.around(wrapper, &self.minibox(args))
    }

    /// `minibox run OPTIONS ROOTFS sh -c SCRIPT`.
    #[track_caller]
    pub fn sh(&self, options: &[&str], script: &str) -> Ran {
        self.run(options, &["sh", "-c", script])
    }

    /// Starts a container in the background and gives its id.
    #[track_caller]
    pub fn start(&self, options: &[&str], command: &[&str]) -> String {
        self.run(&[&["-d"], options].concat(), command).ok().to_owned()
    }

    /// `minibox run OPTIONS ROOTFS COMMAND…`, beside the test.
    #[track_caller]
    pub fn run_beside(&self, options: &[&str], command: &[&str]) -> Beside {
        let rootfs = self.rootfs();
        let args: Vec<&str> = [&["run"], options, &[rootfs.as_str()], command].concat();
        Beside::spawn(&mut self.minibox(&args))
    }

    /// What `inspect` says of one container.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> serde_json::Value {
        let ran = self.call(&["inspect", name]);
        let all: serde_json::Value = serde_json::from_str(ran.ok()).expect("JSON");
        all[0].clone()
    }

    /// What is written down of one container, by its full id: container.json.
    #[track_caller]
    pub fn record(&self, id: &str) -> serde_json::Value {
        let path = self.path("data/containers").join(id).join("container.json");
        serde_json::from_slice(&fs::read(path).expect("a record")).expect("JSON")
    }

    /// What a container is doing: created, running, restarting, exited …
    #[track_caller]
    pub fn status(&self, name: &str) -> String {
        self.inspect(name)["State"]["Status"].as_str().expect("a status").to_owned()
    }

    /// Makes a container and gives its id.
    #[track_caller]
    pub fn create(&self, options: &[&str], command: &[&str]) -> String {
        let rootfs = self.rootfs();
        self.call(&[&["create"], options, &[rootfs.as_str()], command].concat()).ok().to_owned()
    }

    /// Makes a container, changes its config.json by `edit`, and gives its id.
    #[track_caller]
    pub fn configure(
        &self,
        options: &[&str],
        command: &[&str],
        edit: impl FnOnce(&mut serde_json::Value),
    ) -> String {
        let id = self.create(options, command);
        let path = self.path("data/containers").join(&id).join("config.json");
        let text = fs::read(&path).expect("a configuration");
        let mut config = serde_json::from_slice(&text).expect("JSON");
        edit(&mut config);
        fs::write(&path, config.to_string()).expect("written");
        id
    }

    /// Runs a container as in [`Sandbox::configure`], to its end.
    #[track_caller]
    pub fn run_configured(
        &self,
        options: &[&str],
        command: &[&str],
        edit: impl FnOnce(&mut serde_json::Value),
    ) -> Ran {
        let id = self.configure(options, command, edit);
        let ran = self.call(&["start", "--attach", &id]);
        self.call(&["rm", "-f", &id]).code(0);
        ran
    }

    /// The host PID of a running container.
    #[track_caller]
    pub fn pid(&self, name: &str) -> i32 {
        self.inspect(name)["State"]["Pid"].as_i64().expect("a pid") as i32
    }

    /// Removes every container; then nothing may be left: no record, process, cgroup or run folder.
    #[track_caller]
    pub fn check_empty(&self) {
        let ids = fs::read_dir(self.path("data/containers")).into_iter().flatten().flatten();
        let ids: Vec<String> = ids.filter_map(|e| e.file_name().into_string().ok()).collect();
        for id in &ids {
            self.call(&["rm", "-f", id]);
        }
        let gc = self.call(&["gc"]);
        assert_eq!(gc.stdout, "", "left behind: {gc:?}");
        for place in ["run", "data/containers", "data/names"] {
            let left: Vec<_> = fs::read_dir(self.path(place))
                .into_iter()
                .flatten()
                .flatten()
                .map(|e| e.path())
                .collect();
            assert!(left.is_empty(), "left behind: {left:?}");
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let ours = self.folder.path().display().to_string();
        assert!(!mounts.contains(&ours), "a mount is left behind in {ours}");
        remove_cgroup_parents(&self.path("data"));
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The first failure is the one to see; still leave nothing running.
            for entry in fs::read_dir(self.path("data/containers")).into_iter().flatten().flatten()
            {
                let _ = self
                    .minibox(&["rm".as_ref(), "-f".as_ref(), entry.file_name().as_os_str()])
                    .output();
            }
            let _ = std::panic::catch_unwind(|| remove_cgroup_parents(&self.path("data")));
            return;
        }
        self.check_empty();
    }
}

/// The parent cgroups of the store in the folder `data` stay for its next container; here there is none.
#[track_caller]
pub fn remove_cgroup_parents(data: &Path) {
    let hash =
        data.as_os_str().as_encoded_bytes().iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
    let name = format!("minibox-{hash:08x}");
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path()));
    for root in roots {
        let folder = root.join(&name);
        if folder.exists() {
            fs::remove_dir(&folder)
                .unwrap_or_else(|e| panic!("a cgroup is left in {}: {e}", folder.display()));
        }
    }
}

/// A command that runs beside the test, with what it has printed so far. Killed when dropped.
#[derive(Debug)]
pub struct Beside {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    printed: [Arc<Mutex<Vec<u8>>>; 2],
}

impl Beside {
    /// Starts `command` and reads both of its output streams.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Beside {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let printed: [Arc<Mutex<Vec<u8>>>; 2] = Default::default();
        let stdout: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("stdout"));
        let stderr: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("stderr"));
        let readers = [stdout, stderr].into_iter().zip(&printed).map(|(mut from, to)| {
            let to = Arc::clone(to);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    to.lock().expect("a lock").extend_from_slice(&buffer[..count]);
                }
            })
        });
        Beside { readers: readers.collect(), child, printed }
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Its standard input, where the command was given a pipe; dropping it is the end of the input.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("stdin is a pipe")
    }

    /// What it has printed so far: standard output, standard error.
    pub fn printed(&self) -> [String; 2] {
        self.printed
            .each_ref()
            .map(|bytes| String::from_utf8_lossy(&bytes.lock().expect("a lock")).into_owned())
    }

    /// Waits until `text` is on its standard output or error.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + patience();
        while !self.printed().iter().any(|printed| printed.contains(text)) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.printed());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("a signal");
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ran {
        wait_until("the end of the command", || self.has_ended());
        let status = self.child.wait().expect("a child");
        wait_until("the end of its output", || self.readers.iter().all(JoinHandle::is_finished));
        let [stdout, stderr] = self.printed.each_ref().map(|p| p.lock().expect("a lock").clone());
        Ran::of(&Output { status, stdout, stderr })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a test waits for what is to happen, by MINIBOX_TEST_PATIENCE in seconds: in the guest all is slow.
pub fn patience() -> Duration {
    let seconds = std::env::var("MINIBOX_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

/// Waits until `condition` holds; fails the test where it does not within [`patience`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience();
    while !condition() {
        assert!(Instant::now() < deadline, "not within {:?}: {what}", patience());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `command` with standard output and error on a terminal; what it shows there is `stdout`.
/// Standard input is the terminal too, where the command may read it.
#[track_caller]
pub fn on_a_terminal(command: &mut Command) -> Ran {
    on_a_terminal_of(0, command)
}

/// The same, on a terminal with so many columns; 0 where it does not know its size.
#[track_caller]
pub fn on_a_terminal_of(columns: u16, command: &mut Command) -> Ran {
    let size = nix::pty::Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).expect("a pty");
    let end = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it starts");
    // Its end of the pty must be nobody's but the command's, or reading never ends.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(pty.slave);
    let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
    let mut master = fs::File::from(pty.master);
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
    }
    let status = child.wait().expect("it ends");
    Ran::of(&Output { status, stdout: shown, stderr: Vec::new() })
}

/// A file of the cgroup of process `pid`, read on the host: version 1 where `controller` is mounted so,
/// otherwise version 2.
#[track_caller]
pub fn cgroup_file(pid: i32, controller: &str, file: &str) -> PathBuf {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let path = |controller: &str| {
        cgroups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let names = fields.next()?;
            let path = fields.next()?.trim_start_matches('/');
            names.split(',').any(|name| name == controller).then(|| path.to_owned())
        })
    };
    let top = Path::new("/sys/fs/cgroup");
    match path(controller) {
        Some(path) => top.join(controller).join(path).join(file),
        None => top.join(path("").expect("version 2")).join(file),
    }
}

/// A limit of a running container: by its name in version 2, or by its controller's and name in version 1.
#[track_caller]
pub fn limit(pid: i32, controller: &str, v2: &str, v1: &str) -> String {
    let unified = cgroup_file(pid, controller, v2);
    let file = if unified.exists() { unified } else { cgroup_file(pid, controller, v1) };
    fs::read_to_string(&file)
        .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
        .trim()
        .to_owned()
}

/// Has this machine version 2 of cgroups alone?
pub fn is_version_2() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    !mounts.contains(" - cgroup ")
}

/// Is there a process with this number that is more than a zombie?
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The verbs that `minibox --help` lists, in groups.
pub fn verbs(help: &str) -> Vec<String> {
    let lines =
        help.lines().skip_while(|line| *line != "Run:").take_while(|line| *line != "Options:");
    let listed = lines.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    listed.filter(|verb| *verb != "help").map(str::to_owned).collect()
}

/// Long sweeps run in `make test-full` only.
pub fn is_full_run() -> bool {
    std::env::var_os("MINIBOX_TEST_FULL").is_some()
}

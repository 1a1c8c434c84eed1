//! What gets installed, by script and by package, and that nothing of it stays.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use minibox_tests::{Caller, Ran, Sandbox, checkout, copy_program, has, skip, write_program};

/// What lies below a prefix, beside the manual.
const FILES: [&str; 10] = [
    "bin/minibox",
    "bin/minibox-oci",
    "lib/systemd/system/minibox-restart.service",
    "lib/systemd/user/minibox-restart.service",
    "share/bash-completion/completions/minibox",
    "share/fish/vendor_completions.d/minibox.fish",
    "share/minibox/after-install",
    "share/minibox/apparmor",
    "share/minibox/before-remove",
    "share/zsh/site-functions/_minibox",
];

/// Whoever runs the tests; what is packed for one is packed for all.
fn somebody() -> Sandbox {
    Sandbox::new(Caller::all()[0])
}

#[track_caller]
fn run(command: &mut Command) -> Ran {
    let ran = Ran::of(&command.output().expect("it starts"));
    assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
    ran
}

/// All that gets installed, laid out.
fn staged(sandbox: &Sandbox) -> PathBuf {
    let stage = sandbox.path("stage");
    let mut script = sandbox.command(&checkout().join("scripts/stage"));
    run(script.arg(fs::canonicalize(sandbox.program()).expect("minibox")).arg(&stage));
    stage
}

/// Every file and link below `folder`; folders too where they are empty.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let is_folder = path.symlink_metadata().expect("an entry").is_dir();
        let entries = is_folder.then(|| fs::read_dir(&path).expect("a folder").flatten());
        let entries: Vec<_> = entries.into_iter().flatten().map(|entry| entry.path()).collect();
        if entries.is_empty() {
            all.insert(path.strip_prefix(folder).expect("below").display().to_string());
        }
        left.extend(entries);
    }
    all
}

fn is_page(file: &str) -> bool {
    file.starts_with("share/man/man1/minibox")
}

#[test]
fn every_verb_has_a_page_that_man_can_show() {
    let sandbox = somebody();
    let stage = staged(&sandbox);
    let found: BTreeSet<_> = files(&stage).into_iter().filter(|file| !is_page(file)).collect();
    assert_eq!(found, FILES.map(str::to_owned).into());
    let pages = stage.join("share/man/man1");
    let help = sandbox.call(&["--help"]).ok().to_owned();
    let verbs = minibox_tests::verbs(&help);
    for verb in &verbs {
        assert!(pages.join(format!("minibox-{verb}.1")).exists(), "{verb}");
    }
    let of_a_verb = |page: &&String| page.matches('-').count() == 1;
    assert_eq!(files(&pages).iter().filter(of_a_verb).count(), verbs.len() + 1, "and minibox-oci");
    assert!(pages.join("minibox-generate-systemd.1").exists());
    for (page, texts) in [
        ("minibox.1", &["minibox-exec(1)", "MINIBOX_DATA_DIR", "EXIT STATUS", "--run-dir DIR"][..]),
        ("minibox-run.1", &["-v, --volume", "ROOTFS", "SEE ALSO"]),
        ("minibox-oci.1", &["runc"]),
    ] {
        let text = fs::read_to_string(pages.join(page)).expect("a page");
        assert!(text.starts_with(".TH MINIBOX"), "{text}");
        if !has("man") {
            skip("pages as man shows them", "man is not installed");
            continue;
        }
        let mut man = sandbox.command(Path::new("man"));
        let shown =
            run(man.args(["--warnings=w", "-l"]).arg(pages.join(page)).env("MANWIDTH", "200"));
        assert_eq!(shown.stderr, "", "{page}");
        for text in texts {
            assert!(shown.stdout.contains(text), "{page}: {text}: {}", shown.stdout);
        }
    }
}

// By script

#[test]
fn what_is_installed_by_the_script_is_removed_and_nothing_else() {
    let sandbox = somebody();
    let stage = staged(&sandbox);
    copy_program(&checkout().join("scripts/install"), &stage.join("install"));
    let root = sandbox.folder("root");
    fs::create_dir_all(root.join("opt/box/share/man")).expect("folders");
    fs::write(root.join("opt/box/share/man/other"), "").expect("somebody else's");
    let install = || {
        let mut command = sandbox.command(&stage.join("install"));
        command.env("DESTDIR", &root).env("PREFIX", "/opt/box");
        command
    };
    run(&mut install());
    let to = root.join("opt/box");
    let expected: BTreeSet<_> = files(&stage)
        .into_iter()
        .filter(|file| file != "install")
        .chain(["share/minibox/installed", "share/man/other"].map(str::to_owned))
        .collect();
    assert_eq!(files(&to), expected);
    let unit = to.join("lib/systemd/system/minibox-restart.service");
    let unit = fs::read_to_string(unit).expect("a unit");
    assert!(unit.contains("\nExecStart=/opt/box/bin/minibox start --at-boot\n"), "{unit}");
    assert!(!unit.contains("/usr/bin"), "{unit}");
    let mode = |file: &str| to.join(file).metadata().expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode("bin/minibox"), mode("share/man/man1/minibox.1")), (0o755, 0o644));
    run(sandbox.command(&to.join("bin/minibox")).arg("version"));

    // Again, by a version that no longer has one of the files.
    fs::remove_file(stage.join("share/man/man1/minibox-gc.1")).expect("a page");
    run(&mut install());
    assert!(!to.join("share/man/man1/minibox-gc.1").exists(), "an old file stays");
    assert_eq!(files(&to).len(), expected.len() - 1);

    run(install().arg("--remove"));
    assert_eq!(files(&to), ["share/man/other".to_owned()].into());
    let ran = Ran::of(&install().arg("--remove").output().expect("it starts"));
    ran.code(1).says("nothing that was installed by this script is in");
}

#[test]
fn a_users_own_installation_lies_in_the_home() {
    let sandbox = somebody();
    let stage = staged(&sandbox);
    copy_program(&checkout().join("scripts/install"), &stage.join("install"));
    let to = sandbox.path("home/.local");
    let install = || {
        let mut command = sandbox.command(&stage.join("install"));
        command.env("PREFIX", &to).env_remove("DESTDIR");
        command
    };
    let said = run(&mut install());
    assert!(said.stdout.contains("systemctl --user enable --now minibox-restart"), "{said:?}");
    let found: BTreeSet<_> = files(&to).into_iter().filter(|file| !is_page(file)).collect();
    let here = |file: &&str| !file.starts_with("lib/") && !file.starts_with("share/minibox/");
    let more = ["share/minibox/installed", "share/systemd/user/minibox-restart.service"];
    let expected: BTreeSet<_> =
        FILES.into_iter().filter(here).chain(more).map(str::to_owned).collect();
    assert_eq!(found, expected);
    let unit = fs::read_to_string(to.join(more[1])).expect("a unit");
    assert!(unit.contains(&format!("ExecStart={}/bin/minibox ", to.display())), "{unit}");
    run(install().arg("--remove"));
    assert_eq!(files(&to), [String::new()].into(), "not even an empty folder");
}

// By package

/// A machine to install into: a shell, a service manager and an AppArmor that note what they are told.
fn machine(sandbox: &Sandbox) -> Option<PathBuf> {
    let Some(busybox) = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|p| Path::new(p).exists())
    else {
        skip("packages with their scripts", "busybox is not installed");
        return None;
    };
    let root = sandbox.folder("machine");
    let folders = [
        "bin",
        "dev",
        "tmp",
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "run/systemd/system",
        "etc/apparmor.d/abi",
        "proc/sys/kernel",
    ];
    for folder in folders {
        fs::create_dir_all(root.join(folder)).expect("mkdir");
    }
    copy_program(Path::new(busybox), &root.join("bin/busybox"));
    for name in ["sh", "cat", "cp", "rm", "dirname"] {
        symlink("busybox", root.join("bin").join(name)).expect("a link");
    }
    for name in ["systemctl", "apparmor_parser"] {
        let script = format!("#!/bin/sh\necho {name} \"$@\" >> /tmp/told\n");
        write_program(&root.join("bin").join(name), script);
    }
    for (file, text) in [
        ("dev/null", ""),
        ("var/lib/dpkg/status", ""),
        ("etc/apparmor.d/abi/4.0", ""),
        ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n"),
        ("tmp/told", ""),
    ] {
        fs::write(root.join(file), text).expect("write");
    }
    Some(root)
}

/// What the machine's service manager and AppArmor were told since this was asked before.
fn told(root: &Path) -> Vec<String> {
    let log = root.join("tmp/told");
    let lines = fs::read_to_string(&log).expect("a log").lines().map(str::to_owned).collect();
    fs::write(log, "").expect("write");
    lines
}

/// A packager's tool, with the powers of root over the folder, if not over the machine.
fn as_root(sandbox: &Sandbox, program: &str) -> Command {
    let mut command = sandbox.command("unshare".as_ref());
    let own = if sandbox.uid() == 0 { "--mount" } else { "--map-root-user" };
    command.args([own, program]);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// The package that `scripts/KIND` makes, packed twice: both times the same bytes.
fn packed(sandbox: &Sandbox, kind: &str) -> PathBuf {
    let stage = staged(sandbox);
    let pack = |out: &str, umask: &str| {
        let packer = checkout().join("scripts").join(kind);
        let mut shell = sandbox.command("sh".as_ref());
        shell.args(["-euc", "umask $0; exec \"$@\"", umask]).arg(packer);
        shell.env("SOURCE_DATE_EPOCH", "1700000000");
        run(shell.arg(&stage).arg(sandbox.path(out)));
        let found = fs::read_dir(sandbox.path(out)).expect("a folder").flatten().next();
        found.expect("a package").path()
    };
    let (first, second) = (pack("first", "022"), pack("second", "077"));
    assert!(
        fs::read(&first).unwrap() == fs::read(&second).unwrap(),
        "not reproducible: {}",
        first.display()
    );
    first
}

/// Installs, installs over it, and removes, by the tool `act`.
fn check_a_package(sandbox: &Sandbox, package: &Path, act: impl Fn(&str, &Path)) {
    let Some(root) = machine(sandbox) else { return };
    // The packagers' databases stay; and folders that all packages share, which another one owns.
    let counted = || -> BTreeSet<_> {
        let own = |file: &String| file.contains("minibox") || !root.join(file).is_dir();
        files(&root).into_iter().filter(|file| !file.starts_with("var/lib") && own(file)).collect()
    };
    let before = counted();

    act("install", &root);
    for file in FILES {
        let file = file.replace("share/zsh/site-functions", "share/zsh/*");
        let debian = file.replace('*', "vendor-completions");
        let other = file.replace('*', "site-functions");
        let found = |file: &str| root.join("usr").join(file).symlink_metadata().is_ok();
        assert!(found(&debian) || found(&other), "{file} of {}", package.display());
    }
    assert!(root.join("usr/share/man/man1/minibox-run.1.gz").exists());
    assert!(root.join("etc/apparmor.d/minibox").exists());
    let profile = "apparmor_parser --replace /etc/apparmor.d/minibox";
    let enable = "systemctl --quiet preset minibox-restart.service";
    let start = "systemctl start minibox-restart.service";
    let said = told(&root);
    for line in [profile, enable, "systemctl daemon-reload", start] {
        assert!(said.contains(&line.to_owned()), "{line}: {said:?}");
    }

    // What the administrator has decided since stays decided, and nothing is stopped.
    act("upgrade", &root);
    let said = told(&root);
    assert!(said.contains(&profile.to_owned()), "{said:?}");
    assert!(!said.contains(&enable.to_owned()), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("disable")), "{said:?}");

    act("remove", &root);
    let said = told(&root);
    let stop = "systemctl --quiet disable --now minibox-restart.service";
    for line in
        [stop, "apparmor_parser --remove /etc/apparmor.d/minibox", "systemctl daemon-reload"]
    {
        assert!(said.contains(&line.to_owned()), "{line}: {said:?}");
    }
    assert_eq!(before, counted());
}

#[test]
fn the_debian_package_comes_and_goes() {
    if !has("dpkg-deb") {
        return skip("the Debian package", "dpkg-deb is not installed");
    }
    let sandbox = somebody();
    let package = packed(&sandbox, "deb");
    let dpkg = |root: &Path, words: &[&str]| {
        let mut command = as_root(&sandbox, "dpkg");
        let root = format!("--root={}", root.display());
        command.args([root.as_str(), "--force-not-root", "--log=/dev/null"]).args(words).output()
    };
    let package_name = package.display().to_string();
    check_a_package(&sandbox, &package, |what, root| {
        let words: &[&str] = match what {
            "remove" => &["--purge", "minibox"],
            _ => &["--install", &package_name],
        };
        let ran = Ran::of(&dpkg(root, words).expect("dpkg starts"));
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
    });
}

#[test]
fn the_rpm_package_comes_and_goes() {
    if !has("rpmbuild") || !has("rpm") {
        return skip("the RPM package", "rpm or rpmbuild is not installed");
    }
    let sandbox = somebody();
    let package = packed(&sandbox, "rpm");
    check_a_package(&sandbox, &package, |what, root| {
        let mut rpm = as_root(&sandbox, "rpm");
        rpm.arg("--root").arg(root).args(["--dbpath", "/var/lib/rpm", "--nodeps", "--noplugins"]);
        match what {
            "remove" => rpm.args(["--erase", "minibox"]),
            "upgrade" => rpm.args(["--upgrade", "--force"]).arg(&package),
            _ => rpm.arg("--install").arg(&package),
        };
        run(&mut rpm);
    });
}

//! The exit code is the program's own; 125 to 127 are minibox's, as docker has them.

use std::fs;

use minibox_tests::{Caller, Ran, Sandbox, wait_until, write_program};

/// How a command ends in the foreground, with a terminal, and in the background (by `wait`).
fn each_way(sandbox: &Sandbox, command: &[&str]) -> [i32; 3] {
    let foreground = sandbox.run(&["--rm"], command).code;
    let terminal = sandbox.run(&["--rm", "-t"], command).code;
    let id = sandbox.start(&[], command);
    let background = sandbox.call(&["wait", &id]).ok().parse().expect("a number");
    [foreground, terminal, background]
}

#[test]
fn the_programs_own_code_is_passed_on() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for code in [0, 1, 2, 42, 124, 125, 126, 127, 128, 255] {
            let script = format!("exit {code}");
            assert_eq!(each_way(&sandbox, &["sh", "-c", &script]), [code; 3]);
        }
    }
}

#[test]
fn a_signal_is_128_and_its_number() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let crash = ["python", "-c", "import ctypes; ctypes.string_at(0)"];
        assert_eq!(each_way(&sandbox, &crash), [128 + 11; 3]);
        let run = sandbox.run_beside(&["--name", "c"], &["sleep", "1000"]);
        wait_until("it runs", || sandbox.call(&["ps", "-q"]).stdout.len() == 13);
        sandbox.call(&["kill", "-s", "9", "c"]).code(0);
        run.end().code(137);
        assert_eq!(sandbox.call(&["wait", "c"]).ok(), "137");
    }
}

#[test]
fn what_minibox_cannot_do_is_125() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let file = sandbox.path("file");
        fs::write(&file, "").expect("write");
        let file = file.display().to_string();
        let rootfs = sandbox.rootfs();
        for (args, word) in [
            (&["run", "--no-such-flag", &rootfs, "true"][..], "--no-such-flag"),
            (&["run", "-m", "much", &rootfs, "true"], "much"),
            (&["run", "--net", "moon", &rootfs, "true"], "moon"),
            (&["run", "--rw", "--read-only", &rootfs, "true"], "--read-only"),
            (&["run", "-w", "/etc/passwd", &rootfs, "true"], "/etc/passwd"),
            (&["run", "-u", "nobody-of-that-name", &rootfs, "true"], "nobody-of-that-name"),
            (&["run", &rootfs], "no command"),
            (&["run", "./no-such-folder", "true"], "no-such-folder"),
            (&["run", &file, "true"], &file),
            (&["run"], "ROOTFS"),
            (&["dance"], "dance"),
            (&["exec", "nobody", "true"], "nobody"),
            (&["logs", "nobody"], "nobody"),
            (&[], "Usage"),
        ] {
            sandbox.call(args).code(125).says(word);
        }
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), "", "nothing was made");
    }
}

#[test]
fn a_program_that_cannot_be_executed_is_126_and_a_missing_one_127() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let files = sandbox.folder("files");
        fs::write(files.join("plain"), "echo\n").expect("write");
        write_program(&files.join("noise"), "\u{1}\u{2}noise");
        write_program(&files.join("script"), "#!/no/such/interpreter\n");
        let volume = format!("{}:/files", files.display());
        for options in
            [&["-v", volume.as_str()][..], &["-d", "-v", &volume], &["-t", "-v", &volume]]
        {
            let run = |program: &str| -> Ran { sandbox.run(options, &[program]) };
            run("/files").code(126).says("cannot execute /files").says("hint: /files is a folder");
            run("/files/plain").code(126).says("EACCES").says("chmod +x it");
            run("/files/noise")
                .code(126)
                .says("ENOEXEC")
                .says("neither an ELF binary nor a script");
            run("/files/script").code(127).says("it is a script for /no/such/interpreter");
            run("no-such-program")
                .code(127)
                .says("executable file not found: \"no-such-program\"")
                .says("looked in /usr/local/sbin");
            run("/no/such/program")
                .code(127)
                .says("executable file not found: \"/no/such/program\"");
            run("").code(125).says("the command is empty");
        }
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), "", "what never ran leaves nothing");
    }
}

#[test]
fn help_and_version_are_no_errors_and_go_to_stdout() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    for args in
        [&["--help"][..], &["--version"], &["version"], &["run", "--help"], &["ps", "--help"]]
    {
        let ran = sandbox.call(args);
        assert!(!ran.ok().is_empty() && ran.stderr.is_empty(), "{ran:?}");
    }
}

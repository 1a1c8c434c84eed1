//! minibox in Korean: everything a person reads, and nothing that programs read.

use std::process::Command;

use minibox_tests::{Caller, Ran, Sandbox, Terminal};

/// What minibox says with these words and variables.
fn said(sandbox: &Sandbox, variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command: Command = sandbox.minibox(args);
    command.envs(variables.iter().copied());
    Ran::of(&command.output().expect("minibox starts"))
}

/// What minibox says in Korean.
fn korean(sandbox: &Sandbox, args: &[&str]) -> Ran {
    said(sandbox, &[("MINIBOX_LANG", "ko")], args)
}

fn is_hangul(letter: char) -> bool {
    ('가'..='힣').contains(&letter)
}

/// A word without which no English sentence gets far, other than in a command that is to be typed.
fn is_english(line: &str) -> bool {
    const WORDS: [&str; 18] = [
        "a", "and", "are", "be", "for", "in", "is", "it", "its", "not", "of", "or", "that", "the",
        "this", "to", "which", "with",
    ];
    let typed = ["minibox ", "mv ", "systemctl ", "source ", "sudo "];
    if typed.iter().any(|command| line.trim_start().starts_with(command)) {
        return false;
    }
    line.split('`').step_by(2).flat_map(str::split_whitespace).any(|word| WORDS.contains(&word))
}

#[track_caller]
fn has_no_english(text: &str) {
    let lines: Vec<&str> = text.lines().filter(|line| is_english(line)).collect();
    assert!(lines.is_empty(), "English in Korean:\n{}\n--- of\n{text}", lines.join("\n"));
}

#[test]
fn all_help_is_korean() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    let help = korean(&sandbox, &["--help"]);
    let verbs = help.ok().lines().skip_while(|line| *line != "실행:");
    let verbs = verbs.take_while(|line| *line != "옵션:").filter(|line| line.starts_with("  "));
    let verbs: Vec<&str> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.len() > 25, "{verbs:?}");
    let mut pages = vec![vec!["--help"]];
    pages.extend(verbs.iter().filter(|verb| **verb != "help").map(|verb| vec![*verb, "--help"]));
    pages.push(vec!["volume", "create", "--help"]);
    pages.push(vec!["container", "rm", "--help"]);
    pages.push(vec!["generate", "systemd", "--help"]);
    for page in pages {
        let ran = korean(&sandbox, &page);
        let text = ran.ok();
        has_no_english(text);
        for left in ["Usage:", "Options:", "[default", "[env", "[alias", "Print help", "Examples"] {
            assert!(!text.contains(left), "{left} in {text}");
        }
        assert!(text.contains("사용법: minibox") && text.contains("옵션:"), "{text}");
    }
    let english = sandbox.call(&["run", "--help"]);
    assert!(!english.ok().contains(is_hangul));
}

#[test]
fn the_language_is_chosen_as_other_programs_do() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    let (in_korean, in_english) = ("그런", "No such");
    let wrong = ["run", "/nosuch", "true"];
    for (variables, args, expected) in [
        (&[][..], &[][..], in_english),
        (&[("LC_ALL", "ko_KR.UTF-8")], &[], in_korean),
        (&[("LC_ALL", ""), ("LC_MESSAGES", "ko_KR"), ("LANG", "de_DE")], &[], in_korean),
        (&[("LC_ALL", ""), ("LANG", "ko")], &[], in_korean),
        (&[("LC_ALL", "C"), ("LANG", "ko")], &[], in_english),
        (&[("LC_ALL", "kok_IN")], &[], in_english),
        (&[("MINIBOX_LANG", "ko")], &[], in_korean),
        (&[("MINIBOX_LANG", "")], &[], in_english),
        (&[("MINIBOX_LANG", "ko"), ("LC_ALL", "C")], &["--lang", "en"], in_english),
        (&[], &["--lang=ko"], in_korean),
    ] {
        let ran = said(&sandbox, variables, &[args, &wrong[..]].concat());
        assert!(ran.code(125).stderr.contains(expected), "{variables:?} {args:?} {ran:?}");
    }
    let late = sandbox.call(&["ps", "--lang", "ko", "--nosuch"]);
    late.code(125).says("ps에는 --nosuch 옵션이 없습니다");
    let ran = korean(&sandbox, &["--lang", "xx", "ps"]);
    ran.code(125).says("\"xx\"는 --lang에 쓸 수 없는 값입니다").says("쓸 수 있는 값: en, ko");
    said(&sandbox, &[("MINIBOX_LANG", "xx")], &["ps"]).code(125).says("no value for --lang");
    // A container's own words are its own.
    let run = ["run", "--rm", &sandbox.rootfs(), "sh", "-c", "nosuch", "--lang", "ko"];
    assert!(!sandbox.call(&run).stderr.contains(is_hangul));
}

#[test]
fn errors_hints_and_questions_are_korean() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    let rootfs = sandbox.rootfs();
    let name = ["create", "--name", "web", &rootfs, "true"];
    korean(&sandbox, &name).ok();
    for (args, expected) in [
        (&["frobnicate"][..], "\"frobnicate\"라는 명령어가 없습니다"),
        (&["stopp"], "힌트: `stop`을 찾으셨나요? 명령어는 모두 `minibox --help`에 있습니다"),
        (&["imags"], "힌트: 명령어는 모두 `minibox --help`에 있습니다"),
        (&["run"], "run에는 ROOTFS가 필요합니다"),
        (&["run", "--name"], "--name에는 값이 필요합니다"),
        (
            &["run", "--health-retries", "x", "r", "c"],
            "\"x\"는 --health-retries에 쓸 수 없는 값입니다",
        ),
        (&["run", "--rw", "--read-only", "r", "c"], "--rw는 --read-only와 함께 쓸 수 없습니다"),
        (&["completion", "tcsh"], "쓸 수 있는 값: bash, zsh, fish"),
        (&["ps", "web"], "ps에는 \"web\"을 줄 수 없습니다"),
        (&["exec", "web", "true"], "컨테이너 web은 실행 중이 아닙니다"),
        (&["logs", "wbe"], "\"web\"을 찾으셨나요? `minibox ps -a`로 모두 볼 수 있습니다"),
        (&["rename", "web", "web"], "이미 이름이 \"web\"입니다"),
        (&["run", "-m", "x", &rootfs, "true"], "--memory \"x\"를 이해할 수 없습니다"),
        (&["run", "/nosuch", "true"], "단계: 루트 파일 시스템 열기"),
        (&["run", "/nosuch", "true"], "ENOENT (그런 파일이나 폴더가 없음)"),
        (&["run", "/nosuch", "true"], "원인: 그런 폴더가 없습니다"),
        (&["run", "--rm", &rootfs, "pyhton"], "실행 파일을 찾을 수 없습니다: \"pyhton\""),
        (&["run", "--rm", &rootfs, "/etc/passwd"], "힌트: 파일에 실행 권한이 없습니다"),
        (&["cp", "web:/nosuch", "."], "컨테이너의 /nosuch를 열 수 없습니다"),
        (&["inspect", "-f", "{{.Nosuch}}", "web"], ".Nosuch라는 필드가 없습니다"),
        (&["prune"], "아무것도 지우지 않았습니다"),
    ] {
        let ran = korean(&sandbox, args);
        ran.says(expected);
        has_no_english(&ran.stderr);
    }
    let asked = korean(&sandbox, &["prune"]);
    assert!(asked.stdout.contains("계속할까요? [y/N]"), "{asked:?}");
    let removed = korean(&sandbox, &["prune", "-f"]);
    assert!(removed.ok().contains("되찾은 공간: "), "{removed:?}");
}

#[test]
fn steps_are_told_in_korean() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        for flag in ["--explain", "--dry-run"] {
            let ran = korean(&sandbox, &["run", "--rm", flag, &rootfs, "true"]);
            assert_eq!(ran.code, 0, "{ran:?}");
            let told = ran.stdout.clone() + &ran.stderr;
            has_no_english(&told);
            assert!(told.contains("루트를 바꾸고, 옛 루트 놓아주기"), "{told}");
            assert!(told.contains("프로그램이 되기"), "{told}");
        }
        let script = korean(&sandbox, &["run", "--dry-run=sh", &rootfs, "true"]);
        let remarks = script.ok().lines().filter(|line| line.starts_with("# "));
        assert!(remarks.clone().count() > 1 && remarks.clone().all(|l| l.contains(is_hangul)));
    }
}

/// How many columns a terminal gives to `text`.
fn width(text: &str) -> usize {
    text.chars().map(|letter| if is_hangul(letter) { 2 } else { 1 }).sum()
}

/// Where the third cell of a line begins, its cells two blanks apart at least.
fn third_cell(line: &str) -> Option<usize> {
    let mut rest = line.trim_start();
    for _ in 0..2 {
        rest = rest.split_once("  ")?.1.trim_start();
    }
    Some(width(line) - width(rest))
}

/// What minibox leaves on a terminal's screen, `last` at its end.
fn on_a_screen(sandbox: &Sandbox, size: (u16, u16), args: &[&str], last: &str) -> String {
    let mut terminal = Terminal::of_size(sandbox, size, args);
    terminal.shows_screen(size, last, |screen| screen.contains(last));
    assert_eq!(terminal.end(), 0);
    terminal.screen(size.0, size.1)
}

#[test]
fn wide_letters_stay_aligned() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let screen = on_a_screen(&sandbox, (60, 160), &["--lang", "ko", "info"], "FUSE");
        let rows = screen.lines().skip_while(|line| !line.ends_with("쓸 수 있는 것:")).skip(1);
        let rows: Vec<&str> = rows.take_while(|line| line.starts_with(' ')).collect();
        let columns: Vec<_> = rows.iter().filter_map(|line| third_cell(line)).collect();
        assert!(columns.len() > 8, "{screen}");
        assert!(columns.iter().all(|column| *column == columns[0]), "{screen}");
        has_no_english(&screen);
        let piped = korean(&sandbox, &["info"]);
        let aligned = piped.ok().lines().filter(|line| line.starts_with(' '));
        let aligned: Vec<_> = aligned.filter_map(third_cell).collect();
        assert_eq!(aligned, columns, "{piped:?}");
        has_no_english(korean(&sandbox, &["info", "--advice"]).ok());
        let help =
            on_a_screen(&sandbox, (250, 80), &["--lang", "ko", "run", "--help"], "모든 단계를");
        for line in help.lines() {
            assert!(width(line) <= 80, "{line} is wider than its terminal");
        }
    }
}

/// Where the part of `line` behind `mark` begins to be written.
fn column_behind(line: &str, mark: &str) -> Option<usize> {
    let rest = line.split_once(mark)?.1.trim_start();
    Some(width(line) - width(rest))
}

/// Several, and all the same.
#[track_caller]
fn are_aligned(columns: impl Iterator<Item = usize>, text: &str) {
    let columns: Vec<usize> = columns.collect();
    assert!(columns.len() > 1 && columns.iter().all(|column| *column == columns[0]), "{text}");
}

#[test]
fn views_are_korean() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let work = ["run", "-d", "--name", "web", &rootfs, "sh", "-c", "sleep 1000 & wait"];
        korean(&sandbox, &work).ok();
        korean(&sandbox, &["run", "--name", "bad", &rootfs, "sh", "-c", "exit 3"]).code(3);
        for args in [
            &["ns", "web"][..],
            &["ns", "web", "self"],
            &["threads", "web"],
            &["mem", "web"],
            &["mem", "--all", "web"],
            &["proc", "web"],
            &["proc", "web", "status"],
            &["proc", "web", "stat"],
            &["proc", "web", "limits"],
            &["proc", "web", "smaps_rollup"],
            &["mounts", "web"],
            &["mounts", "self"],
            &["net", "web"],
            &["net", "self"],
            &["caps", "web"],
            &["seccomp", "web"],
            &["audit", "web"],
            &["audit"],
            &["why", "web"],
            &["why", "bad"],
        ] {
            let (english, foreign) = (sandbox.call(args), korean(&sandbox, args));
            has_no_english(foreign.ok());
            assert!(foreign.stdout.contains(is_hangul), "{args:?} {foreign:?}");
            assert!(!english.ok().contains(is_hangul), "{english:?}");
            if args != ["why", "bad"] {
                let json = korean(&sandbox, &[args, &["--format", "json"]].concat());
                assert!(!json.ok().contains(is_hangul), "{json:?}");
            }
        }
        // Above stand the command lines of others.
        let tree = korean(&sandbox, &["tree", "web"]);
        let (_, told) = tree.ok().split_once("\n\n").expect("a sentence below");
        assert!(told.contains("같은 프로세스입니다"), "{tree:?}");
        has_no_english(told);
        let text = korean(&sandbox, &["proc", "web"]).stdout;
        are_aligned(text.lines().filter_map(|line| column_behind(line, "나요?  ")), &text);
        let text = korean(&sandbox, &["ns", "web"]).stdout;
        are_aligned(text.lines().filter_map(|line| column_behind(line, "자기 것  ")), &text);
        let text = korean(&sandbox, &["threads", "web"]).stdout;
        let labels = ["  메모리  ", "  프로그램  ", "  폴더  "];
        let labels = labels
            .map(|label| text.lines().find_map(|line| column_behind(line, label)).expect("a line"));
        are_aligned(labels.into_iter(), &text);
        let text = korean(&sandbox, &["mem", "web"]).stdout;
        let edges = text.lines().filter(|line| line.ends_with('B'));
        are_aligned(edges.map(width), &text);
    }
}

#[test]
fn what_programs_read_is_the_same_in_every_language() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        korean(&sandbox, &["create", "--name", "bad", &rootfs, "pyhton"]).ok();
        let bad = korean(&sandbox, &["start", "bad"]);
        bad.says("실행 파일을 찾을 수 없습니다");
        korean(&sandbox, &["run", "--name", "good", &rootfs, "true"]).ok();
        for args in [
            &["inspect", "good"][..],
            &["inspect", "bad"],
            &["ps", "-a", "--format", "{{.Names}} {{.State}} {{.Command}}"],
            &["events", "--since", "1h", "--until", "0s", "--format", "json"],
            &["logs", "good"],
            &["diff", "good"],
            &["version"],
            &["completion", "bash"],
            &["steps"],
        ] {
            let (english, foreign) = (sandbox.call(args), korean(&sandbox, args));
            assert_eq!(english.stdout, foreign.stdout, "{args:?}");
            assert!(!english.stdout.contains(is_hangul), "{english:?}");
        }
        let json = korean(&sandbox, &["ps", "-a", "--format", "json"]);
        assert!(json.ok().contains("\"good\"") && !json.ok().contains(is_hangul), "{json:?}");
        let head = korean(&sandbox, &["ps", "-a"]);
        assert!(head.ok().starts_with("NAME "), "{head:?}");
        let pages = sandbox.folder("pages");
        korean(&sandbox, &["man", &pages.display().to_string()]).ok();
        let page = std::fs::read_to_string(pages.join("minibox-run.1")).expect("a page");
        assert!(!page.contains(is_hangul), "the manual is in English");
        let (oci, version) = (pages.join("minibox-oci"), ["--version"]);
        std::os::unix::fs::symlink(sandbox.program(), &oci).expect("a link");
        let mut engine = sandbox.command(&oci);
        let ran =
            Ran::of(&engine.args(version).env("MINIBOX_LANG", "ko").output().expect("starts"));
        assert!(!ran.ok().contains(is_hangul));
    }
}

#[test]
fn completion_describes_in_the_language_of_the_line() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    let ran = korean(&sandbox, &["__complete", "exp"]);
    assert_eq!(ran.ok(), "export\t컨테이너의 파일을 tar 아카이브로 씁니다");
}

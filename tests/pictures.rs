//! The pictures of `tree`, `ns`, `mem` and `watch` on a virtual terminal, small and large, in each language:
//! nothing is broken at its edge, what belongs below each other stands there, and each is the picture of
//! tests/pictures, in which `*` stands for whatever differs from machine to machine and `#` for a number.
//!
//! `MINIBOX_WRITE_PICTURES=1` writes those files anew; their stars are then to be set again by hand.

use std::fs;
use std::path::PathBuf;

use minibox_tests::{Caller, Sandbox, Terminal, skip, wait_until};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

const SIZES: [(u16, u16); 2] = [(24, 80), (50, 160)];
const LANGUAGES: [&str; 2] = ["en", "ko"];

/// A container with two processes, one with an argument in wide letters.
fn started(caller: Caller) -> Sandbox {
    let sandbox = Sandbox::new(caller);
    let options = ["--name", "web", "--net", "none"];
    sandbox.start(&options, &["sh", "-c", "sleep 1000 & wait # 잠"]);
    wait_until("both sleep", || {
        let ran = sandbox.call(&["tree", "--format", "json", "web"]);
        let seen: Value = serde_json::from_str(ran.ok()).expect("JSON");
        let all = seen["processes"].as_array().expect("a list").iter();
        let members: Vec<&Value> = all.filter(|process| process["container"] == "web").collect();
        members.iter().all(|process| process["state"] == "sleeping")
            && members.iter().any(|process| process["arguments"][0] == "sleep")
    });
    sandbox
}

/// What a verb draws: each line as the terminal has it.
#[track_caller]
fn drawn(sandbox: &Sandbox, language: &str, (rows, columns): (u16, u16), verb: &str) -> String {
    let args = ["--lang", language, verb, "web"];
    let mut terminal = Terminal::of_size(sandbox, (rows, columns), &args);
    assert_eq!(terminal.end(), 0, "{}", terminal.text());
    // A terminal says "this is all" by hanging up only when minibox is gone: its last line may still be on its way.
    let lines = || terminal.text().matches('\n').count();
    wait_until("all is read", || {
        let before = lines();
        std::thread::sleep(std::time::Duration::from_millis(50));
        before > 3 && before == lines()
    });
    // Higher than any picture, so that nothing scrolls away; as wide as it was told.
    let screen = terminal.screen(300, columns);
    let printed = terminal.text().trim_end().matches('\n').count() + 1;
    assert_eq!(screen.lines().count(), printed, "a line is too long:\n{screen}");
    screen
}

/// The column at which `text` begins in `line`.
#[track_caller]
fn column(line: &str, text: &str) -> usize {
    let at = line.find(text).unwrap_or_else(|| panic!("no {text:?} in {line:?}"));
    line[..at].width()
}

/// The column behind `text`.
#[track_caller]
fn end(line: &str, text: &str) -> usize {
    column(line, text) + text.width()
}

#[track_caller]
fn all_the_same(columns: impl IntoIterator<Item = usize>, picture: &str) {
    let mut columns: Vec<usize> = columns.into_iter().collect();
    assert!(columns.len() > 2, "{columns:?}\n{picture}");
    columns.dedup();
    assert_eq!(columns.len(), 1, "{columns:?}\n{picture}");
}

/// Without what changes from one look to the next: numbers, sizes, bars, and how wide a gap is.
fn plain(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        let is_hex = |c: char| c.is_ascii_hexdigit();
        let mut plain = String::new();
        for part in word.split_inclusive(|c: char| !is_hex(c) && c != '.') {
            let digits = part.trim_end_matches(|c: char| !is_hex(c));
            let is_address = digits.len() >= 12 && digits.chars().all(is_hex);
            if is_address {
                plain.push('#');
                plain += &part[digits.len()..];
            } else {
                plain += part;
            }
        }
        let mut short = String::new();
        for letter in plain.chars() {
            match letter {
                '0'..='9' => short.push('#'),
                '█' | '░' | '▁'..='▇' => {}
                _ => short.push(letter),
            }
            for run in ["##", "#.#", "#:#", "──", "▒▒"] {
                if short.ends_with(run) {
                    short.truncate(short.len() - run.len());
                    short.push(run.chars().next().expect("a letter"));
                }
            }
        }
        for unit in ["KiB", "MiB", "GiB", "TiB", "EiB", "B"] {
            short = short.replace(&format!("#{unit}"), "#");
        }
        if !short.is_empty() {
            words.push(short);
        }
    }
    words.join(" ")
}

/// Is `text` what `pattern` says, its stars standing for anything?
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*').map(str::trim);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Holds a picture against the one that is kept.
#[track_caller]
fn compare(name: &str, picture: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pictures").join(name);
    // Where a line is broken, and how much of a side is seen, depends on the numbers in it.
    let lines: Vec<String> = picture.replace('│', " ").lines().map(plain).collect();
    let lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    if std::env::var_os("MINIBOX_WRITE_PICTURES").is_some() {
        fs::write(&file, lines.join("\n") + "\n").expect("a picture");
    }
    let kept = fs::read_to_string(&file).expect("a picture");
    let kept: Vec<&str> = kept.split_whitespace().collect();
    assert!(
        is_like(&lines.join(" "), &kept.join(" ")),
        "{name} is not as it was:\n{}",
        lines.join("\n")
    );
}

/// Each verb for each caller, at each size and in each language; root's are compared with those that are kept.
#[track_caller]
fn each(verb: &str, check: impl Fn(&str, usize)) {
    for caller in Caller::all() {
        let sandbox = started(caller);
        for language in LANGUAGES {
            for (rows, columns) in SIZES {
                let picture = drawn(&sandbox, language, (rows, columns), verb);
                check(&picture, columns.into());
                if caller == Caller::Root {
                    compare(&format!("{verb}.{columns}.{language}"), &picture);
                }
            }
        }
    }
    if !Caller::all().contains(&Caller::Root) {
        skip("pictures as they are kept", "they are root's");
    }
}

#[test]
fn tree_stands_in_columns() {
    each("tree", |picture, _| {
        let heading = picture.lines().next().expect("a heading");
        let rows: Vec<&str> = picture.lines().skip(1).take_while(|line| !line.is_empty()).collect();
        let number = |line: &&str| {
            let pid = line.split_whitespace().next().expect("a number").to_owned();
            end(line, &pid)
        };
        let numbers = rows.iter().map(number);
        all_the_same(numbers.chain([end(heading, "HOST PID")]), picture);
        let of_web: Vec<&&str> = rows.iter().filter(|line| line.contains("  web  ")).collect();
        let containers = of_web.iter().map(|line| column(line, "web  "));
        all_the_same(containers.chain([column(heading, "CONTAINER")]), picture);
        let branches = of_web.iter().filter(|line| line.contains("└─"));
        assert!(branches.count() >= 2, "{picture}");
    });
}

#[test]
fn ns_stands_in_columns() {
    each("ns", |picture, _| {
        let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
        let row = |kind: &&str| {
            let begin = format!("{kind} ");
            picture.lines().find(|line| line.starts_with(&begin)).expect("each kind")
        };
        let rows: Vec<&str> = kinds.iter().map(row).collect();
        let word = |line: &str, number: usize| {
            let word = line.split_whitespace().nth(number).expect("words").to_owned();
            (column(line, &word), end(line, &word))
        };
        all_the_same(rows.iter().map(|line| word(line, 1).1), picture);
        all_the_same(rows.iter().map(|line| word(line, 3).0), picture);
    });
}

#[test]
fn mem_is_a_box() {
    each("mem", |picture, columns| {
        let bars = |line: &str, glyphs: &[char]| -> Vec<usize> {
            let found = line.char_indices().filter(|(_, c)| glyphs.contains(c));
            found.map(|(at, _)| line[..at].width()).collect()
        };
        let sides: Vec<Vec<usize>> = picture
            .lines()
            .filter(|line| line.contains(['│', '┊', '├']))
            .map(|line| bars(line, &['│', '┊', '├', '┤']))
            .collect();
        assert!(sides.len() > 10 && sides[0].len() == 2, "{picture}");
        let right = sides[0][1];
        assert!(sides.iter().all(|side| *side == sides[0]), "{sides:?}\n{picture}");
        // A high window has room for floors.
        assert_eq!(picture.contains('├'), columns > 80, "{picture}");
        assert!(right < columns / 2 + 10);
    });
}

#[test]
fn watch_fills_the_screen() {
    for caller in Caller::all() {
        let sandbox = started(caller);
        for language in LANGUAGES {
            for size in SIZES {
                let (rows, columns) = size;
                let args = ["--lang", language, "watch", "--interval", "0.2", "web"];
                let mut terminal = Terminal::of_size(&sandbox, size, &args);
                terminal.shows_screen(size, "its first picture", |screen| {
                    screen.contains("▶ web") && screen.lines().count() == usize::from(rows)
                });
                let picture = terminal.screen(rows, columns);
                let body: Vec<&str> = picture.lines().filter(|line| line.contains('│')).collect();
                assert_eq!(body.len(), usize::from(rows) - 7, "{picture}");
                all_the_same(body.iter().map(|line| column(line, "│")), &picture);
                if caller == Caller::Root {
                    compare(&format!("watch.{columns}.{language}"), &picture);
                }
                terminal.types("q");
                assert_eq!(terminal.end(), 0);
            }
        }
    }
}

//! Every sentence exists in both languages: the sources are read, and what a person may be told is
//! compared with the table.
//!
//! A sentence is a string literal with a blank and a word in it, tests and panics apart, any that stands
//! in `say(…)`, and every text of the command line's table. What is no sentence for people stands in
//! english.txt, with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Command;
use clap::builder::StyledStr;
use proc_macro2::{Delimiter, Group, Literal, TokenStream, TokenTree};

use super::table::{Table, Template, escape, pairs};
use super::{KOREAN, particles, table};
use crate::help;

const ENGLISH: &str = include_str!("english.txt");
/// Their first literal is a template.
const FORMATS: [&str; 4] = ["format", "write", "writeln", "format_args"];
/// Nobody is meant to see what these say.
const PANICS: [&str; 9] = [
    "assert",
    "assert_eq",
    "assert_ne",
    "debug_assert",
    "panic",
    "unreachable",
    "debug",
    "trace",
    "disallowed",
];

/// A literal, as the table would have it, and where it stands.
type Found = BTreeMap<String, String>;

/// What surrounds a literal.
#[derive(Clone, Copy, Default)]
struct Surroundings {
    /// It is a template, as the first of its macro.
    is_format: bool,
    /// It stands in `say(…)`.
    is_said: bool,
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files_below(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() {
            files_below(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") && !is_test {
            all.push(path);
        }
    }
}

/// Every string literal of the crates' sources, and those that must be known though they are no sentences.
fn literals() -> (Found, BTreeSet<String>) {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(top().join("crates")).unwrap().flatten() {
        files_below(&folder.path().join("src"), &mut files);
    }
    files.sort();
    let (mut found, mut said) = (Found::new(), BTreeSet::new());
    for file in files {
        let name = file.strip_prefix(top()).unwrap().display().to_string();
        if ENGLISH.lines().any(|line| line.strip_prefix('@') == Some(&name)) {
            continue;
        }
        let tokens = TokenStream::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        walk(tokens, Surroundings::default(), &mut |literal, text, is_said| {
            let place = format!("{name}:{}", literal.span().start().line);
            // The runtime says nothing, whatever its functions are called.
            let own = Template::parse(&text).pieces.concat();
            let has_words = own.contains(char::is_alphabetic) && !own.starts_with('/');
            if is_said && has_words && name.starts_with("crates/cli") {
                said.insert(text.clone());
            }
            found.entry(text).or_insert(place);
        });
    }
    (found, said)
}

/// Hands every string literal on, and whether it stands in `say(…)`.
fn walk(
    tokens: TokenStream,
    mut place: Surroundings,
    hear: &mut impl FnMut(&Literal, String, bool),
) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
        let is = |back: usize, text: &str| before(back).is_some_and(|t| t.to_string() == text);
        match token {
            // Attributes and doc comments; what is for tests only.
            TokenTree::Group(group)
                if group.delimiter() == Delimiter::Bracket
                    && (is(1, "#") || is(1, "!") && is(2, "#")) =>
            {
                at += for_tests_only(group, &tokens[at..]);
            }
            TokenTree::Group(group) => {
                let name = before(2).map(ToString::to_string).unwrap_or_default();
                let is_macro = is(1, "!");
                if !(is_macro && PANICS.contains(&name.as_str()) || is(1, "expect") && is(2, ".")) {
                    let is_format = is_macro && FORMATS.contains(&name.as_str());
                    let is_said = place.is_said || is(1, "say");
                    walk(group.stream(), Surroundings { is_format, is_said }, hear);
                }
            }
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let bytes = syn::parse_str::<syn::LitByteStr>(&text).map(|l| l.value());
                let value = match syn::parse_str::<syn::LitStr>(&text) {
                    Ok(string) => Some(string.value()),
                    Err(_) => bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()),
                };
                if let Some(value) = value {
                    let template = if place.is_format { value } else { with_braces(&value) };
                    place.is_format = false;
                    hear(literal, escape(&template), place.is_said);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// How many tokens the item behind `#[cfg(test)]` has; none behind other attributes.
fn for_tests_only(attribute: &Group, rest: &[TokenTree]) -> usize {
    if attribute.stream().to_string().replace(' ', "") != "cfg(test)" {
        return 0;
    }
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => token.to_string() == ";",
    };
    rest.iter().position(is_end).unwrap_or(0)
}

/// A text as a template.
fn with_braces(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// A blank, and a word that is no constant (CLONE_NEWPID), no call and no page of the manual (open(2)).
fn is_sentence(template: &str) -> bool {
    let text = Template::parse(template).pieces.join("\u{1}");
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    // What follows a word stays with it.
    let mut words = text.split_inclusive(|c: char| !is_of_word(c));
    let is_plain = |word: &str| {
        let letters = word.trim_end_matches(|c: char| !is_of_word(c));
        let is_word = letters.len() > 1 && letters.starts_with(|c: char| c.is_ascii_alphabetic());
        is_word && letters.contains(|c: char| c.is_ascii_lowercase()) && !word.ends_with('(')
    };
    text.contains(' ') && words.any(is_plain)
}

/// What the help says.
fn of_help() -> Found {
    let mut root = help::command();
    root.build();
    let mut found = Found::new();
    of_command(&root, &mut found);
    found
}

fn of_command(command: &Command, found: &mut Found) {
    let place = format!("the help of {}", command.get_name());
    let mut add = |text: Option<&StyledStr>| {
        if let Some(text) = text {
            found.entry(escape(&with_braces(&text.to_string()))).or_insert(place.clone());
        }
    };
    add(command.get_about());
    for arg in command.get_arguments() {
        add(arg.get_help());
        let is_long = arg.get_long_help().is_some() && arg.get_id() != "help";
        assert!(!is_long, "{arg} has a long help, which nobody translates");
    }
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for remark in text.lines().filter_map(help::remark_of) {
        add(Some(&remark.to_owned().into()));
    }
    let help = command.clone().render_help().to_string();
    for heading in help.lines().filter_map(help::heading_of) {
        add(Some(&heading.to_owned().into()));
    }
    for words in help::OF_CLAP.iter().chain(&help::MARKS) {
        add(Some(&(*words).into()));
    }
    for verb in command.get_subcommands() {
        of_command(verb, found);
    }
}

fn table_lines() -> Vec<(&'static str, String, String)> {
    let lines = |(name, text): &(&'static str, &str)| {
        let name = *name;
        let line = move |(english, korean): (String, String)| (name, escape(&english), korean);
        pairs(text).into_iter().map(line)
    };
    KOREAN.iter().flat_map(lines).collect()
}

#[test]
fn every_sentence_has_a_translation() {
    let known: BTreeSet<String> =
        table_lines().into_iter().map(|(_, english, _)| english).collect();
    let english: BTreeSet<String> = stays_english().collect();
    let of_help = of_help();
    // Examples stand in the sources as blocks; of them it is the remarks that are told.
    let examples = of_examples(&help::command());
    let in_help = |text: &String| text.split("\\n").all(|line| examples.contains(line.trim()));
    let (literals, said) = literals();
    let must_be_known = |text: &String| said.contains(text) || is_sentence(text) && !in_help(text);
    let sentences = literals.iter().filter(|(text, _)| must_be_known(text));
    let is_missing = |text: &String| !known.contains(text) && !english.contains(text);
    let mut missing: Vec<_> =
        sentences.chain(&of_help).filter(|(text, _)| is_missing(text)).collect();
    missing.sort_by_key(|(_, place)| *place);
    let mut text = String::new();
    for (english, place) in missing {
        let _ = writeln!(text, "// {place}\n{english}\n\n");
    }
    assert!(
        text.is_empty(),
        "these have no Korean: put them into crates/cli/src/language/ko/, each with its translation \
         in the next line, or into english.txt\n\n{text}"
    );
}

/// All lines below the help of all verbs.
fn of_examples(command: &Command) -> BTreeSet<String> {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let below = command.get_subcommands().flat_map(of_examples);
    text.lines().map(|line| with_braces(line.trim())).chain(below).collect()
}

/// The lines of english.txt.
fn stays_english() -> impl Iterator<Item = String> {
    let is_text =
        |line: &&str| !line.starts_with("//") && !line.starts_with('@') && !line.is_empty();
    ENGLISH.lines().filter(is_text).map(str::to_owned)
}

#[test]
fn nothing_is_translated_that_nobody_says() {
    let ((literals, _), of_help) = (literals(), of_help());
    let is_said = |text: &String| literals.contains_key(text) || of_help.contains_key(text);
    let of_libraries = |file: &str| file == "libraries.txt";
    let stale = table_lines()
        .into_iter()
        .filter(|(file, english, _)| !of_libraries(file) && !is_said(english));
    let stale: Vec<String> = stale.map(|(file, english, _)| format!("{file}: {english}")).collect();
    assert!(stale.is_empty(), "no source says these any more:\n{}", stale.join("\n"));
    let is_needed = |text: &String| is_said(text) && is_sentence(text);
    let stale: Vec<String> = stays_english().filter(|text| !is_needed(text)).collect();
    assert!(stale.is_empty(), "english.txt: none of these is needed:\n{}", stale.join("\n"));
    let files = ENGLISH.lines().filter_map(|line| line.strip_prefix('@'));
    for file in files {
        assert!(top().join(file).exists(), "english.txt: there is no {file}");
    }
}

#[test]
fn translations_have_the_holes_of_their_sentences() {
    let mut wrong = String::new();
    let mut seen = BTreeSet::new();
    for (file, text) in KOREAN {
        for block in text.split("\n\n") {
            let lines = block.lines().filter(|line| !line.starts_with("//") && !line.is_empty());
            if !matches!(lines.count(), 0 | 2) {
                let _ = writeln!(wrong, "{file}: not an English and a Korean line:\n{block}");
            }
        }
    }
    for (file, english, korean) in table_lines() {
        let (from, to) = (Template::parse(&english), Template::parse(&korean));
        let names = |template: &Template| -> BTreeSet<String> {
            let names = template.holes.iter().map(|hole| hole.name.clone());
            names.filter(|name| !name.is_empty()).collect()
        };
        let forms = to.holes.iter().filter_map(|hole| hole.form.as_deref());
        let problem = if names(&from) != names(&to) {
            "other holes"
        } else if !forms
            .into_iter()
            .all(|form| matches!(form, "" | "!") || particles::is_known(form))
        {
            "a particle that is not known"
        } else if !from.holes.is_empty() && from.weight() < 2 {
            "too few letters to be known by"
        } else if from.holes.iter().zip(&from.pieces[1..]).rev().skip(1).any(|(_, p)| p.is_empty())
        {
            "two holes beside each other"
        } else if !seen.insert(english.clone()) {
            "it is there twice"
        } else {
            continue;
        };
        let _ = writeln!(wrong, "{file}: {problem}:\n{english}\n{korean}\n");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_errno_is_known() {
    for number in 1..=133 {
        let errno = nix::errno::Errno::from_raw(number);
        let meaning = errno.desc();
        if errno != nix::errno::Errno::UnknownErrno {
            assert_ne!(table().say(meaning), meaning, "{errno:?}");
        }
    }
}

#[test]
fn no_text_is_too_hostile() {
    for text in ["cannot open : ", "cannot mount / on ; ", "a (b) \"c\" ", "ENOENT (: (", "{|을}"]
    {
        table().say(&text.repeat(500));
        table().say(&format!("hint: {}", text.repeat(50)));
    }
}

#[test]
fn sentences_are_found_whatever_their_holes_hold() {
    let table = Table::of(std::iter::once(
        "\
// a remark
cannot find {name:?}
{name|을} 찾을 수 없습니다

cannot {what} {path}
{path}: {what|!} 못합니다

open
열지

open a way to
길을 열지

no such container
그런 컨테이너가 없습니다

it failed: {why}
실패했습니다: {why}

{count} of {} left{s}
{1}개 중 {count}개 남음{s|}

hint: {hint}
도움말: {hint}

`run {name}` helps
`run {name}`{|을} 하세요

Not there
없음

did you mean `{word}`?
`{word}`{|을} 찾으셨나요?

`{verb} --help` lists all verbs
명령어는 모두 `{verb} --help`에 있습니다
",
    ));
    for (english, korean) in [
        ("cannot find \"web\"", "\"web\"을 찾을 수 없습니다"),
        ("cannot open /a b", "/a b: 열지 못합니다"),
        ("cannot open a way to /a b", "/a b: 길을 열지 못합니다"),
        ("cannot close /a", "cannot close /a"),
        ("cannot open /a: ENOENT (Not there)", "/a: 열지 못합니다: ENOENT (없음)"),
        (
            "cannot open /a: mount(\"x: y\") = ENOENT (Not there)",
            "/a: 열지 못합니다: mount(\"x: y\") = ENOENT (없음)",
        ),
        (
            "it failed: cannot open /x: f(2) = ENOENT (Not there)",
            "실패했습니다: /x: 열지 못합니다: f(2) = ENOENT (없음)",
        ),
        ("`run x` helps", "`run x`를 하세요"),
        ("it failed: cannot find \"커널\"", "실패했습니다: \"커널\"을 찾을 수 없습니다"),
        ("web: no such container", "web: 그런 컨테이너가 없습니다"),
        ("cannot open x: no such container", "x: 열지 못합니다: 그런 컨테이너가 없습니다"),
        (
            "cannot open x\n  hint: no such container",
            "x: 열지 못합니다\n  도움말: 그런 컨테이너가 없습니다",
        ),
        ("3 of 4 lefts", "4개 중 3개 남음"),
        (
            "hint: did you mean `stop`? `run --help` lists all verbs",
            "도움말: `stop`을 찾으셨나요? 명령어는 모두 `run --help`에 있습니다",
        ),
        ("what nobody knows", "what nobody knows"),
        ("", ""),
    ] {
        assert_eq!(table.say(english), korean, "{english}");
    }
}

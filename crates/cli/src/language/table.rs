//! Sentences and what they are in another language, found by the finished English text.

use std::collections::HashMap;

use super::particles;

/// A text with holes, as the code writes it for `format!`: literal pieces, and the holes between them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// One more than there are holes.
    pub pieces: Vec<String>,
    /// What stands in braces.
    pub holes: Vec<Hole>,
}

/// `{name}`, or in a translation `{name|form}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hole {
    /// Its name; one without is called by its number among those without, from 1 on. In a translation
    /// `{|form}` is a particle alone, for whatever stands before it.
    pub name: String,
    /// A particle that is to fit; `!`, where it must be a word of the table that is translated, too; or
    /// nothing after the bar, where this language leaves it out.
    pub form: Option<String>,
    /// It is written as a Rust literal, mostly in quotes.
    pub is_quoted: bool,
}

impl Template {
    pub(super) fn parse(text: &str) -> Template {
        let mut template = Template { pieces: vec![String::new()], holes: Vec::new() };
        let mut unnamed = 0;
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            if matches!(letter, '{' | '}') && letters.peek() == Some(&letter) {
                letters.next();
            } else if letter == '{' {
                let inside: String = letters.by_ref().take_while(|c| *c != '}').collect();
                let (inside, form) = match inside.split_once('|') {
                    Some((name, form)) => (name, Some(form.to_owned())),
                    None => (inside.as_str(), None),
                };
                let (name, spec) = inside.split_once(':').unwrap_or((inside, ""));
                let mut name = name.to_owned();
                if name.is_empty() && form.is_none() {
                    unnamed += 1;
                    name = unnamed.to_string();
                }
                template.holes.push(Hole { name, form, is_quoted: spec.ends_with('?') });
                template.pieces.push(String::new());
                continue;
            }
            if let Some(piece) = template.pieces.last_mut() {
                piece.push(letter);
            }
        }
        template
    }

    /// How many letters and signs are its own.
    pub(super) fn weight(&self) -> usize {
        self.pieces.iter().flat_map(|piece| piece.chars()).filter(|c| !c.is_whitespace()).count()
    }

    /// What the holes hold, where `text` is this sentence. Of each hole, `ours` says whether it can hold
    /// only what `is_known`; then as much as possible.
    fn read<'a>(
        &self,
        text: &'a str,
        ours: &[bool],
        is_known: &impl Fn(&str) -> bool,
    ) -> Option<Vec<&'a str>> {
        let rest = text.strip_prefix(self.pieces.first()?.as_str())?;
        rest.ends_with(self.pieces.last()?.as_str()).then_some(())?;
        let mut held = Vec::with_capacity(self.holes.len());
        self.read_on(rest, ours, is_known, &mut held).then_some(held)
    }

    fn read_on<'a>(
        &self,
        rest: &'a str,
        ours: &[bool],
        is_known: &impl Fn(&str) -> bool,
        held: &mut Vec<&'a str>,
    ) -> bool {
        let number = held.len();
        let Some(piece) = self.pieces.get(number + 1) else {
            return rest.is_empty();
        };
        let mut ends: Vec<usize> = if number + 1 == self.holes.len() {
            rest.len().checked_sub(piece.len()).into_iter().collect()
        } else {
            rest.match_indices(piece.as_str()).map(|(at, _)| at).collect()
        };
        if self.holes.get(number + 1).is_some_and(|next| next.is_quoted) {
            ends.sort_by_key(|end| !rest[end + piece.len()..].starts_with('"'));
        }
        if ours[number] {
            ends.retain(|end| is_known(&rest[..*end]));
            ends.reverse();
        }
        // What fits will be among the first; a hostile name must not cost more.
        ends.truncate(4);
        ends.into_iter().any(|end| {
            held.truncate(number);
            held.push(&rest[..end]);
            self.read_on(&rest[end + piece.len()..], ours, is_known, held)
        })
    }
}

/// One sentence in both languages.
#[derive(Debug)]
struct Entry {
    english: Template,
    foreign: Template,
    weight: usize,
    /// Of each hole, whether only a word of the table can stand in it.
    ours: Vec<bool>,
    /// It begins with a word and a colon, as `hint: {hint}`: what follows is another sentence's.
    is_label: bool,
}

/// All sentences.
#[derive(Debug)]
pub(super) struct Table {
    exact: HashMap<String, String>,
    entries: Vec<Entry>,
}

impl Table {
    /// From the files' texts.
    pub(super) fn of<'a>(files: impl Iterator<Item = &'a str>) -> Table {
        let mut table = Table { exact: HashMap::new(), entries: Vec::new() };
        for (english, foreign) in files.flat_map(pairs) {
            let (english, foreign) = (Template::parse(&english), Template::parse(&foreign));
            if english.holes.is_empty() {
                table.exact.insert(english.pieces.concat(), foreign.pieces.concat());
            } else {
                let weight = english.weight();
                let is_ours = |hole: &Hole| {
                    let same = foreign.holes.iter().find(|other| other.name == hole.name);
                    same.is_some_and(|other| other.form.as_deref() == Some("!"))
                };
                let ours = english.holes.iter().map(is_ours).collect();
                let label = english.pieces[0].strip_suffix(": ");
                let is_label = label.is_some_and(|label| !label.contains(' '));
                table.entries.push(Entry { english, foreign, weight, ours, is_label });
            }
        }
        table
    }

    /// `text` in the other language; what is not known stays as it is.
    pub(super) fn say(&self, text: &str) -> String {
        let bare = text.trim_matches([' ', '\n']);
        let said = if bare.contains('\n') {
            let said = self.exact.get(bare).cloned();
            said.or_else(|| {
                Some(bare.split('\n').map(|line| self.say(line)).collect::<Vec<_>>().join("\n"))
            })
        } else {
            self.known(bare).or_else(|| self.joined(bare))
        };
        match said {
            Some(said) if bare.len() == text.len() => said,
            Some(said) => text.replacen(bare, &said, 1),
            None => text.to_owned(),
        }
    }

    /// A whole sentence of the table.
    fn known(&self, text: &str) -> Option<String> {
        if let Some(said) = self.exact.get(text) {
            return Some(said.clone());
        }
        if let Some(said) = self.with_errno(text) {
            return Some(said);
        }
        let (entry, held) = self.find(text)?;
        // An open end takes in whatever was put behind the sentence, unless it is there for that.
        let is_open = |last: &&str| last.contains(": ") || last.contains("; ");
        let pieces = entry.english.pieces.as_slice();
        let is_for_more =
            matches!(pieces, [.., mark, end] if end.is_empty() && mark.ends_with(": "));
        let swallows = held.last().is_some_and(is_open) && !is_for_more;
        let joined = swallows.then(|| self.two_known(text)).flatten();
        joined.or_else(|| Some(self.fill(entry, &held)))
    }

    /// The sentence that has most letters in common with `text`.
    fn find<'t, 'a>(&'t self, text: &'a str) -> Option<(&'t Entry, Vec<&'a str>)> {
        let read = |entry: &'t Entry| {
            let is_known = |held: &str| self.exact.contains_key(held);
            Some((entry, entry.english.read(text, &entry.ours, &is_known)?))
        };
        self.entries.iter().filter_map(read).max_by_key(|(entry, _)| (entry.is_label, entry.weight))
    }

    fn fill(&self, entry: &Entry, held: &[&str]) -> String {
        let names = entry.english.holes.iter().map(|hole| hole.name.as_str());
        let held: HashMap<&str, &str> = names.zip(held.iter().copied()).collect();
        let mut text = entry.foreign.pieces[0].clone();
        for (hole, piece) in entry.foreign.holes.iter().zip(&entry.foreign.pieces[1..]) {
            let content = held.get(hole.name.as_str()).copied().unwrap_or_default();
            // Names are one word mostly; what has several may be a sentence.
            let is_ours = hole.form.as_deref() == Some("!") || content.contains(' ');
            let said = if is_ours { self.say(content) } else { content.to_owned() };
            match hole.form.as_deref() {
                None | Some("!") => text.push_str(&said),
                Some("") => {}
                Some(form) => {
                    text.push_str(&said);
                    text.push_str(particles::fitting(form, &text));
                }
            }
            text.push_str(piece);
        }
        text
    }

    /// "what: call = ENOENT (No such file or directory)", as errors end.
    fn with_errno(&self, text: &str) -> Option<String> {
        let (head, meaning) = text.strip_suffix(')')?.rsplit_once(" (")?;
        let meaning = self.exact.get(meaning)?;
        let errno = head.rsplit([' ', ':']).next()?;
        if !errno.starts_with('E') || errno.contains(|c: char| c.is_ascii_lowercase()) {
            return None;
        }
        let before = head.strip_suffix(errno)?;
        if let Some(what) = before.strip_suffix(": ") {
            return Some(format!("{}: {errno} ({meaning})", self.say(what)));
        }
        let all = before.strip_suffix(" = ")?;
        let is_call = |(what, call): &(&str, &str)| {
            let rest = call.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let is_name = rest.len() < call.len() && !what.is_empty();
            is_name && (rest.is_empty() || rest.starts_with('(') || rest.starts_with(", in "))
        };
        let mut cuts = all.match_indices(": ").map(|(at, _)| (&all[..at], &all[at + 2..]));
        let (what, call) = cuts.find(is_call)?;
        Some(format!("{}: {} = {errno} ({meaning})", self.say(what), self.say(call)))
    }

    /// Two sentences of the table, with a colon or semicolon between them, or the first a question.
    fn two_known(&self, text: &str) -> Option<String> {
        splits(text).find_map(|(head, between, tail)| {
            Some(self.known(head)? + between + &self.known(tail)?)
        })
    }

    /// A sentence of the table and something else behind or before it.
    fn joined(&self, text: &str) -> Option<String> {
        let behind = |(head, between, tail): (&str, &str, &str)| {
            Some(self.known(head)? + between + &self.say(tail))
        };
        let before = |(head, between, tail): (&str, &str, &str)| {
            Some(head.to_owned() + between + &self.known(tail)?)
        };
        splits(text).find_map(behind).or_else(|| splits(text).find_map(before))
    }
}

/// All ways to cut `text` at a colon or semicolon, or behind a question; none where there are more than
/// sentences have.
fn splits(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let marks = || [": ", "; ", "? "].into_iter().flat_map(|mark| text.match_indices(mark));
    let are_few = marks().nth(6).is_none();
    marks().filter(move |_| are_few).map(|(at, mark)| {
        // A question keeps its mark.
        let kept = usize::from(mark == "? ");
        (&text[..at + kept], &mark[kept..], &text[at + mark.len()..])
    })
}

/// The pairs of lines of a file; `//` begins a remark, `\n` is a new line.
pub(super) fn pairs(file: &str) -> Vec<(String, String)> {
    let lines = file.lines().filter(|line| !line.starts_with("//") && !line.is_empty());
    let lines: Vec<String> = lines.map(|line| line.replace("\\n", "\n")).collect();
    lines.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// A template as it stands in the files: blanks around it stay with the sentence in any language.
#[cfg(test)]
pub(super) fn escape(text: &str) -> String {
    text.trim_matches([' ', '\n']).replace('\n', "\\n")
}

//! A lesson: Markdown that can be read on its own, and for whoever does it in a terminal, comments that say
//! when a step is done.
//!
//! `#` is the title, `##` a part, `###` a step. In a step:
//!
//! - `<!-- until: job while_loop.py runs -->`: it is done when this is true on this machine, checks.rs;
//! - `<!-- ask: box loop inside -->`: it is done when this is answered;
//! - both: it is done when this is answered while that is so; neither: when it has been read;
//! - `<!-- needs: limits -->`: whoever may not limit anything here has only to read it;
//! - `<!-- needs: job sh own pid -->`: without this it makes no sense, and its part begins anew;
//! - a quote, `> …`, is a hint, shown one at a time to whoever asks;
//! - `<!-- play: … -->`: what the test types where the shell blocks above are not enough;
//!   `<!-- wrong: … -->`: what it types first, and what must not be taken for done.

use minibox_runtime::{Error, Result};

use super::checks::{Condition, Question};

/// A whole lesson in one language.
#[derive(Debug)]
pub(crate) struct Lesson {
    /// As it is called on the command line.
    pub name: &'static str,
    pub title: String,
    /// What stands before its first part.
    pub about: String,
    pub steps: Vec<Step>,
}

/// One thing to do, or to read.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// Which part it belongs to, from 0 on; one resumes where a part begins.
    pub part: usize,
    /// Heading and introduction of the part that it begins, Markdown.
    pub opening: String,
    pub title: String,
    /// Markdown, without hints and comments.
    pub text: String,
    /// What steps before it have made, and must still be so.
    pub needs: Vec<Condition>,
    /// All that is to become so.
    pub until: Vec<Condition>,
    /// What must be answered.
    pub ask: Option<Question>,
    /// Can it be done only by one who may make cgroups?
    pub needs_limits: bool,
    pub hints: Vec<String>,
}

impl Lesson {
    /// Reads one of the program's own; an error names the line that is wrong.
    pub(crate) fn parse(name: &'static str, text: &str) -> Result<Lesson> {
        let mut lesson =
            Lesson { name, title: String::new(), about: String::new(), steps: Vec::new() };
        let (mut part, mut part_text, mut in_code) = (None::<usize>, String::new(), false);
        for line in text.lines() {
            in_code ^= line.starts_with("```");
            let heading = if in_code { None } else { line.split_once(' ') };
            match heading {
                Some(("#", title)) => title.clone_into(&mut lesson.title),
                Some(("##", title)) => {
                    part = Some(part.map_or(0, |part| part + 1));
                    part_text = format!("## {title}\n");
                }
                Some(("###", title)) => lesson.steps.push(Step {
                    part: part.unwrap_or_default(),
                    title: title.to_owned(),
                    opening: std::mem::take(&mut part_text),
                    ..Step::default()
                }),
                _ if !part_text.is_empty() => part_text += &format!("{line}\n"),
                _ => match lesson.steps.last_mut() {
                    Some(step) => step.take(line, in_code).map_err(|error| {
                        Error::new(format!("lesson {name}, {line:?}: {}", error.what))
                    })?,
                    None => lesson.about += &format!("{line}\n"),
                },
            }
        }
        Ok(lesson)
    }

    /// The step with which the part of this one begins.
    pub(crate) fn start_of_part(&self, step: usize) -> usize {
        let part = self.steps.get(step).map(|step| step.part);
        self.steps.iter().position(|step| Some(step.part) == part).unwrap_or(0)
    }
}

impl Step {
    /// One more line of it.
    fn take(&mut self, line: &str, in_code: bool) -> Result<()> {
        let comment = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        match comment.and_then(|comment| comment.split_once(": ")) {
            Some(("until", what)) => self.until = Condition::parse_all(what)?,
            Some(("ask", what)) => self.ask = Some(Question::parse(what)?),
            Some(("needs", "limits")) => self.needs_limits = true,
            Some(("needs", what)) => self.needs = Condition::parse_all(what)?,
            // The test's.
            Some(("play" | "wrong", _)) => {}
            Some((other, _)) => {
                return Err(Error::new(format!("{other} is no comment of a lesson")));
            }
            None => match line.strip_prefix("> ").filter(|_| !in_code) {
                Some(hint) => self.hints.push(hint.to_owned()),
                None => self.text += &format!("{line}\n"),
            },
        }
        Ok(())
    }
}

//! Markdown on a terminal: headings, paragraphs, lists, code; all that a lesson needs.

use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use unicode_width::UnicodeWidthStr;

use crate::see::{Canvas, Style};

/// What is being put together.
struct Page<'a> {
    canvas: &'a Canvas,
    text: String,
    /// Words of the paragraph at hand, each with the way it stands out.
    words: Vec<(String, Option<Style>)>,
    /// In front of a paragraph's first line, and of the others.
    indents: (String, String),
    /// Numbers of the lists that it stands in; none for those with bullets.
    lists: Vec<Option<u64>>,
}

/// `markdown`, as wide as the canvas and never wider than a page.
pub(crate) fn page(markdown: &str, canvas: &Canvas) -> String {
    let canvas = &Canvas { width: canvas.width.min(90), ..*canvas };
    let indents = (String::new(), String::new());
    let mut page =
        Page { canvas, text: String::new(), words: Vec::new(), indents, lists: Vec::new() };
    let (mut style, mut in_code) = (None, false);
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::Heading { .. }) => {
                style = Some(Style::Bold);
                page.add(canvas.glyph("━━ ", "== "), style);
            }
            Event::Start(Tag::Strong) => style = Some(Style::Bold),
            Event::End(TagEnd::Strong) => style = None,
            Event::End(TagEnd::Heading(_)) => {
                style = None;
                page.flush();
                page.text.push('\n');
            }
            Event::Start(Tag::CodeBlock(_)) => in_code = true,
            Event::End(TagEnd::CodeBlock) => {
                in_code = false;
                page.text.push('\n');
            }
            Event::Text(text) if in_code => {
                for line in text.lines() {
                    let line = canvas.paint(Style::Cyan, line);
                    page.text += &format!("{}    {line}\n", page.indents.1);
                }
            }
            Event::Text(text) => page.add(&text, style),
            Event::Code(text) => page.add(&format!("`{text}`"), Some(Style::Cyan)),
            Event::SoftBreak => page.add(" ", None),
            Event::HardBreak => page.flush(),
            Event::Start(Tag::List(start)) => {
                page.flush();
                page.lists.push(start);
            }
            Event::End(TagEnd::List(_)) => {
                page.lists.pop();
                if page.lists.is_empty() {
                    page.text.push('\n');
                }
            }
            Event::Start(Tag::Item) => page.begin_item(),
            Event::End(TagEnd::Item) => {
                page.flush();
                page.indents = (String::new(), String::new());
            }
            Event::End(TagEnd::Paragraph) => {
                page.flush();
                if page.lists.is_empty() {
                    page.text.push('\n');
                }
            }
            _ => {}
        }
    }
    page.flush();
    page.text.trim_end().to_owned() + "\n"
}

impl Page<'_> {
    fn begin_item(&mut self) {
        let depth = "  ".repeat(self.lists.len().saturating_sub(1));
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{}. ", *number - 1)
            }
            _ => format!("{} ", self.canvas.glyph("•", "*")),
        };
        self.indents = (format!("{depth}{mark}"), format!("{depth}{}", " ".repeat(mark.width())));
    }

    /// Words join where no blank stands between them.
    fn add(&mut self, text: &str, style: Option<Style>) {
        for word in text.split_inclusive(' ') {
            self.words.push((word.to_owned(), style));
        }
    }

    /// Breaks the paragraph into lines: at blanks, counting columns.
    fn flush(&mut self) {
        let (mut line, mut width) = (self.indents.0.clone(), self.indents.0.width());
        let mut is_first = true;
        let words = std::mem::take(&mut self.words);
        let mut at = 0;
        while at < words.len() {
            // As far as nothing may be broken.
            let end = words[at..].iter().position(|(word, _)| word.ends_with(' '));
            let end = end.map_or(words.len(), |count| at + count + 1);
            let whole: usize = words[at..end].iter().map(|(word, _)| word.width()).sum();
            let is_last = words[end - 1].0.ends_with(' ');
            if width + whole - usize::from(is_last) > self.canvas.width && !is_first {
                self.text += &format!("{}\n", line.trim_end());
                (line, width) = (self.indents.1.clone(), self.indents.1.width());
            }
            for (word, style) in &words[at..end] {
                let bare = word.trim_end();
                line += &style.map_or(bare.to_owned(), |style| self.canvas.paint(style, bare));
                // Outside of the colour, so that it goes where it ends a line.
                line += &word[bare.len()..];
            }
            width += whole;
            is_first = false;
            at = end;
        }
        if !is_first {
            self.text += &format!("{}\n", line.trim_end());
            self.indents.0.clone_from(&self.indents.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_lists_and_code() {
        let canvas = Canvas { width: 40, height: 24, colours: false, unicode: true };
        let text = "## A part\n\nSome `code`, and more of it, so that a line is full.\n\n1. one\n2. two\n\n- a\n\n```sh\nls /proc\n```\n\n가나다라마바사아 가나다라마바사아 가나다라마바사아";
        assert_eq!(
            page(text, &canvas),
            "━━ A part\n\nSome `code`, and more of it, so that a\nline is full.\n\n1. one\n2. two\n\n• a\n\n    ls /proc\n\n가나다라마바사아 가나다라마바사아\n가나다라마바사아\n"
        );
    }
}

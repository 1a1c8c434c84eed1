//! What a picture is drawn on: how wide it may be, and what the terminal understands.

use std::io::IsTerminal;

use unicode_width::UnicodeWidthStr;

use crate::language::say;
use crate::output;
use crate::terminal;

/// How a piece of text stands out. Never the only sign of what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A heading.
    Bold,
    /// Of less weight.
    Dim,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
}

/// Where a picture goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Canvas {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// It may be painted.
    pub colours: bool,
    /// It has more letters than ASCII.
    pub unicode: bool,
}

impl Canvas {
    /// Standard output's; where that is no terminal, a page for a file.
    pub(crate) fn of_stdout() -> Canvas {
        let stdout = std::io::stdout();
        let size = stdout.is_terminal().then(terminal::size).flatten();
        let (height, width) = size.unwrap_or((24, 100));
        Canvas {
            width: usize::from(width).max(40),
            height: usize::from(height).max(4),
            colours: output::colours(&stdout),
            unicode: knows_unicode(),
        }
    }

    /// The same of standard error, where a prompt is on standard output.
    pub(crate) fn of_stderr() -> Canvas {
        let stderr = std::io::stderr();
        let (height, width) = terminal::size().unwrap_or((24, 80));
        Canvas {
            width: usize::from(width).max(40),
            height: usize::from(height).max(4),
            colours: output::colours(&stderr),
            unicode: knows_unicode(),
        }
    }

    /// `text`, standing out.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if !self.colours || text.is_empty() {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Green => "32",
            Style::Yellow => "33",
            Style::Blue => "34",
            Style::Magenta => "35",
            Style::Cyan => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The first where the terminal has such letters, else the second, of as many columns.
    pub(crate) fn glyph(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }

    /// A heading on a line of its own, in the language that is spoken.
    pub(crate) fn heading(&self, text: &str) -> String {
        let text = output::shorten(&output::on_one_line(&say(text)), self.width);
        self.paint(Style::Bold, &text) + "\n"
    }

    /// `text`, in the language that is spoken, in lines of at most `width` columns, broken at blanks, each
    /// behind `indent`.
    pub(crate) fn wrap(&self, indent: &str, text: &str) -> String {
        let text = say(text);
        let room = self.width.saturating_sub(indent.width()).max(20);
        let (mut all, mut line) = (String::new(), String::new());
        for word in text.split(' ') {
            if !line.is_empty() && line.width() + 1 + word.width() > room {
                all += &format!("{indent}{line}\n");
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        all + &format!("{indent}{line}\n")
    }
}

/// locale(7): of these variables the first that is set counts.
fn knows_unicode() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_count_columns() {
        let canvas = Canvas { width: 40, height: 24, colours: false, unicode: true };
        let text = "가나다라마바사 ".repeat(4);
        let wrapped = canvas.wrap("  ", text.trim());
        assert_eq!(wrapped, "  가나다라마바사 가나다라마바사\n".repeat(2));
    }
}

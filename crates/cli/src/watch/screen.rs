//! The screen of `watch`: containers on the left, the picture on the right, meters above, keys below.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr;

use super::{Line, VIEWS, Watch};
use crate::language::say;
use crate::output;
use crate::see::{Canvas, Style as Weight};
use crate::size;

/// Columns of the list.
fn left(width: usize) -> usize {
    (width * 3 / 10).clamp(24, 44)
}

/// Lines above and below the picture.
const AROUND: u16 = 7;

/// What the picture is drawn on.
pub(super) fn right_of(canvas: &Canvas) -> Canvas {
    let width = canvas.width.saturating_sub(left(canvas.width) + 2);
    Canvas { width, height: canvas.height.saturating_sub(usize::from(AROUND)), ..*canvas }
}

pub(super) fn draw(watch: &Watch<'_>, canvas: &Canvas, frame: &mut Frame<'_>) {
    let rows = [
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
        Constraint::Length(1),
    ];
    let [title, meters, tabs, body, said, keys] = Layout::vertical(rows).areas(frame.area());
    let style = Painter { colours: canvas.colours };
    let runs = watch.lines.iter().filter(|line| line.cpu.is_some()).count();
    let heading = say(&format!("minibox watch: containers: {}, alive: {runs}", watch.lines.len()));
    put(frame, title, Text::styled(heading, BOLD));
    draw_meters(watch, canvas, style, frame, meters);
    draw_tabs(watch, frame, tabs);
    let columns =
        [Constraint::Length(left(canvas.width) as u16), Constraint::Length(2), Constraint::Min(10)];
    let [list, gap, picture] = Layout::horizontal(columns).areas(body);
    draw_list(watch, canvas, style, frame, list);
    let bar = canvas.glyph("│", "|");
    frame.render_widget(Paragraph::new(vec![Text::raw(bar); gap.height.into()]), gap);
    let lines: Vec<Text<'_>> = watch.picture.lines().map(painted).collect();
    // Never past its end.
    let most = lines.len().saturating_sub(usize::from(picture.height)) as u16;
    frame.render_widget(Paragraph::new(lines).scroll((watch.scroll.min(most), 0)), picture);
    put(frame, said, Text::styled(watch.said.clone(), style.of(Color::Yellow)));
    let help =
        say("↑↓ Tab  p pause  s stop  r start  K kill -9  x shell  l logs  b birth  q leave");
    let help = if canvas.unicode { help } else { help.replace("↑↓", "j/k") };
    put(frame, keys, Text::styled(output::shorten(&help, canvas.width), REVERSED));
}

fn put(frame: &mut Frame<'_>, area: Rect, line: Text<'_>) {
    frame.render_widget(Paragraph::new(line), area);
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Styles, where the terminal may be painted; else only what every terminal has.
#[derive(Clone, Copy)]
struct Painter {
    colours: bool,
}

impl Painter {
    fn of(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }
}

fn draw_list(
    watch: &Watch<'_>,
    canvas: &Canvas,
    style: Painter,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let height = usize::from(area.height);
    // The chosen one is always seen.
    let first = watch.chosen.saturating_sub(height.saturating_sub(1));
    let width = usize::from(area.width);
    let lines: Vec<Text<'_>> = (first..watch.lines.len())
        .take(height)
        .map(|at| {
            let line = &watch.lines[at];
            let mark = if at == watch.chosen { canvas.glyph("▶ ", "> ") } else { "  " };
            let use_of = match line.cpu {
                Some(cpu) => format!("{:>4} %", cpu / 10_000),
                None => say(line.status),
            };
            let tail = if line.status == "paused" { say(line.status) } else { use_of };
            let room = width.saturating_sub(mark.width() + tail.width() + 1);
            let name = output::shorten(&line.name, room);
            let blanks =
                " ".repeat(width.saturating_sub(mark.width() + name.width() + tail.width()));
            let look = match (at == watch.chosen, line.status) {
                (true, _) => REVERSED,
                (_, "runs") => style.of(Color::Green),
                (_, "paused") => style.of(Color::Yellow),
                _ => style.of(Color::DarkGray),
            };
            Text::styled(format!("{mark}{name}{blanks}{tail}"), look)
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_tabs(watch: &Watch<'_>, frame: &mut Frame<'_>, area: Rect) {
    let mut spans = Vec::new();
    for (number, (view, name)) in VIEWS.iter().enumerate() {
        let text = format!(" {} {name} ", number + 1);
        let look = if *view == watch.view { REVERSED } else { Style::new() };
        spans.extend([Span::styled(text, look), Span::raw(" ")]);
    }
    put(frame, area, Text::from(spans));
}

/// A line between two views, with the name of the second.
pub(super) fn rule(name: &str, canvas: &Canvas) -> String {
    let line = canvas.glyph("─", "-");
    let rest = line.repeat(canvas.width.saturating_sub(name.width() + 4));
    canvas.paint(Weight::Dim, &format!("{line}{line} {name} {rest}")) + "\n"
}

/// CPU, memory and processes of the chosen one, each with what came before.
fn draw_meters(
    watch: &Watch<'_>,
    canvas: &Canvas,
    style: Painter,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let Some(Line { name, cpu, memory, limit, pids, .. }) = watch.lines.get(watch.chosen) else {
        return;
    };
    let dash = || String::from("-");
    let history = watch.history.get(name);
    let of = |which: fn(&(u64, u64)) -> u64| -> Vec<u64> {
        history.into_iter().flatten().map(which).collect()
    };
    let (cpus, memories) = (of(|(cpu, _)| *cpu), of(|(_, memory)| *memory));
    let room = usize::from(area.width).saturating_sub(34).min(super::HISTORY);
    let percent = cpu.map_or_else(dash, |cpu| format!("{}.{} %", cpu / 10_000, cpu / 1000 % 10));
    let most = cpus.iter().copied().max().unwrap_or(0).max(1_000_000);
    let used = memory
        .map_or_else(dash, |memory| format!("{} / {}", size::binary(memory), size::binary(*limit)));
    let top = memories.iter().copied().max().unwrap_or(0).max(1);
    let processes = pids.map_or_else(dash, |count| count.to_string());
    let lines = vec![
        meter("CPU", &percent, &bars(&cpus, most, room, canvas), style.of(Color::Green)),
        meter("RAM", &used, &bars(&memories, top, room, canvas), style.of(Color::Cyan)),
        Text::raw(format!("{:<5}{processes}", "PIDS")),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn meter(what: &str, value: &str, bars: &str, look: Style) -> Text<'static> {
    Text::from(vec![
        Span::raw(format!("{what:<5}{value:<28}")),
        Span::styled(bars.to_owned(), look),
    ])
}

/// A strip as tall as one letter, the newest on its right.
fn bars(values: &[u64], most: u64, room: usize, canvas: &Canvas) -> String {
    let levels: [&str; 9] = if canvas.unicode {
        [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
    } else {
        [" ", ".", ".", ":", "-", "=", "+", "*", "#"]
    };
    let level = |value: &u64| {
        let eighths = (u128::from(*value) * 8).div_ceil(u128::from(most.max(1)));
        levels[usize::try_from(eighths).unwrap_or(8).min(8)]
    };
    let shown = &values[values.len().saturating_sub(room)..];
    " ".repeat(room - shown.len()) + &shown.iter().map(level).collect::<String>()
}

/// A line with our own signs for bold and colour, which a picture has.
fn painted(line: &str) -> Text<'static> {
    let mut spans = Vec::new();
    let mut look = Style::new();
    for (number, part) in line.split("\x1b[").enumerate() {
        let text = if number == 0 {
            part
        } else {
            let (code, text) = part.split_once('m').unwrap_or(("", part));
            look = match code {
                "1" => look.add_modifier(Modifier::BOLD),
                "2" => look.add_modifier(Modifier::DIM),
                "31" => look.fg(Color::Red),
                "32" => look.fg(Color::Green),
                "33" => look.fg(Color::Yellow),
                "34" => look.fg(Color::Blue),
                "35" => look.fg(Color::Magenta),
                "36" => look.fg(Color::Cyan),
                _ => Style::new(),
            };
            text
        };
        spans.push(Span::styled(text.to_owned(), look));
    }
    Text::from(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_is_as_wide_as_its_room_and_ends_with_the_newest() {
        let canvas = Canvas { width: 80, height: 24, colours: false, unicode: true };
        assert_eq!(bars(&[0, 4, 8], 8, 5, &canvas), "   ▄█");
        assert_eq!(bars(&[1, 2, 3, 8], 8, 2, &canvas), "▃█");
        assert_eq!(bars(&[8], 8, 1, &Canvas { unicode: false, ..canvas }), "#");
    }

    #[test]
    fn colours_of_a_picture_stay() {
        let text = painted("a\x1b[1mb\x1b[0mc");
        let parts: Vec<(&str, bool)> = text
            .spans
            .iter()
            .map(|span| (&*span.content, span.style.add_modifier.contains(Modifier::BOLD)))
            .collect();
        assert_eq!(parts, [("a", false), ("b", true), ("c", false)]);
    }
}

//! Columns that stay where they are from one look to the next.

use unicode_width::UnicodeWidthStr;

use crate::output;

/// A line for each row, cut to `width` columns. Those in `numbers` stand to the right; each is as wide as what
/// is in it, and at least as its heading needs by `least`, since numbers grow.
pub(super) fn columns(
    rows: &[Vec<String>],
    numbers: &[&str],
    least: &[(&str, usize)],
    width: usize,
) -> Vec<String> {
    let Some(heading) = rows.first() else { return Vec::new() };
    let widths = heading.iter().enumerate().map(|(column, title)| {
        let widest = rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
        let least = least.iter().find(|(known, _)| known == title).map_or(0, |(_, least)| *least);
        widest.max(least)
    });
    let widths: Vec<usize> = widths.collect();
    let is_number = |title: &str| numbers.iter().any(|known| title.starts_with(known));
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for ((cell, title), width) in row.iter().zip(heading).zip(&widths) {
            let blanks = " ".repeat(width - cell.width());
            let (before, behind) =
                if is_number(title) { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
            line.extend([before, cell, behind, "  "]);
        }
        output::shorten(line.trim_end(), width)
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_nothing_jumps() {
        let rows =
            [["PID", "이름", "X"], ["7", "a", "가나다라"]].map(|r| r.map(str::to_owned).to_vec());
        let lines = columns(&rows, &["PID"], &[("이름", 6)], 20);
        assert_eq!(lines, ["PID  이름    X", "  7  a       가나다…"]);
    }
}

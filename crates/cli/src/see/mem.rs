//! `minibox mem`: the address space of a process, drawn with the highest addresses on top.

use std::fmt::Write as _;

use minibox_lens::memory::{self, Amounts, Counters, Kind, Mapping, Memory};
use minibox_lens::{Process, Seen};
use minibox_runtime::Result;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::{Canvas, Style, Target, fault, find, look};
use crate::args::MemArgs;
use crate::language::say;
use crate::output;
use crate::size;
use crate::store::Store;

/// One look, and the one before it.
#[derive(Serialize)]
struct Look {
    #[serde(flatten)]
    now: Memory,
    #[serde(skip)]
    before: Option<Memory>,
}

/// `minibox mem`.
pub(crate) fn mem(store: &Store, args: &MemArgs) -> Result<u8> {
    let target = find(store, &args.target)?;
    let mut last = None;
    let see = || {
        let now = see(&target.process)?;
        Ok(Look { before: last.replace(now.clone()), now })
    };
    look(&args.look, "mem/1", &target, see, |seen, canvas| {
        page(&target, seen, canvas, args.all, args.look.watch)
    })
}

/// The memory of a process as it was when it was looked at last.
pub(crate) type Before = Option<(i32, Memory)>;

/// The same beside what it was `before`, for another screen.
pub(crate) fn picture(target: &Target, before: &mut Before, canvas: &Canvas) -> Result<String> {
    let now = see(&target.process)?;
    let last = before.replace((target.pid, now.clone()));
    let before = last.filter(|(pid, _)| *pid == target.pid).map(|(_, memory)| memory);
    Ok(page(target, &Look { now, before }, canvas, false, true))
}

fn page(target: &Target, seen: &Look, canvas: &Canvas, all: bool, is_watched: bool) -> String {
    let heading = format!("The memory of {} ({})", target.title(), seen.now.name);
    canvas.heading(&heading)
        + &match (&seen.now.counters, all) {
            (Seen::Known(counters), false) => draw(seen, counters, canvas, is_watched),
            (Seen::Known(_), true) => list(&seen.now, canvas),
            _ => canvas.wrap("", nothing(&seen.now)),
        }
}

fn see(process: &Process) -> Result<Memory> {
    memory::of(process).map_err(|error| fault(&error))
}

/// Why there is nothing to draw.
fn nothing(seen: &Memory) -> &'static str {
    if seen.kernel_thread {
        return "It is a thread of the kernel's own and has no memory for itself: it works in the kernel space, which is on top of every process's picture.";
    }
    match seen.state {
        'Z' | 'X' => {
            "It has ended, and its memory is given back. Only its number and its exit code are kept, until its parent asks for them: a zombie."
        }
        _ => "It has no memory at this moment: it is about to end.",
    }
}

/// One line of the picture.
struct Row {
    /// What is compared from one look to the next.
    label: String,
    kind: Kind,
    permissions: String,
    /// The lowest address, where it may be known.
    start: Option<u64>,
    /// The first address above.
    end: Option<u64>,
    /// How many mappings it stands for.
    count: usize,
    /// Bytes of addresses.
    size: u64,
    amounts: Seen<Amounts>,
    file: Option<String>,
}

/// What is drawn from the top to the bottom.
enum Region {
    Kernel,
    /// Addresses that nothing has. What stands beside them may grow into them.
    Gap {
        size: Option<u64>,
        below_stack: bool,
        above_heap: bool,
    },
    Rows(Vec<Row>),
}

/// What is drawn as one block.
#[derive(PartialEq, Clone, Copy)]
enum Block {
    Stack,
    Between,
    Heap,
    Program,
}

fn block(kind: Kind) -> Block {
    match kind {
        Kind::Stack => Block::Stack,
        Kind::Heap => Block::Heap,
        Kind::Bss | Kind::Data | Kind::Constants | Kind::Code => Block::Program,
        _ => Block::Between,
    }
}

/// Those that are drawn in one row, in the order in which they stand in their block.
const KINDS: [Kind; 13] = [
    Kind::Stack,
    Kind::Vdso,
    Kind::ThreadStack,
    Kind::Library,
    Kind::File,
    Kind::SharedMemory,
    Kind::Arena,
    Kind::Anonymous,
    Kind::Heap,
    Kind::Bss,
    Kind::Data,
    Kind::Constants,
    Kind::Code,
];

fn label(kind: Kind, count: usize) -> &'static str {
    match (kind, count) {
        (Kind::Stack, _) => "stack",
        (Kind::Vdso | Kind::Vsyscall, _) => "vdso: lent by kernel",
        (Kind::ThreadStack, 1) => "a thread's stack",
        (Kind::ThreadStack, _) => "threads' stacks",
        (Kind::Library, 1) => "a library",
        (Kind::Library, _) => "more libraries",
        (Kind::File, 1) => "a file",
        (Kind::File, _) => "files",
        (Kind::SharedMemory, _) => "shared memory",
        (Kind::Arena, _) => "threads' heaps",
        (Kind::Anonymous, _) => "anonymous memory",
        (Kind::Heap, _) => "heap",
        (Kind::Bss, _) => "bss: zero at first",
        (Kind::Data, _) => "data: variables",
        (Kind::Constants, _) => "constants",
        (Kind::Code, _) => "code: instructions",
    }
}

/// The same in the words of the lecture, where there is room for them.
fn long_label(short: &str) -> &str {
    match short {
        "stack" => "stack: local variables, arguments",
        "anonymous memory" => "anonymous: from mmap(2), no file",
        "heap" => "heap: what malloc(3) gives",
        "bss: zero at first" => "bss: globals that are zero at first",
        "data: variables" => "data: globals, statics",
        "constants" => "constants: globals, only read",
        "code: instructions" => "code: the program's instructions",
        short => short,
    }
}

fn style(kind: Kind) -> Style {
    match kind {
        Kind::Stack | Kind::ThreadStack => Style::Yellow,
        Kind::Heap | Kind::Arena | Kind::Anonymous => Style::Green,
        Kind::Bss | Kind::Data | Kind::Constants => Style::Magenta,
        Kind::Code => Style::Cyan,
        Kind::Vdso | Kind::Vsyscall | Kind::File | Kind::SharedMemory => Style::Dim,
        Kind::Library => Style::Blue,
    }
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path)
}

/// One row for all of these.
fn row(kind: Kind, label: &str, mappings: &[&Mapping]) -> Row {
    // A stack and the page that it ends with are two mappings of one.
    let is_one = |mapping: &&&Mapping| {
        !matches!(kind, Kind::ThreadStack | Kind::Arena) || !mapping.permissions.starts_with("---")
    };
    let permissions =
        |mapping: &&&Mapping| mapping.permissions.get(..3).unwrap_or_default().to_owned();
    let mut kinds: Vec<String> = mappings.iter().filter(is_one).map(|m| permissions(&m)).collect();
    kinds.dedup();
    let mut amounts = Seen::Known(Amounts::default());
    for mapping in mappings {
        amounts = match (amounts, &mapping.amounts) {
            (Seen::Known(sum), Seen::Known(more)) => Seen::Known(sum.plus(*more)),
            _ => Seen::Denied,
        };
    }
    Row {
        label: label.to_owned(),
        kind,
        permissions: if kinds.len() == 1 { kinds.remove(0) } else { String::from("mix") },
        start: mappings.iter().map(|mapping| mapping.start.0).min(),
        end: mappings.iter().map(|mapping| mapping.end.0).max(),
        count: mappings.iter().filter(is_one).count(),
        size: mappings.iter().map(|mapping| mapping.size()).sum(),
        amounts,
        file: mappings.iter().find_map(|mapping| mapping.name.clone()),
    }
}

/// The rows of mappings that lie beside each other, with at most `libraries` libraries by name.
fn rows(mappings: &[&Mapping], libraries: usize) -> Vec<Row> {
    let mut all = Vec::new();
    for kind in KINDS {
        let of_kind: Vec<&Mapping> =
            mappings.iter().copied().filter(|mapping| mapping.kind == kind).collect();
        if kind == Kind::Library {
            all.extend(library_rows(&of_kind, libraries));
        } else if !of_kind.is_empty() {
            let all_of_them = row(kind, "", &of_kind);
            let label = match (kind, all_of_them.count, &all_of_them.file) {
                (Kind::File, 1, Some(file)) => base(file).to_owned(),
                _ => label(kind, all_of_them.count).to_owned(),
            };
            all.push(Row { label, ..all_of_them });
        }
    }
    all
}

/// The largest libraries have a row each, with the highest address first.
fn library_rows(mappings: &[&Mapping], most: usize) -> Vec<Row> {
    let mut files: Vec<&Option<String>> = mappings.iter().map(|mapping| &mapping.name).collect();
    files.sort();
    files.dedup();
    let of = |file: &Option<String>| -> Vec<&Mapping> {
        mappings.iter().copied().filter(|mapping| mapping.name == *file).collect()
    };
    let size = |file: &Option<String>| of(file).iter().map(|mapping| mapping.size()).sum::<u64>();
    files.sort_by_key(|file| std::cmp::Reverse(size(file)));
    let named = if files.len() > most { most.max(2) - 1 } else { most };
    let rest: Vec<&Mapping> = files.iter().skip(named).flat_map(|file| of(file)).collect();
    let mut all: Vec<Row> = files
        .iter()
        .take(named)
        .map(|file| Row {
            count: 1,
            ..row(Kind::Library, base(file.as_deref().unwrap_or_default()), &of(file))
        })
        .collect();
    all.sort_by_key(|row| std::cmp::Reverse(row.start));
    if !rest.is_empty() {
        let count = files.len() - named;
        all.push(Row {
            count,
            file: None,
            ..row(Kind::Library, label(Kind::Library, count), &rest)
        });
    }
    all
}

/// Larger ones are drawn between blocks, and smaller ones inside of them are not.
const GAP: u64 = 1 << 30;

/// The whole space from the top.
fn regions(seen: &Memory, counters: &Counters, libraries: usize) -> Vec<Region> {
    let Seen::Known(mappings) = &seen.mappings else {
        return roughly(counters);
    };
    let mut blocks: Vec<Vec<&Mapping>> = Vec::new();
    for mapping in mappings.iter().rev().filter(|mapping| mapping.kind != Kind::Vsyscall) {
        match blocks.last_mut().and_then(|block| Some((block.last().copied()?, block))) {
            Some((above, those))
                if block(above.kind) == block(mapping.kind)
                    && above.start.0.saturating_sub(mapping.end.0) < GAP =>
            {
                those.push(mapping);
            }
            _ => blocks.push(vec![mapping]),
        }
    }
    let mut all = vec![Region::Kernel];
    let mut above = (seen.kernel_starts_at.known().map(|address| address.0), None);
    for those in blocks {
        let (end, this) = (those[0].end.0, block(those[0].kind));
        let (below_stack, above_heap) = (above.1 == Some(Block::Stack), this == Block::Heap);
        let size = above.0.map(|above| above.saturating_sub(end));
        if above.1.is_none() || size > Some(GAP) || (below_stack || above_heap) && size > Some(0) {
            all.push(Region::Gap { size, below_stack, above_heap });
        }
        above = (those.last().map(|lowest| lowest.start.0), Some(this));
        all.push(Region::Rows(rows(&those, libraries)));
    }
    all
}

/// What can be drawn where addresses may not be seen.
fn roughly(counters: &Counters) -> Vec<Region> {
    let row = |kind, label: &str, size| Row {
        label: label.to_owned(),
        kind,
        permissions: String::from("?"),
        start: None,
        end: None,
        count: 1,
        size,
        amounts: Seen::Denied,
        file: None,
    };
    let gap = |below_stack, above_heap| Region::Gap { size: None, below_stack, above_heap };
    vec![
        Region::Kernel,
        gap(false, false),
        Region::Rows(vec![row(Kind::Stack, "stack", counters.vm_stk)]),
        gap(true, false),
        Region::Rows(vec![row(Kind::Library, "libraries' code", counters.vm_lib)]),
        gap(false, true),
        Region::Rows(vec![
            row(Kind::Heap, "heap, data, anonymous", counters.vm_data),
            row(Kind::Code, "code: instructions", counters.vm_exe),
        ]),
    ]
}

/// Where the columns stand on a canvas.
struct Page<'a> {
    /// How many amounts stand behind each row.
    columns: usize,
    canvas: &'a Canvas,
    /// Columns inside the box.
    inner: usize,
    /// A line between blocks, and more lines for larger ones.
    is_tall: bool,
    /// Columns of an address.
    address: usize,
    /// How each row's RAM has changed.
    changes: Vec<Change>,
}

/// Columns of an amount, with the blank before it.
const AMOUNT: usize = 9;
/// Of all of them; the first two where there is little room.
const TITLES: [&str; 4] = ["VIRTUAL", "IN RAM", "SHARED", "SWAPPED"];
/// Columns of the bar that wide canvases have.
const BAR: usize = 16;

/// One amount in its column.
fn cell(bytes: Option<u64>) -> String {
    let text = bytes.map_or_else(|| String::from("?"), size::binary);
    format!("{text:>AMOUNT$}")
}

impl Page<'_> {
    fn is_wide(&self) -> bool {
        self.canvas.width >= 110
    }

    fn line(&self, address: &str, inside: &str, right: &str) -> String {
        let side = self.canvas.glyph("│", "|");
        let width = self.address;
        format!("{address:>width$} {side}{inside}{side}{right}").trim_end().to_owned() + "\n"
    }

    /// `text` and, at the right edge, `more`.
    fn inside(&self, text: &str, more: &str) -> String {
        let room = self.inner.saturating_sub(2 + more.width());
        let text = output::shorten(text, room);
        let blanks = " ".repeat(room.saturating_sub(text.width()));
        format!(" {text}{blanks}{more} ")
    }

    fn amounts(&self, row: &Row) -> String {
        let of = |what: fn(&Amounts) -> u64| row.amounts.known().map(what);
        let cells = [
            Some(row.size),
            of(|amounts| amounts.rss + amounts.hugetlb),
            of(|amounts| amounts.shared),
            of(|amounts| amounts.swap),
        ];
        format!(" {:<3}{}", row.permissions, self.cells(cells))
    }

    /// As many amounts as there is room for.
    fn cells(&self, cells: [Option<u64>; 4]) -> String {
        cells.into_iter().take(self.columns).map(cell).collect()
    }

    /// As long as the logarithm of the size, and full as far as it is in RAM.
    fn bar(&self, row: &Row) -> String {
        let length = ((row.size / 4096 + 1).ilog2() as usize + 1).min(BAR);
        let rss = row.amounts.known().map_or(0, |amounts| amounts.rss + amounts.hugetlb);
        let full = (rss.saturating_mul(length as u64)).div_ceil(row.size.max(1)) as usize;
        let full = full.min(length);
        let (solid, light) = (self.canvas.glyph("█", "#"), self.canvas.glyph("░", "."));
        solid.repeat(full) + &light.repeat(length - full) + &" ".repeat(BAR - length)
    }

    fn row(&self, row: &Row, is_alone: bool) -> String {
        let address = match (row.start, row.count) {
            // It stands at the edge below.
            (Some(_), 1) if is_alone && self.is_tall => String::new(),
            (Some(start), 1) => format!("{start:x}"),
            (Some(_), count) => format!("{count} {}", self.canvas.glyph("×", "x")),
            (None, _) => String::from("?"),
        };
        let change = self.changes.iter().find(|change| change.of == key(row));
        let change = change.map_or_else(String::new, |change| signed(change.bytes));
        let label = say(if self.inner >= 40 { long_label(&row.label) } else { &row.label });
        let inside = self.canvas.paint(style(row.kind), &self.inside(&label, &change));
        let mut right = self.amounts(row);
        if self.is_wide() {
            let _ = write!(right, "  {}", self.canvas.paint(style(row.kind), &self.bar(row)));
            let used = self.address + 3 + self.inner + 4 + self.columns * AMOUNT + 2 + BAR + 2;
            let room = self.canvas.width.saturating_sub(used + 1);
            let file = row.file.as_deref().filter(|file| file.starts_with('/'));
            let _ = write!(right, "  {}", output::shorten_front(file.unwrap_or_default(), room));
        }
        self.line(&address, &inside, &right)
    }

    fn gap(
        &self,
        size: Option<u64>,
        below_stack: bool,
        above_heap: bool,
        after_kernel: bool,
    ) -> String {
        let size = size.map(size::binary).unwrap_or_default();
        let up = if above_heap { self.canvas.glyph("↑", "^") } else { " " };
        let down = if below_stack { self.canvas.glyph("↓", "v") } else { " " };
        let text = match (below_stack, above_heap) {
            (true, _) => say(&format!("{down} grows downwards")),
            (false, true) => say(&format!("{up} grows upwards")),
            _ => String::new(),
        };
        let side = self.canvas.glyph("┊", ":");
        let words = match (size.as_str(), after_kernel) {
            ("", _) => String::new(),
            (_, true) => say(&format!(" {size} of addresses that nobody has")),
            _ => say(&format!(" {size} of free addresses")),
        };
        format!(
            "{:>width$} {side}{}{side}{words}\n",
            "",
            self.inside(&text, ""),
            width = self.address
        )
    }

    fn kernel(&self, start: Option<u64>) -> String {
        let shade = self.canvas.glyph("▒", "%");
        let text = say(" kernel space ");
        let left = self.inner.saturating_sub(text.width()) / 2;
        let right = self.inner.saturating_sub(text.width() + left);
        let inside = format!("{}{text}{}", shade.repeat(left), shade.repeat(right));
        let words = match start {
            Some(start) => say(&format!(" {start:x} and up: kernel only")),
            None => say(" kernel only, never for processes"),
        };
        self.line("", &self.canvas.paint(Style::Dim, &inside), &words)
    }
}

/// `+1.2MiB`, or nothing.
fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "+" };
    if bytes == 0 { String::new() } else { format!("{sign}{}", size::binary(bytes.unsigned_abs())) }
}

/// How much more RAM a row has than at the look before.
struct Change {
    of: (String, u64),
    kind: Kind,
    bytes: i64,
}

/// What a row is known by from look to look: its name, and roughly where it is.
fn key(row: &Row) -> (String, u64) {
    (row.label.clone(), row.start.unwrap_or(0) >> 40)
}

fn changes(seen: &Look) -> Vec<Change> {
    let all = |memory: &Memory| -> Vec<Row> {
        let Seen::Known(counters) = &memory.counters else { return Vec::new() };
        let regions = regions(memory, counters, usize::MAX).into_iter();
        let rows = regions.filter_map(|region| match region {
            Region::Rows(rows) => Some(rows),
            Region::Kernel | Region::Gap { .. } => None,
        });
        rows.flatten().collect()
    };
    let rss = |row: &Row| row.amounts.known().map_or(0, |amounts| amounts.rss as i64);
    let Some(before) = seen.before.as_ref().map(all) else { return Vec::new() };
    let change = |row: Row| {
        let of = key(&row);
        let was = before.iter().find(|row| key(row) == of).map_or(0, rss);
        Change { bytes: rss(&row) - was, kind: row.kind, of }
    };
    all(&seen.now).into_iter().map(change).collect()
}

/// The picture with what is said above and below it; as much as fits.
fn draw(seen: &Look, counters: &Counters, canvas: &Canvas, is_watched: bool) -> String {
    let width = canvas.width - 1;
    let mut page = Page {
        canvas,
        inner: 0,
        is_tall: false,
        columns: if canvas.width >= 76 { TITLES.len() } else { 2 },
        address: if canvas.width >= 110 { 16 } else { 12 },
        changes: changes(seen),
    };
    let others = page.address + 3 + 4 + page.columns * AMOUNT;
    page.inner = width.saturating_sub(others).clamp(14, 40);
    let above = canvas.wrap("", &promise(&seen.now, counters));
    let mut below = total(&page, &seen.now, counters) + &canvas.wrap("", &meaning(&seen.now));
    if is_watched {
        // As many lines as the longest news need: what stands above must not jump.
        let news = canvas.wrap("", &news(seen, &page.changes));
        let missing = NEWS.div_ceil(width).saturating_sub(news.lines().count());
        below += &(news + &"\n".repeat(missing));
    }
    let room = canvas.height.saturating_sub(3 + above.lines().count() + below.lines().count());
    let all_libraries = regions(&seen.now, counters, usize::MAX);
    let lines = |regions: &[Region]| page.picture(&seen.now, regions, 0).lines().count();
    let surplus = lines(&all_libraries).saturating_sub(room);
    let libraries = match &seen.now.mappings {
        Seen::Known(mappings) if surplus > 0 => {
            count_libraries(mappings).saturating_sub(surplus).max(2)
        }
        _ => usize::MAX,
    };
    let regions = regions(&seen.now, counters, libraries);
    page.is_tall = true;
    let is_tall = page.picture(&seen.now, &regions, 0).lines().count() <= room;
    page.is_tall = is_tall;
    let heights = (0..=3).rev().map(|most| page.picture(&seen.now, &regions, most));
    let picture = heights.clone().find(|picture| is_tall && picture.lines().count() <= room);
    let picture = picture.unwrap_or_else(|| page.picture(&seen.now, &regions, 0));
    let mut text = above + &page.headings() + &picture + &below;
    // What else there is to say, where there is room for it.
    for more in lessons(&seen.now, counters) {
        let more = canvas.wrap("", &more);
        if 2 + text.lines().count() + more.lines().count() <= canvas.height {
            text += &more;
        }
    }
    text
}

fn count_libraries(mappings: &[Mapping]) -> usize {
    let files = mappings.iter().filter(|mapping| mapping.kind == Kind::Library);
    files.map(|mapping| &mapping.name).collect::<std::collections::HashSet<_>>().len()
}

impl Page<'_> {
    fn headings(&self) -> String {
        let address = if self.is_tall { "ADDRESS" } else { "BEGINS AT" };
        let (width, inner) = (self.address, self.inner + 2);
        let mut line = format!("{address:>width$} {:<inner$} MAY", "");
        for title in &TITLES[..self.columns] {
            let _ = write!(line, "{title:>AMOUNT$}");
        }
        if self.is_wide() {
            let _ = write!(line, "  {:<BAR$}  FILE", "SIZE, IN RAM");
        }
        self.canvas.paint(Style::Bold, &line) + "\n"
    }

    /// A line across the box, with the address that it stands for.
    fn edge(&self, address: Option<u64>) -> String {
        // The kernel's are longer than those of processes; they stand beside the box too.
        let address = address.map_or_else(String::new, |address| format!("{address:x}"));
        let address = if address.len() > self.address { "" } else { &address };
        let glyphs = ("├", "─", "┤");
        let (left, middle, right) = (
            self.canvas.glyph(glyphs.0, "+"),
            self.canvas.glyph(glyphs.1, "-"),
            self.canvas.glyph(glyphs.2, "+"),
        );
        let width = self.address;
        format!("{address:>width$} {left}{}{right}\n", middle.repeat(self.inner))
    }

    /// All regions. In tall ones larger rows have up to `most` more lines, by the logarithm of their size.
    fn picture(&self, seen: &Memory, regions: &[Region], most: usize) -> String {
        let empty = || self.line("", &" ".repeat(self.inner), "");
        let more = |size: u64| ((size >> 16).max(1).ilog2() as usize / 5).min(most);
        let start = seen.kernel_starts_at.known().map(|address| address.0);
        let (mut text, mut last_edge, mut is_below_kernel) = (String::new(), None, true);
        let mut was_rows = false;
        for region in regions {
            match region {
                Region::Kernel if self.is_tall => {
                    text += &(self.edge(None) + &self.kernel(start) + &self.edge(start));
                }
                Region::Kernel => text += &self.kernel(start),
                Region::Gap { size, below_stack, above_heap } => {
                    text += &self.gap(*size, *below_stack, *above_heap, is_below_kernel);
                    is_below_kernel = false;
                }
                Region::Rows(rows) => {
                    let end = rows.iter().filter_map(|row| row.end).max();
                    if self.is_tall && was_rows && end < last_edge {
                        let size = last_edge.zip(end).map(|(above, end)| above - end);
                        text += &self.gap(size, false, false, false);
                    }
                    if self.is_tall && (end.is_none() || end != last_edge) {
                        text += &self.edge(end);
                    }
                    for row in rows {
                        text += &self.row(row, rows.len() == 1);
                        for _ in 0..more(row.size) {
                            text += &empty();
                        }
                    }
                    last_edge = rows.iter().filter_map(|row| row.start).min();
                    if self.is_tall {
                        text += &self.edge(last_edge);
                    }
                }
            }
            was_rows = matches!(region, Region::Rows(_));
        }
        text
    }
}

/// The last row: all of it together, which everybody may see, but for what is shared.
fn total(page: &Page<'_>, seen: &Memory, counters: &Counters) -> String {
    let totals = seen.totals.known();
    let cells = [
        Some(counters.vm_size),
        Some(totals.map_or(counters.vm_rss, |totals| totals.rss + totals.hugetlb)),
        totals.map(|totals| totals.shared),
        Some(totals.map_or(counters.vm_swap, |totals| totals.swap)),
    ];
    let (width, inner) = (page.address, page.inner);
    let together = output::pad(&say("together"), inner);
    let label = format!("{:>width$}  {together}     ", "");
    let line = label + &page.cells(cells);
    page.canvas.paint(Style::Bold, &line) + "\n"
}

/// What addresses promise, and what of it is RAM.
fn promise(seen: &Memory, counters: &Counters) -> String {
    let rss = seen.totals.known().map_or(counters.vm_rss, |totals| totals.rss);
    let percent = match rss * 100 / counters.vm_size.max(1) {
        0 => String::from("less than 1 %"),
        percent => format!("{percent} %"),
    };
    let (size, rss) = (size::binary(counters.vm_size), size::binary(rss));
    format!(
        "It may use addresses for {size} (virtual). RAM is behind {rss} of them, {percent}: the kernel gives it only where something is touched."
    )
}

/// What the columns mean here.
fn meaning(seen: &Memory) -> String {
    match &seen.totals {
        Seen::Known(totals) => {
            let (shared, pss) = (size::binary(totals.shared), size::binary(totals.pss));
            format!(
                "Other processes use {shared} of its RAM too (libraries): shared out fairly it has {pss} (Pss)."
            )
        }
        _ => String::from(
            "? : only root and its owner may see its addresses. What is here everybody may read, in /proc/PID/status.",
        ),
    }
}

/// Columns of the longest news.
const NEWS: usize = 120;

/// What has changed most since the look before; a stack that grows first, since it seldom does.
fn news(seen: &Look, changes: &[Change]) -> String {
    if seen.before.is_none() {
        return String::from("The next look shows what has changed: +1MiB is RAM that it has got.");
    }
    let most = changes.iter().max_by_key(|change| {
        let grows = change.kind == Kind::Stack && change.bytes > 0;
        (grows, change.bytes.abs())
    });
    let Some(most) = most.filter(|change| change.bytes != 0) else {
        return String::from("Since the last look nothing has changed.");
    };
    let bytes = signed(most.bytes);
    match most.kind {
        Kind::Heap => {
            format!("Since the last look {bytes} of heap: malloc(3) moves its end, brk(2).")
        }
        Kind::Stack => format!("Since the last look {bytes} of stack: calls inside of calls."),
        Kind::Anonymous => format!(
            "Since the last look {bytes} without a file: malloc(3) takes large pieces from mmap(2), and Python its arenas."
        ),
        _ => format!("Since the last look {bytes} of {}.", say(&most.of.0)),
    }
}

/// More to know, most useful first.
fn lessons(seen: &Memory, counters: &Counters) -> Vec<String> {
    let mut all = Vec::new();
    if let Seen::Known(limit) = seen.stack_limit {
        let limit = size::binary(limit);
        all.push(format!(
            "The stack (local variables, arguments, return addresses) may grow to {limit}. Beyond, the kernel ends the program: a stack overflow."
        ));
    }
    all.push(String::from(
        "The heap is what malloc(3) gets from brk(2). Large pieces, and the arenas in which Python keeps its objects, come from mmap(2): anonymous memory.",
    ));
    let tables = size::binary(counters.vm_pte);
    all.push(format!(
        "It is not drawn to scale: heights and bars follow the logarithm of the size. To know which address is where, the kernel uses {tables} of RAM more for it (page tables)."
    ));
    all.push(String::from(
        "MAY: r read, w write, x execute (mix: its parts differ). minibox mem --all lists every part.",
    ));
    all
}

/// Every mapping.
fn list(seen: &Memory, canvas: &Canvas) -> String {
    let Seen::Known(mappings) = &seen.mappings else {
        return canvas.wrap("", "Only root and its owner may see its addresses.");
    };
    let is_wide = canvas.width >= 110;
    let mut line = format!("{:>16}", "BEGINS AT");
    if is_wide {
        let _ = write!(line, " {:>16}", "ENDS BEFORE");
    }
    for title in ["VIRTUAL", "IN RAM", "SHARED", "SWAPPED"] {
        let _ = write!(line, "{title:>AMOUNT$}");
    }
    let mut text = canvas.paint(Style::Bold, &format!("{line} MAY  WHAT")) + "\n";
    for mapping in mappings.iter().rev() {
        let mut line = format!("{:>16x}", mapping.start.0);
        if is_wide {
            let _ = write!(line, " {:>16x}", mapping.end.0);
        }
        let amounts = mapping.amounts.known();
        let of = |what: fn(&Amounts) -> u64| {
            amounts.map_or_else(|| String::from("?"), |amounts| size::binary(what(amounts)))
        };
        for cell in [
            size::binary(mapping.size()),
            of(|amounts| amounts.rss + amounts.hugetlb),
            of(|amounts| amounts.shared),
            of(|amounts| amounts.swap),
        ] {
            let _ = write!(line, "{cell:>AMOUNT$}");
        }
        let _ = write!(line, " {:<4} ", mapping.permissions);
        let room = canvas.width.saturating_sub(line.width() + 1);
        let what = match (&mapping.name, mapping.tid) {
            (Some(name), _) => name.clone(),
            (None, Some(tid)) => say(&format!("stack of thread {tid}")),
            (None, None) => say(label(mapping.kind, 1)),
        };
        line += &output::shorten_front(&what, room);
        text += &(canvas.paint(style(mapping.kind), line.trim_end()) + "\n");
    }
    text
}

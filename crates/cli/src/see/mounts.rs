//! `minibox mounts`: which files a process sees, and where they come from.

use std::collections::HashMap;

use minibox_lens::Seen;
use minibox_lens::mounts::{self, Mount, Mounts};
use minibox_runtime::Result;
use unicode_width::UnicodeWidthStr;

use super::{Canvas, Style, Target, fault, find, look};
use crate::args::MountsArgs;
use crate::language::say;
use crate::output;
use crate::size;
use crate::store::Store;
use crate::views::inspect;

/// `minibox mounts`.
pub(crate) fn mounts(store: &Store, args: &MountsArgs) -> Result<u8> {
    let target = find(store, &args.target)?;
    let volumes = volumes(store, &target);
    let see = || mounts::of(&target.process).map_err(|error| fault(&error));
    look(&args.look, "mounts/1", &target, see, |seen, canvas| {
        let heading = format!("The files of {}: its mounts", target.title());
        let text = canvas.heading(&heading);
        match &seen.mounts {
            Seen::Known(all) if !all.is_empty() => text + &draw(seen, all, &volumes, canvas),
            Seen::Denied => text + &canvas.wrap("", "Only root and its owner may see them."),
            _ => text + &canvas.wrap("", "It has ended, and sees no files any more."),
        }
    })
}

/// The names of a container's volumes, by where they are mounted.
fn volumes(store: &Store, target: &Target) -> HashMap<String, String> {
    let container = target.container.as_ref().and_then(|name| store.find(name).ok());
    let mounts = container.iter().flat_map(|container| inspect::mounts(&container.record));
    let volumes = mounts.filter(|mount| mount["Type"] == "volume");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    volumes.map(|mount| (text(&mount["Destination"]), text(&mount["Name"]))).collect()
}

/// Columns of what is allowed: `ro nosuid nodev noexec`.
const RIGHTS: usize = 22;

fn draw(
    seen: &Mounts,
    all: &[Mount],
    volumes: &HashMap<String, String>,
    canvas: &Canvas,
) -> String {
    let is_root = |mount: &&Mount| all.iter().all(|other| other.id != mount.parent);
    let mut rows = Vec::new();
    for root in all.iter().filter(is_root) {
        branch(all, root, "", "", canvas, &mut rows);
    }
    let width = canvas.width - 1;
    let most = rows.iter().map(|(place, _)| place.width()).max().unwrap_or(0);
    let place = most.clamp(5, width * 2 / 5);
    let row = |where_to: &str, rights: &str, from: &str| {
        let where_to = output::shorten(&output::on_one_line(where_to), place);
        let blanks = " ".repeat(place.saturating_sub(where_to.width()));
        let room = width.saturating_sub(place + RIGHTS + 4);
        let shorten = if from.starts_with('/') { output::shorten_front } else { output::shorten };
        let from = shorten(&output::on_one_line(from), room);
        format!("{where_to}{blanks}  {rights:<RIGHTS$}  {from}").trim_end().to_owned() + "\n"
    };
    let mut text = canvas.wrap("", &left_of_the_host(seen, all)) + "\n";
    text += &canvas.paint(Style::Bold, &row("WHERE", "RIGHTS", "FROM"));
    for (where_to, mount) in &rows {
        let line = row(where_to, &rights(mount), &origin(mount, seen, all, volumes));
        let is_dim = mount.hidden_by.is_some() || is_mask(mount, all);
        text += &if is_dim { canvas.paint(Style::Dim, line.trim_end()) + "\n" } else { line };
    }
    text.push('\n');
    for mount in all.iter().filter(|mount| mount.fs_type == "overlay") {
        text += &canvas.wrap("", &layers(mount));
    }
    text + &canvas.wrap(
        "",
        "rw, ro: files may be changed, or only read. nosuid: no program gets rights by being set-user-id. nodev: no device opens. noexec: nothing can be executed. A hidden mount lies below another one on the same place.",
    )
}

/// A mount with all that is mounted on it, as a tree: what stands before it, and it.
fn branch<'a>(
    all: &'a [Mount],
    mount: &'a Mount,
    lead: &str,
    base: &str,
    canvas: &Canvas,
    rows: &mut Vec<(String, &'a Mount)>,
) {
    let name = mount.mount_point.strip_prefix(base).map(|name| name.trim_start_matches('/'));
    let name = name.filter(|name| !name.is_empty() && !base.is_empty());
    let name = name.unwrap_or(&mount.mount_point);
    let hidden = if mount.hidden_by.is_some() { say(" (hidden)") } else { String::new() };
    rows.push((format!("{lead}{name}{hidden}"), mount));
    let mut below: Vec<&Mount> =
        all.iter().filter(|other| other.parent == mount.id && other.id != mount.id).collect();
    below.sort_by(|one, other| one.mount_point.cmp(&other.mount_point));
    // What stood before this one's name goes on as a line, or as blanks below the last.
    let lead = lead.replace(canvas.glyph("├─ ", "|- "), canvas.glyph("│  ", "|  "));
    let lead = lead.replace(canvas.glyph("└─ ", "`- "), "   ");
    for (index, child) in below.iter().enumerate() {
        let is_last = index + 1 == below.len();
        let mark =
            if is_last { canvas.glyph("└─ ", "`- ") } else { canvas.glyph("├─ ", "|- ") };
        branch(all, child, &format!("{lead}{mark}"), &mount.mount_point, canvas, rows);
    }
}

/// The kernel's words for what may be done, and what has been made of its ids and its mounts.
fn rights(mount: &Mount) -> String {
    let mut words = vec![if mount.has("ro") { "ro" } else { "rw" }];
    words.extend(["nosuid", "nodev", "noexec"].into_iter().filter(|word| mount.has(word)));
    words.join(" ")
}

/// Does it only hide what is below it?
fn is_mask(mount: &Mount, all: &[Mount]) -> bool {
    is_null(mount)
        || mount.fs_type == "tmpfs"
            && mount.options.iter().any(|option| option == "ro")
            && (mount.mount_point.starts_with("/proc/") || mount.mount_point.starts_with("/sys/"))
            && all.iter().all(|other| other.parent != mount.id)
}

/// Are there files, and not the kernel's own views, of which everybody has his?
fn is_files(mount: &Mount) -> bool {
    !matches!(mount.fs_type.as_str(), "proc" | "cgroup" | "cgroup2")
}

/// /dev/null, in the place of a file.
fn is_null(mount: &Mount) -> bool {
    mount.root == "/null"
        && matches!(mount.fs_type.as_str(), "tmpfs" | "devtmpfs")
        && !mount.mount_point.starts_with("/dev/")
}

/// Where its files come from, and what else is to be said of it.
fn origin(
    mount: &Mount,
    seen: &Mounts,
    all: &[Mount],
    volumes: &HashMap<String, String>,
) -> String {
    let mut text = say(&from(mount, seen, all, volumes));
    if mount.has("idmapped") {
        text += &say("; owners mapped (idmapped)");
    }
    for (begin, words) in [
        ("shared:", "; shared: its mounts appear elsewhere too"),
        ("master:", "; slave: the host's mounts appear here too"),
        ("unbindable", "; unbindable"),
    ] {
        if mount.propagation.iter().any(|word| word.starts_with(begin)) {
            text += &say(words);
        }
    }
    text
}

fn from(mount: &Mount, seen: &Mounts, all: &[Mount], volumes: &HashMap<String, String>) -> String {
    if is_null(mount) {
        return String::from("masked by /dev/null: reads as empty");
    }
    if is_mask(mount, all) {
        return String::from("masked by an empty folder");
    }
    if let Some(name) = volumes.get(&mount.mount_point) {
        return format!("volume {name} of this host");
    }
    let parent = all.iter().find(|other| other.id == mount.parent);
    if parent.is_some_and(|parent| parent.device == mount.device && parent.root == "/")
        && mount.root != "/"
        && mount.callers_path.is_none()
    {
        return format!("{} of {}, mounted again", mount.root, mount.fs_type);
    }
    if mount.fs_type == "overlay" && mount.root == "/" {
        return format!("overlay: {} layers", lower(mount).len() + 1);
    }
    let is_callers = seen.in_callers_mount_namespace.known() == Some(&true);
    if let Some(path) = mount.callers_path.as_ref().filter(|_| !is_callers && is_files(mount)) {
        return format!("{path} of this host");
    }
    match mount.fs_type.as_str() {
        "proc" => String::from("proc: its own processes"),
        "sysfs" => String::from("sysfs: the kernel's devices"),
        "cgroup" | "cgroup2" => format!("{}: control groups", mount.fs_type),
        "devpts" => String::from("devpts: terminals of its own"),
        "mqueue" => String::from("mqueue: message queues"),
        "devtmpfs" => String::from("devtmpfs: all devices of the machine"),
        "tmpfs" => match mount.super_option("size").and_then(bytes) {
            Some(most) => format!("tmpfs: in RAM, at most {}", size::binary(most)),
            None => String::from("tmpfs: in RAM"),
        },
        other if mount.root == "/" => format!("{other}: files on {}", mount.source),
        other => format!("{other}: {} of the files on {}", mount.root, mount.source),
    }
}

/// `65536k`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_shl(unit)
}

/// The layers of an overlay that are only read, the topmost first.
fn lower(mount: &Mount) -> Vec<&str> {
    let all = mount.super_options.iter();
    let many = all.clone().find_map(|option| option.strip_prefix("lowerdir="));
    let each = all.filter_map(|option| option.strip_prefix("lowerdir+="));
    many.into_iter()
        .flat_map(|list| list.split(':'))
        .chain(each)
        .filter(|l| !l.is_empty())
        .collect()
}

fn layers(mount: &Mount) -> String {
    let layers = lower(mount);
    let place = output::on_one_line(&mount.mount_point);
    let (count, top) = (layers.len(), output::on_one_line(layers.first().unwrap_or(&"")));
    match mount.super_option("upperdir") {
        Some(upper) => {
            let upper = output::on_one_line(upper);
            format!(
                "{place} is an overlay: what is written there goes to {upper}. Below it only read, number of layers {count}: {top}"
            )
        }
        None => format!("{place} is an overlay that is only read, number of layers {count}: {top}"),
    }
}

/// What pivot_root(2) has left of the host.
fn left_of_the_host(seen: &Mounts, all: &[Mount]) -> String {
    if seen.in_callers_mount_namespace.known() == Some(&true) {
        return String::from(
            "It sees the same mounts as you: no mount namespace separates its files from yours.",
        );
    }
    let callers = seen.callers;
    let is_the_hosts =
        |mount: &&Mount| mount.callers_path.is_some() && is_files(mount) && !is_mask(mount, all);
    let left = all.iter().filter(is_the_hosts).count();
    let root = all.iter().find(|mount| mount.mount_point == "/");
    if root.is_some_and(|root| root.callers_path.as_deref() == Some("/")) {
        return String::from(
            "It has a mount namespace, but its / is still that of this host: only what was mounted since is different.",
        );
    }
    if left == 0 {
        return format!(
            "pivot_root(2) has put this tree in the place of the host's: of its {callers} mounts, and of its files, nothing is left."
        );
    }
    format!(
        "pivot_root(2) has put this tree in the place of the host's: of its {callers} mounts nothing is left but what was let in, marked \"of this host\" ({left})."
    )
}

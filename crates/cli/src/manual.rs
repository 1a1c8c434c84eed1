//! The manual's pages, man(7): one for minibox, one for each verb, made from the table that parses.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command};
use minibox_runtime::{Error, Result};

/// minibox-oci(1), which engines do not read.
const OCI: &str = include_str!("manual/minibox-oci.1");
/// What minibox(1) says beside verbs and options.
const MORE: &str = include_str!("manual/more.1");

/// Writes all pages into `dir`.
pub(crate) fn write(root: Command, dir: &Path) -> Result<()> {
    let mut root = root.bin_name("minibox");
    root.build();
    let mut pages = vec![("minibox-oci".to_owned(), OCI.to_owned())];
    collect(&root, "minibox", &mut pages);
    for (name, text) in pages {
        let path = dir.join(format!("{name}.1"));
        std::fs::write(&path, text).map_err(|e| Error::of_io("write", &path, &e))?;
    }
    Ok(())
}

/// A page for `command`, and for each of its verbs; those below `container` have theirs.
fn collect(command: &Command, name: &str, pages: &mut Vec<(String, String)>) {
    pages.push((name.to_owned(), page(command, name)));
    for verb in verbs(command).filter(|_| name != "minibox-container") {
        collect(verb, &format!("{name}-{}", verb.get_name()), pages);
    }
}

fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
}

fn page(command: &Command, name: &str) -> String {
    let is_root = name == "minibox";
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        ".TH {} 1 \"\" \"minibox {version}\" \"minibox manual\"\n.SH NAME\n{name} \\- {}\n",
        name.to_uppercase().replace('-', "\\-"),
        escape(about.trim_end_matches('.'))
    );
    let usage = command.clone().render_usage().to_string();
    let _ = writeln!(text, ".SH SYNOPSIS\n.nf");
    for line in usage.trim_start_matches("Usage:").lines() {
        let _ = writeln!(text, ".B {}", escape(line.trim()));
    }
    text.push_str(".fi\n");
    if let Some(long) = command.get_long_about() {
        text += ".SH DESCRIPTION\n";
        text += &paragraphs(&long.to_string());
    }
    let mut listed = verbs(command).peekable();
    if listed.peek().is_some() {
        text += ".SH VERBS\n";
    }
    for verb in listed {
        // `container rm` is told of in minibox-rm(1).
        let page = if name == "minibox-container" { "minibox" } else { name };
        let page = escape(&format!("{page}-{}", verb.get_name()));
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, ".TP\n.BR {page} (1)\n{}", escape(&about));
    }
    text += &arguments(command, is_root);
    text += &after(command);
    text += if is_root { MORE } else { ".SH SEE ALSO\n.BR minibox (1)\n" };
    text
}

/// Positional arguments, then options under their headings. Those that every verb has stand in
/// minibox(1) alone.
fn arguments(command: &Command, is_root: bool) -> String {
    let shown = |arg: &&Arg| {
        !arg.is_hide_set()
            && (is_root || !arg.is_global_set())
            && arg.get_id() != "help"
            && arg.get_id() != "version"
    };
    let mut headings: Vec<&str> = Vec::new();
    for arg in command.get_arguments().filter(shown) {
        let heading = heading(arg);
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    // What must be given comes first.
    headings.sort_by_key(|heading| *heading != "Arguments");
    let mut text = String::new();
    for wanted in headings {
        let _ = writeln!(text, ".SH {}", escape(&wanted.to_uppercase()));
        for arg in command.get_arguments().filter(shown).filter(|arg| heading(arg) == wanted) {
            text += &argument(arg);
        }
    }
    text
}

fn heading(arg: &Arg) -> &str {
    if arg.is_positional() { "Arguments" } else { arg.get_help_heading().unwrap_or("Options") }
}

fn argument(arg: &Arg) -> String {
    let short = arg.get_short().map(|letter| format!("\\fB\\-{letter}\\fR"));
    let longs = arg.get_long().into_iter().chain(arg.get_visible_aliases().unwrap_or_default());
    let longs = longs.map(|name| format!("\\fB\\-\\-{}\\fR", escape(name)));
    let names = short.into_iter().chain(longs).collect::<Vec<_>>().join(", ");
    let value = arg.get_value_names().and_then(|names| names.first()).map(|name| escape(name));
    let value = value.filter(|_| arg.get_num_args().is_some_and(|n| n.takes_values()));
    let tag = match (names.as_str(), value) {
        ("", value) => format!("\\fI{}\\fR", value.unwrap_or_default()),
        (_, Some(value)) if arg.is_require_equals_set() => format!("{names}[=\\fI{value}\\fR]"),
        (_, Some(value)) => format!("{names} \\fI{value}\\fR"),
        (_, None) => names,
    };
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string);
    let mut text = format!(".TP\n{tag}\n{}", paragraphs(&help.unwrap_or_default()));
    let possible: Vec<_> =
        arg.get_possible_values().into_iter().filter(|v| !v.is_hide_set()).collect();
    if !possible.is_empty() && arg.get_num_args().is_some_and(|n| n.takes_values()) {
        let names: Vec<_> = possible.iter().map(|value| escape(value.get_name())).collect();
        let _ = writeln!(text, "[one of: {}]", names.join(", "));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    if !defaults.is_empty() && arg.get_num_args().is_some_and(|n| n.takes_values()) {
        let _ = writeln!(text, "[default: {}]", escape(&defaults.join(" ")));
    }
    if let Some(variable) = arg.get_env() {
        let _ = writeln!(text, "[environment: {}]", escape(&variable.to_string_lossy()));
    }
    text
}

/// What stands below the help: `Examples:` and the like become sections, kept line by line.
fn after(command: &Command) -> String {
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    let after = after.map(ToString::to_string).unwrap_or_default();
    let mut text = String::new();
    for line in after.lines() {
        match line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            Some(heading) => {
                let _ = writeln!(text, ".SH {}\n.nf", escape(&heading.to_uppercase()));
            }
            None => {
                let _ = writeln!(text, "{}", escape(line));
            }
        }
    }
    if text.is_empty() { text } else { text + ".fi\n" }
}

fn paragraphs(text: &str) -> String {
    text.lines()
        .map(|line| if line.is_empty() { ".PP\n".to_owned() } else { escape(line) + "\n" })
        .collect()
}

/// Text that roff leaves as it is: a hyphen is then a minus, which can be copied into a shell.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if escaped.starts_with('.') { format!("\\&{escaped}") } else { escaped }
}

//! `minibox ns`: what a process shares with this host, and what it has for itself.

use minibox_lens::Seen;
use minibox_lens::namespaces::{self, Facts, Kind, Namespace, Namespaces, Range};
use minibox_runtime::Result;
use serde::Serialize;

use super::{Canvas, Style, Target, fault, find, known, look};
use crate::args::NsArgs;
use crate::language::say;
use crate::output;
use crate::store::Store;

/// One, or two side by side.
#[derive(Serialize)]
struct Seeing {
    #[serde(flatten)]
    first: Namespaces,
    other: Option<Other>,
}

/// Whom it is compared with.
#[derive(Serialize)]
struct Other {
    pid: i32,
    container: Option<String>,
    namespaces: Vec<Namespace>,
    facts: Facts,
    /// The kinds that are the same.
    shared: Vec<Kind>,
}

/// `minibox ns`.
pub(crate) fn ns(store: &Store, args: &NsArgs) -> Result<u8> {
    let target = find(store, args.target.as_deref().unwrap_or("self"))?;
    let other = args.other.as_ref().map(|asked| find(store, asked)).transpose()?;
    let see = || {
        let of = |target: &Target| {
            namespaces::of(&target.process, &known(store)).map_err(|error| fault(&error))
        };
        let first = of(&target)?;
        let compare = |other: &Target| -> Result<Other> {
            let Namespaces { namespaces, facts, .. } = of(other)?;
            let both = first.namespaces.iter().zip(&namespaces);
            let shared = both.filter(|(a, b)| is_shared(a, b) == Some(true));
            let shared = shared.map(|(a, _)| a.kind).collect();
            let container = other.container.clone();
            Ok(Other { pid: other.pid, container, namespaces, facts, shared })
        };
        let other = other.as_ref().map(compare).transpose()?;
        Ok(Seeing { first, other })
    };
    look(&args.look, "ns/1", &target, see, |seen, canvas| match &seen.other {
        None => draw(&target, &seen.first, canvas),
        Some(with) => draw_two(&target, other.as_ref(), &seen.first, with, canvas),
    })
}

/// The same of `target` alone, for another screen.
pub(crate) fn picture(store: &Store, target: &Target, canvas: &Canvas) -> Result<String> {
    let seen = namespaces::of(&target.process, &known(store)).map_err(|error| fault(&error))?;
    Ok(draw(target, &seen, canvas))
}

/// Are two processes in the same one? `None` where that is hidden, and where the kernel has no such.
fn is_shared(a: &Namespace, b: &Namespace) -> Option<bool> {
    Some(a.inode.known()? == b.inode.known()?)
}

fn number(inode: &Seen<u64>) -> String {
    match inode {
        Seen::Known(inode) => inode.to_string(),
        Seen::Denied => say("hidden"),
        Seen::Absent => String::from("-"),
    }
}

/// A value in a sentence.
fn word<T: ToString>(seen: &Seen<T>) -> String {
    seen.known().map_or_else(|| say("(hidden)"), |value| tame(&value.to_string()))
}

/// Names and paths are the container's own choice.
fn tame(text: &str) -> String {
    output::shorten(&output::on_one_line(text), 60)
}

fn draw(target: &Target, seen: &Namespaces, canvas: &Canvas) -> String {
    let title = format!("What {} shares with this host, and what is its own", target.title());
    let mut text = canvas.heading(&title);
    let line = |words: [&str; 5]| {
        let [kind, host, theirs, own, who] = words;
        let (host, theirs) = (output::pad_front(host, 10), output::pad_front(theirs, 10));
        let line = format!("{kind:<6}  {host}  {theirs}  {}  {who}", output::pad(own, 6));
        output::shorten(line.trim_end(), canvas.width)
    };
    text += &(line(["KIND", "HOST'S", "ITS", "", "WHO LIVES IN IT"]) + "\n");
    for namespace in &seen.namespaces {
        let own = say(match namespace.is_own() {
            Some(true) => "own",
            Some(false) => "shared",
            None => "?",
        });
        let (host, theirs) = (number(&namespace.hosts), number(&namespace.inode));
        let shown = line([namespace.kind.name(), &host, &theirs, &own, &say(&who(namespace))]);
        let style = if namespace.is_own() == Some(true) { Style::Bold } else { Style::Dim };
        text += &(canvas.paint(style, &shown) + "\n");
        text += &canvas.wrap("        ", &meaning(namespace, target.pid, seen));
    }
    text
}

/// Who else is in there.
fn who(namespace: &Namespace) -> String {
    let (count, hidden) = (namespace.processes, namespace.hidden);
    let names = tame(&namespace.containers.join(", "));
    match (names.as_str(), namespace.outside_containers) {
        _ if namespace.inode.known().is_none() => String::new(),
        ("", _) if hidden > 0 => format!("processes: {count}, hidden: {hidden}"),
        ("", _) => format!("processes: {count}"),
        (names, 0) if hidden > 0 => format!("processes: {count}, hidden: {hidden}, of {names}"),
        (names, 0) => format!("processes: {count}, all of {names}"),
        (names, _) => format!("processes: {count}, of {names} and others"),
    }
}

/// What its / is.
fn root(facts: &Facts) -> String {
    let Some(root) = facts.root.known() else { return say("(hidden)") };
    let (source, kind) = (tame(&root.source), &root.filesystem);
    // Where it comes from, unless that says no more than what it is.
    if source.is_empty() || source == *kind { kind.clone() } else { format!("{source} ({kind})") }
}

/// What it means here, today.
fn meaning(namespace: &Namespace, pid: i32, seen: &Namespaces) -> String {
    let (facts, host, count) = (&seen.facts, &seen.host, namespace.processes);
    match (namespace.kind, namespace.is_own()) {
        (_, None) if namespace.inode == Seen::Absent => {
            String::from("This kernel has no such namespaces.")
        }
        (Kind::Uts, None) => format!(
            "Which it is in is hidden from you: it is somebody else's process. This host is called {}.",
            word(&host.hostname)
        ),
        (_, None) => {
            String::from("Which it is in is hidden from you: it is somebody else's process.")
        }
        (Kind::Cgroup, Some(true)) => format!(
            "Limits are counted for {} on this host; it takes that place for {}, and does not see what lies above.",
            word(&facts.cgroup),
            word(&facts.cgroup_inside)
        ),
        (Kind::Cgroup, Some(false)) => {
            format!(
                "It sees the place where it is counted as this host does: {}.",
                word(&facts.cgroup)
            )
        }
        (Kind::Ipc, Some(is_own)) => {
            let ipc = facts.ipc.known();
            let count = |of: fn(&namespaces::Ipc) -> usize| {
                ipc.map_or_else(|| say("(hidden)"), |ipc| of(ipc).to_string())
            };
            let (memory, semaphores, queues) =
                (count(|i| i.shared_memory), count(|i| i.semaphores), count(|i| i.queues));
            if is_own {
                format!(
                    "Its own pieces of shared memory: {memory}, semaphores: {semaphores}, message queues: {queues}. Those of this host are out of reach."
                )
            } else {
                format!(
                    "It can get at this host's pieces of shared memory: {memory}, semaphores: {semaphores}, message queues: {queues}."
                )
            }
        }
        (Kind::Mnt, Some(is_own)) => {
            let (mounts, hosts) = (word(&facts.mounts), word(&host.mounts));
            let source = root(facts);
            if is_own {
                format!(
                    "Its files hang on {mounts} mounts of its own; its / is {source}. This host sees {hosts} mounts."
                )
            } else {
                format!("It sees the files of this host on {mounts} mounts; its / is {source}.")
            }
        }
        (Kind::Net, Some(true)) => format!(
            "It has the interfaces {}. This host has {}.",
            interfaces(facts),
            interfaces(host)
        ),
        (Kind::Net, Some(false)) => {
            format!("It uses the interfaces of this host, and its ports: {}.", interfaces(facts))
        }
        (Kind::Pid, Some(is_own)) => match (facts.first.known(), is_own) {
            (Some(first), true) => format!(
                "It sees {count} of the processes of this host, under numbers of their own: number 1 is {}, on this host {}.",
                tame(&output::shell_words(&first.arguments)),
                first.pid
            ),
            (None, true) => format!(
                "It sees {count} of the processes of this host, under numbers of their own."
            ),
            (_, false) => {
                format!("It sees every process of this host, and is {pid} to itself too.")
            }
        },
        (Kind::Time, Some(true)) => {
            let seconds = facts.offsets.known().map_or(0, |offsets| offsets.boottime);
            format!(
                "Its clock since the machine's start differs from this host's by {seconds} s; the time of day does not."
            )
        }
        (Kind::Time, Some(false)) => String::from("The machine has run for as long there as here."),
        (Kind::User, Some(true)) => format!("Its users are others on this host: {}.", users(facts)),
        (Kind::User, Some(false)) => String::from(
            "Its users are those of this host: root inside is root outside, as far as its capabilities go (minibox caps).",
        ),
        (Kind::Uts, Some(true)) => format!(
            "It calls this machine {}; the host calls it {}.",
            word(&facts.hostname),
            word(&host.hostname)
        ),
        (Kind::Uts, Some(false)) => {
            format!("This machine is called {}, there and here.", word(&facts.hostname))
        }
    }
}

fn interfaces(facts: &Facts) -> String {
    let Some(all) = facts.interfaces.known() else { return say("(hidden)") };
    let named = all.iter().map(|interface| match interface.addresses.as_slice() {
        [] => interface.name.clone(),
        addresses => format!("{} ({})", interface.name, addresses.join(" ")),
    });
    match named.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => say("(none)"),
        all => all,
    }
}

/// Ranges of ids: `0 = 1000, 1-65535 = 100000-165534`.
fn users(facts: &Facts) -> String {
    let Some(all) = facts.uid_map.known() else { return say("(hidden)") };
    let range = |range: &Range| {
        let Range { inside, outside, count } = *range;
        let last = count.saturating_sub(1);
        match count {
            1 => format!("{inside} = {outside}"),
            _ => format!("{inside}-{} = {outside}-{}", inside + last, outside + last),
        }
    };
    all.iter().map(range).collect::<Vec<_>>().join(", ")
}

fn draw_two(
    a: &Target,
    b: Option<&Target>,
    first: &Namespaces,
    other: &Other,
    canvas: &Canvas,
) -> String {
    let name = |target: &Target| match &target.container {
        Some(name) => name.clone(),
        None => target.pid.to_string(),
    };
    let (a, b) = (name(a), b.map(name).unwrap_or_default());
    let mut text = canvas.heading(&format!("What {a} and {b} share"));
    let width = a.len().max(b.len()).clamp(10, 20);
    let line = |kind: &str, left: &str, right: &str, shared: &str| {
        let cell = |text: &str| output::pad_front(&output::shorten(text, width), width);
        format!("{kind:<6}  {}  {}  {shared}", cell(left), cell(right))
    };
    text += &(line("KIND", &a, &b, "").trim_end().to_owned() + "\n");
    for (of_a, of_b) in first.namespaces.iter().zip(&other.namespaces) {
        let shared = is_shared(of_a, of_b);
        let word = say(match shared {
            Some(true) => "shared",
            Some(false) => "separate",
            None => "?",
        });
        let shown = line(of_a.kind.name(), &number(&of_a.inode), &number(&of_b.inode), &word);
        let style = if shared == Some(true) { Style::Dim } else { Style::Bold };
        text += &(canvas.paint(style, shown.trim_end()) + "\n");
        text +=
            &canvas.wrap("        ", &follows(of_a, of_b, (&a, &b), &first.facts, &other.facts));
    }
    text
}

/// What follows from it.
fn follows(
    of_a: &Namespace,
    of_b: &Namespace,
    (a, b): (&str, &str),
    facts: &Facts,
    others: &Facts,
) -> String {
    let (is_a_own, is_b_own) = (of_a.is_own(), of_b.is_own());
    match (of_a.kind, is_shared(of_a, of_b)) {
        (_, None) if of_a.inode == Seen::Absent => {
            String::from("This kernel has no such namespaces.")
        }
        (_, None) => String::from("Hidden from you: at least one is somebody else's process."),
        (Kind::Cgroup, Some(true)) => {
            String::from("Both name the places where they are counted in the same way.")
        }
        (Kind::Cgroup, Some(false)) => format!(
            "Each takes its own place for the top: {a} is counted in {}, {b} in {}.",
            word(&facts.cgroup),
            word(&others.cgroup)
        ),
        (Kind::Ipc, Some(true)) => {
            String::from("They can use the same shared memory, semaphores and message queues.")
        }
        (Kind::Ipc, Some(false)) => {
            String::from("Neither finds shared memory, semaphores or message queues of the other.")
        }
        (Kind::Mnt, Some(true)) => {
            String::from("What one mounts the other sees, and both begin from the same mounts.")
        }
        (Kind::Mnt, Some(false)) => {
            let root = |facts: &Facts| {
                facts.root.known().map_or_else(|| say("(hidden)"), |root| tame(&root.source))
            };
            format!(
                "Each sees files of its own: / is {} for {a} and {} for {b}, unless a folder is mounted in both.",
                root(facts),
                root(others)
            )
        }
        (Kind::Net, Some(true)) => {
            String::from("They reach each other on 127.0.0.1, and cannot both listen on one port.")
        }
        (Kind::Net, Some(false)) => format!(
            "127.0.0.1 is another machine for each, and both may listen on the same port. {a} has {}; {b} has {}.",
            interfaces(facts),
            interfaces(others)
        ),
        (Kind::Pid, Some(true)) => String::from(
            "They see each other's processes under the same numbers, and may send them signals.",
        ),
        (Kind::Pid, Some(false)) if is_a_own == Some(false) => {
            format!(
                "{a} sees the processes of {b} under numbers of this host; {b} does not see those of {a}."
            )
        }
        (Kind::Pid, Some(false)) if is_b_own == Some(false) => {
            format!(
                "{b} sees the processes of {a} under numbers of this host; {a} does not see those of {b}."
            )
        }
        (Kind::Pid, Some(false)) => String::from(
            "Each has a number 1 of its own, and neither sees the other's processes, unless one lives within the other.",
        ),
        (Kind::Time, Some(true)) => String::from("Their clocks since the machine's start agree."),
        (Kind::Time, Some(false)) => String::from(
            "Their clocks since the machine's start may differ; the time of day does not.",
        ),
        (Kind::User, Some(true)) => String::from("The same numbers are the same users for both."),
        (Kind::User, Some(false)) => format!(
            "The same numbers are other users. On this host, of {a}: {}; of {b}: {}.",
            users(facts),
            users(others)
        ),
        (Kind::Uts, Some(true)) => format!(
            "Both are called {}; where one changes that it changes for the other.",
            word(&facts.hostname)
        ),
        (Kind::Uts, Some(false)) => {
            format!(
                "{a} is called {}, {b} is called {}.",
                word(&facts.hostname),
                word(&others.hostname)
            )
        }
    }
}

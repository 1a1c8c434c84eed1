//! `minibox audit`: how well containers are isolated from this host, what an attacker could make of what is
//! missing, and what mends it.

use std::cell::Cell;
use std::collections::HashMap;

use minibox_lens::audit::{self, Audit, Finding, Id, Weight};
use minibox_lens::processes::{self, Entry};
use minibox_lens::{process, tree};
use minibox_runtime::Result;
use serde::Serialize;

use super::{Canvas, Style, Target, fault, find, known, look};
use crate::args::AuditArgs;
use crate::gc;
use crate::language::say;
use crate::output;
use crate::store::Store;

/// What is printed for programs.
#[derive(Serialize)]
struct Seen {
    audits: Vec<One>,
    /// How much `minibox gc` finds.
    leftovers: usize,
}

/// One container, or another process.
#[derive(Serialize)]
struct One {
    container: Option<String>,
    pid: i32,
    score: u32,
    findings: Vec<Told>,
    believed: Vec<Id>,
    hidden: Vec<Id>,
}

/// A finding, with what follows from it.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    finding: Finding,
    title: &'static str,
    attack: &'static str,
    mend: &'static str,
}

impl One {
    fn new(container: Option<String>, pid: i32, audit: Audit) -> One {
        let told = |finding: Finding| {
            let (title, attack, mend) = words(finding.id);
            Told { finding, title, attack, mend }
        };
        One {
            container,
            pid,
            score: audit.score,
            findings: audit.findings.into_iter().map(told).collect(),
            believed: audit.believed,
            hidden: audit.hidden,
        }
    }

    fn count(&self, weight: Weight) -> usize {
        self.findings.iter().filter(|told| told.finding.weight == weight).count()
    }
}

/// `minibox audit`.
pub(crate) fn audit(store: &Store, args: &AuditArgs) -> Result<u8> {
    let asked = if args.myself { Some("self") } else { args.target.as_deref() };
    let target = asked.map(|asked| find(store, asked)).transpose()?;
    let lowest = Cell::new(100);
    let see = || {
        let audits = match &target {
            Some(target) => {
                let seen = audit::of(&target.process).map_err(|error| fault(&error))?;
                vec![One::new(target.container.clone(), target.pid, seen)]
            }
            None => everyone(store),
        };
        lowest.set(audits.iter().map(|one| one.score).min().unwrap_or(100));
        Ok(Seen { audits, leftovers: gc::leftovers(store) })
    };
    look(&args.look, "audit/1", None, see, |seen, canvas| match &target {
        Some(target) => seen.audits.iter().map(|one| draw(target, one, canvas)).collect(),
        None => table(seen, canvas),
    })?;
    Ok(u8::from(args.fail_under.is_some_and(|least| lowest.get() < least)))
}

/// Every container that runs on this host, whoever started it, by its first process; the weakest first.
fn everyone(store: &Store) -> Vec<One> {
    let known = known(store);
    let all = processes::all();
    let mut first: HashMap<String, &Entry> = HashMap::new();
    let names = tree::containers(&all, &known);
    for entry in &all {
        let Some(name) = names.get(&entry.pid) else { continue };
        let oldest = first.entry(name.clone()).or_insert(entry);
        if entry.started < oldest.started {
            *oldest = entry;
        }
    }
    for known in &known {
        if let Some(entry) = all.iter().find(|entry| entry.pid == known.pid) {
            first.insert(known.name.clone(), entry);
        }
    }
    // Whoever has ended meanwhile is isolated well.
    let audits = first.into_iter().filter_map(|(name, entry)| {
        let seen = audit::of(&process::open(entry.pid).ok()?).ok()?;
        Some(One::new(Some(name), entry.pid, seen))
    });
    let mut audits: Vec<One> = audits.collect();
    audits.sort_by(|one, other| (one.score, &one.container).cmp(&(other.score, &other.container)));
    audits
}

fn table(seen: &Seen, canvas: &Canvas) -> String {
    let mut text = canvas.heading("How well containers are isolated from this host");
    if seen.audits.is_empty() {
        text += &canvas.wrap(
            "",
            "No container runs. `minibox audit --self` looks at what this shell may do, `minibox audit PID` at any process.",
        );
    } else {
        let heading = ["SCORE", "CONTAINER", "PID", "SERIOUS", "NOTABLE", "SMALL", "WORST"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for one in &seen.audits {
            let worst = one.findings.first().map_or("", |told| told.title);
            rows.push(vec![
                format!("{}{}", one.score, if one.hidden.is_empty() { "" } else { "?" }),
                one.container.as_deref().map(output::on_one_line).unwrap_or_default(),
                one.pid.to_string(),
                one.count(Weight::Serious).to_string(),
                one.count(Weight::Notable).to_string(),
                one.count(Weight::Small).to_string(),
                say(worst),
            ]);
        }
        for line in output::table(&rows).lines() {
            text += &(output::shorten(line, canvas.width) + "\n");
        }
        text += "\n";
        text += &canvas.wrap("", "100 is best. `minibox audit CONTAINER` tells what an attacker in it could do, and what mends it.");
        if seen.audits.iter().any(|one| !one.hidden.is_empty()) {
            text += &canvas.wrap(
                "",
                "A score with ? may be lower: part of it is hidden from you, and root sees it.",
            );
        }
    }
    if seen.leftovers > 0 {
        let count = seen.leftovers;
        text += &canvas.wrap(
            "",
            &format!("A crash has left something behind ({count}): `minibox gc` shows it, `minibox gc --force` removes it."),
        );
    }
    text
}

fn draw(target: &Target, one: &One, canvas: &Canvas) -> String {
    let title = format!("How well {} is isolated from this host", target.title());
    let mut text = canvas.heading(&title);
    let score = one.score;
    text += &canvas.wrap("", &match (one.count(Weight::Serious), score) {
        (0, 80..) => format!("{score} of 100: isolated well. Whoever takes it over needs an error of the kernel's to get further."),
        (0, _) => format!("{score} of 100: nothing stands open, but one error elsewhere is enough to get out."),
        (_, 20..) => format!("{score} of 100: the walls have a gap. Whoever takes it over can get out."),
        _ => format!("{score} of 100: there are next to no walls. Whoever takes it over has this host."),
    });
    for told in &one.findings {
        text += "\n";
        text += &finding(told, canvas);
    }
    let titles = |ids: &[Id]| ids.iter().map(|id| say(words(*id).0)).collect::<Vec<_>>().join("; ");
    for (ids, sentence) in [
        (
            &one.believed,
            "Believed and not tried, since filters can be read by root alone, and not of who is paused:",
        ),
        (&one.hidden, "Not judged, since it is hidden from you; root sees it:"),
    ] {
        if !ids.is_empty() {
            let sentence = say(sentence);
            text += "\n";
            text += &canvas.wrap("", &format!("{sentence} {}", titles(ids)));
        }
    }
    text
}

fn finding(told: &Told, canvas: &Canvas) -> String {
    let (weight, style, glyph) = match told.finding.weight {
        Weight::Serious => ("serious", Style::Magenta, canvas.glyph("●", "!")),
        Weight::Notable => ("notable", Style::Yellow, canvas.glyph("◐", "+")),
        Weight::Small => ("small", Style::Cyan, canvas.glyph("○", "-")),
    };
    let (weight, points) = (say(weight), told.finding.points);
    let head = format!("{glyph} {} ({weight}, -{points})", say(told.title));
    let mut text = canvas.paint(style, &output::shorten(&head, canvas.width)) + "\n";
    let evidence = output::on_one_line(&told.finding.evidence.join(", "));
    let room = canvas.width.saturating_sub(2) * 3;
    let evidence = output::shorten(&evidence, room);
    text += &canvas.paint(Style::Dim, &canvas.wrap("  ", &evidence));
    text += &canvas.wrap("  ", told.attack);
    let mend = say(told.mend);
    text + &canvas.wrap("  ", &format!("{} {mend}", canvas.glyph("→", "->")))
}

/// What it is, what an attacker could make of it, what mends it.
#[allow(clippy::too_many_lines)] // A table, which the compiler knows to be whole.
fn words(id: Id) -> (&'static str, &'static str, &'static str) {
    match id {
        Id::HostRoot => (
            "root in it is root of this host",
            "Its user 0 is this host's user 0. As long as all other walls stand it gains nothing by that; through the first gap it comes out as root, and not as nobody.",
            "--userns auto gives it users of its own; -u 1000 makes it an ordinary user; or run minibox as a plain user.",
        ),
        Id::MightyCapabilities => (
            "capabilities that command the machine",
            "Each of these is a good part of root: mounting disks, loading code into the kernel, reading files past every folder's walls, looking into other processes. Most ways out of containers begin here. In a user namespace of its own they open the kernel's code to it, and not the machine.",
            "leave out --privileged and --cap-add; where one is needed, add it alone, in a user namespace (--userns auto).",
        ),
        Id::Capabilities => (
            "capabilities that most programs never need",
            "Forged packets, device nodes, lines in the audit log: little by itself, and a help to whoever looks for a way out.",
            "--cap-drop with their names, or --cap-drop ALL and --cap-add with those that are needed.",
        ),
        Id::NewPrivileges => (
            "programs in it can give more rights",
            "no_new_privs is not set: an ordinary user in it who finds an error in one of its set-user-ID programs becomes its root. Their names stand above, as far as they were looked for.",
            "leave out --security-opt no-new-privileges=false; docker and podman want --security-opt no-new-privileges.",
        ),
        Id::SeccompOff => (
            "no filter before the kernel",
            "It may make every system call there is. Most errors of the kernel by which containers were left lie behind calls that no ordinary program makes.",
            "leave out --security-opt seccomp=unconfined and --privileged.",
        ),
        Id::SeccompGaps => (
            "the filter lets risky calls through",
            "These reach the kernel. Behind them errors are found every year that make a program root of the machine, and ordinary programs do without them.",
            "minibox's own filter stops them all: leave out --security-opt seccomp=…, or take them out of the profile.",
        ),
        Id::SharedMounts => (
            "it sees this host's files",
            "No mount namespace separates its files from the host's: it reads what its user may read, and as root writes what it likes.",
            "run it in a container: minibox run ROOTFS PROGRAM.",
        ),
        Id::SharedProcesses => (
            "it sees this host's processes",
            "It can watch every process, end those of its user, and read their memory and environment where it may trace them; through /proc/PID/root their files.",
            "leave out --pid host.",
        ),
        Id::SharedNetwork => (
            "it is on this host's network",
            "It reaches services that listen on localhost only, and sockets without a file; as root it listens in the host's name.",
            "leave out --net host: a container has a network of its own.",
        ),
        Id::SharedIpc => (
            "it sees this host's shared memory",
            "It can read and change shared memory, semaphores and message queues of other programs of the same user.",
            "leave out --ipc host.",
        ),
        Id::SharedHostname => (
            "it has this host's name",
            "With CAP_SYS_ADMIN it can rename the machine; others trust names, in logs and certificates.",
            "leave out --uts host.",
        ),
        Id::SharedCgroups => (
            "it sees this host's cgroups",
            "It learns which other containers and services there are, and where its own limits are kept.",
            "leave out --cgroupns host.",
        ),
        Id::KernelFiles => (
            "files of the kernel's lie open",
            "What is written there can hold for the whole machine: a program named in core_pattern or release_agent is executed by the host as root, sysrq-trigger halts it; what is not hidden tells keys and memory.",
            "leave out --privileged and --security-opt systempaths=unconfined, and mount nothing of /proc and /sys.",
        ),
        Id::EngineSocket => (
            "it can command a container engine",
            "Whoever may write to an engine's socket is root: it asks for a new container that has the host's / mounted, and walks in.",
            "leave out the volume with the socket; give whoever needs it a proxy that allows little.",
        ),
        Id::HostFolders => (
            "folders that this host lives in are mounted",
            "In these folders passwords, keys and programs lie that the host itself uses: to read them is to know it, to write there is to become its root.",
            "mount the one folder that is needed, and with :ro where reading is enough.",
        ),
        Id::WritableFolders => (
            "its root writes in folders of this host",
            "It can leave programs there that are set-user-ID root, for anybody on the host to execute, and links that a careless script of the host's follows.",
            "mount with :ro where reading is enough; --userns auto makes its root nobody's.",
        ),
        Id::OutsideDescriptors => (
            "it holds something outside its root open",
            "An open folder leads to all that lies around it, whatever the root is (CVE-2024-21626); into an open terminal of the host's it can type commands.",
            "start it with minibox, which closes what it inherits; with your own programs, use O_CLOEXEC.",
        ),
        Id::PidsLimit => (
            "it may have as many processes as it likes",
            "One line of shell (a fork bomb) fills the host's table of processes, and nobody can start anything any more, not even to end it.",
            "--pids-limit 512 (minibox's default for root; a plain user needs systemd for it, see minibox info).",
        ),
        Id::MemoryLimit => (
            "it may have as much memory as there is",
            "When memory runs out, the kernel ends processes of the host's to make room.",
            "-m 512m.",
        ),
        Id::DeviceNodes => (
            "it has devices of this host",
            "Whoever writes to a disk's node changes the files on it past every permission; whoever reads it reads them all. Other drivers have errors of their own.",
            "leave out --privileged, --device and -v /dev.",
        ),
        Id::DeviceRules => (
            "no rule keeps it from devices",
            "Should it come by a device node, through CAP_MKNOD or a volume, that opens: the host's disks first.",
            "leave out --privileged and --device-cgroup-rule.",
        ),
        Id::Secrets => (
            "secrets stand in its environment",
            "Every program that it executes inherits them, a crash report or a debug page shows them, and `inspect` and /proc/PID/environ too. The values were not looked at.",
            "give secrets as files: -v ./secret:/run/secret:ro.",
        ),
        Id::OldKernel => (
            "this host's kernel is old",
            "The kernel is the one wall that all containers share. What was found in it since it was built is published, with the programs that use it.",
            "install the updates of your distribution, and restart.",
        ),
    }
}

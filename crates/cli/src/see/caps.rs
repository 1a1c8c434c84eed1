//! `minibox caps`: what a process may do, set by set.

use minibox_lens::capabilities::{self, Capabilities};
use minibox_runtime::Result;

use super::{Canvas, Target, fault, find, look};
use crate::args::LookTargetArgs;
use crate::language::say;
use crate::output;
use crate::store::Store;

/// What each permits, capabilities(7), in the words of somebody who meets them for the first time.
const PERMITS: [(&str, &str); 41] = [
    ("CAP_CHOWN", "give files to another owner"),
    ("CAP_DAC_OVERRIDE", "read and write any file, whatever its permissions say"),
    ("CAP_DAC_READ_SEARCH", "read any file and folder"),
    ("CAP_FOWNER", "change files of others as if they were its own"),
    ("CAP_FSETID", "keep set-user-id bits on files that it changes"),
    ("CAP_KILL", "send signals to processes of others"),
    ("CAP_SETGID", "become any group"),
    ("CAP_SETUID", "become any user"),
    ("CAP_SETPCAP", "drop capabilities for good"),
    ("CAP_LINUX_IMMUTABLE", "make files unchangeable, and changeable again"),
    ("CAP_NET_BIND_SERVICE", "listen on ports below 1024"),
    ("CAP_NET_BROADCAST", "nothing that a kernel of today asks for"),
    ("CAP_NET_ADMIN", "change interfaces, routes and firewall of its network"),
    ("CAP_NET_RAW", "forge packets, and read those of others"),
    ("CAP_IPC_LOCK", "keep memory from being swapped out"),
    ("CAP_IPC_OWNER", "use shared memory of others"),
    ("CAP_SYS_MODULE", "load code into the kernel: the whole machine is its own"),
    ("CAP_SYS_RAWIO", "talk to devices and memory past the kernel"),
    ("CAP_SYS_CHROOT", "choose another root folder"),
    ("CAP_SYS_PTRACE", "read and change the memory of other processes"),
    ("CAP_SYS_PACCT", "switch the accounting of processes on and off"),
    ("CAP_SYS_ADMIN", "mount, enter namespaces, and nearly everything else"),
    ("CAP_SYS_BOOT", "restart the machine"),
    ("CAP_SYS_NICE", "take CPU time before others"),
    ("CAP_SYS_RESOURCE", "go beyond limits"),
    ("CAP_SYS_TIME", "set the clock of the machine"),
    ("CAP_SYS_TTY_CONFIG", "hang terminals up"),
    ("CAP_MKNOD", "make device nodes"),
    ("CAP_LEASE", "hear of it when others open its files"),
    ("CAP_AUDIT_WRITE", "write to the kernel's audit log"),
    ("CAP_AUDIT_CONTROL", "switch the kernel's audit on and off"),
    ("CAP_SETFCAP", "give capabilities to program files"),
    ("CAP_MAC_OVERRIDE", "pass over mandatory access control"),
    ("CAP_MAC_ADMIN", "change mandatory access control"),
    ("CAP_SYSLOG", "read the kernel's messages"),
    ("CAP_WAKE_ALARM", "wake the machine at a time"),
    ("CAP_BLOCK_SUSPEND", "keep the machine awake"),
    ("CAP_AUDIT_READ", "read the kernel's audit log"),
    ("CAP_PERFMON", "measure what runs on the machine"),
    ("CAP_BPF", "load programs into the kernel's own small machine"),
    ("CAP_CHECKPOINT_RESTORE", "restore processes under the numbers that they had"),
];

/// `minibox caps`.
pub(crate) fn caps(store: &Store, args: &LookTargetArgs) -> Result<u8> {
    let target = find(store, &args.target)?;
    let see = || capabilities::of(&target.process).map_err(|error| fault(&error));
    look(&args.look, "caps/1", &target, see, |seen, canvas| draw(&target, seen, canvas))
}

fn permits(name: &str) -> &'static str {
    PERMITS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or("newer than this minibox", |(_, text)| text)
}

fn draw(target: &Target, seen: &Capabilities, canvas: &Canvas) -> String {
    let has = |set: &[String], name: &String| {
        if set.contains(name) { canvas.glyph("●", "x") } else { "-" }
    };
    let heading = ["CAPABILITY", "E", "P", "I", "B", "A", "PERMITS IT TO"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let ambient = seen.ambient.known().map_or(&[][..], Vec::as_slice);
    let sets = [&seen.effective, &seen.permitted, &seen.inheritable, &seen.bounding];
    for name in seen.known.iter().filter(|name| sets.iter().any(|set| set.contains(name))) {
        let mut row = vec![name.clone()];
        row.extend(sets.iter().map(|set| has(set, name).to_owned()));
        row.extend([has(ambient, name).to_owned(), say(permits(name))]);
        rows.push(row);
    }
    let mut text = canvas.heading(&format!("What {} may do", target.title()));
    text += &canvas.wrap("", &summary(seen));
    text.push('\n');
    for line in output::table(&rows).lines() {
        text += &(output::shorten(line, canvas.width) + "\n");
    }
    text.push('\n');
    for (letter, meaning) in [
        ("E", "effective: what the kernel looks at"),
        ("P", "permitted: what it may switch on"),
        ("I", "inheritable: what programs may take over whose files say so"),
        ("B", "bounding: what is missing here never comes back"),
        ("A", "ambient: what every program it executes takes over"),
    ] {
        text += &canvas.wrap("", &format!("{letter}  {}", say(meaning)));
    }
    text
}

/// The whole in a sentence or two.
fn summary(seen: &Capabilities) -> String {
    let (count, all) = (seen.effective.len(), seen.known.len());
    let powers = match (seen.uid, count) {
        (0, 0) => {
            format!("It is root (uid 0) with none of root's {all} powers: nearly an ordinary user.")
        }
        (0, _) if count == all => format!("It is root (uid 0) with all of root's {all} powers."),
        (0, _) => format!("It is root (uid 0) with {count} of root's {all} powers."),
        (uid, 0) => format!("It runs as user {uid} and has none of root's {all} powers."),
        (uid, _) => {
            format!("It runs as user {uid} and has {count} of root's {all} powers all the same.")
        }
    };
    let mut sentences = vec![say(&powers)];
    if seen.in_callers_user_namespace.known() == Some(&false) {
        sentences
            .push(say("They count only for what its own user namespace owns, not for this host."));
    }
    if seen.no_new_privileges.known() == Some(&true) {
        sentences.push(say("no_new_privs is set: nothing that it executes can get more."));
    }
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_capability_has_its_sentence_in_the_kernels_order() {
        for number in 0..41 {
            let name = minibox_runtime::capabilities::name(number).unwrap();
            assert_eq!(super::PERMITS[usize::from(number)].0, name);
        }
    }
}

//! Which namespaces it gets, and what stands in them: network, host name, name servers.

use std::path::PathBuf;

use minibox_runtime::{Error, Result, spec};
use oci_spec::runtime::LinuxNamespaceType as Kind;

use super::bad;
use crate::args::{CreateArgs, NamespaceArgs};
use crate::host;
use crate::settings::Modes;
use crate::sharing::Origin;
use crate::store::{Record, Store};
use crate::userns;

/// The namespaces that were asked for.
#[derive(Debug)]
pub(crate) struct Namespaces {
    pub net: Origin,
    pub pid: Origin,
    pub ipc: Origin,
    pub uts: Origin,
    pub cgroup: Origin,
    pub user: userns::Wish,
    /// There is a /dev/shm.
    pub shm: bool,
    /// The host name; none: the container's name.
    pub hostname: Option<String>,
    /// The files of the container whose network it shares.
    pub files: Option<Files>,
    /// Lines for /etc/hosts: address, name.
    pub hosts: Vec<(String, String)>,
    /// Lines for /etc/resolv.conf; none: as the network demands.
    pub resolv_conf: Vec<String>,
    pub oom_score_adj: Option<i32>,
    /// As it was asked for, to be written down.
    pub modes: Modes,
}

impl Namespaces {
    /// The user that the program is, where nobody says otherwise.
    pub(super) fn default_user(&self) -> String {
        let all = [&self.net, &self.pid, &self.ipc, &self.uts, &self.cgroup];
        self.user.default_user(all.into_iter().filter_map(Origin::record))
    }
}

/// What belongs to a network, as a container has it.
#[derive(Debug)]
pub(crate) struct Files {
    pub hosts: PathBuf,
    pub resolv_conf: PathBuf,
}

pub(super) fn understand(
    store: &Store,
    args: &CreateArgs,
    warnings: &mut Vec<String>,
) -> Result<Namespaces> {
    let asked = &args.namespaces;
    if let Some(ports) = asked.publish.first() {
        return Err(Error::new(format!(
            "-p {ports}: publishing ports needs a network bridge, which this version does not have"
        ))
        .hint("with --net host the program listens on the host's own ports"));
    }
    if asked.net == "bridge" {
        return Err(Error::new("--net bridge: there is no network bridge in this version")
            .hint("today: --net none (loopback only) or --net host (the host's network)"));
    }
    for (flag, name) in [("--hostname", &asked.hostname), ("--domainname", &asked.domainname)] {
        if let Some(name) = name
            && (name.is_empty() || name.len() > 64)
        {
            return Err(bad(flag, name, "1 to 64 bytes"));
        }
    }
    let mode = |flag: &str, text: &str, new: &str, right: &str| {
        Origin::parse(store, flag, text, new)?.ok_or_else(|| bad(flag, text, right))
    };
    let all = "private, host or container:NAME";
    let net = mode("--net", &asked.net, "none", "none, host or container:NAME")?;
    let pid = mode("--pid", &asked.pid, "private", all)?;
    let ipc = match asked.ipc.as_str() {
        "none" | "shareable" => Origin::New,
        text => mode("--ipc", text, "private", "private, shareable, none, host or container:NAME")?,
    };
    let uts = mode("--uts", &asked.uts, "private", all)?;
    let cgroup = mode("--cgroupns", &asked.cgroupns, "private", all)?;
    let user =
        userns::Wish::parse(store, asked.userns.as_deref(), &asked.uid_maps, &asked.gid_maps)?;
    check_conflicts(asked, &net, &uts)?;
    warn(&net, &pid, &ipc, warnings);

    let modes = Modes {
        network: spell(&asked.net, &net),
        pid: spell(&asked.pid, &pid),
        ipc: spell(&asked.ipc, &ipc),
        uts: spell(&asked.uts, &uts),
        cgroup: spell(&asked.cgroupns, &cgroup),
        user: user.spell(asked.userns.as_deref()),
    };
    Ok(Namespaces {
        hostname: asked
            .hostname
            .clone()
            .map_or_else(|| hostname(store, &net, &uts), |name| Ok(Some(name)))?,
        files: net.record().map(|record| files(store, record)).transpose()?,
        pid: settle(store, pid, Kind::Pid)?,
        ipc: settle_ipc(store, ipc)?,
        net: settle(store, net, Kind::Network)?,
        uts: settle(store, uts, Kind::Uts)?,
        cgroup: settle(store, cgroup, Kind::Cgroup)?,
        user,
        shm: asked.ipc != "none",
        hosts: asked.add_host.iter().map(|text| host_line(text)).collect::<Result<_>>()?,
        resolv_conf: resolv_conf(asked)?,
        oom_score_adj: args.program.oom_score_adj.map(oom_score_adj).transpose()?,
        modes,
    })
}

/// As docker spells it: a container by its id.
fn spell(asked: &str, origin: &Origin) -> String {
    origin.record().map_or_else(|| asked.to_owned(), |record| format!("container:{}", record.id))
}

/// What one container shares with another, a third may own, or the host.
fn settle(store: &Store, origin: Origin, kind: Kind) -> Result<Origin> {
    match &origin {
        Origin::Of(record) => Origin::of(store, record, kind),
        _ => Ok(origin),
    }
}

fn settle_ipc(store: &Store, origin: Origin) -> Result<Origin> {
    let Some(record) = origin.record() else { return Ok(origin) };
    if matches!(record.settings.modes.ipc.as_str(), "private" | "none") {
        return Err(Error::new(format!(
            "--ipc container:{}: that container keeps its message queues and shared memory to itself",
            record.name
        ))
        .hint("make it with --ipc shareable"));
    }
    settle(store, origin, Kind::Ipc)
}

/// What belongs to a namespace cannot be chosen where that is somebody else's; docker's rules.
fn check_conflicts(args: &NamespaceArgs, net: &Origin, uts: &Origin) -> Result<()> {
    let shared_uts = if uts.is_new() { None } else { Some(format!("--uts {}", args.uts)) };
    let shared_net = net.record().map(|_| format!("--net {}", args.net));
    let names =
        [("--hostname", args.hostname.is_some()), ("--domainname", args.domainname.is_some())];
    let files = [
        ("--add-host", !args.add_host.is_empty()),
        ("--dns", !args.dns.is_empty()),
        ("--dns-search", !args.dns_search.is_empty()),
        ("--dns-option", !args.dns_option.is_empty()),
    ];
    let given = |flags: &[(&'static str, bool)]| {
        flags.iter().find(|(_, is_given)| *is_given).map(|(flag, _)| *flag)
    };
    let clash = given(&names).zip(shared_uts.or_else(|| shared_net.clone()));
    match clash.or_else(|| given(&files).zip(shared_net)) {
        Some((flag, shared)) => Err(Error::new(format!("{flag} and {shared} exclude each other"))
            .hint("what is shared keeps the name and the files it has")),
        None => Ok(()),
    }
}

fn warn(net: &Origin, pid: &Origin, ipc: &Origin, warnings: &mut Vec<String>) {
    let mut say = |is_host: bool, text: &str| {
        if is_host {
            warnings.push(text.to_owned());
        }
    };
    say(
        net.is_host(),
        "--net host: the container sees and uses the host's network, abstract sockets included",
    );
    say(
        pid.is_host(),
        "--pid host: the container sees every process of the host, and may signal its user's",
    );
    say(
        ipc.is_host(),
        "--ipc host: the container uses the host's shared memory and message queues",
    );
}

/// The name that a namespace brings along.
fn hostname(store: &Store, net: &Origin, uts: &Origin) -> Result<Option<String>> {
    match (uts, net) {
        (Origin::Of(record), _) | (Origin::New, Origin::Of(record)) => {
            let name = spec::load(&store.folder(&record.id))?.hostname().clone();
            Ok(Some(name.unwrap_or_else(host::hostname)))
        }
        (Origin::Host, _) | (_, Origin::Host) => Ok(Some(host::hostname())),
        (Origin::New, Origin::New) => Ok(None),
    }
}

/// The files that `record` has mounted, its own or those it shares itself.
fn files(store: &Store, record: &Record) -> Result<Files> {
    let spec = spec::load(&store.folder(&record.id))?;
    let source = |place: &str| {
        let mut mounts = spec.mounts().iter().flatten();
        let found = mounts.find(|mount| mount.destination().as_os_str() == place);
        found
            .and_then(|mount| mount.source().clone())
            .ok_or_else(|| Error::new(format!("container {} has no {place} to share", record.name)))
    };
    Ok(Files { hosts: source("/etc/hosts")?, resolv_conf: source("/etc/resolv.conf")? })
}

fn oom_score_adj(value: i32) -> Result<i32> {
    if (-1000..=1000).contains(&value) {
        return Ok(value);
    }
    Err(bad("--oom-score-adj", &value.to_string(), "a number from -1000 to 1000"))
}

/// `--add-host NAME:IP`, docker also takes `=`.
fn host_line(text: &str) -> Result<(String, String)> {
    let wrong = || bad("--add-host", text, "NAME:IP, such as db:192.0.2.7");
    let (name, address) = text.split_once([':', '=']).ok_or_else(wrong)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(wrong());
    }
    let address: std::net::IpAddr = address.parse().map_err(|_| wrong())?;
    Ok((address.to_string(), name.to_owned()))
}

fn resolv_conf(args: &NamespaceArgs) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for server in &args.dns {
        let address: std::net::IpAddr =
            server.parse().map_err(|_| bad("--dns", server, "the IP address of a name server"))?;
        lines.push(format!("nameserver {address}"));
    }
    let one_word = |flag: &str, word: &String| {
        let is_one = !word.is_empty() && !word.contains(char::is_whitespace);
        if is_one { Ok(()) } else { Err(bad(flag, word, "one word without blanks")) }
    };
    // Of several lines only the last would count, resolv.conf(5).
    for (key, flag, words) in [
        ("search", "--dns-search", &args.dns_search),
        ("options", "--dns-option", &args.dns_option),
    ] {
        words.iter().try_for_each(|word| one_word(flag, word))?;
        if !words.is_empty() {
            lines.push(format!("{key} {}", words.join(" ")));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_a_name_and_an_address() {
        let line = |text| host_line(text).unwrap();
        assert_eq!(line("db:192.0.2.7"), ("192.0.2.7".into(), "db".into()));
        assert_eq!(line("db:[::1]"), ("::1".into(), "db".into()));
        assert_eq!(line("db=::1"), ("::1".into(), "db".into()));
        for wrong in ["", "db", "db:", ":192.0.2.7", "db:x", "a b:192.0.2.7"] {
            assert!(host_line(wrong).is_err(), "{wrong}");
        }
    }
}

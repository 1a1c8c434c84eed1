//! Which namespaces it gets, and what stands in them: network, host name, name servers.

use minibox_runtime::{Error, Result};

use super::{bad, not_yet};
use crate::args::{CreateArgs, NamespaceArgs};

/// The namespaces that were asked for.
#[derive(Debug)]
pub(crate) struct Namespaces {
    pub host_network: bool,
    /// Lines for /etc/hosts: address, name.
    pub hosts: Vec<(String, String)>,
    /// Lines for /etc/resolv.conf; none: as the network demands.
    pub resolv_conf: Vec<String>,
}

pub(super) fn understand(args: &CreateArgs, warnings: &mut Vec<String>) -> Result<Namespaces> {
    let asked = &args.namespaces;
    if let Some(ports) = asked.publish.first() {
        return Err(Error::new(format!(
            "-p {ports}: publishing ports needs a network bridge, which this version does not have"
        ))
        .hint("with --net host the program listens on the host's own ports"));
    }
    let host_network = match asked.net.as_str() {
        "none" => false,
        "host" => true,
        "bridge" => {
            return Err(Error::new("--net bridge: there is no network bridge in this version")
                .hint("today: --net none (loopback only) or --net host (the host's network)"));
        }
        other => return Err(bad("--net", other, "none or host")),
    };
    not_yet(&[
        ("--pid", asked.pid != "private"),
        ("--ipc", asked.ipc != "private"),
        ("--uts", asked.uts != "private"),
        ("--cgroupns", asked.cgroupns != "private"),
        ("--userns", asked.userns.is_some()),
        ("--uidmap", !asked.uid_maps.is_empty()),
        ("--gidmap", !asked.gid_maps.is_empty()),
        ("--init", args.program.init),
        ("--oom-score-adj", args.program.oom_score_adj.is_some()),
    ])?;
    for (flag, name) in [("--hostname", &asked.hostname), ("--domainname", &asked.domainname)] {
        if let Some(name) = name
            && (name.is_empty() || name.len() > 64)
        {
            return Err(bad(flag, name, "1 to 64 bytes"));
        }
    }
    if host_network {
        warnings.push(
            "--net host: the container sees and uses the host's network, abstract sockets included"
                .into(),
        );
    }
    Ok(Namespaces {
        host_network,
        hosts: asked.add_host.iter().map(|text| host_line(text)).collect::<Result<_>>()?,
        resolv_conf: resolv_conf(asked)?,
    })
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

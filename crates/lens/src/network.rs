//! What a process has of a network, proc_pid_net(5): interfaces, routes and sockets, read without entering
//! its network namespace.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use procfs::process::Process;
use serde::Serialize;

use crate::process::{link, read};
use crate::{Result, Seen};

/// Its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Its network namespace is the caller's.
    pub in_callers_network_namespace: Seen<bool>,
    /// In the kernel's order.
    pub interfaces: Vec<Interface>,
    /// Those that packets take that go out; routes to its own addresses and to groups are left out.
    pub routes: Vec<Route>,
    /// Those that listen, and those that are connected.
    pub sockets: Vec<Socket>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// `lo`, `eth0`.
    pub name: String,
    /// It is switched on; absent where the kernel has no groups (multicast), which tell it.
    pub up: Seen<bool>,
    /// The largest packet, in bytes; /proc/PID/net has it only for the caller's own namespace, from sysfs.
    pub mtu: Seen<u64>,
    /// With the length of their prefix.
    pub addresses: Vec<Address>,
    /// What has come in.
    pub received: Traffic,
    /// What has gone out.
    pub sent: Traffic,
}

/// `192.0.2.1/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Address {
    /// Of version 4 or 6.
    pub address: IpAddr,
    /// How many bits all addresses of its network have in common.
    pub prefix: u8,
}

/// Counted since the interface was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// All bytes.
    pub bytes: u64,
    /// All packets.
    pub packets: u64,
    /// Packets that were broken.
    pub errors: u64,
    /// Packets for which there was no room.
    pub dropped: u64,
}

/// Where packets go that have this destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Its network; of prefix 0: everything else.
    pub destination: Address,
    /// The neighbour that takes them further; absent: the destination is a neighbour itself.
    pub gateway: Option<IpAddr>,
    /// The interface.
    pub interface: String,
    /// Among several the smallest counts.
    pub metric: u32,
}

/// One end of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Socket {
    /// tcp, tcp6, udp, udp6, unix.
    pub protocol: &'static str,
    /// tcp(7): LISTEN, ESTABLISHED, …; of udp UNCONN and ESTABLISHED, as ss(8) says.
    pub state: &'static str,
    /// Here: an address and port, or the path of a unix socket; an abstract one begins with `@`.
    pub local: String,
    /// There; absent where it is not connected.
    pub remote: Option<String>,
    /// The user who made it, as the caller sees him; unix sockets do not tell.
    pub uid: Option<u32>,
    /// The number of its inode, socket:[N] in /proc/PID/fd.
    pub inode: u64,
    /// The processes that hold it; absent where none does, as after its end. Denied where none was found and
    /// some process did not show its descriptors.
    pub processes: Seen<Vec<Holder>>,
}

/// Who holds a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// As the caller sees it.
    pub pid: i32,
    /// The name of its program, at most 15 bytes.
    pub name: String,
}

/// Of this process, as it is now.
pub fn of(process: &Process) -> Result<Network> {
    let file = |name: &str| -> Result<String> {
        Ok(read(process, &format!("net/{name}"))?.known().cloned().unwrap_or_default())
    };
    let in_callers = link(process, "ns/net")
        .map(|theirs| fs::read_link("/proc/self/ns/net").is_ok_and(|ours| ours == theirs));
    let (mut routes, groups) = (routes_4(&file("route")?), file("igmp")?);
    let addresses_4 = local_4(&file("fib_trie")?, &routes);
    let addresses_6 = addresses_6(&file("if_inet6")?);
    routes.extend(routes_6(&file("ipv6_route")?));
    let interface = |(name, received, sent): (String, Traffic, Traffic)| {
        let of = |(interface, _): &&(String, Address)| *interface == name;
        let addresses: Vec<Address> = addresses_4
            .iter()
            .chain(&addresses_6)
            .filter(of)
            .map(|(_, address)| *address)
            .collect();
        let is_callers = in_callers.known() == Some(&true);
        let setting = |key: &str| {
            let text = fs::read_to_string(format!("/sys/class/net/{name}/{key}")).ok()?;
            Some(text.trim().to_owned()).filter(|_| is_callers)
        };
        let mtu = setting("mtu").and_then(|text| text.parse().ok());
        let mtu = mtu.map_or(Seen::Absent, Seen::Known);
        let is_up = !addresses.is_empty() || is_in_a_group(&groups, &name);
        let up = if groups.is_empty() { Seen::Absent } else { Seen::Known(is_up) };
        Interface { name, up, mtu, addresses, received, sent }
    };
    let interfaces = counters(&file("dev")?).into_iter().map(interface).collect();
    let mut sockets = Vec::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        sockets.extend(file(protocol)?.lines().filter_map(|line| internet(protocol, line)));
    }
    sockets.extend(file("unix")?.lines().filter_map(unix));
    hold(&mut sockets);
    Ok(Network { in_callers_network_namespace: in_callers, interfaces, routes, sockets })
}

/// net/dev: name, what came in, what went out.
fn counters(text: &str) -> Vec<(String, Traffic, Traffic)> {
    let line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().flat_map(str::parse).collect();
        let traffic = |first: usize| {
            let at = |index: usize| numbers.get(first + index).copied();
            Some(Traffic { bytes: at(0)?, packets: at(1)?, errors: at(2)?, dropped: at(3)? })
        };
        Some((name.trim().to_owned(), traffic(0)?, traffic(8)?))
    };
    text.lines().filter_map(line).collect()
}

/// net/igmp: whatever is switched on is in the group of all hosts, 224.0.0.1.
fn is_in_a_group(text: &str, interface: &str) -> bool {
    let is_another =
        |line: &&str| line.starts_with('\t') || line.split_whitespace().nth(1) != Some(interface);
    let groups = text.lines().skip_while(is_another).skip(1);
    let mut groups = groups.take_while(|line| line.starts_with('\t'));
    groups.any(|line| line.trim_start().starts_with("010000E0"))
}

/// An address of version 4 as the kernel prints it: one number, in the machine's order of bytes.
fn ipv4(hex: &str) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()))
}

/// One of version 6 in the order of the wire.
fn ipv6(hex: &str) -> Option<Ipv6Addr> {
    u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32).map(Ipv6Addr::from)
}

/// net/route.
fn routes_4(text: &str) -> Vec<Route> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = |index: usize| fields.get(index).copied();
        let prefix = u32::from(ipv4(at(7)?)?).count_ones() as u8;
        let gateway = ipv4(at(2)?)?;
        Some(Route {
            destination: Address { address: ipv4(at(1)?)?.into(), prefix },
            gateway: Some(gateway.into()).filter(|_| !gateway.is_unspecified()),
            interface: at(0)?.to_owned(),
            metric: at(6)?.parse().ok()?,
        })
    };
    text.lines().filter_map(line).collect()
}

/// Flags of linux/route.h and linux/ipv6_route.h: refused, and its own address.
const REJECT: u32 = 0x200;
const LOCAL: u32 = 0x8000_0000;

/// net/ipv6_route.
fn routes_6(text: &str) -> Vec<Route> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok();
        let (address, gateway) = (ipv6(fields.first()?)?, ipv6(fields.get(4)?)?);
        let is_meant = number(8)? & (REJECT | LOCAL) == 0 && !address.is_multicast();
        let destination = Address { address: address.into(), prefix: number(1)? as u8 };
        let route = Route {
            destination,
            gateway: Some(gateway.into()).filter(|_| !gateway.is_unspecified()),
            interface: (*fields.get(9)?).to_owned(),
            metric: number(5)?,
        };
        Some(route).filter(|_| is_meant)
    };
    text.lines().filter_map(line).collect()
}

/// Does the network hold this address?
fn holds(network: &Address, address: Ipv4Addr) -> bool {
    let IpAddr::V4(base) = network.address else { return false };
    let mask = u32::MAX.checked_shl(32 - u32::from(network.prefix)).unwrap_or(0);
    u32::from(base) & mask == u32::from(address) & mask
}

/// net/fib_trie: its own addresses of version 4, which stand nowhere else. Their interface is that of the
/// network in which they lie.
fn local_4(text: &str, routes: &[Route]) -> Vec<(String, Address)> {
    let mut found: Vec<Ipv4Addr> = Vec::new();
    let mut last = None;
    for line in text.lines() {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if let Some(address) = last.filter(|_| line == "/32 host LOCAL")
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    let on = |address: Ipv4Addr| {
        if address.is_loopback() {
            let address = Address { address: address.into(), prefix: 8 };
            return Some((String::from("lo"), address));
        }
        let neighbours = routes.iter().filter(|route| route.gateway.is_none());
        let network = neighbours.filter(|route| holds(&route.destination, address));
        let network = network.max_by_key(|route| route.destination.prefix)?;
        let prefix = network.destination.prefix;
        Some((network.interface.clone(), Address { address: address.into(), prefix }))
    };
    found.into_iter().filter_map(on).collect()
}

/// net/if_inet6.
fn addresses_6(text: &str) -> Vec<(String, Address)> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let prefix = u8::from_str_radix(fields.get(2)?, 16).ok()?;
        let address = Address { address: ipv6(fields.first()?)?.into(), prefix };
        Some(((*fields.get(5)?).to_owned(), address))
    };
    text.lines().filter_map(line).collect()
}

/// `0100007F:1F90`; of version 6 four such numbers in a row.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if address.len() == 8 {
        return Some((ipv4(address)?, port).into());
    }
    let mut bytes = [0; 16];
    for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
        let word = u32::from_str_radix(address.get(index * 8..index * 8 + 8)?, 16).ok()?;
        part.copy_from_slice(&word.to_ne_bytes());
    }
    Some((Ipv6Addr::from(bytes), port).into())
}

/// The states of include/net/tcp_states.h, from 1 on, as ss(8) spells them.
const STATES: [&str; 12] = [
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "SYN-RECV",
];

/// A line of net/tcp and its like.
fn internet(protocol: &'static str, line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let state = usize::from_str_radix(fields.get(3)?, 16).ok()?;
    let (local, remote) = (end(fields.get(1)?)?, end(fields.get(2)?)?);
    Some(Socket {
        protocol,
        state: STATES.get(state.checked_sub(1)?)?,
        local: local.to_string(),
        remote: Some(remote.to_string()).filter(|_| remote.port() != 0),
        uid: fields.get(7)?.parse().ok(),
        inode: fields.get(9)?.parse().ok()?,
        processes: Seen::Absent,
    })
}

/// __SO_ACCEPTCON of linux/net.h: it listens.
const LISTENS: u32 = 0x10000;

/// A line of net/unix, where it listens.
fn unix(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.splitn(7, ' ').collect();
    let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
    // The inode is padded with blanks.
    let (inode, path) = fields.get(6)?.trim_start().split_once(' ')?;
    Some(Socket {
        protocol: "unix",
        state: "LISTEN",
        local: path.to_owned(),
        remote: None,
        uid: None,
        inode: inode.parse().ok()?,
        processes: Seen::Absent,
    })
    .filter(|_| flags & LISTENS != 0)
}

/// Finds for each socket who holds it: all processes of the host are asked, since a socket may have been
/// handed to one of another network.
fn hold(sockets: &mut [Socket]) {
    let mut holders: HashMap<u64, Vec<Holder>> = HashMap::new();
    let mut is_complete = true;
    let wanted: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        let pid = process.pid();
        let entries = match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(entries) => entries,
            Err(error) => {
                is_complete &= error.kind() != std::io::ErrorKind::PermissionDenied;
                continue;
            }
        };
        for entry in entries.flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let inode = target.to_str().and_then(|text| {
                text.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
            });
            let Some(inode) = inode.filter(|inode| wanted.contains(inode)) else { continue };
            let known = holders.entry(inode).or_default();
            if known.iter().all(|holder| holder.pid != pid) {
                let name = process.stat().map(|stat| stat.comm).unwrap_or_default();
                known.push(Holder { pid, name });
            }
        }
    }
    for socket in sockets {
        socket.processes = match holders.remove(&socket.inode) {
            Some(holders) => Seen::Known(holders),
            None if is_complete || socket.inode == 0 => Seen::Absent,
            None => Seen::Denied,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_belong_to_the_interface_of_their_network() {
        let routes = routes_4(
            "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0
eth0 000200C0 00000000 0001 0 0 7 00FFFFFF 0 0 0
",
        );
        let gateway = routes[0].gateway.map(|gateway| gateway.to_string());
        assert_eq!((gateway.as_deref(), routes[0].destination.prefix), (Some("192.0.2.1"), 0));
        assert_eq!((routes[1].gateway, routes[1].metric, routes.len()), (None, 7, 2));
        let trie = "Main:
  +-- 127.0.0.0/8 2 0 2
     |-- 127.0.0.1
        /32 host LOCAL
  +-- 192.0.2.0/24 2 0 2
     |-- 192.0.2.0
        /24 link UNICAST
     |-- 192.0.2.2
        /32 host LOCAL
Local:
     |-- 192.0.2.2
        /32 host LOCAL
";
        let told: Vec<String> = local_4(trie, &routes)
            .iter()
            .map(|(name, address)| format!("{name} {}/{}", address.address, address.prefix))
            .collect();
        assert_eq!(told, ["lo 127.0.0.1/8", "eth0 192.0.2.2/24"]);
    }

    #[test]
    fn version_6_is_read_in_its_own_order() {
        let line = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth0";
        let own = "fd000000000000000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000004 00000000 80200001     eth0";
        let routes = routes_6(&format!("{line}\n{own}\n"));
        assert_eq!(routes.len(), 1);
        let gateway = routes[0].gateway.map(|gateway| gateway.to_string());
        assert_eq!((gateway.as_deref(), routes[0].metric), (Some("fd00::1"), 1024));
        let (name, address) =
            addresses_6("fe80000000000000000000000000000a 04 40 20 80     eth0\n").remove(0);
        assert_eq!((name.as_str(), address.address.to_string()), ("eth0", String::from("fe80::a")));
        assert_eq!(address.prefix, 64);
    }

    #[test]
    fn sockets_are_read_as_ss_does() {
        let line = "   0: 0100007F:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     5        0 1476 1 000000004d288bbc 100 0 0 10 0";
        let socket = internet("tcp", line).unwrap();
        assert_eq!((socket.local.as_str(), socket.state), ("127.0.0.1:2024", "LISTEN"));
        assert_eq!((socket.remote, socket.uid, socket.inode), (None, Some(5), 1476));
        let mapped = end("0000000000000000FFFF00000100007F:0050").unwrap();
        assert_eq!(mapped.to_string(), "[::ffff:127.0.0.1]:80");
        let line = "00000000b663eb2c: 00000002 00000000 00010000 0001 01    77 /a b";
        let socket = unix(line).unwrap();
        assert_eq!((socket.local.as_str(), socket.inode), ("/a b", 77));
        assert!(unix("0: 00000003 00000000 00000000 0001 03 78 /c").is_none());
        assert!(internet("tcp", "sl local_address rem_address st").is_none());
    }

    #[test]
    fn a_group_tells_what_is_switched_on() {
        let groups = "Idx\tDevice    : Count Querier\tGroup\n1\tlo        :     1      V3\n\t\t\t\t010000E0     1\n4\teth0      :     0      V3\n";
        assert!(is_in_a_group(groups, "lo"));
        assert!(!is_in_a_group(groups, "eth0"));
        assert!(!is_in_a_group(groups, "eth1"));
    }
}

//! PARENT: `linux.netDevices`, network devices of the host that move into the container, with their addresses.
//! rtnetlink(7).

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::net::if_::{Interface, if_nameindex, if_nametoindex};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use oci_spec::runtime::Linux;

use crate::error::{Error, Result};
use crate::step::Step;
use crate::sys;

/// One device, decided.
#[derive(Debug)]
pub struct NetDevice {
    /// Its name on the host.
    pub name: String,
    /// Its name in the container; the kernel puts a number in the place of `%d`.
    pub inside: String,
}

/// Decides which devices move, in the order of their names.
pub fn plan(linux: &Linux) -> Result<Vec<NetDevice>> {
    let mut devices = Vec::new();
    for (name, device) in linux.net_devices().iter().flatten() {
        let inside = device.name().as_deref().filter(|name| !name.is_empty()).unwrap_or(name);
        for name in [name, inside] {
            let is_good = (1..libc::IFNAMSIZ).contains(&name.len())
                && !matches!(name, "." | "..")
                && !name.contains(|c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace());
            if !is_good {
                return Err(Error::new(format!(
                    "config.json: linux.netDevices: {name:?} is no name of a network device"
                )));
            }
        }
        devices.push(NetDevice { name: name.clone(), inside: inside.to_owned() });
    }
    devices.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(devices)
}

/// Moves the devices into the network namespace of process `pid`, a child of ours, and switches them on there.
pub fn hand_over(devices: &[NetDevice], pid: i32) -> Result<()> {
    let open = |path: &str| {
        File::open(path)
            .map_err(|e| Error::of_io("open", Path::new(path), &e).step(Step::NetDevices))
    };
    let own = open("/proc/self/ns/net")?;
    let theirs = open(&format!("/proc/{pid}/ns/net"))?;
    devices.iter().try_for_each(|device| {
        move_one(device, &own, &theirs).map_err(|errno| {
            let NetDevice { name, inside } = device;
            Error::new(format!(
                "cannot move the network device {name} into the container as {inside}"
            ))
            .step(Step::NetDevices)
            .errno(errno)
        })
    })
}

fn move_one(device: &NetDevice, own: &File, theirs: &File) -> nix::Result<()> {
    let host = Netlink::open()?;
    let index = if_nametoindex(device.name.as_str())?;
    let addresses = host.addresses(index)?;
    let before = inside(own, theirs, indexes)?;
    host.ask(&Message::of_link(index, false))?;
    let mut message = Message::of_link(index, false);
    message.attribute(libc::IFLA_IFNAME, &[device.inside.as_bytes(), b"\0"].concat());
    message.attribute(libc::IFLA_NET_NS_FD, &theirs.as_raw_fd().to_ne_bytes());
    host.ask(&message)?;
    inside(own, theirs, || {
        // It may have got another number, and by a template a name that only the kernel knows.
        let after = indexes()?;
        let index = *after.difference(&before).next().ok_or(Errno::ENODEV)?;
        let container = Netlink::open()?;
        for address in &addresses {
            container.ask(&address.message(index))?;
        }
        container.ask(&Message::of_link(index, true))
    })
}

/// Does `work` in the network namespace `theirs`.
fn inside<T>(own: &File, theirs: &File, work: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
    let enter = |namespace: &File| {
        sys::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET).map_err(|fault| fault.errno)
    };
    enter(theirs)?;
    let done = work();
    enter(own)?;
    done
}

fn indexes() -> nix::Result<BTreeSet<u32>> {
    Ok(if_nameindex()?.iter().map(Interface::index).collect())
}

/// An address of a device: `struct ifaddrmsg`, and the attributes that make it.
struct Address {
    family: u8,
    prefix: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    fn message(&self, index: u32) -> Message {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut message = Message::new(libc::RTM_NEWADDR, flags);
        // Flags and scope 0: permanent as all that is given so, and global.
        message.bytes.extend([self.family, self.prefix, 0, 0]);
        message.bytes.extend(index.to_ne_bytes());
        self.attributes.iter().for_each(|(kind, value)| message.attribute(*kind, value));
        message
    }
}

/// A request of rtnetlink(7).
struct Message {
    bytes: Vec<u8>,
}

/// `struct nlmsghdr`, `struct ifinfomsg`, `struct ifaddrmsg` and `struct rtattr`, in bytes.
const HEADER: usize = 16;
const LINK: usize = 16;
const ADDRESS: usize = 8;
const ATTRIBUTE: usize = 4;

impl Message {
    fn new(kind: u16, flags: i32) -> Message {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.resize(HEADER, 0);
        Message { bytes }
    }

    /// About the device with number `index`, which is to be up or down.
    fn of_link(index: u32, up: bool) -> Message {
        let mut message = Message::new(libc::RTM_NEWLINK, 0);
        let mut link = [0; LINK];
        link[4..8].copy_from_slice(&index.to_ne_bytes());
        let up_flag = libc::IFF_UP as u32;
        link[8..12].copy_from_slice(&if up { up_flag } else { 0 }.to_ne_bytes());
        link[12..16].copy_from_slice(&up_flag.to_ne_bytes());
        message.bytes.extend(link);
        message
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend(((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A socket of rtnetlink(7), of the network namespace in which it was opened.
struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    fn open() -> nix::Result<Netlink> {
        let (family, kind) = (AddressFamily::Netlink, SockType::Raw);
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        Ok(Netlink { socket })
    }

    /// Sends a request and waits for its end; `hear` gets the kind and the body of each answer.
    fn talk(&self, message: &Message, mut hear: impl FnMut(u16, &[u8])) -> nix::Result<()> {
        let mut bytes = message.bytes.clone();
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut rest = &buffer[..count];
            while let Some(length) = number(rest, 0).map(|n| n as usize) {
                let kind = short(rest, 4).unwrap_or(0);
                let body = rest.get(HEADER..length).ok_or(Errno::EBADMSG)?;
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        // 0 acknowledges, others are negative.
                        let errno = number(body, 0).unwrap_or(0) as i32;
                        return if errno == 0 { Ok(()) } else { Err(Errno::from_raw(-errno)) };
                    }
                    _ => hear(kind, body),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    fn ask(&self, message: &Message) -> nix::Result<()> {
        self.talk(message, |_, _| {})
    }

    /// The permanent addresses of global scope that the device has.
    fn addresses(&self, index: u32) -> nix::Result<Vec<Address>> {
        let mut message = Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP);
        message.bytes.resize(HEADER + ADDRESS, 0);
        let mut found = Vec::new();
        self.talk(&message, |kind, body| {
            let is_permanent =
                body.get(2).is_some_and(|b| u32::from(*b) & libc::IFA_F_PERMANENT != 0);
            let is_global = body.get(3) == Some(&libc::RT_SCOPE_UNIVERSE);
            if kind == libc::RTM_NEWADDR
                && number(body, 4) == Some(index)
                && is_permanent
                && is_global
            {
                let attributes = attributes(body.get(ADDRESS..).unwrap_or_default());
                found.push(Address { family: body[0], prefix: body[1], attributes });
            }
        })?;
        Ok(found)
    }
}

/// Those attributes of an address that make it what it is.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (short(bytes, 0).map(usize::from), short(bytes, 2)) {
        let Some(value) = bytes.get(ATTRIBUTE..length) else { break };
        if [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST].contains(&kind) {
            found.push((kind, value.to_vec()));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let plan = |json: &str| {
            let linux: Linux =
                serde_json::from_str(&format!(r#"{{"netDevices": {json}}}"#)).unwrap();
            plan(&linux)
        };
        let devices =
            plan(r#"{"eth1": {"name": "net%d"}, "eth0": {}, "eth2": {"name": ""}}"#).unwrap();
        let names: Vec<_> = devices.iter().map(|d| (&*d.name, &*d.inside)).collect();
        assert_eq!(names, [("eth0", "eth0"), ("eth1", "net%d"), ("eth2", "eth2")]);
        for name in ["", ".", "..", "a/b", "a b", "a:b", "sixteen_letters_"] {
            let error = plan(&format!(r#"{{"{name}": {{}}}}"#)).unwrap_err().to_string();
            assert!(error.contains("linux.netDevices"), "{error}");
        }
    }

    #[test]
    fn the_loopback_device_has_no_address_to_move() {
        let host = Netlink::open().unwrap();
        let lo = if_nametoindex("lo").unwrap();
        assert!(host.addresses(lo).unwrap().iter().all(|address| address.prefix != 8));
        // A device that is not there, and one's own words understood.
        let nowhere = host.ask(&Message::of_link(u32::MAX >> 1, true));
        assert!(matches!(nowhere, Err(Errno::ENODEV | Errno::EPERM)), "{nowhere:?}");
    }
}

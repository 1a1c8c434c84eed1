//! `minibox net`: whom a process can reach, and who can reach it.

use minibox_lens::Seen;
use minibox_lens::network::{self, Address, Interface, Network, Socket};
use minibox_runtime::Result;

use super::{Canvas, Style, fault, find, look};
use crate::args::NetArgs;
use crate::language::say;
use crate::output;
use crate::size;
use crate::store::Store;

/// `minibox net`.
pub(crate) fn net(store: &Store, args: &NetArgs) -> Result<u8> {
    let target = find(store, &args.target)?;
    let see = || network::of(&target.process).map_err(|error| fault(&error));
    look(&args.look, "net/1", &target, see, |seen, canvas| {
        let heading = format!("The network of {}", target.title());
        let mut text = canvas.heading(&heading);
        text += &canvas.wrap("", &reach(seen));
        for rows in [interfaces(seen), routes(seen), sockets(seen)] {
            if rows.len() > 1 {
                text.push('\n');
                text += &table(&rows, canvas);
            }
        }
        if seen.sockets.is_empty() {
            text += "\n";
            text += &canvas.wrap("", "Nobody listens, and nobody is connected.");
        }
        if seen.interfaces.iter().any(|interface| interface.mtu == Seen::Absent) {
            text += "\n";
            text += &canvas.wrap(
                "",
                "MTU, the largest packet: the kernel tells it only inside of that network.",
            );
        }
        text
    })
}

/// Columns below a bold line, cut at the canvas's edge.
fn table(rows: &[Vec<String>], canvas: &Canvas) -> String {
    let cell = |cell: &String| output::shorten(&output::on_one_line(cell), 44);
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let text = output::table(&rows);
    let lines = text.lines().enumerate().map(|(index, line)| {
        let line = output::shorten(line, canvas.width - 1);
        if index == 0 { canvas.paint(Style::Bold, &line) + "\n" } else { line + "\n" }
    });
    lines.collect()
}

fn titles(titles: &[&str]) -> Vec<Vec<String>> {
    vec![titles.iter().map(|title| (*title).to_owned()).collect()]
}

fn written(address: &Address) -> String {
    format!("{}/{}", address.address, address.prefix)
}

/// Each with its first address, and the others below.
fn interfaces(seen: &Network) -> Vec<Vec<String>> {
    let mut rows = titles(&["INTERFACE", "STATE", "MTU", "RECEIVED", "SENT", "LOST", "ADDRESS"]);
    for interface in &seen.interfaces {
        let Interface { name, up, mtu, addresses, received, sent } = interface;
        let state = match up {
            Seen::Known(true) => "up",
            Seen::Known(false) => "down",
            _ => "?",
        };
        let mtu = mtu.known().map_or_else(|| String::from("?"), ToString::to_string);
        let lost = received.errors + received.dropped + sent.errors + sent.dropped;
        let mut addresses = addresses.iter().map(written);
        rows.push(vec![
            name.clone(),
            state.to_owned(),
            mtu,
            size::decimal(received.bytes, 3),
            size::decimal(sent.bytes, 3),
            lost.to_string(),
            addresses.next().unwrap_or_else(|| String::from("-")),
        ]);
        rows.extend(addresses.map(|more| {
            let mut row = vec![String::new(); 6];
            row.push(more);
            row
        }));
    }
    rows
}

fn routes(seen: &Network) -> Vec<Vec<String>> {
    let mut rows = titles(&["PACKETS TO", "GO OUT BY", "AND ARE PASSED ON BY"]);
    for route in &seen.routes {
        let to = match (route.destination.prefix, route.destination.address.is_ipv6()) {
            (0, false) => say("everybody else"),
            (0, true) => say("everybody else (v6)"),
            _ => written(&route.destination),
        };
        let gateway = route.gateway.map(|gateway| gateway.to_string());
        let gateway = gateway.unwrap_or_else(|| say("nobody: neighbours"));
        rows.push(vec![to, route.interface.clone(), gateway]);
    }
    rows
}

/// Those that listen first.
fn sockets(seen: &Network) -> Vec<Vec<String>> {
    let mut rows = titles(&["SOCKET", "STATE", "HERE", "THERE", "HELD BY"]);
    let mut all: Vec<&Socket> = seen.sockets.iter().collect();
    all.sort_by_key(|socket| (socket.state != "LISTEN", socket.protocol));
    for socket in all {
        let holders = match &socket.processes {
            Seen::Known(holders) => {
                let one = |holder: &network::Holder| format!("{} {}", holder.pid, holder.name);
                holders.iter().map(one).collect::<Vec<_>>().join(", ")
            }
            Seen::Denied => say("? (not yours to see)"),
            Seen::Absent => say("none that is seen here"),
        };
        rows.push(vec![
            socket.protocol.to_owned(),
            socket.state.to_owned(),
            socket.local.clone(),
            socket.remote.clone().unwrap_or_else(|| String::from("-")),
            holders,
        ]);
    }
    rows
}

/// Whom it can reach, in a sentence.
fn reach(seen: &Network) -> String {
    if seen.in_callers_network_namespace.known() == Some(&true) {
        return String::from(
            "It has the same network as you: it reaches whom this host reaches, and where it listens, whoever reaches this host reaches it.",
        );
    }
    let is_other = |interface: &&Interface| interface.name != "lo";
    let Some(first) = seen.interfaces.iter().find(is_other) else {
        return match seen.interfaces.first() {
            Some(_) => String::from(
                "It can reach only itself: lo, which ends where it begins, is its only interface.",
            ),
            None => String::from("It has no network any more: it has ended."),
        };
    };
    let default = seen.routes.iter().find(|route| route.destination.prefix == 0);
    if let Some(route) = default {
        let interface = &route.interface;
        return match route.gateway {
            Some(gateway) => format!(
                "It reaches its neighbours, and everybody else through {interface} by way of {gateway}."
            ),
            None => format!("It reaches everybody through {interface}."),
        };
    }
    if seen.routes.is_empty() {
        let name = &first.name;
        return format!("It can reach only itself: it has {name}, but no route leads through it.");
    }
    let networks: Vec<String> =
        seen.routes.iter().map(|route| written(&route.destination)).collect();
    let networks = networks.join(", ");
    format!("It reaches only its neighbours, in {networks}: no route leads further.")
}

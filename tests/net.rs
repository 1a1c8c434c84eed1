//! `minibox net`: what is shown is what ip(8) and ss(8) say inside the network at the same moment.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use minibox_tests::{Caller, Sandbox, has, skip, wait_until};
use serde_json::Value;

fn see(sandbox: &Sandbox, target: &str) -> Value {
    serde_json::from_str(sandbox.call(&["net", "--format", "json", target]).ok()).expect("JSON")
}

/// What a command prints that enters the network of this process.
fn inside(pid: &str, command: &[&str]) -> Value {
    let mut all = Command::new("nsenter");
    let output = all.args(["-t", pid, "-n"]).args(command).output().expect("nsenter");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// `name address/prefix`, of both, sorted.
fn addresses_of_ip(links: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for link in links.as_array().expect("links") {
        for address in link["addr_info"].as_array().into_iter().flatten() {
            let local = address["local"].as_str().expect("an address");
            all.push(format!("{} {local}/{}", link["ifname"], address["prefixlen"]));
        }
    }
    all.sort();
    all
}

fn addresses(seen: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for interface in seen["interfaces"].as_array().expect("interfaces") {
        for address in interface["addresses"].as_array().expect("addresses") {
            let text = address["address"].as_str().expect("an address");
            all.push(format!("{} {text}/{}", interface["name"], address["prefix"]));
        }
    }
    all.sort();
    all
}

#[test]
fn a_container_reaches_only_itself() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let serve = "import socket, time
s = socket.socket(); s.bind(('127.0.0.1', 8000)); s.listen()
u = socket.socket(socket.AF_UNIX); u.bind('\\0abstract'); u.listen()
c = socket.create_connection(('127.0.0.1', 8000)); time.sleep(1000)";
        sandbox.start(&["--name", "web"], &["python", "-c", serve]);
        let listens = |seen: &Value| seen.to_string().contains("127.0.0.1:8000\",\"remote\":\"127");
        wait_until("it is connected", || listens(&see(&sandbox, "web")));
        let seen = see(&sandbox, "web");
        assert_eq!(seen["in_callers_network_namespace"], false);
        let names: Vec<&Value> =
            seen["interfaces"].as_array().expect("a list").iter().map(|i| &i["name"]).collect();
        assert!(names.contains(&&Value::from("lo")), "{seen}");
        assert!(addresses(&seen).contains(&String::from("\"lo\" 127.0.0.1/8")), "{seen}");
        assert_eq!(seen["interfaces"][0]["up"], true);
        let sockets = seen["sockets"].as_array().expect("sockets");
        let listener = sockets.iter().find(|s| s["state"] == "LISTEN" && s["protocol"] == "tcp");
        let listener = listener.expect("a listener");
        assert_eq!(listener["local"], "127.0.0.1:8000");
        assert_eq!(listener["processes"][0]["pid"], sandbox.pid("web"), "{seen}");
        assert_eq!(listener["processes"][0]["name"], "python");
        assert!(sockets.iter().any(|s| s["protocol"] == "unix" && s["local"] == "@abstract"));
        assert_eq!(sockets.iter().filter(|s| s["state"] == "ESTAB").count(), 2, "{seen}");
        let picture = sandbox.call(&["net", "web"]);
        assert!(picture.ok().contains("It can reach only itself: lo"), "{picture:?}");
        assert!(picture.ok().contains("127.0.0.1:8000"), "{picture:?}");

        sandbox.start(&["--name", "open", "--net", "host"], &["sleep", "1000"]);
        assert_eq!(see(&sandbox, "open")["in_callers_network_namespace"], true);
        assert!(sandbox.call(&["net", "open"]).ok().contains("the same network as you"));
    }
}

#[test]
fn ip_and_ss_say_the_same() {
    if !has("ip") || !has("ss") || !has("nsenter") {
        skip("net beside ip and ss", "iproute2 is not installed");
        return;
    }
    for caller in Caller::root_only("net beside ip and ss") {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["sleep", "1000"]);
        let pid = sandbox.pid("web").to_string();
        let ip = |words: &str| {
            let words = words.split(' ');
            let ran = Command::new("nsenter").args(["-t", &pid, "-n", "ip"]).args(words).status();
            assert!(ran.expect("nsenter").success());
        };
        // Interfaces without anybody behind them, which every kernel has: neighbours, a gateway, one that is off.
        if !Path::new("/dev/net/tun").exists() {
            skip("net beside ip and ss", "there is no /dev/net/tun");
            return;
        }
        ip("tuntap add dev one mode tap");
        ip("addr add 192.0.2.2/24 dev one");
        ip("-6 addr add fd00::2/64 dev one nodad");
        ip("link set one up");
        ip("route add default via 192.0.2.1 metric 7");
        ip("tuntap add dev off mode tap");
        let told = || addresses_of_ip(&inside(&pid, &["ip", "-j", "addr"]));
        wait_until("addresses settle", || addresses(&see(&sandbox, "web")) == told());
        let seen = see(&sandbox, "web");
        for link in inside(&pid, &["ip", "-j", "-s", "link"]).as_array().expect("links") {
            let all = seen["interfaces"].as_array().expect("interfaces");
            let ours = all.iter().find(|i| i["name"] == link["ifname"]).expect("the interface");
            let is_up = link["flags"].as_array().expect("flags").contains(&"UP".into());
            assert_eq!(ours["up"], is_up, "{link} {ours}");
        }
        let default = seen["routes"].as_array().expect("routes");
        let default = default.iter().find(|r| r["gateway"] == "192.0.2.1").expect("a route");
        assert_eq!((&default["metric"], &default["interface"]), (&7.into(), &"one".into()));
        let routes = inside(&pid, &["ip", "-j", "route"]);
        let ours = seen["routes"].as_array().expect("routes").iter();
        let version_4 =
            ours.filter(|route| !route["destination"]["address"].to_string().contains(':'));
        assert_eq!(version_4.count(), routes.as_array().expect("routes").len(), "{seen} {routes}");
        let picture = sandbox.call(&["net", "web"]);
        assert!(
            picture.ok().contains("everybody else through one by way of 192.0.2.1"),
            "{picture:?}"
        );
    }
}

#[test]
fn sockets_of_this_host_have_their_processes() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let _stream = TcpStream::connect(&address).expect("connected");
        let seen = see(&sandbox, "self");
        let all = seen["sockets"].as_array().expect("sockets").iter();
        let ours: Vec<&Value> = all.filter(|socket| socket["local"] == address.as_str()).collect();
        let listening = ours.iter().find(|s| s["state"] == "LISTEN").expect("a listener");
        assert!(ours.len() >= 2 || ours[0]["state"] == "LISTEN", "{ours:?}");
        // Whoever may not see the descriptors of the test's process may not know who it is.
        match caller {
            Caller::Root | Caller::Myself => {
                assert_eq!(listening["processes"][0]["pid"], std::process::id(), "{listening}");
            }
            _ => assert_eq!(listening["processes"]["denied"], true, "{listening}"),
        }
        assert_eq!(seen["in_callers_network_namespace"], true);
        assert!(seen["interfaces"][0]["mtu"].as_u64() > Some(0), "{seen}");
        if has("ss") {
            let ss = Command::new("ss").args(["-Hltn", "src", &address]).output().expect("ss");
            assert!(String::from_utf8_lossy(&ss.stdout).contains(&address));
        }
    }
}

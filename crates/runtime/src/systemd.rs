//! PARENT: systemd as the one who makes a container's cgroup: a transient scope, asked for by D-Bus.
//!
//! Who runs below systemd leaves the tree of cgroups to it; and from a plain user's own manager, which systemd
//! has given a part of that tree, a plain user gets limits. org.freedesktop.systemd1(5), systemd.scope(5),
//! systemd.resource-control(5), <https://systemd.io/CGROUP_DELEGATION>.

pub mod bus;

use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use self::bus::{Bus, Reader, Refusal, Target, Value};
use crate::error::{Error, Result};
use crate::idmap;

const MANAGER: Target<'_> = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

/// How a slice's name ends.
const SLICE: &str = ".slice";

/// A unit that a container lives in: a scope or, where the name says so, a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `PREFIX-NAME.scope`
    pub name: String,
    /// The slice that it is in.
    pub slice: String,
    /// It is the caller's own manager's, not the machine's.
    pub is_user: bool,
}

impl Unit {
    /// `linux.cgroupsPath` as systemd's driver has it, `SLICE:PREFIX:NAME`; without one, or a part of it, what
    /// runc takes.
    pub fn of_path(path: Option<&str>, id: &str) -> Result<Unit> {
        let is_user = !is_root_of_the_machine();
        let path = path.filter(|path| !path.is_empty());
        let parts: Vec<&str> =
            path.map_or(vec!["", "minibox", id], |path| path.split(':').collect());
        let [slice, prefix, name] = parts[..] else {
            return Err(Error::new(format!(
                "config.json: linux.cgroupsPath: {:?} is not SLICE:PREFIX:NAME, as systemd's driver has it",
                path.unwrap_or_default()
            )));
        };
        let default = if is_user { "user.slice" } else { "system.slice" };
        let slice = if slice.is_empty() { default } else { slice };
        let name = match (name.ends_with(SLICE), prefix) {
            (true, _) => name.to_owned(),
            (false, "") => format!("{name}.scope"),
            (false, prefix) => format!("{prefix}-{name}.scope"),
        };
        for (what, name) in [("slice", slice), ("name", name.as_str())] {
            if !is_unit_name(name) || (what == "slice" && !is_slice_name(name)) {
                return Err(Error::new(format!(
                    "config.json: linux.cgroupsPath: systemd knows no {what} such as {name:?}"
                )));
            }
        }
        Ok(Unit { name, slice: slice.to_owned(), is_user })
    }

    /// Is it a slice, which holds no processes when it begins?
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(SLICE)
    }

    /// Its cgroup's path, below where cgroups are mounted.
    pub fn cgroup_path(&self) -> Result<String> {
        let top = if self.is_user { Manager::of(self)?.own_cgroup()? } else { String::new() };
        let slice = path_of_slice(&self.slice);
        // A slice's name tells where it is.
        let path = if self.is_slice() {
            path_of_slice(&self.name)
        } else {
            format!("{slice}/{}", self.name)
        };
        Ok(format!("{}/{}", top.trim_matches('/'), path.trim_matches('/')))
    }

    /// Starts it: around process `pid`, for a scope. `more` are properties beside its own.
    pub fn start(&self, pid: Option<i32>, more: &[(String, Value)]) -> Result<()> {
        let mut manager = Manager::of(self)?;
        manager.subscribe()?;
        let text = |text: &str| Value::Text(text.to_owned());
        let mut properties = vec![
            (String::from("Description"), text(&format!("minibox container {}", self.name))),
            (String::from("DefaultDependencies"), Value::Bool(false)),
            // Gone for good when it ends, even where it failed: its name can be taken again.
            (String::from("CollectMode"), text("inactive-or-failed")),
        ];
        let place = if self.is_slice() { "Wants" } else { "Slice" };
        properties.push((
            place.to_owned(),
            match place {
                "Wants" => Value::Texts(vec![self.slice.clone()]),
                _ => text(&self.slice),
            },
        ));
        if let Some(pid) = pid {
            properties.push((String::from("Delegate"), Value::Bool(true)));
            properties.push((String::from("PIDs"), Value::Numbers(vec![pid as u32])));
        }
        for controller in ["CPU", "IO", "Memory", "Tasks"] {
            properties.push((format!("{controller}Accounting"), Value::Bool(true)));
        }
        properties.extend_from_slice(more);
        let arguments =
            [text(&self.name), text("replace"), Value::Properties(properties), Value::NoUnits];
        let job = match manager.call("StartTransientUnit", &arguments)? {
            // One that failed, of an older systemd's, stands in the way.
            Err(refusal) if refusal.name.ends_with(".UnitExists") => {
                let _ = manager.call("ResetFailedUnit", &arguments[..1])?;
                manager.call("StartTransientUnit", &arguments)?
            }
            answered => answered,
        };
        manager.wait(&job.map_err(|refusal| self.refused("StartTransientUnit", &refusal))?, self)
    }

    /// Tells systemd which limits stand in the cgroup's files, so that it keeps them.
    pub fn tell(&self, mut limits: Vec<(String, Value)>) -> Result<()> {
        let mut manager = Manager::of(self)?;
        let mut tell = |limits: &[(String, Value)]| {
            let name = Value::Text(self.name.clone());
            let arguments = [name, Value::Bool(true), Value::Properties(limits.to_vec())];
            manager.call("SetUnitProperties", &arguments)
        };
        let mut told = tell(&limits)?;
        let is_idle =
            |(name, value): &(String, Value)| name == "CPUWeight" && *value == Value::U64(0);
        if told.is_err() && limits.iter().any(is_idle) {
            // Before version 252 it knows no idle cgroups, and the kernel takes no weight for one.
            limits.retain(|property| !is_idle(property));
            told = tell(&limits)?;
        }
        told.map(drop).map_err(|refusal| self.refused("SetUnitProperties", &refusal))
    }

    /// Moves process `pid` into `below`, a path in its cgroup: what a plain user may not do himself where the
    /// process is not in his manager's part of the tree.
    pub fn attach(&self, below: &str, pid: i32) -> Result<()> {
        let text = |text: &str| Value::Text(text.to_owned());
        let arguments = [text(&self.name), text(below), Value::Numbers(vec![pid as u32])];
        let done = Manager::of(self)?.call("AttachProcessesToUnit", &arguments)?;
        done.map(drop).map_err(|refusal| self.refused("AttachProcessesToUnit", &refusal))
    }

    /// Stops it; one that is not there is success, and so is a user's manager that has ended, or a machine without
    /// systemd: with it its units did.
    pub fn stop(&self) -> Result<()> {
        let mut manager = match Manager::of(self) {
            Err(_) if self.is_user || !is_running() => return Ok(()),
            manager => manager?,
        };
        manager.subscribe()?;
        let name = Value::Text(self.name.clone());
        let mode = Value::Text(String::from("replace"));
        match manager.call("StopUnit", &[name, mode])? {
            Ok(job) => manager.wait(&job, self),
            Err(refusal) if refusal.name.ends_with(".NoSuchUnit") => Ok(()),
            Err(refusal) => Err(self.refused("StopUnit", &refusal)),
        }
    }

    fn refused(&self, call: &str, refusal: &Refusal) -> Error {
        let (Unit { name, .. }, Refusal { text, .. }) = (self, refusal);
        Error::new(format!("systemd refuses {call} of {name}: {text}"))
    }
}

/// A manager of units, by its bus.
#[derive(Debug)]
struct Manager(Bus);

impl Manager {
    fn of(unit: &Unit) -> Result<Manager> {
        let (path, hint) = if unit.is_user {
            (
                users_bus(),
                "systemd runs a manager for you from when you log in; without a login: `loginctl enable-linger`, as root",
            )
        } else {
            (
                PathBuf::from("/run/dbus/system_bus_socket"),
                "without systemd and D-Bus: --cgroup-manager cgroupfs",
            )
        };
        Bus::connect(&path).map(Manager).map_err(|error| {
            Error { what: format!("cannot ask systemd for a cgroup: {}", error.what), ..error }
                .hint(hint)
        })
    }

    fn call(
        &mut self,
        member: &str,
        arguments: &[Value],
    ) -> Result<std::result::Result<Vec<u8>, Refusal>> {
        tracing::debug!(member, ?arguments, "asking systemd");
        self.0.ask(MANAGER, member, arguments)
    }

    /// From here on it tells of jobs that end.
    fn subscribe(&mut self) -> Result<()> {
        let bus = Target {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
        };
        let rule = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
        let refused =
            |Refusal { text, .. }| Error::new(format!("systemd refuses to tell of jobs: {text}"));
        self.0.ask(bus, "AddMatch", &[Value::Text(rule.to_owned())])?.map_err(refused)?;
        self.call("Subscribe", &[])?.map(drop).map_err(refused)
    }

    /// Waits for the end of a job, which `answer` names.
    fn wait(&mut self, answer: &[u8], unit: &Unit) -> Result<()> {
        let job = Reader::new(answer).text();
        loop {
            let signal = self.0.hear("JobRemoved")?;
            let mut reader = Reader::new(&signal);
            // Number, path, unit, result.
            let (_, path, _) = (reader.u32(), reader.text(), reader.text());
            if path == job {
                return match reader.text().as_deref() {
                    Some("done") => Ok(()),
                    result => {
                        let (name, result) = (&unit.name, result.unwrap_or_default());
                        Err(Error::new(format!("systemd's job for {name} ended with {result:?}"))
                            .hint(format!("see `systemctl status {name}` and `journalctl`")))
                    }
                };
            }
        }
    }

    /// The cgroup below which all of its units are.
    fn own_cgroup(&mut self) -> Result<String> {
        let properties = Target { interface: "org.freedesktop.DBus.Properties", ..MANAGER };
        let arguments =
            [MANAGER.interface, "ControlGroup"].map(|text| Value::Text(text.to_owned()));
        let answer = self.0.ask(properties, "Get", &arguments)?;
        let own = answer.ok().and_then(|answer| Reader::new(&answer).variant_text());
        own.ok_or_else(|| Error::new("systemd does not tell its own cgroup"))
    }
}

/// The socket of the caller's own bus.
fn users_bus() -> PathBuf {
    let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    if let Some(path) = address.split(';').find_map(|one| one.strip_prefix("unix:path=")) {
        return PathBuf::from(path.split(',').next().unwrap_or(path));
    }
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    folder.unwrap_or_else(|| PathBuf::from(format!("/run/user/{}", outside_uid()))).join("bus")
}

/// Does systemd run a manager for this user?
pub fn has_user_manager() -> bool {
    !is_root_of_the_machine() && users_bus().exists() && is_running()
}

/// Does systemd run this machine? sd_booted(3).
pub fn is_running() -> bool {
    Path::new("/run/systemd/system").exists()
}

fn is_root_of_the_machine() -> bool {
    Uid::effective().is_root() && idmap::in_first_user_namespace()
}

/// This process's user as those outside of its user namespace see him.
fn outside_uid() -> u32 {
    let own = Uid::effective().as_raw();
    let maps = idmap::IdMap::of_process(std::process::id() as i32);
    maps.ok().and_then(|maps| idmap::IdMap::outside(&maps.uids, own)).unwrap_or(own)
}

/// systemd.unit(5): what a unit's name is made of.
fn is_unit_name(name: &str) -> bool {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    !name.is_empty() && name.len() < 256 && name.bytes().all(is_right)
}

/// systemd.slice(5): each dash leads one slice deeper.
fn is_slice_name(name: &str) -> bool {
    let stem = name.strip_suffix(SLICE);
    stem.is_some_and(|stem| stem == "-" || stem.split('-').all(|part| !part.is_empty()))
}

/// systemd.slice(5): `a-b.slice` is `a.slice/a-b.slice`, and `-.slice` is the top.
fn path_of_slice(slice: &str) -> String {
    let stem = slice.strip_suffix(SLICE).unwrap_or(slice).trim_start_matches('-');
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    let names = ends.map(|end| &stem[..end]).filter(|name| !name.is_empty());
    names.map(|name| format!("{name}.slice")).collect::<Vec<_>>().join("/")
}

/// A property that an annotation names, `org.systemd.property.NAME`, in GVariant's text format, as runc has it.
pub fn property_of_annotation(name: &str, text: &str) -> Result<Option<(String, Value)>> {
    let Some(name) = name.strip_prefix("org.systemd.property.") else { return Ok(None) };
    let wrong = || {
        Error::new(format!(
            "config.json: annotation org.systemd.property.{name}: cannot read {text:?}"
        ))
        .hint("true, 'text', ['a', 'b'], 5, uint64 5")
    };
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(wrong());
    }
    let value = parse(text.trim()).ok_or_else(wrong)?;
    // systemd counts microseconds on the bus, and seconds where people write.
    Ok(Some(match (name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')), value) {
        (Some(stem), Value::I32(seconds)) => {
            (format!("{stem}USec"), Value::U64(seconds as u64 * 1_000_000))
        }
        (Some(stem), Value::U64(seconds)) => {
            (format!("{stem}USec"), Value::U64(seconds.saturating_mul(1_000_000)))
        }
        (_, value) => (name.to_owned(), value),
    }))
}

fn parse(text: &str) -> Option<Value> {
    if let Some((kind, number)) = text.split_once(' ').filter(|(kind, _)| kind.contains("int")) {
        return match kind {
            "int32" => number.parse().ok().map(Value::I32),
            "uint32" => number.parse().ok().map(Value::U32),
            "int64" => number.parse().ok().map(Value::I64),
            "uint64" => number.parse().ok().map(Value::U64),
            _ => None,
        };
    }
    let quoted = |text: &str| {
        let mark = text.chars().next().filter(|mark| ['\'', '"'].contains(mark))?;
        let inner = text.strip_prefix(mark)?.strip_suffix(mark)?;
        (!inner.contains([mark, '\\'])).then(|| inner.to_owned())
    };
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        list if list.starts_with('[') => {
            let inner = list.strip_prefix('[')?.strip_suffix(']')?;
            inner.split(',').map(|one| quoted(one.trim())).collect::<Option<_>>().map(Value::Texts)
        }
        text => text.parse().ok().map(Value::I32).or_else(|| quoted(text).map(Value::Text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_lie_in_each_other() {
        for (slice, path) in [
            ("-.slice", ""),
            ("system.slice", "system.slice"),
            ("a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice"),
        ] {
            assert_eq!(path_of_slice(slice), path, "{slice}");
        }
    }

    #[test]
    fn a_path_is_slice_prefix_and_name() {
        let unit = |path: Option<&str>| Unit::of_path(path, "box");
        assert_eq!(unit(None).unwrap().name, "minibox-box.scope");
        let named = unit(Some("machine.slice:libpod:123")).unwrap();
        assert_eq!(
            (named.slice.as_str(), named.name.as_str()),
            ("machine.slice", "libpod-123.scope")
        );
        assert_eq!(unit(Some("machine.slice::123")).unwrap().name, "123.scope");
        assert!(unit(Some("a.slice:x:a-b.slice")).unwrap().is_slice());
        for wrong in [
            "/a/b",
            "a:b",
            "a.slice:b:c/d",
            "a:b:c",
            "../a.slice:b:c",
            "a--b.slice:b:c",
            "a-.slice:b:c",
            "a.slice:b:",
        ] {
            let said = unit(Some(wrong)).map(|unit| unit.name);
            assert!(said.is_err() || wrong.ends_with(':'), "{wrong}: {said:?}");
        }
    }

    #[test]
    fn annotations_are_properties() {
        let read = |name: &str, text: &str| {
            property_of_annotation(&format!("org.systemd.property.{name}"), text)
        };
        let some = |name: &str, value| Some((name.to_owned(), value));
        assert_eq!(
            read("TimeoutStopSec", "5").unwrap(),
            some("TimeoutStopUSec", Value::U64(5_000_000))
        );
        assert_eq!(
            read("TimeoutStopUSec", "uint64 7").unwrap(),
            some("TimeoutStopUSec", Value::U64(7))
        );
        assert_eq!(
            read("Description", "'a b'").unwrap(),
            some("Description", Value::Text("a b".into()))
        );
        assert_eq!(
            read("After", r#"["a.service", "b.service"]"#).unwrap(),
            some("After", Value::Texts(vec!["a.service".into(), "b.service".into()]))
        );
        assert_eq!(property_of_annotation("other", "x").unwrap(), None);
        for (name, text) in [("A", "5"), ("Some-Thing", "5"), ("Good", "{'a': 5}"), ("Good", "'a")]
        {
            assert!(read(name, text).is_err(), "{name} {text}");
        }
    }
}

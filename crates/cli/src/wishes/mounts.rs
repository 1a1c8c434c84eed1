//! What is mounted: `-v`, `--mount`, `--tmpfs`, `--volumes-from`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minibox_runtime::{Error, Result};
use oci_spec::runtime as oci;

use super::{bad, mount, parse_size};
use crate::args::CreateArgs;
use crate::names;
use crate::settings::{Asked, Kind};
use crate::store::{Store, volumes};

/// Everything that is to be mounted.
pub(super) fn understand(store: &Store, args: &CreateArgs) -> Result<Vec<Asked>> {
    let asked = &args.mounts;
    let reader = Reader { store, devices: args.security.privileged };
    let mut all = Vec::new();
    for text in &asked.volumes {
        all.push(reader.volume(text)?);
    }
    for text in &asked.mounts {
        all.push(reader.mount(text)?);
    }
    for text in &asked.tmpfs {
        all.push(Asked { kind: Kind::Tmpfs, mount: parse_tmpfs(text)? });
    }
    let mut places: Vec<PathBuf> = all.iter().map(place).collect();
    places.sort();
    if let Some(twice) = places.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::new(format!("two mounts for the same place: {}", twice[0].display()))
            .hint("each --volume, --mount and --tmpfs needs a destination of its own"));
    }
    // What is said for this container counts more than what another one has.
    for text in &asked.volumes_from {
        for other in reader.volumes_from(text)? {
            let place = place(&other);
            if !all.iter().any(|asked| self::place(asked) == place) {
                all.push(other);
            }
        }
    }
    Ok(all)
}

/// Where it goes, without `.`, `..` and blanks between slashes.
fn place(asked: &Asked) -> PathBuf {
    asked.mount.destination().components().collect()
}

/// Is it a place that something can be mounted on?
fn is_place(destination: &str) -> bool {
    destination.starts_with('/') && !destination.trim_matches('/').is_empty()
}

struct Reader<'a> {
    store: &'a Store,
    /// Device nodes in shared folders open devices.
    devices: bool,
}

impl Reader<'_> {
    /// `-v`.
    fn volume(&self, text: &str) -> Result<Asked> {
        let right = "SRC:DST or SRC:DST:ro, or VOLUME:DST, or DST alone; DST begins with /";
        let parts: Vec<&str> = text.split(':').collect();
        let (source, destination, words) = match parts[..] {
            [destination] => (None, destination, ""),
            [source, destination] => (Some(source), destination, ""),
            [source, destination, words] => (Some(source), destination, words),
            _ => return Err(bad("--volume", text, right)),
        };
        if source == Some("") || !is_place(destination) {
            return Err(bad("--volume", text, right));
        }
        let folder = source.filter(|source| source.contains('/') || source.starts_with('.'));
        let (mut options, mut copy) = (vec!["rbind"], true);
        for word in words.split(',').filter(|word| !word.is_empty()) {
            match word {
                "ro" | "rw" | "nosuid" | "dev" | "nodev" | "noexec" | "rprivate" | "private"
                | "rslave" | "slave" | "rshared" | "shared" => options.push(word),
                "z" | "Z" => {} // SELinux relabelling: nothing to do where minibox sets no label.
                "nocopy" if folder.is_none() => copy = false,
                other => {
                    return Err(bad(
                        "--volume option",
                        other,
                        "ro, rw, nosuid, nodev, noexec, rslave, rshared, and nocopy for a volume",
                    ));
                }
            }
        }
        match folder {
            Some(path) => self.bind(path, destination, options, Kind::Bind { make: true }),
            None => self.named("--volume", source, destination, options, copy, BTreeMap::new()),
        }
    }

    /// A file or folder of the host.
    fn bind(
        &self,
        source: &str,
        destination: &str,
        mut options: Vec<&str>,
        kind: Kind,
    ) -> Result<Asked> {
        let path = Path::new(source);
        let absolute = std::path::absolute(path).map_err(|e| Error::of_io("find", path, &e))?;
        // A device node in a shared folder opens a device only where one asks for it; a device given as the
        // source itself is asked for.
        if !is_file(&absolute) && !self.devices && !options.contains(&"dev") {
            options.push("nodev");
        }
        let mount = mount("bind", &absolute.to_string_lossy(), destination, &options);
        Ok(Asked { kind, mount })
    }

    /// A volume, by its name or without one.
    fn named(
        &self,
        flag: &str,
        name: Option<&str>,
        destination: &str,
        options: Vec<&str>,
        copy: bool,
        labels: BTreeMap<String, String>,
    ) -> Result<Asked> {
        if let Some(name) = name.filter(|name| !volumes::is_name(name)) {
            return Err(Error::new(format!("{flag}: {name:?} is no name for a volume")).hint(format!(
                "letters, digits, `_`, `.` and `-`, at least two; for a folder write its path: ./{name}"
            )));
        }
        let anonymous = name.is_none();
        let name = name.map_or_else(names::new_id, str::to_owned);
        let source = volumes::data(self.store, &name);
        let kind = Kind::Volume { name, anonymous, copy, labels };
        self.bind(&source.to_string_lossy(), destination, options, kind)
    }

    /// `--volumes-from`.
    fn volumes_from(&self, text: &str) -> Result<Vec<Asked>> {
        let (name, mode) = text.split_once(':').map_or((text, None), |(n, m)| (n, Some(m)));
        if let Some(mode) = mode.filter(|mode| !["ro", "rw", "z", "Z"].contains(mode)) {
            return Err(bad("--volumes-from", mode, "CONTAINER, CONTAINER:ro or CONTAINER:rw"));
        }
        let mut all = self.store.find(name)?.record.mounts;
        all.retain(|asked| asked.kind != Kind::Tmpfs);
        for asked in &mut all {
            match &mut asked.kind {
                Kind::Bind { make } => *make = false,
                Kind::Volume { copy, .. } => *copy = false,
                Kind::Tmpfs => {}
            }
            if let Some(mode) = mode.filter(|mode| ["ro", "rw"].contains(mode)) {
                let mut options = asked.mount.options().clone().unwrap_or_default();
                options.retain(|word| word != "ro" && word != "rw");
                options.push(mode.to_owned());
                asked.mount.set_options(Some(options));
            }
        }
        Ok(all)
    }

    /// `--mount`.
    fn mount(&self, text: &str) -> Result<Asked> {
        let wish = Spelled::read(text)?;
        let destination = wish.destination.as_deref().filter(|place| is_place(place));
        let destination = destination.ok_or_else(|| {
            wrong(text, "it has no destination", "write target=/PATH, a path in the container")
        })?;
        let readonly = if wish.readonly { "ro" } else { "rw" };
        if let Some((key, kind)) = wish.keys.iter().find(|(_, kind)| *kind != wish.kind) {
            let what = format!("{key} belongs to type={kind}, and this is type={}", wish.kind);
            return Err(wrong(text, &what, "leave it out, or change the type"));
        }
        match wish.kind.as_str() {
            "bind" => {
                let Some(source) = wish.source.as_deref().filter(|source| !source.is_empty())
                else {
                    let hint = "write source=PATH, a file or folder of the host";
                    return Err(wrong(text, "a bind needs a source", hint));
                };
                if !wish.make && !Path::new(source).exists() {
                    let what = format!("the source {source} does not exist");
                    return Err(wrong(
                        text,
                        &what,
                        "make it first; -v makes a missing folder itself",
                    ));
                }
                let mut options = vec![if wish.recursive { "rbind" } else { "bind" }, readonly];
                options.extend(wish.propagation.as_deref());
                self.bind(source, destination, options, Kind::Bind { make: wish.make })
            }
            "volume" => {
                let source = wish.source.as_deref().filter(|source| !source.is_empty());
                let options = vec!["rbind", readonly];
                self.named("--mount", source, destination, options, wish.copy, wish.labels)
            }
            _ => {
                if wish.source.is_some() {
                    let what = "a tmpfs is empty, and has no source";
                    return Err(wrong(text, what, "leave the source out"));
                }
                let mut options = vec!["nosuid", "nodev", "noexec", readonly];
                options.extend(wish.size.as_deref());
                options.push(wish.mode.as_deref().unwrap_or("mode=1777"));
                let mount = mount("tmpfs", "tmpfs", destination, &options);
                Ok(Asked { kind: Kind::Tmpfs, mount })
            }
        }
    }
}

/// An error about one `--mount`.
fn wrong(text: &str, what: &str, right: &str) -> Error {
    Error::new(format!("--mount {text}: {what}")).hint(right)
}

/// A `--mount`, key by key.
struct Spelled {
    kind: String,
    source: Option<String>,
    destination: Option<String>,
    readonly: bool,
    recursive: bool,
    make: bool,
    propagation: Option<String>,
    copy: bool,
    labels: BTreeMap<String, String>,
    size: Option<String>,
    mode: Option<String>,
    /// The keys that belong to one type, and that type.
    keys: Vec<(String, &'static str)>,
}

impl Spelled {
    fn read(text: &str) -> Result<Spelled> {
        let mut wish = Spelled {
            kind: String::from("volume"),
            source: None,
            destination: None,
            readonly: false,
            recursive: true,
            make: false,
            propagation: None,
            copy: true,
            labels: BTreeMap::new(),
            size: None,
            mode: None,
            keys: Vec::new(),
        };
        for field in fields(text) {
            let (key, value) = field
                .split_once('=')
                .map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
            wish.key(text, &key.to_ascii_lowercase(), value)?;
        }
        Ok(wish)
    }

    fn key(&mut self, text: &str, key: &str, value: Option<&str>) -> Result<()> {
        for (prefix, kind) in [("bind-", "bind"), ("volume-", "volume"), ("tmpfs-", "tmpfs")] {
            if key.starts_with(prefix) {
                self.keys.push((key.to_owned(), kind));
            }
        }
        let switch = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(wrong(text, &format!("{key}={other}"), "write true or false")),
        };
        match key {
            "readonly" | "ro" => self.readonly = switch()?,
            "bind-nonrecursive" => self.recursive = !switch()?,
            "bind-create-src" => self.make = switch()?,
            "volume-nocopy" => self.copy = !switch()?,
            _ => {
                let value = value.ok_or_else(|| {
                    wrong(text, &format!("{key:?} has no value"), "write KEY=VALUE,KEY=VALUE,…")
                })?;
                self.pair(text, key, value)?;
            }
        }
        Ok(())
    }

    fn pair(&mut self, text: &str, key: &str, value: &str) -> Result<()> {
        let choose = |right: &str| wrong(text, &format!("{key}={value} is not understood"), right);
        match key {
            "type" if ["bind", "volume", "tmpfs"].contains(&value) => {
                value.clone_into(&mut self.kind);
            }
            "type" => return Err(choose("bind, volume or tmpfs")),
            "source" | "src" => self.source = Some(value.to_owned()),
            "target" | "destination" | "dst" => self.destination = Some(value.to_owned()),
            // Docker's hint for other systems: there is one kernel here, and nothing to keep in step.
            "consistency" => {}
            "bind-propagation" => {
                let known = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];
                if !known.contains(&value) {
                    return Err(choose(&known.join(", ")));
                }
                self.propagation = Some(value.to_owned());
            }
            "bind-recursive" => {
                self.recursive = match value {
                    "enabled" | "readonly" => true,
                    "disabled" => false,
                    _ => return Err(choose("enabled, disabled or readonly")),
                };
            }
            "volume-driver" if value == "local" => {}
            "volume-driver" => return Err(choose("local")),
            "volume-label" => {
                let (key, value) = value.split_once('=').unwrap_or((value, ""));
                self.labels.insert(key.to_owned(), value.to_owned());
            }
            "volume-opt" | "volume-subpath" => {
                return Err(wrong(
                    text,
                    &format!("{key} is not part of this version"),
                    "for a folder of the host use type=bind",
                ));
            }
            "tmpfs-size" => {
                self.size = Some(format!("size={}", parse_size("--mount tmpfs-size", value)?));
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                let mode = mode.ok_or_else(|| choose("an octal mode, such as 1770"))?;
                self.mode = Some(format!("mode={mode:o}"));
            }
            _ => {
                return Err(wrong(
                    text,
                    &format!("there is no key {key:?}"),
                    "type, source, target, readonly, bind-propagation, bind-recursive, volume-nocopy, volume-label, tmpfs-size, tmpfs-mode",
                ));
            }
        }
        Ok(())
    }
}

/// What stands between the commas. As in CSV, one in quotes may hold commas itself, and `""` for a quote.
fn fields(text: &str) -> Vec<String> {
    let (mut all, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => all.push(std::mem::take(&mut field)),
            letter => field.push(letter),
        }
    }
    all.push(field);
    all
}

/// Anything but a folder; what is missing will be one.
fn is_file(path: &Path) -> bool {
    path.exists() && !path.is_dir()
}

/// `--tmpfs`.
fn parse_tmpfs(text: &str) -> Result<oci::Mount> {
    let (destination, words) = text.split_once(':').unwrap_or((text, ""));
    if !is_place(destination) {
        return Err(bad(
            "--tmpfs",
            text,
            "DST or DST:size=64m,mode=1777 with DST beginning with /",
        ));
    }
    let mut options = vec!["nosuid", "nodev", "noexec"];
    options.extend(words.split(',').filter(|word| !word.is_empty()));
    if !words.contains("mode=") {
        options.push("mode=1777");
    }
    Ok(mount("tmpfs", "tmpfs", destination, &options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(work: impl FnOnce(&Reader<'_>) -> T) -> T {
        let folder = PathBuf::from("/nowhere");
        let store = Store { run: folder.clone(), data: folder, cgroup_parent: String::new() };
        work(&Reader { store: &store, devices: false })
    }

    fn options(asked: &Asked) -> String {
        asked.mount.options().as_ref().unwrap().join(",")
    }

    #[test]
    fn volumes_of_every_kind() {
        let volume = |text: &str| read(|reader| reader.volume(text));
        let bind = volume("/tmp:/data:ro").unwrap();
        assert_eq!((&*options(&bind), bind.kind), ("rbind,ro,nodev", Kind::Bind { make: true }));
        let named = volume("data:/x:nocopy").unwrap();
        assert_eq!(
            named.mount.source().as_ref().unwrap(),
            Path::new("/nowhere/volumes/data/_data")
        );
        let Kind::Volume { name, anonymous: false, copy: false, .. } = named.kind else {
            panic!("{named:?}")
        };
        assert_eq!(name, "data");
        let Kind::Volume { name, anonymous: true, copy: true, .. } = volume("/x").unwrap().kind
        else {
            panic!("anonymous")
        };
        assert_eq!(name.len(), 64);
        for text in
            ["", "data", "/tmp:data", "/tmp:/", "/", "/tmp:/x:what", "/tmp:/x:nocopy", "a:/x"]
        {
            assert!(volume(text).is_err(), "{text}");
        }
        for text in ["a:b:c:d", ":/x", "da ta:/x", "-x:/x", "data:/x:/y"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts_are_spelled_out() {
        let mount = |text: &str| read(|reader| reader.mount(text));
        for (text, expected) in [
            ("type=bind,source=/tmp,target=/x", "rbind,rw,nodev"),
            ("type=bind,src=/tmp,dst=/x,readonly", "rbind,ro,nodev"),
            (
                "Type=bind,SRC=/tmp,destination=/x,ro=true,bind-propagation=rslave",
                "rbind,ro,rslave,nodev",
            ),
            ("type=bind,src=/tmp,dst=/x,ro=false,bind-recursive=disabled", "bind,rw,nodev"),
            ("type=bind,src=/tmp,dst=/x,consistency=cached,bind-nonrecursive", "bind,rw,nodev"),
            ("type=bind,src=/not/there,dst=/x,bind-create-src", "rbind,rw,nodev"),
            ("src=data,dst=/x", "rbind,rw,nodev"),
            ("dst=/x,volume-nocopy=1,volume-label=a=b,volume-driver=local", "rbind,rw,nodev"),
            ("type=tmpfs,dst=/x", "nosuid,nodev,noexec,rw,mode=1777"),
            (
                "type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=0700,ro",
                "nosuid,nodev,noexec,ro,size=1048576,mode=700",
            ),
            ("type=bind,\"src=/tmp\",\"dst=/a,\"\"b\"", "rbind,rw,nodev"),
        ] {
            assert_eq!(mount(text).map(|asked| options(&asked)).unwrap(), expected, "{text}");
        }
        assert_eq!(fields(r#"a,"b,""c",,d"e"#), ["a", "b,\"c", "", "d\"e"]);
        for text in [
            "",
            "type=bind",
            "type=bind,dst=/x",
            "type=bind,src=/tmp",
            "type=bind,src=/tmp,dst=x",
            "type=bind,src=/not/there,dst=/x",
            "type=bind,src=/tmp,dst=/x,volume-nocopy",
            "type=bind,src=/tmp,dst=/x,bind-propagation=up",
            "type=bind,src=/tmp,dst=/x,ro=maybe",
            "type=bind,src=/tmp,dst=/x,colour=red",
            "type=bind,src,dst=/x",
            "type=nfs,dst=/x",
            "type=tmpfs,src=/tmp,dst=/x",
            "type=tmpfs,dst=/x,tmpfs-mode=9",
            "type=tmpfs,dst=/x,tmpfs-size=much",
            "src=a/b,dst=/x",
            "src=data,dst=/x,volume-driver=nfs",
            "src=data,dst=/x,volume-subpath=a",
        ] {
            assert!(mount(text).is_err(), "{text}");
        }
    }
}

//! What is mounted: `-v`, `--tmpfs`.

use std::path::Path;

use minibox_runtime::{Error, Result};
use oci_spec::runtime as oci;

use super::{bad, mount};
use crate::args::CreateArgs;

/// The mounts that were asked for.
#[derive(Debug)]
pub(crate) struct Mounts {
    pub volumes: Vec<oci::Mount>,
    pub tmpfs: Vec<oci::Mount>,
}

pub(super) fn understand(args: &CreateArgs) -> Result<Mounts> {
    let asked = &args.mounts;
    super::not_yet(&[
        ("--mount", !asked.mounts.is_empty()),
        ("--volumes-from", !asked.volumes_from.is_empty()),
    ])?;
    let parse = |text: &String| parse_volume(text, args.security.privileged);
    let volumes = asked.volumes.iter().map(parse).collect::<Result<Vec<_>>>()?;
    let tmpfs = asked.tmpfs.iter().map(|text| parse_tmpfs(text)).collect::<Result<Vec<_>>>()?;
    let mut places: Vec<&Path> =
        volumes.iter().chain(&tmpfs).map(|mount| mount.destination().as_path()).collect();
    places.sort();
    if let Some(twice) = places.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::new(format!("two mounts for the same place: {}", twice[0].display()))
            .hint("each --volume and --tmpfs needs a destination of its own"));
    }
    Ok(Mounts { volumes, tmpfs })
}

fn parse_volume(text: &str, devices: bool) -> Result<oci::Mount> {
    let right = "SRC:DST or SRC:DST:ro, both paths, DST beginning with /";
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, words) = match parts[..] {
        [source, destination] => (source, destination, ""),
        [source, destination, words] => (source, destination, words),
        _ => return Err(bad("--volume", text, right)),
    };
    if source.is_empty()
        || !destination.starts_with('/')
        || destination.trim_matches('/').is_empty()
    {
        return Err(bad("--volume", text, right));
    }
    if !source.contains('/') && !source.starts_with('.') {
        return Err(Error::new(format!(
            "--volume {text}: {source:?} would be a named volume, which this version does not have"
        ))
        .hint(format!("for a folder write its path: ./{source}:{destination}")));
    }
    let mut options = vec!["rbind"];
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" | "rw" | "nosuid" | "dev" | "nodev" | "noexec" | "rprivate" | "private"
            | "rslave" | "slave" | "rshared" | "shared" => options.push(word),
            "z" | "Z" => {} // SELinux relabelling: nothing to do where minibox sets no label.
            other => {
                return Err(bad(
                    "--volume option",
                    other,
                    "ro, rw, nosuid, nodev, noexec, rslave, rshared",
                ));
            }
        }
    }
    let path = Path::new(source);
    let absolute = std::path::absolute(path).map_err(|e| Error::of_io("find", path, &e))?;
    // A device node in a shared folder opens a device only where one asks for it; a device given as the
    // source itself is asked for.
    if !is_file(&absolute) && !devices && !options.contains(&"dev") {
        options.push("nodev");
    }
    Ok(mount("bind", &absolute.to_string_lossy(), destination, &options))
}

/// Anything but a folder; what is missing will be one.
fn is_file(path: &Path) -> bool {
    path.exists() && !path.is_dir()
}

fn parse_tmpfs(text: &str) -> Result<oci::Mount> {
    let (destination, words) = text.split_once(':').unwrap_or((text, ""));
    if !destination.starts_with('/') || destination.trim_matches('/').is_empty() {
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

    #[test]
    fn volumes() {
        let volume = parse_volume("/tmp:/data:ro", false).unwrap();
        assert_eq!(volume.options().as_ref().unwrap(), &["rbind", "ro", "nodev"]);
        for text in ["/tmp", "/tmp:data", "/tmp:/", "data:/x", "/tmp:/x:what", "a:b:c:d", ":/x"] {
            assert!(parse_volume(text, false).is_err(), "{text}");
        }
    }
}

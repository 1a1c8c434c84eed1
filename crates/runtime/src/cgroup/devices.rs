//! Which devices a container may open and make: the rules of `linux.resources.devices`, put into force.
//!
//! Version 2 has a program that follows the rules one by one; the kernel of version 1 keeps one word for
//! all devices and a list of exceptions.

use oci_spec::runtime::LinuxDeviceCgroup;

use super::device_filter;
use super::device_rules::{Kind, Rule, with_defaults};
use super::folders::Cgroup;
use crate::error::{Error, Result};
use crate::sys;

impl Cgroup {
    /// PARENT: puts `rules` into force, for a cgroup that has just been made; none leave everything as the
    /// cgroup above has it.
    pub(super) fn restrict_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        let rules = with_defaults(rules)?;
        if !self.unified {
            let (allowed, exceptions) = exceptions(&rules)?;
            if !allowed {
                self.write("devices", "devices.deny", "a")?;
            }
            let file = if allowed { "devices.deny" } else { "devices.allow" };
            return exceptions.iter().try_for_each(|e| self.write("devices", file, &e.to_string()));
        }
        let Some(folder) = self.unified_folder() else { return Ok(()) };
        let cgroup = std::fs::File::open(folder).map_err(|e| Error::of_io("open", folder, &e))?;
        let loaded = sys::load_device_filter(&device_filter::compile(&rules));
        loaded.and_then(|filter| sys::attach_device_filter(&cgroup, &filter)).map_err(|fault| {
            Error::of_fault("cannot restrict which devices may be opened", fault)
                .hint("this needs CAP_BPF or CAP_SYS_ADMIN and a kernel with CONFIG_CGROUP_BPF")
        })
    }
}

/// What `rules` come to in the words of version 1: are devices allowed that no exception speaks for, and
/// the exceptions.
fn exceptions(rules: &[Rule]) -> Result<(bool, Vec<Rule>)> {
    let (mut allowed, mut exceptions) = (false, Vec::<Rule>::new());
    for rule in rules {
        if rule.is_for_all() {
            (allowed, exceptions) = (rule.allow, Vec::new());
            continue;
        }
        let kinds = rule.kind.map_or(vec![Kind::Block, Kind::Character], |kind| vec![kind]);
        for rule in kinds.into_iter().map(|kind| Rule { kind: Some(kind), ..*rule }) {
            let same =
                |e: &&mut Rule| (e.kind, e.major, e.minor) == (rule.kind, rule.major, rule.minor);
            if rule.allow != allowed {
                match exceptions.iter_mut().find(same) {
                    Some(exception) => exception.access |= rule.access,
                    None => exceptions.push(rule),
                }
                continue;
            }
            for exception in exceptions.iter_mut().filter(|e| e.meets(&rule)) {
                if !rule.covers(exception) && rule.access & exception.access != 0 {
                    // The kernel would take such a rule and do nothing.
                    return Err(Error::new(format!(
                        "linux.resources.devices: cgroup version 1 cannot make an exception ({rule}) to an exception ({exception})"
                    )));
                }
                exception.access &= !rule.access;
            }
            exceptions.retain(|exception| exception.access != 0);
        }
    }
    Ok((allowed, exceptions))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules as version 1 writes them, with + or - before.
    fn rules(lines: &[&str]) -> Vec<Rule> {
        let rule = |line: &&str| {
            let words: Vec<&str> = line[1..].split([' ', ':']).collect();
            let [kind, major, minor, access] = words[..] else { panic!("{line}") };
            let number = |text: &str| text.parse::<i64>().unwrap_or(-1);
            let json = serde_json::json!({
                "allow": line.starts_with('+'), "type": kind, "access": access,
                "major": number(major), "minor": number(minor),
            });
            Rule::of_spec(&serde_json::from_value(json).unwrap()).unwrap()
        };
        lines.iter().map(rule).collect()
    }

    fn texts(rules: &[Rule]) -> Vec<String> {
        rules.iter().map(Rule::to_string).collect()
    }

    #[test]
    fn version_1_keeps_exceptions() {
        let (allowed, list) = exceptions(&rules(&[
            "+c 9:9 rwm",
            "-a *:* rwm",
            "+c 1:3 r",
            "+c 1:3 w",
            "+b 8:1 rwm",
            "+b 8:2 rwm",
            "-b 8:* wm",
            "-c 7:7 rwm",
            "+a 4:4 r",
        ]))
        .unwrap();
        assert!(!allowed);
        assert_eq!(texts(&list), ["c 1:3 rw", "b 8:1 r", "b 8:2 r", "b 4:4 r", "c 4:4 r"]);
        let (allowed, list) = exceptions(&rules(&["+a *:* rwm", "-b 8:0 w"])).unwrap();
        assert!(allowed);
        assert_eq!(texts(&list), ["b 8:0 w"]);
    }

    #[test]
    fn what_version_1_would_silently_ignore_is_an_error() {
        let error = exceptions(&rules(&["+c 1:* rw", "-c 1:5 w"])).unwrap_err().to_string();
        assert!(error.contains("c 1:5 w") && error.contains("c 1:* rw"), "{error}");
        assert!(exceptions(&rules(&["+c 1:* rw", "-c 1:5 m"])).is_ok());
        assert!(exceptions(&rules(&["+c 1:* rw", "-c 2:* w"])).is_ok());
    }

    #[test]
    fn every_container_keeps_its_own_devices() {
        let deny = serde_json::from_str(r#"{"allow": false, "access": "rwm"}"#).unwrap();
        let (allowed, list) = exceptions(&with_defaults(&[deny]).unwrap()).unwrap();
        assert!(!allowed);
        let list = texts(&list);
        for rule in ["c *:* m", "b *:* m", "c 1:3 rwm", "c 136:* rwm"] {
            assert!(list.iter().any(|text| text == rule), "{rule} is not in {list:?}");
        }
    }
}

//! The rules about devices, `linux.resources.devices`: a rule speaks for some devices and some kinds of
//! access, and the last one that speaks for an access decides about it.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::devices;
use crate::error::{Error, Result};

/// Block or character, with the numbers that linux/bpf.h gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A block device, a disk for instance.
    Block = 1,
    /// A character device.
    Character = 2,
}

/// Making the node, mknod(2): BPF_DEVCG_ACC_MKNOD.
pub const MAKE: u32 = 1;
/// Opening it for reading: BPF_DEVCG_ACC_READ.
pub const READ: u32 = 2;
/// Opening it for writing: BPF_DEVCG_ACC_WRITE.
pub const WRITE: u32 = 4;

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Allows, or denies.
    pub allow: bool,
    /// Which kind; `None` for both.
    pub kind: Option<Kind>,
    /// Major number; `None` for all.
    pub major: Option<u32>,
    /// Minor number; `None` for all.
    pub minor: Option<u32>,
    /// [`MAKE`], [`READ`] and [`WRITE`], put together.
    pub access: u32,
}

impl Rule {
    const fn allow(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u32) -> Rule {
        Rule { allow: true, kind: Some(kind), major, minor, access }
    }

    /// From config.json, where -1 stands for all numbers too.
    pub fn of_spec(rule: &LinuxDeviceCgroup) -> Result<Rule> {
        let wrong = |what: String| Error::new(format!("linux.resources.devices: {what}"));
        let mut access = 0;
        for letter in rule.access().as_deref().unwrap_or_default().chars() {
            access |= match letter {
                'm' => MAKE,
                'r' => READ,
                'w' => WRITE,
                // Kinds of devices have it, and runc takes it here too.
                'a' => MAKE | READ | WRITE,
                _ => return Err(wrong(format!("access {letter:?} is none of r, w and m"))),
            };
        }
        if access == 0 {
            return Err(wrong(String::from("a rule says for no access that it is meant")));
        }
        let kind = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::A => None,
            LinuxDeviceType::B => Some(Kind::Block),
            LinuxDeviceType::C | LinuxDeviceType::U => Some(Kind::Character),
            LinuxDeviceType::P => return Err(wrong(String::from("a FIFO is no device"))),
        };
        let number = |number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(number) => u32::try_from(number)
                .map(Some)
                .map_err(|_| wrong(format!("there is no device number {number}"))),
        };
        let (major, minor) = (number(rule.major())?, number(rule.minor())?);
        Ok(Rule { allow: rule.allow(), kind, major, minor, access })
    }

    /// Does it speak for every access to every device?
    pub fn is_for_all(&self) -> bool {
        *self
            == Rule {
                allow: self.allow,
                kind: None,
                major: None,
                minor: None,
                access: MAKE | READ | WRITE,
            }
    }

    /// Does it speak for every device that `other` speaks for?
    pub fn covers(&self, other: &Rule) -> bool {
        (self.kind.is_none() || self.kind == other.kind)
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    /// Is there a device for which both speak?
    pub fn meets(&self, other: &Rule) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

impl fmt::Display for Rule {
    /// As devices.allow and devices.deny of version 1 read it: `c 1:3 rwm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            None => 'a',
            Some(Kind::Block) => 'b',
            Some(Kind::Character) => 'c',
        };
        let number = |n: Option<u32>| n.map_or_else(|| String::from("*"), |n| n.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        let letters = [(READ, "r"), (WRITE, "w"), (MAKE, "m")];
        letters
            .iter()
            .filter(|(bit, _)| self.access & bit != 0)
            .try_for_each(|(_, l)| f.write_str(l))
    }
}

/// The rules of config.json, and after them what every container has by the runtime-spec: the nodes of
/// its /dev, and its terminals. A node may be made of any device, as with docker: to open it is another
/// matter.
pub fn with_defaults(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>> {
    const ALL: u32 = MAKE | READ | WRITE;
    let character = |major, minor| Rule::allow(Kind::Character, Some(major), minor, ALL);
    let mut all = rules.iter().map(Rule::of_spec).collect::<Result<Vec<_>>>()?;
    all.extend([Kind::Character, Kind::Block].map(|kind| Rule::allow(kind, None, None, MAKE)));
    all.extend(devices::DEFAULT.map(|(_, major, minor)| character(major, Some(minor))));
    all.extend([character(136, None), character(5, Some(2))]); // /dev/pts/*, /dev/ptmx
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Result<Rule> {
        Rule::of_spec(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn rules_of_config_json() {
        for (json, text) in [
            (r#"{"allow": false, "access": "rwm"}"#, "a *:* rwm"),
            (r#"{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "mr"}"#, "c 1:3 rm"),
            (
                r#"{"allow": true, "type": "u", "major": 136, "minor": -1, "access": "w"}"#,
                "c 136:* w",
            ),
            (r#"{"allow": true, "type": "b", "access": "m"}"#, "b *:* m"),
        ] {
            assert_eq!(rule(json).unwrap().to_string(), text);
        }
        assert!(rule(r#"{"allow": false, "access": "rwm"}"#).unwrap().is_for_all());
        assert!(!rule(r#"{"allow": false, "access": "rm"}"#).unwrap().is_for_all());
        for json in [
            r#"{"allow": true, "type": "c"}"#,
            r#"{"allow": true, "type": "c", "access": "x"}"#,
            r#"{"allow": true, "type": "p", "access": "r"}"#,
            r#"{"allow": true, "type": "c", "major": -2, "access": "r"}"#,
            r#"{"allow": true, "type": "c", "minor": 4294967296, "access": "r"}"#,
        ] {
            assert!(rule(json).is_err(), "{json}");
        }
    }
}

//! What a security module is to call the program: an AppArmor profile, an SELinux label.

use std::ffi::CString;
use std::path::Path;

use crate::error::{Error, Result};
use crate::mounts::c_string;

/// A word for a file below /proc/self/attr, proc_pid_attr(5): it counts from the next execve(2) on.
#[derive(Debug)]
pub struct Label {
    /// The file.
    pub file: CString,
    /// What is written to it.
    pub word: CString,
}

/// `process.apparmorProfile` and `process.selinuxLabel`. Where the security module is not in use they
/// are refused: nobody would be confined.
pub fn plan(profile: Option<&str>, label: Option<&str>) -> Result<Vec<Label>> {
    let mut labels = Vec::new();
    // Unconfined is what everything is where nothing confines.
    if let Some(profile) = profile.filter(|name| !name.is_empty() && *name != "unconfined") {
        if !Path::new("/proc/self/attr/apparmor/exec").exists() {
            return Err(Error::new(format!(
                "AppArmor profile {profile}: this kernel does not use AppArmor"
            ))
            .hint("`minibox info` shows what it uses; leave the profile out"));
        }
        labels.push(Label {
            file: c"/proc/self/attr/apparmor/exec".into(),
            word: c_string(format!("exec {profile}"), "the AppArmor profile")?,
        });
    }
    if let Some(label) = label.filter(|label| !label.is_empty()) {
        check_selinux(label)?;
        labels.push(Label {
            file: c"/proc/self/attr/exec".into(),
            word: c_string(label, "the SELinux label")?,
        });
    }
    Ok(labels)
}

/// `linux.mountLabel`, for the files of new mounts.
pub fn of_mounts(label: Option<&str>) -> Result<Option<CString>> {
    let Some(label) = label.filter(|label| !label.is_empty()) else { return Ok(None) };
    check_selinux(label)?;
    c_string(label, "the SELinux label").map(Some)
}

fn check_selinux(label: &str) -> Result<()> {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        return Ok(());
    }
    Err(Error::new(format!("SELinux label {label}: this kernel does not use SELinux"))
        .hint("`minibox info` shows what it uses; leave the label out"))
}

//! Who the program runs as: `-u NAME|UID[:GROUP|GID]` resolved against the container's own
//! /etc/passwd and /etc/group.
//!
//! Both files belong to the image and may be anything: a FIFO, a device, a gigabyte, a link out of the
//! root (CVE-2024-9676). They are opened inside the root, without blocking, and read up to a cap.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::error::{Error, Result};

/// The most of /etc/passwd or /etc/group that is read, in bytes.
const CAP: u64 = 8 << 20;

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id inside the container.
    pub uid: u32,
    /// Primary group id inside the container.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// Home folder, `/` where passwd names none.
    pub home: String,
}

/// openat2(2) of `path` as the container sees it: as if `root` were `/`.
pub fn open_in_root(
    root: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    flags: OFlag,
) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    // Where anything on this machine is renamed or mounted while a `..` is looked up, the kernel will
    // not vouch for the answer and asks to try again.
    for _ in 0..1000 {
        match openat2(root, path.as_ref(), how) {
            Err(Errno::EAGAIN) => {}
            result => return result,
        }
    }
    Err(Errno::EAGAIN)
}

/// Opens for reading what an `O_PATH` descriptor refers to.
pub fn reopen(file: &std::fs::File) -> nix::Result<std::fs::File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let own = nix::fcntl::open("/proc/self/fd", flags, nix::sys::stat::Mode::empty())?;
    reopen_in(own.as_fd(), file.as_fd())
}

/// The same through `own`, this process's /proc/self/fd: where no procfs of the host is in sight.
pub fn reopen_in(own: BorrowedFd<'_>, file: BorrowedFd<'_>) -> nix::Result<std::fs::File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let name = file.as_raw_fd().to_string();
    nix::fcntl::openat(own, name.as_str(), flags, nix::sys::stat::Mode::empty()).map(Into::into)
}

/// Reads `path` below `root`, only where it is a regular file; `None` where there is no such file.
pub fn read_in_root(root: BorrowedFd<'_>, path: &str) -> Result<Option<String>> {
    // Looked at before it is opened: to open a device, as root, may already do something.
    let fd = match open_in_root(root, path, OFlag::O_PATH) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        Err(errno) => {
            let what = format!("cannot open /{path} of the container");
            return Err(Error::new(what).errno(errno));
        }
    };
    let file = std::fs::File::from(fd);
    let refuse = |what: &str| {
        Err(Error::new(format!(
            "/{path} of the container is {what}, so no name can be looked up in it"
        ))
        .hint("give numbers instead: -u UID:GID"))
    };
    let metadata = file.metadata().map_err(|e| Error::of_io("read", path.as_ref(), &e))?;
    if !metadata.is_file() {
        let kind = metadata.file_type();
        return refuse(if kind.is_fifo() { "a FIFO" } else { "not a regular file" });
    }
    if metadata.size() > CAP {
        return refuse("larger than 8 MiB");
    }
    let file = reopen(&file).map_err(|errno| {
        Error::new(format!("cannot read /{path} of the container")).errno(errno)
    })?;
    let mut bytes = Vec::new();
    file.take(CAP).read_to_end(&mut bytes).map_err(|e| Error::of_io("read", path.as_ref(), &e))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// An id written as digits must be a number the kernel can hold: "4294967296" is an error, never
/// root (CVE-2026-30892). `None` where it is a name.
fn id_number(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        // The highest value means "no change" to setresuid(2).
        Ok(id) if id != u32::MAX => Ok(Some(id)),
        _ => Err(Error::new(format!("the id {text} is out of range"))
            .hint("ids go from 0 to 4294967294")),
    }
}

/// An id in a file of the image. The highest would mean "no change", that is, root.
fn listed_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_line(line: &str) -> Option<Passwd<'_>> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = fields[..] else {
        return None;
    };
    Some(Passwd { name, uid: listed_id(uid)?, gid: listed_id(gid)?, home })
}

/// Resolves `asked` ("", "0", "learner", "learner:tty", "1000:1000") in the root that `root` opens.
pub fn resolve(root: BorrowedFd<'_>, asked: &str) -> Result<User> {
    let (user, group) = asked.split_once(':').map_or((asked, None), |(u, g)| (u, Some(g)));
    if group == Some("") || (user.is_empty() && group.is_some()) {
        return Err(Error::new(format!("{asked:?} is not a user"))
            .hint("write NAME, UID, NAME:GROUP or UID:GID"));
    }
    let number = if user.is_empty() { Some(0) } else { id_number(user)? };
    let passwd = match read_in_root(root, "etc/passwd") {
        // Numbers need no names: a hostile passwd only costs the home folder.
        Err(_) if number.is_some() => None,
        result => result?,
    };
    let entry =
        passwd.iter().flat_map(|text| text.lines()).filter_map(passwd_line).find(
            |p| match number {
                Some(uid) => p.uid == uid,
                None => p.name == user,
            },
        );
    let mut resolved = match (entry, number) {
        (Some(p), _) => {
            User { uid: p.uid, gid: p.gid, groups: Vec::new(), home: p.home.to_owned() }
        }
        (None, Some(uid)) => User { uid, gid: 0, groups: Vec::new(), home: String::new() },
        (None, None) => {
            let file = if passwd.is_some() {
                "its /etc/passwd does not list it"
            } else {
                "it has no /etc/passwd"
            };
            return Err(Error::new(format!("there is no user {user:?} in the container: {file}"))
                .hint("give a number instead, or a name that the file lists"));
        }
    };
    if !resolved.home.starts_with('/') {
        resolved.home = String::from("/");
    }
    let name = passwd
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(passwd_line)
        .find(|p| p.uid == resolved.uid)
        .map(|p| p.name.to_owned());
    match group {
        Some(group) => resolved.gid = resolve_group(root, group)?,
        // Supplementary groups come with the account, as login(1) would give them.
        None => {
            if let (Some(name), Ok(Some(text))) = (name, read_in_root(root, "etc/group")) {
                resolved.groups = groups_of(&text, &name);
            }
        }
    }
    Ok(resolved)
}

fn groups_of(text: &str, user: &str) -> Vec<u32> {
    let member = |line: &&str| {
        line.rsplit(':').next().is_some_and(|m| m.split(',').any(|m| m.trim() == user))
    };
    text.lines().filter(member).filter_map(|line| listed_id(line.split(':').nth(2)?)).collect()
}

/// Resolves a group by number, or by name in the etc/group of the root that `root` opens.
pub fn resolve_group(root: BorrowedFd<'_>, group: &str) -> Result<u32> {
    if let Some(gid) = id_number(group)? {
        return Ok(gid);
    }
    let text = read_in_root(root, "etc/group")?.unwrap_or_default();
    text.lines()
        .find(|line| line.split(':').next() == Some(group))
        .and_then(|line| listed_id(line.split(':').nth(2)?))
        .ok_or_else(|| {
            Error::new(format!("there is no group {group:?} in the container's /etc/group"))
                .hint("give a number instead, or a name that the file lists")
        })
}

/// Does `root` hold something at `path` as the container would see it?
pub fn exists_in_root(root: BorrowedFd<'_>, path: &str) -> bool {
    open_in_root(root, path, OFlag::O_PATH).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_with(passwd: &str, group: &str) -> (tempfile::TempDir, std::fs::File) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(dir.path().join("etc/group"), group).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        (dir, root)
    }

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nlearner:x:1000:1000::/home/learner:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\ntty:x:5:learner\nlearner:x:1000:\n";

    #[test]
    fn names_numbers_and_groups() {
        let (_dir, root) = root_with(PASSWD, GROUP);
        let user = |asked| resolve(root.as_fd(), asked).unwrap();
        assert_eq!(user(""), User { uid: 0, gid: 0, groups: vec![], home: "/root".into() });
        assert_eq!(
            user("learner"),
            User { uid: 1000, gid: 1000, groups: vec![5], home: "/home/learner".into() }
        );
        assert_eq!(user("1000"), user("learner"));
        assert_eq!(
            user("learner:tty"),
            User { uid: 1000, gid: 5, groups: vec![], home: "/home/learner".into() }
        );
        assert_eq!(user("77:88"), User { uid: 77, gid: 88, groups: vec![], home: "/".into() });
    }

    #[test]
    fn what_is_not_a_user_never_becomes_root() {
        let (_dir, root) = root_with(PASSWD, GROUP);
        for asked in [
            "4294967296",
            "4294967295",
            "99999999999999999999",
            "1:",
            ":",
            ":5",
            "nobody",
            "root:nogroup",
            "-1",
            "0x0",
            "1000:-1",
        ] {
            assert!(resolve(root.as_fd(), asked).is_err(), "{asked}");
        }
    }

    #[test]
    fn a_fifo_as_passwd_does_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("etc/passwd"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let error = resolve(root.as_fd(), "learner").unwrap_err().to_string();
        assert!(error.contains("is a FIFO"), "{error}");
        assert_eq!(resolve(root.as_fd(), "5").unwrap().uid, 5);
    }

    #[test]
    fn a_link_in_the_image_stays_in_the_image() {
        let (dir, root) = root_with(PASSWD, GROUP);
        std::fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd.real", dir.path().join("etc/passwd")).unwrap();
        assert!(resolve(root.as_fd(), "learner").is_err());
        std::fs::write(dir.path().join("etc/passwd.real"), PASSWD).unwrap();
        assert_eq!(resolve(root.as_fd(), "learner").unwrap().uid, 1000);
    }
}

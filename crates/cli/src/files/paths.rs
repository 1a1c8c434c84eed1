//! Paths as `cp` reads them: what a trailing `/.` means, where a source is and where a copy goes.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use minibox_runtime::user::open_in_root;
use minibox_runtime::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::libc::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use nix::sys::stat::{Mode, fstatat};

/// Opened to be looked at and looked up in, never for its contents.
const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// Whose files a path leads through.
#[derive(Debug)]
pub(super) enum Side {
    /// The caller's own, where he may go wherever his rights let him.
    Host,
    /// A container's: the files of this process, which lives in its view. No magic link is followed, which
    /// could lead out through a process of the host.
    Container,
}

impl Side {
    fn open(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        match self {
            Side::Host => open(path, flags | LOOK, Mode::empty()),
            Side::Container => {
                let root = open("/", LOOK | OFlag::O_DIRECTORY, Mode::empty())?;
                open_in_root(root.as_fd(), path, flags | LOOK)
            }
        }
    }
}

/// A path on a command line, docker's reading: cleaned by its letters, but for how it ends.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Absolute, without `.` and `..`.
    path: PathBuf,
    /// It ends in `/.`: what is in the folder, without the folder.
    contents: bool,
    /// It ends in `/` or `/.`: nothing but a folder will do.
    is_folder: bool,
    in_container: bool,
}

impl Asked {
    /// A path in a container, where every path begins at `/`.
    pub(super) fn in_container(text: &OsStr) -> Asked {
        Asked { in_container: true, ..Asked::new(Path::new("/"), text) }
    }

    /// A path of the host, from the working directory on.
    pub(super) fn on_host(text: &OsStr) -> Result<Asked> {
        let here = std::env::current_dir()
            .map_err(|error| Error::of_io("find", Path::new("."), &error))?;
        Ok(Asked::new(&here, text))
    }

    fn new(from: &Path, text: &OsStr) -> Asked {
        let mut path = PathBuf::new();
        for component in from.join(text).components() {
            match component {
                Component::ParentDir => drop(path.pop()),
                Component::CurDir => {}
                other => path.push(other),
            }
        }
        let text = text.as_bytes();
        let last = text.split(|byte| *byte == b'/').rfind(|part| !part.is_empty());
        let contents = last.is_none_or(|last| last == b".") || path == Path::new("/");
        let is_folder = contents || text.ends_with(b"/");
        Asked { path, contents, is_folder, in_container: false }
    }

    /// The name that a copy of it has; `.` where only what is inside is copied.
    pub(super) fn base(&self) -> &OsStr {
        let name = self.path.file_name().filter(|_| !self.contents);
        name.unwrap_or(OsStr::new("."))
    }

    /// Opens it as a source, `O_PATH`; a link at its end is followed only where asked for.
    pub(super) fn open(&self, side: &Side, follow: bool) -> Result<OwnedFd> {
        let mut flags = if follow { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        if self.is_folder {
            flags = OFlag::O_DIRECTORY;
        }
        side.open(&self.path, flags).map_err(|errno| self.error("open", errno))
    }

    fn error(&self, what: &str, errno: Errno) -> Error {
        Error::new(format!("cannot {what} {self}")).errno(errno)
    }

    /// Finds it as a destination: the folder it stands in, with all links followed, and what is there.
    pub(super) fn destination(&self, side: &Side) -> Result<Destination> {
        let mut path = self.path.clone();
        // As many links in a row as the kernel follows.
        for _ in 0..40 {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                let folder = side.open(&path, OFlag::O_DIRECTORY);
                let folder = folder.map_err(|errno| self.error("open", errno))?;
                return Ok(Destination::Folder(folder));
            };
            let folder = side.open(parent, OFlag::O_DIRECTORY).map_err(|errno| {
                self.error("find the folder of", errno)
                    .hint("cp makes no folders on the way to its destination")
            })?;
            let mode = match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => stat.st_mode & S_IFMT,
                Err(Errno::ENOENT) => {
                    let (name, is_folder) = (name.to_owned(), self.is_folder);
                    return Ok(Destination::Nothing { folder, name, is_folder });
                }
                Err(errno) => return Err(self.error("look at", errno)),
            };
            match mode {
                S_IFLNK => {
                    let target = readlinkat(&folder, name);
                    let target = target.map_err(|errno| self.error("read", errno))?;
                    path = parent.join(target);
                }
                S_IFDIR => {
                    let flags = LOOK | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
                    let opened = openat(&folder, name, flags, Mode::empty());
                    let opened = opened.map_err(|errno| self.error("open", errno))?;
                    return Ok(Destination::Folder(opened));
                }
                S_IFREG if self.is_folder => {
                    return Err(self.error("copy to", Errno::ENOTDIR));
                }
                S_IFREG => return Ok(Destination::File { folder, name: name.to_owned() }),
                _ => {
                    return Err(Error::new(format!("{self} is neither a folder nor a file"))
                        .hint("cp writes to nothing else; for a stream use `-`"));
                }
            }
        }
        Err(self.error("follow the links at", Errno::ELOOP))
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.in_container {
            return write!(f, "{} in the container", self.path.display());
        }
        write!(f, "{}", self.path.display())
    }
}

/// What is at the place where a copy is to go.
#[derive(Debug)]
pub(super) enum Destination {
    /// A folder.
    Folder(OwnedFd),
    /// A file, to be replaced.
    File { folder: OwnedFd, name: OsString },
    /// Nothing yet, in a folder.
    Nothing { folder: OwnedFd, name: OsString, is_folder: bool },
}

impl Destination {
    /// Docker's table: the folder that a copy of something called `base` goes into, and the name it has
    /// there; `None` where only what is inside it goes there.
    pub(super) fn place(
        self,
        base: &OsStr,
        is_folder: bool,
    ) -> Result<(OwnedFd, Option<OsString>)> {
        match self {
            Destination::Folder(folder) if base == "." => Ok((folder, None)),
            Destination::Folder(folder) => Ok((folder, Some(base.to_owned()))),
            Destination::File { name, .. } if is_folder => {
                let name = name.to_string_lossy();
                Err(Error::new(format!("cannot copy a folder over the file {name}")))
            }
            Destination::Nothing { name, is_folder: true, .. } if !is_folder => {
                let name = name.to_string_lossy();
                Err(Error::new(format!("there is no folder {name} to copy a file into"))
                    .hint("without the `/` at its end it is the name of the copy"))
            }
            Destination::File { folder, name } | Destination::Nothing { folder, name, .. } => {
                Ok((folder, Some(name)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_by_its_letters_and_its_end() {
        for (text, path, base, is_folder) in [
            ("a", "/w/a", "a", false),
            ("a/", "/w/a", "a", true),
            ("a/.", "/w/a", ".", true),
            ("./a/../b", "/w/b", "b", false),
            (".", "/w", ".", true),
            ("", "/w", ".", true),
            ("a/..", "/w", "w", false),
            ("/", "/", ".", true),
            ("/../..", "/", ".", true),
            ("a/.//", "/w/a", ".", true),
            ("/x/.../y", "/x/.../y", "y", false),
        ] {
            let asked = Asked::new(Path::new("/w"), OsStr::new(text));
            assert_eq!(asked.path, Path::new(path), "{text}");
            assert_eq!(asked.base(), base, "{text}");
            assert_eq!(asked.is_folder, is_folder, "{text}");
        }
    }

    #[test]
    fn the_name_of_a_copy_is_dockers() {
        let folder = || open("/", LOOK, Mode::empty()).unwrap();
        let name = |destination: Destination, base: &str, is_folder| {
            let placed = destination.place(OsStr::new(base), is_folder);
            placed.map(|(_, name)| name.map(|name| name.into_string().unwrap())).ok()
        };
        let nothing =
            |is_folder| Destination::Nothing { folder: folder(), name: "n".into(), is_folder };
        let file = || Destination::File { folder: folder(), name: "f".into() };
        assert_eq!(name(Destination::Folder(folder()), "a", true), Some(Some("a".into())));
        assert_eq!(name(Destination::Folder(folder()), "a", false), Some(Some("a".into())));
        assert_eq!(name(Destination::Folder(folder()), ".", true), Some(None));
        assert_eq!(name(file(), "a", false), Some(Some("f".into())));
        assert_eq!(name(file(), "a", true), None);
        assert_eq!(name(file(), ".", true), None);
        assert_eq!(name(nothing(false), "a", false), Some(Some("n".into())));
        assert_eq!(name(nothing(true), "a", false), None);
        assert_eq!(name(nothing(true), ".", true), Some(Some("n".into())));
        assert_eq!(name(nothing(false), "a", true), Some(Some("n".into())));
    }
}

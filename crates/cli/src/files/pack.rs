//! Files into a tar archive, item by item through descriptors: while a container is at work on them, no link
//! is followed that was not one a moment ago, and nothing but a regular file is ever opened for reading.

use std::collections::HashMap;
use std::ffi::CString;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use minibox_runtime::idmap::{IdMap, Range};
use minibox_runtime::user::reopen_in;
use minibox_runtime::{Error, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::libc::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG};
use nix::sys::stat::{FileStat, Mode, fstat, major, minor};
use nix::sys::statfs::{self, fstatfs};
use tar::{Builder, EntryType, Header};

/// The longest path in an archive, in bytes: the kernel takes no longer one, and nobody else has to.
const LONGEST: usize = 4096;

/// Writes an archive.
pub(super) struct Packer<'a, W: Write> {
    tar: Builder<BufWriter<W>>,
    /// This process's /proc/self/fd.
    descriptors: BorrowedFd<'a>,
    /// Ids as a container has them, where the files show the host's.
    ids: Option<&'a IdMap>,
    /// Of another mount only the place is shown, but for these paths.
    resolve: ResolveFlag,
    parts: Vec<Vec<u8>>,
    /// A folder to leave out, by device and inode.
    never: Option<(u64, u64)>,
    /// The first name of each file that has several.
    names: HashMap<(u64, u64), Vec<u8>>,
}

impl<'a, W: Write> Packer<'a, W> {
    /// An empty archive into `writer`.
    pub(super) fn new(writer: W, descriptors: BorrowedFd<'a>) -> Packer<'a, W> {
        Packer {
            tar: Builder::new(BufWriter::with_capacity(1 << 16, writer)),
            descriptors,
            ids: None,
            resolve: ResolveFlag::empty(),
            parts: Vec::new(),
            never: None,
            names: HashMap::new(),
        }
    }

    /// Writes the ids that the host's owners have in a container with `map`.
    pub(super) fn with_ids(self, ids: Option<&'a IdMap>) -> Self {
        Packer { ids, ..self }
    }

    /// Stays in the mount it begins in: of what is mounted there only the place is shown, but for `parts`.
    pub(super) fn on_one_mount(self, parts: Vec<Vec<u8>>) -> Self {
        Packer { resolve: ResolveFlag::RESOLVE_NO_XDEV, parts, ..self }
    }

    /// Leaves out the folder `never`, given by device and inode.
    pub(super) fn without(self, never: (u64, u64)) -> Self {
        Packer { never: Some(never), ..self }
    }

    /// Writes the end of the archive.
    pub(super) fn finish(self) -> Result<()> {
        let written = self.tar.into_inner().and_then(|mut writer| writer.flush());
        written.map_err(|error| unwritten(&error))
    }

    /// Adds `item`, an `O_PATH` descriptor, under the name `at`, with all in it.
    pub(super) fn add(&mut self, item: &OwnedFd, at: &[u8]) -> Result<()> {
        self.add_item(item, at, true)
    }

    fn add_item(&mut self, item: &OwnedFd, at: &[u8], with_contents: bool) -> Result<()> {
        let unread = |errno: Errno| unread(at, errno);
        let stat = fstat(item).map_err(unread)?;
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_mode(stat.st_mode & 0o7777);
        let (uid, gid) = self.owner(&stat, at)?;
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        let device = |header: &mut Header| {
            let _ = header.set_device_major(major(stat.st_rdev) as u32);
            let _ = header.set_device_minor(minor(stat.st_rdev) as u32);
        };
        match stat.st_mode & S_IFMT {
            S_IFDIR if self.never == Some((stat.st_dev, stat.st_ino)) => Ok(()),
            S_IFDIR => {
                header.set_entry_type(EntryType::Directory);
                self.entry(&mut header, &[at, b"/"].concat(), None, io::empty())?;
                if with_contents && !is_kernels(item) {
                    self.add_contents(item, at)
                } else {
                    Ok(())
                }
            }
            S_IFREG => self.add_file(item, &stat, header, at, with_contents),
            S_IFLNK => {
                let target = readlinkat(item, "").map_err(unread)?;
                header.set_entry_type(EntryType::Symlink);
                self.entry(&mut header, at, Some(target.as_bytes()), io::empty())
            }
            S_IFIFO => {
                header.set_entry_type(EntryType::Fifo);
                self.entry(&mut header, at, None, io::empty())
            }
            S_IFCHR => {
                header.set_entry_type(EntryType::Char);
                device(&mut header);
                self.entry(&mut header, at, None, io::empty())
            }
            S_IFBLK => {
                header.set_entry_type(EntryType::Block);
                device(&mut header);
                self.entry(&mut header, at, None, io::empty())
            }
            // A socket is nothing without the process behind it, and no archive has a word for it.
            _ => Ok(()),
        }
    }

    fn owner(&self, stat: &FileStat, at: &[u8]) -> Result<(u32, u32)> {
        let Some(map) = self.ids else { return Ok((stat.st_uid, stat.st_gid)) };
        let inside = |ranges: &[Range], id: u32, kind: &str| {
            IdMap::inside(ranges, id).ok_or_else(|| {
                let name = String::from_utf8_lossy(at).into_owned();
                Error::new(format!(
                    "{name} belongs to {kind} {id}, for which the container has no number"
                ))
                .hint("without -a the copy belongs to the container's root")
            })
        };
        Ok((inside(&map.uids, stat.st_uid, "uid")?, inside(&map.gids, stat.st_gid, "gid")?))
    }

    fn add_file(
        &mut self,
        item: &OwnedFd,
        stat: &FileStat,
        mut header: Header,
        at: &[u8],
        with_contents: bool,
    ) -> Result<()> {
        if !with_contents {
            return self.entry(&mut header, at, None, io::empty());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.names.get(&(stat.st_dev, stat.st_ino)).cloned() {
                header.set_entry_type(EntryType::Link);
                return self.entry(&mut header, at, Some(&first), io::empty());
            }
            self.names.insert((stat.st_dev, stat.st_ino), at.to_vec());
        }
        let file = reopen_in(self.descriptors, item.as_fd()).map_err(|errno| unread(at, errno))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        header.set_size(size);
        // As long as the header says, even where somebody writes to it meanwhile.
        self.entry(&mut header, at, None, file.chain(io::repeat(0)).take(size))
    }

    /// What is in `folder`, in the order of names.
    pub(super) fn add_contents(&mut self, folder: &OwnedFd, at: &[u8]) -> Result<()> {
        let unread = |errno: Errno| unread(at, errno);
        for name in names_in(folder.as_fd()).map_err(unread)? {
            let below = if at.is_empty() || at == b"." {
                name.to_bytes().to_vec()
            } else {
                [at, b"/", name.to_bytes()].concat()
            };
            if below.len() > LONGEST {
                return Err(unread(Errno::ENAMETOOLONG));
            }
            let open = |resolve| {
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                openat2(folder, name.as_c_str(), OpenHow::new().flags(flags).resolve(resolve))
            };
            match open(self.resolve) {
                Ok(item) => self.add_item(&item, &below, true)?,
                // Gone since it was listed.
                Err(Errno::ENOENT) => {}
                Err(Errno::EXDEV) => {
                    let place = open(ResolveFlag::empty()).map_err(unread)?;
                    let is_part = self.parts.iter().any(|part| part[1..] == below);
                    self.add_item(&place, &below, is_part)?;
                }
                Err(errno) => return Err(unread(errno)),
            }
        }
        Ok(())
    }

    /// One entry; names and links that the header has no room for go before it, as GNU tar does it.
    fn entry(
        &mut self,
        header: &mut Header,
        name: &[u8],
        link: Option<&[u8]>,
        data: impl Read,
    ) -> Result<()> {
        let old = header.as_old_mut();
        let long_name = put(&mut old.name, name);
        let long_link = link.is_some_and(|link| put(&mut old.linkname, link));
        header.set_cksum();
        let extras = [
            (EntryType::GNULongName, long_name.then_some(name)),
            (EntryType::GNULongLink, link.filter(|_| long_link)),
        ];
        for (kind, text) in extras {
            let Some(text) = text else { continue };
            let mut extra = Header::new_gnu();
            put(&mut extra.as_old_mut().name, b"././@LongLink");
            extra.set_entry_type(kind);
            extra.set_mode(0o644);
            extra.set_uid(0);
            extra.set_gid(0);
            extra.set_mtime(0);
            extra.set_size(text.len() as u64 + 1);
            extra.set_cksum();
            let done = self.tar.append(&extra, text.chain(&b"\0"[..]));
            done.map_err(|error| unwritten(&error))?;
        }
        self.tar.append(header, data).map_err(|error| unwritten(&error))
    }
}

/// Puts `text` into a field of a header; does it not fit?
fn put(field: &mut [u8], text: &[u8]) -> bool {
    let fits = text.len().min(field.len());
    field[..fits].copy_from_slice(&text[..fits]);
    text.len() > field.len()
}

fn unread(at: &[u8], errno: Errno) -> Error {
    let error = Error::new(format!("cannot read {}", String::from_utf8_lossy(at))).errno(errno);
    match errno {
        Errno::EACCES => {
            error.hint("its owner is none of yours, nor of the container's; root can read it")
        }
        _ => error,
    }
}

fn unwritten(error: &io::Error) -> Error {
    let made = Error::new("cannot write the archive");
    match error.raw_os_error() {
        Some(number) => made.errno(Errno::from_raw(number)),
        None => made.hint(error.to_string()),
    }
}

/// The names in a folder, in order.
pub(super) fn names_in(folder: BorrowedFd<'_>) -> nix::Result<Vec<CString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::from_fd(openat(folder, ".", flags, Mode::empty())?)?.iter() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Does it lie on one of the kernel's own filesystems? What is there has no size and no end.
pub(super) fn is_kernels(item: &OwnedFd) -> bool {
    const SYSFS_MAGIC: i64 = 0x6265_6572;
    let kinds = [
        statfs::PROC_SUPER_MAGIC,
        statfs::FsType(SYSFS_MAGIC),
        statfs::CGROUP_SUPER_MAGIC,
        statfs::CGROUP2_SUPER_MAGIC,
        statfs::DEVPTS_SUPER_MAGIC,
        statfs::DEBUGFS_MAGIC,
        statfs::TRACEFS_MAGIC,
    ];
    fstatfs(item).is_ok_and(|fs| kinds.contains(&fs.filesystem_type()))
}

//! A tar archive into a folder. The archive may come from a hostile container: every item is made through
//! the descriptor of its folder, and where links are not to be followed none is, however late it came.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use minibox_runtime::idmap::IdMap;
use minibox_runtime::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::libc::{S_IFDIR, S_IFMT};
use nix::sys::stat::{
    Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};
use tar::{Archive, Entry, EntryType};

use super::paths::Destination;

/// Whose the files become.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owners<'a> {
    /// Whoever unpacks. `tamed` leaves out what gives rights by its owner alone: device nodes, and
    /// set-user-ID and set-group-ID bits.
    Mine { tamed: bool },
    /// Whose they are in the archive, seen from outside a container with this map.
    Kept(Option<&'a IdMap>),
}

/// Where the files go.
#[derive(Debug)]
pub(super) enum Target {
    /// All that is in the archive goes into a folder, which itself stays as it is.
    Folder(OwnedFd),
    /// The folder becomes the one that the archive begins with.
    Itself(OwnedFd),
    /// The archive's first entry, with all in it, is placed as `cp` does it.
    Place(Destination),
}

/// How folders are looked up in a destination of the host: no link is followed, and nothing leads out.
pub(super) const ON_HOST: ResolveFlag =
    ResolveFlag::RESOLVE_BENEATH.union(ResolveFlag::RESOLVE_NO_SYMLINKS);
/// And by a worker, from whose view nothing leads out but a magic link.
pub(super) const IN_VIEW: ResolveFlag = ResolveFlag::RESOLVE_NO_MAGICLINKS;

/// Unpacks what `reader` brings, and names what had to be left out. The end of the input before the end of
/// the archive is EPIPE: whoever writes it knows why.
pub(super) fn unpack(
    reader: impl Read,
    target: Target,
    owners: Owners<'_>,
    resolve: ResolveFlag,
) -> Result<Vec<String>> {
    // Modes are given as they are meant.
    nix::sys::stat::umask(Mode::empty());
    let ended = Cell::new(false);
    let broken = |error: &io::Error| {
        if ended.get() {
            return Error::new("the archive is cut off").errno(Errno::EPIPE);
        }
        Error::new("this is not a tar archive").hint(error.to_string())
    };
    let reader = BufReader::with_capacity(1 << 16, reader);
    let mut archive = Archive::new(Watched { reader, ended: &ended });
    let mut target = Some(target);
    let mut unpacker = None;
    for entry in archive.entries().map_err(|error| broken(&error))? {
        let mut entry = entry.map_err(|error| broken(&error))?;
        if entry.header().entry_type().is_pax_global_extensions() {
            continue;
        }
        let path = inner_path(&entry.path_bytes())?;
        if let Some(target) = target.take() {
            let is_folder = entry.header().entry_type().is_dir();
            unpacker = Some(Unpacker::new(target, &path, is_folder, owners, resolve)?);
        }
        if let Some(unpacker) = &mut unpacker {
            unpacker.add(&mut entry, &path)?;
        }
    }
    // Whoever writes must not find the pipe closed before he is done.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| broken(&error))?;
    unpacker.map_or(Ok(Vec::new()), Unpacker::finish)
}

/// Knows whether the input has come to its end.
struct Watched<'a, R> {
    reader: R,
    ended: &'a Cell<bool>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.ended.set(count == 0 && !buffer.is_empty());
        Ok(count)
    }
}

/// A path of an archive: relative, and never upwards.
fn inner_path(bytes: &[u8]) -> Result<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(bytes)).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                let name = String::from_utf8_lossy(bytes);
                return Err(Error::new(format!("{name} in the archive leads out of it")));
            }
            _ => {}
        }
    }
    Ok(path)
}

#[derive(Debug)]
struct Unpacker<'a> {
    folder: OwnedFd,
    /// The beginning of a path in the archive, and what stands for it here.
    base: PathBuf,
    name: PathBuf,
    /// Is `folder` itself one of the items?
    itself: bool,
    resolve: ResolveFlag,
    owners: Owners<'a>,
    /// Folders, to be given their modes and times when nothing more comes into them.
    folders: Vec<Folder>,
    /// The folder of the item before, which mostly is that of the next.
    last: Option<(PathBuf, Rc<OwnedFd>)>,
    left_out: Vec<String>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    is_new: bool,
    attributes: Attributes,
}

#[derive(Debug, Clone, Copy)]
struct Attributes {
    mode: Mode,
    mtime: TimeSpec,
    owner: (Option<Uid>, Option<Gid>),
}

impl Attributes {
    fn set(&self, file: &OwnedFd) -> nix::Result<()> {
        // The mode after the owner: with that, set-user-ID bits go.
        fchown(file, self.owner.0, self.owner.1)?;
        fchmod(file, self.mode)?;
        futimens(file, &TimeSpec::UTIME_OMIT, &self.mtime)
    }
}

impl<'a> Unpacker<'a> {
    fn new(
        target: Target,
        first: &Path,
        is_folder: bool,
        owners: Owners<'a>,
        resolve: ResolveFlag,
    ) -> Result<Unpacker<'a>> {
        let itself = matches!(target, Target::Itself(_));
        let (folder, base, name) = match target {
            Target::Folder(folder) | Target::Itself(folder) => (folder, Path::new(""), None),
            Target::Place(destination) => {
                let own = first.file_name().unwrap_or(OsStr::new("."));
                let (folder, name) = destination.place(own, is_folder)?;
                (folder, first, name)
            }
        };
        Ok(Unpacker {
            folder,
            base: base.to_owned(),
            name: name.unwrap_or_default().into(),
            itself,
            resolve,
            owners,
            folders: Vec::new(),
            last: None,
            left_out: Vec::new(),
        })
    }

    /// Where something of the archive goes.
    fn place(&self, path: &Path) -> Result<PathBuf> {
        let below = path.strip_prefix(&self.base).map_err(|_| {
            let (path, base) = (path.display(), self.base.display());
            Error::new(format!("{path} in the archive does not lie in {base}"))
        })?;
        Ok(if below == Path::new("") { self.name.clone() } else { self.name.join(below) })
    }

    fn add<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> Result<()> {
        let place = self.place(path)?;
        let attributes = self.attributes(entry)?;
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            if self.itself {
                self.folders.push(Folder { path: place, is_new: true, attributes });
            }
            return Ok(());
        };
        let folder = self.folder(parent)?;
        let failed = |errno: Errno| explain(&place, errno);
        let is_folder = entry.header().entry_type().is_dir() || entry.path_bytes().ends_with(b"/");
        let shown = place.display();
        match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => match (stat.st_mode & S_IFMT == S_IFDIR, is_folder) {
                (true, true) => {
                    self.folders.push(Folder { path: place, is_new: false, attributes });
                    return Ok(());
                }
                (true, false) => {
                    return Err(Error::new(format!(
                        "cannot overwrite the folder {shown} with something else"
                    )));
                }
                (false, true) => {
                    return Err(Error::new(format!("cannot overwrite {shown} with a folder")));
                }
                (false, false) => {
                    unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir).map_err(failed)?;
                }
            },
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
        if is_folder {
            mkdirat(&folder, name, Mode::S_IRWXU).map_err(failed)?;
            self.folders.push(Folder { path: place, is_new: true, attributes });
            return Ok(());
        }
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                return write_file(&folder, name, entry, attributes, &place);
            }
            EntryType::Link => {
                let target = inner_path(&entry.link_name_bytes().unwrap_or_default())?;
                let target = self.place(&target)?;
                let name_of = target.file_name().unwrap_or_default();
                let from = self.open_folder(target.parent().unwrap_or(Path::new("")))?;
                // The attributes are those of the name before.
                return linkat(&from, name_of, &folder, name, AtFlags::empty()).map_err(failed);
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                symlinkat(OsStr::from_bytes(&target), &folder, name).map_err(failed)?;
            }
            kind => {
                if !self.make_node(&folder, name, kind, entry, attributes.mode)? {
                    self.left_out.push(place.display().to_string());
                    return Ok(());
                }
            }
        }
        let (uid, gid) = attributes.owner;
        fchownat(&folder, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed)?;
        let how = UtimensatFlags::NoFollowSymlink;
        utimensat(&folder, name, &TimeSpec::UTIME_OMIT, &attributes.mtime, how).map_err(failed)
    }

    fn attributes<R: Read>(&self, entry: &Entry<'_, R>) -> Result<Attributes> {
        let header = entry.header();
        let wrong = |error: io::Error| {
            Error::new("the archive holds what no file can have").hint(error.to_string())
        };
        let mut mode = header.mode().map_err(wrong)? & 0o7777;
        let owner = match self.owners {
            Owners::Mine { tamed } => {
                if tamed {
                    mode &= 0o1777;
                }
                (None, None)
            }
            Owners::Kept(map) => {
                let (uid, gid) = (header.uid().map_err(wrong)?, header.gid().map_err(wrong)?);
                let (uid, gid) = (u32::try_from(uid).ok(), u32::try_from(gid).ok());
                let outside = |ranges, id: Option<u32>| IdMap::outside(ranges, id?);
                let ids = match map {
                    Some(map) => (outside(&map.uids, uid), outside(&map.gids, gid)),
                    None => (uid, gid),
                };
                let (Some(uid), Some(gid)) = ids else {
                    return Err(Error::new("the archive holds an owner that nobody can be here"));
                };
                (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            }
        };
        let mtime = i64::try_from(header.mtime().map_err(wrong)?).unwrap_or(i64::MAX);
        Ok(Attributes {
            mode: Mode::from_bits_truncate(mode),
            mtime: TimeSpec::new(mtime, 0),
            owner,
        })
    }

    /// A FIFO or a device node; `false` where it had to be left out.
    fn make_node<R: Read>(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        kind: EntryType,
        entry: &Entry<'_, R>,
        mode: Mode,
    ) -> Result<bool> {
        let header = entry.header();
        let number = |part: io::Result<Option<u32>>| u64::from(part.ok().flatten().unwrap_or(0));
        let device = makedev(number(header.device_major()), number(header.device_minor()));
        let kind = match kind {
            EntryType::Fifo => SFlag::S_IFIFO,
            EntryType::Char => SFlag::S_IFCHR,
            EntryType::Block => SFlag::S_IFBLK,
            _ => return Ok(false),
        };
        let is_device = kind != SFlag::S_IFIFO;
        if is_device && matches!(self.owners, Owners::Mine { tamed: true }) {
            return Ok(false);
        }
        match mknodat(folder, name, kind, mode, if is_device { device } else { 0 }) {
            // Plain users make none, nor does a user namespace.
            Err(Errno::EPERM) if is_device => Ok(false),
            made => made.map(|()| true).map_err(|errno| explain(Path::new(name), errno)),
        }
    }

    /// The folder of an item.
    fn folder(&mut self, path: &Path) -> Result<Rc<OwnedFd>> {
        match &self.last {
            Some((last, folder)) if last == path => Ok(Rc::clone(folder)),
            _ => {
                let folder = Rc::new(self.open_folder(path)?);
                self.last = Some((path.to_owned(), Rc::clone(&folder)));
                Ok(folder)
            }
        }
    }

    /// Opens a folder below, made where the archive does not mention it.
    fn open_folder(&self, path: &Path) -> Result<OwnedFd> {
        let failed = |errno: Errno| explain(path, errno);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return openat(&self.folder, ".", flags, Mode::empty()).map_err(failed);
        };
        let how = OpenHow::new().flags(flags).resolve(self.resolve);
        match openat2(&self.folder, path, how) {
            Err(Errno::ENOENT) => {
                let parent = self.open_folder(parent)?;
                match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(Errno::EEXIST) => openat2(&parent, name, how).map_err(failed),
                    Err(errno) => Err(failed(errno)),
                }
            }
            result => result.map_err(failed),
        }
    }

    /// Gives the folders their attributes, the innermost first.
    fn finish(self) -> Result<Vec<String>> {
        for folder in self.folders.iter().rev() {
            let path = if folder.path == Path::new("") { Path::new(".") } else { &folder.path };
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let how = OpenHow::new().flags(flags).resolve(self.resolve);
            let set =
                openat2(&self.folder, path, how).and_then(|file| folder.attributes.set(&file));
            match set {
                // One that was there already may be somebody else's.
                Err(errno) if folder.is_new => return Err(explain(path, errno)),
                _ => {}
            }
        }
        Ok(self.left_out)
    }
}

fn write_file<R: Read>(
    folder: &OwnedFd,
    name: &OsStr,
    entry: &mut Entry<'_, R>,
    attributes: Attributes,
    place: &Path,
) -> Result<()> {
    let failed = |errno: Errno| explain(place, errno);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed)?;
    let mut file = std::fs::File::from(file);
    let size = entry.size();
    let written = match io::copy(entry, &mut file) {
        Ok(count) if count == size => attributes.set(&file.into()).map_err(failed),
        Ok(_) => Err(Error::new("the archive is cut off").errno(Errno::EPIPE)),
        Err(error) => Err(error.raw_os_error().map_or_else(
            || Error::new(format!("cannot read {}", place.display())),
            |number| failed(Errno::from_raw(number)),
        )),
    };
    written.inspect_err(|_| {
        // Half a file is worse than none.
        let _ = unlinkat(folder, name, UnlinkatFlags::NoRemoveDir);
    })
}

fn explain(place: &Path, errno: Errno) -> Error {
    let error = Error::new(format!("cannot write {}", place.display())).errno(errno);
    match errno {
        Errno::EROFS => {
            error.hint("that part of the files is read-only (--read-only, or a volume with :ro)")
        }
        Errno::EBUSY => error
            .hint("something is mounted on it; a volume of a single file is changed on the host"),
        Errno::ELOOP => error.hint("a link stands where a folder should be, and is not followed"),
        Errno::EPERM => error.hint("only root gives files to others: leave -a out"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// One entry: kind, name, target or contents.
    type Item<'a> = (EntryType, &'a [u8], &'a str);

    fn archive(items: &[Item<'_>]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, name, text) in items {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            let is_file = kind.is_file();
            if !is_file {
                header.set_link_name_literal(text).unwrap();
            }
            header.set_size(if is_file { text.len() as u64 } else { 0 });
            header.set_cksum();
            tar.append(&header, if is_file { text.as_bytes() } else { b"" }).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn no_archive_leads_out_of_a_folder_of_the_host() {
        let top = tempfile::tempdir().unwrap();
        let outside = top.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        let away = outside.to_str().unwrap();
        let (link, hard) = (EntryType::Symlink, EntryType::Link);
        let (file, folder) = (EntryType::Regular, EntryType::Directory);
        for (n, (items, errno)) in [
            // Through a link that came before.
            (&[(link, &b"a"[..], away), (file, b"a/new", "x")][..], Some(Errno::ELOOP)),
            (&[(link, b"a", ".."), (file, b"a/outside/new", "x")], Some(Errno::ELOOP)),
            (&[(link, b"a", away), (folder, b"a/new", "")], Some(Errno::ELOOP)),
            (&[(link, b"a", away), (hard, b"b", "a/secret")], Some(Errno::ELOOP)),
            (
                &[(folder, b"d", ""), (link, b"d/a", away), (file, b"d/a/b/new", "x")],
                Some(Errno::ELOOP),
            ),
            // A folder that would have to take a link's place.
            (&[(link, b"a", away), (folder, b"a", "")], None),
            (&[(file, b"../outside/new", "x")], None),
            (&[(file, b"a/../../outside/new", "x")], None),
            (&[(hard, b"b", "../outside/secret")], None),
        ]
        .into_iter()
        .enumerate()
        {
            let place = top.path().join(n.to_string());
            fs::create_dir(&place).unwrap();
            let into = || Target::Folder(fs::File::open(&place).unwrap().into());
            let owners = Owners::Mine { tamed: true };
            let error = unpack(&*archive(items), into(), owners, ON_HOST).unwrap_err();
            assert_eq!(error.errno, errno, "{items:?} {error}");
            let names: Vec<_> = fs::read_dir(&outside).unwrap().flatten().collect();
            assert_eq!(names.len(), 1, "{items:?}");
            assert_eq!(fs::metadata(outside.join("secret")).unwrap().len(), 6);
        }
    }

    #[test]
    fn a_file_that_takes_a_links_place_is_not_written_through_it() {
        let top = tempfile::tempdir().unwrap();
        let (secret, place) = (top.path().join("secret"), top.path().join("place"));
        fs::write(&secret, "secret").unwrap();
        fs::create_dir(&place).unwrap();
        std::os::unix::fs::symlink(&secret, place.join("a")).unwrap();
        let items = [(EntryType::Regular, &b"/a"[..], "new")];
        let target = Target::Folder(fs::File::open(&place).unwrap().into());
        unpack(&*archive(&items), target, Owners::Mine { tamed: true }, ON_HOST).unwrap();
        assert_eq!(fs::read_to_string(place.join("a")).unwrap(), "new");
        assert_eq!(fs::read_to_string(secret).unwrap(), "secret");
    }
}

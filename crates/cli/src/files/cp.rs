//! `minibox cp`: between a container and the host, or a tar stream.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use minibox_runtime::{Error, Result};

use super::pack::{Packer, is_kernels};
use super::paths::{Asked, Destination, Side};
use super::unpack::{IN_VIEW, ON_HOST, Owners, Target, unpack};
use super::{Open, open, pipe, refuse_terminal, relay, settle};
use crate::args::CpArgs;
use crate::output;
use crate::progress::Progress;
use crate::store::Store;

/// One side of a copy on the command line.
enum Word<'a> {
    Container(&'a OsStr, &'a OsStr),
    Host(&'a OsStr),
    Stream,
}

impl Word<'_> {
    /// `CONTAINER:PATH`; a path of the host with a colon in it begins with `/` or `.`.
    fn read(text: &OsStr) -> Word<'_> {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':');
        match colon.filter(|_| !bytes.starts_with(b"/") && !bytes.starts_with(b".")) {
            Some(at) => Word::Container(
                OsStr::from_bytes(&bytes[..at]),
                OsStr::from_bytes(&bytes[at + 1..]),
            ),
            None if bytes == b"-" => Word::Stream,
            None => Word::Host(text),
        }
    }
}

/// `minibox cp`.
pub(crate) fn cp(store: &Store, args: &CpArgs) -> Result<u8> {
    output::quiet(args.quiet);
    let container = |name: &OsStr| open(store, &name.to_string_lossy());
    match (Word::read(&args.source), Word::read(&args.destination)) {
        (Word::Container(..), Word::Container(..)) => {
            return Err(Error::new(
                "cp copies between a container and the host, not between containers",
            )
            .hint("through a pipe: minibox cp A:/path - | minibox cp - B:/folder"));
        }
        (Word::Container(name, path), to) => copy_out(args, &container(name)?, path, &to)?,
        (from, Word::Container(name, path)) => copy_in(args, &container(name)?, &from, path)?,
        _ => {
            return Err(Error::new("one of the two paths must be a container's")
                .hint("write CONTAINER:PATH, such as calm-otter:/etc/hosts"));
        }
    }
    Ok(0)
}

/// The worker packs, we unpack.
fn copy_out(args: &CpArgs, open: &Open, path: &OsStr, to: &Word<'_>) -> Result<()> {
    let asked = Asked::in_container(path);
    // Looked at before anything is read, so that a wrong one costs nothing.
    let destination = match to {
        Word::Host(path) => Some(Asked::on_host(path)?.destination(&Side::Host)?),
        _ if io::stdout().is_terminal() => {
            return Err(refuse_terminal("name a file or a pipe: minibox cp … - > archive.tar"));
        }
        _ => None,
    };
    let (reader, writer) = pipe()?;
    let worker = open.view.start(&[writer.as_raw_fd()], |descriptors| {
        let packer = Packer::new(File::from(writer), descriptors.as_fd());
        pack(&asked, &Side::Container, args.follow_link, packer)
    })?;
    let record = &open.container.record;
    let title = format!("copying from {}", record.name);
    let reader = Progress::new(File::from(reader), &title);
    let ours = match destination {
        Some(destination) => {
            let owners = if args.archive {
                Owners::Kept(record.ids_on_disk())
            } else {
                Owners::Mine { tamed: true }
            };
            unpack(reader, Target::Place(destination), owners, ON_HOST)
        }
        None => relay(reader, &mut io::stdout()).map(|()| Vec::new()),
    };
    let (left_out, _) = settle(ours, worker, "the archive ends too early")?;
    say_left_out(&left_out);
    Ok(())
}

/// We pack, the worker unpacks.
fn copy_in(args: &CpArgs, open: &Open, from: &Word<'_>, path: &OsStr) -> Result<()> {
    let destination = Asked::in_container(path);
    let source = match from {
        Word::Host(path) => Some(Asked::on_host(path)?),
        _ => None,
    };
    let (is_stream, archive) = (source.is_none(), args.archive);
    let (reader, writer) = pipe()?;
    let worker = open.view.start(&[reader.as_raw_fd()], |_| {
        let target = match destination.destination(&Side::Container)? {
            Destination::Folder(folder) if is_stream => Target::Folder(folder),
            _ if is_stream => {
                return Err(Error::new("an archive is unpacked into a folder, and there is none")
                    .hint("`minibox exec NAME mkdir -p PATH` makes it"));
            }
            place => Target::Place(place),
        };
        let owners = if archive { Owners::Kept(None) } else { Owners::Mine { tamed: false } };
        let left_out = unpack(File::from(reader), target, owners, IN_VIEW)?;
        Ok(left_out.join("\0").into_bytes())
    })?;
    let record = &open.container.record;
    let title = format!("copying to {}", record.name);
    let mut writer = Progress::new(File::from(writer), &title);
    let ours = if let Some(source) = source {
        pack_from_host(&source, args, open, writer)
    } else {
        let passed = check_archive().and_then(|stdin| relay(stdin, &mut writer));
        // The end of the pipe is the end of the archive.
        drop(writer);
        passed
    };
    let cut = "the archive on standard input ends before it is complete";
    let ((), answer) = settle(ours, worker, cut)?;
    let names = answer.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    say_left_out(&names);
    Ok(())
}

fn pack_from_host(
    source: &Asked,
    args: &CpArgs,
    open: &Open,
    writer: impl io::Write,
) -> Result<()> {
    let own = Path::new("/proc/self/fd");
    let descriptors = File::open(own).map_err(|error| Error::of_io("open", own, &error))?;
    let id_map = open.container.record.ids_on_disk();
    let packer = Packer::new(writer, descriptors.as_fd());
    let packer = packer.with_ids(id_map.filter(|_| args.archive));
    pack(source, &Side::Host, args.follow_link, packer).map(drop)
}

/// What `asked` names, as an archive.
fn pack<W: io::Write>(
    asked: &Asked,
    side: &Side,
    follow: bool,
    mut packer: Packer<'_, W>,
) -> Result<Vec<u8>> {
    let item = asked.open(side, follow)?;
    if is_kernels(&item) {
        return Err(Error::new(format!("{asked} is the kernel's own, and no file to copy"))
            .hint("`minibox exec NAME cat PATH` prints what it says"));
    }
    packer.add(&item, asked.base().as_bytes())?;
    packer.finish()?;
    Ok(Vec::new())
}

/// Standard input, where it may be an archive.
fn check_archive() -> Result<BufReader<io::Stdin>> {
    if io::stdin().is_terminal() {
        return Err(refuse_terminal("give a file or a pipe: minibox cp - … < archive.tar"));
    }
    let mut stdin = BufReader::new(io::stdin());
    let head =
        stdin.fill_buf().map_err(|e| Error::of_io("read", Path::new("standard input"), &e))?;
    let packed: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
    ];
    if let Some((_, program)) = packed.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(Error::new(format!("the archive on standard input is packed with {program}"))
            .hint(format!("unpack it on the way: {program} -dc FILE | minibox cp - …")));
    }
    Ok(stdin)
}

fn say_left_out(names: &[String]) {
    if names.is_empty() {
        return;
    }
    let more = if names.len() > 5 { " …" } else { "" };
    let list = names[..names.len().min(5)].join(" ") + more;
    output::note(&format!("left out, since device nodes are for root with -a alone: {list}"));
}

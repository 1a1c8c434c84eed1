//! `minibox export`: the root as the container sees it, as a tar archive; of what is mounted there only the
//! places.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use minibox_runtime::{Error, Result, spec};
use nix::fcntl::{OFlag, open as open_file};
use nix::sys::stat::Mode;

use super::pack::Packer;
use super::{open, parts_of_root, pipe, refuse_terminal, relay, settle};
use crate::args::ExportArgs;
use crate::progress::Progress;
use crate::store::Store;

/// `minibox export`.
pub(crate) fn export(store: &Store, args: &ExportArgs) -> Result<u8> {
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(refuse_terminal("name a file with -o, or redirect it"));
    }
    let open = open(store, &args.container)?;
    let record = &open.container.record;
    let parts = parts_of_root(&spec::load(&store.folder(&record.id))?);
    let (reader, writer) = pipe()?;
    let worker = open.view.start(&[writer.as_raw_fd()], |descriptors| {
        let packer = Packer::new(File::from(writer), descriptors.as_fd());
        let mut packer = packer.on_one_mount(parts);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open_file("/", flags, Mode::empty());
        let root = root.map_err(|errno| Error::new("cannot open the root").errno(errno))?;
        packer.add_contents(&root, b"")?;
        packer.finish()?;
        Ok(Vec::new())
    })?;
    let title = format!("exporting {}", record.name);
    let reader = Progress::new(File::from(reader), &title);
    let cut = "the archive ends too early";
    match args.output.as_deref() {
        None => drop(settle(relay(reader, &mut io::stdout()), worker, cut)?),
        Some(path) if path.exists() && !path.is_file() => {
            let opened = File::options().write(true).open(path);
            let mut file = opened.map_err(|error| Error::of_io("write", path, &error))?;
            settle(relay(reader, &mut file), worker, cut)?;
        }
        Some(path) => {
            // Half an archive never takes the place of a whole one.
            let failed = |error: io::Error| Error::of_io("write", path, &error);
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
            let mut builder = tempfile::Builder::new();
            let builder = builder.prefix(".export-").permissions(mode);
            let mut file = builder.tempfile_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
            settle(relay(reader, &mut file), worker, cut)?;
            file.flush().map_err(failed)?;
            file.persist(path).map_err(|error| failed(error.error))?;
        }
    }
    Ok(0)
}

//! The streams of a program without a terminal: three FIFOs in its run folder, so that a new monitor
//! finds them when the first is killed.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use minibox_runtime::{Error, Result};
use nix::sys::stat::Mode;

/// The monitor's ends.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    /// Standard output and error.
    pub outputs: [Option<File>; 2],
    /// Standard input; closing it is the end of the input.
    pub input: Option<File>,
}

impl Pipes {
    /// Makes the FIFOs; the monitor's ends and the program's.
    pub(crate) fn make(folder: &Path, interactive: bool) -> Result<(Pipes, [Option<OwnedFd>; 3])> {
        for name in ["stdin", "stdout", "stderr"] {
            let path = folder.join(name);
            // Those of the start before: somebody may still hold them.
            let _ = std::fs::remove_file(&path);
            nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).map_err(|errno| {
                Error::new(format!("cannot make {}", path.display())).errno(errno)
            })?;
        }
        // The program's end is open both ways: it is its own reader when the monitor dies.
        let theirs = |name: &str| open(folder, name, (true, true), 0).map(OwnedFd::from);
        let (stdout, stderr) = (theirs("stdout")?, theirs("stderr")?);
        let stdin: OwnedFd = if interactive {
            // Read only, so that it sees the end of its input; not waiting for a writer to come.
            let end = open(folder, "stdin", (true, false), libc::O_NONBLOCK)?;
            block(&end)?;
            end.into()
        } else {
            let null = File::open("/dev/null");
            null.map_err(|e| Error::of_io("open", "/dev/null".as_ref(), &e))?.into()
        };
        Ok((Pipes::open(folder, interactive)?, [Some(stdin), Some(stdout), Some(stderr)]))
    }

    /// Opens the monitor's ends of FIFOs that exist.
    pub(super) fn open(folder: &Path, interactive: bool) -> Result<Pipes> {
        let read = |name: &str| open(folder, name, (true, false), libc::O_NONBLOCK).map(Some);
        // A program that has closed its input leaves nobody to write to.
        let write = || open(folder, "stdin", (false, true), libc::O_NONBLOCK).ok();
        Ok(Pipes {
            outputs: [read("stdout")?, read("stderr")?],
            input: if interactive { write() } else { None },
        })
    }
}

fn open(folder: &Path, name: &str, (read, write): (bool, bool), flags: i32) -> Result<File> {
    let path = folder.join(name);
    let opened = File::options().read(read).write(write).custom_flags(flags).open(&path);
    opened.map_err(|e| Error::of_io("open", &path, &e))
}

/// A program expects that reading waits.
fn block(file: &File) -> Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(file, FcntlArg::F_SETFL(OFlag::empty()))
        .map(drop)
        .map_err(|errno| Error::new("cannot prepare the program's input").errno(errno))
}

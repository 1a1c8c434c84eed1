//! The streams of a program without a terminal: three FIFOs in its run folder, so that a new monitor
//! finds them when the first is killed.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use minibox_runtime::{Error, Result};
use nix::sys::stat::Mode;

use crate::settings::Settings;

/// The monitor's ends.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    /// Standard output and error.
    pub outputs: [Option<File>; 2],
    /// Standard input; closing it is the end of the input, where that may end.
    pub input: Option<File>,
}

/// The program's input.
const STDIN: &str = "stdin";

impl Pipes {
    /// Makes the FIFOs; the monitor's ends and the program's.
    pub(crate) fn make(
        folder: &Path,
        settings: &Settings,
    ) -> Result<(Pipes, [Option<OwnedFd>; 3])> {
        for name in [STDIN, "stdout", "stderr"] {
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
        let stdin: OwnedFd = if settings.interactive {
            // Input that can end is read only, so that it sees that; not waiting for a writer to come.
            let end = open(folder, STDIN, (true, !settings.stdin_once), libc::O_NONBLOCK)?;
            block(&end)?;
            end.into()
        } else {
            let null = File::open("/dev/null");
            null.map_err(|e| Error::of_io("open", "/dev/null".as_ref(), &e))?.into()
        };
        Ok((Pipes::open(folder, settings)?, [Some(stdin), Some(stdout), Some(stderr)]))
    }

    /// Opens the monitor's ends of FIFOs that exist.
    pub(super) fn open(folder: &Path, settings: &Settings) -> Result<Pipes> {
        let read = |name: &str| open(folder, name, (true, false), libc::O_NONBLOCK).map(Some);
        // A program that has closed its input leaves nobody to write to; one whose input has ended, nowhere.
        let write = || open(folder, STDIN, (false, true), libc::O_NONBLOCK).ok();
        Ok(Pipes {
            outputs: [read("stdout")?, read("stderr")?],
            input: if settings.interactive { write() } else { None },
        })
    }

    /// The input ends for good: no later monitor must open it again.
    pub(super) fn end_input(folder: &Path) {
        let _ = std::fs::remove_file(folder.join(STDIN));
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

//! Failures injected by tests, in test builds only: `MINIBOX_FAIL_AT=pivot-root:EPERM`.

use minibox_runtime::Step;
use nix::errno::Errno;

/// Where to fail, from the environment of a test build; never in a release.
pub(crate) fn fail_at() -> Option<(Step, Errno)> {
    if !cfg!(feature = "trial") {
        return None;
    }
    let wish = std::env::var("MINIBOX_FAIL_AT").ok()?;
    let (step, errno) = wish.split_once(':').unwrap_or((&wish, "EIO"));
    let errno = match errno {
        "EPERM" => Errno::EPERM,
        "ENOMEM" => Errno::ENOMEM,
        "ENOSPC" => Errno::ENOSPC,
        _ => Errno::EIO,
    };
    Some((Step::from_name(step)?, errno))
}

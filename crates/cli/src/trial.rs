//! Failures injected by tests, in test builds only: `MINIBOX_FAIL_AT=pivot-root:EPERM`, or `:ALLOC` to
//! see the allocator guard at work.

use minibox_runtime::line::ALLOCATE;
use minibox_runtime::{Error, Result, Step};
use nix::errno::Errno;

/// Where to fail, from the environment of a test build; never in a release.
pub(crate) fn fail_at() -> Result<Option<(Step, Errno)>> {
    let wish = std::env::var("MINIBOX_FAIL_AT").ok().filter(|_| cfg!(feature = "trial"));
    let Some(wish) = wish else { return Ok(None) };
    let wrong = || Error::new(format!("MINIBOX_FAIL_AT={wish} names no step and errno"));
    let (step, errno) = wish.split_once(':').ok_or_else(wrong)?;
    let errno = match errno {
        "ALLOC" => ALLOCATE,
        name => {
            (1..134).map(Errno::from_raw).find(|e| format!("{e:?}") == name).ok_or_else(wrong)?
        }
    };
    Ok(Some((Step::from_name(step).ok_or_else(wrong)?, errno)))
}

//! CHILD: the middle process, which joins namespaces that exist and makes a sibling that is born in them.
//!
//! A pid namespace takes effect for children only, and from a user namespace there is no way back: the
//! parent must stay in its own, or it could no longer make cgroups. So a process in between joins, makes
//! the container's process as a child of its own parent (`CLONE_PARENT`), and ends.
#![deny(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::convert::Infallible;

use crate::line::{Line, Told};
use crate::step::Step;
use crate::sys::{self, Forked};
use crate::trial;

/// Does `join`, then makes the sibling with `flags` (CLONE_NEW*), which does `born`.
pub fn run(
    line: Line,
    flags: u64,
    join: impl FnOnce() -> Result<(), Told>,
    born: impl FnOnce() -> Infallible,
) -> ! {
    trial::entered_child();
    if join().is_ok() {
        match sys::clone3(flags | libc::CLONE_PARENT as u64, None) {
            Ok(Forked::Child) => match born() {},
            Ok(Forked::Parent { pid, .. }) => {
                line.born(pid);
                sys::exit_now(0)
            }
            Err(fault) => drop(line.fail(Step::Clone, 0, fault)),
        }
    }
    sys::exit_now(125)
}

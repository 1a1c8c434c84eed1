//! The kernel's own account of processes and containers: read from /proc and cgroupfs, as plain data that
//! can be serialised. Nothing is printed here, and nothing is changed; only [`audit`] halts a process for a
//! moment. It knows nothing of minibox's own containers: any process will do.
//!
//! Start with [`process::open`], which holds one process: whatever is read through it is of that process,
//! even where its number has been given to another meanwhile. Then one file for each question:
//!
//! - [`audit`]: how well is it isolated from this host, all in all? It stands on most of the others.
//! - [`capabilities`]: what may it do?
//! - [`guide`]: which file of /proc/PID answers which question?
//! - [`namespaces`]: what does it share, with whom, and what is in there?
//! - [`seccomp`]: which system calls may it make?
//! - [`threads`]: what do its threads share, and where is each of them ([`calls`])?
//! - [`tree`]: who has made whom, and who belongs to which container? It stands on [`processes`], which reads
//!   all of them.
//! - [`cgroup`]: what have it and its like used together, and how much may they?
//! - [`memory`]: which addresses has it, and how much RAM?
//! - [`network`]: whom can it reach, and who listens?
//! - [`mounts`]: which files does it see, and where do they come from?
//! - [`waiting`]: what is it waiting for?
//!
//! A process may end while it is looked at, which is [`Error::Gone`] and no fault; what the caller may not
//! read is [`Seen::Denied`], and never zero.
#![deny(unsafe_code)]

pub mod audit;
pub mod calls;
pub mod capabilities;
pub mod cgroup;
pub mod guide;
pub mod memory;
pub mod mounts;
pub mod namespaces;
pub mod network;
mod parallel;
pub mod process;
pub mod processes;
pub mod seccomp;
mod seen;
mod sys;
pub mod threads;
pub mod tree;
pub mod waiting;

pub use procfs::process::Process;
pub use seen::{Error, Result, Seen};

//! One container, from config.json to a running process.
//!
//! # Reading order
//!
//! A container is born in two processes. Read them in the order in which they run:
//!
//! 1. [`plan`]: config.json becomes a [`Plan`]; every decision and every allocation is made here.
//! 2. [`spawn`] (parent): the cgroup, clone3(2), the id maps, then it listens.
//! 3. [`init`] (child): one straight function from clone3(2) to execve(2). It only carries the plan out.
//! 4. [`process`] (child): the last part, shared with [`join`]: limits, user, capabilities, execve(2).
//!
//! ```text
//!   Spec ──▶ Plan ──▶ clone3 ──┬─▶ parent: maps ids, listens ──▶ Running
//!                              └─▶ child:  init.rs ▶ process.rs ──▶ execve
//! ```
//!
//! Where namespaces of another container are shared, [`middle`] comes before [`init`]; with an init,
//! [`reaper`] is what PID 1 does while the program runs.
//!
//! Beside them stand [`step`], the table of everything that happens, in order and with reasons; one
//! file per concern ([`namespaces`], [`root`], [`mounts`], [`program`], [`devices`], [`capabilities`],
//! [`net_devices`], [`rlimits`], [`scheduling`], [`seccomp`], [`user`], [`idmap`], [`cgroup`], [`copy_up`]), each
//! with what is decided in the parent and the rest for the child; [`line`], over which the child reports; [`describe`] and [`hints`], which put reports into words; [`state`], what is written
//! down about a living container; [`pid_namespace`], all its processes; [`probe`], what this kernel lets one
//! do; and [`sys`], the only `unsafe` code.
//!
//! # Left out, and why
//!
//! No image, no network beyond loopback, no terminal handling, no daemon: the crates above do those.
//! No threads and no async runtime: clone3(2) without a stack is only sound in a single thread.
#![cfg_attr(not(target_os = "linux"), doc = "Linux only.")]

pub mod capabilities;
pub mod cgroup;
pub mod cgroup_mount;
pub mod container;
pub mod copy_up;
pub mod describe;
pub mod devices;
pub mod error;
pub mod gate;
pub mod hints;
pub mod hooks;
pub mod idmap;
pub mod init;
pub mod join;
pub mod label;
pub mod line;
pub mod middle;
pub mod mountinfo;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod pid_namespace;
pub mod plan;
pub mod probe;
pub mod process;
pub mod program;
pub mod reaper;
pub mod resctrl;
pub mod rlimits;
pub mod root;
pub mod scheduling;
pub mod seccomp;
pub mod spawn;
pub mod spec;
pub mod state;
pub mod step;
pub mod sys;
pub mod systemd;
mod trial;
pub mod user;
pub mod view;

pub use error::{Blame, Error, Result};
pub use plan::{Choices, Plan};
pub use root::{Layer, RootChoices};
pub use spawn::{Event, Running, Watch};
pub use step::Step;

/// Where programs are looked for when the environment names no `PATH`.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

//! From a record and its config.json to a plan: the same for the first start and for every later one.

use std::fs;

use minibox_runtime::cgroup::Address;
use minibox_runtime::line::Listening;
use minibox_runtime::state::{self, ProcessId, State};
use minibox_runtime::{Choices, Error, Layer, Plan, Result, RootChoices, spec};
use oci_spec::runtime as oci;

use crate::patchwork;
use crate::sharing;
use crate::store::{Record, Store, make_private, now, remove_tree};
use crate::terminal;
use crate::userns;

/// What the runtime is told beside config.json.
pub(crate) fn choices(store: &Store, record: &Record, listening: Listening) -> Result<Choices> {
    let layer = record.layer.as_ref().filter(|_| !record.is_patchwork);
    Ok(Choices {
        root: RootChoices {
            layer: layer.map(|folder| Layer::below(folder, record.auto_remove)),
            // Device nodes that the root filesystem brings along open nothing; those of /dev are our own.
            attributes: if record.settings.privileged { 0 } else { libc::MOUNT_ATTR_NODEV },
            maps_owners: userns::maps_mounts(record.id_map.as_ref()),
            no_pivot: false,
        },
        console_size: terminal::size(),
        id: record.id.clone(),
        bundle: store.folder(&record.id),
        init: record.settings.init,
        listening,
        fail_at: crate::trial::fail_at()?,
        ..Choices::default()
    })
}

/// The plan of container `record`, whose configuration is `spec`.
pub(crate) fn plan(
    store: &Store,
    record: &Record,
    spec: &oci::Spec,
    choices: Choices,
) -> Result<Plan> {
    let cgroup = record.cgroup.as_ref().map(Address::cgroup).transpose()?;
    sharing::plan(store, spec, cgroup, choices)
}

/// The configuration of a container, as it was written down.
pub(crate) fn load_spec(store: &Store, record: &Record) -> Result<oci::Spec> {
    spec::load(&store.folder(&record.id))
}

/// The folder that lives with its processes, which says whose it is.
pub(crate) fn make_run_folder(store: &Store, id: &str) -> Result<()> {
    let folder = store.run_folder(id);
    make_private(&folder)?;
    match std::os::unix::fs::symlink(store.folder(id), folder.join("data")) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::of_io("make a link in", &folder, &error))
        }
        _ => Ok(()),
    }
}

/// The folders of its layer: with the container, and once more where they lay in memory and the machine was
/// restarted. The container does not run.
pub(crate) fn make_layer(record: &Record) -> Result<()> {
    let Some(layer) = &record.layer else { return Ok(()) };
    let (upper, work) = (layer.join("upper"), layer.join("work"));
    if record.auto_remove && record.started.is_some() && !record.is_patchwork {
        // A volatile overlay leaves a mark there, for which the kernel refuses another.
        remove_tree(&work, record.id_map.as_ref())?;
        make_private(&work)?;
    }
    if upper.exists() {
        return Ok(());
    }
    // Nobody else may have taken its place meanwhile.
    for folder in layer.parent().into_iter().chain([upper.as_path(), &work]) {
        make_private(folder)?;
    }
    // The root of an overlay is the upper folder: it must look like the root it stands for.
    if let Ok(metadata) = fs::metadata(&record.rootfs) {
        let _ = fs::set_permissions(&upper, metadata.permissions());
    }
    if record.is_patchwork {
        // config.json names its parts.
        patchwork::make(&record.rootfs, layer)?;
    }
    Ok(())
}

/// Writes down that the child `pid` of this process is a container's PID 1. Before its program runs, so
/// that whatever the program does finds it known.
pub(crate) fn write_down_start(store: &Store, record: &mut Record, pid: i32) -> Result<()> {
    record.started = Some(now());
    record.exit = None;
    record.is_restarting = false;
    let gone = || Error::new(format!("the new process {pid} vanished"));
    write_state(store, &record.id, ProcessId::of(pid).ok_or_else(gone)?)?;
    if let Some(file) = &record.settings.pidfile {
        fs::write(file, pid.to_string()).map_err(|e| Error::of_io("write", file, &e))?;
    }
    store.save(record)
}

/// Writes down that this process looks after the container whose PID 1 is `init`.
pub(crate) fn write_state(store: &Store, id: &str, init: ProcessId) -> Result<()> {
    let gone = || Error::new("/proc does not show this very process");
    let state = State {
        init,
        boot_id: state::boot_id().to_owned(),
        keeper: ProcessId::of(std::process::id() as i32).ok_or_else(gone)?,
    };
    state::save(&store.run_folder(id).join("state.json"), &state)
}

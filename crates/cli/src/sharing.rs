//! Namespaces that containers share, with the host or with each other.
//!
//! Where the runtime wants a path, a stored config.json says `container:ID`: the PID that leads to that
//! container's namespaces is another one at each of its starts, so it is put in whenever a plan is made.

use std::path::{Path, PathBuf};

use minibox_runtime::cgroup::Cgroup;
use minibox_runtime::state::ProcessId;
use minibox_runtime::{Choices, Error, Plan, Result, spec};
use oci_spec::runtime as oci;

use crate::store::{Container, Record, Status, Store};

const PREFIX: &str = "container:";

/// Where a namespace of a container comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    New,
    Host,
    /// It is the one of this container.
    Of(Box<Record>),
}

impl Origin {
    /// Understands one of `new`, `host` and `container:NAME`; `None` where it is something else.
    pub(crate) fn parse(
        store: &Store,
        flag: &str,
        text: &str,
        new: &str,
    ) -> Result<Option<Origin>> {
        Ok(match text.strip_prefix(PREFIX) {
            Some(name) => {
                let container = store
                    .find(name)
                    .map_err(|e| Error { what: format!("{flag} {text}: {}", e.what), ..e })?;
                Some(Origin::Of(Box::new(container.record)))
            }
            None if text == new => Some(Origin::New),
            None if text == "host" => Some(Origin::Host),
            None => None,
        })
    }

    /// The origin of the namespace of `kind` that container `record` lives in: never one that is
    /// itself only shared.
    pub(crate) fn of(
        store: &Store,
        record: &Record,
        kind: oci::LinuxNamespaceType,
    ) -> Result<Origin> {
        let spec = spec::load(&store.folder(&record.id))?;
        let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        let found = namespaces.into_iter().flatten().find(|namespace| namespace.typ() == kind);
        let Some(namespace) = found else { return Ok(Origin::Host) };
        let owner = match namespace.path() {
            None => record.clone(),
            Some(path) => donor(store, &split(path).unwrap_or_default().0)?.record,
        };
        Ok(Origin::Of(Box::new(owner)))
    }

    pub(crate) fn is_new(&self) -> bool {
        matches!(self, Origin::New)
    }

    pub(crate) fn is_host(&self) -> bool {
        matches!(self, Origin::Host)
    }

    /// The container whose it is.
    pub(crate) fn record(&self) -> Option<&Record> {
        if let Origin::Of(record) = self { Some(record) } else { None }
    }

    /// The entry of config.json; none where it is the host's.
    pub(crate) fn namespace(&self, kind: oci::LinuxNamespaceType) -> Option<oci::LinuxNamespace> {
        let mut namespace = oci::LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace.set_path(self.record().map(|record| inside(record, "")));
        (!self.is_host()).then_some(namespace)
    }
}

/// What stands in config.json for `path` in a running container, or for its namespaces.
pub(crate) fn inside(record: &Record, path: &str) -> PathBuf {
    PathBuf::from(format!("{PREFIX}{}{path}", record.id))
}

/// The id in front, and the path behind it.
fn split(path: &Path) -> Option<(String, &str)> {
    let rest = path.to_str()?.strip_prefix(PREFIX)?;
    let (id, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some((id.to_owned(), below))
}

fn donor(store: &Store, id: &str) -> Result<Container> {
    store.load(id)?.ok_or_else(|| {
        let id = id.get(..12).unwrap_or(id);
        Error::new(format!("container {id}, whose namespaces it shares, is gone"))
    })
}

/// The plan of a container with the configuration `spec`, whose donors must be running.
pub(crate) fn plan(
    store: &Store,
    spec: &oci::Spec,
    cgroup: Option<Cgroup>,
    choices: Choices,
) -> Result<Plan> {
    let mut spec = spec.clone();
    let donors = put_in_pids(store, &mut spec)?;
    let plan = Plan::new(&spec, cgroup, choices)?;
    // Opened by number: where one has ended meanwhile, that number might have been another's by then.
    match donors.iter().find(|(_, process)| !process.is_alive()) {
        Some((name, _)) => Err(not_running(name)),
        None => Ok(plan),
    }
}

fn not_running(name: &str) -> Error {
    Error::new(format!("container {name} is not running, and its namespaces are to be shared"))
        .hint(format!("`minibox start {name}` first"))
}

/// Puts the processes of today in place of containers; their names, and themselves.
fn put_in_pids(store: &Store, spec: &mut oci::Spec) -> Result<Vec<(String, ProcessId)>> {
    let mut donors = Vec::new();
    let mut find = |path: &Path| -> Result<Option<(i32, String)>> {
        let Some((id, below)) = split(path) else { return Ok(None) };
        let container = donor(store, &id)?;
        let name = container.record.name.clone();
        let process = match (container.status(), &container.state) {
            (Status::Running, Some(state)) => state.init,
            _ => return Err(not_running(&name)),
        };
        donors.push((name, process));
        Ok(Some((process.pid, below.to_owned())))
    };
    let namespaces = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        let Some(path) = namespace.path() else { continue };
        if let Some((pid, _)) = find(path)? {
            let kind = namespace.typ();
            namespace.set_path(Some(format!("/proc/{pid}/ns/{kind}").into()));
        }
    }
    for mount in spec.mounts_mut().iter_mut().flatten() {
        let Some(path) = mount.source() else { continue };
        if let Some((pid, below)) = find(path)? {
            mount.set_source(Some(format!("/proc/{pid}/root{below}").into()));
        }
    }
    Ok(donors)
}

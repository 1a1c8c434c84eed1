//! `minibox create`: everything about a container but its start. `run` begins with it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use minibox_runtime::cgroup::{self, Cgroup, Layout};
use minibox_runtime::idmap::{self, IdMap};
use minibox_runtime::state::{self, Lock};
use minibox_runtime::systemd;
use minibox_runtime::{Error, Result};
use oci_spec::runtime as oci;

use crate::args::CreateArgs;
use crate::birth;
use crate::config::{self, OwnFiles};
use crate::files;
use crate::host;
use crate::output;
use crate::patchwork;
use crate::settings::{Asked, Kind};
use crate::store::{self, Record, Store, Typed, now, volumes};
use crate::userns::{self, UserNamespace};
use crate::wishes::{self, Wishes, limits};

/// A container that has been made, and is still locked.
#[derive(Debug)]
pub(crate) struct Made {
    pub record: Record,
    pub spec: oci::Spec,
    pub lock: Lock,
    /// How many of the caller's descriptors, from 3 on, are the program's too.
    pub preserve_fds: u32,
}

/// `minibox create`.
pub(crate) fn create(store: &Store, args: &CreateArgs) -> Result<u8> {
    output::quiet(args.quiet);
    let wishes = wishes::understand(store, args, false)?;
    wishes.warnings.iter().for_each(|warning| output::note(warning));
    let mut made = make(store, args, &wishes, true)?;
    made.record.is_startable = true;
    store.save(&made.record).inspect_err(|_| drop(store.remove(&made.record)))?;
    output::print(&format!("{}\n", made.record.id));
    Ok(0)
}

/// Makes a container; after an error nothing is left of it. `monitored`: it will be started by a monitor.
pub(crate) fn make(
    store: &Store,
    args: &CreateArgs,
    wishes: &Wishes,
    monitored: bool,
) -> Result<Made> {
    let cidfile = args.cidfile.as_deref().map(IdFile::reserve).transpose()?;
    let turn =
        if wishes.namespaces.user.takes_a_range() { userns::wait_for_turn(store)? } else { None };
    let user = user_namespace(store, wishes)?;
    let (id, name, lock) = store.create(args.name.as_deref())?;
    tracing::debug!(id, name, ?user, "a new container");
    let mut record = new_record(args, wishes, user.id_map.clone(), &id, &name, monitored);
    store.tell(&record, "create", &[]);
    let written = turn.map_or(Ok(()), |_turn| store.save(&record));
    let spec = written
        .and_then(|()| prepare(store, args, wishes, &user, &mut record))
        .and_then(|spec| cidfile.map_or(Ok(()), |file| file.write(&id)).map(|()| spec))
        .inspect_err(|_| {
            let _ = store.remove(&record);
        })?;
    Ok(Made { record, spec, lock, preserve_fds: 0 })
}

/// `--cidfile`: a file that must not be there yet; gone again where nothing was made.
struct IdFile<'a> {
    path: &'a Path,
    file: Option<fs::File>,
}

impl IdFile<'_> {
    fn reserve(path: &Path) -> Result<IdFile<'_>> {
        let file =
            fs::File::options().write(true).create_new(true).open(path).map_err(|error| {
                Error::of_io("make the --cidfile", path, &error)
                    .hint("it must not be there yet; an old one may be removed")
            })?;
        Ok(IdFile { path, file: Some(file) })
    }

    fn write(mut self, id: &str) -> Result<()> {
        let written = self.file.as_mut().map_or(Ok(()), |file| file.write_all(id.as_bytes()));
        written.map_err(|error| Error::of_io("write", self.path, &error))?;
        self.file = None;
        Ok(())
    }
}

impl Drop for IdFile<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(self.path);
        }
    }
}

/// The user namespace that goes with the others.
pub(crate) fn user_namespace(store: &Store, wishes: &Wishes) -> Result<UserNamespace> {
    use oci::LinuxNamespaceType as Kind;
    let asked = &wishes.namespaces;
    let others = [
        (Kind::Network, "--net", &asked.net),
        (Kind::Pid, "--pid", &asked.pid),
        (Kind::Ipc, "--ipc", &asked.ipc),
        (Kind::Uts, "--uts", &asked.uts),
        (Kind::Cgroup, "--cgroupns", &asked.cgroup),
    ];
    userns::decide(store, &asked.user, &others)
}

/// What limits need of a cgroup: root always gets one, a plain user from his systemd, where he asks for limits.
pub(crate) fn cgroup_for(store: &Store, args: &CreateArgs, id: &str) -> Result<Option<Cgroup>> {
    let layout = Layout::detect();
    if !cgroup::is_writable(&layout) {
        let mut asked = limits::given(&args.limits);
        let is_scope = !asked.is_empty() && layout.is_unified() && systemd::has_user_manager();
        if is_scope {
            asked.clear();
        }
        asked.extend((!args.hardware.device_rules.is_empty()).then_some("--device-cgroup-rule"));
        if !asked.is_empty() {
            let asked = asked.join(", ");
            output::note(&if layout.is_unified() && systemd::is_running() && !is_scope {
                format!(
                    "{asked}: no effect, since systemd runs no manager for this user that could make a cgroup; log in anew, or `loginctl enable-linger` as root"
                )
            } else {
                format!(
                    "{asked}: no effect, since this user may not make cgroups here; run as root for limits"
                )
            });
        }
        return is_scope.then(|| Cgroup::of_unit(store.scope(id))).transpose();
    }
    Cgroup::at(&layout, &format!("{}/{id}", store.cgroup_parent)).map(Some)
}

fn new_record(
    args: &CreateArgs,
    wishes: &Wishes,
    id_map: Option<IdMap>,
    id: &str,
    name: &str,
    monitored: bool,
) -> Record {
    Record {
        version: store::VERSION,
        id: id.to_owned(),
        name: name.to_owned(),
        created: now(),
        rootfs: std::path::absolute(&args.rootfs).unwrap_or_else(|_| args.rootfs.clone()),
        command: wishes.program.args.clone(),
        layer: None,
        is_patchwork: false,
        id_map,
        cgroup: None,
        auto_remove: args.rm,
        terminal: args.process.tty,
        monitored,
        typed: Typed::here(),
        settings: wishes.settings.clone(),
        mounts: wishes.mounts.clone(),
        is_startable: false,
        started: None,
        exit: None,
        restarts: 0,
        is_restarting: false,
        halted: None,
    }
}

/// Writes down everything that will be made, then makes the files of its own.
fn prepare(
    store: &Store,
    args: &CreateArgs,
    wishes: &Wishes,
    user: &UserNamespace,
    record: &mut Record,
) -> Result<oci::Spec> {
    let (id, folder) = (record.id.clone(), store.folder(&record.id));
    record.cgroup = cgroup_for(store, args, &id)?.map(|cgroup| cgroup.address());
    if !args.mounts.rw {
        record.layer = Some(place_for_layer(store, &id)?);
    }
    say_what_is_not_seen(store, args);
    store.save(record)?;

    let hostname = hostname(wishes, &record.name);
    let files = own_files(&folder, wishes, &hostname)?;
    let place = config::Place {
        user,
        cgroup: record.cgroup.as_ref().map(|address| address.path.as_str()),
        hostname: &hostname,
        files: &files,
    };
    let mut spec = config::build(args, wishes, &place);
    if let (Some(layer), true) = (&record.layer, needs_patchwork(args, record)) {
        record.is_patchwork = true;
        let patchwork = patchwork::make(&args.rootfs, layer)?;
        if let Some(root) = spec.root_mut() {
            root.set_path(patchwork.root);
        }
        if let Some(mounts) = spec.mounts_mut() {
            mounts.splice(0..0, patchwork.mounts);
        }
    }
    state::save(&folder.join("config.json"), &spec)?;
    birth::make_run_folder(store, &id)?;
    make_missing_sources(wishes)?;
    make_volumes(store, record)?;
    birth::make_layer(record)?;
    Ok(spec)
}

fn absolute_rootfs(args: &CreateArgs) -> PathBuf {
    fs::canonicalize(&args.rootfs).unwrap_or_else(|_| args.rootfs.clone())
}

/// A plain user may not lay one overlay over a root with mounts below it.
fn needs_patchwork(args: &CreateArgs, record: &Record) -> bool {
    record.id_map.is_some()
        && idmap::needs_user_namespace()
        && !args.mounts.rw
        && !patchwork::mounts_below(&absolute_rootfs(args)).is_empty()
}

/// An overlay shows one filesystem: what the host has mounted below the root is not in it.
fn say_what_is_not_seen(store: &Store, args: &CreateArgs) {
    let rootfs = absolute_rootfs(args);
    let own = ["/proc", "/sys", "/dev"];
    let mut below = patchwork::mounts_below(&rootfs);
    below.retain(|point| rootfs != Path::new("/") || !own.iter().any(|own| point.starts_with(own)));
    if args.mounts.rw || below.is_empty() {
        return;
    }
    let key = format!("submounts-{:08x}", store::fnv(&rootfs));
    let mut list: Vec<String> = below.iter().take(5).map(|p| p.display().to_string()).collect();
    list.extend((below.len() > 5).then(|| String::from("…")));
    let text = format!(
        "filesystems of the host lie mounted below {} and are not seen inside: {}",
        rootfs.display(),
        list.join(" ")
    );
    output::note_once(&store.data, &key, &text);
}

fn place_for_layer(store: &Store, id: &str) -> Result<PathBuf> {
    let (place, in_memory) = store.place_for_layer(id)?;
    if in_memory {
        let text = format!(
            "{} lies on an overlay filesystem, so what containers write goes to memory ({}) and is gone at a reboot",
            store.data.display(),
            place.display()
        );
        output::note_once(&store.data, "layer-in-memory", &text);
    }
    Ok(place)
}

/// Docker's habit: the missing source of a volume is an empty folder to be.
fn make_missing_sources(wishes: &Wishes) -> Result<()> {
    let missing = |asked: &&Asked| asked.kind == Kind::Bind { make: true };
    let asked = wishes.mounts.iter().filter(missing);
    for source in asked.filter_map(|asked| asked.mount.source().as_ref()) {
        if !source.exists() {
            fs::create_dir_all(source).map_err(|error| {
                Error::of_io("make the missing folder", source, &error)
                    .hint("the source of a volume is a path on the host")
            })?;
        }
    }
    Ok(())
}

/// Makes the volumes that are not there, and fills those that are empty.
fn make_volumes(store: &Store, record: &Record) -> Result<()> {
    for asked in &record.mounts {
        let Kind::Volume { name, anonymous, copy, labels } = &asked.kind else { continue };
        let place = asked.mount.destination();
        let fill = |data: &Path| files::fill(data, &record.rootfs, place, record.id_map.as_ref());
        volumes::prepare(store, name, labels, *anonymous, copy.then_some(fill))?;
    }
    Ok(())
}

pub(crate) fn hostname(wishes: &Wishes, name: &str) -> String {
    let default = || name.chars().take(63).collect();
    wishes.namespaces.hostname.clone().unwrap_or_else(default)
}

pub(crate) fn own_files(folder: &Path, wishes: &Wishes, hostname: &str) -> Result<OwnFiles> {
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| Error::of_io("write", &path, &e))?;
        // Whoever the program runs as must be able to read it; the folder keeps the host's users out.
        let _ = fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644));
        Ok(path)
    };
    let asked = &wishes.namespaces;
    let host_network = asked.net.is_host();
    let (hosts, resolv_conf) = match &asked.files {
        Some(files) => (files.hosts.clone(), files.resolv_conf.clone()),
        None => (
            write("hosts", &host::hosts(host_network, hostname, &asked.hosts))?,
            write("resolv.conf", &host::resolv_conf(host_network, &asked.resolv_conf))?,
        ),
    };
    // Its own in any case: by this mount one can tell its processes from others'.
    Ok(OwnFiles { hosts, hostname: write("hostname", &format!("{hostname}\n"))?, resolv_conf })
}

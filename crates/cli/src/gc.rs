//! `minibox gc`: finds what a crash left behind, kind by kind, and clears it away where told to.

use std::fs;
use std::path::{Path, PathBuf};

use minibox_runtime::cgroup::{self, Cgroup, Layout};
use minibox_runtime::idmap::IdMap;
use minibox_runtime::state::Lock;
use minibox_runtime::{Error, Result, systemd};

use crate::args::GcArgs;
use crate::language::say;
use crate::output;
use crate::store::{Store, is_id, kill_all_of, remove_tree, volumes};

/// `minibox gc`.
pub(crate) fn gc(store: &Store, args: &GcArgs) -> Result<u8> {
    let mut sweep = Sweep { store, clear: args.force, tell: true, found: 0, failed: None };
    sweep.all();
    if let Some(error) = sweep.failed {
        return Err(error);
    }
    match sweep.found {
        0 => output::note("nothing was left behind"),
        _ if !args.force => output::note("nothing was removed: `minibox gc --force` does"),
        _ => {}
    }
    Ok(0)
}

/// How much there is to find.
pub(crate) fn leftovers(store: &Store) -> usize {
    let mut sweep = Sweep { store, clear: false, tell: false, found: 0, failed: None };
    sweep.all();
    sweep.found
}

struct Sweep<'a> {
    store: &'a Store,
    clear: bool,
    tell: bool,
    found: usize,
    /// What could not be removed keeps nothing else; the first of it is told at the end.
    failed: Option<Error>,
}

impl Sweep<'_> {
    fn all(&mut self) {
        self.containers();
        self.names();
        self.folders();
        self.cgroups();
        let swept = volumes::sweep(self.store, self.clear, &mut |left| self.found(left));
        self.done(swept);
    }

    fn found(&mut self, what: &str) {
        self.found += 1;
        if self.tell {
            output::print(&format!("{}\n", say(what)));
        }
    }

    fn done(&mut self, removal: Result<()>) {
        if let Err(error) = removal {
            self.failed.get_or_insert(error);
        }
    }

    /// Folders of containers: half-removed, unreadable, or with an end that nobody wrote down.
    fn containers(&mut self) {
        for folder in entries(&self.store.data.join("containers")) {
            let done = self.container(&folder);
            self.done(done);
        }
    }

    fn container(&mut self, folder: &Path) -> Result<()> {
        let id = name_of(folder);
        // Nothing of ours: left alone.
        if !is_id(id.strip_prefix(".removed-").unwrap_or(&id)) {
            return Ok(());
        }
        // Locked: somebody is at work on it.
        let Some(lock) = Lock::try_now(folder)? else { return Ok(()) };
        if let Some(id) = id.strip_prefix(".removed-") {
            self.found(&format!("a half-removed container: {}", folder.display()));
            self.clear_folder(id, folder)?;
        } else if !self.store.is_readable(&id) {
            self.found(&format!("a container without a readable record: {}", folder.display()));
            self.clear_folder(&id, folder)?;
        } else if let Ok(Some(container)) = self.store.load(&id) {
            drop(lock);
            if container.is_forsaken() {
                let name = &container.record.name;
                self.found(&format!("a container whose end nobody wrote down: {name}"));
                if self.clear {
                    self.store.settle(&container)?;
                }
            }
        }
        Ok(())
    }

    /// Everything that the id of a folder without a readable record leads to.
    fn clear_folder(&self, id: &str, folder: &Path) -> Result<()> {
        if !self.clear {
            return Ok(());
        }
        kill_all_of(id)?;
        self.cgroup(id)?.remove()?;
        if systemd::has_user_manager() {
            self.store.scope(id).stop()?;
        }
        remove_tree(&self.store.run_folder(id), None)?;
        remove_tree(folder, Some(&IdMap::for_caller().0))
    }

    fn cgroup(&self, id: &str) -> Result<Cgroup> {
        Cgroup::at(&Layout::detect(), &format!("{}/{id}", self.store.cgroup_parent))
    }

    fn names(&mut self) {
        for link in entries(&self.store.data.join("names")) {
            let containers = self.store.data.join("containers");
            let nowhere = || {
                fs::read_link(&link).is_ok_and(|id| {
                    // One that is just being removed keeps its name to the last.
                    let removed = containers.join(format!(".removed-{}", id.display()));
                    let is_at_work =
                        || removed.exists() && matches!(Lock::try_now(&removed), Ok(None));
                    !containers.join(&id).exists() && !is_at_work()
                })
            };
            // Asked twice: a removal takes the name away a moment after the container.
            let leads_nowhere = nowhere() && {
                std::thread::sleep(std::time::Duration::from_millis(50));
                nowhere()
            };
            if leads_nowhere {
                self.found(&format!("a name without a container: {}", name_of(&link)));
                if self.clear {
                    let _ = fs::remove_file(link);
                }
            }
        }
    }

    /// Run folders, and layers that lie elsewhere.
    fn folders(&mut self) {
        let [layers, memory] = self.store.places_in_memory();
        for folder in [&self.store.run, &layers, &memory].into_iter().flat_map(|p| entries(p)) {
            let id = name_of(&folder);
            // A run folder says whose it is: several stores may share one place for them.
            let owner = fs::read_link(folder.join("data"));
            let is_ours = owner.map_or(true, |owner| owner == self.store.folder(&id))
                || folder.starts_with(&layers)
                || folder.starts_with(&memory);
            if is_id(&id) && is_ours && !self.store.folder(&id).exists() {
                self.found(&format!("a folder without a container: {}", folder.display()));
                if self.clear {
                    self.done(remove_tree(&folder, Some(&IdMap::for_caller().0)));
                }
            }
        }
    }

    fn cgroups(&mut self) {
        for id in cgroup::children(&Layout::detect(), &self.store.cgroup_parent) {
            // One that cannot be read, or is being made, has a folder; its turn comes with that.
            let is_over = match self.store.load(&id) {
                Ok(Some(container)) => container.record.exit.is_some() && !container.is_kept(),
                _ => !self.store.folder(&id).exists(),
            };
            if is_over {
                let parent = &self.store.cgroup_parent;
                self.found(&format!("a cgroup without a container: {parent}/{id}"));
                if self.clear {
                    let removal = self.cgroup(&id).and_then(|cgroup| cgroup.remove());
                    self.done(removal);
                }
            }
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

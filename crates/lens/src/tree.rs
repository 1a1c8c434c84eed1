//! Who has made whom: processes as a tree, each with the container that it belongs to.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::Seen;
use crate::processes::{self, Entry};

/// A container whose name the caller knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its first process.
    pub pid: i32,
    /// What its processes are to be marked with.
    pub name: String,
    /// As its cgroup has it, where it has one.
    pub id: String,
}

/// Which processes a tree is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of the host, without the kernel's own threads.
    Host,
    /// Those too.
    All,
    /// This one, whatever it has started, and its ancestors; of the first process of a container also whoever
    /// has entered it.
    Around(i32),
}

/// A process at its place in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// How many ancestors it has here.
    pub depth: usize,
    /// The name of its container, or the first twelve digits of the id in its cgroup.
    pub container: Option<String>,
    /// What is known of it.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What was asked for, each process below the one that it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tree {
    /// From top to bottom; children by age.
    pub processes: Vec<Node>,
    /// How many pid namespaces lie within each other at most.
    pub levels: usize,
    /// How many threads of the kernel's were left out.
    pub kernel_threads: usize,
}

/// The tree as it is now.
pub fn read(which: Which, known: &[Known], with_threads: bool) -> Tree {
    let all = processes::all();
    let containers = containers(&all, known);
    let kernel_threads = all.iter().filter(|entry| entry.is_kernels).count();
    // Those that are meant, and those that lead there.
    let (meant, ancestors) = match which {
        Which::All => (all.iter().map(|entry| entry.pid).collect(), HashSet::new()),
        Which::Host => {
            let others = all.iter().filter(|entry| !entry.is_kernels);
            (others.map(|entry| entry.pid).collect(), HashSet::new())
        }
        Which::Around(pid) => around(&all, &containers, known, pid),
    };
    let shown: HashSet<i32> = meant.union(&ancestors).copied().collect();
    let mut children: HashMap<i32, Vec<&Entry>> = HashMap::new();
    for entry in all.iter().filter(|entry| shown.contains(&entry.pid)) {
        // 0 is above all who have no parent that is seen here.
        let parent = if shown.contains(&entry.parent) { entry.parent } else { 0 };
        children.entry(parent).or_default().push(entry);
    }
    let mut processes = Vec::with_capacity(shown.len());
    let mut next: Vec<(usize, &Entry)> = Vec::new();
    let push = |next: &mut Vec<(usize, _)>, children: &mut HashMap<i32, Vec<_>>, pid, depth| {
        let mut below: Vec<&Entry> = children.remove(&pid).unwrap_or_default();
        below.sort_by_key(|entry| (entry.started, entry.pid));
        next.extend(below.into_iter().rev().map(|entry| (depth, entry)));
    };
    push(&mut next, &mut children, 0, 0);
    while let Some((depth, entry)) = next.pop() {
        let container = containers.get(&entry.pid).cloned();
        if with_threads && entry.threads > 1 && meant.contains(&entry.pid) {
            let threads = processes::threads(entry).into_iter();
            let node = |entry| Node { depth: depth + 1, container: container.clone(), entry };
            let threads: Vec<Node> = threads.map(node).collect();
            processes.push(Node { depth, container, entry: entry.clone() });
            processes.extend(threads);
        } else {
            processes.push(Node { depth, container, entry: entry.clone() });
        }
        push(&mut next, &mut children, entry.pid, depth + 1);
    }
    let levels = processes.iter().map(|node| node.entry.pids.len()).max().unwrap_or(1);
    Tree { processes, levels, kernel_threads }
}

/// To which container each process belongs, if to any.
pub fn containers(all: &[Entry], known: &[Known]) -> HashMap<i32, String> {
    let by_pid: HashMap<i32, &Entry> = all.iter().map(|entry| (entry.pid, entry)).collect();
    let roots: HashMap<i32, &str> =
        known.iter().map(|known| (known.pid, known.name.as_str())).collect();
    let ids: HashMap<&str, &str> =
        known.iter().map(|known| (known.id.as_str(), known.name.as_str())).collect();
    let hosts = processes::hosts("mnt");
    // Files tell whom somebody has entered: no two containers share them, as they may share process ids.
    let mut files: HashMap<u64, &str> = HashMap::new();
    for known in known {
        let namespace = by_pid.get(&known.pid).map(|entry| &entry.mount_namespace);
        if let Some(Seen::Known(inode)) = namespace.filter(|namespace| **namespace != hosts) {
            files.insert(*inode, &known.name);
        }
    }
    let own = |entry: &Entry| -> Option<String> {
        let of_files = || entry.mount_namespace.known().and_then(|inode| files.get(inode));
        let named = roots.get(&entry.pid).or_else(of_files);
        let id = entry.cgroup_id.as_deref();
        let of_cgroup = || id.map(|id| ids.get(id).map_or(&id[..12], |name| *name));
        named.copied().or_else(of_cgroup).map(str::to_owned)
    };
    let mut found: HashMap<i32, Option<String>> = HashMap::new();
    for entry in all {
        // From the first ancestor that is known downwards.
        let (mut way, mut at) = (Vec::new(), Some(entry));
        let mut container = None;
        while let Some(entry) = at.filter(|_| way.len() < all.len()) {
            if let Some(known) = found.get(&entry.pid) {
                container.clone_from(known);
                break;
            }
            way.push(entry);
            at = by_pid.get(&entry.parent).copied();
        }
        for entry in way.into_iter().rev() {
            container = own(entry).or(container);
            found.insert(entry.pid, container.clone());
        }
    }
    found.into_iter().filter_map(|(pid, container)| Some((pid, container?))).collect()
}

fn around(
    all: &[Entry],
    containers: &HashMap<i32, String>,
    known: &[Known],
    pid: i32,
) -> (HashSet<i32>, HashSet<i32>) {
    let by_pid: HashMap<i32, &Entry> = all.iter().map(|entry| (entry.pid, entry)).collect();
    let mut meant = HashSet::from([pid]);
    if let Some(known) = known.iter().find(|known| known.pid == pid) {
        let members = containers.iter().filter(|(_, container)| **container == known.name);
        meant.extend(members.map(|(pid, _)| *pid));
    }
    let parent = |pid: &i32| by_pid.get(pid).map_or(0, |entry| entry.parent);
    for entry in all {
        let ancestors = std::iter::successors(Some(entry.pid), |pid| Some(parent(pid)));
        if ancestors.take_while(|pid| *pid != 0).take(all.len()).any(|ancestor| ancestor == pid) {
            meant.insert(entry.pid);
        }
    }
    let mut leading = HashSet::new();
    for member in &meant {
        let ancestors = std::iter::successors(Some(*member), |pid| Some(parent(pid)));
        leading.extend(ancestors.take_while(|pid| by_pid.contains_key(pid)).take(all.len()));
    }
    (meant, leading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::State;

    fn entry(pid: i32, parent: i32, files: u64) -> Entry {
        Entry {
            pid,
            thread_of: None,
            parent,
            pids: vec![pid],
            name: format!("p{pid}"),
            arguments: Vec::new(),
            state: State::Sleeping,
            cpu_ms: 0,
            started: pid as u64,
            threads: 1,
            is_kernels: false,
            cgroup_id: None,
            mount_namespace: Seen::Known(files),
        }
    }

    #[test]
    fn members_are_descendants_and_whoever_has_entered() {
        let mut all =
            vec![entry(1, 0, 1), entry(5, 1, 1), entry(6, 5, 2), entry(7, 6, 2), entry(8, 5, 2)];
        let id = "ab".repeat(32);
        all.push(Entry { cgroup_id: Some(id.clone()), ..entry(9, 1, 3) });
        all.push(entry(10, 9, 4));
        let web = Known { pid: 6, name: "web".into(), id: "0".repeat(64) };
        let found = containers(&all, std::slice::from_ref(&web));
        for (pid, name) in
            [(6, "web"), (7, "web"), (8, "web"), (9, "abababababab"), (10, "abababababab")]
        {
            assert_eq!(found[&pid], name, "{pid}");
        }
        assert_eq!(found.len(), 5);
        let (meant, leading) = around(&all, &found, &[web], 6);
        assert_eq!(meant, HashSet::from([6, 7, 8]));
        assert_eq!(leading, HashSet::from([1, 5, 6, 7, 8]));
    }
}

//! docs/spec-conformance.md is true: it names every field of config.json that the specification's schema has
//! (conformance/fields.txt, made from it), and what it says of each is what the code does.
//!
//! Each field stands in one of conformance/fragments.json. Taken away from there alone, a field that is acted
//! on must change what comes out: the plan, or what is written into a cgroup, or an error. One that is ignored
//! changes nothing, and one that is refused is named by the error.

use std::fs;
use std::path::Path;

use minibox_runtime::cgroup::{Cgroup, Hierarchy, Layout};
use minibox_runtime::{Choices, Plan, spec};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

const FIELDS: &str = include_str!("conformance/fields.txt");
const FRAGMENTS: &str = include_str!("conformance/fragments.json");

/// A row of the document: the field, what is done with it, and how.
struct Row {
    field: String,
    state: String,
}

fn rows() -> Vec<Row> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec-conformance.md");
    let text = fs::read_to_string(document).expect("the document");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let field = cells.next()?.trim_end_matches('`').to_owned();
        let state = cells.next()?.to_owned();
        assert!(cells.next().is_some_and(|how| how.len() > 3), "{line}: how?");
        Some(Row { field, state })
    };
    let (table, _) = text.split_once("\n## ").expect("another table");
    table.lines().filter_map(row).collect()
}

#[test]
fn the_document_names_every_field_of_the_specification_once() {
    let documented: Vec<String> = rows().into_iter().map(|row| row.field).collect();
    for field in FIELDS.lines() {
        let count = documented.iter().filter(|name| *name == field).count();
        assert_eq!(count, 1, "{field} is in the document {count} times");
    }
    let unknown = documented.iter().find(|name| !FIELDS.lines().any(|field| field == *name));
    assert_eq!(unknown, None, "the specification has no such field");
}

/// The objects that hold the last part of `path`, and that part: `a[].b` is in each member of `a`, `a.*.b` in
/// each value of `a`.
fn holders<'a>(value: &'a mut Value, path: &str) -> Vec<&'a mut serde_json::Map<String, Value>> {
    let Some((first, rest)) = path.split_once('.') else {
        return value.as_object_mut().into_iter().filter(|o| o.contains_key(path)).collect();
    };
    let below: Vec<&mut Value> = match first {
        "*" => value.as_object_mut().into_iter().flat_map(|o| o.values_mut()).collect(),
        name => value.get_mut(name.trim_end_matches("[]")).into_iter().collect(),
    };
    let each = below.into_iter().flat_map(|value| {
        if first.ends_with("[]") {
            value.as_array_mut().into_iter().flatten().collect::<Vec<_>>()
        } else {
            vec![value]
        }
    });
    each.flat_map(|value| holders(value, rest)).collect()
}

/// Puts `more` over `value`.
fn merge(value: &mut Value, more: Value) {
    match (value, more) {
        (Value::Object(value), Value::Object(more)) => {
            for (key, more) in more {
                merge(value.entry(key).or_insert(Value::Null), more);
            }
        }
        (value, more) => *value = more,
    }
}

/// Everything that comes of a configuration, as text.
fn outcome(config: &Value, root: &Path) -> String {
    let bundle = tempfile::tempdir().unwrap();
    let mut config = config.clone();
    if let Some(path) = config.pointer_mut("/root/path") {
        *path = json!(root);
    }
    fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
    let spec = match spec::load(bundle.path()) {
        Ok(spec) => spec,
        Err(error) => return error.to_string(),
    };
    if let Err(error) = spec::check(&spec) {
        return error.to_string();
    }
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    // Hooks are no part of a plan: what becomes of them is seen where they are run.
    let mut text = format!("{}{:?}\n", plan(spec.clone()), spec.hooks());
    for unified in [false, true] {
        let (folder, layout) = hierarchies(unified);
        let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
        let path = path.map_or(String::from("some"), |path| path.display().to_string());
        let made = Cgroup::at(&layout, &path).and_then(|c| c.create(resources.as_ref(), None));
        text += &made.err().map(|error| error.to_string()).unwrap_or_default();
        files_below(folder.path(), &mut text);
        text = text.replace(&folder.path().display().to_string(), "CGROUPS");
    }
    text.replace(&bundle.path().display().to_string(), "BUNDLE")
}

/// The plan without limits, which are seen in the cgroup's files, and without what differs from run to run.
fn plan(mut spec: Spec) -> String {
    if let Some(linux) = spec.linux_mut() {
        linux.set_resources(None);
    }
    match Plan::new(&spec, None, Choices::default()) {
        Err(error) => error.to_string(),
        Ok(plan) => {
            let text = format!("{plan:#?}");
            let (begin, rest) = text.split_once("descriptors: [").expect("the field");
            let (_, end) = rest.split_once(']').expect("its end");
            let is_number = |line: &&str| ["fd: ", "0x"].iter().any(|n| line.trim().starts_with(n));
            let lines = begin.lines().chain(end.lines()).filter(|line| !is_number(line));
            lines.map(|line| format!("{line}\n")).collect()
        }
    }
}

/// Hierarchies of plain files, all that a kernel with everything would have.
fn hierarchies(unified: bool) -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().to_owned();
    let v1 = "cpu cpuset memory pids blkio hugetlb net_cls net_prio rdma devices";
    let v2 = "memory.swap.max io.bfq.weight cpu.max.burst hugetlb.2MB.rsvd.max";
    let v1_files = "memory.memsw.limit_in_bytes blkio.weight blkio.weight_device blkio.leaf_weight \
                    blkio.leaf_weight_device cpu.cfs_burst_us cpu.idle hugetlb.2MB.rsvd.limit_in_bytes";
    for name in ["some", "box/one"] {
        fs::create_dir_all(mount.join(name)).unwrap();
        for file in if unified { v2 } else { v1_files }.split_whitespace() {
            fs::write(mount.join(name).join(file), "").unwrap();
        }
        fs::write(mount.join(name).join("memory.current"), "5000000").unwrap();
        // The first rule that is written is seen in the error.
        fs::create_dir(mount.join(name).join("devices.allow")).unwrap();
    }
    fs::write(mount.join("cgroup.controllers"), "cpu cpuset memory pids io hugetlb rdma").unwrap();
    let controllers = v1.split(' ').map(str::to_owned).collect();
    let layout = if unified {
        Layout { v1: Vec::new(), v2: Some(mount) }
    } else {
        Layout { v1: vec![Hierarchy { mount, controllers }], v2: None }
    };
    (folder, layout)
}

fn files_below(folder: &Path, text: &mut String) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files_below(&path, text);
        } else {
            *text += &format!("{}: {:?}\n", path.display(), fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn what_the_document_says_of_each_field_is_what_happens() {
    let root = tempfile::tempdir().unwrap();
    let fragments: Vec<Value> = serde_json::from_str(FRAGMENTS).unwrap();
    let mut wrong = Vec::new();
    for Row { field, state } in rows() {
        let mut config = json!({
            "ociVersion": "1.3.0", "root": {"path": "/"},
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/"},
            "linux": {"namespaces": [{"type": "mount"}]},
        });
        let mut fragments = fragments.iter().cloned();
        let Some(fragment) = fragments.find(|f| !holders(&mut f.clone(), &field).is_empty()) else {
            wrong.push(format!("{field}: no fragment has it"));
            continue;
        };
        merge(&mut config, fragment);
        let with = outcome(&config, root.path());
        let name = field.rsplit_once('.').map_or(field.as_str(), |(_, name)| name);
        for holder in holders(&mut config, &field) {
            holder.remove(name);
        }
        let without = outcome(&config, root.path());
        let named = |text: &str| {
            let plain = field.replace("[]", "");
            let mut ends = plain.match_indices('.').map(|(at, _)| &plain[..at]).collect::<Vec<_>>();
            ends.push(&plain);
            ends.iter().any(|begin| text.contains(&format!("config.json: {begin}")))
        };
        let is_true = match state.as_str() {
            "done" => with != without && !with.contains("is not supported"),
            "ignored" => with == without,
            "refused" => with.contains("is not supported") && named(&with),
            other => panic!("{field}: {other} is none of done, ignored, refused"),
        };
        if !is_true {
            let differs = with.lines().zip(without.lines()).find(|(with, without)| with != without);
            let begin = with.lines().next();
            wrong.push(format!("{field} is not {state}: {begin:?} …, differs in {differs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} fields\n{}", wrong.len(), wrong.join("\n"));
}

//! What is printed for programs is what docs/schema describes: every field, and no other.

use std::fs;

use minibox_tests::{Caller, Sandbox, checkout, wait_until};
use serde_json::Value;

fn schema(name: &str) -> Value {
    let path = checkout().join("docs/schema").join(name).with_extension("json");
    serde_json::from_str(&fs::read_to_string(path).expect("a schema")).expect("JSON")
}

/// What of `value` is not as `schema` says, for the keywords that our schemas use.
fn check(value: &Value, schema: &Value, at: &str, wrong: &mut Vec<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{at}: the schema has no type"),
    };
    if !kinds.contains(&kind) {
        wrong.push(format!("{at} is {kind} and not {kinds:?}"));
        return;
    }
    if schema["enum"].as_array().is_some_and(|known| !known.contains(value)) {
        wrong.push(format!("{at} is {value}, and the schema knows {}", schema["enum"]));
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        check(item, &schema["items"], &format!("{at}[{number}]"), wrong);
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(key).is_none() && !value.is_null() {
            wrong.push(format!("{at}.{key} is missing"));
        }
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let place = format!("{at}.{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (known @ Value::Object(_), _) => check(item, known, &place, wrong),
            (_, any @ Value::Object(_)) => check(item, any, &place, wrong),
            (_, Value::Bool(false)) => wrong.push(format!("{place} is not in the schema")),
            _ => {}
        }
    }
}

#[track_caller]
fn must_fit(value: &Value, name: &str) {
    let mut wrong = Vec::new();
    check(value, &schema(name), "", &mut wrong);
    assert!(wrong.is_empty(), "{name}: {wrong:#?}");
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn what_verbs_print_is_what_is_described() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("shared").display().to_string();
        let volume = format!("{folder}:/shared:ro");
        sandbox.start(
            &[
                "--name",
                "web",
                "-l",
                "a.b=1",
                "-l",
                "alone",
                "--restart",
                "on-failure:2",
                "-v",
                &volume,
                "--tmpfs",
                "/scratch",
                "--cap-add",
                "NET_ADMIN",
                "--cap-drop",
                "KILL",
                "-e",
                "X=1",
                "-it",
                "--annotation",
                "x=y",
                "-v",
                "data:/data",
                "--health-cmd",
                "true",
                "--health-interval",
                "100ms",
            ],
            &["sleep", "1000"],
        );
        sandbox.run(&["--name", "over"], &["sh", "-c", "exit 3"]).code(3);
        sandbox.call(&["create", "--name", "new", &sandbox.rootfs(), "true"]).code(0);
        sandbox.call(&["exec", "web", "true"]).code(0);
        wait_until("the first health check", || {
            sandbox.inspect("web")["State"]["Health"]["Status"] == "healthy"
        });
        let inspected = sandbox.call(&["inspect", "-s", "--format", "json", "web", "over", "new"]);
        let inspected: Value = serde_json::from_str(inspected.ok()).expect("JSON");
        for container in inspected.as_array().expect("a list") {
            must_fit(container, "container");
        }
        must_fit(&sandbox.inspect("web"), "container");
        for schema in
            ["caps", "mem", "mounts", "net", "ns", "proc", "seccomp", "threads", "tree", "why"]
        {
            let seen = sandbox.call(&[schema, "--format", "json", "web"]);
            must_fit(&serde_json::from_str(seen.ok()).expect("JSON"), schema);
        }
        let rows = lines(sandbox.call(&["stats", "--no-stream", "-a", "--format", "json"]).ok());
        assert_eq!(rows.len(), 3);
        for row in &rows {
            must_fit(row, "stats");
        }
        for (schema, words) in [
            ("audit", &[][..]),
            ("audit", &["web"]),
            ("audit", &["--self"]),
            ("ns", &["web", "self"]),
            ("proc", &["web", "status"]),
            ("proc", &["1"]),
            ("threads", &["1"]),
            ("tree", &["--all", "--threads"]),
            ("why", &["over"]),
            ("why", &["1"]),
        ] {
            let seen = sandbox.call(&[&[schema, "--format", "json"], words].concat());
            must_fit(&serde_json::from_str(seen.ok()).expect("JSON"), schema);
        }
        for row in lines(sandbox.call(&["ps", "-as", "--format", "json"]).ok()) {
            must_fit(&row, "ps");
        }
        for verb in [&["volume", "inspect", "data"][..], &["inspect", "--type", "volume", "data"]] {
            let all: Value = serde_json::from_str(sandbox.call(verb).ok()).expect("JSON");
            must_fit(&all[0], "volume");
        }
        for row in lines(sandbox.call(&["volume", "ls", "--format", "json"]).ok()) {
            must_fit(&row, "volume-ls");
        }
        sandbox.call(&["rm", "-f", "web"]).code(0);
        sandbox.call(&["volume", "rm", "data"]).code(0);
        let events = lines(sandbox.call(&["events", "--until", "0s"]).ok());
        assert!(events.len() > 8, "{events:?}");
        for event in &events {
            must_fit(event, "event");
        }
        for verb in ["info", "version"] {
            let ran = sandbox.call(&[verb, "--format", "json"]);
            must_fit(&serde_json::from_str(ran.ok()).expect("JSON"), verb);
        }
    }
}

/// Every field that has a name has a meaning.
fn described(schema: &Value, at: &str) {
    for (key, field) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{at}.{key}");
        assert!(
            field["description"]
                .as_str()
                .is_some_and(|text| text.ends_with('.') || text.ends_with('…')),
            "{place}"
        );
        described(field, &place);
        described(&field["items"], &place);
        described(&field["additionalProperties"], &place);
    }
}

#[test]
fn every_field_has_a_meaning_and_every_schema_is_in_the_document() {
    let document = fs::read_to_string(checkout().join("docs/schema.md")).expect("the document");
    for entry in fs::read_dir(checkout().join("docs/schema")).expect("a folder").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        assert!(document.contains(&format!("(schema/{name})")), "{name}");
        described(&schema(&name), &name);
    }
}

#[test]
fn a_field_too_many_or_too_few_is_found() {
    let mut version = serde_json::json!({"Client": {"Version": "1", "GitCommit": "", "Os": "", "Arch": "", "Spec": ""}});
    must_fit(&version, "version");
    let problems = |value: &Value| {
        let mut wrong = Vec::new();
        check(value, &schema("version"), "", &mut wrong);
        wrong.join(" ")
    };
    version["Client"]["Extra"] = 1.into();
    assert_eq!(problems(&version), ".Client.Extra is not in the schema");
    assert_eq!(problems(&serde_json::json!({})), ".Client is missing");
    assert!(problems(&serde_json::json!({"Client": 1})).contains("integer"));
}

//! `--format`, the same for every verb: a table, JSON, or a template as docker takes it.

use minibox_tests::{Caller, Sandbox};

#[test]
fn lists_come_as_lines_columns_or_json() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--name", "web", "-l", "com.x.my-app=1"], &["sleep", "1000"]);
        let ps = |format: &str| sandbox.call(&["ps", "--format", format]).ok().to_owned();
        assert_eq!(ps("{{.Names}} {{.ID}} {{.State}}"), format!("web {} running", &id[..12]));
        assert_eq!(ps(r"{{.Names}}\t{{.State}}"), "web\trunning");
        assert_eq!(ps(r#"{{.Label "com.x.my-app"}}{{.Label "none"}}|"#), "1|");
        let table = ps(r#"table {{upper .Names}}\t{{.State}}\t{{.Label "com.x.my-app"}}"#);
        assert_eq!(table, "NAMES     STATE     my app\nWEB       running   1");
        let json: serde_json::Value = serde_json::from_str(&ps("json")).expect("one object");
        assert_eq!(json["Names"], "web");
        assert_eq!(ps("{{json .Names}}"), "\"web\"");
        // Without an entry there are the headings, or nothing.
        sandbox.call(&["rm", "-f", "web"]).code(0);
        assert_eq!(ps("table {{.ID}}"), "CONTAINER ID");
        assert_eq!(ps("{{.ID}}") + &ps("json"), "");
    }
}

#[test]
fn documents_come_whole_or_through_a_template() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--name", "web", "-e", "A=1", "-l", "x=y"], &["sleep", "1000"]);
        sandbox.start(&["--name", "db"], &["sleep", "1000"]);
        let inspect =
            |format: &str| sandbox.call(&["inspect", "-f", format, "web"]).ok().to_owned();
        assert_eq!(inspect("{{.Id}} {{.ID}} {{.Name}}"), format!("{id} {id} web"));
        assert_eq!(inspect("{{.State.Pid}}"), sandbox.pid("web").to_string());
        assert!(inspect("{{range .Config.Env}}<{{.}}>{{end}}").contains("<A=1>"));
        assert_eq!(inspect("{{if .State.Health}}checked{{else}}not checked{{end}}"), "not checked");
        assert_eq!(inspect("{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}}{{end}}"), "x:y");
        assert_eq!(
            inspect("{{join .Args \",\"}} {{len .Args}} {{.Config.Labels.none}}"),
            "1000 1 <no value>"
        );
        // Docker's: only lists take `\t` for a tab.
        assert_eq!(inspect(r"{{.Name}}\t"), r"web\t");
        let both = sandbox.call(&["inspect", "--format", "{{.Name}}", "web", "db"]);
        assert_eq!(both.ok(), "web\ndb");
        let json = sandbox.call(&["inspect", "--format", "json", "web"]);
        assert_eq!(json.ok().lines().count(), 1);
        let version = sandbox.call(&["version", "-f", "{{.Client.Version}}"]);
        assert_eq!(version.ok(), env!("CARGO_PKG_VERSION"));
        assert_eq!(sandbox.call(&["info", "-f", "{{.ContainersRunning}}"]).ok(), "2");
    }
}

#[test]
fn a_mistake_names_its_place_and_what_is_known() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    sandbox.start(&["--name", "web"], &["sleep", "1000"]);
    let wrong = |args: &[&str], code: i32, says: &[&str]| {
        let ran = sandbox.call(args);
        ran.code(code);
        for text in says {
            ran.says(text);
        }
    };
    wrong(
        &["ps", "--format", "{{.Nam}}"],
        125,
        &[
            "--format \"{{.Nam}}\", character 3: there is no .Nam",
            "hint: the fields are .Command",
            ".Names",
        ],
    );
    wrong(&["ps", "--format", "table {{.Nam}}"], 125, &["there is no .Nam"]);
    wrong(&["ps", "--format", "{{if .ID}}"], 125, &["if without end"]);
    wrong(&["inspect", "-f", "{{.State.Pie}}", "web"], 1, &["there is no .Pie in .State", ".Pid"]);
    wrong(&["inspect", "-f", "{{nope}}", "web"], 125, &["there is no function \"nope\"", "printf"]);
    wrong(&["events", "--format", "{{.Nope}}"], 125, &["there is no .Nope"]);
    wrong(&["version", "-f", "{{"], 125, &["`{{` without `}}`"]);
}

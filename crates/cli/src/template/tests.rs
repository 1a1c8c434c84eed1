//! What docker's own client prints for the same templates and values, and what no template may do.

use serde_json::{Value, json};

use super::Template;

fn container() -> Value {
    json!({
        "Id": "9fc9", "Name": "web", "Path": "sleep", "Args": ["10", "x y"],
        "State": {"Status": "running", "Running": true, "Pid": 1234, "Health": null},
        "Config": {"Env": ["A=1", "B=2"], "Labels": {"z": "2", "a.b": "1"}, "Cmd": []},
        "Mounts": [{"Source": "/s", "RW": true}, {"Source": "/t", "RW": false}],
        "Share": 0.5,
    })
}

#[track_caller]
fn shows(template: &str, text: &str) {
    let template = Template::parse(template).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(template.render(&container()).unwrap_or_else(|error| panic!("{error}")), text);
}

#[track_caller]
fn fails(template: &str, why: &str) {
    let error = Template::parse(template).and_then(|template| template.render(&container()));
    let error = error.expect_err(template).to_string();
    assert!(error.contains(why), "{why:?} is not in {error}");
}

#[test]
fn fields_and_literals() {
    shows("no action", "no action");
    shows("{{.Name}} {{ .State.Pid }}{{.State.Running}}", "web 1234true");
    shows("{{.ID}} {{.id}} {{.Id}}", "9fc9 9fc9 9fc9");
    shows("{{.Args}} {{.Config.Labels}} {{.Config.Cmd}}", "[10 x y] map[a.b:1 z:2] []");
    shows("{{.State.Health}}|{{.Config.Labels.none}}", "<no value>|<no value>");
    shows(r#"{{`raw\`}} {{"\t|\u00e9\x41\U0001F40B\\\""}}"#, "raw\\ \t|éA🐋\\\"");
    shows("{{1}} {{-1}} {{1.5}} {{1e3}} {{0x1f}} {{1_000}} {{true}}", "1 -1 1.5 1000 31 1000 true");
    shows("{{(index .Mounts 0).Source}} {{((.State)).Pid}}", "/s 1234");
    shows("이름 {{.Name}} 끝", "이름 web 끝");
    shows("}} { {", "}} { {");
}

#[test]
fn blanks_are_trimmed_and_comments_vanish() {
    shows("{{ .State.Pid -}}   x   {{- \"y\" }}", "1234xy");
    shows("a {{- /* c */ -}} b{{/* }} */}}c", "abc");
    shows("a  {{-1}}", "a  -1");
}

#[test]
fn branches_and_loops() {
    shows("{{if eq .State.Status \"running\"}}r{{else if true}}b{{else}}n{{end}}", "r");
    shows("{{if .Config.Cmd}}r{{else if not 0}}b{{else}}n{{end}}", "b");
    shows("{{if \"\"}}r{{else}}n{{end}}", "n");
    shows("{{with .State}}{{.Pid}} {{$.Name}}{{end}}", "1234 web");
    shows("{{with .State.Health}}{{.Status}}{{else}}none{{end}}", "none");
    shows("{{range .Args}}<{{.}}>{{else}}none{{end}}", "<10><x y>");
    shows("{{range .Config.Cmd}}<{{.}}>{{else}}none{{end}}", "none");
    shows("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}", "a.b=1 z=2 ");
    shows("{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}", "A=1,B=2");
    shows("{{range $e := .Args}}{{$e}};{{end}}", "10;x y;");
    shows("{{$x := 1}}{{range .Args}}{{$x = .}}{{end}}{{$x}}", "x y");
    shows("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1");
    shows("{{range .Args}}{{.}}{{break}}{{end}}", "10");
    shows("{{range .Mounts}}{{if .RW}}{{continue}}{{end}}{{.Source}}{{end}}", "/t");
    shows("{{$s := .State}}{{$s.Pid}}", "1234");
}

#[test]
fn functions() {
    shows(
        "{{json .Config.Env}} {{json .Name}} {{json .State.Health}}",
        r#"["A=1","B=2"] "web" null"#,
    );
    shows(
        r#"{{join .Args ","}} {{split "a,b" ","}} {{title "hello world"}}"#,
        "10,x y [a b] Hello World",
    );
    shows(r#"{{pad "x" 1 2}}|{{pad "" 1 2}}|{{truncate "hello" 3}}"#, " x  ||hel");
    shows(
        r#"{{lower "ABC"}} {{upper "abc"}} {{"abc" | upper | printf "<%s>" | len}}"#,
        "abc ABC 5",
    );
    shows(r#"{{println "a" 1 true}}x{{print 1 2 "a" "b" 3}}"#, "a 1 true\nx1 2ab3");
    shows(
        r#"{{len .Args}} {{len "héllo"}} {{slice "hello" 1 3}} {{slice .Args 1}}"#,
        "2 6 el [x y]",
    );
    shows(
        r#"{{index .Config.Labels "a.b"}}{{index .Config.Labels "none"}} {{index .Args 1}}"#,
        "1 x y",
    );
    shows(
        "{{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1 1.5}} {{ge \"b\" \"a\"}}",
        "true true true false true",
    );
    shows("{{eq 1 2 3 1}} {{eq true false}} {{eq .State.Health nil}}", "true false true");
    shows(
        "{{and 1 0 2}} {{or \"\" \"x\"}} {{not \"\"}} {{or false (index .Args 1)}}",
        "0 x true x y",
    );
    shows("{{and false (index .Args 9)}}", "false");
    shows("{{.State.Pid | printf \"%d-%d\" 5}} {{.Args | len | eq 2}}", "5-1234 true");
    shows(
        r#"{{printf "%5d|%-6s|%q|%v|%t|%x|%d|%05d|%.2f|%%|%.2s" 3 "a" "b\"" .Args true "hi" "str" 7 1.5 "abc"}}"#,
        r#"    3|a     |"b\""|[10 x y]|true|6869|%!d(str)|00007|1.50|%|ab"#,
    );
    shows(r#"{{printf "%s %z" "a"}}{{printf "%"}}"#, "a %!z(MISSING)%!(NOVERB)");
}

#[test]
fn mistakes_name_the_place_and_what_is_known() {
    fails("{{.Nam}}", "character 3: there is no .Nam\n  hint: the fields are .Id .Name .Path");
    fails("{{.State.Pie}}", "there is no .Pie in .State\n  hint: the fields in .State are .Status");
    fails("이름 {{.State.Pid.X}}", "character 16: .X: .Pid is a number");
    fails("{{.State.Health.Status}}", ".Status: .Health is null");
    fails("{{foo .X}}", "there is no function \"foo\"\n  hint: functions are and eq");
    fails("{{if .A", "character 1: `{{` without `}}`");
    fails("{{if true}}x", "if without end");
    fails("{{if true}}{{else}}{{else}}{{end}}", "a second else");
    fails("{{end}}", "end without");
    fails("{{else}}", "else without");
    fails("{{}}", "is missing here");
    fails("{{.A |}}", "is missing here");
    fails("{{.A | .B}}", "a function must stand behind a pipe");
    fails("{{\"abc}}", "a quote without its end");
    fails("{{\"\\q\"}}", "escape");
    fails("{{\"a\" \"b\"}}", "only a function takes arguments");
    fails("{{.Name \"x\"}}", "only a function takes arguments");
    fails("{{$y}}", "there is no variable $y");
    fails("{{index .Args 7}}", "there is no entry 7 among 2");
    fails("{{lower .State.Pid}}", "lower takes a text, and this is a number");
    fails("{{json}}", "json takes 1");
    fails("{{eq \"a\" 1}}", "eq cannot compare a text with a number");
    fails("{{range .Name}}{{end}}", "range goes through a list");
    fails("{{break}}", "break outside of range");
    fails("{{(len .Args}}", "`(` without `)`");
    fails("{{len .Args)}}", "nothing may stand here");
    fails("{{define \"x\"}}{{end}}", "define is not supported");
    fails("{{#}}", "'#' has no meaning");
    fails(&"{{if 1}}".repeat(1000), "nested more than");
    fails(&format!("{{{{{}", "(".repeat(100_000)), "");
    fails(&format!("{{{{{}1}}}}", "(".repeat(100_000)), "nested more than");
}

#[test]
fn headings_are_fields_names_whatever_is_done_with_them() {
    let headers = json!({"ID": "CONTAINER ID", "State": "STATE"});
    let heading = |text: &str| Template::parse(text).unwrap().headings(&headers).unwrap();
    assert_eq!(heading("{{.ID}}\t{{upper .State}}\t{{json .State}}"), "CONTAINER ID\tSTATE\tSTATE");
    assert_eq!(heading("{{.Label \"com.x.a-b_c\"}} {{pad .ID 1 0}}"), "a b c  CONTAINER ID");
    assert_eq!(heading("{{join .State \",\"}}{{range .State}}x{{end}}"), "STATE");
}

#[test]
fn a_row_has_labels() {
    let labels = super::Labels::from([("a.b".to_owned(), "1".to_owned())]);
    let row = |text: &str| Template::parse(text)?.row(&json!({"ID": "9"}), &labels);
    assert_eq!(row("{{.ID}} {{.Label \"a.b\"}}{{.Label \"c\"}}").unwrap(), "9 1");
    assert!(row("{{.Label}}").is_err());
}

/// Anything at all is understood or refused; nothing ends the program.
#[test]
fn no_template_can_break_anything() {
    let parts = [
        "{{",
        "}}",
        "{{-",
        "-}}",
        " ",
        ".",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        ",",
        "if",
        "else",
        "end",
        "range",
        "with",
        "break",
        "continue",
        ".State",
        ".Args",
        ".Name",
        "\"",
        "`",
        "\\",
        "/*",
        "*/",
        "1",
        "-",
        "0x",
        "1e999",
        "é",
        "\u{10ffff}",
        "\n",
        "\t",
        "index",
        "slice",
        "printf",
        "\"%999d%s%.9f\"",
        "len",
        "json",
        "eq",
        "and",
        "or",
        "not",
        "truncate",
        "pad",
        "99999999999999999999",
        "nil",
        "true",
        "{{range .Args}}",
        "{{if 1}}",
        "{{end}}",
        "\"\\u",
        "{{.}}",
        "'",
        "title",
        "join",
        "split",
    ];
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let mut understood = 0;
    for _ in 0..60_000 {
        let inside: String = (0..random(10)).map(|_| parts[random(parts.len())]).collect();
        let inside =
            if random(2) == 0 { format!("{{{{{}}}}}", inside.replace("}}", " ")) } else { inside };
        if let Ok(template) = Template::parse(&inside) {
            understood += usize::from(template.render(&container()).is_ok());
            let _ = template.headings(&json!({"State": "STATE"}));
        }
    }
    assert!(understood > 1000, "{understood}");
}

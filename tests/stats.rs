//! `minibox stats`: docker's columns, with the numbers of the cgroup's files.

use std::fs;

use minibox_tests::{Beside, Caller, Sandbox, cgroup_file, limit, on_a_terminal_of, wait_until};
use serde_json::Value;

/// The line of each container.
fn lines(sandbox: &Sandbox, more: &[&str]) -> Vec<Value> {
    let args = [&["stats", "--no-stream", "--no-trunc", "--format", "json"], more].concat();
    let ran = sandbox.call(&args);
    ran.ok().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// `12.5MiB` in bytes; exact to four digits.
fn bytes(text: &str) -> f64 {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let power =
        ["B", "KiB", "MiB", "GiB", "TiB"].iter().position(|unit| text[digits.len()..] == **unit);
    digits.parse::<f64>().expect("a number") * 1024_f64.powi(power.expect("a unit") as i32)
}

#[test]
fn numbers_are_those_of_the_cgroup() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let limits: &[&str] =
            if caller.has_limits() { &["-m", "64m", "--pids-limit", "20"] } else { &[] };
        let id = sandbox.start(&[&["--name", "web"], limits].concat(), &["sleep", "1000"]);
        sandbox.start(&["--name", "busy"], &["sh", "-c", "sleep 1234 & while :; do :; done"]);
        sandbox.run(&["--name", "over"], &["true"]).code(0);
        let pid = sandbox.pid("web");
        let line = &lines(&sandbox, &["web"])[0];
        assert_eq!((&line["ID"], &line["Name"]), (&id.as_str().into(), &"web".into()));
        assert_eq!((&line["Container"], &line["PIDs"]), (&"web".into(), &"1".into()));
        let (used, most) =
            line["MemUsage"].as_str().and_then(|t| t.split_once(" / ")).expect("two");
        assert_eq!(line["Source"] == "cgroup", caller.has_limits(), "{line}");
        if caller.has_limits() {
            assert_eq!(most, "64MiB");
            let now: f64 = limit(pid, "memory", "memory.current", "memory.usage_in_bytes")
                .parse()
                .expect("a number");
            let stat = fs::read_to_string(cgroup_file(pid, "memory", "memory.stat")).expect("stat");
            let key = if stat.contains("total_inactive_file") {
                "total_inactive_file "
            } else {
                "inactive_file "
            };
            let idle = stat.lines().find_map(|line| line.strip_prefix(key)).expect("a line");
            let expected = now - idle.parse::<f64>().expect("a number");
            // It sleeps, but the kernel charges in batches.
            assert!((bytes(used) - expected).abs() < 600_000.0, "{line}: {expected}");
        } else {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it lives");
            let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a line");
            let pss = pss.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0;
            assert!((bytes(used) - pss).abs() < 600_000.0, "{line}: {pss}");
        }
        // What the kernel counts for the whole host is not the container's.
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
        let is_own = caller.has_limits() && !groups.lines().any(|line| line == "0::/");
        assert_eq!(line["CPUPressure"] != "--", is_own, "{line}");
        // With no network but lo nothing comes in.
        assert_eq!(line["NetIO"], "0B / 0B");

        let busy = &lines(&sandbox, &["busy"])[0];
        assert_eq!(busy["PIDs"], "2", "{busy}");
        let cpu = busy["CPUPerc"].as_str().and_then(|t| t.strip_suffix('%')).expect("percent");
        assert!(cpu.parse::<f64>().expect("a number") > 1.0, "{busy}");

        let names = |more: &[&str]| {
            let mut names: Vec<String> =
                lines(&sandbox, more).iter().map(|line| line["Name"].to_string()).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(names(&[]), r#""busy" "web""#);
        assert_eq!(names(&["-a"]), r#""busy" "over" "web""#);
        let over = &lines(&sandbox, &["over"])[0];
        assert_eq!((&over["CPUPerc"], &over["MemUsage"]), (&"--".into(), &"-- / --".into()));
        sandbox.call(&["stats", "nobody"]).code(125).says("there is no container \"nobody\"");
    }
}

#[test]
fn the_table_is_dockers() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--name", "web"], &["sleep", "1000"]);
        let ran = sandbox.call(&["container", "stats", "--no-stream"]);
        let heading = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT";
        assert!(ran.ok().starts_with(heading), "{ran:?}");
        assert!(ran.ok().lines().nth(1).is_some_and(|line| line.starts_with(&id[..12])), "{ran:?}");
        assert_eq!(ran.stderr.contains("without a cgroup of its own"), !caller.has_limits());
        let template = "table {{.Container}}\t{{.PIDs}}";
        let ran = sandbox.call(&["stats", "--no-stream", "--format", template]);
        assert_eq!(ran.ok(), format!("CONTAINER      PIDS\n{}   1", &id[..12]));
        for columns in [40, 80, 160] {
            let args = ["stats", "--no-stream"];
            let shown = on_a_terminal_of(columns, &mut sandbox.minibox(&args)).stdout;
            assert!(shown.contains("NAME") && shown.contains("CPU %"), "{shown}");
            assert!(shown.lines().all(|line| line.chars().count() <= columns.into()), "{shown}");
        }
    }
}

#[test]
fn those_that_come_and_go_are_followed() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "one"], &["sleep", "1000"]);
        let all = Beside::spawn(&mut sandbox.minibox(&["stats", "--format", "{{.Name}}"]));
        let one = Beside::spawn(&mut sandbox.minibox(&["stats", "--format", "<{{.Name}}>", "one"]));
        one.wait_for("<one>");
        all.wait_for("one");
        sandbox.start(&["--name", "two"], &["sleep", "1000"]);
        all.wait_for("two");
        sandbox.call(&["rm", "-f", "one"]).code(0);
        // Whom it was asked for is gone.
        one.end().code(0);
        let count = || all.printed()[0].matches("two").count();
        let before = count();
        wait_until("it goes on", || count() > before + 1);
        let last = all.printed()[0].lines().rev().take(2).collect::<Vec<_>>().join(" ");
        assert_eq!(last, "two two");
    }
}

#[test]
fn any_process_can_be_asked_for() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--name", "web"], &["sleep", "1000"]);
        let pid = sandbox.pid("web").to_string();
        let line = &lines(&sandbox, &[&pid])[0];
        assert_eq!((&line["Container"], &line["Name"]), (&pid.into(), &"sleep".into()), "{line}");
        assert_eq!(line["PIDs"], "1", "{line}");
        // As if another runtime had started it: its cgroup has its id.
        let (known, source) =
            if caller.has_limits() { (id.as_str(), "cgroup") } else { ("--", "processes") };
        assert_eq!((&line["ID"], &line["Source"]), (&known.into(), &source.into()), "{line}");
        let own = &lines(&sandbox, &["self"])[0];
        assert_eq!((&own["Source"], &own["NetIO"]), (&"processes".into(), &"-- / --".into()));
    }
    let sandbox = Sandbox::new(Caller::all()[0]);
    sandbox.call(&["stats", "--no-stream", "999999999"]).code(125).says("no process 999999999");
}

//! `ps`: which containers, which columns, and in whose words.

use minibox_tests::{Caller, Sandbox, on_a_terminal_of, wait_until};

/// The names that `ps OPTIONS` lists, in its order.
fn names(sandbox: &Sandbox, options: &[&str]) -> String {
    let ran = sandbox.call(&[&["ps", "--format", "{{.Names}}"], options].concat());
    ran.ok().replace('\n', " ")
}

/// What `ps -a` says of a container in its column for the status.
fn status(sandbox: &Sandbox, name: &str) -> String {
    let filter = format!("name=^{name}$");
    let ran = sandbox.call(&["ps", "-a", "-f", &filter, "--format", "{{.Status}}"]);
    ran.ok().to_owned()
}

#[test]
fn filters_are_dockers() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let shared = sandbox.folder("shared").display().to_string();
        let id = sandbox.start(
            &["--name", "web-1", "-l", "app=web", "-l", "x", "-v", &format!("{shared}:/shared")],
            &["sleep", "1000"],
        );
        sandbox.start(&["--name", "web-2", "-l", "app=web", "--net", "host"], &["sleep", "1000"]);
        sandbox.run(&["--name", "over"], &["sh", "-c", "exit 3"]).code(3);
        sandbox.call(&["create", "--name", "new", &sandbox.rootfs(), "true"]).code(0);
        let f = |filters: &[&str]| {
            let options: Vec<&str> = filters.iter().flat_map(|filter| ["-f", filter]).collect();
            names(&sandbox, &[&["-a"], &options[..]].concat())
        };
        assert_eq!(f(&[]), "new over web-2 web-1");
        assert_eq!(f(&["name=web"]), "web-2 web-1");
        assert_eq!(f(&["name=^web-1$"]), "web-1");
        assert_eq!(f(&["name=^/web-1$"]), "web-1", "docker's names begin with a slash");
        assert_eq!(f(&["name=over", "name=new"]), "new over", "alternatives");
        assert_eq!(f(&["name=[0-9]", "label=x"]), "web-1", "both must agree");
        assert_eq!(f(&["label=app=web"]), "web-2 web-1");
        assert_eq!(f(&["label=app=web", "label=x"]), "web-1", "all labels");
        assert_eq!(f(&[&format!("id={}", &id[..10])]), "web-1");
        assert_eq!(f(&["status=running"]), "web-2 web-1");
        assert_eq!(f(&["status=created", "status=exited"]), "new over");
        assert_eq!(f(&["exited=3"]), "over");
        assert_eq!(f(&["exited=0"]), "");
        assert_eq!(f(&["network=host"]), "web-2");
        assert_eq!(f(&["volume=/shared"]) + &f(&[&format!("volume={shared}")]), "web-1web-1");
        assert_eq!(f(&["before=over"]), "web-2 web-1");
        assert_eq!(f(&["since=web-2"]), "new over");
        assert_eq!(f(&["health=none"]).split(' ').count(), 4);
        assert_eq!(f(&[&format!("ancestor={}", sandbox.rootfs())]).split(' ').count(), 4);
        assert_eq!(f(&["ancestor=/nowhere"]), "");
        // A state says -a by itself, an exit code does not.
        assert_eq!(names(&sandbox, &["-f", "status=exited"]), "over");
        assert_eq!(names(&sandbox, &["-f", "exited=3"]), "");

        let wrong = |filter: &str, says: &str| {
            sandbox.call(&["ps", "-f", filter]).code(125).says(says);
        };
        wrong("nme=x", "there is no filter \"nme\" here\n  hint: filters are ancestor, before");
        wrong("name", "--filter \"name\" is not understood");
        wrong("status=on", "created, running, paused");
        wrong("exited=x", "an exit code");
        wrong("before=nobody", "there is no container \"nobody\"");
    }
}

#[test]
fn the_last_ones_whatever_they_do() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "a"], &["sleep", "1000"]);
        for name in ["b", "c"] {
            sandbox.run(&["--name", name], &["true"]).code(0);
        }
        assert_eq!(names(&sandbox, &[]), "a");
        assert_eq!(names(&sandbox, &["-l"]), "c");
        assert_eq!(names(&sandbox, &["-n", "2"]), "c b");
        assert_eq!(names(&sandbox, &["--last=9"]), "c b a");
        assert_eq!(names(&sandbox, &["-n", "1", "-f", "name=a"]), "a");
        let id = sandbox.inspect("a")["Id"].as_str().expect("an id").to_owned();
        assert_eq!(sandbox.call(&["ps", "-q"]).ok(), &id[..12]);
        assert_eq!(sandbox.call(&["ps", "-q", "--no-trunc"]).ok(), id);
        assert_eq!(sandbox.call(&["ps", "-q", "--format", "{{.Names}}"]).ok(), &id[..12]);
    }
}

#[test]
fn states_in_dockers_words() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.call(&["create", "--name", "new", &sandbox.rootfs(), "true"]).code(0);
        assert_eq!(status(&sandbox, "new"), "Created");
        sandbox.start(&["--name", "on"], &["sleep", "1000"]);
        assert!(
            status(&sandbox, "on").starts_with("Up ") && status(&sandbox, "on").contains("second")
        );
        sandbox.run(&["--name", "over"], &["sh", "-c", "exit 3"]).code(3);
        let over = status(&sandbox, "over");
        assert!(over.starts_with("Exited (3) ") && over.ends_with(" ago"), "{over}");
        let health =
            ["--name", "checked", "--health-cmd", "test -e /well", "--health-interval", "100ms"];
        sandbox.start(&health, &["sleep", "1000"]);
        assert!(status(&sandbox, "checked").ends_with(" (health: starting)"));
        wait_until("it is unhealthy", || status(&sandbox, "checked").ends_with(" (unhealthy)"));
        assert_eq!(names(&sandbox, &["-f", "health=unhealthy"]), "checked");
        sandbox.call(&["exec", "checked", "touch", "/well"]).code(0);
        wait_until("it is healthy", || status(&sandbox, "checked").ends_with(" (healthy)"));
        let restart = ["--name", "again", "--restart", "always"];
        sandbox.start(&restart, &["sh", "-c", "exit 7"]);
        wait_until("it waits for its next start", || {
            status(&sandbox, "again").starts_with("Restarting (7) ")
        });
    }
}

#[test]
fn fields_are_dockers() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let shared = sandbox.folder("a-folder-with-a-long-name").display().to_string();
        let volume = format!("{shared}:/shared");
        let options = ["--name", "web", "-l", "b=2", "-l", "a=1", "-v", &volume];
        let id = sandbox.start(&options, &["sh", "-c", "echo hello > /file; sleep 1000"]);
        wait_until("it has written", || {
            sandbox.call(&["exec", "web", "test", "-s", "/file"]).code == 0
        });
        let row = |options: &[&str]| {
            let ran = sandbox.call(&[&["ps", "--format", "json"], options].concat());
            serde_json::from_str::<serde_json::Value>(ran.ok()).expect("JSON")
        };
        let short = row(&[]);
        assert_eq!(short["ID"], id[..12]);
        assert_eq!(short["Command"], "\"sh -c 'echo hello >…\"");
        assert_eq!(short["Labels"], "a=1,b=2");
        assert_eq!(short["Pid"], sandbox.pid("web").to_string());
        assert_eq!((&short["Size"], &short["Networks"]), (&"0B".into(), &"none".into()));
        assert!(
            short["Mounts"].as_str().is_some_and(|m| m.ends_with('…') && m.chars().count() <= 15)
        );
        let long = row(&["--no-trunc", "-s"]);
        assert_eq!(long["ID"], id);
        assert_eq!(long["Command"], "\"sh -c 'echo hello > /file; sleep 1000'\"");
        assert_eq!(long["Mounts"], shared);
        let size = long["Size"].as_str().expect("a text");
        assert!(size.starts_with("6B (virtual ") && size.ends_with("MB)"), "{size}");
        // Asked for by name, without -s.
        assert_eq!(sandbox.call(&["ps", "--format", "{{.Size}}"]).ok(), size);
        assert!(
            sandbox
                .call(&["ps", "-s"])
                .ok()
                .lines()
                .all(|l| l.ends_with("SIZE") || l.ends_with(size))
        );
    }
}

#[test]
fn the_table_fits_every_terminal() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let name = "a-rather-long-name-for-a-container";
        sandbox
            .start(&["--name", name], &["sh", "-c", "sleep 1000 # 이름이 아주 긴 프로그램 하나"]);
        sandbox.run(&["--name", "over"], &["sh", "-c", "exit 137"]).code(137);
        let shown = |columns: u16, options: &[&str]| {
            let mut command = sandbox.minibox(&[&["ps", "-a"], options].concat());
            on_a_terminal_of(columns, &mut command).ok().to_owned()
        };
        for columns in [40, 41, 50, 60, 79, 80, 100, 132, 200] {
            let table = shown(columns, &[]);
            assert_eq!(table.lines().count(), 3, "{table}");
            for line in table.lines() {
                // Each Hangul letter has two columns.
                let wide = line.chars().filter(|letter| ('가'..='힣').contains(letter)).count();
                let width = line.trim_end().chars().count() + wide;
                assert!(width <= usize::from(columns), "{columns}: {width} in\n{table}");
            }
            assert!(table.contains("Exited (137)"), "{columns}:\n{table}");
        }
        assert!(shown(200, &[]).contains("HOST PID  PID INSIDE  COMMAND"));
        assert!(shown(60, &["--no-trunc"]).contains("# 이름이 아주 긴 프로그램 하나"));
        // A terminal that does not know its size is as good as none.
        assert!(shown(0, &[]).contains("COMMAND"));
    }
}

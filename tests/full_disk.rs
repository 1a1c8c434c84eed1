//! A disk that somebody else fills: containers end, are started again, stop and go all the same.

use minibox_tests::{Beside, Caller, Ran, Sandbox, remove_cgroup_parents};

/// Everyone, where root runs the tests: nobody else may mount.
fn callers(test: &str) -> Vec<Caller> {
    if Caller::root_only(test).is_empty() { Vec::new() } else { Caller::all() }
}

/// Runs `script`, in which `"$@"` is minibox with its store on a small disk of its own, `$SMALL`, that `fill`
/// fills to the last byte.
#[track_caller]
fn on_a_small_disk(sandbox: &Sandbox, script: &str) -> Ran {
    let (go, small, rootfs) = (sandbox.folder("go"), sandbox.folder("small"), sandbox.rootfs());
    let before = format!(
        "mount -t tmpfs -o size=1m,mode=700,uid={0},gid={0} tmpfs $SMALL
        export MINIBOX_DATA_DIR=$SMALL
        fill() {{ dd if=/dev/zero of=$SMALL/fill bs=1k 2>/dev/null || true; }}
        is_gone() {{ n=0; while kill -0 $1 2>/dev/null; do sleep 0.05; n=$((n+1)); [ $n -lt 200 ]; done; }}\n",
        sandbox.uid()
    );
    let script = before + script;
    let mut command = sandbox.wrapped(&["unshare", "--mount", "sh", "-euc", &script, "sh"], &[]);
    command.env("SMALL", small).env("GO", go).env("ROOTFS", rootfs);
    let ran = Beside::spawn(&mut command).end();
    remove_cgroup_parents(&sandbox.path("small"));
    ran
}

#[test]
fn how_it_ended_is_written_down_and_it_is_started_again() {
    for caller in callers("the end of a container on a full disk") {
        let sandbox = Sandbox::new(caller);
        let script = r#"
            "$@" run -d -q --name c --restart on-failure:2 -v $GO:/go $ROOTFS sh -c '
                echo >> /go/starts; while [ ! -e /go/on ]; do sleep 0.02; done; exit 5' > $GO/id
            fill
            touch $GO/on
            echo code $("$@" wait c), $("$@" inspect -f '{{.RestartCount}}' c) times, $(wc -l < $GO/starts) starts
            # Again and again.
            rm $GO/on
            "$@" start c
            "$@" stop -t 0 c 2> /dev/null
            "$@" inspect -f '{{.State.ExitCode}} {{.Minibox.halted}}' c
            "$@" rm c
            "$@" gc"#;
        let ran = on_a_small_disk(&sandbox, script);
        assert_eq!(ran.ok(), "code 5, 2 times, 3 starts\nc\nc\n137 user\nc", "{caller:?}: {ran:?}");
    }
}

#[test]
fn where_nothing_at_all_can_be_written_stop_and_kill_still_end_it() {
    for caller in callers("stop where nothing can be written") {
        for verb in ["stop -t 0", "kill"] {
            let sandbox = Sandbox::new(caller);
            let script = r#"
                "$@" run -d -q --name c --restart always $ROOTFS sleep 1000 > $GO/id
                pid=$("$@" inspect -f '{{.State.Pid}}' c)
                rm $SMALL/containers/*/container.spare
                fill
                "$@" VERB c || echo failed
                is_gone $pid
                "$@" ps -a --format '{{.State}}'
                rm $SMALL/fill
                "$@" ps -a --format '{{.State}}'
                "$@" rm -f c"#;
            let ran = on_a_small_disk(&sandbox, &script.replace("VERB", verb));
            ran.says("ENOSPC");
            assert_eq!(ran.ok(), "failed\nexited\nexited\nc", "{caller:?}: {ran:?}");
        }
    }
}

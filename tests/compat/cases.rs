//! The script of everyday commands, case by case. compat/lane plays it to each engine, and says what `box`,
//! `differs`, `differs_for`, `quietly`, `until_it` do. Options that only say less (`-q`) keep notes to people
//! off standard error where they are not what the case is about.

use super::Case;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "the program's output and exit code are run's",
        script: r#"
            box run --rm $ROOT echo hello
            box run --rm $ROOT sh -c 'echo out; echo err >&2; exit 3'
            box run --rm $ROOT sh -c 'echo "$0" "$@"' a 'b c' --d"#,
    },
    Case {
        name: "exit codes 125, 126 and 127",
        script: r#"
            box run --no-such-flag $ROOT true
            box run --rm $ROOT /etc/passwd
            box run --rm $ROOT no-such-program
            box run --rm $ROOT /no/such/program
            differs 'exit code 125, as docker' box run --rm -u nobody-of-that-name $ROOT true"#,
    },
    Case {
        name: "exit codes of signals",
        script: r#"
            box run -dq --name killed $ROOT sleep 1000
            box kill killed
            box wait killed
            box run -dq --name stopped --init $ROOT sleep 1000
            box stop stopped
            box wait stopped
            box inspect --format '{{.State.ExitCode}}' killed stopped"#,
    },
    Case {
        name: "standard input",
        script: r#"
            echo typed | box run --rm -i $ROOT cat
            echo typed | box run --rm $ROOT cat
            printf 'a\nb\nc\n' | box run --rm --interactive $ROOT head -n 1
            echo 'by descriptor' >file
            quietly run --rm --preserve-fds 1 $ROOT sh -c 'cat <&3' 3<file"#,
    },
    Case {
        name: "environment",
        script: r#"
            printf '# a comment\n\nFROM_FILE=file\nBOTH=file\nHOSTS\nSPACES= a b \n' >env
            printf 'SECOND=2\n' >env2
            export HOSTS='of the host' BARE=bare
            box run --rm -e A=1 -e BARE -e EMPTY= $ROOT sh -c 'echo "$A $BARE ${EMPTY-unset}"'
            box run --rm -e NOT_SET $ROOT sh -c 'env | grep NOT_SET'
            box run --rm --env-file env --env-file env2 -e BOTH=flag $ROOT sh -c 'echo "$FROM_FILE $BOTH $HOSTS [$SPACES] $SECOND"'
            box run --rm --env 'A=x=y z' $ROOT sh -c 'echo "$A"'
            box run --rm --env-file missing $ROOT true"#,
    },
    Case {
        name: "environment without a word",
        script: r#"
            box run --rm $ROOT sh -c 'echo "$HOME $PATH"'
            box run --rm --hostname host $ROOT sh -c 'echo "$HOSTNAME"'"#,
    },
    Case {
        name: "working directory",
        script: r#"
            box run --rm $ROOT pwd
            box run --rm -w /usr/bin $ROOT pwd
            box run --rm --workdir=/tmp $ROOT pwd
            differs 'made, as docker' box run --rm -w /missing $ROOT pwd
            differs 'exit code 125, as docker' box run --rm -w relative $ROOT pwd
            differs 'exit code 125, as docker' box run --rm -w /etc/passwd $ROOT pwd"#,
    },
    Case {
        name: "user",
        script: r#"
            box run --rm $ROOT id -u
            box run --rm -u root $ROOT id -u
            differs_for single-id 'this caller has but one id' box run --rm -u 1000 $ROOT id
            differs_for single-id 'this caller has but one id' box run --rm -u 1000 $ROOT sh -c 'echo "$HOME"'
            differs_for single-id 'this caller has but one id' box run --rm -u learner $ROOT id
            differs_for single-id 'this caller has but one id' box run --rm -u 1000:5 $ROOT id
            differs_for single-id 'this caller has but one id' box run --rm -u learner:tty $ROOT id
            differs_for single-id 'this caller has but one id' box run --rm --user 4242:4343 $ROOT id -u
            differs_for single-id 'this caller has but one id' box run --rm -u 1000 $ROOT touch /usr/file
            differs_for single-id 'this caller has but one id' box run --rm --group-add tty --group-add 4711 -u 1000 $ROOT id -G
            differs 'exit code 125, as docker' box run --rm -u learner:no-such-group $ROOT id
            differs 'exit code 125, as docker' box run --rm -u -1 $ROOT id"#,
    },
    Case {
        name: "entry point",
        script: r#"
            box run --rm --entrypoint echo $ROOT a b
            box run --rm --entrypoint /bin/echo $ROOT
            box run --rm --entrypoint no-such-program $ROOT a"#,
    },
    Case {
        name: "host name",
        script: r#"
            box run --rm --hostname web1 $ROOT sh -c 'hostname; grep web1 /etc/hosts | wc -l; echo $(cat /etc/hostname)'
            box run --rm -h short $ROOT hostname
            differs 'the name of the container, which says more than its id' box run --rm --name named $ROOT hostname"#,
    },
    Case {
        name: "lines of /etc/hosts",
        script: r#"
            box run --rm -q --net host --add-host db:10.1.2.3 --add-host six:fe80::1 $ROOT sh -c 'grep -E "db|six" /etc/hosts | tr -s "\t" " "'
            box run --rm -q --net host --add-host nonsense $ROOT true
            box run --rm -q --net host --add-host db:nonsense $ROOT true"#,
    },
    Case {
        name: "name servers",
        script: r#"
            box run --rm -q --net host --dns 192.0.2.1 --dns 192.0.2.2 --dns-search example.com --dns-option ndots:2 $ROOT sort /etc/resolv.conf
            box run --rm -q --net host --dns nonsense $ROOT true"#,
    },
    Case {
        name: "networks",
        script: r#"
            box run --rm --network none $ROOT ls /sys/class/net
            box run -dq --name one --net none $ROOT sh -c 'busybox nc -l -p 4711 -e echo shared; exec sleep 1000'
            until_it quietly run --rm --net container:one $ROOT sh -c 'busybox netstat -ltn | grep 4711'
            box run --rm --net container:one $ROOT sh -c 'busybox nc 127.0.0.1 4711 </dev/null'
            box run --rm --net container:missing $ROOT true
            box run --rm --net nonsense $ROOT true
            differs 'a warning: the host network is not isolated' box run --rm --net host $ROOT true"#,
    },
    Case {
        name: "namespaces of another container and of the host",
        script: r#"
            box run -dq --name one --hostname of-one $ROOT sleep 1000
            box run --rm --pid container:one $ROOT sh -c 'tr "\0" " " </proc/1/cmdline; echo'
            differs_for users 'possible' box run --rm -q --ipc host $ROOT readlink /proc/self/ns/ipc >in
            [ "$(cat in)" = "$(readlink /proc/self/ns/ipc)" ] && echo the same ipc
            box run --rm -q --uts host $ROOT hostname >in
            [ "$(cat in)" = "$(hostname)" ] && echo the same host name
            box run --rm --pid nonsense $ROOT true
            box run --rm --ipc nonsense $ROOT true"#,
    },
    Case {
        name: "a root that nothing can be written to",
        script: r#"
            box run --rm --read-only $ROOT touch /file
            box run --rm --read-only --tmpfs /cache $ROOT sh -c 'echo x >/cache/file && cat /cache/file'
            box run --rm --read-only -v "$PWD":/data $ROOT sh -c 'echo x >/data/file && cat /data/file'"#,
    },
    Case {
        name: "tmpfs",
        script: r#"
            box run --rm --tmpfs /cache:size=1m,mode=700 $ROOT sh -c 'stat -c "%a %F" /cache; df -k /cache | awk "NR==2 {print \$2}"'
            differs 'noexec too, as docker' box run --rm --tmpfs /cache $ROOT sh -c 'grep " /cache " /proc/mounts | tr ", " "\n\n" | grep -E "^(tmpfs|nosuid|nodev|noexec)$" | sort -u'
            box run --rm --tmpfs relative $ROOT true
            box run --rm --mount type=tmpfs,target=/cache,tmpfs-size=1048576 $ROOT sh -c 'df -k /cache | awk "NR==2 {print \$2}"'"#,
    },
    Case {
        name: "folders of the host",
        script: r#"
            mkdir shared; echo host >shared/file
            box run --rm -v "$PWD/shared":/data $ROOT sh -c 'cat /data/file; echo inside >/data/made'
            cat shared/made
            box run --rm -v "$PWD/shared":/data:ro $ROOT sh -c 'cat /data/file; touch /data/x'
            box run --rm -v "$PWD/shared/file":/etc/motd:ro $ROOT cat /etc/motd
            box run --rm --volume "$PWD/shared":/deep/er/place $ROOT ls /deep/er/place
            box run --rm -v ./shared:/data $ROOT ls /data
            box run --rm --mount type=bind,source="$PWD/shared",target=/data,readonly $ROOT sh -c 'cat /data/file; touch /data/x'
            box run --rm --mount type=bind,src="$PWD/shared",dst=/data $ROOT ls /data
            box run --rm -v "$PWD/shared":relative $ROOT true
            box run --rm -v "$PWD/shared":/data:nonsense $ROOT true
            box run --rm --mount type=bind,source="$PWD/missing",target=/data $ROOT true
            box run --rm --mount type=nonsense,target=/data $ROOT true
            box run --rm --mount type=bind,source="$PWD/shared" $ROOT true
            differs 'made, as docker' box run --rm -v "$PWD/missing":/data $ROOT ls /data"#,
    },
    Case {
        name: "named volumes in containers",
        script: r#"
            box run --rm -v store:/data $ROOT sh -c 'echo kept >/data/file'
            box run --rm -v store:/data:ro $ROOT sh -c 'cat /data/file; touch /data/x'
            box run --rm --mount type=volume,source=store,target=/data $ROOT cat /data/file
            box volume ls -q
            box run -dq --name user --stop-timeout 0 -v store:/data $ROOT sleep 1000
            differs 'exit code 1, as docker' box volume rm store
            box rm -f user
            box volume rm store
            box volume ls -q"#,
    },
    Case {
        name: "a volume's first use copies what is there",
        script: r#"
            box run --rm -v copied:/home $ROOT ls /home
            box run --rm -v copied:/srv $ROOT ls /srv
            box run --rm -v copied:/home $ROOT sh -c 'rm -r /home/learner; ls /home'
            differs 'an empty volume is filled again, as by docker' box run --rm -v copied:/home $ROOT ls /home"#,
    },
    Case {
        name: "volumes without a name",
        script: r#"
            box run --rm -v /data $ROOT sh -c 'echo x >/data/file; cat /data/file'
            box volume ls -q | wc -l
            box run --name keeps -v /data $ROOT true
            box volume ls -q | wc -l
            box rm -v keeps
            box volume ls -q | wc -l"#,
    },
    Case {
        name: "volumes from another container",
        script: r#"
            mkdir shared; echo host >shared/file
            box create --name first -v kept:/data -v "$PWD/shared":/shared:ro $ROOT true
            box run --rm --volumes-from first $ROOT sh -c 'echo x >/data/file; cat /shared/file; touch /shared/x'
            box run --rm --volumes-from first:ro $ROOT sh -c 'cat /data/file; touch /data/y'
            box run --rm --volumes-from missing $ROOT true"#,
    },
    Case {
        name: "volume create, ls, inspect, rm",
        script: r#"
            box volume create one
            box volume create --label kind=test two
            differs 'no error, as docker' box volume create one
            box volume create --driver nonsense three
            box volume create bad/name
            box volume ls -q
            box volume ls --format '{{.Name}} {{.Driver}}'
            box volume ls --quiet --filter label=kind=test
            box volume ls -q -f name=one
            box volume inspect --format '{{.Name}} {{.Driver}} {{.Scope}}' one two
            box volume inspect -f '{{.Labels.kind}}' two
            differs 'exit code 1, as docker' box volume inspect missing
            box volume rm missing
            box volume rm -f missing
            box volume rm one two
            box volume ls -q
            quietly volume create >name; wc -c <name
            box volume ls -q | cmp - name && echo listed"#,
    },
    Case {
        name: "volume prune",
        script: r#"
            quietly volume create named >name
            box create --name user -v /data $ROOT true
            quietly create --name former -v /data $ROOT true >id; quietly rm former >name
            differs 'says how much that was, and keeps volumes with a name, as docker' box volume prune -f
            differs 'keeps volumes with a name, as docker' box volume ls -q"#,
    },
    Case {
        name: "names",
        script: r#"
            box create --name web $ROOT true
            box create --name web $ROOT true
            box create --name 'b d' $ROOT true
            box create --name -x $ROOT true
            box create --name a/b $ROOT true
            box ps -a --format '{{.Names}}'"#,
    },
    Case {
        name: "an id stands for a name, and its beginning too",
        script: r#"
            id=$(quietly create --name web $ROOT true); echo "$id"
            box inspect --format '{{.Name}}' "$id"
            box inspect --format '{{.ID}}' web
            [ "$(quietly ps -aq)" = "$(echo "$id" | cut -c 1-12)" ] && echo short
            [ "$(quietly ps -aq --no-trunc)" = "$id" ] && echo long
            quietly rm "$(echo "$id" | cut -c 1-6)" >gone
            box ps -aq"#,
    },
    Case {
        name: "labels",
        script: r#"
            printf 'from=file\nbare\n' >labels
            box create --name a -l one -l two=2 --label-file labels $ROOT true
            box create --name b --label two=3 $ROOT true
            box inspect --format '{{.Config.Labels.two}} {{.Config.Labels.from}}' a
            box inspect --format '{{index .Config.Labels "two"}}' b
            box ps -a --filter label=two --format '{{.Names}}' | sort
            box ps -a --filter label=two=2 --format '{{.Names}}'
            box ps -a --filter label=one --filter label=from=file --format '{{.Names}}'
            box ps -a --filter label=none --format '{{.Names}}'
            differs 'a label by its name, as docker' box ps -a --format '{{.Label "two"}}'"#,
    },
    Case {
        name: "cidfile",
        script: r#"
            box run --rm --cidfile id $ROOT echo hi
            wc -c <id
            box run --rm --cidfile id $ROOT echo hi"#,
    },
    Case {
        name: "in the background",
        script: r#"
            box run -dq --name web $ROOT sh -c 'echo started; exec sleep 1000'
            box ps --format '{{.Names}}'
            until_it_says web started
            box logs web
            box kill web
            box ps --format '{{.Names}}'
            box ps -a --format '{{.Names}}'
            differs 'the PID of the program on standard error, as a shell says it of its jobs' box run -d --name told $ROOT true"#,
    },
    Case {
        name: "with --rm nothing is left",
        script: r#"
            box run -dq --rm --name gone $ROOT sh -c 'trap exit TERM; echo ready; while :; do sleep 0.05; done'
            until_it_says gone ready
            box stop gone
            until_it sh -c "[ -z \"\$($engine ps -aq)\" ]"
            box ps -aq
            box logs gone"#,
    },
    Case {
        name: "ps: a column's name and how it is written",
        script: r#"
            box create --name made $ROOT sleep 1 2 3
            box run --name over $ROOT sh -c 'exit 3'
            box run -dq --name on $ROOT sleep 1000
            box ps --format 'table {{.Names}}'
            box ps -a --format '{{.Names}}|{{.Ports}}|{{.ID}}' | sort
            differs 'newest first, as docker' box ps -a --format '{{.Names}}'
            differs 'one word, as docker' box ps --format '{{.State}}'
            differs 'Up 5 seconds, as docker' box ps --format '{{.Status}}'
            box ps -a --filter status=created --format '{{.Status}}'
            differs 'in quotes, as docker' box ps -a -f name=made --no-trunc --format '{{.Command}}'
            differs 'an empty list is empty, as docker' box ps --format '{{.Mounts}}'
            differs 'a line of JSON for each, as docker' box ps -a --format json
            box ps -a --format '{{.NoSuchField}}'
            box ps -a --format '{{.Names'"#,
    },
    Case {
        name: "ps: the table",
        script: r#"
            box create --name made $ROOT sleep 1
            differs 'the PIDs outside and inside, which it is there to show; no images and ports' box ps -a"#,
    },
    Case {
        name: "ps: filters",
        script: r#"
            box create --name made $ROOT true
            box run --name over3 $ROOT sh -c 'exit 3'
            box run --name over0 -v vol:/data $ROOT true
            box run -dq --name on $ROOT sleep 1000
            box ps -a --filter status=created --format '{{.Names}}'
            box ps --filter status=exited --format '{{.Names}}' | sort
            box ps -a -f status=running --format '{{.Names}}'
            box ps -a -f exited=3 --format '{{.Names}}'
            box ps -a -f name=over --format '{{.Names}}' | sort
            box ps -a -f name='^on$' --format '{{.Names}}'
            box ps -a -f volume=vol --format '{{.Names}}'
            box ps -a -f id="$(quietly ps -q)" --format '{{.Names}}'
            box ps -a -f before=over0 --format '{{.Names}}' | sort
            box ps -a -f since=over0 --format '{{.Names}}'
            box ps -a -f status=created -f status=running --format '{{.Names}}' | sort
            box ps -a -f nonsense=1 --format '{{.Names}}'
            box ps -a -f status=nonsense --format '{{.Names}}'
            box ps -a -f status --format '{{.Names}}'"#,
    },
    Case {
        name: "ps: the last ones",
        script: r#"
            for name in first second third; do quietly create --name $name $ROOT true >name; done
            box ps -l --format '{{.Names}}'
            box ps --latest -q | wc -l
            box ps -n 2 --format '{{.Names}}' | sort
            box ps --last 1 --format '{{.Names}}'
            box ps -q"#,
    },
    Case {
        name: "logs",
        script: r#"
            box run --name talks $ROOT sh -c 'echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three'
            box logs talks
            box logs talks 2>&1
            box logs --tail 1 talks
            differs '--tail, as docker' box logs -n 2 talks
            box logs --tail 0 talks
            differs 'a word of docker' box logs --tail all talks
            box logs -f talks
            box logs --since 1h talks
            differs 'that is an hour ago, as docker' box logs --until 1h talks
            box logs --since 2001-02-03T04:05:06Z talks
            box logs --until 2001-02-03T04:05:06Z talks
            box logs -t --tail 1 talks | grep -cE '^20[0-9-]+T[0-9:.]+(Z|\+00:00) three'
            box logs missing
            box logs --tail nonsense talks
            box logs --since nonsense talks"#,
    },
    Case {
        name: "logs: following to the end",
        script: r#"
            box run -dq --name counts $ROOT sh -c 'for i in 1 2 3; do echo $i; sleep 0.2; done'
            box logs -f counts
            box logs --follow --tail 1 counts"#,
    },
    Case {
        name: "exec",
        script: r#"
            box run -dq --name web --hostname inside -e A=1 -w /tmp $ROOT sh -c 'echo made >/tmp/file; exec sleep 1000'
            until_it quietly exec web cat /tmp/file
            box exec web sh -c 'cat /tmp/file; hostname; pwd; echo "$A"; tr "\0" " " </proc/1/cmdline; echo'
            box exec -w /usr -e B=2 web sh -c 'pwd; echo "$A $B"'
            printf 'C=3\n' >env
            box exec --env-file env --workdir / --env D=4 web sh -c 'pwd; echo "$C $D"'
            echo typed | box exec -i web cat
            echo typed | box exec web cat
            box exec web sh -c 'echo err >&2; exit 7'
            box exec web sh -c 'kill -9 $$'
            box exec web no-such-program
            box exec web /etc/passwd
            differs 'no output, as docker' box exec -d web sh -c 'echo x >/tmp/made'
            until_it quietly exec web test -e /tmp/made
            box exec --user root web id -u
            differs_for single-id 'this caller has but one id' box exec -u learner:tty web id -gn
            box exec missing true
            differs 'exit code 125: a wrong command line' box exec web
            box kill web
            differs 'exit code 125, which podman documents' box exec web true"#,
    },
    Case {
        name: "a terminal of its own",
        script: r#"
            box run --rm -t $ROOT tty
            box run --rm $ROOT tty
            box run --rm --tty $ROOT sh -c 'echo $TERM'
            box run -dqt --name web $ROOT sleep 1000
            box exec -t web tty
            box exec web tty
            box inspect --format '{{.Config.Tty}}' web"#,
    },
    Case {
        name: "create, start, restart",
        script: r#"
            box create --name web $ROOT sh -c 'echo run >>/tmp/runs; cat /tmp/runs'
            box inspect --format '{{.State.Status}} {{.State.Running}}' web
            box start web
            box wait web
            box start -a web
            box start --attach web
            box restart web
            box wait web
            box logs web | wc -l
            differs 'a flag of docker' box restart --signal TERM web
            differs 'exit code 1, as docker' box start missing
            differs 'exit code 1, as docker' box restart missing"#,
    },
    Case {
        name: "start -a gives the exit code, start -ai the input too",
        script: r#"
            box create -i --name reads $ROOT sh -c 'read line; echo "got $line"; exit 5'
            echo typed | box start -ai reads
            echo again | box start --attach --interactive reads
            box create --name three $ROOT sh -c 'exit 3'
            box start three
            box wait three"#,
    },
    Case {
        name: "starting what runs",
        script: r#"
            box run -dq --name on $ROOT sleep 1000
            differs 'its name is printed, as by docker' box start on
            box inspect --format '{{.State.Running}}' on"#,
    },
    Case {
        name: "stop",
        script: r#"
            box run -dq --name polite $ROOT sh -c 'trap "echo bye; exit 4" TERM; echo ready; while :; do sleep 0.05; done'
            until_it_says polite ready
            box stop polite
            box logs polite
            box inspect --format '{{.State.Status}} {{.State.ExitCode}}' polite
            box stop polite
            box run -dq --name usr --stop-signal USR1 $ROOT sh -c 'trap "exit 5" USR1; echo ready; while :; do sleep 0.05; done'
            until_it_says usr ready
            box stop usr
            box inspect --format '{{.State.ExitCode}}' usr
            differs 'exit code 1, as docker' box stop missing
            box stop --time nonsense polite"#,
    },
    Case {
        name: "stopping what does not listen",
        script: r#"
            box run -dq --name deaf --stop-timeout 1 $ROOT sleep 1000
            box stop deaf
            box inspect --format '{{.State.ExitCode}}' deaf
            box run -dq --name deaf2 $ROOT sleep 1000
            box stop --time 1 deaf2
            box start deaf2
            differs 'says why it had to be killed' box stop -t 0 deaf2
            box start deaf2
            differs 'says why it had to be killed' box restart -t 0 deaf2
            differs 'says why it had to be killed' box restart --time 0 deaf2
            box inspect --format '{{.State.Running}}' deaf2"#,
    },
    Case {
        name: "stopping what was never started",
        script: r#"
            box create --name made $ROOT true
            box stop made
            differs 'exit code 1, as docker' box kill made
            box inspect --format '{{.State.Status}}' made"#,
    },
    Case {
        name: "kill",
        script: r#"
            box run -dq --name traps $ROOT sh -c 'trap "echo usr1" USR1; trap "exit 9" HUP; echo ready; while :; do sleep 0.05; done'
            until_it_says traps ready
            box kill -s USR1 traps
            until_it_says traps usr1
            box kill --signal SIGHUP traps
            box wait traps
            differs 'exit code 1, as docker' box kill traps
            differs 'exit code 1, as docker' box kill missing
            box run -dq --name on $ROOT sleep 1000
            box kill --signal NONSENSE on
            box kill -s 9 on
            box wait on"#,
    },
    Case {
        name: "wait",
        script: r#"
            box run -dq --name a $ROOT sh -c 'sleep 0.3; exit 11'
            box run -dq --name b $ROOT sh -c 'exit 12'
            box wait a b
            box wait b
            differs 'exit code 1, as docker' box wait missing"#,
    },
    Case {
        name: "rm",
        script: r#"
            box create --name a $ROOT true
            box run -dq --name on --stop-timeout 0 $ROOT sleep 1000
            box rm a
            differs 'exit code 1, as docker' box rm on
            box rm -f on
            box rm a
            box rm --force a
            box ps -aq"#,
    },
    Case {
        name: "rename",
        script: r#"
            box create --name a $ROOT true
            box create --name b $ROOT true
            box rename a c
            box rename c b
            box rename c 'b d'
            box rename missing d
            box ps -a --format '{{.Names}}' | sort"#,
    },
    Case {
        name: "inspect: fields",
        script: r#"
            box run -dq --name web -e A=1 -w /tmp -u 0 --hostname inside --label k=v --stop-signal USR1 --restart on-failure:3 --read-only $ROOT sleep 1000
            box inspect --format '{{.Config.Hostname}} {{.Config.User}} {{.Config.WorkingDir}}' web
            box inspect -f '{{.Config.Labels.k}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}' web
            box inspect --format '{{.State.Status}} {{.State.Running}} {{.State.Paused}} {{.State.ExitCode}} {{.State.OOMKilled}}' web
            box inspect --format '{{json .Config.Cmd}}' web
            box inspect --format '{{range .Config.Env}}{{println .}}{{end}}' web | grep A=
            box inspect --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Privileged}} {{.HostConfig.AutoRemove}}' web
            box inspect --format '{{if .State.Running}}on{{else}}off{{end}}' web
            box inspect --format '{{len .Config.Cmd}} {{upper .Name}} {{printf "%s-%d" .Name .State.ExitCode}}' web
            box inspect --format '{{.Config.OpenStdin}} {{.Config.Tty}} {{.RestartCount}}' web
            kill -0 "$(quietly inspect --format '{{.State.Pid}}' web)" 2>/dev/null && echo alive
            differs 'exit code 1, as docker' box inspect --format '{{.No.Such.Field}}' web
            differs 'exit code 1, as docker' box inspect missing
            differs 'exit code 1, as docker' box inspect --format '{{.Name}}' web missing
            box inspect --type container --format '{{.Name}}' web
            box kill web
            until_it_has_ended web
            box inspect --format '{{.State.Status}} {{.State.Running}} {{.State.Pid}} {{.State.ExitCode}}' web
            quietly inspect web | python3 -c 'import json, sys; web = json.load(sys.stdin); print(len(web), web[0]["State"]["Status"], web[0]["Config"]["Cmd"])'"#,
    },
    Case {
        name: "inspect: limits",
        script: r#"
            box create --name web -m 64m --cpus 0.5 --pids-limit 100 --cpu-shares 512 --memory-reservation 32m --shm-size 1m $ROOT true
            box inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}} {{.HostConfig.MemoryReservation}}' web
            box inspect --format '{{.HostConfig.ShmSize}}' web"#,
    },
    Case {
        name: "inspect: every limit",
        script: r#"
            differs_for root 'no warning: 0 asks for nothing' box create --name web --cpu-period 50000 --cpu-quota 20000 --cpuset-cpus 0 --cpuset-mems 0 -m 64m --memory-swap 128m --blkio-weight 0 $ROOT true
            box inspect --format '{{.HostConfig.CpuPeriod}} {{.HostConfig.CpuQuota}} {{.HostConfig.CpusetCpus}} {{.HostConfig.CpusetMems}} {{.HostConfig.MemorySwap}} {{.HostConfig.BlkioWeight}}' web"#,
    },
    Case {
        name: "inspect: mounts",
        script: r#"
            mkdir shared
            box create --name web -v "$PWD/shared":/shared:ro -v vol:/vol $ROOT true
            box inspect --format '{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{println}}{{end}}' web | sort
            box inspect --format '{{range .Mounts}}{{if eq .Type "bind"}}{{.Source}}{{end}}{{end}}' web"#,
    },
    Case {
        name: "cp: into a container",
        script: r#"
            box run -dq --name web $ROOT sleep 1000
            echo file >file; mkdir -p folder/sub; echo sub >folder/sub/file
            box cp file web:/tmp/
            box cp file web:/tmp/other
            box cp folder web:/tmp
            box cp folder web:/tmp/new
            box cp folder/. web:/tmp/contents
            box exec web sh -c 'cd /tmp; find . -type f | sort; cat file other'
            box cp file web:/no/such/folder/
            box cp file web:/no/such/folder/file
            box cp missing web:/tmp
            box cp file missing:/tmp
            box cp folder web:/tmp/file"#,
    },
    Case {
        name: "cp: out of a container",
        script: r#"
            box run --name web $ROOT sh -c 'mkdir -p /made/sub; echo one >/made/one; echo two >/made/sub/two; ln -s one /made/link; chmod 640 /made/one'
            box cp web:/made/one .
            box cp web:/made .
            box cp web:/made/. contents
            find . | sort | grep -v -E '/(out|err)$'; cat one; stat -c %a one
            differs 'a link, as docker' box cp web:/made/link link; readlink link
            differs 'follows links, as docker' box cp -L web:/made/link followed
            box cp web:/missing .
            box cp web:/made/one no/such/folder/
            box cp web:/made one"#,
    },
    Case {
        name: "cp: tar archives through pipes",
        script: r#"
            box run --name web $ROOT sh -c 'mkdir /made; echo one >/made/one'
            quietly cp web:/made - | tar t | sed 's,/$,,' | sort
            mkdir pack; echo packed >pack/file; tar c pack | box cp - web:/srv
            quietly cp web:/srv/pack/file - | tar xO"#,
    },
    Case {
        name: "diff",
        script: r#"
            box run --name web $ROOT sh -c 'echo x >/made; mkdir /folder; echo y >/folder/file; rm /etc/os-release; echo z >>/etc/group; rm -r /home/learner'
            box diff web | sort
            box create --name nothing $ROOT true
            box diff nothing
            box diff missing"#,
    },
    Case {
        name: "export",
        script: r#"
            box run --name web $ROOT sh -c 'echo x >/made; rm /etc/os-release'
            quietly export web | tar t | sed 's,^\./,,' | grep -E '^(made|etc/os-release|etc/passwd|usr/bin/|bin)$' | sort
            box export -o archive web
            tar xO -f archive made
            box export --output archive2 web
            box export missing"#,
    },
    Case {
        name: "top",
        script: r#"
            box run -dq --name web $ROOT sleep 1000
            box top web -eo pid,args | awk '{$1 = ""; print}'
            box top missing
            differs 'the columns of ps -ef, as docker, and the PID inside' box top web"#,
    },
    Case {
        name: "pause and unpause",
        script: r#"
            box run -dq --name web $ROOT sleep 1000
            differs_for users 'possible without a cgroup' box pause web
            differs_for users 'possible without a cgroup' box inspect --format '{{.State.Status}} {{.State.Paused}}' web
            differs_for root 'what is paused is listed, as by docker' box ps --format '{{.Names}}'
            differs 'exit code 1, as docker' box pause web
            differs 'exit code 125, which podman documents' box exec web true
            differs_for users 'possible without a cgroup' box unpause web
            differs 'exit code 1, as docker' box unpause web
            box inspect --format '{{.State.Status}}' web
            differs 'exit code 1, as docker' box pause missing
            differs 'exit code 1, as docker' box unpause missing
            box kill web
            differs 'exit code 1, as docker' box pause web"#,
    },
    Case {
        name: "update",
        script: r#"
            box create --name web --memory 64m $ROOT sleep 1000
            box start web
            differs 'its name is printed, as by docker; a plain user may not' box update --memory 32m --cpus 0.5 web
            differs_for root 'tells the new limit, as docker' box inspect --format '{{.HostConfig.Memory}}' web
            box update --memory nonsense web
            differs 'exit code 1, as docker' box update --memory 32m missing"#,
    },
    Case {
        name: "update: every limit",
        script: r#"
            box create --name web -m 64m $ROOT sleep 1000
            box start web
            box update --blkio-weight 5000 web
            [ "$who" != root ] || {
                differs 'its name is printed, as by docker' box update --memory 32m --memory-swap 48m --memory-reservation 16m web
                differs 'its name is printed, as by docker' box update --cpu-period 50000 --cpu-quota 20000 --cpu-shares 256 --cpuset-cpus 0 --cpuset-mems 0 web
                differs 'a flag of docker' box update --pids-limit 50 web
                box exec web sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max cpuset.cpus || cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes memory/memory.soft_limit_in_bytes cpu/cpu.cfs_period_us cpu/cpu.cfs_quota_us cpu/cpu.shares cpuset/cpuset.cpus cpuset/cpuset.mems' 2>/dev/null
            }"#,
    },
    Case {
        name: "limits",
        script: r#"
            box create --name web --memory 64m --cpus 0.5 --pids-limit 100 --cpuset-cpus 0 $ROOT sleep 1000
            box start web
            [ "$who" != root ] || {
                box exec web sh -c 'cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes 2>/dev/null'
                box exec web sh -c 'cd /sys/fs/cgroup; cat pids.max pids/pids.max 2>/dev/null'
                box exec web sh -c 'cd /sys/fs/cgroup; cat cpu.max 2>/dev/null || cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us'
                box exec web nproc
                differs 'says that its memory ran out' box run --rm -m 32m --memory-swap 32m $ROOT python3 -c 'bytearray(200 << 20)'
            }
            box run --rm --memory nonsense $ROOT true
            box run --rm --cpus nonsense $ROOT true
            box run --rm --pids-limit nonsense $ROOT true
            differs_for users 'refused even where limits have no effect' box run --rm --cpuset-cpus 4000 $ROOT true"#,
    },
    Case {
        name: "limits of a process, kernel parameters, shared memory",
        script: r#"
            box run --rm --ulimit nofile=100:200 --ulimit nproc=1000:1000 --ulimit core=0 $ROOT sh -c 'ulimit -Sn; ulimit -Hn; ulimit -c'
            box run --rm --ulimit nofile=100 --ulimit nproc=1000 $ROOT sh -c 'ulimit -Sn; ulimit -Hn'
            box run --rm --ulimit nonsense=1 $ROOT true
            box run --rm --ulimit nofile=200:100 $ROOT true
            box run --rm --sysctl net.ipv4.ip_forward=1 $ROOT cat /proc/sys/net/ipv4/ip_forward
            box run --rm --sysctl kernel.msgmax=4096 $ROOT cat /proc/sys/kernel/msgmax
            box run --rm --sysctl kernel.panic=1 $ROOT true
            box run --rm --shm-size 1m $ROOT sh -c 'df -k /dev/shm | awk "NR==2 {print \$2}"'
            box run --rm --shm-size nonsense $ROOT true
            differs '64 MiB, as docker' box run --rm $ROOT sh -c 'df -k /dev/shm | awk "NR==2 {print \$2}"'
            box run --rm --oom-score-adj 500 $ROOT cat /proc/self/oom_score_adj"#,
    },
    Case {
        name: "a small init",
        script: r#"
            box run --rm --init $ROOT sh -c '[ $$ = 1 ] || echo not the first; exit 4'
            box run --rm $ROOT sh -c 'echo $$'
            box run -dq --name web --init $ROOT sh -c '(sleep 0.1 &) ; exec sleep 1000'
            until_it quietly exec web sh -c '! ps | grep -q "[s]leep 0.1"'
            box exec web sh -c 'ps | grep -c " Z "'
            box stop web
            box wait web"#,
    },
    Case {
        name: "capabilities",
        script: r#"
            box run --rm --cap-drop ALL $ROOT sh -c 'grep -E "Cap(Eff|Bnd)" /proc/self/status'
            box run --rm -q --cap-drop ALL --cap-add CHOWN --cap-add CAP_NET_RAW $ROOT sh -c 'grep -E "Cap(Eff|Bnd)" /proc/self/status'
            differs 'a warning: the sandbox is weaker' box run --rm --cap-add NET_RAW $ROOT true
            differs 'a user has none but what files give him, as with docker' box run --rm --cap-drop all --cap-add kill -u 1000 $ROOT grep CapEff /proc/self/status
            box run --rm --cap-add NONSENSE $ROOT true
            box run --rm --cap-drop NONSENSE $ROOT true
            differs 'stricter: without MKNOD, NET_RAW and AUDIT_WRITE' box run --rm $ROOT grep CapEff /proc/self/status"#,
    },
    Case {
        name: "new privileges",
        script: r#"
            box run --rm --security-opt no-new-privileges $ROOT grep NoNewPrivs /proc/self/status
            box run --rm --security-opt no-new-privileges=true $ROOT grep NoNewPrivs /proc/self/status
            box run --rm --security-opt nonsense=1 $ROOT true
            differs 'stricter: setuid programs gain nothing' box run --rm $ROOT grep NoNewPrivs /proc/self/status"#,
    },
    Case {
        name: "privileged",
        script: r#"
            box run --rm -q --privileged $ROOT sh -c 'mount -t tmpfs x /mnt && echo mounted'
            box run --rm $ROOT sh -c 'mount -t tmpfs x /mnt || exit 1'
            box run --rm -q --privileged $ROOT sh -c 'test -w /proc/sys/kernel/hostname && echo writable'
            box run --rm $ROOT sh -c 'test -w /proc/sys/kernel/hostname || echo read-only'
            differs 'a warning: root inside is nearly root outside' box run --rm --privileged $ROOT true"#,
    },
    Case {
        name: "devices",
        script: r#"
            box run --rm --device /dev/null:/dev/other:r $ROOT sh -c 'cat /dev/other && echo read'
            box run --rm $ROOT ls /dev
            box run --rm --device /dev/no-such-device $ROOT true"#,
    },
    Case {
        name: "restart policies",
        script: r#"
            box run -dq --name fails --restart on-failure:2 $ROOT sh -c 'echo run; exit 1'
            until_it sh -c "[ \"\$($engine logs fails | wc -l)\" = 3 ]"
            until_it sh -c "[ \"\$($engine inspect --format '{{.State.Status}}' fails)\" = exited ]"
            box inspect --format '{{.State.ExitCode}} {{.RestartCount}}' fails
            box run -dq --name ends --restart on-failure $ROOT echo run
            box wait ends
            box logs ends
            box run -dq --name always --restart always $ROOT sh -c 'trap "exit 3" TERM; echo run; if [ -e /tmp/second ]; then echo second; while :; do sleep 0.05; done; fi; touch /tmp/second'
            until_it_says always second
            box stop always
            box inspect --format '{{.State.Running}} {{.RestartCount}}' always
            box run --restart nonsense $ROOT true
            box run --rm --restart always $ROOT true"#,
    },
    Case {
        name: "health checks",
        script: r#"
            differs 'nobody is needed for it; podman wants systemd' box run -dq --name web --health-cmd 'test -e /tmp/well' --health-interval 1s --health-retries 2 $ROOT sleep 1000
            box inspect --format '{{.State.Health.Status}}' web
            box run -dq --name none --no-healthcheck $ROOT sleep 1000
            box create --name asked --health-cmd 'exit 0' --health-interval 2s --health-timeout 3s --health-retries 4 --health-start-period 5s $ROOT true
            box inspect --format '{{.Config.Healthcheck.Test}} {{.Config.Healthcheck.Retries}} {{json .Config.Healthcheck.Interval}} {{json .Config.Healthcheck.Timeout}} {{json .Config.Healthcheck.StartPeriod}}' asked
            box run --rm --health-cmd true --health-interval nonsense $ROOT true"#,
    },
    Case {
        name: "attach",
        script: r#"
            box run -dqi --name reads $ROOT sh -c 'read line; echo "got $line"; exit 6'
            echo typed >line
            differs 'the exit code of the program, as docker' box attach reads <line
            box attach reads
            box attach missing
            box run -dq --name ticks $ROOT sh -c 'while sleep 0.1; do echo tick; [ -e /tmp/end ] && exit 0; done'
            (sleep 0.5; quietly exec ticks touch /tmp/end) &
            box attach --no-stdin ticks | grep tick | sort -u
            wait"#,
    },
    Case {
        name: "signals reach the program of a run in the foreground",
        script: r#"
            alone_beside run --rm --name web $ROOT sh -c 'trap "echo told; exit 8" TERM; echo ready; while :; do sleep 0.05; done' >said
            until_it grep ready said
            # podman passes signals on from some moment after the start, and nothing tells from which.
            sleep 2
            kill -TERM $!
            wait $!
            echo "$?"; cat said"#,
    },
    Case {
        name: "signals that are not passed on",
        script: r#"
            beside run --name web --sig-proxy=false $ROOT sh -c 'trap "echo told; exit 8" TERM; while :; do echo ready; sleep 0.05; done' >said
            until_it grep ready said
            kill -TERM $!
            wait $!
            grep -c told said
            box run -dq --name other $ROOT sh -c 'trap "exit 8" TERM; while :; do echo ready; sleep 0.05; done'
            beside attach --sig-proxy=false other >other
            until_it grep ready other
            kill -TERM $!
            wait $!
            box inspect --format '{{.State.Running}}' other"#,
    },
    Case {
        name: "keys to detach",
        script: r#"
            differs 'exit code 125, as docker' box run --rm -it --detach-keys ctrl-nonsense $ROOT true
            box run -dqi --name web $ROOT sleep 1000
            box attach --detach-keys ctrl-nonsense web
            box start -ai --detach-keys ctrl-nonsense web"#,
    },
    Case {
        name: "docker's long forms",
        script: r#"
            box container run --rm $ROOT echo hello
            box container create --name web $ROOT true
            box container ls -a --format '{{.Names}}'
            box container inspect --format '{{.Name}}' web
            box container rm web"#,
    },
    Case {
        name: "prune",
        script: r#"
            box run -dq --name on $ROOT sleep 1000
            box run --name over $ROOT true
            differs 'a heading and how much that was, as docker' box container prune -f
            box ps -a --format '{{.Names}}'"#,
    },
    Case {
        name: "unknown verbs and missing words",
        script: r#"
            box no-such-verb
            box run
            box exec
            box rm
            box stop
            box logs
            box inspect
            box cp one
            box rename one"#,
    },
];

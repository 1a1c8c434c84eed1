//! What happens to a container while it runs and when it ends, and what it is called.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use minibox_runtime::{Error, Result};

use super::process::lines_of;
use super::{bad, limits, parse_size};
use crate::args::{CreateArgs, LabelArgs, PolicyArgs};
use crate::settings::{Health, LogLimits, Modes, Restart, Settings};
use crate::signals;

/// Seconds that `stop` waits where nothing was said.
const STOP_TIMEOUT: i64 = 10;

pub(super) fn understand(args: &CreateArgs, detached: bool, modes: Modes) -> Result<Settings> {
    let policy = &args.policy;
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|error| Error::of_io("find", path, &error))
    };
    let stop_signal = policy.stop_signal.as_deref().unwrap_or("TERM");
    let restart = policy.restart.as_deref().map_or(Ok(Restart::No), restart)?;
    if args.rm && restart != Restart::No {
        return Err(Error::new(format!(
            "--rm and --restart {} exclude each other",
            restart.name()
        ))
        .hint("what is removed when it ends cannot be started again"));
    }
    Ok(Settings {
        interactive: args.process.interactive,
        stdin_once: !detached,
        privileged: args.security.privileged,
        user: args.process.user.clone(),
        entrypoint: args.program.entrypoint.clone(),
        modes,
        init: args.program.init,
        labels: labels(&args.labels)?,
        stop_signal: signals::parse("--stop-signal", stop_signal)?,
        stop_timeout: policy.stop_timeout.unwrap_or(STOP_TIMEOUT),
        restart,
        health: health(policy)?,
        log: log_limits(&policy.log_opts)?,
        counts_cpus: limits::counts_cpus(&args.limits, false),
        pidfile: args.pidfile.as_ref().map(absolute).transpose()?,
    })
}

/// `--restart`.
pub(crate) fn restart(text: &str) -> Result<Restart> {
    let right = "no, on-failure, on-failure:TIMES, always or unless-stopped";
    Restart::parse(text).ok_or_else(|| bad("--restart", text, right))
}

fn labels(args: &LabelArgs) -> Result<BTreeMap<String, String>> {
    let mut all = Vec::new();
    for file in &args.label_files {
        all.extend(lines_of("--label-file", file)?);
    }
    all.extend(args.labels.iter().cloned());
    let pair = |label: String| {
        let (key, value) = label.split_once('=').unwrap_or((&label, ""));
        if key.is_empty() {
            return Err(bad("--label", &label, "KEY=VALUE or KEY"));
        }
        Ok((key.to_owned(), value.to_owned()))
    };
    all.into_iter().map(pair).collect()
}

fn health(args: &PolicyArgs) -> Result<Option<Health>> {
    let Some(command) = args.health_cmd.as_ref().filter(|_| !args.no_healthcheck) else {
        return Ok(None);
    };
    let shell = |command: &String| vec!["/bin/sh".to_owned(), "-c".to_owned(), command.clone()];
    let retries = args.health_retries;
    if retries == 0 {
        return Err(bad("--health-retries", "0", "a number above 0"));
    }
    let above_0 = |flag, text: &str| match duration(flag, text)? {
        Duration::ZERO => Err(bad(flag, text, "a time above 0, such as 30s")),
        time => Ok(time),
    };
    Ok(Some(Health {
        command: shell(command),
        interval: above_0("--health-interval", &args.health_interval)?,
        timeout: above_0("--health-timeout", &args.health_timeout)?,
        retries,
        start_period: duration("--health-start-period", &args.health_start_period)?,
        start_interval: above_0("--health-start-interval", &args.health_start_interval)?,
    }))
}

/// A time such as `30s`, `1m30s`, `500ms`.
fn duration(flag: &str, text: &str) -> Result<Duration> {
    /// A hundred years: a clock must be able to count to its end.
    const MOST: Duration = Duration::from_secs(100 * 365 * 86_400);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let time = humantime::parse_duration(text).ok().filter(|time| *time <= MOST);
    time.ok_or_else(|| bad(flag, text, "a time such as 30s, 1m30s, 500ms"))
}

fn log_limits(options: &[String]) -> Result<LogLimits> {
    let mut limits = LogLimits::default();
    for option in options {
        match option.split_once('=') {
            Some(("max-size", size)) => {
                limits.max_size = match size {
                    "-1" => u64::MAX,
                    _ => parse_size("--log-opt max-size", size)? as u64,
                };
            }
            Some(("max-file", count)) => {
                limits.max_file =
                    count.parse().ok().filter(|count| *count > 0).ok_or_else(|| {
                        bad(
                            "--log-opt max-file",
                            count,
                            "how many files there are at most: 1 or more",
                        )
                    })?;
            }
            _ => return Err(bad("--log-opt", option, "max-size=20m or max-file=5")),
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_end_within_a_life() {
        let time = |text| duration("--health-interval", text);
        assert_eq!(time("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(time("0").unwrap(), Duration::ZERO);
        for wrong in ["", "x", "-1s", "1", "100000000000y"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn logs_have_limits() {
        assert_eq!(log_limits(&[]).unwrap(), LogLimits::default());
        let options = ["max-size=10k", "max-file=2"].map(str::to_owned);
        assert_eq!(log_limits(&options).unwrap(), LogLimits { max_size: 10 << 10, max_file: 2 });
        for wrong in ["max-size=x", "max-file=0", "path=/x", "max-size"] {
            assert!(log_limits(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}

//! Moments and spans of time, as people give them and as docker words them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minibox_runtime::{Result, sys};

use crate::wishes::bad;

/// A moment of a record; 1970 where it cannot be read.
pub(crate) fn of_record(rfc3339: &str) -> SystemTime {
    humantime::parse_rfc3339(rfc3339).unwrap_or(UNIX_EPOCH)
}

/// When this machine was started, proc_stat(5); 1970 where it does not say.
pub(crate) fn boot() -> SystemTime {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok());
    UNIX_EPOCH + Duration::from_secs(seconds.unwrap_or(0))
}

/// How long ago a moment of a record was, in docker's words, without "ago".
pub(crate) fn since(rfc3339: &str) -> String {
    span(SystemTime::now().duration_since(of_record(rfc3339)).unwrap_or_default())
}

/// A span in its largest unit, docker's way of rounding included.
fn span(span: Duration) -> String {
    let (seconds, minutes) = (span.as_secs(), span.as_secs() / 60);
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, ..) => String::from("Less than a second"),
        (1, ..) => String::from("1 second"),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => String::from("About a minute"),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => String::from("About an hour"),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / 24 / 7),
        (.., 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Seconds since 1970, negative before.
fn unix(moment: SystemTime) -> i64 {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

/// Local time as Go prints it: `2026-11-22 10:00:00 +0900 KST`.
pub(crate) fn local(moment: SystemTime) -> String {
    let Some(local) = sys::local_time(unix(moment)) else { return String::new() };
    let utc_as_local =
        UNIX_EPOCH + Duration::from_secs((unix(moment) + local.offset).max(0) as u64);
    let text = humantime::format_rfc3339_seconds(utc_as_local).to_string();
    let text = text.trim_end_matches('Z').replace('T', " ");
    let (sign, minutes) = (if local.offset < 0 { '-' } else { '+' }, local.offset.abs() / 60);
    format!("{text} {sign}{:02}{:02} {}", minutes / 60, minutes % 60, local.zone)
}

/// A moment as ps(1) has it: the time today, otherwise the day.
pub(crate) fn short(moment: SystemTime) -> String {
    let (then, now) = (local(moment), local(SystemTime::now()));
    let months =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = then.get(5..7).and_then(|month| month.parse::<usize>().ok()).unwrap_or(1);
    match (then.get(..10), then.get(8..10), then.get(11..16)) {
        (Some(day), _, Some(time)) if now.starts_with(day) => time.to_owned(),
        (_, Some(day), _) => format!("{}{day}", months[(month - 1) % 12]),
        _ => then,
    }
}

/// What follows `--since`, `--until` and `until=`: `10m` before now, seconds since 1970, or a date with or
/// without time and zone, local where it has none. `flag` is for the error.
pub(crate) fn moment(flag: &str, text: &str, now: SystemTime) -> Result<SystemTime> {
    let from_unix = |text: &str| {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let nanoseconds = format!("{part:0<9}").get(..9)?.parse().ok()?;
        UNIX_EPOCH.checked_add(Duration::new(whole.parse().ok()?, nanoseconds))
    };
    let ago = |text: &str| now.checked_sub(humantime::parse_duration(text).ok()?);
    let moment = from_unix(text).or_else(|| ago(text)).or_else(|| date(text));
    // Beyond the year 9999 nothing can be written down.
    let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    let moment = moment.map(|moment| moment.clamp(UNIX_EPOCH, last));
    moment.ok_or_else(|| {
        bad(flag, text, "such as 10m, 1h30m, 2026-11-22, 2026-11-22T10:00:00, 2026-11-22T10:00:00Z, or seconds since 1970")
    })
}

/// `2026-11-22`, then as much of `T10:00:00.5` as there is, then `Z`, `+09:00` or nothing for local time.
fn date(text: &str) -> Option<SystemTime> {
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, "00"));
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at(zone_at);
    let full = match time.len() {
        2 => format!("{day}T{time}:00:00Z"),
        5 => format!("{day}T{time}:00Z"),
        _ => format!("{day}T{time}Z"),
    };
    let as_utc = humantime::parse_rfc3339(&full).ok()?;
    let offset = match zone.split_at_checked(1) {
        None => {
            sys::local_time(unix(as_utc))
                .and_then(|guess| sys::local_time(unix(as_utc) - guess.offset))?
                .offset
        }
        Some(("Z", "")) => 0,
        Some((sign, zone)) => {
            let (hours, minutes) = zone.split_once(':').or_else(|| zone.split_at_checked(2))?;
            let below = |text: &str, most: i64| text.parse().ok().filter(|n| (0..most).contains(n));
            let minutes = below(hours, 24)? * 60 + below(minutes, 60)?;
            minutes * if sign == "-" { -60 } else { 60 }
        }
    };
    let shift = Duration::from_secs(offset.unsigned_abs());
    if offset < 0 { as_utc.checked_add(shift) } else { as_utc.checked_sub(shift) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_docker_s() {
        let (minute, hour, day) = (60, 3600, 86400);
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (minute, "About a minute"),
            (119, "About a minute"),
            (2 * minute, "2 minutes"),
            (59 * minute, "59 minutes"),
            (hour, "About an hour"),
            (hour + 1800, "2 hours"),
            (47 * hour, "47 hours"),
            (2 * day, "2 days"),
            (13 * day, "13 days"),
            (14 * day, "2 weeks"),
            (59 * day, "8 weeks"),
            (60 * day, "2 months"),
            (729 * day, "24 months"),
            (730 * day, "2 years"),
            (u64::MAX / 2, "292471208677 years"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn moments_are_understood_or_refused() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_341_600);
        let seconds = |text: &str| {
            moment("--since", text, now).map(|m| m.duration_since(UNIX_EPOCH).unwrap().as_millis())
        };
        for (text, wanted) in [
            ("10m", 1_795_341_000_000),
            ("1h30m", 1_795_336_200_000),
            ("1795341600", 1_795_341_600_000),
            ("1795341600.5", 1_795_341_600_500),
            ("99999999999999", 253_402_300_799_000),
            ("2026-11-22T10:00:00Z", 1_795_341_600_000),
            ("2026-11-22T10:00:00.25Z", 1_795_341_600_250),
            ("2026-11-22T19:00:00+09:00", 1_795_341_600_000),
            ("2026-11-22T08:30-0130", 1_795_341_600_000),
            ("2026-11-22T10Z", 1_795_341_600_000),
        ] {
            assert_eq!(seconds(text).unwrap(), wanted, "{text}");
        }
        let local = seconds("2026-11-22T10:00:00").unwrap();
        assert!(u128::abs_diff(local, 1_795_341_600_000) <= 14 * 3_600_000);
        assert_eq!(seconds("2026-11-22 10:00:00").unwrap(), local);
        for text in [
            "",
            "soon",
            "-5",
            "10 parsecs",
            "2026-13-01",
            "2026-11-22T10:00:00+x",
            "2026-11-22T10:00:00+99999999:00",
            "2026-11-22T10:00:00+-1:00",
            "1e4",
            "T",
            "é",
            "+é",
        ] {
            assert!(moment("--since", text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn local_time_is_read_back() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_341_600);
        let shown = local(now);
        let (day_and_time, zone) = shown.split_at(19);
        let text = format!("{}{}", day_and_time.replace(' ', "T"), zone.split(' ').nth(1).unwrap());
        assert_eq!(moment("--since", &text, UNIX_EPOCH).unwrap(), now, "{shown}");
    }
}

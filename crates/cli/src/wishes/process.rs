//! The program: command, environment, user.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use minibox_runtime::user::{self, User};
use minibox_runtime::{Error, Result};

use super::bad;
use crate::args::{CreateArgs, ProcessArgs};

/// The program, as it is wanted.
#[derive(Debug)]
pub(crate) struct Program {
    /// `--entrypoint` and COMMAND together.
    pub args: Vec<String>,
    pub user: User,
    /// What was asked for by file and flag, `KEY=VALUE` or `KEY` where nothing is to be set.
    pub env: Vec<String>,
    pub cwd: PathBuf,
}

pub(super) fn understand(
    args: &CreateArgs,
    root: BorrowedFd<'_>,
    default_user: &str,
) -> Result<Program> {
    let entrypoint = args.program.entrypoint.iter().filter(|word| !word.is_empty()).cloned();
    let words: Vec<String> = entrypoint.chain(args.command.iter().cloned()).collect();
    if words.is_empty() {
        return Err(Error::new(format!("there is no command to run in {}", args.rootfs.display()))
            .hint("the program comes after the root filesystem: `minibox run -it ROOTFS sh`"));
    }
    let mut user = user::resolve(root, args.process.user.as_deref().unwrap_or(default_user))?;
    for group in &args.program.group_add {
        let gid = user::resolve_group(root, group)
            .map_err(|error| Error { what: format!("--group-add: {}", error.what), ..error })?;
        if !user.groups.contains(&gid) {
            user.groups.push(gid);
        }
    }
    Ok(Program { args: words, user, env: environment(&args.process)?, cwd: cwd(&args.process)? })
}

fn cwd(args: &ProcessArgs) -> Result<PathBuf> {
    let cwd = args.workdir.as_deref().unwrap_or("/");
    if !cwd.starts_with('/') {
        return Err(bad("--workdir", cwd, "an absolute path in the container"));
    }
    Ok(PathBuf::from(cwd))
}

/// What `--env-file` and `-e` ask for, later ones winning; a key without a value takes the caller's, and
/// is left out where he has none.
pub(crate) fn environment(args: &ProcessArgs) -> Result<Vec<String>> {
    let mut wishes = Vec::new();
    for file in &args.env_files {
        wishes.extend(lines_of("--env-file", file)?);
    }
    wishes.extend(args.env.iter().cloned());
    let mut env: Vec<String> = Vec::new();
    for wish in wishes {
        let (key, value) = match wish.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            // Like docker: a variable that the caller does not have is not set.
            None => (wish.as_str(), std::env::var(&wish).ok()),
        };
        if key.is_empty() {
            return Err(bad("--env", &wish, "KEY=VALUE, or KEY to pass yours on"));
        }
        let prefix = format!("{key}=");
        env.retain(|entry| !entry.starts_with(&prefix) && entry != key);
        env.push(value.map_or_else(|| key.to_owned(), |value| prefix + &value));
    }
    Ok(env)
}

/// The lines of a file of variables or labels: no empty ones, no comments, no quotes to remove; docker's
/// format.
pub(super) fn lines_of(flag: &str, path: &PathBuf) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let error = Error::of_io("read", path, &error);
        Error { what: format!("{flag}: {}", error.what), ..error }
    })?;
    let mut lines = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = line.split('=').next().unwrap_or_default();
        if key.is_empty() || key.trim_end().contains(char::is_whitespace) || key.ends_with(' ') {
            return Err(Error::new(format!(
                "{flag} {}, line {}: {line:?} is not understood",
                path.display(),
                number + 1
            ))
            .hint("KEY=VALUE or KEY, without blanks in the key"));
        }
        lines.push(line.to_owned());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_variables() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        std::fs::write(&file, "# comment\n\nA=1\n  B=two words\nC=\"quoted\"\n").unwrap();
        assert_eq!(lines_of("--env-file", &file).unwrap(), ["A=1", "B=two words", "C=\"quoted\""]);
        for wrong in ["=x", "A B=1", "A =1"] {
            std::fs::write(&file, wrong).unwrap();
            assert!(lines_of("--env-file", &file).is_err(), "{wrong}");
        }
    }
}

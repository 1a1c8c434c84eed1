//! What is mounted where this process can see it: /proc/self/mountinfo, proc_pid_mountinfo(5).

use std::path::PathBuf;

/// One mount, as its line says it.
#[derive(Debug, Clone, Copy)]
pub struct Mounted<'a> {
    /// Which folder of its filesystem is shown.
    pub root: &'a str,
    /// Where, with blanks as octal numbers: [`Mounted::place`].
    pub escaped_place: &'a str,
    /// The filesystem's type.
    pub fstype: &'a str,
    /// The filesystem's own options.
    pub options: &'a str,
}

impl Mounted<'_> {
    /// Where it is mounted.
    pub fn place(&self) -> PathBuf {
        let place = self.escaped_place.replace("\\040", " ").replace("\\011", "\t");
        PathBuf::from(place.replace("\\012", "\n").replace("\\134", "\\"))
    }
}

/// The mounts of a mountinfo's `text`, in its order: the later lies over the earlier.
pub fn parse(text: &str) -> impl DoubleEndedIterator<Item = Mounted<'_>> + Clone {
    text.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let (mut left, mut right) = (left.split(' ').skip(3), right.split(' '));
        let (root, escaped_place) = (left.next()?, left.next()?);
        let (fstype, options) = (right.next()?, right.nth(1)?);
        Some(Mounted { root, escaped_place, fstype, options })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let text = "24 1 0:22 / /a\\040b\\134 rw,nosuid shared:5 - proc proc rw\nnonsense\n";
        let mounts: Vec<_> = parse(text).collect();
        assert_eq!(mounts.len(), 1);
        assert_eq!((mounts[0].root, mounts[0].fstype, mounts[0].options), ("/", "proc", "rw"));
        assert_eq!(mounts[0].place(), PathBuf::from("/a b\\"));
    }
}

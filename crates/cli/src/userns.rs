//! The user namespace of a container: which ids inside stand for which outside.

use minibox_runtime::idmap::{self, IdMap, Range};
use minibox_runtime::state::Lock;
use minibox_runtime::{Error, Result};
use nix::unistd::{Gid, Uid};
use oci_spec::runtime::LinuxNamespaceType as Kind;

use crate::output;
use crate::sharing::Origin;
use crate::store::{Record, Store};
use crate::wishes::bad;

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    /// Nothing: root stays root, a plain user becomes it.
    Usual,
    /// A range that no other container has.
    Auto { size: Option<u32> },
    /// The caller's own ids are these inside.
    KeepId { uid: u32, gid: u32 },
    /// As given by --uidmap and --gidmap.
    Maps(IdMap),
    /// Another container's.
    Of(Box<Record>),
}

/// What a container gets.
#[derive(Debug)]
pub(crate) struct UserNamespace {
    pub origin: Origin,
    /// Its maps; none where it is the host's.
    pub id_map: Option<IdMap>,
    /// Kinds of namespace that belong to another user namespace, so that nothing of them can be mounted.
    foreign: Vec<Kind>,
}

/// How many ids `auto` takes: root has 32 bits full of them, a plain user usually 65536.
const AUTO_OF_ROOT: u32 = 65536;
const AUTO_OF_USER: u32 = 1024;

/// Where nothing is reserved for containers: above all ids that people, systemd and /etc/subuid give out.
const HIGH: Range = Range { inside: 0, outside: 0x8000_0000, size: 0x7fff_0000 };

/// The name that stands in /etc/subuid for ranges of containers, as podman has it.
const OWNER: &str = "containers";

impl Wish {
    /// `--userns`, `--uidmap` and `--gidmap`.
    pub(crate) fn parse(
        store: &Store,
        mode: Option<&str>,
        uid_maps: &[String],
        gid_maps: &[String],
    ) -> Result<Wish> {
        let root = !idmap::needs_user_namespace();
        let Some(mode) = mode else {
            return match (uid_maps, gid_maps) {
                ([], []) => Ok(Wish::Usual),
                _ => maps(uid_maps, gid_maps).map(Wish::Maps),
            };
        };
        let right = "host, auto[:size=N], keep-id[:uid=N,gid=N], private or container:NAME";
        let wrong = || bad("--userns", mode, right);
        let (name, options) = mode.split_once(':').unwrap_or((mode, ""));
        if name == "container" {
            let origin = Origin::parse(store, "--userns", mode, "")?;
            return match origin.as_ref().and_then(Origin::record) {
                Some(record) => Ok(Wish::Of(Box::new(record.clone()))),
                None => Err(wrong()),
            };
        }
        let mut given = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').ok_or_else(wrong)?;
            given.push((key, value.parse::<u32>().map_err(|_| wrong())?));
        }
        let known = |keys: &[&str]| given.iter().all(|(key, _)| keys.contains(key));
        let value = |key| given.iter().rev().find(|(k, _)| *k == key).map(|(_, value)| *value);
        match name {
            "auto" if known(&["size"]) && value("size") != Some(0) => {
                Ok(Wish::Auto { size: value("size") })
            }
            "private" if given.is_empty() && root => Ok(Wish::Auto { size: None }),
            // A plain user's usual container has one of its own, and none can have his.
            "host" | "private" if given.is_empty() => Ok(Wish::Usual),
            "keep-id" if root => Err(Error::new(
                "--userns keep-id is for plain users: root's id inside is root's already",
            )
            .hint("--userns auto keeps root inside apart from root outside")),
            "keep-id" if known(&["uid", "gid"]) => Ok(Wish::KeepId {
                uid: value("uid").unwrap_or(Uid::effective().as_raw()),
                gid: value("gid").unwrap_or(Gid::effective().as_raw()),
            }),
            _ => Err(wrong()),
        }
    }

    /// As it is written down, where `asked` is what was said: a container by its id.
    pub(crate) fn spell(&self, asked: Option<&str>) -> String {
        match (self, asked) {
            (Wish::Of(record), _) => format!("container:{}", record.id),
            (_, Some(asked)) => asked.to_owned(),
            (Wish::Usual, None) if !idmap::needs_user_namespace() => String::from("host"),
            _ => String::from("private"),
        }
    }

    /// Must no other container be made meanwhile?
    pub(crate) fn takes_a_range(&self) -> bool {
        matches!(self, Wish::Auto { .. })
    }

    /// The user that the program is, where nobody says otherwise: root, if there is one. `donors` are
    /// containers that share a namespace with it.
    pub(crate) fn default_user<'a>(
        &'a self,
        mut donors: impl Iterator<Item = &'a Record>,
    ) -> String {
        let map = match self {
            Wish::KeepId { uid, gid } => return format!("{uid}:{gid}"),
            Wish::Of(record) => record.id_map.as_ref(),
            Wish::Usual if idmap::needs_user_namespace() => {
                donors.next().and_then(|record| record.id_map.as_ref())
            }
            _ => None,
        };
        let first = |ranges: &[Range]| ranges.first().map_or(0, |range| range.inside);
        let rootless = map.filter(|map| !map.has_root());
        rootless.map_or_else(String::new, |m| format!("{}:{}", first(&m.uids), first(&m.gids)))
    }
}

impl UserNamespace {
    /// Is the namespace of `kind` one that root inside may mount the files of?
    pub(crate) fn rules(&self, kind: Kind) -> bool {
        !self.foreign.contains(&kind)
    }

    /// Must the owners of mounts be mapped for it? A plain user cannot, and needs not: his files are his.
    pub(crate) fn maps_mounts(&self) -> bool {
        maps_mounts(self.id_map.as_ref())
    }
}

/// The same for a container that has been made with `id_map`.
pub(crate) fn maps_mounts(id_map: Option<&IdMap>) -> bool {
    id_map.is_some() && !idmap::needs_user_namespace()
}

/// Keeps others from taking a range until the container that takes one has been written down.
pub(crate) fn wait_for_turn(store: &Store) -> Result<Option<Lock>> {
    Lock::wait(&store.data.join("containers"))
}

/// Decides the user namespace of a container whose other namespaces come from `others`, each with the
/// flag that says so.
pub(crate) fn decide(
    store: &Store,
    wish: &Wish,
    others: &[(Kind, &str, &Origin)],
) -> Result<UserNamespace> {
    let root = !idmap::needs_user_namespace();
    let mut owners = Vec::new();
    for (kind, flag, origin) in others {
        if let Some(record) = origin.record() {
            let owner = Origin::of(store, record, Kind::User)?.record().map(|r| r.id.clone());
            owners.push((*kind, *flag, record, owner));
        }
    }
    let origin = match (wish, owners.first()) {
        (Wish::Of(record), _) => Origin::of(store, record, Kind::User)?,
        (Wish::Usual, Some((.., record, _))) if !root => Origin::of(store, record, Kind::User)?,
        (Wish::Usual, _) if root => Origin::Host,
        _ => Origin::New,
    };
    let own = origin.record().map(|record| record.id.clone());
    // In a new one nobody is yet.
    let is_same = |owner: &Option<String>| !origin.is_new() && *owner == own;
    for (kind, flag, record, owner) in &owners {
        // Root may join what he likes before he enters a user namespace. Only /proc must be mounted by
        // somebody inside it, and in /dev/shm nobody else's files can be.
        let is_apart = match kind {
            Kind::Ipc => true,
            Kind::Pid => !root || !origin.is_host(),
            _ => !root,
        };
        if is_apart && !is_same(owner) {
            let name = &record.name;
            return Err(Error::new(format!(
                "{flag} container:{name}: that container is in another user namespace than this one would be"
            ))
            .hint(format!("--userns container:{name} puts this one into the same")));
        }
    }
    let id_map = match &origin {
        Origin::New => Some(new_map(store, wish)?),
        Origin::Host => None,
        Origin::Of(record) => record.id_map.clone(),
    };
    let is_foreign = |(kind, _, other): &&(Kind, &str, &Origin)| match (id_map.is_some(), other) {
        (false, _) | (_, Origin::New) => false,
        (_, Origin::Host) => true,
        (_, Origin::Of(_)) => owners.iter().any(|(k, .., owner)| k == kind && !is_same(owner)),
    };
    let foreign = others.iter().filter(is_foreign).map(|(kind, ..)| *kind).collect();
    Ok(UserNamespace { origin, id_map, foreign })
}

fn new_map(store: &Store, wish: &Wish) -> Result<IdMap> {
    if !idmap::needs_user_namespace() {
        return match wish {
            Wish::Maps(map) => Ok(map.clone()),
            Wish::Auto { size } => auto_of_root(store, size.unwrap_or(AUTO_OF_ROOT)),
            _ => Err(Error::new("root needs no user namespace for this")),
        };
    }
    let (usual, why_single) = IdMap::for_caller();
    match wish {
        Wish::Auto { size } => match why_single {
            None => auto_of_user(store, &usual, size.unwrap_or(AUTO_OF_USER)),
            Some(why) => Err(Error::new(format!("--userns auto needs subordinate ids: {why}"))
                .hint("`usermod --add-subuids` and `--add-subgids`, as root, give a user some")),
        },
        Wish::KeepId { uid, gid } => {
            say_whose_the_files_are(store);
            Ok(IdMap { uids: kept(&usual.uids, *uid), gids: kept(&usual.gids, *gid) })
        }
        Wish::Maps(map) => Ok(IdMap {
            uids: through("--uidmap", &map.uids, &usual.uids)?,
            gids: through("--gidmap", &map.gids, &usual.gids)?,
        }),
        _ => {
            if let Some(why) = why_single {
                let text =
                    format!("only your own id is mapped into containers, as their root: {why}");
                output::note_once(&store.data, "single-id", &text);
            }
            Ok(usual)
        }
    }
}

fn say_whose_the_files_are(store: &Store) {
    let text = "your files in ROOTFS belong inside to who you are there, and not to root";
    output::note_once(&store.data, "whose-files", text);
}

/// A free range of `size` ids among `ranges`.
fn free(ranges: &[Range], used: &[Range], size: u32) -> Option<u32> {
    let end = |range: &Range| u64::from(range.outside) + u64::from(range.size);
    ranges.iter().find_map(|range| {
        let mut start = u64::from(range.outside);
        while start + u64::from(size) <= end(range) {
            let taken =
                |r: &&Range| u64::from(r.outside) < start + u64::from(size) && end(r) > start;
            match used.iter().filter(taken).map(end).max() {
                Some(next) => start = next,
                None => return u32::try_from(start).ok(),
            }
        }
        None
    })
}

fn used(store: &Store, is_counted: impl Fn(&Record) -> bool) -> (Vec<Range>, Vec<Range>) {
    let records = store.all().into_iter().map(|container| container.record).filter(is_counted);
    let maps: Vec<IdMap> = records.filter_map(|record| record.id_map).collect();
    (
        maps.iter().flat_map(|map| map.uids.clone()).collect(),
        maps.iter().flat_map(|map| map.gids.clone()).collect(),
    )
}

fn auto_of_root(store: &Store, size: u32) -> Result<IdMap> {
    let (uids, gids) = used(store, |_| true);
    let one = |file: &str, used: &[Range]| {
        let mut ranges = idmap::subordinate(file, &[OWNER]);
        if ranges.is_empty() {
            ranges.push(HIGH);
        }
        let outside = free(&ranges, used, size).ok_or_else(|| {
            Error::new(format!(
                "--userns auto: there are no {size} ids in a row left for containers"
            ))
            .hint(format!(
                "{file} gives {OWNER:?} its range; containers that are removed give theirs back"
            ))
        })?;
        Ok::<_, Error>(vec![Range { inside: 0, outside, size }])
    };
    Ok(IdMap { uids: one("/etc/subuid", &uids)?, gids: one("/etc/subgid", &gids)? })
}

/// Of the caller's subordinate ids, and behind them his own: without it root inside could not reach the
/// container's files, which are his.
fn auto_of_user(store: &Store, usual: &IdMap, size: u32) -> Result<IdMap> {
    let (uids, gids) = used(store, |record| record.settings.modes.user.starts_with("auto"));
    let one = |usual: &[Range], used: &[Range]| {
        let outside = free(&usual[1..], used, size).ok_or_else(|| {
            Error::new(format!("--userns auto: of your subordinate ids no {size} in a row are free"))
                .hint("/etc/subuid and /etc/subgid list them; auto:size=N takes fewer, and containers that are removed give theirs back")
        })?;
        let own = Range { inside: size, ..usual[0] };
        Ok::<_, Error>(vec![Range { inside: 0, outside, size }, own])
    };
    let map = IdMap { uids: one(&usual.uids, &uids)?, gids: one(&usual.gids, &gids)? };
    say_whose_the_files_are(store);
    Ok(map)
}

/// The caller's own id becomes `inside`; his subordinate ones fill the places around it, from 0 on.
fn kept(usual: &[Range], inside: u32) -> Vec<Range> {
    let own = Range { inside, ..usual[0] };
    let mut ranges = Vec::new();
    for range in &usual[1..] {
        let before = range.size.min(inside);
        let (outside, rest) = (range.outside + before, range.size - before);
        ranges.push(Range { inside: 0, outside: range.outside, size: before });
        ranges.push(Range { inside: inside.saturating_add(1), outside, size: rest });
    }
    ranges.insert(ranges.len().min(1), own);
    ranges.retain(|range| range.size > 0);
    ranges
}

/// A plain user's maps: OUTSIDE counts his own ids, 0 being himself and 1 the first subordinate one.
fn through(flag: &str, asked: &[Range], usual: &[Range]) -> Result<Vec<Range>> {
    let mut ranges = Vec::new();
    for range in asked {
        let mut found = 0;
        for known in usual {
            let start = range.outside.max(known.inside);
            let end = (range.outside + range.size).min(known.inside.saturating_add(known.size));
            if start < end {
                found += end - start;
                ranges.push(Range {
                    inside: range.inside + (start - range.outside),
                    outside: known.outside + (start - known.inside),
                    size: end - start,
                });
            }
        }
        if found < range.size {
            let last = usual.iter().map(|range| range.size).sum::<u32>() - 1;
            let Range { inside, outside, size } = range;
            return Err(Error::new(format!(
                "{flag} {inside}:{outside}:{size} names ids that are not yours"
            ))
            .hint(format!(
                "OUTSIDE counts your own: 0 is you, and {last} is the last of your subordinate ones"
            )));
        }
    }
    if ranges.iter().all(|range| range.outside != usual[0].outside) {
        return Err(Error::new(format!("{flag} maps everybody but you"))
            .hint("the container's files are yours: give yourself, OUTSIDE 0, an id inside"));
    }
    Ok(ranges)
}

fn maps(uid_maps: &[String], gid_maps: &[String]) -> Result<IdMap> {
    let parse = |flag: &str, texts: &[String]| {
        let ranges = texts.iter().map(|text| range(flag, text)).collect::<Result<Vec<_>>>()?;
        check(flag, &ranges).map(|()| ranges)
    };
    let (uids, gids) = (parse("--uidmap", uid_maps)?, parse("--gidmap", gid_maps)?);
    // As podman does where only one is given.
    Ok(match (uids.is_empty(), gids.is_empty()) {
        (true, _) => IdMap { uids: gids.clone(), gids },
        (_, true) => IdMap { gids: uids.clone(), uids },
        _ => IdMap { uids, gids },
    })
}

/// `INSIDE:OUTSIDE[:COUNT]`.
fn range(flag: &str, text: &str) -> Result<Range> {
    let wrong = || bad(flag, text, "INSIDE:OUTSIDE:COUNT, such as 0:100000:65536");
    let numbers: Vec<u32> =
        text.split(':').map(|number| number.parse().map_err(|_| wrong())).collect::<Result<_>>()?;
    let (inside, outside, size) = match numbers[..] {
        [inside, outside] => (inside, outside, 1),
        [inside, outside, size] => (inside, outside, size),
        _ => return Err(wrong()),
    };
    // The last id of all is not one: it means "none".
    let fits = |first: u32| first.checked_add(size).is_some();
    if size == 0 || !fits(inside) || !fits(outside) {
        return Err(wrong());
    }
    Ok(Range { inside, outside, size })
}

fn check(flag: &str, ranges: &[Range]) -> Result<()> {
    for (number, one) in ranges.iter().enumerate() {
        let overlap = |a: u32, b: u32, other: &Range| a < b + other.size && b < a + one.size;
        let twice = ranges[..number].iter().find(|other| {
            overlap(one.inside, other.inside, other) || overlap(one.outside, other.outside, other)
        });
        if let Some(other) = twice {
            let text = |r: &Range| format!("{}:{}:{}", r.inside, r.outside, r.size);
            return Err(Error::new(format!("{flag} {} and {} overlap", text(other), text(one)))
                .hint("each id may stand for one other, and be stood for by one"));
        }
    }
    if !ranges.is_empty() && IdMap::outside(ranges, 0).is_none() {
        return Err(Error::new(format!("{flag} does not say which id is root inside"))
            .hint(format!("map 0 too, such as {flag} 0:100000:65536")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn r(inside: u32, outside: u32, size: u32) -> Range {
        Range { inside, outside, size }
    }

    const USUAL: [Range; 2] = [r(0, 1000, 1), r(1, 100_000, 65536)];

    #[test]
    fn ranges_are_checked() {
        assert_eq!(range("--uidmap", "0:1000").unwrap(), r(0, 1000, 1));
        assert_eq!(range("--uidmap", "0:1000:5").unwrap(), r(0, 1000, 5));
        for wrong in ["", "0", "0:1:0", "a:b:c", "0:1:2:3", "0:4294967295:1", "-1:0:1"] {
            assert!(range("--uidmap", wrong).is_err(), "{wrong}");
        }
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        for wrong in [&["0:5:10", "9:50:1"][..], &["0:5:10", "20:14:1"], &["1:5:10"]] {
            assert!(maps(&texts(wrong), &[]).is_err(), "{wrong:?}");
        }
        let map = maps(&texts(&["0:5:10"]), &[]).unwrap();
        assert_eq!((map.uids, map.gids), (vec![r(0, 5, 10)], vec![r(0, 5, 10)]));
    }

    #[test]
    fn a_free_range_is_one_that_nobody_has() {
        let all = [r(0, 100, 10), r(0, 200, 30)];
        assert_eq!(free(&all, &[], 10), Some(100));
        assert_eq!(free(&all, &[r(0, 105, 1)], 10), Some(200));
        assert_eq!(free(&all, &[r(0, 100, 10), r(5, 195, 10), r(0, 210, 5)], 10), Some(215));
        assert_eq!(free(&all, &[r(0, 200, 21)], 10), Some(100));
        assert_eq!(free(&all, &[r(0, 109, 1), r(0, 210, 10)], 11), None);
        assert_eq!(free(&[HIGH], &[], 65536), Some(1 << 31));
    }

    #[test]
    fn ones_own_id_is_kept() {
        let expected = [r(0, 100_000, 1000), r(1000, 1000, 1), r(1001, 101_000, 64536)];
        assert_eq!(kept(&USUAL, 1000), expected);
        assert_eq!(kept(&USUAL, 0), [r(0, 1000, 1), r(1, 100_000, 65536)]);
        assert_eq!(kept(&USUAL, 70000), [r(0, 100_000, 65536), r(70000, 1000, 1)]);
        assert_eq!(kept(&USUAL[..1], 1000), [r(1000, 1000, 1)]);
    }

    #[test]
    fn a_plain_users_maps_count_his_own_ids() {
        let map = through("--uidmap", &[r(0, 1, 5), r(5, 0, 1), r(6, 6, 1)], &USUAL).unwrap();
        assert_eq!(map, [r(0, 100_000, 5), r(5, 1000, 1), r(6, 100_005, 1)]);
        let map = through("--uidmap", &[r(0, 0, 10)], &USUAL).unwrap();
        assert_eq!(map, [r(0, 1000, 1), r(1, 100_000, 9)]);
        assert!(through("--uidmap", &[r(0, 0, 65538)], &USUAL).is_err());
        assert!(through("--uidmap", &[r(0, 1, 5)], &USUAL).is_err());
    }
}

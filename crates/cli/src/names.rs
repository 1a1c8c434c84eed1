//! Names for containers that were given none: `calm-otter`.

use std::io::Read;

const QUALITIES: &[&str] = &[
    "able", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "cosy", "eager", "fair",
    "fleet", "fond", "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy", "honest",
    "jolly", "keen", "kind", "light", "lively", "lucky", "merry", "mild", "neat", "noble",
    "patient", "plain", "polite", "proud", "quick", "quiet", "ready", "rosy", "serene", "sharp",
    "silver", "smart", "snug", "steady", "still", "sunny", "swift", "tidy", "trim", "true", "warm",
    "wise", "witty", "young", "zesty",
];

const ANIMALS: &[&str] = &[
    "badger", "bear", "beaver", "bee", "bison", "canary", "cat", "crane", "cuckoo", "deer",
    "dolphin", "dove", "duck", "eagle", "falcon", "finch", "fox", "gecko", "goose", "hare", "hawk",
    "hedgehog", "heron", "horse", "jay", "koala", "lark", "lemur", "lion", "lynx", "magpie",
    "marten", "mole", "moose", "mouse", "newt", "otter", "owl", "panda", "panther", "pigeon",
    "puffin", "rabbit", "raven", "robin", "seal", "sparrow", "squirrel", "stork", "swallow",
    "swan", "tiger", "toad", "turtle", "whale", "wolf", "wren", "yak",
];

/// `N` random bytes from the kernel.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Ok(mut source) = std::fs::File::open("/dev/urandom") {
        let _ = source.read_exact(&mut bytes);
    }
    bytes
}

/// A container id: 64 hexadecimal digits.
pub(crate) fn new_id() -> String {
    random::<32>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name; after some collisions one with a number.
pub(crate) fn new_name(attempt: u32) -> String {
    let bytes: [u8; 6] = random();
    let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let pick = |list: &[&'static str], at: usize| list[usize::from(number(at)) % list.len()];
    let name = format!("{}-{}", pick(QUALITIES, 0), pick(ANIMALS, 2));
    if attempt < 8 { name } else { format!("{name}-{}", number(4)) }
}

/// The one of `names` that was probably meant by `asked`.
fn closest<'a>(asked: &str, names: &'a [String]) -> Option<&'a String> {
    let likeness = |name: &&String| strsim::normalized_damerau_levenshtein(asked, name);
    let best = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    best.filter(|name| likeness(name) > 0.6)
}

/// The hint for a name that there is none of: what was probably meant, and what `lists` all.
pub(crate) fn hint(asked: &str, names: &[String], lists: &str) -> String {
    match closest(asked, names) {
        Some(name) => format!("did you mean {name:?}? {lists} lists all"),
        None => format!("{lists} lists all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_and_names_are_two_words() {
        let id = new_id();
        assert_eq!(id.len(), 64);
        assert!(id.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(id, new_id());
        assert_eq!(new_name(0).split('-').count(), 2);
        assert_eq!(new_name(9).split('-').count(), 3);
    }

    #[test]
    fn a_slip_of_the_finger_is_close_and_another_word_is_not() {
        let names = ["web", "database", "calm-otter"].map(str::to_owned);
        for (asked, meant) in [("wbe", "web"), ("databse", "database"), ("calm-oter", "calm-otter")]
        {
            assert_eq!(closest(asked, &names).unwrap(), meant);
        }
        for asked in ["x", "nothing", "otter"] {
            assert_eq!(closest(asked, &names), None, "{asked}");
        }
    }
}

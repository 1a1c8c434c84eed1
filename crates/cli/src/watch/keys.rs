//! Keys, as a terminal in raw mode sends them, console_codes(4). Read here and not by the library below ratatui:
//! that one forgets a key that comes together with a new window size, and turns in circles when the terminal goes.

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
    Tab,
    BackTab,
    Escape,
    CtrlC,
}

/// What terminals send behind an escape character.
const SEQUENCES: [(&str, Key); 17] = [
    ("[A", Key::Up),
    ("[B", Key::Down),
    ("[C", Key::Right),
    ("[D", Key::Left),
    ("[H", Key::Home),
    ("[F", Key::End),
    ("[1~", Key::Home),
    ("[4~", Key::End),
    ("[5~", Key::PageUp),
    ("[6~", Key::PageDown),
    ("[Z", Key::BackTab),
    // With the keypad in the mode that full-screen programs ask for.
    ("OA", Key::Up),
    ("OB", Key::Down),
    ("OC", Key::Right),
    ("OD", Key::Left),
    ("OH", Key::Home),
    ("OF", Key::End),
];

/// All keys in what was read at once. A sequence that means nothing here is passed over.
pub(super) fn keys(read: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(read);
    let mut rest = text.as_ref();
    let mut keys = Vec::new();
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        let key = match first {
            '\x1b' => {
                let known = SEQUENCES.iter().find(|(sequence, _)| rest.starts_with(sequence));
                let (length, key) = match known {
                    Some((sequence, key)) => (sequence.len(), Some(*key)),
                    None if rest.is_empty() || rest.starts_with('\x1b') => (0, Some(Key::Escape)),
                    None => (unknown(rest), None),
                };
                rest = &rest[length..];
                key
            }
            '\x03' => Some(Key::CtrlC),
            '\t' => Some(Key::Tab),
            letter if letter.is_control() => None,
            letter => Some(Key::Letter(letter)),
        };
        keys.extend(key);
    }
    keys
}

/// How long a sequence is that nobody knows: to the letter that ends it, or one letter with Alt.
fn unknown(rest: &str) -> usize {
    let body = rest.strip_prefix('[').or_else(|| rest.strip_prefix('O'));
    match body.and_then(|body| body.find(|c: char| ('\x40'..='\x7e').contains(&c))) {
        Some(at) => at + 2,
        None => rest.chars().next().map_or(0, char::len_utf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let read = "k\x1b[A\x1bOB\x1b[5~\t\x1b[Z\x03\x1b[15~\x1bx잠\x1b";
        let expected = [
            Key::Letter('k'),
            Key::Up,
            Key::Down,
            Key::PageUp,
            Key::Tab,
            Key::BackTab,
            Key::CtrlC,
            Key::Letter('잠'),
            Key::Escape,
        ];
        assert_eq!(keys(read.as_bytes()), expected);
        for odd in ["\x1b[", "\x1bO", "\x1b[1;5", "\u{1b}\u{1b}[", "\x1b[\u{7f}"] {
            keys(odd.as_bytes());
        }
        keys(&[0xff, 0x1b, 0xc3]);
    }
}

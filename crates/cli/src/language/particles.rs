//! Korean particles: which of two forms follows a word depends on whether its last syllable ends in a
//! consonant.

/// How a word ends, as it is read aloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Vowel,
    Consonant,
    /// ㄹ, after which 으로 is 로.
    Rieul,
}

/// After a consonant, and after a vowel.
const PAIRS: [(&str, &str); 12] = [
    ("은", "는"),
    ("이", "가"),
    ("을", "를"),
    ("과", "와"),
    ("으로", "로"),
    ("이라는", "라는"),
    ("이라고", "라고"),
    ("이나", "나"),
    ("이면", "면"),
    ("이고", "고"),
    ("이며", "며"),
    ("이라", "라"),
];

/// The form of `particle`, which may be named by either, that follows `word`.
pub(super) fn fitting(particle: &str, word: &str) -> &'static str {
    let pair = PAIRS.iter().find(|(closed, open)| particle == *closed || particle == *open);
    let Some((closed, open)) = pair else { return "" };
    match end(word) {
        End::Vowel => open,
        End::Rieul if *closed == "으로" => open,
        End::Consonant | End::Rieul => closed,
    }
}

/// Is there such a particle?
#[cfg(test)]
pub(super) fn is_known(particle: &str) -> bool {
    PAIRS.iter().any(|(closed, open)| particle == *closed || particle == *open)
}

fn end(word: &str) -> End {
    let word = word.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '%');
    match word.chars().last() {
        Some(letter @ '가'..='힣') => match (u32::from(letter) - u32::from('가')) % 28 {
            0 => End::Vowel,
            8 => End::Rieul,
            _ => End::Consonant,
        },
        // 영 일 이 삼 사 오 육 칠 팔 구; tens end in 십, 백, 천, 만.
        Some('0' | '3' | '6') => End::Consonant,
        Some('1' | '7' | '8') => End::Rieul,
        Some(letter) if letter.is_ascii_alphabetic() => of_latin(word),
        _ => End::Vowel,
    }
}

/// Latin letters, as Koreans read them: a single one or capitals by their names (엘, 엠, 엔, 아르), words by
/// their sound: a last b, c, k, p, t closes its syllable after a single vowel (웹, 넷, but not 포트, 루트).
fn of_latin(word: &str) -> End {
    let is_latin = |c: &char| c.is_ascii_alphabetic();
    let letters: Vec<char> = word.chars().rev().take_while(is_latin).collect();
    let is_name = letters.len() == 1 || letters.iter().all(char::is_ascii_uppercase);
    let small = |at: usize| letters.get(at).map_or(' ', char::to_ascii_lowercase);
    let is_vowel = |c: char| "aeiou".contains(c);
    match small(0) {
        'l' => End::Rieul,
        'm' | 'n' => End::Consonant,
        'g' if !is_name && small(1) == 'n' => End::Consonant,
        'b' | 'c' | 'k' | 'p' | 't' if !is_name && is_vowel(small(1)) && !is_vowel(small(2)) => {
            End::Consonant
        }
        _ => End::Vowel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_fits_what_stands_before() {
        for (word, particle, form) in [
            ("컨테이너", "을", "를"),
            ("볼륨", "를", "을"),
            ("커널", "으로", "로"),
            ("이름", "로", "으로"),
            ("폴더", "으로", "로"),
            ("프로세스", "과", "와"),
            ("볼륨", "와", "과"),
            ("25514", "은", "는"),
            ("10", "이", "이"),
            ("3", "을", "을"),
            ("8", "으로", "로"),
            ("0", "으로", "으로"),
            ("99 %", "를", "를"),
            ("\"web\"", "은", "은"),
            ("`minibox ps`", "을", "를"),
            ("--net", "이", "이"),
            ("-t", "은", "는"),
            ("--rootfs", "을", "를"),
            ("/var/lib/port", "이", "가"),
            ("root", "이", "가"),
            ("SIGKILL", "을", "을"),
            ("SIGKILL", "으로", "로"),
            ("PID", "은", "는"),
            ("python", "으로", "으로"),
            ("string", "이라는", "이라는"),
            ("loop", "이라는", "라는"),
            ("", "을", "를"),
        ] {
            assert_eq!(fitting(particle, word), form, "{word}{particle}");
        }
        assert!(is_known("라는") && !is_known("의"));
    }
}

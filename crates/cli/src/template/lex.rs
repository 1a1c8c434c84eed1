//! A template's text as pieces: text between actions, and the tokens of each action.

use std::str::CharIndices;

use serde_json::{Number, Value};

use super::Wrong;

/// Text, or what stands between `{{` and `}}`.
#[derive(Debug)]
pub(super) enum Piece {
    Text(String),
    Action { at: usize, tokens: Vec<Token> },
}

/// One word of an action.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub at: usize,
    /// No blank stands before it.
    pub is_glued: bool,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Dot,
    Field(String),
    Variable(String),
    Word(String),
    Literal(Value),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
    Assign,
}

/// Cuts `text` into pieces.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Wrong> {
    let mut pieces = Vec::new();
    let (mut at, mut trims) = (0, false);
    while at < text.len() {
        let open = text[at..].find("{{").map(|offset| at + offset);
        let mut before = &text[at..open.unwrap_or(text.len())];
        if trims {
            before = before.trim_start();
        }
        let Some(open) = open else {
            pieces.push(Piece::Text(before.to_owned()));
            break;
        };
        let mut inside = open + 2;
        // Go's rule: the minus needs a blank behind it, or it would be a number's sign.
        if text[inside..].starts_with('-') && text[inside + 1..].starts_with(is_blank) {
            before = before.trim_end();
            inside += 1;
        }
        pieces.push(Piece::Text(before.to_owned()));
        let mut lexer = Lexer { text, at: inside };
        let tokens = lexer.action(open)?;
        trims = text[..lexer.at - 2].ends_with('-');
        at = lexer.at;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action { at: open, tokens });
        }
    }
    Ok(pieces)
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

fn is_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// The tokens up to `}}`, which is passed over; `None` for a comment.
    fn action(&mut self, open: usize) -> Result<Option<Vec<Token>>, Wrong> {
        let unclosed = || Wrong::new(open, "`{{` without `}}`");
        if self.rest().trim_start_matches(is_blank).starts_with("/*") {
            let end = self.rest().find("*/").ok_or_else(unclosed)?;
            self.at += end + 2;
            let rest = self.rest().trim_start_matches(is_blank);
            let rest = rest.strip_prefix('-').unwrap_or(rest);
            if !rest.starts_with("}}") {
                return Err(Wrong::new(self.at, "`}}` must follow a comment's `*/`"));
            }
            self.at = self.text.len() - rest.len() + 2;
            return Ok(None);
        }
        let mut tokens = Vec::new();
        loop {
            let blanks = self.rest().len() - self.rest().trim_start_matches(is_blank).len();
            self.at += blanks;
            let closes = |rest: &str| rest.starts_with("}}");
            if blanks > 0 && self.rest().strip_prefix('-').is_some_and(closes) {
                self.at += 3;
                return Ok(Some(tokens));
            }
            if closes(self.rest()) {
                self.at += 2;
                return Ok(Some(tokens));
            }
            let at = self.at;
            let Some(first) = self.rest().chars().next() else { return Err(unclosed()) };
            let kind = self.token(first)?;
            tokens.push(Token { at, is_glued: blanks == 0, kind });
        }
    }

    fn token(&mut self, first: char) -> Result<Kind, Wrong> {
        let at = self.at;
        let second = self.rest().chars().nth(1);
        let is_digit = |letter: Option<char>| letter.is_some_and(|l| l.is_ascii_digit());
        match first {
            '"' | '`' => self.quoted(first),
            '0'..='9' => self.number(),
            '-' | '+' | '.' if is_digit(second) => self.number(),
            '.' | '$' => {
                self.at += 1;
                let name = self.word();
                Ok(match (first, name.is_empty()) {
                    ('.', true) => Kind::Dot,
                    ('.', false) => Kind::Field(name),
                    _ => Kind::Variable(format!("${name}")),
                })
            }
            ':' if second == Some('=') => {
                self.at += 2;
                Ok(Kind::Declare)
            }
            '(' | ')' | '|' | ',' | '=' => {
                self.at += 1;
                Ok(match first {
                    '(' => Kind::Open,
                    ')' => Kind::Close,
                    '|' => Kind::Pipe,
                    ',' => Kind::Comma,
                    _ => Kind::Assign,
                })
            }
            letter if is_letter(letter) => Ok(Kind::Word(self.word())),
            other => Err(Wrong::new(at, format!("{other:?} has no meaning here"))),
        }
    }

    fn word(&mut self) -> String {
        let word: String = self.rest().chars().take_while(|&letter| is_letter(letter)).collect();
        self.at += word.len();
        word
    }

    fn number(&mut self) -> Result<Kind, Wrong> {
        let at = self.at;
        let belongs = |c: &char| is_letter(*c) || matches!(c, '.' | '+' | '-');
        let word: String = self.rest().chars().take_while(belongs).collect();
        self.at += word.len();
        let digits = word.replace('_', "");
        let hex = digits.strip_prefix("0x").and_then(|hex| i64::from_str_radix(hex, 16).ok());
        let whole = hex.or_else(|| digits.parse::<i64>().ok()).map(Value::from);
        let broken = || digits.parse().ok().and_then(Number::from_f64).map(Value::Number);
        let value = whole.or_else(broken);
        value.map(Kind::Literal).ok_or_else(|| Wrong::new(at, format!("{word} is not a number")))
    }

    /// A text in quotes, with Go's escapes unless they are back quotes.
    fn quoted(&mut self, quote: char) -> Result<Kind, Wrong> {
        let at = self.at;
        let mut letters = self.text[at + 1..].char_indices();
        let mut text = String::new();
        while let Some((offset, letter)) = letters.next() {
            if letter == quote {
                self.at = at + 1 + offset + 1;
                return Ok(Kind::Literal(text.into()));
            }
            if letter != '\\' || quote == '`' {
                text.push(letter);
                continue;
            }
            let letter = match letters.next().map(|(_, escape)| escape) {
                Some('n') => Some('\n'),
                Some('t') => Some('\t'),
                Some('r') => Some('\r'),
                Some('x') => by_number(&mut letters, 2),
                Some('u') => by_number(&mut letters, 4),
                Some('U') => by_number(&mut letters, 8),
                other => other.filter(|escape| matches!(escape, '\\' | '"')),
            };
            let unknown = || Wrong::new(at + 1 + offset, "this escape is not one of Go's");
            text.push(letter.ok_or_else(unknown)?);
        }
        Err(Wrong::new(at, "a quote without its end"))
    }
}

/// The letter that the next hexadecimal digits stand for.
fn by_number(letters: &mut CharIndices<'_>, digits: usize) -> Option<char> {
    let word: String = letters.take(digits).map(|(_, digit)| digit).collect();
    u32::from_str_radix(&word, 16).ok().and_then(char::from_u32)
}

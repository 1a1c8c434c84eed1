//! The functions that a template may call: docker's, and those of Go that make sense on JSON.

use std::cmp::Ordering;

use serde_json::Value;

use super::{is_true, kind, show};

/// All of them.
pub(super) const NAMES: [&str; 23] = [
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper",
];

/// Those that docker leaves out where a heading is made.
const NOT_IN_HEADINGS: [&str; 10] =
    ["index", "join", "json", "len", "lower", "slice", "split", "title", "truncate", "upper"];

/// Most columns that printf may fill.
const WIDEST: usize = 1000;

/// Is there a function of this name?
pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Docker's heading for a label: the last part of its name.
pub(super) fn heading(label: &str) -> Value {
    label.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ").into()
}

/// Calls `name`. `and` and `or` are not among them: they do not look at all their arguments.
pub(super) fn call(name: &str, values: &[Value], is_heading: bool) -> Result<Value, String> {
    if is_heading && NOT_IN_HEADINGS.contains(&name) {
        return values.first().cloned().ok_or_else(|| format!("{name} needs an argument"));
    }
    let exactly = |wanted: usize| {
        let wrong = || format!("{name} takes {wanted} argument(s), and was given {}", values.len());
        if values.len() == wanted { Ok(()) } else { Err(wrong()) }
    };
    let wrong =
        |wanted: &str, value: &Value| format!("{name} takes {wanted}, and this is {}", kind(value));
    let text = |at: usize| match &values[at] {
        Value::String(text) => Ok(text.as_str()),
        other => Err(wrong("a text", other)),
    };
    let size = |at: usize| match values[at].as_u64().and_then(|number| usize::try_from(number).ok())
    {
        Some(number) => Ok(number),
        None => Err(format!("{name} takes a whole number here, and this is {}", show(&values[at]))),
    };
    match name {
        "json" => {
            exactly(1)?;
            Ok(values[0].to_string().into())
        }
        "lower" | "upper" | "title" => {
            exactly(1)?;
            let text = text(0)?;
            Ok(match name {
                "lower" => text.to_lowercase(),
                "upper" => text.to_uppercase(),
                _ => title(text),
            }
            .into())
        }
        "join" => {
            exactly(2)?;
            let Value::Array(list) = &values[0] else { return Err(wrong("a list", &values[0])) };
            Ok(list.iter().map(show).collect::<Vec<_>>().join(text(1)?).into())
        }
        "split" => {
            exactly(2)?;
            Ok(text(0)?.split(text(1)?).map(Value::from).collect())
        }
        "pad" => {
            exactly(3)?;
            let (before, after) = (size(1)?.min(WIDEST), size(2)?.min(WIDEST));
            let text = text(0)?;
            let pad = |text| format!("{}{text}{}", " ".repeat(before), " ".repeat(after));
            Ok(if text.is_empty() { String::new() } else { pad(text) }.into())
        }
        "truncate" => {
            exactly(2)?;
            Ok(text(0)?.chars().take(size(1)?).collect::<String>().into())
        }
        "len" => {
            exactly(1)?;
            match &values[0] {
                Value::String(text) => Ok(text.len().into()),
                Value::Array(list) => Ok(list.len().into()),
                Value::Object(map) => Ok(map.len().into()),
                other => Err(wrong("a text, a list or an object", other)),
            }
        }
        "index" => index(values),
        "slice" => {
            let from = if values.len() > 1 { size(1)? } else { 0 };
            let to = if values.len() > 2 { Some(size(2)?) } else { None };
            let out = || format!("{name}: {from} to {to:?} is not in it").replace("Some", "");
            match values.first() {
                Some(Value::String(text)) => {
                    text.get(from..to.unwrap_or(text.len())).map(Value::from).ok_or_else(out)
                }
                Some(Value::Array(list)) => {
                    let part = list.get(from..to.unwrap_or(list.len()));
                    part.map(|part| part.to_vec().into()).ok_or_else(out)
                }
                other => Err(wrong("a text or a list", other.unwrap_or(&Value::Null))),
            }
        }
        "not" => {
            exactly(1)?;
            Ok((!is_true(&values[0])).into())
        }
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, values),
        "print" => Ok(print(values).into()),
        "println" => Ok((values.iter().map(show).collect::<Vec<_>>().join(" ") + "\n").into()),
        "printf" => match values.first() {
            Some(Value::String(format)) => Ok(printf(format, &values[1..]).into()),
            other => Err(wrong("a format first", other.unwrap_or(&Value::Null))),
        },
        _ => Err(format!("{name} needs arguments")),
    }
}

fn title(text: &str) -> String {
    let mut begins = true;
    let mut letter = |letter: char| {
        let large = begins;
        begins = !letter.is_alphanumeric() && letter != '_' && letter != '\'';
        if large { letter.to_uppercase().collect::<String>() } else { letter.into() }
    };
    text.chars().map(&mut letter).collect()
}

/// `index X 1 "a"` is X\[1\]\["a"\]; an entry that an object does not have is empty.
fn index(values: &[Value]) -> Result<Value, String> {
    let (first, keys) = values.split_first().ok_or("index needs arguments")?;
    let mut value = first.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Object(map), Value::String(key)) => {
                map.get(key).cloned().unwrap_or_else(|| "".into())
            }
            (Value::Array(list), Value::Number(number)) => {
                let found =
                    number.as_u64().and_then(|number| list.get(usize::try_from(number).ok()?));
                let out = || format!("index: there is no entry {number} among {}", list.len());
                found.cloned().ok_or_else(out)?
            }
            (value, key) => return Err(format!("index: {} has no entry {key}", kind(value))),
        };
    }
    Ok(value)
}

/// The order of two values of one kind; `None` for kinds that have none.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn compare(name: &str, values: &[Value]) -> Result<Value, String> {
    let [first, others @ ..] = values else { return Err(format!("{name} needs two arguments")) };
    if others.is_empty() || (others.len() > 1 && name != "eq") {
        return Err(format!("{name} compares two values, and was given {}", values.len()));
    }
    let equal = |other: &Value| match (first, other) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Null, other) | (other, Value::Null) => Ok(other.is_null()),
        (a, b) => order(a, b)
            .map(|order| order == Ordering::Equal)
            .ok_or_else(|| format!("{name} cannot compare {} with {}", kind(a), kind(b))),
    };
    if name == "eq" || name == "ne" {
        for other in others {
            if equal(other)? {
                return Ok((name == "eq").into());
            }
        }
        return Ok((name == "ne").into());
    }
    let other = &others[0];
    let wrong = || format!("{name} cannot compare {} with {}", kind(first), kind(other));
    let order = order(first, other).ok_or_else(wrong)?;
    Ok(match name {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    }
    .into())
}

/// Go's Print: a blank between two values neither of which is a text.
fn print(values: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            text.push(' ');
        }
        text.push_str(&show(value));
    }
    text
}

/// Go's Printf with the verbs v, s, d, q, t, x, f and %, a width, `-`, `0` and a precision.
fn printf(format: &str, values: &[Value]) -> String {
    let mut text = String::new();
    let mut values = values.iter();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let (mut left, mut zeros) = (false, false);
        while let Some(flag) = letters.next_if(|c| "-0+# ".contains(*c)) {
            left |= flag == '-';
            zeros |= flag == '0';
        }
        let width = number(&mut letters);
        let dot = letters.next_if_eq(&'.');
        let precision = dot.map(|_| number(&mut letters));
        let Some(verb) = letters.next() else {
            text.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            text.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            text.push_str("%!");
            text.push(verb);
            text.push_str("(MISSING)");
            continue;
        };
        let shown =
            verb_of(verb, value, precision).unwrap_or_else(|| format!("%!{verb}({})", show(value)));
        let fill = width.saturating_sub(shown.chars().count());
        match (left, zeros && value.is_number()) {
            (true, _) => text.push_str(&(shown + &" ".repeat(fill))),
            (false, true) => text.push_str(&("0".repeat(fill) + &shown)),
            (false, false) => text.push_str(&(" ".repeat(fill) + &shown)),
        }
    }
    text
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// The number that stands here, at most [`WIDEST`]; 0 where there is none.
fn number(letters: &mut Letters<'_>) -> usize {
    let mut digits = String::new();
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    digits.parse::<usize>().unwrap_or(0).min(WIDEST)
}

/// One value as its verb wants it; `None` where it is of another kind.
fn verb_of(verb: char, value: &Value, precision: Option<usize>) -> Option<String> {
    let number = value.as_f64();
    match verb {
        'v' => Some(show(value)),
        's' if value.is_number() || value.is_boolean() => None,
        's' => Some(show(value).chars().take(precision.unwrap_or(usize::MAX)).collect()),
        'd' => value.as_i64().map(|number| number.to_string()),
        't' => value.as_bool().map(|yes| yes.to_string()),
        'q' => value.as_str().map(|text| Value::from(text).to_string()),
        'x' => match value {
            Value::String(text) => Some(text.bytes().map(|byte| format!("{byte:02x}")).collect()),
            other => other.as_i64().map(|number| format!("{number:x}")),
        },
        'f' => number.map(|number| format!("{number:.*}", precision.unwrap_or(6))),
        _ => None,
    }
}

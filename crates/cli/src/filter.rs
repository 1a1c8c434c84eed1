//! `--filter KEY=VALUE`, docker's rules: values of one key are alternatives, keys must all agree.

use minibox_runtime::{Error, Result};
use regex_lite::Regex;

use crate::template::Labels;
use crate::wishes::bad;

/// What was asked for, in pairs.
#[derive(Debug, Default)]
pub(crate) struct Filter(Vec<(String, String)>);

impl Filter {
    /// Understands all of `words`; `keys` are those that this verb knows.
    pub(crate) fn parse(words: &[String], keys: &[&str]) -> Result<Filter> {
        let pair = |word: &String| {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| bad("--filter", word, "KEY=VALUE, such as name=web"))?;
            let (key, value) = (key.trim(), value.trim());
            if !keys.contains(&key) {
                return Err(Error::new(format!(
                    "--filter {word:?}: there is no filter {key:?} here"
                ))
                .hint(format!("filters are {}", keys.join(", "))));
            }
            Ok((key.to_owned(), value.to_owned()))
        };
        words.iter().map(pair).collect::<Result<_>>().map(Filter)
    }

    /// The values given for `key`.
    pub(crate) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Was `key` asked for at all?
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values(key).next().is_some()
    }

    /// Does any value of `key` pass `test`, or was none given?
    pub(crate) fn any(&self, key: &str, test: impl FnMut(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(test)
    }

    /// Is one value of `key` this `text`, or a regular expression that is found in it?
    pub(crate) fn finds(&self, key: &str, text: &str) -> bool {
        let found = |value: &str| Regex::new(value).is_ok_and(|pattern| pattern.is_match(text));
        self.any(key, |value| value == text || found(value))
    }

    /// Has `labels` everything that `KEY=NAME` and `KEY=NAME=VALUE` ask for?
    pub(crate) fn labels(&self, key: &str, labels: &Labels) -> bool {
        self.values(key).all(|wish| has(labels, wish))
    }

    /// Has it nothing of that?
    pub(crate) fn without_labels(&self, key: &str, labels: &Labels) -> bool {
        !self.values(key).any(|wish| has(labels, wish))
    }

    /// One of `known` for each value of `key`, or an error.
    pub(crate) fn check(&self, key: &str, known: &[&str]) -> Result<()> {
        match self.values(key).find(|value| !known.contains(value)) {
            Some(value) => Err(bad("--filter", &format!("{key}={value}"), &known.join(", "))),
            None => Ok(()),
        }
    }
}

fn has(labels: &Labels, wish: &str) -> bool {
    match wish.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|known| known == value),
        None => labels.contains_key(wish),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(words: &[&str]) -> Filter {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Filter::parse(&words, &["name", "label", "status"]).unwrap()
    }

    #[test]
    fn keys_agree_and_values_are_alternatives() {
        let both = filter(&["name=web", "name = ^db$"]);
        assert!(both.finds("name", "my-web-1") && both.finds("name", "db"));
        assert!(!both.finds("name", "db2") && filter(&[]).finds("name", "anything"));
        assert!(
            filter(&["name=a["]).finds("name", "a[") && !filter(&["name=a["]).finds("name", "ab")
        );
    }

    #[test]
    fn labels_must_all_be_there() {
        let labels = [("a", "1"), ("b", "x=y")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (words, wanted) in [
            (vec!["label=a"], true),
            (vec!["label=a=1", "label=b=x=y"], true),
            (vec!["label=a", "label=c"], false),
            (vec!["label=a=2"], false),
            (vec![], true),
        ] {
            assert_eq!(filter(&words).labels("label", &labels), wanted, "{words:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        let error = |word: &str| Filter::parse(&[word.to_owned()], &["name", "id"]).unwrap_err();
        assert!(
            error("nam=x")
                .to_string()
                .contains("there is no filter \"nam\" here\n  hint: filters are name, id")
        );
        assert!(error("name").to_string().contains("KEY=VALUE"));
        assert!(filter(&["status=on"]).check("status", &["running", "exited"]).is_err());
        assert!(filter(&["status=exited"]).check("status", &["running", "exited"]).is_ok());
    }
}

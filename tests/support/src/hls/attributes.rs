//! Attribute lists and numbers of playlists (RFC 8216bis, 4.2): `NAME=value,NAME="value"`. Before it: a tag's text; after it:
//! [`super::playlist`] and [`super::multivariant`].
use anyhow::{Context as _, Result, bail, ensure};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Quoted(String),
    Bare(String),
}

/// The attributes of one tag.
#[derive(Debug)]
pub(super) struct Attributes(Vec<(String, Value)>);

impl Attributes {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut all: Vec<(String, Value)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=').with_context(|| format!("no value in {rest:?}"))?;
            let named =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
            ensure!(named, "{name:?} is no name of an attribute");
            ensure!(!all.iter().any(|(n, _)| n == name), "{name} twice");
            let (value, behind) = if let Some(quoted) = after.strip_prefix('"') {
                let (value, behind) = quoted.split_once('"').with_context(|| format!("{name} has no end"))?;
                (Value::Quoted(value.to_owned()), behind)
            } else {
                let end = after.find(',').unwrap_or(after.len());
                ensure!(end > 0 && !after[..end].contains(['"', ' ']), "{name} has a value that cannot be");
                (Value::Bare(after[..end].to_owned()), &after[end..])
            };
            all.push((name.to_owned(), value));
            rest = match behind.strip_prefix(',') {
                Some("") => bail!("a comma at the end"),
                Some(more) => more,
                None => {
                    ensure!(behind.is_empty(), "{behind:?} behind {name}");
                    ""
                }
            };
        }
        ensure!(!all.is_empty(), "no attributes");
        Ok(Self(all))
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn maybe_quoted(&self, name: &str) -> Result<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Quoted(value)) if !value.is_empty() => Ok(Some(value)),
            Some(other) => bail!("{name} is not a quoted string with something in it: {other:?}"),
        }
    }

    pub(super) fn quoted(&self, name: &str) -> Result<&str> {
        self.maybe_quoted(name)?.with_context(|| format!("no {name}"))
    }

    pub(super) fn maybe_word(&self, name: &str) -> Result<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bare(value)) => Ok(Some(value)),
            Some(Value::Quoted(value)) => bail!("{name} is quoted: {value:?}"),
        }
    }

    pub(super) fn word(&self, name: &str) -> Result<&str> {
        self.maybe_word(name)?.with_context(|| format!("no {name}"))
    }

    pub(super) fn yes(&self, name: &str) -> Result<bool> {
        match self.maybe_word(name)? {
            None | Some("NO") => Ok(false),
            Some("YES") => Ok(true),
            Some(other) => bail!("{name} is {other}"),
        }
    }

    pub(super) fn maybe_decimal(&self, name: &str) -> Result<Option<f64>> {
        self.maybe_word(name)?.map(|word| decimal(word).context(name.to_owned())).transpose()
    }

    pub(super) fn decimal(&self, name: &str) -> Result<f64> {
        self.maybe_decimal(name)?.with_context(|| format!("no {name}"))
    }

    pub(super) fn maybe_integer(&self, name: &str) -> Result<Option<u64>> {
        self.maybe_word(name)?.map(|word| integer(word).context(name.to_owned())).transpose()
    }

    pub(super) fn integer(&self, name: &str) -> Result<u64> {
        self.maybe_integer(name)?.with_context(|| format!("no {name}"))
    }
}

/// A decimal-floating-point: digits, with or without a point; no sign, no exponent.
pub(super) fn decimal(text: &str) -> Result<f64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    ensure!(plain && text.bytes().next().is_some_and(|b| b.is_ascii_digit()), "{text:?} is no decimal number");
    text.parse().with_context(|| format!("{text:?} is no decimal number"))
}

pub(super) fn integer(text: &str) -> Result<u64> {
    ensure!(!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()), "{text:?} is no whole number");
    text.parse().with_context(|| format!("{text:?} is no whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart() {
        let all = Attributes::parse("A=1,B=\"x,y=z\",C-2=0.335,D=YES").unwrap();
        assert_eq!((all.integer("A").unwrap(), all.quoted("B").unwrap()), (1, "x,y=z"));
        assert!((all.decimal("C-2").unwrap() - 0.335).abs() < 1e-12 && all.yes("D").unwrap());
        assert!(all.quoted("A").is_err() && all.decimal("B").is_err() && all.yes("A").is_err());
        assert!(all.maybe_quoted("E").unwrap().is_none() && all.integer("E").is_err());
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in ["", "A", "a=1", "A=", "A=1,", "A=1,A=2", "A=\"x", "A=\"x\"y", "A=1 ,B=2", ",A=1", "A=1,,B=2"] {
            assert!(Attributes::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "-1", "1e3", ".5", "1.2.3", "NaN", "inf", " 1"] {
            assert!(decimal(bad).is_err(), "{bad:?}");
        }
        assert!(integer("18446744073709551616").is_err() && integer("1.0").is_err() && integer("-1").is_err());
    }
}

// SPDX-License-Identifier: Apache-2.0
//! Relation fields: `Depends`, `Pre-Depends`, `Provides`, `Conflicts`, `Breaks`, `Replaces`.
//!
//! Debian Policy section 7.1. Relations borrow from the field. Architecture and profile
//! restrictions (`[amd64]`, `<!nocheck>`) belong to source packages: in a binary package they
//! are a defect and are refused.

use std::fmt;

use super::version::Version;

/// One alternative: `name[:qualifier] [(operator version)]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation<'a> {
    pub name: &'a str,
    /// `any`, or an architecture.
    pub qualifier: Option<&'a str>,
    pub constraint: Option<Constraint>,
}

/// Which versions a relation means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    pub operator: Operator,
    pub version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// Alternatives in the order in which they are to be tried: `a | b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a>(pub Vec<Relation<'a>>);

/// Why a field holds no relations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("'{}' has an empty alternative", .0.escape_debug())]
    Empty(String),
    #[error("'{}' has no valid package name", .0.escape_debug())]
    Name(String),
    #[error("'{}' has text after its parts", .0.escape_debug())]
    Trailing(String),
    #[error("'{}' has no operator of '<<', '<=', '=', '>=', '>>'", .0.escape_debug())]
    Operator(String),
    #[error("'{}' is restricted, which only source packages may", .0.escape_debug())]
    Restricted(String),
    #[error("'{relation}': {error}")]
    Version { relation: String, error: super::version::ParseVersionError },
    #[error("'{}' has alternatives, which this field may not", .0.escape_debug())]
    Alternatives(String),
}

/// Parses a field whose relations may have alternatives: `Depends`, `Pre-Depends`.
///
/// # Errors
/// The field does not follow the syntax.
pub fn groups(field: &str) -> Result<Vec<Group<'_>>, Error> {
    split(field)
        .map(|group| group.split('|').map(relation).collect::<Result<_, _>>().map(Group))
        .collect()
}

/// Parses a field without alternatives: `Provides`, `Conflicts`, `Breaks`, `Replaces`.
///
/// # Errors
/// The field does not follow the syntax, or has alternatives.
pub fn relations(field: &str) -> Result<Vec<Relation<'_>>, Error> {
    split(field)
        .map(|text| match text.contains('|') {
            true => Err(Error::Alternatives(text.to_owned())),
            false => relation(text),
        })
        .collect()
}

/// Whether `name` is a package name: Debian Policy section 5.6.1, and at least two characters.
pub fn is_package_name(name: &str) -> bool {
    let lower = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() >= 2
        && name.as_bytes().first().is_some_and(lower)
        && name.bytes().all(|byte| lower(&byte) || b"+-.".contains(&byte))
}

/// The items between commas; empty ones, as after a trailing comma, do not count.
fn split(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').map(str::trim_ascii).filter(|item| !item.is_empty())
}

fn relation(text: &str) -> Result<Relation<'_>, Error> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Err(Error::Empty(text.to_owned()));
    }
    let end = text.find(|c: char| c.is_ascii_whitespace() || "([<".contains(c));
    let (head, rest) = text.split_at(end.unwrap_or(text.len()));
    let (name, qualifier) = match head.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (head, None),
    };
    let qualifier_ok = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !is_package_name(name) || !qualifier.is_none_or(qualifier_ok) {
        return Err(Error::Name(text.to_owned()));
    }
    let rest = rest.trim_ascii();
    let (constraint, rest) = match rest.strip_prefix('(') {
        None => (None, rest),
        Some(inside) => {
            let (inside, rest) =
                inside.split_once(')').ok_or_else(|| Error::Operator(text.to_owned()))?;
            (Some(constraint(inside.trim_ascii(), text)?), rest.trim_ascii())
        }
    };
    match rest.bytes().next() {
        None => Ok(Relation { name, qualifier, constraint }),
        Some(b'[' | b'<') => Err(Error::Restricted(text.to_owned())),
        Some(_) => Err(Error::Trailing(text.to_owned())),
    }
}

fn constraint(inside: &str, relation: &str) -> Result<Constraint, Error> {
    const OPERATORS: [(&str, Operator); 5] = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("=", Operator::Equal),
    ];
    let (version, operator) = OPERATORS
        .iter()
        .find_map(|(sign, operator)| Some((inside.strip_prefix(sign)?, *operator)))
        .ok_or_else(|| Error::Operator(relation.to_owned()))?;
    let version = version
        .trim_ascii()
        .parse()
        .map_err(|error| Error::Version { relation: relation.to_owned(), error })?;
    Ok(Constraint { operator, version })
}

impl Constraint {
    /// Whether `version` is meant.
    pub fn admits(&self, version: &Version) -> bool {
        let order = version.cmp(&self.version);
        match self.operator {
            Operator::Earlier => order.is_lt(),
            Operator::EarlierOrEqual => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::LaterOrEqual => order.is_ge(),
            Operator::Later => order.is_gt(),
        }
    }
}

impl Relation<'_> {
    /// Whether a package of this relation's name and this version is meant.
    pub fn admits(&self, version: &Version) -> bool {
        self.constraint.as_ref().is_none_or(|constraint| constraint.admits(version))
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match &self.constraint {
            Some(Constraint { operator, version }) => write!(f, " ({operator} {version})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, relation) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{relation}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn alternatives_versions_and_qualifiers_are_read() {
        let field = "libc6 (>= 2.38), default-mta|mail-transport-agent,\n python3:any(<<3.14),";
        let groups = groups(field).expect("valid");
        let printed: Vec<String> = groups.iter().map(ToString::to_string).collect();
        assert_eq!(
            printed,
            ["libc6 (>= 2.38)", "default-mta | mail-transport-agent", "python3:any (<< 3.14)"]
        );
        assert_eq!(groups[2].0[0].qualifier, Some("any"));
        assert_eq!(super::groups(""), Ok(vec![]));
    }

    #[test]
    fn constraints_admit_what_they_say() {
        let one: Version = "1".parse().expect("valid");
        for (sign, earlier, equal, later) in [
            ("<<", true, false, false),
            ("<=", true, true, false),
            ("=", false, true, false),
            (">=", false, true, true),
            (">>", false, false, true),
        ] {
            for (bound, expected) in [("2", earlier), ("1", equal), ("0", later)] {
                let text = format!("ab ({sign} {bound})");
                let relation = &relations(&text).expect("valid")[0];
                assert_eq!(relation.admits(&one), expected, "1 {sign} {bound}");
            }
        }
    }

    #[test]
    fn malformed_relations_are_refused() {
        let error = |text| groups(text).expect_err(text);
        assert!(matches!(error("ab | | cd"), Error::Empty(_)));
        assert!(matches!(error("Ab"), Error::Name(_)));
        assert!(matches!(error("a"), Error::Name(_)));
        assert!(matches!(error("../ab"), Error::Name(_)));
        assert!(matches!(error("ab:"), Error::Name(_)));
        assert!(matches!(error("ab cd"), Error::Trailing(_)));
        assert!(matches!(error("ab (= 1) cd"), Error::Trailing(_)));
        assert!(matches!(error("ab (1)"), Error::Operator(_)));
        assert!(matches!(error("ab (> 1)"), Error::Operator(_)));
        assert!(matches!(error("ab (= 1"), Error::Operator(_)));
        assert!(matches!(error("ab (= x)"), Error::Version { .. }));
        assert!(matches!(error("ab [amd64]"), Error::Restricted(_)));
        assert!(matches!(error("ab (= 1) <!nocheck>"), Error::Restricted(_)));
        assert!(matches!(relations("ab | cd"), Err(Error::Alternatives(_))));
    }

    proptest! {
        #[test]
        fn printed_groups_are_read_back(
            alternatives in prop::collection::vec(
                ("[a-z0-9][a-z0-9+.-]{1,6}", prop::option::of("any|amd64"),
                 prop::option::of(("<<|<=|=|>=|>>", "[0-9][a-z0-9.~]{0,5}"))), 1..4),
        ) {
            let texts = alternatives.iter().map(|(name, qualifier, constraint)| {
                let qualifier = qualifier.as_ref().map(|text| format!(":{text}"));
                let constraint = constraint.as_ref().map(|(o, v)| format!(" ({o} {v})"));
                format!("{name}{}{}", qualifier.unwrap_or_default(), constraint.unwrap_or_default())
            });
            let text = texts.collect::<Vec<_>>().join(" | ");
            prop_assert_eq!(groups(&text).expect("valid")[0].to_string(), text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-c|,()<>=:\\[ 0-9~é]{0,40}") {
            let _ = groups(&text);
        }
    }
}

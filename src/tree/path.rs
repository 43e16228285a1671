// SPDX-License-Identifier: Apache-2.0
//! Absolute, normalized paths of a tree.

use std::fmt;

/// An absolute path: begins with `/`, no empty, `.` or `..` component, no trailing slash, UTF-8.
///
/// Order is the order of the bytes, so everything below a directory follows it (though
/// `/a.b` lies between `/a` and `/a/b`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Box<str>);

/// Why a text is no path of a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("'{0}' contains '..'")]
    Parent(String),
    #[error("a path contains a NUL or control character: '{}'", .0.escape_debug())]
    Control(String),
    #[error("'{0}' has a component of more than 255 bytes")]
    Long(String),
}

/// NAME_MAX of Linux.
const NAME_MAX: usize = 255;

impl TreePath {
    /// `/`
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Normalizes `text`: `usr/bin`, `./usr//bin/` and `/usr/bin` are the same path.
    ///
    /// # Errors
    /// `..`, control characters, components longer than 255 bytes.
    pub fn new(text: &str) -> Result<Self, PathError> {
        let mut path = String::with_capacity(text.len() + 1);
        if text.chars().any(char::is_control) {
            return Err(PathError::Control(text.to_owned()));
        }
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." => return Err(PathError::Parent(text.to_owned())),
                long if long.len() > NAME_MAX => return Err(PathError::Long(text.to_owned())),
                name => {
                    path.push('/');
                    path.push_str(name);
                }
            }
        }
        Ok(if path.is_empty() { Self::root() } else { Self(path.into()) })
    }

    /// For literals of the program.
    ///
    /// # Panics
    /// The literal is no valid path: a bug.
    pub fn literal(text: &'static str) -> Self {
        Self::new(text).expect("a literal path is valid")
    }

    /// The path, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path without its leading slash; empty for the root.
    pub fn relative(&self) -> &str {
        &self.0[1..]
    }

    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// The directory that holds this entry; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(if parent.is_empty() { Self::root() } else { Self(parent.into()) })
    }

    /// The last component; empty for the root.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|component| !component.is_empty())
    }

    /// This path and `relative` below it.
    ///
    /// # Errors
    /// As [`TreePath::new`].
    pub fn join(&self, relative: &str) -> Result<Self, PathError> {
        Self::new(&format!("{}/{relative}", self.0))
    }

    /// Whether this path is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self
                .0
                .strip_prefix(&*ancestor.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    pub(super) fn join_component(&self, component: &str) -> Self {
        if self.is_root() {
            Self(format!("/{component}").into())
        } else {
            Self(format!("{}/{component}", self.0).into())
        }
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::str::FromStr for TreePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::new(text)
    }
}

impl serde::Serialize for TreePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

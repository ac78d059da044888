//! `user[:group]` of USER and `--chown`, after expansion.

use crate::error::{Error, ErrorKind};
use crate::span::Span;

/// A user and perhaps a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserSpec {
    /// The user.
    pub user: Id,
    /// The group, if one is written.
    pub group: Option<Id>,
}

/// By number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// A uid or gid: no look-up needed.
    Number(u32),
    /// A name, to be looked up in the image's /etc/passwd or /etc/group.
    Name(String),
}

/// Reads a specification. An empty user, and an empty group behind a colon, are errors.
pub fn parse(text: &str, span: Span) -> Result<UserSpec, Error> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let parsed = id(user).and_then(|user| match group.map(id) {
        Some(group) => Some(UserSpec { user, group: Some(group?) }),
        None => Some(UserSpec { user, group: None }),
    });
    parsed.ok_or_else(|| {
        Error::new(ErrorKind::BadUser { value: text.to_owned() }, span)
            .with_help("write name, uid, name:group or uid:gid, with numbers up to 4294967294")
    })
}

/// Blanks, colons and control characters are in no name, and all ones is the kernel's "no id".
fn id(text: &str) -> Option<Id> {
    let is_foreign =
        |character: char| character.is_whitespace() || character.is_control() || character == ':';
    if text.is_empty() || text.contains(is_foreign) {
        return None;
    }
    if text.chars().all(|character| character.is_ascii_digit()) {
        return text.parse().ok().filter(|&number| number != u32::MAX).map(Id::Number);
    }
    Some(Id::Name(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Id, UserSpec, parse};
    use crate::span::Span;

    fn read(text: &str) -> Option<UserSpec> {
        parse(text, Span::default()).ok()
    }

    #[test]
    fn users_and_groups() {
        let name = |text: &str| Id::Name(text.to_owned());
        assert_eq!(read("app"), Some(UserSpec { user: name("app"), group: None }));
        assert_eq!(read("0"), Some(UserSpec { user: Id::Number(0), group: None }));
        let nobody = UserSpec { user: Id::Number(65534), group: Some(Id::Number(65534)) };
        assert_eq!(read("65534:65534"), Some(nobody));
        assert_eq!(read("1a:www-data"), Some(UserSpec { user: name("1a"), group: Some(name("www-data")) }));
    }

    #[test]
    fn what_is_no_user() {
        for text in ["", ":", "a:", ":b", "a b", "a:b:c", "4294967295", "99999999999", "65534:65534 # nobody"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

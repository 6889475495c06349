//! The name of what is connected to, in a path: `[http:|https:]name[:port]`.

use kontiki_model::Status;

use super::super::call::Call;
use crate::failure;

/// A name in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    pub https: bool,
    pub name: &'a str,
    /// Empty if none is given.
    pub port: &'a str,
}

impl<'a> Named<'a> {
    /// The name in the request's path.
    pub fn of(call: &Call<'a>) -> Result<Self, Status> {
        let wanted = call.name()?;
        let refused = || failure::bad_request(format!("invalid {} request {wanted:?}", call.kind.singular));
        Named::read(wanted).ok_or_else(refused)
    }

    fn read(name: &'a str) -> Option<Self> {
        let parts: Vec<&str> = name.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => return None,
        };
        let known = matches!(scheme, "" | "http" | "https");
        (known && !name.is_empty()).then_some(Named { https: scheme == "https", name, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_up_to_three_parts() {
        let named = |https, name, port| Some(Named { https, name, port });
        for (text, expected) in [
            ("p", named(false, "p", "")),
            ("p:8080", named(false, "p", "8080")),
            ("https:p:", named(true, "p", "")),
            ("http:p:web", named(false, "p", "web")),
            (":p:1", named(false, "p", "1")),
            ("ftp:p:1", None),
            (":1", None),
            ("a:b:c:d", None),
        ] {
            assert_eq!(Named::read(text), expected, "{text}");
        }
    }
}

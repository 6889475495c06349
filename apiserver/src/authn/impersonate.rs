//! Acting as somebody else: the `Impersonate-*` headers. Whether that is allowed is decided elsewhere.

use http::{HeaderMap, HeaderValue};
use kontiki_model::Status;
use percent_encoding::percent_decode_str;

use super::{ANONYMOUS, SERVICE_ACCOUNTS, UNAUTHENTICATED, service_account, with_authenticated};
use crate::{failure, request::Identity};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Whom the client wants to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Impersonation {
    pub identity: Identity,
    /// The groups that the client named; the identity is in others besides because of who it is.
    pub groups: Vec<String>,
}

/// Reads the headers; `None` if there are none. One that cannot be read fails the request: left out, the request would go
/// on as the real, more powerful user.
pub(crate) fn requested(headers: &HeaderMap) -> Result<Option<Impersonation>, Status> {
    let only = |name: &str| headers.get(name).map_or(Ok(String::new()), text);
    let (user, uid) = (only(USER)?, only(UID)?);
    let mut groups = headers.get_all(GROUP).iter().map(text).collect::<Result<Vec<String>, Status>>()?;
    let extra = extras(headers)?;
    if user.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        return Err(failure::internal("groups, uid or extra requested without impersonating a user"));
    }
    let named = groups.clone();
    if groups.is_empty() {
        groups = groups_of(&user);
    }
    if user == ANONYMOUS && !groups.iter().any(|group| group == UNAUTHENTICATED) {
        groups.push(UNAUTHENTICATED.to_owned());
    }
    let identity = with_authenticated(Identity { user, uid, groups, extra, ..Identity::default() });
    Ok(Some(Impersonation { identity, groups: named }))
}

/// Names are UTF-8, not ASCII only.
fn text(value: &HeaderValue) -> Result<String, Status> {
    let text = std::str::from_utf8(value.as_bytes());
    text.map(str::to_owned).map_err(|_| failure::bad_request("impersonation headers must be UTF-8"))
}

/// A service account is in its groups without being told so.
fn groups_of(user: &str) -> Vec<String> {
    match service_account(user) {
        Some((namespace, _)) => vec![SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}")],
        None => Vec::new(),
    }
}

fn extras(headers: &HeaderMap) -> Result<Vec<(String, Vec<String>)>, Status> {
    let mut extra: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
        let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
        let value = text(value)?;
        match extra.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => extra.push((key, vec![value])),
        }
    }
    Ok(extra)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Result<Option<Identity>, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, http::HeaderValue::from_static(value));
        }
        requested(&map).map(|found| found.map(|found| found.identity)).map_err(|status| status.code)
    }

    #[test]
    fn a_name_beyond_ascii_never_makes_the_request_the_real_users() {
        let of = |user: &[u8]| {
            let mut map = HeaderMap::new();
            map.append(USER, HeaderValue::from_bytes(user).unwrap());
            requested(&map).map(|found| found.map(|found| found.identity.user)).map_err(|status| status.code)
        };
        assert_eq!(of("jürgen".as_bytes()), Ok(Some("jürgen".to_owned())));
        assert_eq!(of(b"j\xfcrgen"), Err(400));
    }

    #[test]
    fn impersonation_headers() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("impersonate-group", "a")]), Err(500));
        let alice = read(&[
            ("impersonate-user", "alice"),
            ("impersonate-group", "a"),
            ("impersonate-group", "b"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-scopes", "x"),
            ("impersonate-extra-scopes", "y"),
            ("impersonate-extra-example.com%2fkey", "z"),
        ]);
        let alice = alice.unwrap().unwrap();
        assert_eq!(alice.groups, ["a", "b", "system:authenticated"]);
        assert_eq!(alice.uid, "7");
        let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        let expected = [("scopes".to_owned(), values(&["x", "y"])), ("example.com/key".to_owned(), values(&["z"]))];
        assert_eq!(alice.extra, expected);
        let robot = read(&[("impersonate-user", "system:serviceaccount:ns:robot")]).unwrap().unwrap();
        assert_eq!(robot.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
        let nobody = read(&[("impersonate-user", "system:anonymous")]).unwrap().unwrap();
        assert_eq!(nobody.groups, ["system:unauthenticated"]);
    }
}

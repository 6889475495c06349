//! Bootstrap tokens: `<id>.<secret>`, kept as Secrets of type `bootstrap.kubernetes.io/token` in `kube-system`. Who holds
//! one is `system:bootstrap:<id>`.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use kontiki_model::{Key, Status};
use serde_json::Value;

use super::AUTHENTICATED;
use crate::{
    core::{Core, unreadable},
    failure,
    request::Identity,
};

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

/// The two parts of a token of this form.
pub(super) fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (plain(id, ID_LENGTH) && plain(secret, SECRET_LENGTH)).then_some((id, secret))
}

/// Who holds this token; `None` if nobody may. A refusal is believed only of a state that is not behind.
pub(super) async fn believe(core: &Core, id: &str, secret: &str) -> Result<Option<Identity>, Status> {
    if let Some(identity) = look(core, id, secret)? {
        return Ok(Some(identity));
    }
    core.log.barrier().await.map_err(|error| unreadable(&error))?;
    look(core, id, secret)
}

fn look(core: &Core, id: &str, secret: &str) -> Result<Option<Identity>, Status> {
    let Some(stored) = core.stored(&Key::new("secrets", NAMESPACE, format!("bootstrap-token-{id}")))? else {
        return Ok(None);
    };
    let object: Value = serde_json::from_slice(&stored.body).map_err(failure::internal)?;
    match identity(&object, id, secret, Utc::now()) {
        Ok(identity) => Ok(Some(identity)),
        Err(why) => {
            tracing::debug!(id, why, "bootstrap token refused");
            Ok(None)
        }
    }
}

/// What the Secret says of who shows these parts, now; the error says why they are not believed.
fn identity(object: &Value, id: &str, secret: &str, now: DateTime<Utc>) -> Result<Identity, &'static str> {
    let value = |key: &str| -> String {
        let decoded = object["data"][key].as_str().and_then(|encoded| STANDARD.decode(encoded).ok());
        decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    };
    if object["type"] != TYPE {
        return Err("the Secret is of another type");
    }
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Err("the Secret is being deleted");
    }
    // Compared as digests, so that the time it takes tells nothing.
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref().to_vec();
    if value("token-id") != id || digest(&value("token-secret")) != digest(secret) {
        return Err("another token");
    }
    let expiration = value("expiration");
    if !expiration.is_empty() {
        match DateTime::parse_from_rfc3339(&expiration) {
            Ok(end) if now < end => {}
            Ok(_) => return Err("expired"),
            Err(_) => return Err("its expiration is no time"),
        }
    }
    if value("usage-bootstrap-authentication") != "true" {
        return Err("not for authentication");
    }
    let mut groups = BTreeSet::from([GROUP.to_owned()]);
    for group in value("auth-extra-groups").split(',').filter(|group| !group.is_empty()) {
        if !is_group(group) {
            return Err("it names a group that is not for bootstrapping");
        }
        groups.insert(group.to_owned());
    }
    let groups = groups.into_iter().chain([AUTHENTICATED.to_owned()]).collect();
    Ok(Identity { user: format!("system:bootstrap:{id}"), groups, ..Identity::default() })
}

/// `system:bootstrappers:` and more of lower-case letters, digits, colons and hyphens; it ends with a letter or a digit.
fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':')) else { return false };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().all(|byte| plain(byte) || matches!(byte, b':' | b'-'))
        && rest.bytes().last().is_some_and(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn secret(changes: &[(&str, &str)]) -> Value {
        let mut data = json!({});
        let usual =
            [("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-authentication", "true")];
        for (key, value) in usual.iter().chain(changes) {
            data[*key] = STANDARD.encode(value).into();
        }
        json!({"metadata": {}, "type": TYPE, "data": data})
    }

    #[test]
    fn tokens_have_two_parts_of_known_length() {
        assert_eq!(split("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for other in
            ["", "abcdef", "abcdef.0123456789abcde", "abcdeF.0123456789abcdef", "a.b.c", "abcdef.0123456789abcdef."]
        {
            assert_eq!(split(other), None, "{other}");
        }
    }

    #[test]
    fn a_token_is_believed_as_its_secret_says() {
        let now: DateTime<Utc> = "2026-01-01T12:00:00Z".parse().unwrap();
        let ask = |object: &Value| identity(object, "abcdef", "0123456789abcdef", now).map(|identity| identity.groups);
        let groups = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let usual = groups(&["system:bootstrappers", "system:authenticated"]);
        let mut deleted = secret(&[]);
        deleted["metadata"]["deletionTimestamp"] = "2026-01-01T11:00:00Z".into();
        let mut opaque = secret(&[]);
        opaque["type"] = "Opaque".into();
        let cases = [
            (secret(&[]), usual.clone()),
            (secret(&[("expiration", "2026-01-01T12:00:01Z")]), usual),
            (secret(&[("expiration", "2026-01-01T12:00:00Z")]), Err("expired")),
            (secret(&[("expiration", "tomorrow")]), Err("its expiration is no time")),
            (secret(&[("token-secret", "0123456789abcdee")]), Err("another token")),
            (secret(&[("token-id", "abcdee")]), Err("another token")),
            (secret(&[("usage-bootstrap-authentication", "false")]), Err("not for authentication")),
            (
                secret(&[("auth-extra-groups", "system:bootstrappers:a:b,system:bootstrappers:node-1")]),
                groups(&[
                    "system:bootstrappers",
                    "system:bootstrappers:a:b",
                    "system:bootstrappers:node-1",
                    "system:authenticated",
                ]),
            ),
            (secret(&[("auth-extra-groups", "system:masters")]), Err("it names a group that is not for bootstrapping")),
            (
                secret(&[("auth-extra-groups", "system:bootstrappers:")]),
                Err("it names a group that is not for bootstrapping"),
            ),
            (deleted, Err("the Secret is being deleted")),
            (opaque, Err("the Secret is of another type")),
        ];
        for (object, expected) in cases {
            assert_eq!(ask(&object), expected, "{object}");
        }
    }
}

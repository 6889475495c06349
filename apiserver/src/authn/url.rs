//! What Go takes for a URL: more than anything could be asked at, so a name may be one too (`urn:example:issuer`).

/// The scheme in front, if there is one.
pub fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let first = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    let sound = scheme.bytes().all(|each| each.is_ascii_alphanumeric() || matches!(each, b'+' | b'-' | b'.'));
    (first && sound).then_some(scheme)
}

/// Why it is no URL, in Go's words.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map_err(|why| format!("parse {text:?}: {why}"))
}

fn parse(text: &str) -> Result<(), String> {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if text.starts_with(':') {
        return Err("missing protocol scheme".to_owned());
    }
    let scheme = scheme(text);
    let rest = scheme.map_or(text, |scheme| &text[scheme.len() + 1..]);
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    escapes(fragment)?;
    let rest = rest.split('?').next().unwrap_or_default();
    if !rest.starts_with('/') {
        return match scheme {
            Some(_) => Ok(()),
            None if rest.split('/').next().is_some_and(|first| first.contains(':')) => {
                Err("first path segment in URL cannot contain colon".to_owned())
            }
            None => escapes(rest),
        };
    }
    let Some(behind) = rest.strip_prefix("//") else { return escapes(rest) };
    let end = behind.find('/').unwrap_or(behind.len());
    authority(&behind[..end])?;
    escapes(&behind[end..])
}

fn authority(text: &str) -> Result<(), String> {
    let (user, host) = text.rsplit_once('@').unwrap_or(("", text));
    let plain = |each: char| each.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(each);
    if !user.chars().all(plain) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    escapes(user)?;
    let port = match host.starts_with('[') {
        true => host.find(']').map(|end| &host[end + 1..]).ok_or("missing ']' in host")?,
        false => host.rfind(':').map_or("", |colon| &host[colon..]),
    };
    let sound =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|one| one.is_ascii_digit()));
    if !sound {
        return Err(format!("invalid port {port:?} after host"));
    }
    let named =
        |each: char| !each.is_ascii() || each.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:[]<>\"%".contains(each);
    match host.chars().find(|each| !named(*each)) {
        Some(other) => Err(format!("invalid character {:?} in host name", other.to_string())),
        None => escapes(host),
    }
}

/// Two digits follow each percent sign.
fn escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let escape: String = text[at..].chars().take(3).collect();
        if escape.len() < 3 || !escape[1..].chars().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(format!("invalid URL escape {escape:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes_for_a_url() {
        for sound in [
            "https://a.example/b?c#d",
            "urn:example:issuer",
            "urn:a b",
            "spiffe://cluster/ns",
            "https://[::1]:443/%20",
            "https://user:pass@host:1",
            "https://host:",
            "a/b:c",
        ] {
            assert_eq!(check(sound), Ok(()), "{sound}");
        }
        for (text, why) in [
            ("https://a b", "invalid character \" \" in host name"),
            ("https://host:port", "invalid port \":port\" after host"),
            ("http://[::1]:named", "invalid port \":named\" after host"),
            ("http://[::1", "missing ']' in host"),
            (":a", "missing protocol scheme"),
            ("1a:b", "first path segment in URL cannot contain colon"),
            ("https://a/%zz", "invalid URL escape \"%zz\""),
            ("https://a\n", "net/url: invalid control character in URL"),
        ] {
            assert_eq!(check(text), Err(format!("parse {text:?}: {why}")));
        }
    }

    #[test]
    fn schemes_stand_in_front() {
        assert_eq!(
            (scheme("https://a"), scheme("urn:a"), scheme("a"), scheme("1:a")),
            (Some("https"), Some("urn"), None, None)
        );
    }
}

//! What a pod or a Service says of its own places, as a client must ask for them here: pure.
//!
//! Whoever answers behind a proxied path knows nothing of the path. So redirects to its own places are put below the path,
//! and it is told how it was asked for.

use http::{HeaderMap, HeaderValue, header};

use super::remove_all;

/// How a proxied path and the places behind it correspond.
pub(crate) struct Rewrite<'a> {
    /// The part of the path that is this server's: `/api/v1/namespaces/n/pods/p/proxy`.
    pub prefix: &'a str,
    /// The host that the client asked; empty where it named none.
    pub asked: &'a str,
    /// The host that is asked instead, with its port.
    pub host: &'a str,
}

impl Rewrite<'_> {
    /// Says in the request under which path it came in.
    pub fn request(&self, path: &str, headers: &mut HeaderMap) {
        if let Ok(uri) = HeaderValue::from_str(&format!("{}{path}", self.prefix)) {
            headers.insert("x-forwarded-uri", uri);
        }
    }

    /// Corrects where the answer sends the client. What it lets other origins do is for its own origin, which this is not.
    pub fn response(&self, headers: &mut HeaderMap) {
        remove_all(headers, |name| name.as_str().starts_with("access-control-allow-"));
        let Some(place) = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()) else { return };
        if let Ok(place) = HeaderValue::from_str(&self.place(place)) {
            headers.insert(header::LOCATION, place);
        }
    }

    /// A place as the client must ask for it; other hosts' places and relative ones are right as they are.
    pub fn place(&self, place: &str) -> String {
        let absolute = place.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?', '#']));
        let (host, path) = match absolute.map(|(_, rest)| rest).or_else(|| place.strip_prefix("//")) {
            None => ("", place),
            Some(rest) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (&rest[..end], &rest[end..])
            }
        };
        let elsewhere = !host.is_empty() && host != self.host && host != self.asked;
        if elsewhere || !path.starts_with('/') || path.starts_with(self.prefix) {
            return place.to_owned();
        }
        format!("{}{path}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const REWRITE: Rewrite<'_> = Rewrite { prefix: "/api/v1/pods/p/proxy", asked: "here:6443", host: "10.0.0.1:80" };

    #[test]
    fn places_are_found_behind_the_path() {
        for (place, expected) in [
            ("/next?a=b#c", "/api/v1/pods/p/proxy/next?a=b#c"),
            ("http://10.0.0.1:80/next/", "/api/v1/pods/p/proxy/next/"),
            ("https://here:6443/next", "/api/v1/pods/p/proxy/next"),
            ("//10.0.0.1:80/next", "/api/v1/pods/p/proxy/next"),
            ("/api/v1/pods/p/proxy/next", "/api/v1/pods/p/proxy/next"),
            ("http://elsewhere/next", "http://elsewhere/next"),
            ("//elsewhere/next", "//elsewhere/next"),
            ("next", "next"),
            ("?a=http://10.0.0.1:80/", "?a=http://10.0.0.1:80/"),
        ] {
            assert_eq!(REWRITE.place(place), expected, "{place}");
        }
    }

    #[test]
    fn whoever_answers_is_told_how_it_was_asked() {
        let mut headers = HeaderMap::new();
        REWRITE.request("/x", &mut headers);
        assert_eq!(headers.get("x-forwarded-uri").unwrap(), "/api/v1/pods/p/proxy/x");
        let mut headers = HeaderMap::new();
        headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
        REWRITE.response(&mut headers);
        assert!(headers.is_empty());
    }
}

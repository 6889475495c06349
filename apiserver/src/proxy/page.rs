//! The links of a page that comes from behind a proxied path: those that begin at the page's root are put below the path.
//! Reads as much of HTML as that takes.

use std::io::Read as _;

use futures::{StreamExt as _, stream};
use http::{HeaderMap, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};

use super::Rewrite;
use crate::{
    content, limits,
    request::{ApiBody, ApiResponse},
};

/// Which attributes of which elements hold a link (HTML Living Standard, index of attributes).
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["formaction", "src", "usemap"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];
/// Elements whose content is no markup.
const RAW: &[&str] = &["script", "style", "textarea", "title"];

/// Corrects the links of a page; whatever is none, is encoded in a way that is not known, or is too large goes on as it is.
pub async fn correct(response: ApiResponse, rewrite: &Rewrite<'_>) -> ApiResponse {
    let packed = match encoding(response.headers()) {
        Some(packed) if is_page(response.headers()) => packed,
        Some(_) | None => return response,
    };
    let (mut parts, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) if bytes.len() + data.len() <= limits::PROXIED_PAGE_BYTES_MAX => {
                bytes.extend_from_slice(&data)
            }
            Ok(Ok(data)) => {
                bytes.extend_from_slice(&data);
                return ApiResponse::from_parts(parts, resumed(bytes, body));
            }
            // Nothing of HTTP/1.1 that this server passes on.
            Ok(Err(_)) => {}
            Err(error) => {
                let broken = stream::iter([Ok(Frame::data(bytes.into())), Err(error)]);
                return ApiResponse::from_parts(parts, StreamBody::new(broken).boxed_unsync());
            }
        }
    }
    let Some(page) = text(&bytes, packed) else { return ApiResponse::from_parts(parts, content::full(bytes)) };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_ENCODING);
    ApiResponse::from_parts(parts, content::full(links(&page, |link| rewrite.place(link))))
}

fn resumed(bytes: Vec<u8>, rest: ApiBody) -> ApiBody {
    let begun = stream::iter([Ok(Frame::data(bytes.into()))]);
    StreamBody::new(begun.chain(BodyStream::new(rest))).boxed_unsync()
}

fn is_page(headers: &HeaderMap) -> bool {
    content::media_type(headers).eq_ignore_ascii_case("text/html")
}

/// Whether the body is packed by gzip; `None` for any other way of packing.
fn encoding(headers: &HeaderMap) -> Option<bool> {
    match headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?")) {
        None | Some("identity") => Some(false),
        Some("gzip") => Some(true),
        Some(_) => None,
    }
}

fn text(bytes: &[u8], packed: bool) -> Option<String> {
    if !packed {
        return String::from_utf8(bytes.to_vec()).ok();
    }
    let mut page = String::new();
    let bound = limits::PROXIED_PAGE_BYTES_MAX as u64;
    let read = flate2::read::GzDecoder::new(bytes).take(bound + 1).read_to_string(&mut page).ok()?;
    (read as u64 <= bound).then_some(page)
}

/// The page with each link as `place` gives it.
fn links(page: &str, place: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(page.len() + page.len() / 8);
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        if let Some(comment) = tag.strip_prefix("<!--") {
            let end = comment.find("-->").map_or(tag.len(), |end| end + "<!---->".len());
            out.push_str(&tag[..end]);
            rest = &tag[end..];
            continue;
        }
        let name_end = tag[1..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(tag.len(), |end| end + 1);
        let name = tag[1..name_end].to_ascii_lowercase();
        out.push_str(&tag[..name_end]);
        rest = &tag[name_end..];
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            continue;
        }
        rest = attributes(rest, &name, &place, &mut out);
        if RAW.contains(&name.as_str()) {
            let end = end_of_raw(rest, &name);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

/// Copies the attributes of a tag, up to its end; returns what is behind.
fn attributes<'a>(tag: &'a str, name: &str, place: &impl Fn(&str) -> String, out: &mut String) -> &'a str {
    let known = LINKS.iter().find(|(element, _)| *element == name).map_or(&[][..], |(_, attributes)| attributes);
    let mut rest = tag;
    loop {
        let begin = rest.find(|c: char| !c.is_ascii_whitespace() && c != '/').unwrap_or(rest.len());
        out.push_str(&rest[..begin]);
        rest = &rest[begin..];
        if rest.is_empty() || rest.starts_with('>') {
            return rest;
        }
        let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/');
        // A name may begin with an equals sign, and has a character at least.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..].find(ends).map_or(rest.len(), |end| first + end);
        let attribute = rest[..end].to_ascii_lowercase();
        let value = rest[end..].trim_start_matches(|c: char| c.is_ascii_whitespace());
        let Some(value) = value.strip_prefix('=') else {
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        };
        let value = value.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
        let inner = quote.map_or(value, |_| &value[1..]);
        let length = match quote {
            Some(quote) => inner.find(quote),
            None => inner.find(|c: char| c.is_ascii_whitespace() || c == '>'),
        };
        let length = length.unwrap_or(inner.len());
        out.push_str(&rest[..rest.len() - inner.len()]);
        match known.contains(&attribute.as_str()) {
            true => out.push_str(&place(&inner[..length])),
            false => out.push_str(&inner[..length]),
        }
        rest = &inner[length..];
        if let Some(behind) = quote.and_then(|quote| rest.strip_prefix(quote)) {
            out.push_str(&rest[..1]);
            rest = behind;
        }
    }
}

/// Where the end tag of an element begins whose content is no markup.
fn end_of_raw(rest: &str, name: &str) -> usize {
    let ends = |at: &usize| {
        let tag = &rest.as_bytes()[at + 2..];
        tag.len() >= name.len() && tag[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    };
    rest.match_indices("</").map(|(at, _)| at).find(ends).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_corrected_and_nothing_else() {
        let told = |page: &str| links(page, |link| format!("[{link}]"));
        for (page, expected) in [
            ("<a href=\"/x\">/x</a>", "<a href=\"[/x]\">/x</a>"),
            ("<A class=b HREF = '/x' >", "<A class=b HREF = '[/x]' >"),
            ("<img src=/x.png alt=/y/>", "<img src=[/x.png] alt=/y/>"),
            ("<a data-href=\"/x\" title='<a href=\"/y\">'>", "<a data-href=\"/x\" title='<a href=\"/y\">'>"),
            ("<!-- <a href=\"/x\"> --><p>1 < 2</p>", "<!-- <a href=\"/x\"> --><p>1 < 2</p>"),
            (
                "<script src=\"/x\">a = '<a href=\"/y\">'</SCRIPT><br/>",
                "<script src=\"[/x]\">a = '<a href=\"/y\">'</SCRIPT><br/>",
            ),
            ("<a href", "<a href"),
            ("<a href=\"/x", "<a href=\"[/x]"),
            ("<a =x href=/y>ü", "<a =x href=[/y]>ü"),
            ("</a href=\"/x\"><", "</a href=\"/x\"><"),
        ] {
            assert_eq!(told(page), expected, "{page}");
        }
    }
}

//! What a webhook means that answers with an HTTP status instead of a review.

use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::{Unanswered, limits::REFUSAL_BYTES_MAX};
use crate::rest::object::text;

/// What client-go makes of an answer that is no success: a Status says itself which one it is.
pub fn told(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Unanswered {
    let status = serde_json::from_slice::<Value>(body).ok();
    let status = status.filter(|status| text(status, "/kind") == "Status" && text(status, "/status") != "Success");
    match status {
        Some(status) => {
            let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
            Unanswered { why: text(&status, "/message").to_owned(), code: Some(code) }
        }
        None => Unanswered { why: words(code, headers, body), code: Some(code.as_u16()) },
    }
}

fn words(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let said = match content_type.is_empty() || content_type.starts_with("text/") {
        true => String::from_utf8_lossy(&body[..body.len().min(REFUSAL_BYTES_MAX)]).trim().to_owned(),
        false => "unknown".to_owned(),
    };
    let fixed = match code.as_u16() {
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        403 => return said,
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        409 => "the server reported a conflict",
        422 => "the server rejected our request due to an error in our request",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        500.. => return format!("an error on the server ({said:?}) has prevented the request from succeeding"),
        code => return format!("the server responded with the status code {code} but did not return more information"),
    };
    fixed.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;

    #[test]
    fn statuses_are_told_as_client_go_tells_them() {
        let status = r#"{"kind":"Status","status":"Failure","message":"not today","code":418}"#;
        let table = [
            (404, "text/plain", "404 page not found", "the server could not find the requested resource"),
            (
                500,
                "text/plain",
                "boom \"x\"\n",
                r#"an error on the server ("boom \"x\"") has prevented the request from succeeding"#,
            ),
            (
                502,
                "application/json",
                "{}",
                r#"an error on the server ("unknown") has prevented the request from succeeding"#,
            ),
            (302, "", "", "the server responded with the status code 302 but did not return more information"),
            (403, "text/plain", "no", "no"),
            (500, "application/json", status, "not today"),
        ];
        for (code, content_type, body, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            let told = told(StatusCode::from_u16(code).unwrap(), &headers, body.as_bytes());
            assert_eq!(told.why, expected);
            assert_eq!(told.code, Some(if body == status { 418 } else { code }), "{body}");
        }
    }
}

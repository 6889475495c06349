//! What a request may be: how large its head and its body, and how long it may take. Each refusal says what was too much.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use kontiki_model::Status;

use super::Incoming;
use crate::{content, failure, limits, request::ApiBody};

/// Of a head, what the transport let through.
pub(super) fn check_head(incoming: &Incoming) -> Result<(), Status> {
    if incoming.path.len() + incoming.raw_query.len() > limits::URI_BYTES_MAX {
        return Err(failure::uri_too_long(limits::URI_BYTES_MAX));
    }
    let bytes: usize = incoming.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > limits::HEADER_BYTES_MAX {
        return Err(failure::headers_too_large(limits::HEADER_BYTES_MAX));
    }
    Ok(())
}

/// How long a request may take: as long as its client wants to wait, within what the server allows. Long ones have a measure of
/// their own.
pub(super) fn time_allowed(query: &[(String, String)], long: bool) -> Result<Duration, Status> {
    let wanted = query.iter().find(|(key, _)| key == "timeout").map_or("", |(_, value)| value.as_str());
    if wanted.is_empty() || long {
        return Ok(limits::REQUEST_TIME_MAX);
    }
    let nanos = kontiki_schema::parse_duration(wanted).ok_or_else(|| {
        let why = format!("time: invalid duration {wanted:?}");
        failure::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    // None at all means no wish.
    let wanted = u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos);
    Ok(wanted.unwrap_or(limits::REQUEST_TIME_MAX).min(limits::REQUEST_TIME_MAX))
}

/// The whole body. Of one that is refused, the rest is left.
pub(super) async fn read_body(headers: &HeaderMap, body: &mut ApiBody) -> Result<Bytes, Status> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let late = |_| failure::timeout("the body of the request did not arrive in time");
    match announced {
        Some(length) if length > limits::REQUEST_BODY_BYTES_MAX => {
            Err(failure::too_large(limits::REQUEST_BODY_BYTES_MAX))
        }
        _ => tokio::time::timeout(limits::REQUEST_TIME_MAX, content::read(body, limits::REQUEST_BODY_BYTES_MAX))
            .await
            .map_err(late)?,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn clients_may_wait_for_less() {
        let allowed = |timeout: &str| time_allowed(&[("timeout".to_owned(), timeout.to_owned())], false);
        let most = limits::REQUEST_TIME_MAX;
        for (timeout, expected) in [
            ("", most),
            ("0s", most),
            ("-1s", most),
            ("1h", most),
            ("32s", Duration::from_secs(32)),
            ("1ms", Duration::from_millis(1)),
        ] {
            assert_eq!(allowed(timeout).unwrap(), expected, "{timeout:?}");
        }
        let refused = allowed("soon").unwrap_err();
        let message = "invalid timeout specified in the request URL - time: invalid duration \"soon\"";
        assert_eq!((refused.code, refused.message.as_str()), (400, message));
        assert!(time_allowed(&[("timeout".to_owned(), "soon".to_owned())], true).is_ok());
    }
}

//! Asking webhooks: programs elsewhere that judge, change or convert objects for this server. What is asked and what an answer
//! means is the caller's affair; here are addresses, TLS, connections and bounds.
//!
//! Failures are worded as Go programs word them: people search for these texts.

mod address;
mod client;
mod connect;
mod limits;
mod refusal;

use base64::{Engine as _, engine::general_purpose::STANDARD};

pub(crate) use address::{ClientConfig, UnusableConfig};
pub(crate) use client::Webhooks;
pub(crate) use limits::CONVERSION_TIME_MAX;

/// Base64 as Go reads it: line breaks do not count.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|character| !matches!(character, '\r' | '\n')).collect();
    STANDARD.decode(text).ok()
}

/// Why there is no answer; the text continues "failed to call webhook".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Unanswered {
    pub why: String,
    /// The status that came instead.
    pub code: Option<u16>,
}

impl Unanswered {
    fn because(why: String) -> Self {
        Unanswered { why, code: None }
    }
}

//! A registry's answer, measured while it comes: in bytes, and in time by `Pace`. Knows HTTP, and nothing of images.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    RequestBuilder, StatusCode, Url,
    header::{HeaderMap, HeaderValue},
};
use tokio::time::{Instant, timeout_at};

use super::limits::{PULL_PROGRESS_BYTES_MIN, PULL_PROGRESS_S_MAX};

/// The least progress of an answer that has not ended: so many bytes within so much time, over and over.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub within: Duration,
    pub bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { within: Duration::from_secs(PULL_PROGRESS_S_MAX), bytes: PULL_PROGRESS_BYTES_MIN }
    }
}

/// Why an answer did not come as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("{}", chain(.0))]
    Http(#[from] reqwest::Error),
    #[error("it comes too slowly: {bytes} bytes within {} s", .within.as_secs_f32())]
    Slow { bytes: u64, within: Duration },
    #[error("it is longer than {limit} bytes")]
    Long { limit: u64 },
}

/// An answer whose head is there.
pub struct Answer {
    response: reqwest::Response,
    pace: Pace,
    /// When the pace was last kept, and what came since.
    since: Instant,
    bytes: u64,
}

impl Answer {
    pub async fn to(request: RequestBuilder, pace: Pace) -> Result<Self, Broken> {
        let since = Instant::now();
        let response = timeout_at(since + pace.within, request.send()).await;
        let response = response.map_err(|_| Broken::Slow { bytes: 0, within: pace.within })??;
        Ok(Self { response, pace, since, bytes: 0 })
    }

    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub fn headers(&self) -> &HeaderMap<HeaderValue> {
        self.response.headers()
    }

    /// Whose answer it is, after redirects.
    pub fn url(&self) -> &Url {
        self.response.url()
    }

    /// The next bytes of the body, `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        let chunk = timeout_at(self.since + self.pace.within, self.response.chunk()).await;
        let chunk = chunk.map_err(|_| Broken::Slow { bytes: self.bytes, within: self.pace.within })??;
        self.bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.bytes >= self.pace.bytes {
            (self.since, self.bytes) = (Instant::now(), 0);
        }
        Ok(chunk)
    }

    /// The body, refused where it is longer than `limit`.
    pub async fn body(mut self, limit: u64) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(Broken::Long { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// As much of the body as comes, up to `limit`: of an answer whose status has said what matters.
    pub async fn beginning(mut self, limit: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < limit
            && let Ok(Some(chunk)) = self.chunk().await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
        }
        body
    }
}

/// The error and its causes: reqwest's own text leaves out why.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

//! Lists: whole, or page by page. No version is asked for: the answer is as new as the request.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde::Serialize;

use crate::{
    storm::{self, processor_seconds},
    target::{CONFIG_MAPS, Connection, Target},
};

#[derive(Debug, Serialize)]
pub struct Outcome {
    #[serde(flatten)]
    times: storm::Outcome,
    /// Of one list, all its pages together.
    bytes: usize,
}

pub async fn run(target: &Target, rounds: usize, limit: Option<usize>, servers: &[u32]) -> Result<Outcome> {
    let mut connection = target.connect(0).await?;
    let (start, cpu) = (Instant::now(), processor_seconds(servers)?);
    let (mut took, mut bytes): (Vec<Duration>, usize) = (Vec::new(), 0);
    for _ in 0..rounds {
        let begun = Instant::now();
        bytes = list(&mut connection, limit).await?;
        took.push(begun.elapsed());
    }
    let server_cpu_seconds = processor_seconds(servers)? - cpu;
    let times = storm::Outcome { server_cpu_seconds, ..storm::Outcome::of(took, start.elapsed().as_secs_f64()) };
    Ok(Outcome { times, bytes })
}

async fn list(connection: &mut Connection, limit: Option<usize>) -> Result<usize> {
    let (mut bytes, mut token) = (0, String::new());
    loop {
        let query = match limit {
            None => String::new(),
            Some(limit) => format!("?limit={limit}&continue={token}"),
        };
        let answer = connection.ask(Method::GET, &format!("{CONFIG_MAPS}{query}"), Bytes::new()).await?;
        if answer.status() != StatusCode::OK {
            bail!("answered {}", answer.status());
        }
        let page = answer.into_body().collect().await?.to_bytes();
        bytes += page.len();
        match limit.map(|_| next(&page)).transpose()?.flatten() {
            Some(next) => token = next,
            None => return Ok(bytes),
        }
    }
}

/// The token of the next page: it stands in the list's own metadata, before the items.
fn next(page: &[u8]) -> Result<Option<String>> {
    let head = &page[..page.len().min(1024)];
    let head = std::str::from_utf8(head).or_else(|error| std::str::from_utf8(&head[..error.valid_up_to()]))?;
    let metadata = head.split("\"items\"").next().context("a list without items")?;
    let token = metadata.split_once("\"continue\":\"").and_then(|(_, rest)| rest.split_once('"'));
    Ok(token.map(|(token, _)| token.to_owned()))
}

//! Objects for lists to list.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::target::Target;

pub const CLIENTS: usize = 16;

#[derive(Debug, Serialize)]
pub struct Outcome {
    pub objects: usize,
}

pub async fn run(target: &Target, prefix: &str, objects: usize) -> Result<Outcome> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (target, next, prefix) = (target.clone(), next.clone(), prefix.to_owned());
        clients.spawn(async move {
            let mut connection = target.connect(client).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= objects {
                    return anyhow::Ok(());
                }
                target.write(&mut connection, &format!("{prefix}-{number}")).await?;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(Outcome { objects })
}

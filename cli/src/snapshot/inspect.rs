//! `kontiki snapshot inspect`.

use std::{io, path::Path};

use anyhow::Result;
use serde_json::{Value, json};

use super::{show, source};
use crate::args::Output;

pub async fn inspect(file: &Path, output: Output) -> Result<()> {
    let source = source::open(file)?;
    let verified = tokio::task::spawn_blocking(move || source::pass_on(source, io::sink())).await??;
    match output {
        Output::Table => print!("{}", show::verified(&verified)),
        Output::Json => {
            let mut told: Value = serde_json::to_value(&verified.header)?;
            told["verified"] = json!(true);
            told["fileBytes"] = json!(verified.bytes);
            told["chunks"] = json!(verified.chunks);
            told["sha256"] = json!(verified.sha256);
            println!("{told:#}");
        }
    }
    Ok(())
}

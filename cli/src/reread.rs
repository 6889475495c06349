//! A configuration file that is read again when it changes.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::error;

/// How often a file is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

pub struct Reread {
    path: PathBuf,
    /// What was read last.
    text: String,
    /// Why it could not be read last time.
    fault: Option<String>,
}

impl Reread {
    /// A file that was read already.
    pub fn new(path: &Path, text: &str) -> Self {
        Reread { path: path.to_owned(), text: text.to_owned(), fault: None }
    }

    /// Waits until the file's text is another one. That it cannot be read is told once, and changes nothing.
    pub async fn changed(&mut self) -> &str {
        loop {
            tokio::time::sleep(INTERVAL).await;
            match tokio::fs::read_to_string(&self.path).await {
                Ok(text) if text == self.text => self.fault = None,
                Ok(text) => {
                    self.fault = None;
                    self.text = text;
                    return &self.text;
                }
                Err(cause) => {
                    let fault = Some(cause.to_string());
                    if self.fault != fault {
                        error!(path = %self.path.display(), error = %cause, "cannot be read again; what was read before counts");
                        self.fault = fault;
                    }
                }
            }
        }
    }
}

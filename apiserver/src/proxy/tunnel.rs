//! A protocol switch that both sides agreed to: bytes go both ways until either side, or this server, ends it.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::request::ApiResponse;

/// Both halves of a switch. It comes with the answer that tells the client of it; whoever counts requests carries it out.
#[derive(Clone)]
pub(crate) struct Tunnel {
    client: OnUpgrade,
    other: OnUpgrade,
}

impl Tunnel {
    pub fn new(client: OnUpgrade, other: OnUpgrade) -> Self {
        Tunnel { client, other }
    }

    /// The one that an answer begins.
    pub fn take(response: &mut ApiResponse) -> Option<Self> {
        response.extensions_mut().remove()
    }

    /// Carries bytes until the end; `held` is dropped then.
    pub async fn carry<T>(self, held: T, stopping: CancellationToken) {
        let copied = async {
            let (client, other) = tokio::try_join!(self.client, self.other)?;
            let (mut client, mut other) = (TokioIo::new(client), TokioIo::new(other));
            let copied = tokio::io::copy_bidirectional(&mut client, &mut other).await;
            if let Err(error) = copied {
                tracing::debug!(%error, "a tunnel broke off");
            }
            Ok::<(), hyper::Error>(())
        };
        if let Some(Err(error)) = stopping.run_until_cancelled(copied).await {
            tracing::debug!(%error, "no tunnel");
        }
        drop(held);
    }
}

//! The joining side: what a token and an address are turned into, for servers and agents.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::StatusCode;
use kontiki_apiserver::{
    join::{JoinRequest, PATH},
    peers::{Answer, Question, ask, pinned_tls},
    pki::{JoinRole, JoinToken},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);
/// Rounds through all addresses while the cluster says that it cannot answer at the moment.
const ROUNDS_MAX: u32 = 10;
const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// A token as it was given, of the role that is needed.
pub fn token(text: Option<&str>, role: JoinRole) -> Result<JoinToken> {
    let text = text.context("--join needs --token: `kontiki token` on a server prints it")?;
    let token: JoinToken = text.parse().context("--token")?;
    if token.role != role {
        bail!(
            "--token is {} token, not the one for {}: `kontiki token --role {}` on a server prints that",
            one(token.role),
            one(role),
            role.name()
        );
    }
    Ok(token)
}

fn one(role: JoinRole) -> &'static str {
    match role {
        JoinRole::Agent => "an agent",
        JoinRole::Server => "a server",
    }
}

/// Asks the servers in turn until one lets this machine in; a refusal is final.
pub async fn join<T: DeserializeOwned>(addresses: &[String], token: &JoinToken, request: &JoinRequest) -> Result<T> {
    let tls = pinned_tls(&token.ca_digest).context("setting up TLS")?;
    let body = serde_json::to_value(request)?;
    let mut last = String::new();
    for round in 0..ROUNDS_MAX {
        if round > 0 {
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        for address in addresses {
            match ask(&tls, Question::post(address, PATH, &body, PATIENCE)).await {
                Ok(answer) => match granted(address, &answer)? {
                    Ok(grant) => return Ok(grant),
                    Err(not_now) => last = not_now,
                },
                Err(error) if of_identity(&error) => bail!(
                    "{address} is not the cluster of this token: its certificate authority is another one ({error}). Nothing was \
                     told to it"
                ),
                Err(error) => last = format!("{address}: {error}"),
            }
        }
    }
    bail!("no server could be joined; the last one: {last}")
}

/// The grant; inside, why it is worth asking again. A refusal is an error.
fn granted<T: DeserializeOwned>(address: &str, answer: &Answer) -> Result<Result<T, String>> {
    if answer.status == StatusCode::OK {
        return Ok(Ok(serde_json::from_slice(&answer.body).context("reading the answer to the join")?));
    }
    let message = message(answer);
    match answer.status {
        StatusCode::UNAUTHORIZED => bail!("{address} refuses the token: its secret is not this cluster's"),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Ok(Err(format!("{address} answers {status}: {message}")))
        }
        _ => bail!("{address} refuses: {message}"),
    }
}

/// The message of a Status.
pub fn message(answer: &Answer) -> String {
    let status: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    status["message"].as_str().map_or_else(|| String::from_utf8_lossy(&answer.body).into_owned(), str::to_owned)
}

fn of_identity(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

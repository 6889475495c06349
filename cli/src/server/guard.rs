//! A server's standing among the others: asking to be a member, and finding out when it is none any more.

use std::time::Duration;

use anyhow::{Result, bail};
use http::StatusCode;
use kontiki_apiserver::peers::{Answer, Question};
use kontiki_informer::Outage;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::{
    join::message,
    settings::{Origin, Settings},
};
use crate::{control_plane::ControlPlane, layout::Layout};

pub const MEMBERS_PATH: &str = "/apis/kontiki.dev/v1/members";
/// Catching up may take long; the server that is asked answers before this.
const ANNOUNCE_PATIENCE: Duration = Duration::from_secs(60);
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(500);
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
pub const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// Asks the members in turn to let this server in, until it has caught up and votes.
///
/// With `replaces`, the member of that number is let go of first: it is this server's former self.
pub async fn announce(
    plane: &ControlPlane,
    settings: &Settings,
    servers: &[String],
    replaces: Option<u64>,
) -> Result<()> {
    let core = plane.server.core();
    let mut wanted = json!({"id": plane.log.node_id(), "name": settings.name, "address": settings.address.to_string()});
    if let Some(former) = replaces {
        wanted["replaces"] = former.into();
    }
    let mut waiting = Outage::new("not a member yet", &settings.name);
    loop {
        for server in servers.iter().filter(|server| **server != settings.address.to_string()) {
            match core.peers.ask(Question::post(server, MEMBERS_PATH, &wanted, ANNOUNCE_PATIENCE)).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    waiting.over();
                    return Ok(());
                }
                Ok(answer) if is_final(&answer) => bail!("{server} refuses this server: {}", message(&answer)),
                Ok(answer) => waiting.failed(&format!("{server}: {}", message(&answer))),
                Err(error) => waiting.failed(&format!("{server}: {error}")),
            }
        }
        tokio::time::sleep(ANNOUNCE_PAUSE).await;
    }
}

fn is_final(answer: &Answer) -> bool {
    answer.status.is_client_error() && answer.status != StatusCode::TOO_MANY_REQUESTS
}

/// Watches for as long as this server is a member; the error says that it is none any more. Keeps the kubeconfig's list of
/// servers, too.
pub async fn watch(plane: &ControlPlane, layout: &Layout, settings: &Settings) -> Result<()> {
    let mut shown = String::new();
    let mut majority = Outage::new("no majority of the servers answers: nothing can be written", &settings.name);
    loop {
        // First: where a majority answers, this server then knows who is a member, itself among them.
        let answered = answered(plane).await;
        match &answered {
            Ok(()) => majority.over(),
            Err(why) => majority.failed(why),
        }
        let own = plane.log.node_id();
        let is_member = plane.log.members().iter().any(|member| member.id == own);
        if !plane.log.members().is_empty() {
            // On a full disk it waits for room; the server serves all the same.
            if let Err(error) = plane.write_kubeconfig(layout, &settings.name, &mut shown) {
                warn!(error = format!("{error:#}"), "the kubeconfig was not written");
            }
        }
        if (answered.is_err() || !is_member) && is_removed(plane, settings).await {
            bail!(was_removed(&settings.name, layout));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            () = plane.log.let_go() => {
                if is_removed(plane, settings).await {
                    bail!(was_removed(&settings.name, layout));
                }
            }
        }
    }
}

/// What a server's operator is told when the cluster has let go of it.
pub fn was_removed(name: &str, layout: &Layout) -> String {
    format!(
        "this server ({name}) is no member of its cluster any more: it was removed. To let it in again, remove {} and join anew",
        layout.root().display()
    )
}

/// Whether a majority answers; if not, why.
async fn answered(plane: &ControlPlane) -> Result<(), String> {
    match tokio::time::timeout(LOOK_PATIENCE, plane.log.barrier()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {LOOK_PATIENCE:?}")),
    }
}

/// Whether a list of members, of today and of this cluster, has a server; nothing, if it is no such list.
fn lists(list: &Value, cluster: u64, server: u64) -> Option<bool> {
    let items = list["items"].as_array()?;
    let is_of_today = list.get("stale").is_none();
    let is_of_the_cluster = list["metadata"]["cluster"].as_str().is_some_and(|told| told.parse() == Ok(cluster));
    (is_of_today && is_of_the_cluster).then(|| items.iter().any(|item| item["id"] == server))
}

/// Whether a server of this one's own cluster that has a majority behind it says that this one is not a member. What was made of a
/// backup, or recovered, may answer at a member's address: it is another cluster, and knows nothing of this one.
async fn is_removed(plane: &ControlPlane, settings: &Settings) -> bool {
    let own = plane.log.node_id();
    let known = plane.log.members().into_iter().filter(|member| member.id != own).map(|member| member.address);
    let mut servers: Vec<String> = known.collect();
    if let Origin::Join { servers: once, .. } = &settings.origin {
        servers.extend(once.iter().filter(|address| **address != settings.address.to_string()).cloned());
    }
    servers.sort();
    servers.dedup();
    for server in servers {
        let question = Question::get(&server, &format!("{MEMBERS_PATH}?states=false"), LOOK_PATIENCE);
        match plane.server.core().peers.ask(question).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                let list: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                match lists(&list, plane.log.cluster(), own) {
                    Some(listed) => return !listed,
                    None => debug!(server, "does not know who is a member"),
                }
            }
            // No other certificate of this cluster is refused so.
            Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => return true,
            Ok(answer) => debug!(server, status = %answer.status, "cannot say who is a member"),
            Err(error) => debug!(server, %error, "cannot say who is a member"),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_cluster_says_who_is_a_member() {
        let list = |cluster: &str| json!({"metadata": {"cluster": cluster}, "items": [{"id": 1}, {"id": 2}]});
        let mut stale = list("7");
        stale["stale"] = json!("no majority");
        for (list, server, told) in [
            (list("7"), 2, Some(true)),
            (list("7"), 3, Some(false)),
            (list("8"), 3, None),
            (json!({"items": []}), 3, None),
            (stale, 3, None),
            (json!("what?"), 3, None),
        ] {
            assert_eq!(lists(&list, 7, server), told, "{server} in {list}");
        }
    }
}

//! `--rebuild`: a member whose log is damaged takes everything from the others again.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use http::StatusCode;
use kontiki_apiserver::{
    peers::{Peers, Question},
    pki::Pki,
};
use kontiki_raft::Dial as _;
use tracing::info;

use super::{
    guard::{LOOK_PATIENCE, MEMBERS_PATH, was_removed},
    must_be_whole,
    settings::{Origin, Settings},
};
use crate::layout::Layout;

/// Makes a server whose log is damaged one that joins its cluster anew. Its log is kept beside the new one.
pub async fn begin(servers: &[String], layout: &Layout) -> Result<()> {
    let here = layout.root().display();
    let found = Settings::read_alone(layout)?;
    let mut settings = found.with_context(|| format!("--rebuild: there is no server's data in {here}"))?;
    must_be_whole(layout)?;
    let former = match settings.origin {
        // Begun before, and not done. Whether it was removed since then it is told when it asks to be a member.
        Origin::Join { replaces: Some(former), .. } => {
            answers(servers, layout, &settings.name).await?;
            former
        }
        Origin::Join { replaces: None, .. } | Origin::Init => member_so_far(servers, layout, &settings.name).await?,
    };
    // First: whoever has set its log aside is not the member that it was.
    settings.origin = Origin::Join { servers: servers.to_vec(), member: false, replaces: Some(former) };
    settings.begun = false;
    settings.write(layout)?;
    match kontiki_raft::set_aside(&layout.log())? {
        Some(aside) => {
            info!(aside = %aside.display(), "the damaged log was set aside; remove it when it is of no use any more")
        }
        None => info!("there was no log to set aside"),
    }
    Ok(())
}

/// The number under which this server is a member; the log knows it too, but may be unreadable.
async fn member_so_far(servers: &[String], layout: &Layout, name: &str) -> Result<u64> {
    let Some(number) = Pki::open(&layout.pki())?.peer_number()? else {
        let here = layout.root().display();
        bail!("--rebuild: nothing in {here} says which member this server was: remove {here} and join anew");
    };
    // Who was removed finds out before anything is changed, where somebody can tell.
    match answers(servers, layout, name).await?.contains(&StatusCode::UNAUTHORIZED) {
        true => bail!(was_removed(name, layout)),
        false => Ok(number),
    }
}

/// What the servers answer this one, as the member that it was; an error if none does, for then nothing is to be had from them. No
/// certificate of their cluster is unauthorized but that of a server that was removed.
async fn answers(servers: &[String], layout: &Layout, name: &str) -> Result<Vec<StatusCode>> {
    let pki = Pki::open(&layout.pki())?;
    let number = pki.peer_number()?;
    let former = Peers::new(Arc::new(pki), name);
    number.into_iter().for_each(|number| former.introduce(number));
    let (mut statuses, mut silent) = (Vec::new(), Vec::new());
    for server in servers {
        match former.ask(Question::get(server, &format!("{MEMBERS_PATH}?states=false"), LOOK_PATIENCE)).await {
            Ok(answer) => statuses.push(answer.status),
            Err(error) => silent.push(format!("{server}: {error}")),
        }
    }
    if statuses.is_empty() {
        bail!("--rebuild: no server answers, and nothing was changed ({})", silent.join("; "));
    }
    Ok(statuses)
}

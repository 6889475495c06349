//! `--rebuild`: a member whose log is damaged takes everything from the others again.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use http::StatusCode;
use kontiki_apiserver::{
    peers::{Peers, Question},
    pki::Pki,
};
use kontiki_raft::Dial as _;
use tracing::{debug, info};

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
        Origin::Join { replaces: Some(former), .. } => former,
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

/// The number under which this server is a member. One that was removed finds out before anything is changed, where somebody can
/// tell; the log knows its own number, but it may be unreadable.
async fn member_so_far(servers: &[String], layout: &Layout, name: &str) -> Result<u64> {
    let pki = Pki::open(&layout.pki())?;
    let Some(number) = pki.peer_number()? else {
        let here = layout.root().display();
        bail!("--rebuild: nothing in {here} says which member this server was: remove {here} and join anew");
    };
    let former = Peers::new(Arc::new(pki), name);
    former.introduce(number);
    for server in servers {
        match former.ask(Question::get(server, &format!("{MEMBERS_PATH}?states=false"), LOOK_PATIENCE)).await {
            // No other certificate of this cluster is refused so.
            Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => bail!(was_removed(name, layout)),
            Ok(answer) => debug!(server, status = %answer.status, "does not say that this server was removed"),
            Err(error) => debug!(server, %error, "cannot say whether this server was removed"),
        }
    }
    Ok(number)
}

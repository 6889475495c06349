//! `kontiki recover`: one surviving server becomes a cluster of its own after the majority was lost.
//!
//! Nothing is changed in place: the new log is made beside the old one, and takes its place in one step; the old one is kept.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use kontiki_apiserver::records::{self, By};
use kontiki_raft::{
    Member,
    backup::{Figures, Founded, Founding, Stopped},
};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::{Value, json};

use crate::{
    args::{AcceptLoss, Output, Recover},
    layout::Layout,
    server,
    snapshot::moment,
};

pub async fn recover(arguments: Recover) -> Result<()> {
    tokio::task::spawn_blocking(move || recover_in(&arguments)).await?
}

fn recover_in(arguments: &Recover) -> Result<()> {
    let layout = Layout::open(&arguments.data.data_dir)?;
    if let Some(pid) = layout.owner()? {
        bail!("process {pid} runs a server in {}: stop it first", layout.root().display());
    }
    let _owner = layout.own()?;
    let stopped = take(&layout, &arguments.loss)?;
    let figures = stopped.figures()?;
    if is_alone(&figures) {
        bail!(
            "the server in {} is the only voter of its cluster already: it needs no recovery, only to be started",
            layout.root().display()
        );
    }
    if !arguments.yes {
        bail!("{}", warning(&figures));
    }
    let member = figures.members.iter().find(|(id, ..)| *id == figures.node).map(|(_, member, _)| member.clone());
    let new = layout.log().with_file_name("log.recovered");
    if new.exists() {
        std::fs::remove_dir_all(&new).context("removing what an earlier attempt left")?;
    }
    let by = operator("kontiki recover", "recover");
    let time_ms = by.time_ms;
    let founding = Founding { member: member.unwrap_or_default(), to: None, skip: arguments.skip.at(time_ms) };
    let founded =
        founding.from_server(&stopped, &new, |founded| records::record(by, "Recovery", &told(&figures, founded)))?;
    drop(stopped);
    let kept = layout.log().with_file_name(format!("log.before-{}", moment(time_ms).replace(':', "")));
    // Before the log: a server of the old cluster that founded it is none the worse.
    server::found_anew(&layout)?;
    // In one step: at no moment is there no log, which would be a new, empty cluster.
    renameat2(AT_FDCWD, &new, AT_FDCWD, &layout.log(), RenameFlags::RENAME_EXCHANGE)
        .context("putting the new log in place")?;
    std::fs::rename(&new, &kept).with_context(|| format!("keeping the old log as {}", kept.display()))?;
    std::fs::File::open(layout.root()).and_then(|folder| folder.sync_all()).context("syncing the data folder")?;
    match arguments.output {
        Output::Json => {
            let mut told = told(&figures, &founded);
            told["oldLog"] = json!(kept);
            println!("{told:#}");
        }
        Output::Table => {
            let others = others(&figures);
            println!("{}", lost(&figures));
            println!(
                "Revisions {} to {} are skipped: clients that saw them look again.",
                founded.restored + 1,
                founded.revision - 1
            );
            println!("The old log is kept in {}.", kept.display());
            println!("This server is a cluster of its own now; start it as before.");
            if !others.is_empty() {
                println!(
                    "Never start again with their data: {}. Wipe them, and let them join as new servers.",
                    others.join(", ")
                );
            }
        }
    }
    Ok(())
}

/// A stopped server's log. One that lacks what may have been acknowledged only if that is given up.
pub fn take(layout: &Layout, loss: &AcceptLoss) -> Result<Stopped> {
    match Stopped::open(&layout.log()) {
        Err(damage) if damage.is_loss() && loss.accept_loss => Ok(Stopped::open_damaged(&layout.log())?),
        Err(damage) if damage.is_loss() => {
            bail!("{damage}. Another server may have what is gone; --accept-loss takes what is left here")
        }
        taken => Ok(taken?),
    }
}

/// What a damaged log has lost.
pub fn gone(figures: &Figures) -> Option<String> {
    let Figures { last, synced, .. } = figures;
    (synced > last).then(|| {
        format!("The log is damaged: entries {} to {synced} are gone. They were synced here, and may have been acknowledged.", last + 1)
    })
}

/// Who runs this program, by what, and when: the author of what it records.
pub fn operator(program: &str, verb: &str) -> By {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    By {
        user: user.unwrap_or_else(|| format!("uid {}", nix::unistd::getuid())),
        program: format!("{program} {}", env!("CARGO_PKG_VERSION")),
        verb: verb.to_owned(),
        time_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
    }
}

fn others(figures: &Figures) -> Vec<String> {
    let others = figures.members.iter().filter(|(id, ..)| *id != figures.node);
    others.map(|(id, Member { name, address }, _)| format!("{name} ({address}, {id})")).collect()
}

fn is_alone(figures: &Figures) -> bool {
    let mut voters = figures.members.iter().filter(|(_, _, voter)| *voter).map(|(id, ..)| *id);
    voters.next() == Some(figures.node) && voters.next().is_none()
}

fn warning(figures: &Figures) -> String {
    let others = others(figures);
    format!(
        "this makes the server a cluster of its own, with what it has. {} The others ({}) must be lost for good: they are \
         refused from then on, and what only they have is gone. If a majority of the servers can still be started, start them \
         instead. Give --yes to go on",
        lost(figures),
        if others.is_empty() { "there are none".to_owned() } else { others.join(", ") },
    )
}

/// What may be missing, and what may be there that was never acknowledged.
fn lost(figures: &Figures) -> String {
    let Figures { last, last_term, committed, revision, .. } = figures;
    let tail = match last.saturating_sub(*committed) {
        0 => "All of it is known to be committed.".to_owned(),
        1 => format!(
            "Entry {last} is not known to be committed: it may never have been acknowledged, and counts from now on."
        ),
        _ => format!(
            "Entries {} to {last} are not known to be committed: they may never have been acknowledged, and count from now on.",
            committed + 1
        ),
    };
    let gone = gone(figures).map(|gone| format!(" {gone}")).unwrap_or_default();
    format!(
        "Its log ends at entry {last} of term {last_term} (revision {revision} or later). Whatever the others acknowledged after \
         that entry is lost. {tail}{gone}"
    )
}

fn told(figures: &Figures, founded: &Founded) -> Value {
    let member = |(id, member, voter): &(u64, Member, bool)| json!({"id": id, "name": member.name, "address": member.address, "voter": voter, "survivor": *id == figures.node});
    json!({
        "previousMembers": figures.members.iter().map(member).collect::<Vec<_>>(),
        "last": {"term": figures.last_term, "index": figures.last},
        "committed": {"index": figures.committed},
        "lost": format!("what the others acknowledged after entry {}", figures.last),
        "gone": figures.synced.saturating_sub(figures.last),
        "uncommitted": figures.last.saturating_sub(figures.committed),
        "restored": founded.restored,
        "revision": founded.revision,
        "skipped": {"first": founded.restored + 1, "last": founded.revision - 1},
        "term": founded.term,
        "index": founded.index,
    })
}

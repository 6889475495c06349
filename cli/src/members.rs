//! `kontiki members` and `kontiki token`: the servers of a cluster, and what lets another machine in.

use anyhow::{Context, Result, bail};
use http::Method;
use kontiki_apiserver::pki::{JoinTokens, Pki};
use serde_json::{Value, json};

use crate::{
    args::{ClusterTarget, MembersAction, Output, Token, TokenRole},
    client::Client,
    layout::Layout,
};

const MEMBERS: &str = "/apis/kontiki.dev/v1/members";
const LEADERSHIP: &str = "/apis/kontiki.dev/v1/leadership";

pub async fn members(action: MembersAction) -> Result<()> {
    match action {
        MembersAction::Add { name, target } => add(name.as_deref(), &target).await,
        MembersAction::List { output, target } => {
            let (members, stale) = list(&target).await?;
            match output {
                Output::Json => println!("{}", serde_json::to_string_pretty(&members)?),
                Output::Table => print!("{}", table(&members)),
            }
            if let Some(reason) = stale {
                eprintln!("warning: no majority of servers answers ({reason}): this may be out of date");
            }
            Ok(())
        }
        MembersAction::Remove { member, force, target } => {
            let query = if force { "?force=true" } else { "" };
            let path = format!("{MEMBERS}/{}{query}", crate::image::encode(&member));
            let removed = Client::open(&target).await?.json(Method::DELETE, &path, None).await?;
            println!("removed {}", text(&removed, "name"));
            Ok(())
        }
        MembersAction::Transfer { to, target } => {
            let leader = Client::open(&target).await?.post(LEADERSHIP, &json!({"to": to})).await?;
            println!("{} leads", text(&leader, "name"));
            Ok(())
        }
    }
}

async fn list(target: &ClusterTarget) -> Result<(Vec<Value>, Option<String>)> {
    let answer = Client::open(target).await?.get(MEMBERS).await?;
    let items = answer["items"].as_array().cloned().context("the server's list of members has no items")?;
    Ok((items, answer["stale"].as_str().map(str::to_owned)))
}

/// What an operator does to get one more server: it joins by itself, all it needs is the command.
async fn add(name: Option<&str>, target: &ClusterTarget) -> Result<()> {
    let (members, _) = list(target).await?;
    if let Some(found) = name.and_then(|name| members.iter().find(|member| text(member, "name") == name)) {
        let role =
            if found["voter"] == true { "a voter" } else { "a learner, which votes as soon as it has caught up" };
        println!("{} is a member already: {role}", text(found, "name"));
        return Ok(());
    }
    let joined: Vec<&str> =
        members.iter().filter_map(|member| text(member, "address").strip_prefix("https://")).collect();
    let token = match token_in(&target.data.data_dir) {
        Ok(tokens) => tokens.server.to_string(),
        Err(_) => "\"$(ssh <a server> kontiki token)\"".to_owned(),
    };
    let name = name.map(|name| format!(" --name {name}")).unwrap_or_default();
    println!("run this on the new machine; it is listed by `kontiki members list` once it votes:\n");
    println!("  kontiki server{name} --join {} --token {token}", joined.join(","));
    Ok(())
}

pub fn token(arguments: &Token) -> Result<()> {
    let tokens = token_in(&arguments.data.data_dir)?;
    println!(
        "{}",
        match arguments.role {
            TokenRole::Agent => tokens.agent,
            TokenRole::Server => tokens.server,
        }
    );
    Ok(())
}

fn token_in(data_dir: &std::path::Path) -> Result<JoinTokens> {
    let ca = data_dir.join("pki/ca.key");
    if !ca.exists() {
        bail!("{} is no server's data folder: tokens are printed on a server", data_dir.display());
    }
    let layout = Layout::open(data_dir)?;
    let pki = Pki::open(&layout.pki())?;
    Ok(JoinTokens::open(&layout.tokens(), pki.ca_pem())?)
}

fn text<'a>(member: &'a Value, name: &str) -> &'a str {
    member[name].as_str().unwrap_or_default()
}

fn table(members: &[Value]) -> String {
    let mut rows = vec![["NAME", "ADDRESS", "ROLE", "READY", "ID"].map(str::to_owned)];
    for member in members {
        let role = match (member["leader"] == true, member["voter"] == true) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        let ready = if member["ready"] == true { "yes".to_owned() } else { format!("no: {}", text(member, "message")) };
        rows.push([
            text(member, "name").to_owned(),
            text(member, "address").to_owned(),
            role.to_owned(),
            ready,
            member["id"].to_string(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn members_as_a_table() {
        let members = [
            json!({"id": 7, "name": "a", "address": "https://10.0.0.1:6443", "leader": true, "voter": true, "ready": true}),
            json!({"id": 12, "name": "longer", "address": "https://10.0.0.2:6443", "leader": false, "voter": false,
                   "ready": false, "message": "does not answer"}),
        ];
        expect![[r#"
            NAME     ADDRESS                 ROLE      READY                 ID
            a        https://10.0.0.1:6443   leader    yes                   7
            longer   https://10.0.0.2:6443   learner   no: does not answer   12
        "#]]
        .assert_eq(&super::table(&members));
    }
}

//! Who a container runs as, by the image's own account files. Pure: the files' texts are given.

use crate::{
    error::{Failure, FailureKind},
    spec::{ID_MAX, ProcessUser, User},
};

/// Texts of the image's `/etc/passwd` and `/etc/group`, empty when it has none.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    pub passwd: String,
    pub group: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// The primary group and all others, sorted.
    pub groups: Vec<u32>,
    pub home: String,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl Identity {
    pub fn find(user: &User, accounts: &Accounts) -> Result<Identity, Failure> {
        let (name, group) = match user.user.split_once(':') {
            Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
            None => (user.user.as_str(), None),
        };
        let name = if name.is_empty() { "0" } else { name };
        let account = accounts.accounts().find(|account| match name.parse::<u32>() {
            Ok(uid) => account.uid == uid,
            Err(_) => account.name == name,
        });
        let uid = match (&account, name.parse()) {
            (Some(account), _) => account.uid,
            (None, Ok(uid)) => uid,
            (None, Err(_)) => return Err(unknown("user", name, "passwd")),
        };
        let gid = match (user.group, group) {
            (Some(gid), _) => gid,
            (None, Some(group)) => accounts.gid(group)?,
            (None, None) => account.as_ref().map_or(0, |account| account.gid),
        };
        let mut groups = vec![gid];
        groups.extend(&user.additional_groups);
        if let Some(account) = account.as_ref().filter(|_| !user.strict_groups) {
            groups.extend(accounts.memberships(account.name));
        }
        groups.sort_unstable();
        groups.dedup();
        if uid > ID_MAX || groups.last().is_some_and(|gid| *gid > ID_MAX) {
            return Err(Failure::new(FailureKind::BadUser, format!("uids and gids must be in range 0-{ID_MAX}")));
        }
        let home = account.map_or("/", |account| account.home);
        Ok(Identity { uid, gid, groups, home: if home.is_empty() { "/" } else { home }.to_owned() })
    }

    pub fn user(&self) -> ProcessUser {
        ProcessUser { uid: self.uid, gid: self.gid, groups: self.groups.clone() }
    }
}

impl Accounts {
    fn accounts(&self) -> impl Iterator<Item = Account<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(Account { name, uid, gid, home: fields.nth(1).unwrap_or("/") })
        })
    }

    /// Name, number and members of each group.
    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            Some((name, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or("")))
        })
    }

    fn gid(&self, group: &str) -> Result<u32, Failure> {
        match self.groups().find(|(name, _, _)| *name == group) {
            Some((_, gid, _)) => Ok(gid),
            None => group.parse().map_err(|_| unknown("group", group, "group")),
        }
    }

    fn memberships(&self, user: &str) -> Vec<u32> {
        let of = |members: &str| members.split(',').any(|member| member.trim() == user);
        self.groups().filter(|(_, _, members)| of(members)).map(|(_, gid, _)| gid).collect()
    }
}

fn unknown(what: &str, name: &str, file: &str) -> Failure {
    let message = format!("unable to find {what} {name}: no matching entries in the image's /etc/{file}");
    Failure::new(FailureKind::BadUser, message)
}

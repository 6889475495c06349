//! Tokens from a file: `token,user,uid[,"group,group"]` per line.

use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

use super::with_authenticated;
use crate::request::Identity;

#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    #[error("cannot read the token file {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("line {line} of the token file {path} is not: token,user,uid[,\"group,group\"]")]
    Line { path: PathBuf, line: usize },
}

/// Who holds which token. Tokens are kept as digests: comparing them tells nothing about how much of one was right.
#[derive(Debug, Default)]
pub struct StaticTokens(Vec<(Vec<u8>, Identity)>);

impl StaticTokens {
    pub fn read(path: Option<&Path>) -> Result<Self, TokenFileError> {
        let Some(path) = path else { return Ok(StaticTokens::default()) };
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| TokenFileError::Read { path: path.to_owned(), source })?;
        StaticTokens::parse(&text).map_err(|line| TokenFileError::Line { path: path.to_owned(), line })
    }

    /// The error is the number of the line that cannot be read.
    fn parse(text: &str) -> Result<Self, usize> {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let told = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        told.map(|(number, line)| parse_line(line).ok_or(number)).collect::<Result<_, _>>().map(StaticTokens)
    }

    pub(crate) fn find(&self, token: &str) -> Option<Identity> {
        let asked = digest_of(token);
        self.0.iter().find(|(kept, _)| *kept == asked).map(|(_, identity)| identity.clone())
    }
}

fn digest_of(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

fn parse_line(line: &str) -> Option<(Vec<u8>, Identity)> {
    let mut fields = line.splitn(4, ',').map(str::trim);
    let (token, user, uid) = (fields.next()?, fields.next()?, fields.next()?);
    let groups = fields.next().unwrap_or("").trim_matches('"');
    let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned).collect();
    if token.is_empty() || user.is_empty() {
        return None;
    }
    let identity = Identity { user: user.to_owned(), uid: uid.to_owned(), groups, ..Identity::default() };
    Some((digest_of(token), with_authenticated(identity)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn token_files() {
        let tokens = StaticTokens::parse("# operators\nabc,alice,u1,\"team,ops\"\n\nxyz,bob,u2\n").unwrap();
        let alice = tokens.find("abc").unwrap();
        assert_eq!((alice.user.as_str(), alice.uid.as_str()), ("alice", "u1"));
        assert_eq!(alice.groups, ["team", "ops", "system:authenticated"]);
        assert_eq!(tokens.find("xyz").unwrap().groups, ["system:authenticated"]);
        assert_eq!(tokens.find("ab"), None);
        assert_eq!(StaticTokens::parse("abc,alice\n").unwrap_err(), 1);
        assert_eq!(StaticTokens::parse("a,b,c\n,alice,u\n").unwrap_err(), 2);
    }
}

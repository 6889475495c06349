//! The levels of the standards, and their versions.

use std::fmt;

/// How much a pod may do. Each level forbids what the one before it does, and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Anything.
    Privileged,
    /// What is not known to give power over the host.
    Baseline,
    /// What follows the practices of hardening.
    Restricted,
}

/// The release whose rules are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `v1.<minor>`; a release that is not out yet means the newest rules there are.
    Minor(i64),
    /// Newer than any other.
    Latest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LevelVersion {
    pub level: Level,
    pub version: Version,
}

impl Level {
    const ALL: [Level; 3] = [Level::Privileged, Level::Baseline, Level::Restricted];

    pub fn name(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }

    /// The level of this name, or what a name must be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let found = Level::ALL.into_iter().find(|level| level.name() == text);
        found.ok_or("must be one of privileged, baseline, restricted")
    }
}

impl Version {
    /// The version written so, or how one is written.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "latest" {
            return Ok(Version::Latest);
        }
        let digits = text.strip_prefix("v1.").filter(|digits| {
            let canonical = *digits == "0" || !digits.starts_with('0');
            canonical && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        digits.and_then(|digits| digits.parse().ok()).map(Version::Minor).ok_or(r#"must be "latest" or "v1.x""#)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Minor(minor) => write!(f, "v1.{minor}"),
            Version::Latest => f.write_str("latest"),
        }
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level.name(), self.version)
    }
}

impl LevelVersion {
    pub const PRIVILEGED: LevelVersion = LevelVersion { level: Level::Privileged, version: Version::Latest };

    /// Whether both allow the same: what the version is of matters only where there are rules.
    pub fn equivalent(self, other: LevelVersion) -> bool {
        self == other || self.level == Level::Privileged && other.level == Level::Privileged
    }
}

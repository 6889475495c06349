//! The order of API versions: general availability before beta before alpha, then the larger number first.

use std::cmp::Reverse;

/// What orders versions; the preferred one has the largest. Names that are no versions come last, by the alphabet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preference<'a> {
    Other(Reverse<&'a str>),
    Version { stage: Stage, major: u64, minor: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Alpha,
    Beta,
    Available,
}

pub fn preference(version: &str) -> Preference<'_> {
    read(version).unwrap_or(Preference::Other(Reverse(version)))
}

/// `v1`, `v1beta2`.
fn read(version: &str) -> Option<Preference<'_>> {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let text = version.strip_prefix('v')?;
    let (stage, major, minor) = match (text.split_once("beta"), text.split_once("alpha")) {
        (Some((major, minor)), _) => (Stage::Beta, major, number(minor)?),
        (None, Some((major, minor))) => (Stage::Alpha, major, number(minor)?),
        (None, None) => (Stage::Available, text, 0),
    };
    Some(Preference::Version { stage, major: number(major)?, minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_preferred_as_kubernetes_prefers_them() {
        let mut versions =
            ["foo10", "v1alpha1", "v1", "v11alpha2", "foo1", "v2", "v1beta", "v1beta1", "v1beta2", "v10", "v3beta1"];
        versions.sort_by_key(|version| Reverse(preference(version)));
        let expected =
            ["v10", "v2", "v1", "v3beta1", "v1beta2", "v1beta1", "v11alpha2", "v1alpha1", "foo1", "foo10", "v1beta"];
        assert_eq!(versions, expected);
    }
}

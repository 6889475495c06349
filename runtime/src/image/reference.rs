//! Image names, normalised one way everywhere: `demo` is `docker.io/library/demo:latest`.

use oci_spec::distribution::Reference;

use super::{digest::Digest, error::ImageError};

/// A parsed and normalised image name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName(Reference);

impl ImageName {
    pub fn parse(name: &str) -> Result<Self, ImageError> {
        let invalid = |why: String| ImageError::InvalidName { name: name.to_owned(), why };
        if name.trim() != name {
            return Err(invalid("it begins or ends with a space".into()));
        }
        let reference = match name.strip_prefix('[') {
            Some(rest) => with_ipv6_registry(rest),
            None => Reference::try_from(name).map_err(|e| e.to_string()),
        }
        .map_err(invalid)?;
        // The grammar takes an upper-case first component for a registry host, even where it is used as a repository.
        if reference.repository().bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid("repository name must be lowercase".into()));
        }
        if let Some(digest) = reference.digest()
            && Digest::parse(digest).is_none()
        {
            return Err(invalid(format!("{digest} is not a sha256 digest")));
        }
        Ok(Self(reference))
    }

    /// `registry/repository:tag`, or `registry/repository@digest` where there is a digest: it decides alone.
    pub fn canonical(&self) -> String {
        match self.0.digest() {
            Some(digest) => self.with_digest(digest),
            None => format!("{}:{}", self.repository(), self.0.tag().unwrap_or("latest")),
        }
    }

    /// `registry/repository@digest` of the same repository.
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", self.repository())
    }

    pub fn digest(&self) -> Option<&str> {
        self.0.digest()
    }

    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// `registry/repository`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.0.registry(), self.0.repository())
    }

    pub(super) fn reference(&self) -> &Reference {
        &self.0
    }

    /// Whether the registry is this machine itself: then plain HTTP is spoken.
    pub fn is_loopback(&self) -> bool {
        let registry = self.0.registry();
        let host = match registry.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => registry.split(':').next().unwrap_or_default(),
        };
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// `[address]:port/repository…` without its first bracket: oci-spec's grammar has no IPv6 hosts.
fn with_ipv6_registry(rest: &str) -> Result<Reference, String> {
    let (host, path) = rest.split_once('/').ok_or("no repository after the registry")?;
    let (address, port) = host.split_once(']').ok_or("the registry's address lacks its closing bracket")?;
    let port_is_good = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    if address.parse::<std::net::Ipv6Addr>().is_err() || !port_is_good {
        return Err(format!("[{host} is not a registry's address"));
    }
    let registry = format!("[{host}");
    let parsed = Reference::try_from(format!("registry.invalid/{path}")).map_err(|e| e.to_string())?;
    let (repository, tag) = (parsed.repository().to_owned(), parsed.tag().map(str::to_owned));
    Ok(match (tag, parsed.digest().map(str::to_owned)) {
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or_else(|| "latest".into())),
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest),
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(registry, repository, tag, digest),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_canonical_form() {
        let digest = format!("sha256:{}", "f".repeat(64));
        let table = [
            ("demo", "docker.io/library/demo:latest".to_owned()),
            ("demo:1", "docker.io/library/demo:1".to_owned()),
            ("library/demo:1", "docker.io/library/demo:1".to_owned()),
            ("docker.io/demo:1", "docker.io/library/demo:1".to_owned()),
            ("index.docker.io/library/demo:1", "docker.io/library/demo:1".to_owned()),
            ("team/demo", "docker.io/team/demo:latest".to_owned()),
            ("localhost/demo", "localhost/demo:latest".to_owned()),
            ("localhost:5000/a/b:x", "localhost:5000/a/b:x".to_owned()),
            ("[::1]:5000/a/b", "[::1]:5000/a/b:latest".to_owned()),
            ("quay.io/a/b", "quay.io/a/b:latest".to_owned()),
            (&format!("demo:1@{digest}"), format!("docker.io/library/demo@{digest}")),
        ];
        for (name, canonical) in table {
            assert_eq!(ImageName::parse(name).unwrap().canonical(), canonical, "{name}");
        }
    }

    #[test]
    fn bad_names_say_why() {
        for name in [
            "",
            " demo",
            "Demo",
            "demo:",
            "a b",
            "demo@sha256:12",
            "x//y",
            "-demo",
            "Demo/App",
            "[::1",
            "[::1]x/a",
            "[1.2.3.4]/a",
        ] {
            let text = ImageName::parse(name).unwrap_err().to_string();
            assert!(text.starts_with(&format!("invalid image name {name:?}: ")), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_plain() {
        let cases = [
            ("localhost:5000/a", true),
            ("127.0.0.1:5000/a", true),
            ("127.9.9.9/a", true),
            ("[::1]:5000/a", true),
            ("10.0.0.1:5000/a", false),
            ("localhost.example.com/a", false),
            ("busybox", false),
        ];
        for (name, loopback) in cases {
            assert_eq!(ImageName::parse(name).unwrap().is_loopback(), loopback, "{name}");
        }
    }
}

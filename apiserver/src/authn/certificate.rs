//! Identity from a client certificate that TLS has verified: the common name is the user, organizations are groups, and an attribute
//! of its own is the uid.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{CREDENTIAL_ID, with_authenticated};
use crate::{limits::CERTIFICATE_TIME_MIN, pki, request::Identity};

/// Whom a connection's certificate names, and until when: a connection outlives what was true when it was made.
pub(crate) struct Certified {
    identity: Identity,
    ends: DateTime<Utc>,
}

impl Certified {
    /// `None` for a certificate without a usable common name: its bearer is anonymous.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        // One that ends beyond what a time can say never does.
        let ends = DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0);
        Some(Certified { identity: identity(der, &certificate)?, ends: ends.unwrap_or(DateTime::<Utc>::MAX_UTC) })
    }

    pub fn identity_at(&self, now: DateTime<Utc>) -> Option<&Identity> {
        (now <= self.ends).then_some(&self.identity)
    }

    /// Whether its holder should have a newer one by now.
    pub fn ends_soon(&self) -> bool {
        self.left_at(Utc::now()) < CERTIFICATE_TIME_MIN
    }

    pub fn left_at(&self, now: DateTime<Utc>) -> Duration {
        (self.ends - now).to_std().unwrap_or_default()
    }
}

/// `None` for a certificate without a usable common name.
pub(crate) fn identity_of(der: &[u8]) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    identity(der, &certificate)
}

fn identity(der: &[u8], certificate: &X509Certificate<'_>) -> Option<Identity> {
    let user = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    if user.is_empty() {
        return None;
    }
    let organizations = certificate.subject().iter_organization();
    let groups = organizations.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    let fingerprint: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let extra = vec![(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")])];
    let uid = pki::uid_of(certificate).unwrap_or_default().to_owned();
    Some(with_authenticated(Identity { user, uid, groups, extra, ..Identity::default() }))
}

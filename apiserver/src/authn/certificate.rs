//! Identity from a client certificate that TLS has verified: the common name is the user, organizations are groups, and an attribute
//! of its own is the uid.

use sha2::{Digest as _, Sha256};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{CREDENTIAL_ID, with_authenticated};
use crate::{pki, request::Identity};

/// `None` for a certificate without a usable common name: its bearer is anonymous.
pub(crate) fn identity_of(der: &[u8]) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let user = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    if user.is_empty() {
        return None;
    }
    let organizations = certificate.subject().iter_organization();
    let groups = organizations.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    let fingerprint: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let extra = vec![(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")])];
    let uid = pki::uid_of(&certificate).unwrap_or_default().to_owned();
    Some(with_authenticated(Identity { user, uid, groups, extra, ..Identity::default() }))
}

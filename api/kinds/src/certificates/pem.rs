//! Certificates and requests in base64 of PEM of DER: whether they are what they should be, in Kubernetes' words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A request, signed with the key that it is about.
pub fn request(base64: &str) -> Result<(), String> {
    with_request(base64, |request| {
        request.verify_signature().map_err(|error| format!("the signature of the request is not valid: {error}"))
    })
}

/// The organizations of a request's subject, which become groups.
pub fn organizations(base64: &str) -> Result<Vec<String>, String> {
    with_request(base64, |request| {
        let names = request.certification_request_info.subject.iter_organization();
        Ok(names.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect())
    })
}

/// The one common name of a request's subject, which becomes the user; empty if there is none.
pub fn common_name(base64: &str) -> Result<String, String> {
    with_request(base64, |request| {
        let mut names = request.certification_request_info.subject.iter_common_name();
        let name = names.next().map(|name| name.as_str().map(str::to_owned)).transpose();
        match names.next() {
            None => Ok(name.map_err(|error| error.to_string())?.unwrap_or_default()),
            Some(_) => Err("subject has more than one common name".to_owned()),
        }
    })
}

fn with_request<T>(
    base64: &str,
    and: impl FnOnce(&X509CertificationRequest<'_>) -> Result<T, String>,
) -> Result<T, String> {
    const WRONG: &str = "PEM block type must be CERTIFICATE REQUEST";
    let text = decoded(base64);
    let block = Pem::iter_from_buffer(&text).next().and_then(Result::ok).ok_or(WRONG)?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(WRONG.to_owned());
    }
    let (_, request) = X509CertificationRequest::from_der(&block.contents)
        .map_err(|error| format!("the PEM block is no certificate request: {error}"))?;
    and(&request)
}

/// One or more certificates, and nothing else.
pub fn certificates(base64: &str) -> Result<(), String> {
    let text = decoded(base64);
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(&text).filter_map(Result::ok) {
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        X509Certificate::from_der(&block.contents)
            .map_err(|error| format!("the PEM block is no certificate: {error}"))?;
        blocks += 1;
    }
    if blocks == 0 {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    Ok(())
}

/// The schema has checked that it is base64.
fn decoded(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap_or_default()
}

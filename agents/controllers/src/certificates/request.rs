//! What a certificate request (PKCS#10) says, as far as signers judge it.

use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    pem::Pem,
    prelude::FromDer as _,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub common_name: String,
    pub organizations: Vec<String>,
    /// How many names of each kind it wants to be known under besides.
    pub dns: usize,
    pub ips: usize,
    pub emails: usize,
    pub uris: usize,
}

impl Request {
    /// Reads PEM. One with several common names is refused: readers take different ones for the user.
    pub fn read(pem: &[u8]) -> Result<Self, String> {
        let block = Pem::iter_from_buffer(pem).next().and_then(Result::ok);
        let block = block.filter(|block| block.label == "CERTIFICATE REQUEST");
        let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
        let (_, parsed) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
        let subject = &parsed.certification_request_info.subject;
        let mut request = Request::default();
        let mut names = subject.iter_common_name();
        if let Some(name) = names.next() {
            name.as_str().map_err(|error| error.to_string())?.clone_into(&mut request.common_name);
        }
        if names.next().is_some() {
            return Err("subject has more than one common name".to_owned());
        }
        for name in subject.iter_organization() {
            request.organizations.push(name.as_str().map_err(|error| error.to_string())?.to_owned());
        }
        for extension in parsed.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(alternatives) = extension else { continue };
            for name in &alternatives.general_names {
                match name {
                    GeneralName::DNSName(_) => request.dns += 1,
                    GeneralName::IPAddress(_) => request.ips += 1,
                    GeneralName::RFC822Name(_) => request.emails += 1,
                    GeneralName::URI(_) => request.uris += 1,
                    // No signer puts the others into a certificate.
                    _ => {}
                }
            }
        }
        Ok(request)
    }
}

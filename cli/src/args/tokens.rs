//! Flags of service account tokens. Names and meaning are kube-apiserver's.

use std::path::PathBuf;

use clap::Args;

/// Keys of service account tokens besides the cluster's own, who issues them, and for whom they are.
#[derive(Args, Clone, Default)]
pub struct ServiceAccountTokens {
    /// PEM file of keys, public or private, RSA or elliptic, whose signatures of service account tokens count too; may be given several times
    #[arg(long = "service-account-key-file", value_name = "FILE")]
    pub verify: Vec<PathBuf>,

    /// PEM file of the key that signs service account tokens from now on: RSA, or ECDSA on P-256 or P-384; the cluster's own counts as before
    #[arg(long = "service-account-signing-key-file", value_name = "FILE")]
    pub sign: Option<PathBuf>,

    /// Issuer of service account tokens; may be given several times: the first one's name is in new tokens, tokens of all count [default:
    /// https://kubernetes.default.svc]
    #[arg(long = "service-account-issuer", value_name = "NAME")]
    pub issuers: Vec<String>,

    /// Where the discovery document says that the keys of service account tokens are [default: this server's own endpoint]
    #[arg(long = "service-account-jwks-uri", value_name = "URL")]
    pub keys_uri: Option<String>,

    /// Audiences that this server answers to; a token whose request names none gets these [default: the issuers]
    #[arg(long = "api-audiences", value_name = "NAMES", value_delimiter = ',')]
    pub audiences: Vec<String>,
}

impl ServiceAccountTokens {
    pub fn configure(&self, config: &mut kontiki_apiserver::Config) {
        config.token_key_files.clone_from(&self.verify);
        config.token_signing_key_file.clone_from(&self.sign);
        config.token_keys_uri.clone_from(&self.keys_uri);
        if !self.issuers.is_empty() {
            config.token_issuers.clone_from(&self.issuers);
        }
        config.token_audiences.clone_from(if self.audiences.is_empty() {
            &config.token_issuers
        } else {
            &self.audiences
        });
    }
}

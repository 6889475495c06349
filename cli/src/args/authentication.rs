//! Flags of who is believed besides the cluster itself. Names and meaning are kube-apiserver's.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Clone, Default)]
pub struct Authentication {
    /// Believe the issuers of tokens that this AuthenticationConfiguration (apiserver.config.k8s.io/v1) names, and let anonymous
    /// requests in where it says; a changed file counts without a restart. Not together with --oidc-… flags
    #[arg(id = "authentication_config", long = "authentication-config", value_name = "FILE", conflicts_with_all = ["oidc_issuer_url", "oidc_client_id"])]
    pub config: Option<PathBuf>,

    /// Believe tokens of this OpenID Connect issuer
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,

    /// Audience that its tokens must name
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    pub oidc_client_id: Option<String>,

    /// Claim that is the user's name [default: sub]
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    pub oidc_username_claim: Option<String>,

    /// Put before the name; `-` for nothing [default: the issuer's URL and #, unless the claim is email]
    #[arg(long, value_name = "PREFIX", requires = "oidc_issuer_url", allow_hyphen_values = true)]
    pub oidc_username_prefix: Option<String>,

    /// Claim that lists the user's groups
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    pub oidc_groups_claim: Option<String>,

    /// Put before each group. Without one, the issuer says who is in system:masters
    #[arg(long, value_name = "PREFIX", requires = "oidc_groups_claim")]
    pub oidc_groups_prefix: Option<String>,

    /// Claim that a token must have, with this value; may be given several times
    #[arg(long, value_name = "CLAIM=VALUE", value_delimiter = ',', requires = "oidc_issuer_url")]
    pub oidc_required_claim: Vec<String>,

    /// How tokens may be signed [default: RS256]
    #[arg(long, value_name = "ALGORITHMS", value_delimiter = ',', requires = "oidc_issuer_url")]
    pub oidc_signing_algs: Vec<String>,

    /// Certificates in PEM that vouch for the issuer; if absent, those that the system trusts
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    pub oidc_ca_file: Option<PathBuf>,
}

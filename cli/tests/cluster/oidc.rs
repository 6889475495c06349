//! People whom an issuer outside of the cluster vouches for, with kubectl: by a token, by a program that brings one, and no longer.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    harness::{succeed, text, wait},
    issuer::Issuer,
    servers::Servers,
};

const SERVER: &str = "one";

/// One server that believes one issuer.
struct Trusting {
    servers: Servers,
    issuer: Issuer,
    /// Where the issuer answers.
    _runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Trusting {
    /// Starts both; what the server is started with is made of the issuer and of a folder for files.
    fn start(flags: impl FnOnce(&Issuer, &std::path::Path) -> Vec<String>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let issuer = runtime.block_on(Issuer::start());
        let dir = tempfile::tempdir().unwrap();
        let flags = flags(&issuer, dir.path());
        let mut servers = Servers::prepare(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        servers.begin(&[SERVER]);
        Trusting { servers, issuer, _runtime: runtime, _dir: dir }
    }

    fn administrator(&self, arguments: &[&str]) -> String {
        succeed(&mut self.servers.kubectl(SERVER, arguments))
    }

    /// kubectl that knows nothing but where the cluster is and who vouches for it.
    fn anybody(&self) -> Command {
        let mut kubectl = Command::new("kubectl");
        kubectl.env("HOME", self.servers.dir.path()).env_remove("KUBECONFIG").current_dir(self.servers.dir.path());
        let authority = self.servers.data(SERVER).join("pki/ca.crt");
        kubectl.arg("--server").arg(format!("https://{}", self.servers.address(SERVER)));
        kubectl.arg("--certificate-authority").arg(authority);
        kubectl
    }

    fn with_token(&self, token: &str, arguments: &[&str]) -> Result<String, String> {
        let output = self.anybody().arg("--token").arg(token).args(arguments).output().unwrap();
        if output.status.success() { Ok(text(&output)) } else { Err(text(&output)) }
    }
}

fn forbidden(user: &str) -> Result<String, String> {
    Err(format!(
        "Error from server (Forbidden): pods is forbidden: User {user:?} cannot list resource \"pods\" in API group \"\" in the \
         namespace \"default\"\n"
    ))
}

const UNAUTHORIZED: &str = "error: You must be logged in to the server (Unauthorized)\n";
const PODS: &[&str] = &["get", "pods"];

#[test]
fn holders_of_an_issuers_tokens_are_who_it_says_and_may_what_they_are_given() {
    let cluster = Trusting::start(|issuer, dir| {
        let authority = dir.join("issuer.crt");
        fs::write(&authority, &issuer.authority).unwrap();
        let authority = authority.to_str().unwrap();
        let flags = [
            ["--oidc-issuer-url", &issuer.url],
            ["--oidc-client-id", "kubernetes"],
            ["--oidc-groups-claim", "groups"],
            ["--oidc-groups-prefix", "idp:"],
            ["--oidc-ca-file", authority],
        ];
        flags.concat().into_iter().map(str::to_owned).collect()
    });
    let issuer = &cluster.issuer;
    let jane = format!("{}#jane", issuer.url);
    let developer = issuer.token(json!({"groups": ["dev", "system:masters"]}));
    assert_eq!(cluster.with_token(&developer, PODS), forbidden(&jane));
    cluster.administrator(&["create", "clusterrolebinding", "devs", "--clusterrole=view", "--group=idp:dev"]);
    assert_eq!(cluster.with_token(&developer, PODS).unwrap(), "No resources found in default namespace.\n");
    assert_eq!(cluster.with_token(&issuer.token(json!({})), PODS), forbidden(&jane));
    let secrets = cluster.with_token(&developer, &["get", "secrets"]).unwrap_err();
    assert!(secrets.contains("secrets is forbidden"), "{secrets}");

    let now = chrono::Utc::now().timestamp();
    let expired = issuer.token(json!({"groups": ["dev"], "exp": now - 60}));
    let of_another = issuer.token(json!({"groups": ["dev"], "aud": "another"}));
    let unsigned = issuer.signed("none", None, &issuer.claims(json!({"groups": ["dev"]})));
    for token in [&expired, &of_another, &unsigned] {
        assert_eq!(cluster.with_token(token, PODS), Err(UNAUTHORIZED.to_owned()));
    }

    // As people have it: a program that brings a token when kubectl wants one.
    let file = cluster.servers.dir.path().join("people.json");
    let kubeconfig = brought(&cluster.servers, &developer);
    fs::write(&file, kubeconfig.to_string()).unwrap();
    let mut kubectl = cluster.anybody();
    assert_eq!(succeed(kubectl.arg("--kubeconfig").arg(&file).args(["auth", "can-i", "list", "pods"])), "yes\n");
}

/// A kubeconfig whose user has a program that prints a token.
fn brought(servers: &Servers, token: &str) -> Value {
    let credential = servers.dir.path().join("credential.json");
    // The one version that kubectl 1.20 knows too.
    let version = "client.authentication.k8s.io/v1beta1";
    let told = json!({"apiVersion": version, "kind": "ExecCredential", "status": {"token": token}});
    fs::write(&credential, told.to_string()).unwrap();
    let exec = json!({"apiVersion": version, "command": "cat", "args": [credential]});
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "people",
        "users": [{"name": "jane", "user": {"exec": exec}}],
        "contexts": [{"name": "people", "context": {"cluster": "", "user": "jane"}}],
    })
}

#[test]
fn who_is_believed_is_a_file_that_may_change_while_the_server_runs() {
    let mut configured = None;
    let cluster = Trusting::start(|issuer, dir| {
        let file = dir.join("authentication.json");
        fs::write(&file, believed(issuer, "claims.email_verified").to_string()).unwrap();
        configured = Some(file.clone());
        vec!["--authentication-config".to_owned(), file.to_str().unwrap().to_owned()]
    });
    let (issuer, file) = (&cluster.issuer, configured.unwrap());
    let person = |verified: bool| {
        let claims = json!({"email": "jane@example.com", "email_verified": verified, "teams": "red,blue"});
        cluster.with_token(&issuer.token(claims), PODS)
    };
    assert_eq!(person(true), forbidden("idp:jane@example.com"));
    assert_eq!(person(false), Err(UNAUTHORIZED.to_owned()));
    cluster.administrator(&["create", "rolebinding", "blue", "--clusterrole=view", "--group=team:blue"]);
    assert!(person(true).is_ok());

    fs::write(&file, believed(issuer, "false").to_string()).unwrap();
    wait("nobody to be believed any more", || match person(true) {
        Err(said) if said == UNAUTHORIZED => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // What it cannot read changes nothing.
    fs::write(&file, "nonsense").unwrap();
    wait("the server to say so", || {
        let log = cluster.servers.log(SERVER);
        if log.contains("cannot be used; the one before stays") { Ok(()) } else { Err(log) }
    });
    assert_eq!(person(true), Err(UNAUTHORIZED.to_owned()));
    fs::write(&file, believed(issuer, "true").to_string()).unwrap();
    wait("people to be believed again", || person(false).map(drop));
}

/// One issuer: people are their addresses, and of the teams they name; `rule` says who is let in.
fn believed(issuer: &Issuer, rule: &str) -> Value {
    let url = json!({"url": issuer.url, "certificateAuthority": issuer.authority, "audiences": ["kubernetes"]});
    let mappings = json!({
        "username": {"expression": "'idp:' + claims.email"},
        "groups": {"expression": "claims.teams.split(',').map(team, 'team:' + team)"},
    });
    // An address counts where its verification is looked at.
    let rule = format!("({rule}) && claims.email_verified in [true, false]");
    let rules = json!([{"expression": rule, "message": "not let in"}]);
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [{"issuer": url, "claimMappings": mappings, "claimValidationRules": rules}],
    })
}

#![allow(clippy::unwrap_used)]
use http::StatusCode;
use kontiki_raft::{Log, LogConfig};

use super::*;
use crate::Config;
use crate::authn::MASTERS;

async fn core(dir: &tempfile::TempDir) -> Arc<Core> {
    let log = Log::open(LogConfig::new(dir.path().join("log"))).await.unwrap();
    let config = Config::new("127.0.0.1:0".parse().unwrap(), "127.0.0.1".parse().unwrap(), dir.path().join("pki"));
    let core = Core::open(config, log).unwrap();
    core.set_caught_up();
    core
}

fn get(path: &str, query: &str) -> Incoming {
    let identity = Identity { user: "tester".to_owned(), groups: vec![MASTERS.to_owned()], ..Identity::default() };
    Incoming {
        method: Method::GET,
        path: path.to_owned(),
        raw_query: query.to_owned(),
        headers: HeaderMap::new(),
        body: None,
        upgrade: None,
        caller: Caller::InProcess(Arc::new(identity)),
    }
}

#[tokio::test]
async fn watches_beyond_their_bound_are_told_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let handler = Handler { long: Arc::new(Semaphore::new(1)), ..Handler::new(core(&dir).await) };
    let watch = || handler.answer(get("/api/v1/configmaps", "watch=true"));
    let first = watch().await;
    assert_eq!(first.status(), StatusCode::OK);
    let refused = watch().await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    let list = handler.answer(get("/api/v1/configmaps", "")).await;
    assert_eq!(list.status(), StatusCode::OK, "others have their own bound");
    drop(first);
    assert_eq!(watch().await.status(), StatusCode::OK, "whoever goes makes room");
}

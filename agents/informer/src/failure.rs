//! How a failed request is told to users, in events and conditions, and a watch that broke off to operators, in the log.

use kube::runtime::watcher;

/// What the API said, in its own words; of a request that got no answer, why.
pub fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Why a watch broke off, likewise.
pub fn interruption(error: &watcher::Error) -> String {
    match (cause(error), error) {
        (Some(error), _) => message(error),
        (None, watcher::Error::WatchError(status)) => status.message.clone(),
        (None, error) => error.to_string(),
    }
}

/// Whether a watch broke off because nobody serves the resource: its definition is gone, or its group's server is.
pub fn is_unserved(error: &watcher::Error) -> bool {
    match (cause(error), error) {
        (Some(kube::Error::Api(status)), _) => status.code == 404,
        (_, watcher::Error::WatchError(status)) => status.code == 404,
        _ => false,
    }
}

fn cause(error: &watcher::Error) -> Option<&kube::Error> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Some(error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => None,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_apis_words() {
        let words = "pods \"web-x7k2p\" is forbidden: exceeded quota: q1";
        let refusal = kube::Error::Api(Status::failure(words, "Forbidden").with_code(403).boxed());
        assert_eq!(message(&refusal), words);
        let broken = watcher::Error::InitialListFailed(refusal);
        assert_eq!((interruption(&broken).as_str(), is_unserved(&broken)), (words, false));

        let gone = Status::failure("404 page not found", "Failed to parse error data").with_code(404);
        let gone = watcher::Error::WatchStartFailed(kube::Error::Api(gone.boxed()));
        assert_eq!((interruption(&gone).as_str(), is_unserved(&gone)), ("404 page not found", true));
    }
}

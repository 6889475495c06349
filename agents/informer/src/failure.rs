//! How a failed request is told to users, in events and conditions.

/// What the API said, in its own words; of a request that got no answer, why.
pub fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
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
    }
}

//! Who is asked a second time. What changes an object late may be what somebody asked earlier would have changed further, so
//! after any change all are asked once more: everything built in, and of the webhooks those that said so. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::rest::ownership;

/// The rounds of one write's mutating admission.
#[derive(Debug, Default)]
pub(crate) struct Reinvocation {
    /// This is the second round.
    second: bool,
    /// Something was changed by somebody who may be followed by others.
    wanted: bool,
    /// Asked before anything changed, and willing to be asked again.
    before: BTreeSet<String>,
    /// To be asked again.
    due: BTreeSet<String>,
    /// The object as the webhooks left it.
    left: Option<Value>,
    /// What `managedFields` said before the first change.
    said: Option<Option<Value>>,
}

impl Reinvocation {
    /// Begins the second round, if there is to be one.
    pub fn again(&mut self) -> bool {
        let begins = self.wanted && !self.second;
        self.second |= begins;
        begins
    }

    /// 0, then 1.
    pub fn number(&self) -> u8 {
        u8::from(self.second)
    }

    /// Somebody made another object of this one.
    pub fn replaced(&mut self, before: &Value) {
        self.said.get_or_insert_with(|| ownership::said(before));
        self.changed();
    }

    /// What `managedFields` said before anybody changed the object, if somebody did.
    pub fn said(&mut self) -> Option<Option<Value>> {
        self.said.take()
    }

    /// Somebody had something changed.
    pub fn changed(&mut self) {
        self.wanted = true;
        self.due.append(&mut self.before);
    }

    pub fn begin_webhooks(&mut self, object: Option<&Value>) {
        if self.second && self.left.as_ref() != object {
            self.due.append(&mut self.before);
        }
    }

    pub fn end_webhooks(&mut self, object: Option<&Value>) {
        // Only a second round looks at it.
        self.left = object.filter(|_| self.wanted && !self.second).cloned();
    }

    /// Whether a webhook that is concerned is asked in this round.
    pub fn asks(&self, webhook: &str) -> bool {
        !self.second || self.due.contains(webhook)
    }

    /// A webhook that is willing to be asked again was asked.
    pub fn asked(&mut self, webhook: &str) {
        self.before.insert(webhook.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// One round of webhooks that are all willing, of which some change the object; those that were asked.
    fn round(state: &mut Reinvocation, object: &Value, changing: &[&str]) -> Vec<&'static str> {
        let mut asked = Vec::new();
        state.begin_webhooks(Some(object));
        for webhook in ["a", "b", "c"] {
            if !state.asks(webhook) {
                continue;
            }
            asked.push(webhook);
            if changing.contains(&webhook) {
                state.changed();
            }
            state.asked(webhook);
        }
        state.end_webhooks(Some(object));
        asked
    }

    #[test]
    fn those_before_a_change_are_asked_again() {
        let object = json!({"a": 1});
        for (changing, again) in
            [(&["b"][..], Some(vec!["a"])), (&["c"], Some(vec!["a", "b"])), (&[], None), (&["a"], Some(vec![]))]
        {
            let mut state = Reinvocation::default();
            assert_eq!(round(&mut state, &object, changing), ["a", "b", "c"]);
            let second = state.again().then(|| round(&mut state, &object, &["c"]));
            assert_eq!(second, again, "{changing:?}");
            assert!(!state.again(), "there is no third round");
        }
    }

    #[test]
    fn what_others_change_between_the_rounds_counts_as_a_change() {
        let mut state = Reinvocation::default();
        assert_eq!(round(&mut state, &json!({"a": 1}), &["a"]), ["a", "b", "c"]);
        assert!(state.again());
        assert_eq!(round(&mut state, &json!({"a": 2}), &[]), ["a", "b", "c"]);
    }
}

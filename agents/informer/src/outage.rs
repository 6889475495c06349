//! What fails again and again is told when it begins and when it is over, not each time.

use tracing::{debug, info, warn};

/// Of one thing that is tried until it works.
#[derive(Debug)]
pub struct Outage {
    what: &'static str,
    subject: String,
    failing: bool,
}

impl Outage {
    /// `what` is what the log says while it fails, `subject` whose affair it is.
    pub fn new(what: &'static str, subject: impl Into<String>) -> Outage {
        Outage { what, subject: subject.into(), failing: false }
    }

    pub fn failed(&mut self, error: &dyn std::fmt::Display) {
        let Outage { what, subject, failing } = self;
        if std::mem::replace(failing, true) {
            debug!(subject, %error, "{what}");
        } else {
            warn!(subject, %error, "{what}");
        }
    }

    pub fn over(&mut self) {
        if std::mem::take(&mut self.failing) {
            info!(subject = self.subject, "no longer: {}", self.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{Event, Level, Metadata, Subscriber, span};

    use super::*;

    /// Notes the levels of what is logged.
    #[derive(Clone, Default)]
    struct Levels(Arc<Mutex<Vec<Level>>>);

    impl Subscriber for Levels {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn only_the_beginning_and_the_end_are_told() {
        let levels = Levels::default();
        tracing::subscriber::with_default(levels.clone(), || {
            let mut outage = Outage::new("cannot", "x");
            outage.over();
            (0..3).for_each(|_| outage.failed(&"no"));
            (0..2).for_each(|_| outage.over());
            outage.failed(&"no");
        });
        let told: Vec<Level> = levels.0.lock().unwrap().iter().copied().filter(|level| *level < Level::DEBUG).collect();
        assert_eq!(told, [Level::WARN, Level::INFO, Level::WARN]);
    }
}

//! What fails again and again is told when it begins, when its reason is another one, and when it is over: not each time.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

/// Another reason is told no sooner again: two that take turns are not told each time.
const TOLD_INTERVAL: Duration = Duration::from_secs(10);

/// Of one thing that is tried until it works.
#[derive(Debug)]
pub struct Outage {
    what: &'static str,
    subject: String,
    /// Why it fails, and when that was told.
    told: Option<(String, Instant)>,
}

impl Outage {
    /// `what` is what the log says while it fails, `subject` whose affair it is.
    pub fn new(what: &'static str, subject: impl Into<String>) -> Outage {
        Outage { what, subject: subject.into(), told: None }
    }

    pub fn failed(&mut self, error: &dyn std::fmt::Display) {
        let Outage { what, subject, told } = self;
        let error = error.to_string();
        let is_news = told.as_ref().is_none_or(|(why, at)| *why != error && at.elapsed() >= TOLD_INTERVAL);
        if is_news {
            warn!(subject, error, "{what}");
            *told = Some((error, Instant::now()));
        } else {
            debug!(subject, error, "{what}");
        }
    }

    pub fn over(&mut self) {
        if self.told.take().is_some() {
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

    #[tokio::test(start_paused = true)]
    async fn the_beginning_another_reason_and_the_end_are_told() {
        let levels = Levels::default();
        let _told_here = tracing::subscriber::set_default(levels.clone());
        let told = || {
            let levels = std::mem::take(&mut *levels.0.lock().unwrap());
            levels.into_iter().filter(|level| *level < Level::DEBUG).collect::<Vec<_>>()
        };
        let mut outage = Outage::new("cannot", "x");
        outage.over();
        ["no", "no", "never", "no"].iter().for_each(|why| outage.failed(why));
        assert_eq!(told(), [Level::WARN]);
        tokio::time::advance(TOLD_INTERVAL).await;
        ["no", "never", "no"].iter().for_each(|why| outage.failed(why));
        assert_eq!(told(), [Level::WARN], "refused is another thing than gone");
        (0..2).for_each(|_| outage.over());
        outage.failed(&"no");
        assert_eq!(told(), [Level::INFO, Level::WARN]);
    }
}

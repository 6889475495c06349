//! What the API server has said of tokens, kept for as long as that counts, so that it is not asked at each scrape. Whoever shows
//! tokens that are not known yet waits for nobody: only so many are asked about at a time.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kontiki_informer::Outage;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    access::Verdict,
    backend::Backend,
    failure::{self, Refused},
    limits::{REVIEWS_MAX, TOKEN_BYTES_MAX, VERDICT_ALLOWED_TTL, VERDICT_REFUSED_TTL, VERDICTS_MAX},
};

pub struct Verdicts {
    known: Mutex<Known>,
    places: Semaphore,
    outage: Mutex<Outage>,
}

impl Verdicts {
    pub fn new(node: &str) -> Verdicts {
        let outage = Outage::new("the API server does not say whose a token is", node);
        Verdicts { known: Mutex::default(), places: Semaphore::new(REVIEWS_MAX), outage: Mutex::new(outage) }
    }

    /// What the API server says, or has said not long ago, of the token.
    pub async fn of(&self, backend: &dyn Backend, token: &str, subresource: &'static str) -> Result<Verdict, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(failure::unauthorized());
        }
        let question = (token.to_owned(), subresource);
        if let Some(verdict) = lock(&self.known).get(&question, Instant::now()) {
            return Ok(verdict);
        }
        let Ok(_place) = self.places.try_acquire() else { return Err(failure::too_many_reviews()) };
        match backend.review(token, subresource).await {
            Ok(verdict) => {
                lock(&self.outage).over();
                lock(&self.known).put(question, verdict.clone(), Instant::now());
                Ok(verdict)
            }
            Err(error) => {
                lock(&self.outage).failed(&error);
                Err(failure::unauthorized())
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A token and the subresource of the node.
type Question = (String, &'static str);

/// Verdicts with the time until which they count.
#[derive(Default)]
struct Known(HashMap<Question, (Verdict, Instant)>);

impl Known {
    fn get(&self, question: &Question, now: Instant) -> Option<Verdict> {
        self.0.get(question).filter(|(_, until)| *until > now).map(|(verdict, _)| verdict.clone())
    }

    fn put(&mut self, question: Question, verdict: Verdict, now: Instant) {
        self.0.retain(|_, (_, until)| *until > now);
        // Those that count for the shortest time go first: whoever tries tokens pushes out no one that is let in.
        if self.0.len() >= VERDICTS_MAX
            && let Some(first) =
                self.0.iter().min_by_key(|(_, (_, until))| *until).map(|(question, _)| question.clone())
        {
            self.0.remove(&first);
        }
        let lasts = match verdict {
            Verdict::Allowed => VERDICT_ALLOWED_TTL,
            Verdict::Refused { .. } | Verdict::Unknown => VERDICT_REFUSED_TTL,
        };
        self.0.insert(question, (verdict, now + lasts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_counts_for_its_time() {
        let (mut known, now) = (Known::default(), Instant::now());
        let question = |token: &str| (token.to_owned(), "metrics");
        let refused = || Verdict::Refused { user: "somebody".to_owned() };
        known.put(question("reader"), Verdict::Allowed, now);
        known.put(question("somebody"), refused(), now);
        known.put(question("forged"), Verdict::Unknown, now);
        for (token, after, expected) in [
            ("reader", VERDICT_REFUSED_TTL, Some(Verdict::Allowed)),
            ("reader", VERDICT_ALLOWED_TTL, None),
            ("somebody", VERDICT_REFUSED_TTL / 2, Some(refused())),
            ("somebody", VERDICT_REFUSED_TTL, None),
            ("forged", VERDICT_REFUSED_TTL / 2, Some(Verdict::Unknown)),
            ("forged", VERDICT_REFUSED_TTL, None),
            ("other", VERDICT_REFUSED_TTL / 2, None),
        ] {
            assert_eq!(known.get(&question(token), now + after), expected, "{token} after {after:?}");
        }
        assert_eq!(known.get(&("reader".to_owned(), "stats"), now), None, "another subresource is another question");
    }

    #[test]
    fn tokens_that_are_tried_push_out_nobody_who_is_let_in() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.put(("reader".to_owned(), "metrics"), Verdict::Allowed, now);
        for number in 0..2 * VERDICTS_MAX {
            known.put((number.to_string(), "metrics"), Verdict::Unknown, now);
        }
        assert_eq!(known.0.len(), VERDICTS_MAX);
        assert_eq!(known.get(&("reader".to_owned(), "metrics"), now), Some(Verdict::Allowed));
    }
}

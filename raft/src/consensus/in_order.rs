//! Work that is handed over in the order in which it was begun, and told of in that order.

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::task::coop::{Unconstrained, unconstrained};

/// Futures whose first step is to send something to the same queue, one with room for all of them.
///
/// They take their first step in the order of [`InOrder::begin`]. Tokio's budget does not count for them: a step that it puts off
/// comes after those of later ones.
pub struct InOrder<F: Future>(FuturesOrdered<Unconstrained<F>>);

impl<F: Future> Default for InOrder<F> {
    fn default() -> Self {
        InOrder(FuturesOrdered::new())
    }
}

impl<F: Future> InOrder<F> {
    /// Its first step is taken by [`InOrder::next`].
    pub fn begin(&mut self, work: F) {
        self.0.push_back(unconstrained(work));
    }

    /// What the oldest came to; at once `None` if there is none. Cancel safe.
    pub async fn next(&mut self) -> Option<F::Output> {
        self.0.next().await
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::task::coop::{consume_budget, has_budget_remaining};
    use tokio::task::yield_now;

    use super::*;

    const WORKS: usize = 4;

    #[tokio::test]
    async fn a_task_that_has_used_up_its_budget_keeps_the_order() {
        for left in 0..2 * WORKS {
            // A fresh budget, of which so much is left.
            yield_now().await;
            let mut budget = 0;
            while has_budget_remaining() {
                consume_budget().await;
                budget += 1;
            }
            yield_now().await;
            for _ in left..budget {
                consume_budget().await;
            }
            let (sent, mut received) = mpsc::channel(WORKS);
            let mut works = InOrder::default();
            for number in 0..WORKS {
                let sent = sent.clone();
                works.begin(async move { sent.send(number).await.map(|()| number) });
            }
            let mut told = Vec::new();
            while let Some(number) = works.next().await {
                told.push(number.ok());
            }
            let order: Vec<_> = std::iter::from_fn(|| received.try_recv().ok()).collect();
            assert_eq!(order, Vec::from_iter(0..WORKS), "{left} left of {budget}");
            assert_eq!(told, Vec::from_iter((0..WORKS).map(Some)));
        }
    }
}

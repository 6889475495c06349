//! Shuffle sharding: a flow gets a hand of queues, always the same, and hardly any two flows get the same one. A flow that fills
//! its queues leaves nearly everybody a queue that it has not filled.

/// Deals so many different queues out of a deck, by a hash that holds enough bits for it.
pub(super) fn deal(mut hash: u64, deck: u32, hand: u32) -> Vec<u32> {
    let mut dealt: Vec<u32> = Vec::with_capacity(hand as usize);
    for left in (1..=u64::from(deck)).rev().take(hand as usize) {
        // The `n`th of those that are left.
        let mut queue = (hash % left) as u32;
        hash /= left;
        let mut sorted = dealt.clone();
        sorted.sort_unstable();
        for taken in sorted {
            if queue >= taken {
                queue += 1;
            }
        }
        dealt.push(queue);
    }
    dealt
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hands_are_dealt_from_what_is_left() {
        let table: &[(u64, u32, u32, &[u32])] = &[
            (0, 8, 3, &[0, 1, 2]),
            (7, 8, 3, &[7, 0, 1]),
            (7 + 8 * 6 + 56 * 5, 8, 3, &[7, 6, 5]),
            (3 + 8 * 3, 8, 2, &[3, 4]),
            (5, 1, 1, &[0]),
            (u64::MAX, 4, 4, &[3, 0, 2, 1]),
        ];
        for (hash, deck, hand, expected) in table {
            assert_eq!(deal(*hash, *deck, *hand), *expected, "{hash} of {deck}");
        }
    }

    proptest! {
        #[test]
        fn a_hand_has_different_queues_of_the_deck(hash: u64, deck in 1u32..2000, hand in 1u32..7) {
            let hand = hand.min(deck);
            let dealt = deal(hash, deck, hand);
            prop_assert_eq!(dealt.len(), hand as usize);
            prop_assert!(dealt.iter().all(|queue| *queue < deck));
            prop_assert_eq!(dealt.iter().collect::<HashSet<_>>().len(), dealt.len());
        }
    }
}

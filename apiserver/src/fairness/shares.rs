//! How a server's seats are divided among its priority levels: what each has by right, and who gets what others do not use.
//! Follows KEP-1040, with its words.

use super::demand::Wanted;

/// What a priority level says about its part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub shares: u32,
    pub lendable_percent: u32,
    /// Absent: any number of seats may be borrowed.
    pub borrowing_limit_percent: Option<u32>,
}

/// Seats of a level: by right, when others borrow all that it lends, and when it borrows all that it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub nominal: u32,
    pub min: u32,
    pub max: u32,
}

/// A level at the moment of dividing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub bounds: Bounds,
    pub high: f64,
    pub smooth: f64,
}

/// By the shares alone.
pub(super) fn bounds(total: u32, shares: &[Share]) -> Vec<Bounds> {
    let sum: u64 = shares.iter().map(|one| u64::from(one.shares)).sum::<u64>().max(1);
    let one = |share: &Share| {
        let nominal = (u64::from(total) * u64::from(share.shares)).div_ceil(sum) as u32;
        let percent = |percent: u32| (f64::from(nominal) * f64::from(percent) / 100.0).round() as u32;
        Bounds {
            nominal,
            min: nominal - percent(share.lendable_percent).min(nominal),
            max: share.borrowing_limit_percent.map_or(total, |limit| nominal.saturating_add(percent(limit))),
        }
    };
    shares.iter().map(one).collect()
}

/// What a level wants over time: at once what it wants now, and then forgotten slowly.
pub(super) fn smooth(before: f64, wanted: Wanted, memory: f64) -> f64 {
    wanted.envelope.max(memory * before + (1.0 - memory) * wanted.envelope)
}

/// The seats of each level until they are divided again. `exempt` are in use by requests that nothing limits.
pub(super) fn divide(total: u32, exempt: f64, claims: &[Claim]) -> Vec<u32> {
    let left = (f64::from(total) - exempt).max(0.0);
    let lower = |claim: &Claim| f64::from(claim.bounds.min).max(f64::from(claim.bounds.nominal).min(claim.high));
    let at = |claim: &Claim, factor: f64| {
        let target = lower(claim).max(claim.smooth);
        (factor * target).max(lower(claim)).min(f64::from(claim.bounds.max).max(lower(claim)))
    };
    let sum = |factor: f64| -> f64 { claims.iter().map(|claim| at(claim, factor)).sum() };
    // The one factor by which what all want fits what there is. Every level keeps its lower bound in any case.
    let (mut low, mut high) = (0.0, 1.0);
    while sum(high) < left && high < f64::from(u32::MAX) {
        high *= 2.0;
    }
    for _ in 0..f64::MANTISSA_DIGITS {
        let middle = (low + high) / 2.0;
        if sum(middle) <= left { low = middle } else { high = middle }
    }
    claims.iter().map(|claim| at(claim, low).round() as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(shares: u32, lendable_percent: u32) -> Share {
        Share { shares, lendable_percent, borrowing_limit_percent: None }
    }

    fn claim(bounds: Bounds, wants: u32) -> Claim {
        Claim { bounds, high: f64::from(wants), smooth: f64::from(wants) }
    }

    #[test]
    fn shares_become_seats_as_in_kubernetes() {
        // The levels that every cluster has, of a server with Kubernetes' 600.
        let all = [
            share(0, 0),
            share(5, 0),
            share(30, 33),
            share(40, 25),
            share(10, 0),
            share(40, 50),
            share(100, 90),
            share(20, 50),
        ];
        let told: Vec<_> = bounds(600, &all).iter().map(|one| (one.nominal, one.min, one.max)).collect();
        let expected = [
            (0, 0, 600),
            (13, 13, 600),
            (74, 50, 600),
            (98, 73, 600),
            (25, 25, 600),
            (98, 49, 600),
            (245, 24, 600),
            (49, 24, 600),
        ];
        assert_eq!(told, expected);
        let limited = Share { borrowing_limit_percent: Some(50), ..share(1, 0) };
        assert_eq!(bounds(10, &[limited, share(4, 100)])[0], Bounds { nominal: 2, min: 2, max: 3 });
        assert_eq!(bounds(10, &[share(0, 0)])[0], Bounds { nominal: 0, min: 0, max: 10 }, "nobody has a share");
    }

    #[test]
    fn seats_that_nobody_wants_are_lent() {
        let [one, other, third] = bounds(90, &[share(1, 50), share(1, 50), share(1, 0)])[..] else { panic!() };
        let seats =
            |wants: [u32; 3]| divide(90, 0.0, &[claim(one, wants[0]), claim(other, wants[1]), claim(third, wants[2])]);
        assert_eq!(seats([1000, 0, 0]), [45, 15, 30], "the lender keeps half, and who lends nothing all");
        assert_eq!(seats([1000, 1000, 1000]), [30, 30, 30]);
        assert_eq!(seats([60, 20, 0]), [40, 20, 30], "what the other wants of its own is not taken");
        assert_eq!(seats([0, 0, 0]), [23, 23, 45]);
    }

    #[test]
    fn borrowing_has_a_limit_and_nobody_falls_below_what_it_keeps() {
        let limited = Bounds { nominal: 10, min: 10, max: 15 };
        let lender = Bounds { nominal: 90, min: 9, max: 100 };
        assert_eq!(divide(100, 0.0, &[claim(limited, 1000), claim(lender, 0)]), [15, 85]);
        assert_eq!(
            divide(100, 95.0, &[claim(limited, 1000), claim(lender, 1000)]),
            [10, 90],
            "the exempt take from nobody"
        );
        assert_eq!(divide(100, 60.0, &[claim(limited, 20), claim(lender, 0)]), [15, 25]);
        assert_eq!(divide(100, 0.0, &[claim(Bounds::default(), 0)]), [0]);
    }

    #[test]
    fn what_was_wanted_is_forgotten_slowly() {
        let wanted = |envelope: f64| Wanted { high: envelope, envelope };
        assert_eq!(smooth(0.0, wanted(50.0), 0.9), 50.0);
        assert_eq!(smooth(50.0, wanted(0.0), 0.9), 45.0);
        assert_eq!(smooth(50.0, wanted(40.0), 0.5), 45.0);
    }
}

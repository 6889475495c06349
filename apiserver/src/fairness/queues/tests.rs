#![allow(clippy::unwrap_used)]
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

const QUEUING: Queuing = Queuing { queues: 64, hand: 1, length: 1000 };

/// A level under test: time is a number of microseconds, whoever waits a number.
struct Bench {
    queues: FairQueues<u32>,
    began: Instant,
    now: u64,
}

impl Bench {
    fn new(seats: u32, queuing: Option<Queuing>) -> Self {
        let began = Instant::now();
        Bench { queues: FairQueues::new(seats, queuing, began), began, now: 0 }
    }

    fn at(&self) -> Instant {
        self.began + Duration::from_micros(self.now)
    }

    fn take(&mut self, width: u32) -> Option<Seats> {
        self.queues.take(self.at(), width)
    }

    fn wait(&mut self, flow: u64, width: u32, who: u32) -> Result<Ticket, Refusal> {
        self.queues.wait(self.at(), width, flow, who)
    }

    fn leave(&mut self, seats: Seats, later: u64) {
        self.now += later;
        self.queues.leave(self.at(), seats);
    }

    fn next(&mut self) -> Option<(Seats, u32)> {
        self.queues.next(self.at())
    }

    /// The order in which all who wait are seated, each leaving after so long.
    fn order(&mut self, lasting: u64) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some((seats, who)) = self.next() {
            order.push(who);
            self.leave(seats, lasting);
        }
        order
    }
}

#[test]
fn a_level_without_seats_holds_who_can_wait_until_it_has_one() {
    let mut bench = Bench::new(0, Some(QUEUING));
    assert_eq!(bench.take(1), None);
    bench.wait(1, 1, 7).unwrap();
    assert_eq!(bench.next(), None);
    bench.queues.set_seats(1);
    assert_eq!(bench.next().map(|(_, who)| who), Some(7));
    let mut bench = Bench::new(0, None);
    let alone = bench.take(1).unwrap();
    assert_eq!(bench.take(1), None);
    bench.leave(alone, 1);
    assert!(bench.take(1).is_some());
}

#[test]
fn seats_are_taken_until_there_is_none() {
    let mut bench = Bench::new(3, None);
    let one = bench.take(1).unwrap();
    let two = bench.take(2).unwrap();
    assert_eq!(bench.take(1), None);
    assert_eq!(bench.wait(0, 1, 7), Err(Refusal::NoSeat));
    bench.leave(one, 1);
    assert_eq!(bench.take(2), None, "one is not two");
    bench.leave(two, 1);
    let wide = bench.take(9).expect("what is wider than the level goes alone");
    assert_eq!(bench.take(1), None);
    bench.leave(wide, 1);
    assert!(bench.queues.figures().is_idle());
}

#[test]
fn flows_take_turns_however_many_each_asks() {
    let mut bench = Bench::new(1, Some(QUEUING));
    let seat = bench.take(1).unwrap();
    for who in 0..6 {
        bench.wait(1, 1, who).unwrap();
    }
    bench.wait(2, 1, 100).unwrap();
    bench.wait(2, 1, 101).unwrap();
    bench.wait(3, 1, 200).unwrap();
    assert_eq!(bench.take(1), None, "nobody overtakes who waits");
    bench.leave(seat, 10);
    assert_eq!(bench.order(3000), [0, 100, 200, 1, 101, 2, 3, 4, 5]);
    assert!(bench.queues.queues.is_empty(), "an idle level remembers nothing");
}

#[test]
fn who_uses_more_waits_longer() {
    let mut bench = Bench::new(4, Some(QUEUING));
    let seat = bench.take(4).unwrap();
    for who in 0..3 {
        bench.wait(1, 4, who).unwrap();
    }
    for who in 100..109 {
        bench.wait(2, 1, who).unwrap();
    }
    bench.leave(seat, 10);
    // Four narrow ones cost what a wide one does.
    let mut order = Vec::new();
    let mut seated = Vec::new();
    loop {
        while let Some((seats, who)) = bench.next() {
            order.push(who);
            seated.push(seats);
        }
        if seated.is_empty() {
            break;
        }
        bench.now += 3000;
        seated.drain(..).for_each(|seats| bench.leave(seats, 0));
    }
    assert_eq!(order, [0, 100, 101, 102, 103, 1, 104, 105, 106, 107, 2, 108]);

    // Long ones are charged when they end.
    let mut bench = Bench::new(1, Some(QUEUING));
    let seat = bench.take(1).unwrap();
    for who in 0..3 {
        bench.wait(1, 1, who).unwrap();
        bench.wait(2, 1, 100 + who).unwrap();
    }
    bench.leave(seat, 10);
    let mut order = Vec::new();
    while let Some((seats, who)) = bench.next() {
        order.push(who);
        bench.leave(seats, if who < 100 { 60_000 } else { 1000 });
    }
    assert_eq!(order, [0, 100, 101, 102, 1, 2]);
}

#[test]
fn queues_have_a_length_and_flows_a_hand() {
    let mut bench = Bench::new(1, Some(Queuing { queues: 8, hand: 2, length: 2 }));
    let seat = bench.take(1).unwrap();
    let filled: Vec<_> = (0..5).map(|who| bench.wait(3, 1, who).map(|ticket| ticket.queue)).collect();
    assert_eq!(filled, [Ok(3), Ok(0), Ok(3), Ok(0), Err(Refusal::QueueFull)]);
    assert!(bench.wait(4, 1, 10).is_ok(), "another flow has another queue in its hand");
    bench.leave(seat, 1);
    assert_eq!(bench.order(3000), [0, 1, 10, 2, 3]);
}

#[test]
fn who_gives_up_makes_room_for_those_behind() {
    let mut bench = Bench::new(2, Some(QUEUING));
    let (one, other) = (bench.take(1).unwrap(), bench.take(1).unwrap());
    let wide = bench.wait(1, 2, 0).unwrap();
    let behind = bench.wait(1, 1, 1).unwrap();
    bench.leave(one, 1);
    assert_eq!(bench.next(), None, "it is the wide one's turn");
    assert!(bench.queues.give_up(bench.at(), wide));
    assert!(!bench.queues.give_up(bench.at(), wide));
    let (seats, who) = bench.next().unwrap();
    assert_eq!(who, 1);
    assert!(!bench.queues.give_up(bench.at(), behind), "it is seated");
    bench.leave(seats, 1);
    bench.leave(other, 1);
    assert!(bench.queues.figures().is_idle());
    assert_eq!(bench.queues.demand.take(bench.at()).high, 5.0);
    assert_eq!(bench.queues.demand.take(bench.at()).high, 0.0, "nothing is counted as wanted any more");
}

#[test]
fn wide_requests_leave_room_for_narrow_ones() {
    let mut bench = Bench::new(8, Some(QUEUING));
    let (wide, _narrow) = (bench.take(4).unwrap(), bench.take(1).unwrap());
    assert_eq!(bench.take(4), None, "two seats are kept");
    for (flow, width, who) in [(1, 4, 0), (2, 1, 1), (2, 1, 2), (3, 1, 3)] {
        bench.wait(flow, width, who).unwrap();
    }
    let (_second, who) = bench.next().unwrap();
    assert_eq!(who, 1, "the wide one has its turn and no room");
    assert_eq!(bench.next(), None, "more would take what it waits for");
    bench.leave(wide, 1);
    let seated: Vec<_> = std::iter::from_fn(|| bench.next()).map(|(_, who)| who).collect();
    assert_eq!(seated, [0, 3, 2]);
}

#[test]
fn more_seats_let_more_in_and_fewer_send_nobody_away() {
    let mut bench = Bench::new(1, Some(QUEUING));
    let first = bench.take(1).unwrap();
    for who in 0..3 {
        bench.wait(who.into(), 1, who).unwrap();
    }
    bench.queues.set_seats(3);
    let (second, third) = (bench.next().unwrap().0, bench.next().unwrap().0);
    assert_eq!(bench.next(), None);
    bench.queues.set_seats(1);
    bench.leave(first, 1);
    bench.leave(second, 1);
    assert_eq!(bench.next(), None);
    bench.leave(third, 1);
    assert_eq!(bench.next().unwrap().1, 2);
}

/// A flow that always wants more: the width of its requests, and how long each lasts.
#[derive(Clone, Copy, Debug)]
struct Greedy {
    width: u32,
    lasting: u64,
    /// Requests that it has waiting at any time.
    depth: u32,
}

fn greedy(width: std::ops::Range<u32>) -> impl Strategy<Value = Greedy> {
    (width, 100u64..20_000, 1u32..20).prop_map(|(width, lasting, depth)| Greedy { width, lasting, depth })
}

/// One who sits: when it leaves, and what it holds.
struct Sitting {
    until: u64,
    number: u64,
    flow: usize,
    seats: Seats,
}

impl PartialEq for Sitting {
    fn eq(&self, other: &Self) -> bool {
        (self.until, self.number) == (other.until, other.number)
    }
}
impl Eq for Sitting {}
impl PartialOrd for Sitting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Sitting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.until, other.number).cmp(&(self.until, self.number))
    }
}

/// Runs flows that always want more until so many requests were seated; what each was given, in seats times time.
fn contend(seats: u32, flows: &[Greedy], requests: u64) -> Vec<u64> {
    let mut bench = Bench::new(seats, Some(QUEUING));
    let mut given = vec![0; flows.len()];
    let mut sitting = BinaryHeap::new();
    let ask = |bench: &mut Bench, flow: usize| {
        bench.wait(flow as u64, flows[flow].width, flow as u32).unwrap();
    };
    let door = bench.take(seats).unwrap();
    for (flow, greedy) in flows.iter().enumerate() {
        (0..greedy.depth).for_each(|_| ask(&mut bench, flow));
    }
    bench.leave(door, 0);
    let mut number = 0;
    while number < requests {
        while let Some((seats, flow)) = bench.next() {
            let (flow, now) = (flow as usize, bench.now);
            sitting.push(Sitting { until: now + flows[flow].lasting, number, flow, seats });
            number += 1;
            ask(&mut bench, flow);
        }
        let figures = bench.queues.figures();
        // Work conserving: seats stay empty only for the one whose turn it is, who needs more of them.
        let widest = flows.iter().map(|flow| flow.width).max().unwrap();
        let usable = if widest > 1 { seats - seats / NARROW_PART } else { seats };
        assert!(figures.executing > 0 && (figures.in_use + widest > usable || figures.waiting == 0), "{figures:?}");
        assert!(figures.in_use <= seats || figures.executing == 1);
        let Sitting { until, flow, seats, .. } = sitting.pop().unwrap();
        given[flow] += u64::from(flows[flow].width) * flows[flow].lasting;
        let later = until - bench.now;
        bench.leave(seats, later);
    }
    given
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever they ask for, and however much of it: flows that always want more are given the same, but for what the seats
    /// hold at one time. (Narrow ones among wide ones have the seats that are kept for them besides.)
    #[test]
    fn seats_are_shared_evenly(
        seats in 1u32..20,
        flows in prop_oneof![prop::collection::vec(greedy(1..2), 2..8), prop::collection::vec(greedy(2..5), 2..8)],
    ) {
        // Whoever keeps one request waiting is given less only if that is too little to fill his part.
        let flows: Vec<Greedy> = flows.into_iter().map(|flow| Greedy { depth: flow.depth + 20, ..flow }).collect();
        let given = contend(seats, &flows, 4000);
        let largest = flows.iter().map(|flow| u64::from(flow.width.max(seats)) * flow.lasting).max().unwrap();
        let (least, most) = (given.iter().min().unwrap(), given.iter().max().unwrap());
        prop_assert!(most - least <= 4 * largest, "{given:?} differ by more than {largest}");
    }

    /// Nobody starves: somebody new has at most one request of every other queue before him.
    #[test]
    fn a_newcomer_is_next_but_for_one_of_each(
        seats in 1u32..8, flows in prop::collection::vec(greedy(1..5), 1..8), rounds in 1usize..50, lasting in 100u64..20_000,
    ) {
        let mut bench = Bench::new(seats, Some(QUEUING));
        let door = bench.take(seats).unwrap();
        for (flow, greedy) in flows.iter().enumerate() {
            for _ in 0..200 {
                bench.wait(flow as u64, greedy.width, flow as u32).unwrap();
            }
        }
        bench.leave(door, 0);
        for _ in 0..rounds {
            let (seats, _) = bench.next().unwrap();
            bench.leave(seats, lasting);
        }
        bench.wait(63, 1, 63).unwrap();
        let mut before = 0;
        loop {
            let (seats, who) = bench.next().unwrap();
            bench.leave(seats, lasting);
            if who == 63 {
                break;
            }
            before += 1;
        }
        prop_assert!(before <= flows.len(), "{before} of {}", flows.len());
    }

    /// Whatever happens, nothing is lost: at the end the level is as it was.
    #[test]
    fn everything_comes_to_an_end(
        seats in 1u32..6, queuing in prop::option::of((1u32..9, 1u32..3, 1usize..5)),
        steps in prop::collection::vec((0u8..4, 0u64..9, 1u32..8), 0..200),
    ) {
        let queuing = queuing.map(|(queues, hand, length)| Queuing { queues, hand: hand.min(queues), length });
        let mut bench = Bench::new(seats, queuing);
        let (mut sitting, mut waiting) = (Vec::new(), Vec::new());
        for (step, flow, width) in steps {
            match step {
                0 | 1 => match bench.take(width) {
                    Some(seats) => sitting.push(seats),
                    None => waiting.extend(bench.wait(flow, width, 0).ok()),
                },
                2 if !sitting.is_empty() => {
                    let seats = sitting.swap_remove(flow as usize % sitting.len());
                    bench.leave(seats, 100);
                }
                _ if !waiting.is_empty() => {
                    let ticket = waiting.swap_remove(flow as usize % waiting.len());
                    bench.queues.give_up(bench.at(), ticket);
                }
                _ => {}
            }
            sitting.extend(std::iter::from_fn(|| bench.next()).map(|(seats, _)| seats));
            let figures = bench.queues.figures();
            prop_assert_eq!(figures.executing, sitting.len());
            prop_assert!(figures.waiting == 0 || figures.executing > 0, "somebody waits for nobody");
        }
        while let Some(seats) = sitting.pop() {
            bench.leave(seats, 100);
            sitting.extend(std::iter::from_fn(|| bench.next()).map(|(seats, _)| seats));
        }
        prop_assert!(bench.queues.figures().is_idle());
        prop_assert!(bench.queues.queues.is_empty());
        prop_assert_eq!((bench.queues.in_use, bench.queues.waiting_width), (0, 0));
    }
}

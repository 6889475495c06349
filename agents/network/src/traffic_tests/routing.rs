//! Routes to other nodes' pods, in the kernel.

use super::*;
use crate::routes::{Routes, apply};

/// Those that are the agent's.
fn shown(net: &Net) -> String {
    let show = || Command::new("ip").args(["-4", "route", "show", "proto", "75"]).output().unwrap();
    String::from_utf8(net.node.run(show).stdout).unwrap()
}

#[test]
fn a_route_that_the_kernel_refuses_keeps_no_other() {
    let Some(net) = Net::new("a_route_that_the_kernel_refuses_keeps_no_other") else { return };
    let network = |number| (Ipv4Addr::new(10, 244, number, 0), 24);
    // No link of the node leads to the first.
    let wanted = Routes::from([(network(2), Ipv4Addr::new(203, 0, 113, 1)), (network(3), OUTSIDE)]);
    let told = net.node.run(move || on_this_thread(apply(&wanted)).unwrap_err().to_string());
    assert!(told.starts_with("no route to 10.244.2.0/24 through 203.0.113.1: "), "{told}");
    assert_eq!(shown(&net).trim(), format!("10.244.3.0/24 via {OUTSIDE} dev up0"));
    net.node.run(|| on_this_thread(apply(&Routes::new())).unwrap());
    assert_eq!(shown(&net), "");
}

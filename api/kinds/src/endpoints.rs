//! Endpoints: superseded by EndpointSlice, kept for old clients.

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::Value;

use crate::column::{self, text_column};
use crate::names::{ip, label, port_number, qualified, report, subdomain};
use crate::tree::{fill_text, int, list, list_mut, text};
use crate::{Column, Kind, fields, metadata};

pub static KIND: Kind = Kind {
    kind: "Endpoints",
    resource: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    type_name: "core.v1.Endpoints",
    columns: COLUMNS,
    cells: |endpoints, now| vec![column::name(endpoints), cell(endpoints).into(), column::age(endpoints, now)],
    create_on_update: true,
    deprecation: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    default,
    validate,
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    ..Kind::BASE
};

const COLUMNS: &[Column] =
    &[column::NAME, text_column("Endpoints", 0, "The ready addresses, with their ports."), column::AGE];
const SHOWN_MAX: usize = 3;

fn cell(endpoints: &Value) -> String {
    let mut all = Vec::new();
    let subsets = list(endpoints, "/subsets");
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    for subset in subsets {
        let addresses = || list(subset, "/addresses").iter().map(|address| text(address, "/ip"));
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let port = int(port, "/port");
            all.extend(
                addresses().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }),
            );
        }
    }
    first_few(&all)
}

/// The first three, and how many more there are.
pub fn first_few(all: &[String]) -> String {
    let shown = &all[..all.len().min(SHOWN_MAX)];
    match all.len() - shown.len() {
        0 => shown.join(","),
        more => format!("{} + {more} more...", shown.join(",")),
    }
}

fn default(endpoints: &mut Value) {
    for subset in list_mut(endpoints, "/subsets") {
        for port in list_mut(subset, "/ports") {
            fill_text(port, "protocol", "TCP");
        }
    }
}

fn validate(endpoints: &Value, faults: &mut Faults) {
    for (index, subset) in list(endpoints, "/subsets").iter().enumerate() {
        let path = format!("subsets[{index}]");
        let (ready, unready) = (list(subset, "/addresses"), list(subset, "/notReadyAddresses"));
        if ready.is_empty() && unready.is_empty() {
            faults.required(path.as_str(), "must specify `addresses` or `notReadyAddresses`");
        }
        for (member, addresses) in [("addresses", ready), ("notReadyAddresses", unready)] {
            for (at, address) in addresses.iter().enumerate() {
                validate_address(address, &format!("{path}.{member}[{at}]"), faults);
            }
        }
        let ports = list(subset, "/ports");
        for (at, port) in ports.iter().enumerate() {
            validate_port(port, ports.len() > 1, &format!("{path}.ports[{at}]"), faults);
        }
    }
}

fn validate_address(address: &Value, path: &str, faults: &mut Faults) {
    let value = text(address, "/ip");
    report(ip(value), value, &format!("{path}.ip"), faults);
    let hostname = text(address, "/hostname");
    if !hostname.is_empty() {
        report(label(hostname), hostname, &format!("{path}.hostname"), faults);
    }
    let node = text(address, "/nodeName");
    if !node.is_empty() {
        report(subdomain(node), node, &format!("{path}.nodeName"), faults);
    }
    validate_usable_ip(value, &format!("{path}.ip"), faults);
}

/// Addresses that no endpoint can have: unspecified, loopback, link-local.
pub fn validate_usable_ip(value: &str, path: &str, faults: &mut Faults) {
    let Ok(address) = value.parse::<std::net::IpAddr>() else {
        faults.invalid(path, value, "must be a valid IP address");
        return;
    };
    let (loopback, link_local, multicast) = match address {
        std::net::IpAddr::V4(v4) => (v4.is_loopback(), v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(v6) => (v6.is_loopback(), v6.is_unicast_link_local(), v6.segments()[0] == 0xff02),
    };
    if address.is_unspecified() {
        faults.invalid(path, value, format!("may not be unspecified ({value})"));
    }
    if loopback {
        faults.invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        faults.invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        faults.invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

fn validate_port(port: &Value, name_required: bool, path: &str, faults: &mut Faults) {
    let name = text(port, "/name");
    if name.is_empty() && name_required {
        faults.required(format!("{path}.name"), "");
    } else if !name.is_empty() {
        report(label(name), name, &format!("{path}.name"), faults);
    }
    let number = int(port, "/port");
    for fault in port_number(number) {
        faults.invalid(format!("{path}.port"), number, fault);
    }
    match text(port, "/protocol") {
        "" => faults.required(format!("{path}.protocol"), ""),
        other => fields::known(other, (ids::CORE_V1_ENDPOINTPORT, "protocol"), format!("{path}.protocol"), faults),
    }
    let application = text(port, "/appProtocol");
    if !application.is_empty() {
        report(qualified(application), application, &format!("{path}.appProtocol"), faults);
    }
}

//! Addresses, ranges and versions, as expressions see them.

use std::cmp::Ordering;
use std::net::IpAddr;

/// An address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub length: u8,
}

/// A semantic version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    pub numbers: [u64; 3],
    pub pre: Vec<String>,
    pub text: String,
}

/// An address, without a zone and not IPv4 in IPv6's clothes.
pub fn ip(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(six)) if six.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        Ok(address) => Ok(address),
        Err(_) if text.contains('%') => Err(format!("IP address {text:?} with zone value is not allowed")),
        Err(_) => Err(format!("IP Address {text:?} parse error during conversion from string: unable to parse IP")),
    }
}

impl Cidr {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("network address parse error during conversion from string: {text:?}");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address = ip(address).map_err(|_| wrong())?;
        let plain = length == "0" || !length.starts_with('0');
        let length: u8 = length.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if length <= bits && plain { Ok(Cidr { address, length }) } else { Err(wrong()) }
    }

    pub fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(four) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V4((u32::from(four) & mask).into())
            }
            IpAddr::V6(six) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V6((u128::from(six) & mask).into())
            }
        };
        Cidr { address, ..self }
    }

    pub fn holds(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Cidr { address, ..self }.masked().address == self.masked().address
    }

    pub fn holds_all(self, other: Cidr) -> bool {
        self.length <= other.length && self.holds(other.address)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.address, self.length)
    }
}

impl Semver {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("semver parse error during conversion from string: {text:?}");
        let (without_build, build) = text.split_once('+').map_or((text, None), |(before, build)| (before, Some(build)));
        let (core, pre) = without_build.split_once('-').map_or((without_build, None), |(core, pre)| (core, Some(pre)));
        let sound =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let number = |part: &str| match part.len() > 1 && part.starts_with('0') {
            true => None,
            false => part.parse::<u64>().ok(),
        };
        let numbers: Vec<u64> = core.split('.').map(number).collect::<Option<_>>().ok_or_else(wrong)?;
        let numbers: [u64; 3] = numbers.try_into().map_err(|_| wrong())?;
        let pre: Vec<String> = pre.map(|pre| pre.split('.').map(str::to_owned).collect()).unwrap_or_default();
        if pre.iter().any(|part| !sound(part)) || build.is_some_and(|build| !build.split('.').all(sound)) {
            return Err(wrong());
        }
        Ok(Semver { numbers, pre, text: text.to_owned() })
    }

    /// A lenient reading takes a `v` in front, zeros in front of numbers, and versions that end early.
    pub fn parse_as(text: &str, lenient: bool) -> Result<Self, String> {
        if !lenient {
            return Semver::parse(text);
        }
        let plain = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = plain.splitn(3, '.').map(without_zeros).collect();
        if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".to_owned());
        }
        parts.resize(3, "0".to_owned());
        Semver::parse(&parts.join("."))
    }

    /// A version comes after its own pre-releases; builds do not count.
    pub fn compare(&self, other: &Semver) -> Ordering {
        let part = |one: &String, other: &String| match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => one.cmp(other),
        };
        let pre = || match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let first =
                    self.pre.iter().zip(&other.pre).map(|(one, other)| part(one, other)).find(|order| order.is_ne());
                first.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then_with(pre)
    }
}

fn without_zeros(part: &str) -> String {
    let rest = part.trim_start_matches('0');
    let bare = part.len() > 1 && !rest.starts_with(|next: char| next.is_ascii_digit());
    if part.len() < 2 { part.to_owned() } else { format!("{}{rest}", if bare { "0" } else { "" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_is_in_them() {
        let range = Cidr::parse("10.1.0.0/16").unwrap();
        assert!(range.holds("10.1.2.3".parse().unwrap()) && !range.holds("10.2.0.0".parse().unwrap()));
        assert!(
            range.holds_all(Cidr::parse("10.1.4.0/24").unwrap())
                && !range.holds_all(Cidr::parse("10.0.0.0/8").unwrap())
        );
        assert!(Cidr::parse("::/0").unwrap().holds("fe80::1".parse().unwrap()));
        assert!(Cidr::parse("10.0.0.0/33").is_err() && Cidr::parse("10.0.0.0").is_err());
    }

    #[test]
    fn versions_have_their_order() {
        let sorted = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.0.1", "2.0.0"];
        for pair in sorted.windows(2) {
            let [one, other] = pair else { continue };
            assert!(Semver::parse(one).unwrap().compare(&Semver::parse(other).unwrap()).is_lt(), "{one} {other}");
        }
        assert!(Semver::parse("1.0").is_err() && Semver::parse("01.0.0").is_err());
    }
}

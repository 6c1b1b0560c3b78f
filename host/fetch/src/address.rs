//! Which IP addresses may be dialled. Names do not matter here: this is asked of the address itself, right before the dial.
//!
//! Three classes: public addresses are open to any granted host; private ones need a network grant ([`Cidr`]) or a grant that
//! names the address itself; link-local, cloud metadata, multicast, unspecified and reserved ones are never dialled.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::error::Error;

/// A range of addresses: `10.0.0.0/8`, `fd00:1234::/48`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix_bits: u8,
}

impl Cidr {
    /// Reads `address/bits`.
    ///
    /// # Errors
    /// [`Error::BadGrant`] when it is no network, or when bits beyond the prefix are set (then the message names the network meant).
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |reason: String| Error::BadGrant { grant: crate::text::display_unparsed(text), reason };
        let (address, bits) =
            text.split_once('/').ok_or_else(|| refuse("a network is written address/bits".to_owned()))?;
        let address: IpAddr = address.parse().map_err(|_| refuse("the address before / does not parse".to_owned()))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let prefix_bits = bits
            .parse::<u8>()
            .ok()
            .filter(|bits| digits && *bits <= longest)
            .ok_or_else(|| refuse(format!("the bits after / go from 0 to {longest}")))?;
        let network = masked(address, prefix_bits);
        if network != address {
            return Err(refuse(format!("bits are set beyond the prefix; the network is {network}/{prefix_bits}")));
        }
        Ok(Self { network, prefix_bits })
    }

    /// Whether the address lies in this network. An IPv4 address written inside IPv6 (`::ffff:10.0.0.1`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4() && masked(address, self.prefix_bits) == self.network
    }
}

impl FromStr for Cidr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.prefix_bits)
    }
}

fn masked(address: IpAddr, prefix_bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_bits.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

/// What kind of address it is; the text says which, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// Reachable from anywhere.
    Public,
    /// Only with a grant of its network, or of the address itself.
    Private(&'static str),
    /// Never, whatever was granted.
    Never(&'static str),
}

use AddressClass::{Never, Private, Public};

/// Ranges in IPv4 that are not public; the first match decides.
const V4_RANGES: &[(Ipv4Addr, u8, AddressClass)] = &[
    (Ipv4Addr::new(169, 254, 0, 0), 16, Never("link-local and cloud metadata")),
    (Ipv4Addr::new(100, 100, 100, 200), 32, Never("cloud metadata")),
    (Ipv4Addr::new(192, 0, 0, 192), 32, Never("cloud metadata")),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Never("cloud metadata")),
    (Ipv4Addr::new(0, 0, 0, 0), 8, Never("the unspecified network")),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Never("multicast")),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Never("reserved or broadcast")),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Private("loopback")),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Private("a private network")),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Private("a private network")),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Private("a private network")),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Private("a carrier's shared network")),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Private("a protocol assignment")),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Private("a documentation network")),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Private("a documentation network")),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Private("a documentation network")),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Private("a 6to4 relay")),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Private("a benchmark network")),
];

/// Ranges in IPv6 that are not public; the first match decides. Whatever lies outside 2000::/3 is not public either.
const V6_RANGES: &[(Ipv6Addr, u8, AddressClass)] = &[
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Never("link-local")),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Never("site-local")),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Never("multicast")),
    (Ipv6Addr::UNSPECIFIED, 128, Never("the unspecified address")),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, Never("cloud metadata")),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Never("cloud metadata")),
    (Ipv6Addr::LOCALHOST, 128, Private("loopback")),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Private("a private network")),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Private("a documentation network")),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Private("a documentation network")),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Private("a protocol assignment or Teredo tunnel")),
];

/// Public, private or never, of one address. IPv4 inside IPv6 (mapped, compatible, NAT64, 6to4) is judged as the IPv4 address that
/// would be reached; a translated one is at best private, since who translates is not known.
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    let found = V4_RANGES.iter().find(|(network, bits, _)| masked(IpAddr::V4(address), *bits) == IpAddr::V4(*network));
    found.map_or(Public, |(_, _, class)| *class)
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    let in_range = |network: Ipv6Addr, bits: u8| masked(IpAddr::V6(address), bits) == IpAddr::V6(network);
    if let Some(mapped) = address.to_ipv4_mapped() {
        return classify_v4(mapped);
    }
    if let Some((_, _, class)) = V6_RANGES.iter().find(|(network, bits, _)| in_range(*network, *bits)) {
        return *class;
    }
    let [_, second, third, .., seventh, eighth] = address.segments();
    let last = Ipv4Addr::from_bits(u32::from(seventh) << 16 | u32::from(eighth));
    let translated = |inner: Ipv4Addr, how: &'static str| match classify_v4(inner) {
        Never(why) => Never(why),
        Private(_) | Public => Private(how),
    };
    if in_range(Ipv6Addr::UNSPECIFIED, 96) {
        return translated(last, "an IPv4-compatible address");
    }
    if in_range(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96)
        || in_range(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48)
    {
        return translated(last, "an address behind NAT64");
    }
    if in_range(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16) {
        return translated(Ipv4Addr::from_bits(u32::from(second) << 16 | u32::from(third)), "a 6to4 tunnel");
    }
    if in_range(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3) { Public } else { Private("outside global unicast") }
}

/// Whether an address may be dialled under these network grants, for a host that was given by name. A URL whose host is the
/// address itself is covered by its own grant instead (see [`crate::Allowlist::check`]).
///
/// # Errors
/// The class that stands in the way, never [`AddressClass::Public`].
pub fn address_allowed(address: IpAddr, private_networks: &[Cidr]) -> Result<(), AddressClass> {
    match classify(address) {
        Public => Ok(()),
        Private(_) if private_networks.iter().any(|network| network.contains(address)) => Ok(()),
        class => Err(class),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Kind {
        Open,
        Private,
        Never,
    }

    fn kind(text: &str) -> Kind {
        match classify(text.parse().unwrap()) {
            Public => Kind::Open,
            Private(_) => Kind::Private,
            Never(_) => Kind::Never,
        }
    }

    #[test]
    fn addresses_by_class() {
        let cases: &[(Kind, &[&str])] = &[
            (
                Kind::Open,
                &[
                    "8.8.8.8",
                    "1.1.1.1",
                    "9.255.255.255",
                    "11.0.0.0",
                    "100.63.255.255",
                    "100.128.0.0",
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.0.1.0",
                    "192.167.255.255",
                    "198.17.255.255",
                    "198.20.0.0",
                    "169.253.255.255",
                    "223.255.255.255",
                    "2606:4700:4700::1111",
                    "2a00:1450:4001::200e",
                    "2001:4860:4860::8888",
                    "::ffff:8.8.8.8",
                ],
            ),
            (
                Kind::Private,
                &[
                    "127.0.0.1",
                    "127.1.2.3",
                    "10.0.0.1",
                    "10.255.255.255",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "100.64.0.1",
                    "100.127.255.255",
                    "192.0.0.1",
                    "192.0.2.1",
                    "198.51.100.7",
                    "203.0.113.7",
                    "192.88.99.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "::1",
                    "::ffff:127.0.0.1",
                    "::ffff:10.1.2.3",
                    "fc00::1",
                    "fd12:3456::1",
                    "2001:db8::1",
                    "3fff::1",
                    "2001::1",
                    "2001:2::1",
                    "64:ff9b::808:808",
                    "64:ff9b::7f00:1",
                    "64:ff9b::a00:1",
                    "64:ff9b:1::808:808",
                    "2002:808:808::1",
                    "2002:7f00:1::",
                    "::8.8.8.8",
                    "100::1",
                    "4000::1",
                    "5f00::1",
                ],
            ),
            (
                Kind::Never,
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "169.254.169.254",
                    "169.254.0.1",
                    "169.254.170.2",
                    "100.100.100.200",
                    "192.0.0.192",
                    "168.63.129.16",
                    "224.0.0.1",
                    "239.255.255.255",
                    "240.0.0.1",
                    "255.255.255.255",
                    "::",
                    "fe80::1",
                    "febf::1",
                    "fec0::1",
                    "ff02::1",
                    "fd00:ec2::254",
                    "fd00:ec2::23",
                    "fd20:ce::254",
                    "::ffff:169.254.169.254",
                    "::ffff:0.0.0.0",
                    "::169.254.169.254",
                    "64:ff9b::a9fe:a9fe",
                    "64:ff9b:1::a9fe:a9fe",
                    "2002:a9fe:a9fe::1",
                    "64:ff9b::e000:1",
                ],
            ),
        ];
        for (wanted, addresses) in cases {
            for address in *addresses {
                assert_eq!(kind(address), *wanted, "{address}");
            }
        }
    }

    #[test]
    fn networks_open_private_addresses_and_no_others() {
        let granted = [
            Cidr::parse("10.1.0.0/16").unwrap(),
            Cidr::parse("fd12::/16").unwrap(),
            Cidr::parse("127.0.0.1/32").unwrap(),
        ];
        for (address, allowed) in [
            ("10.1.2.3", true),
            ("10.2.2.3", false),
            ("::ffff:10.1.2.3", true),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("fd12::9", true),
            ("fd13::9", false),
            ("8.8.8.8", true),
            ("169.254.169.254", false),
        ] {
            assert_eq!(address_allowed(address.parse().unwrap(), &granted).is_ok(), allowed, "{address}");
        }
        let everything = [Cidr::parse("0.0.0.0/0").unwrap(), Cidr::parse("::/0").unwrap()];
        for never in
            ["169.254.169.254", "0.0.0.0", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "2002:a9fe:a9fe::"]
        {
            assert!(address_allowed(never.parse().unwrap(), &everything).is_err(), "{never}");
        }
    }

    #[test]
    fn networks_are_read_strictly() {
        for (text, fits) in [
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", true),
            ("10.0.0.1/32", true),
            ("::/0", true),
            ("fd00::/8", true),
            ("10.0.0.1/8", false),
            ("10.0.0.0/33", false),
            ("10.0.0.0/", false),
            ("10.0.0.0/+8", false),
            ("10.0.0.0/256", false),
            ("10.0.0.0", false),
            ("010.0.0.0/8", false),
            ("host/8", false),
            ("fe80::1%eth0/64", false),
        ] {
            assert_eq!(Cidr::parse(text).is_ok(), fits, "{text}");
        }
        assert_eq!(Cidr::parse("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        let message = Cidr::parse("10.0.0.1/8").unwrap_err().to_string();
        assert!(message.contains("10.0.0.0/8"), "{message}");
    }
}

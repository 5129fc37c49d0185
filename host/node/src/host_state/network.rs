//! Whether the connection is paid for by the byte. Called by [`super::HostProbe`].
//!
//! NetworkManager knows what its user said, but tells it over D-Bus alone, which is not spoken here. What files tell: the
//! interface of the default route and its kind (a modem, a phone's tether, an Ethernet line), and the DHCP lease that
//! systemd-networkd keeps, in which Android phones say `ANDROID_METERED`. A Wi-Fi of which nothing more is known may be
//! either: cannot tell. Never sends anything.

use std::path::Path;

use super::{Roots, Told, Why, name, read, word};

/// Drivers of phones that share their connection over a cable.
const TETHERS: [&str; 2] = ["rndis_host", "ipheth"];
/// What Android's DHCP server says in option 43, as hexadecimal digits: `ANDROID_METERED`.
const ANDROID_METERED: &str = "414e44524f49445f4d455445524544";
/// The kernel's number for Ethernet-like interfaces, and for point-to-point links over modems.
const ETHERNET: &str = "1";
const PPP: &str = "512";

pub(super) fn metered(roots: &Roots) -> Told<bool> {
    let Some(interface) = default_interface(&roots.proc) else {
        return Told::CannotTell(Why::NoRoute);
    };
    let card = roots.sys.join("class/net").join(&interface);
    let kind = word(&card.join("type")).unwrap_or_default();
    if is_modem(&card)
        || kind == PPP
        || interface.starts_with("bnep")
        || lease_says_so(roots, &card)
    {
        return Told::Is(true);
    }
    // A bridge, a tunnel or a container's interface has no device: what lies behind it is not seen from here.
    let wired = kind == ETHERNET && !card.join("wireless").exists() && card.join("device").exists();
    if wired {
        return Told::Is(false);
    }
    Told::CannotTell(Why::Connection { interface })
}

/// The interface of the default route with the smallest metric; of version 4, else of version 6.
fn default_interface(proc: &Path) -> Option<String> {
    let v4 = read(&proc.join("net/route")).and_then(|table| {
        let routes = table.lines().filter_map(route_v4);
        routes.min_by_key(|(metric, _)| *metric)
    });
    let v6 = || {
        let table = read(&proc.join("net/ipv6_route"))?;
        let routes = table.lines().filter_map(route_v6);
        routes.min_by_key(|(metric, _)| *metric)
    };
    v4.or_else(v6).map(|(_, interface)| interface)
}

/// A line of `/proc/net/route` that is a default route: its metric and interface.
fn route_v4(line: &str) -> Option<(u32, String)> {
    let columns: Vec<&str> = line.split_whitespace().take(8).collect();
    let [interface, "00000000", _, _, _, _, metric, "00000000"] = columns.as_slice() else {
        return None;
    };
    Some((metric.parse().ok()?, safe(interface)?))
}

/// The same of `/proc/net/ipv6_route`; the kernel's own reject route goes over `lo`.
fn route_v6(line: &str) -> Option<(u32, String)> {
    let columns: Vec<&str> = line.split_whitespace().take(10).collect();
    let [to, "00", _, _, _, metric, _, _, _, interface] = columns.as_slice() else {
        return None;
    };
    let everywhere = to.bytes().all(|digit| digit == b'0') && *interface != "lo";
    let metric = u32::from_str_radix(metric, 16).ok()?;
    everywhere.then_some(())?;
    Some((metric, safe(interface)?))
}

/// An interface's name becomes part of a path.
fn safe(interface: &str) -> Option<String> {
    let good = !interface.contains('/') && interface != "." && interface != "..";
    good.then(|| interface.to_owned())
}

fn is_modem(card: &Path) -> bool {
    let wwan = read(&card.join("uevent")).is_some_and(|text| text.contains("DEVTYPE=wwan"));
    let driver = std::fs::read_link(card.join("device/driver")).unwrap_or_default();
    wwan || TETHERS.contains(&name(&driver))
}

/// Whether the DHCP lease of this interface says that it is metered.
fn lease_says_so(roots: &Roots, card: &Path) -> bool {
    let Some(index) = word(&card.join("ifindex")).and_then(|text| text.parse::<u32>().ok()) else {
        return false;
    };
    let lease = roots.run.join(format!("systemd/netif/leases/{index}"));
    read(&lease).is_some_and(|text| {
        text.lines().any(|line| {
            line.strip_prefix("VENDOR_SPECIFIC=")
                .is_some_and(|hex| hex.to_ascii_lowercase().contains(ANDROID_METERED))
        })
    })
}

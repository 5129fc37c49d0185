//! `wasi:sockets`: `wasmtime-wasi`'s, behind the grant's rules.
//!
//! Without a rule nothing leaves and nothing listens; a guest may still make a few sockets, so that what it then tries to
//! reach can be named in a refusal. With rules, a guest may look up the hosts they name and connect to what those
//! look-ups returned (or to the addresses they name), on the ports they name. It never listens: a bind other than to
//! "any address, any port" is refused, and so is what comes from a peer that no rule names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    Host as _, HostResolveAddressStream as _, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket::Host as _;
use wasmtime_wasi::p2::bindings::sockets::{instance_network, network, tcp, udp};
use wasmtime_wasi::p2::{SocketError, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSockets, WasiSocketsView as _};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_io::poll::DynPollable;

use crate::grant::NetRule;
use crate::outcome::{Refusal, Refusals};
use crate::state::GuestState;

/// Sockets that a guest without any rule may make.
const SOCKETS_DENIED: u32 = 16;
/// Sockets that a guest with rules may make in one run.
const SOCKETS_GRANTED: u32 = 4096;
/// Addresses remembered of look-ups.
const ADDRESSES: usize = 4096;

/// The network of one run. Nothing is made before the guest touches it.
pub(crate) struct Net {
    gate: Option<Arc<Mutex<Gate>>>,
    rules: Vec<NetRule>,
    context: Option<Box<WasiCtx>>,
    sockets: u32,
    /// The name that each open look-up is for.
    lookups: BTreeMap<u32, String>,
}

/// Who may be reached; shared with the check that `wasmtime-wasi` asks.
struct Gate {
    rules: Vec<NetRule>,
    /// Names that were looked up, by the addresses they have.
    names: BTreeMap<IpAddr, BTreeSet<String>>,
    refusals: Refusals,
}

impl Net {
    pub(crate) fn new(rules: Vec<NetRule>) -> Self {
        Self {
            gate: None,
            rules,
            context: None,
            sockets: 0,
            lookups: BTreeMap::new(),
        }
    }

    /// What was refused.
    pub(crate) fn refusals(&mut self) -> Vec<Refusal> {
        match self.gate.take() {
            Some(gate) => {
                std::mem::take(&mut gate.lock().unwrap_or_else(PoisonError::into_inner).refusals)
                    .into_vec()
            }
            None => Vec::new(),
        }
    }

    fn gate(&mut self) -> &Arc<Mutex<Gate>> {
        let rules = &self.rules;
        self.gate.get_or_insert_with(|| {
            Arc::new(Mutex::new(Gate {
                rules: rules.clone(),
                names: BTreeMap::new(),
                refusals: Refusals::default(),
            }))
        })
    }

    fn with_gate<T>(&mut self, f: impl FnOnce(&mut Gate) -> T) -> T {
        f(&mut self.gate().lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn context(&mut self) -> &mut WasiCtx {
        let gate = Arc::clone(self.gate());
        self.context.get_or_insert_with(|| {
            let mut builder = WasiCtxBuilder::new();
            builder
                .allow_ip_name_lookup(true)
                .allow_tcp(true)
                .allow_udp(true)
                .socket_addr_check(move |address, reason| {
                    let allowed = gate
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .allows(address, reason);
                    Box::pin(async move { allowed })
                });
            Box::new(builder.build())
        })
    }

    /// Counts one more socket.
    fn count_socket(&mut self) -> Result<(), ErrorCode> {
        let (most, refused) = match self.rules.is_empty() {
            true => (SOCKETS_DENIED, ErrorCode::AccessDenied),
            false => (SOCKETS_GRANTED, ErrorCode::NewSocketLimit),
        };
        if self.sockets >= most {
            return Err(refused);
        }
        self.sockets += 1;
        Ok(())
    }
}

impl Gate {
    fn allows(&mut self, address: SocketAddr, reason: SocketAddrUse) -> bool {
        match reason {
            // Connecting binds to this by itself.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind
                if address.ip().is_unspecified() && address.port() == 0 =>
            {
                true
            }
            SocketAddrUse::TcpConnect | SocketAddrUse::UdpSend => {
                self.reachable(address) || self.refuse(address)
            }
            SocketAddrUse::UdpReceive => self.reachable(address),
            SocketAddrUse::TcpBind
            | SocketAddrUse::UdpBind
            | SocketAddrUse::TcpListen
            | SocketAddrUse::TcpAccept => self.refuse(address),
        }
    }

    fn reachable(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let names = self.names.get(&ip);
        self.rules.iter().any(|rule| {
            rule.port.is_none_or(|port| port == address.port())
                && (rule
                    .host
                    .parse::<IpAddr>()
                    .is_ok_and(|host| host.to_canonical() == ip)
                    || names.is_some_and(|names| names.contains(&rule.host)))
        })
    }

    /// Notes the refusal, by name where the address was looked up; always false.
    fn refuse(&mut self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let name = self.names.get(&ip).and_then(|names| names.first());
        let host = name.cloned().unwrap_or_else(|| ip.to_string());
        self.refusals.note(Refusal::Net {
            host,
            port: Some(address.port()),
        });
        false
    }

    /// Whether `name` may be looked up: an address needs no look-up, a name needs a rule.
    fn may_look_up(&mut self, name: &str) -> bool {
        if name.parse::<IpAddr>().is_ok() || self.rules.iter().any(|rule| rule.host == name) {
            return true;
        }
        self.refusals.note(Refusal::Net {
            host: name.to_owned(),
            port: None,
        });
        false
    }

    fn learn(&mut self, ip: IpAddr, name: &str) {
        if self.names.len() < ADDRESSES {
            self.names
                .entry(ip.to_canonical())
                .or_default()
                .insert(name.to_owned());
        }
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self.net.context(),
            table: &mut self.table,
        }
    }
}

type Store<'a> = StoreContextMut<'a, GuestState>;

/// What a guest sees of an error; one that is no answer ends the run.
fn answer<T>(result: Result<T, SocketError>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// Links `wasi:sockets`.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    network::add_to_linker::<GuestState, WasiSockets>(
        linker,
        &network::LinkOptions::default(),
        GuestState::sockets,
    )?;
    instance_network::add_to_linker::<GuestState, WasiSockets>(linker, GuestState::sockets)?;
    tcp::add_to_linker::<GuestState, WasiSockets>(linker, GuestState::sockets)?;
    udp::add_to_linker::<GuestState, WasiSockets>(linker, GuestState::sockets)?;
    create_sockets(linker)?;
    binds(linker)?;
    lookups(linker)
}

/// Making sockets, counted.
fn create_sockets(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker
        .instance(&super::wasi("sockets/tcp-create-socket"))?
        .func_wrap(
            "create-tcp-socket",
            |mut store: Store<'_>, (family,): (IpAddressFamily,)| {
                let state = store.data_mut();
                if let Err(code) = state.net.count_socket() {
                    return Ok((Err::<Resource<TcpSocket>, _>(code),));
                }
                answer(state.sockets().create_tcp_socket(family))
            },
        )?;
    linker
        .instance(&super::wasi("sockets/udp-create-socket"))?
        .func_wrap_async(
            "create-udp-socket",
            |mut store: Store<'_>, (family,): (IpAddressFamily,)| {
                Box::new(async move {
                    let state = store.data_mut();
                    if let Err(code) = state.net.count_socket() {
                        return Ok((Err::<Resource<UdpSocket>, _>(code),));
                    }
                    answer(state.sockets().create_udp_socket(family).await)
                })
            },
        )
}

/// Explicit binds, in place of those linked before: without a rule there is none, whatever the address.
fn binds(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    fn refused(state: &mut GuestState, address: IpSocketAddress) -> bool {
        state.net.rules.is_empty() && !state.net.with_gate(|gate| gate.refuse(address.into()))
    }
    linker.allow_shadowing(true);
    linker.instance(&super::wasi("sockets/tcp"))?.func_wrap_async(
        "[method]tcp-socket.start-bind",
        |mut store: Store<'_>, (socket, network, address): (Resource<TcpSocket>, Resource<Network>, IpSocketAddress)| {
            Box::new(async move {
                let state = store.data_mut();
                if refused(state, address) {
                    return Ok((Err(ErrorCode::AccessDenied),));
                }
                answer(tcp::HostTcpSocket::start_bind(&mut state.sockets(), socket, network, address).await)
            })
        },
    )?;
    linker.instance(&super::wasi("sockets/udp"))?.func_wrap_async(
        "[method]udp-socket.start-bind",
        |mut store: Store<'_>, (socket, network, address): (Resource<UdpSocket>, Resource<Network>, IpSocketAddress)| {
            Box::new(async move {
                let state = store.data_mut();
                if refused(state, address) {
                    return Ok((Err(ErrorCode::AccessDenied),));
                }
                answer(udp::HostUdpSocket::start_bind(&mut state.sockets(), socket, network, address).await)
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Name look-ups, of granted names alone; what they return is remembered as those names.
fn lookups(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut lookup = linker.instance(&super::wasi("sockets/ip-name-lookup"))?;
    lookup.resource(
        "resolve-address-stream",
        ResourceType::host::<ResolveAddressStream>(),
        |mut store, rep| {
            let state = store.data_mut();
            state.net.lookups.remove(&rep);
            state.sockets().drop(Resource::new_own(rep))
        },
    )?;
    lookup.func_wrap(
        "resolve-addresses",
        |mut store: Store<'_>, (network, name): (Resource<Network>, String)| {
            let state = store.data_mut();
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            if !state.net.with_gate(|gate| gate.may_look_up(&name)) {
                return Ok((Err(ErrorCode::AccessDenied),));
            }
            let found = state.sockets().resolve_addresses(network, name.clone());
            if let Ok(stream) = &found {
                state.net.lookups.insert(stream.rep(), name);
            }
            answer(found)
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store: Store<'_>, (stream,): (Resource<ResolveAddressStream>,)| {
            let state = store.data_mut();
            let rep = stream.rep();
            let next = state.sockets().resolve_next_address(stream);
            if let (Ok(Some(address)), Some(name)) = (&next, state.net.lookups.get(&rep).cloned()) {
                let ip = to_ip(address);
                state.net.with_gate(|gate| gate.learn(ip, &name));
            }
            answer(next)
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: Store<'_>,
         (stream,): (Resource<ResolveAddressStream>,)|
         -> wasmtime::Result<(Resource<DynPollable>,)> {
            Ok((store.data_mut().sockets().subscribe(stream)?,))
        },
    )
}

fn to_ip(address: &IpAddress) -> IpAddr {
    match *address {
        IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn gate(rules: &[&str]) -> Gate {
        let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        Gate {
            rules,
            names: BTreeMap::new(),
            refusals: Refusals::default(),
        }
    }

    fn connects(gate: &mut Gate, address: &str) -> bool {
        gate.allows(address.parse().unwrap(), SocketAddrUse::TcpConnect)
    }

    #[test]
    fn without_rules_nothing_is_reached_and_every_try_is_named() {
        let mut gate = gate(&[]);
        assert!(!connects(&mut gate, "127.0.0.1:80"));
        assert!(!gate.may_look_up("example.com"));
        assert!(!gate.allows("127.0.0.1:8080".parse().unwrap(), SocketAddrUse::TcpBind));
        assert!(!gate.allows("0.0.0.0:0".parse().unwrap(), SocketAddrUse::TcpListen));
        assert_eq!(
            gate.refusals.into_vec(),
            [
                Refusal::Net {
                    host: "127.0.0.1".into(),
                    port: Some(80)
                },
                Refusal::Net {
                    host: "example.com".into(),
                    port: None
                },
                Refusal::Net {
                    host: "127.0.0.1".into(),
                    port: Some(8080)
                },
                Refusal::Net {
                    host: "0.0.0.0".into(),
                    port: Some(0)
                },
            ]
        );
    }

    #[test]
    fn a_rule_opens_its_host_and_port_alone() {
        let mut gate = gate(&["10.0.0.1:80", "example.com:443"]);
        assert!(connects(&mut gate, "10.0.0.1:80"));
        assert!(
            connects(&mut gate, "[::ffff:10.0.0.1]:80"),
            "the mapped form of the same address"
        );
        assert!(!connects(&mut gate, "10.0.0.1:81"));
        assert!(!connects(&mut gate, "10.0.0.2:80"));
        assert!(!connects(&mut gate, "192.0.2.1:443"), "not looked up yet");
        gate.learn("192.0.2.1".parse().unwrap(), "example.com");
        assert!(connects(&mut gate, "192.0.2.1:443"));
        assert!(!connects(&mut gate, "192.0.2.1:80"));
        assert!(gate.refusals.into_vec().contains(&Refusal::Net {
            host: "example.com".into(),
            port: Some(80)
        }));
    }
}

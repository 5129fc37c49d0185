//! What a connection's streams may be negotiated for: the greeting before it passed, everything else after, never both.
//!
//! [`Door`] wraps another upgrade so that the handler has one type for both times. Decides nothing. Called by the handler.

use std::task::{Context, Poll};
use std::{future::Future, pin::Pin};

use libp2p::swarm::Stream;
use libp2p::swarm::handler::{InboundUpgradeSend, OutboundUpgradeSend, UpgradeInfoSend};

/// The greeting's protocol.
const HELLO: &str = "/sykli/hello/1";

/// The greeting, or what is behind it.
pub(in crate::mesh) enum Door<U> {
    Hello,
    Inner(U),
}

/// A protocol's name.
#[derive(Clone)]
pub(in crate::mesh) enum Name<I> {
    Hello,
    Inner(I),
}

impl<I: AsRef<str>> AsRef<str> for Name<I> {
    fn as_ref(&self) -> &str {
        match self {
            Name::Hello => HELLO,
            Name::Inner(name) => name.as_ref(),
        }
    }
}

/// What came of a negotiation: the greeting's stream, or what the inner upgrade made of its own.
pub(in crate::mesh) enum Passed<T> {
    Hello(Stream),
    Inner(T),
}

/// The names on offer.
pub(in crate::mesh) enum Names<I> {
    Hello(Option<()>),
    Inner(I),
}

impl<I: Iterator> Iterator for Names<I> {
    type Item = Name<I::Item>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Names::Hello(once) => once.take().map(|()| Name::Hello),
            Names::Inner(names) => names.next().map(Name::Inner),
        }
    }
}

impl<U: UpgradeInfoSend> UpgradeInfoSend for Door<U> {
    type Info = Name<U::Info>;
    type InfoIter = Names<U::InfoIter>;

    fn protocol_info(&self) -> Self::InfoIter {
        match self {
            Door::Hello => Names::Hello(Some(())),
            Door::Inner(inner) => Names::Inner(inner.protocol_info()),
        }
    }
}

/// An upgrade under way. The greeting's has nothing to do: its stream is taken as it is.
pub(in crate::mesh) enum Passing<F> {
    Hello(Option<Stream>),
    /// Boxed, so that it can be polled without unsafe code.
    Inner(Pin<Box<F>>),
    /// The two ends negotiated what this side did not offer: never completes, and the negotiation's own timeout ends it.
    Never,
}

impl<F, T, E> Future for Passing<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<Passed<T>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Passing::Hello(stream) => match stream.take() {
                Some(stream) => Poll::Ready(Ok(Passed::Hello(stream))),
                None => Poll::Pending,
            },
            Passing::Inner(future) => future
                .as_mut()
                .poll(cx)
                .map(|result| result.map(Passed::Inner)),
            Passing::Never => Poll::Pending,
        }
    }
}

impl<U: InboundUpgradeSend> InboundUpgradeSend for Door<U> {
    type Output = Passed<U::Output>;
    type Error = U::Error;
    type Future = Passing<U::Future>;

    fn upgrade_inbound(self, socket: Stream, info: Self::Info) -> Self::Future {
        match (self, info) {
            (Door::Hello, Name::Hello) => Passing::Hello(Some(socket)),
            (Door::Inner(inner), Name::Inner(info)) => {
                Passing::Inner(Box::pin(inner.upgrade_inbound(socket, info)))
            }
            (Door::Hello, Name::Inner(_)) | (Door::Inner(_), Name::Hello) => Passing::Never,
        }
    }
}

impl<U: OutboundUpgradeSend> OutboundUpgradeSend for Door<U> {
    type Output = Passed<U::Output>;
    type Error = U::Error;
    type Future = Passing<U::Future>;

    fn upgrade_outbound(self, socket: Stream, info: Self::Info) -> Self::Future {
        match (self, info) {
            (Door::Hello, Name::Hello) => Passing::Hello(Some(socket)),
            (Door::Inner(inner), Name::Inner(info)) => {
                Passing::Inner(Box::pin(inner.upgrade_outbound(socket, info)))
            }
            (Door::Hello, Name::Inner(_)) | (Door::Inner(_), Name::Hello) => Passing::Never,
        }
    }
}

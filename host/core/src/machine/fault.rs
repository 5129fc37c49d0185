//! Faults that a test can put into a node's machine, to see that the simulator catches them. Nothing outside of tests and
//! the simulator can: there `is` is always false.

/// What a machine does wrong.
#[cfg(any(test, feature = "sim"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Owner: an offer leaves before it is durable that its number may have been used.
    OfferBeforeDurable,
    /// Owner: a bundle leaves before its offer's record is durable.
    BundleBeforeDurable,
    /// Owner: numbers that were reserved before a crash are offered again.
    FenceDropped,
    /// Owner: a result is acknowledged before its record is durable.
    AckBeforeDurable,
    /// Owner: a task is settled before its record is durable.
    SettleBeforeDurable,
    /// Executor: a result is told before its record is durable.
    TellBeforeDurable,
    /// Executor: a result is forgotten when told, not when acknowledged.
    ForgetWhenTold,
    /// Executor: what is in the outbox is not delivered again.
    NoRedelivery,
    /// Executor: the outbox is not read after a restart.
    OutboxNotRead,
    /// Owner: a task with effects takes the completion of any attempt.
    NoFence,
    /// Owner: an attempt that is taken back is granted again under its old number.
    SameAttempt,
    /// Owner: a second completion is committed too.
    CommitTwice,
    /// Owner: what a claim says of node, task and nonce is not looked at.
    ClaimUnchecked,
    /// Owner: whether its executor signed a claim is not looked at.
    SignatureUnchecked,
    /// Owner: two different claims for one lease are no offence.
    EquivocationIgnored,
    /// Owner: a peer that lost or declined a task is offered it again at once.
    NoCoolDown,
    /// Owner: a task moves any number of times.
    NoMoveLimit,
    /// Owner: sizes are not looked at before an offer, nor what a result is said to be.
    OwnerIgnoresCap,
    /// Executor: sizes are not looked at before an answer.
    ExecutorIgnoresCap,
    /// Executor: any number of foreign tasks at once.
    NoConcurrencyLimit,
    /// Executor: the user's consent is not looked at.
    NoConsent,
    /// Both: the profile's direction of stealing is not looked at.
    NoDirection,
    /// Owner: leases never run out.
    NoExpiry,
    /// Owner: what renews a lease renews it for ever.
    NoHardEnd,
    /// Owner: an offer waits for its answer for ever.
    NoOfferTimeout,
    /// Owner: leases are not resumed after a connection was lost.
    NoResume,
    /// Owner: what was offered before a crash is not looked at.
    SpentDropped,
    /// Owner: an answer that came too late is not answered.
    LateUnanswered,
    /// Both: an expelled peer is still talked to.
    TalksToExpelled,
    /// Owner: a task with effects gets a second attempt beside the first.
    DoublesEffects,
    /// Owner: a peer may hold any number of leases.
    NoLeaseCap,
}

#[cfg(any(test, feature = "sim"))]
impl Fault {
    /// All of them.
    pub const ALL: &'static [Fault] = &[
        Fault::OfferBeforeDurable,
        Fault::BundleBeforeDurable,
        Fault::FenceDropped,
        Fault::AckBeforeDurable,
        Fault::SettleBeforeDurable,
        Fault::TellBeforeDurable,
        Fault::ForgetWhenTold,
        Fault::NoRedelivery,
        Fault::OutboxNotRead,
        Fault::NoFence,
        Fault::SameAttempt,
        Fault::CommitTwice,
        Fault::ClaimUnchecked,
        Fault::SignatureUnchecked,
        Fault::EquivocationIgnored,
        Fault::NoCoolDown,
        Fault::NoMoveLimit,
        Fault::OwnerIgnoresCap,
        Fault::ExecutorIgnoresCap,
        Fault::NoConcurrencyLimit,
        Fault::NoConsent,
        Fault::NoDirection,
        Fault::NoExpiry,
        Fault::NoHardEnd,
        Fault::NoOfferTimeout,
        Fault::NoResume,
        Fault::SpentDropped,
        Fault::LateUnanswered,
        Fault::TalksToExpelled,
        Fault::DoublesEffects,
        Fault::NoLeaseCap,
    ];
}

/// Which fault a machine has, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fault: Option<Fault>,
}

/// Whether a machine has a fault: `faulty!(desk.faults, NoFence)`. False, and nothing at all, in the product.
macro_rules! faulty {
    ($faults:expr, $fault:ident) => {{
        #[cfg(any(test, feature = "sim"))]
        let faulty = $faults.fault == Some($crate::machine::Fault::$fault);
        #[cfg(not(any(test, feature = "sim")))]
        let faulty = {
            let _ = $faults;
            false
        };
        faulty
    }};
}

pub(crate) use faulty;

//! What a running node answers: requests of the control socket and of the foreground, and the runs that it was given.
//!
//! Questions about the mesh go to the node's loop, runs to threads of their own, whose events are kept as lines for whoever
//! follows. It decides nothing about the mesh. Started by `launch`; runs on the node's runtime until the node has ended.

mod runs;

use std::sync::Arc;

use sykli_node::control::api::{PeerView, PeerWish, Pong, TaskView};
use sykli_node::control::{Notices, Refused, RefusedKind, Reply, Request};
use sykli_node::identity;
use sykli_node::mesh::Mesh;
use sykli_node::meshnode::{Handle, MeshNode};
use sykli_node::node::Node;
use tokio::sync::mpsc;

use super::Context;
use runs::Runs;

/// See the module.
pub(super) struct Daemon {
    handle: Handle,
    mesh: Mesh,
    runs: Arc<Runs>,
}

impl Daemon {
    pub(super) fn new(context: Context, node: Node, mesh: &MeshNode, notices: Notices) -> Daemon {
        let handle = mesh.handle();
        Daemon {
            runs: Arc::new(Runs::new(context, node, handle.clone(), notices)),
            mesh: mesh.mesh().clone(),
            handle,
        }
    }

    /// Answers until the node has ended, or nobody can ask any more.
    pub(super) async fn serve(self, mut asked: mpsc::Receiver<Request>) {
        loop {
            tokio::select! {
                request = asked.recv() => match request {
                    Some(request) => self.answer(request).await,
                    None => break,
                },
                () = self.handle.ended() => break,
            }
        }
        self.runs.end();
    }

    async fn answer(&self, request: Request) {
        match request {
            Request::Status(reply) => {
                let answer = self.status().await;
                reply.send(answer);
            }
            Request::Pause { on, reply } => {
                self.handle.pause(on).await;
                reply.done(());
            }
            Request::Drain(reply) => {
                self.handle.drain().await;
                reply.done(());
            }
            Request::Stop { now, reply } => {
                self.handle.stop(now);
                reply.done(());
            }
            Request::Asks(reply) => reply.send(self.status().await.map(|status| status.asks)),
            Request::Decide { id, yes, reply } => reply.send(self.decide(&id, yes).await),
            Request::Peers(reply) => reply.send(self.status().await.map(|status| status.peers)),
            Request::Ping { peer, reply } => self.ping(&peer, reply).await,
            Request::Peer { wish, reply } => reply.send(self.wish(wish)),
            Request::Submit { submit, reply } => self.runs.submit(*submit, reply),
            Request::Runs(reply) => reply.done(self.runs.list()),
            Request::Events { run, reply } => reply.send(self.runs.events(&run)),
            Request::Interrupt { run, reply } => reply.send(self.runs.interrupt(&run)),
            Request::Task { name, reply } => reply.send(self.task(&name).await),
            Request::Logs { task, reply } => reply.send(self.runs.logs(&task)),
        }
    }

    async fn status(&self) -> Result<sykli_node::control::api::NodeStatus, Refused> {
        let status = self.handle.status().await;
        let mut status = *status.ok_or_else(ending)?;
        status.runs = self.runs.list();
        status.runs.retain(|run| run.ended.is_none());
        Ok(status)
    }

    /// A task of a run; where its executors are is for the node to say.
    async fn task(&self, name: &str) -> Result<TaskView, Refused> {
        let mut task = self.runs.task(name)?;
        let peers = self.status().await.map(|status| status.peers);
        let peers = peers.unwrap_or_default();
        for instance in &mut task.instances {
            let Some(executor) = &mut instance.executor else {
                continue;
            };
            let met = peers.iter().find(|peer| peer.id == executor.id);
            if let Some(address) = met.and_then(|peer| peer.addresses.first()) {
                executor.address.clone_from(address);
            }
        }
        Ok(task)
    }

    async fn decide(&self, id: &str, yes: bool) -> Result<(), Refused> {
        let unknown = || Refused::no_such("question", id).hint("`sykli node asks` lists them");
        let number = id.parse().map_err(|_| unknown())?;
        match self.handle.decide(number, yes).await {
            true => Ok(()),
            false => Err(unknown()),
        }
    }

    async fn ping(&self, peer: &str, reply: Reply<Pong>) {
        let peers = match self.status().await {
            Ok(status) => status.peers,
            Err(no) => return reply.refuse(no),
        };
        let found = match find(&peers, peer) {
            Ok(found) => found,
            Err(no) => return reply.refuse(no),
        };
        let Ok(node) = identity::parse(&found.id) else {
            return reply.refuse(Refused::no_such("peer", peer));
        };
        let (mesh, id, relayed) = (self.mesh.clone(), found.id.clone(), found.relayed);
        // It may take as long as the link takes; others are answered meanwhile.
        tokio::spawn(async move {
            reply.send(match mesh.ping(node).await {
                Ok(took) => Ok(Pong {
                    schema: "sykli.pong/1".to_owned(),
                    peer: id,
                    rtt_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                    relayed,
                }),
                Err(error) => {
                    Err(
                        Refused::new(RefusedKind::Failed, error.code(), error.to_string())
                            .hint(error.hint()),
                    )
                }
            });
        });
    }

    fn wish(&self, wish: PeerWish) -> Result<(), Refused> {
        let node =
            |peer: &str| identity::parse(peer).map_err(|error| Refused::invalid(error.to_string()));
        match wish {
            PeerWish::Dial { address } => {
                let address = address.parse().map_err(|error| {
                    Refused::invalid(format!("`{address}` is no address: {error}"))
                })?;
                self.mesh.dial_address(address);
            }
            PeerWish::Disconnect { peer } => self.mesh.disconnect(node(&peer)?),
            PeerWish::Block { peer } => self.mesh.expel(node(&peer)?),
            PeerWish::Trust { .. } | PeerWish::Unblock { .. } => {
                return Err(Refused::new(
                    RefusedKind::Invalid,
                    "control::on-disk",
                    "trust is kept on disk and read at the next greeting",
                )
                .hint("sykli peers trust PEER"));
            }
        }
        Ok(())
    }
}

/// A peer by its id, or by a name that only one has.
fn find<'a>(peers: &'a [PeerView], wanted: &str) -> Result<&'a PeerView, Refused> {
    let mut named = peers
        .iter()
        .filter(|peer| peer.id == wanted || peer.name == wanted);
    match (named.next(), named.next()) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => Err(Refused::invalid(format!(
            "more than one peer is called `{wanted}`"
        ))
        .hint("name it by its peer id: `sykli peers` lists them")),
        (None, _) => Err(Refused::no_such("peer", wanted).hint("`sykli peers` lists them")),
    }
}

fn ending() -> Refused {
    Refused::new(
        RefusedKind::Conflict,
        "control::stopping",
        "the node is stopping",
    )
}

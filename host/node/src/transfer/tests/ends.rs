//! What each end does to the other: a provider that is asked for too much, peers that stand still, transfers that share.

use std::time::Duration;

use super::support::*;
use crate::transfer::Request;
use crate::transfer::{Bounds, Fair, Root, Served, TransferError, compressed_size, fetch, serve};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use sykli_core::blob::{Ask, MAX_OUTSTANDING, PART_BYTES, Want};
use sykli_core::id::Digest;
use sykli_runtime::Source;

const SOON: Duration = Duration::from_millis(60);

fn want(digest: Digest, from: u64) -> Want {
    Want { digest, from }
}

/// How a provider ends that is asked this, and what it answered.
async fn asked(shelf: &Shelf, asks: &[Ask], cap: u64) -> (Result<Served, TransferError>, Vec<u8>) {
    let mut bytes = Vec::new();
    asks.iter().for_each(|ask| ask.encode(&mut bytes));
    let (mut here, there) = pair(1 << 20);
    let asking = async {
        let _ = here.write_all(&bytes).await;
        let mut answer = Vec::new();
        let _ = here.read_to_end(&mut answer).await;
        answer
    };
    let fair = Fair::new(1);
    futures::join!(
        serve(
            there,
            async |_: &Request| Some(shelf.serving(cap, 1)),
            &fair,
            STALL
        ),
        asking
    )
}

#[tokio::test]
async fn a_provider_gives_what_is_reached_and_nothing_else() {
    let mut shelf = Shelf::default();
    let mine = shelf.add(text(10));
    let other = Digest::of(b"a secret of the provider's");
    let ask = [
        Ask::Request(request()),
        Ask::Want(vec![want(other, 0), want(mine, 0)]),
        Ask::End,
    ];
    let (served, answer) = asked(&shelf, &ask, u64::MAX).await;
    assert!(matches!(served, Err(TransferError::Gone(digest)) if digest == other));
    assert_eq!(answer[..5], [0x15, 0, 0, 0, 0]);
    assert_eq!(answer.len(), 5 + 10 + 10, "and the one that it has");
}

#[tokio::test]
async fn a_lease_that_entitles_to_nothing_gets_nothing() {
    let (mut here, there) = pair(1000);
    let fair = Fair::new(1);
    let asking = async {
        let mut bytes = Vec::new();
        Ask::Request(request()).encode(&mut bytes);
        here.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        here.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (served, answer) =
        futures::join!(serve(there, async |_: &Request| None, &fair, STALL), asking);
    assert_eq!(served.unwrap_err().code(), "transfer::refused");
    assert_eq!(answer, [0x16, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_requester_that_breaks_the_rules_is_at_fault() {
    let mut shelf = Shelf::default();
    let small = shelf.add(text(10));
    let large = shelf.add(noise(3 * PART_BYTES));
    let begin = Ask::Request(request());
    let many = vec![want(small, 0); MAX_OUTSTANDING + 1];
    for asks in [
        vec![Ask::End],
        vec![begin.clone(), begin.clone()],
        vec![begin.clone(), Ask::Want(vec![want(small, 1)])],
        vec![begin.clone(), Ask::Want(vec![want(large, 100)])],
        vec![
            begin.clone(),
            Ask::Want(vec![want(large, 3 * PART_BYTES as u64)]),
        ],
        vec![begin.clone(), Ask::Want(many)],
    ] {
        let (served, _) = asked(&shelf, &asks, u64::MAX).await;
        assert_eq!(
            served.unwrap_err().code(),
            "transfer::malformed",
            "{:?}",
            asks.last()
        );
    }
}

#[tokio::test]
async fn a_provider_stops_before_it_gives_more_than_was_agreed() {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![("a".to_owned(), noise(3 * PART_BYTES))]);
    let (_dir, store) = store();
    let cap = 2 * PART_BYTES as u64;
    let (here, there) = pair(1 << 16);
    let fair = Fair::new(2);
    let (fetched, served) = futures::join!(
        fetch(
            here,
            request(),
            Root::Tree(tree),
            &store,
            Bounds { cap, ..NO_BOUND },
            &fair,
            &|_| ()
        ),
        serve(
            there,
            async |_: &Request| Some(shelf.serving(cap, 1)),
            &fair,
            STALL
        ),
    );
    let (fetched, served) = (fetched.unwrap_err(), served.unwrap_err());
    assert_eq!(
        (fetched.code(), fetched.offence()),
        ("transfer::capped", None)
    );
    assert_eq!(
        (served.code(), served.offence()),
        ("transfer::capped", None)
    );
}

#[tokio::test]
async fn content_that_changed_is_gone_and_not_a_lie() {
    // Whole, large, and large when its outline is remembered from before it changed.
    for (len, known) in [
        (900, false),
        (3 * PART_BYTES + 1, false),
        (3 * PART_BYTES + 2, true),
    ] {
        let file = noise(len);
        if known {
            compressed_size(&Source::bytes(file.clone()), 0).unwrap();
        }
        let mut shelf = Shelf::default();
        let tree = shelf.tree(vec![("a".to_owned(), file.clone())]);
        shelf.0.insert(Digest::of(&file), text(len));
        for level in [0, 1] {
            let (_dir, store) = store();
            let (fetched, served) =
                transfer(&shelf, Root::Tree(tree), &store, NO_BOUND, level).await;
            let error = fetched.unwrap_err();
            assert_eq!((error.code(), error.offence()), ("transfer::gone", None));
            assert_eq!(served.unwrap_err().code(), "transfer::gone");
        }
    }
}

#[tokio::test]
async fn a_peer_that_stands_still_is_not_waited_for() {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![("a".to_owned(), noise(2 * PART_BYTES))]);
    let (_dir, store) = store();
    let fair = Fair::new(1);
    let bounds = Bounds {
        stall: SOON,
        ..NO_BOUND
    };
    // One that says nothing, and one that takes nothing either.
    for room in [1 << 20, 1] {
        let (here, there) = pair(room);
        let error = fetch(
            here,
            request(),
            Root::Tree(tree),
            &store,
            bounds,
            &fair,
            &|_| (),
        )
        .await;
        let error = error.unwrap_err();
        assert_eq!(
            (error.code(), error.is_resumable()),
            ("transfer::stalled", true)
        );
        drop(there);
    }
    // One that asks nothing, one that asks and takes nothing, one that asks and never ends.
    for (room, asks) in [
        (1000, vec![]),
        (
            1000,
            vec![Ask::Request(request()), Ask::Want(vec![want(tree, 0); 300])],
        ),
        (
            100_000,
            vec![Ask::Request(request()), Ask::Want(vec![want(tree, 0)])],
        ),
    ] {
        let (mut here, there) = pair(room);
        let mut bytes = Vec::new();
        asks.iter().for_each(|ask| ask.encode(&mut bytes));
        let asking = async {
            here.write_all(&bytes).await.unwrap();
            std::future::pending::<()>().await;
        };
        let serving = serve(
            there,
            async |_: &Request| Some(shelf.serving(u64::MAX, 1)),
            &fair,
            SOON,
        );
        let served = tokio::select! {
            served = serving => served,
            () = asking => unreachable!(),
        };
        assert_eq!(served.unwrap_err().code(), "transfer::stalled");
    }
}

#[tokio::test]
async fn a_byte_now_and_then_is_standing_still() {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![("a".to_owned(), noise(20))]);
    let (_dir, store) = store();
    let (here, mut there) = pair(1000);
    let trickle = async {
        // A header that announces much, and then hardly anything.
        there.write_all(&[0x11, 0, 0, 1, 0]).await.unwrap();
        while there.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let fair = Fair::new(1);
    let bounds = Bounds {
        stall: SOON,
        ..NO_BOUND
    };
    let fetching = fetch(
        here,
        request(),
        Root::Tree(tree),
        &store,
        bounds,
        &fair,
        &|_| (),
    );
    let (fetched, ()) = futures::join!(fetching, trickle);
    assert_eq!(fetched.unwrap_err().code(), "transfer::stalled");
}

#[tokio::test]
async fn a_stream_of_a_few_bytes_is_enough() {
    let mut shelf = Shelf::default();
    let files = (0..300).map(|n| (format!("{n}"), format!("file {n}").into_bytes()));
    let tree = shelf.tree(files.collect());
    let (_dir, store) = store();
    let (here, there) = pair(16);
    let fair = Fair::new(1);
    let (fetched, served) = futures::join!(
        fetch(
            here,
            request(),
            Root::Tree(tree),
            &store,
            NO_BOUND,
            &fair,
            &|_| ()
        ),
        serve(
            there,
            async |_: &Request| Some(shelf.serving(u64::MAX, 1)),
            &fair,
            STALL
        ),
    );
    assert_eq!(fetched.unwrap().bytes, served.unwrap().bytes);
}

#[tokio::test]
async fn a_small_transfer_is_done_long_before_a_large_one_that_began_earlier() {
    let mut shelf = Shelf::default();
    let large = shelf.tree(vec![("a".to_owned(), noise(60 * PART_BYTES))]);
    let small = shelf.tree(vec![("b".to_owned(), noise(4 * PART_BYTES))]);
    let (_dir, store) = store();
    let fair = Fair::new(1);
    let get = |root| {
        let (here, there) = pair(64 * 1024);
        let (fair, store, shelf) = (&fair, &store, &shelf);
        async move {
            let (fetched, served) = futures::join!(
                fetch(
                    here,
                    request(),
                    Root::Tree(root),
                    store,
                    NO_BOUND,
                    fair,
                    &|_| ()
                ),
                serve(
                    there,
                    async |_: &Request| Some(shelf.serving(u64::MAX, 0)),
                    fair,
                    STALL
                ),
            );
            fetched.unwrap();
            served.unwrap();
        }
    };
    let large = std::pin::pin!(get(large));
    match futures::future::select(large, std::pin::pin!(get(small))).await {
        futures::future::Either::Left(_) => panic!("the large one came first"),
        futures::future::Either::Right(((), large)) => large.await,
    }
}

#[tokio::test]
async fn a_store_without_room_is_nobodys_offence() {
    let mut shelf = Shelf::default();
    let tree = shelf.tree(vec![("a".to_owned(), noise(2 * PART_BYTES))]);
    let (dir, store) = store();
    // A file where the folder of unfinished blobs has to be.
    std::fs::remove_dir_all(dir.path().join("tmp")).unwrap();
    std::fs::write(dir.path().join("tmp"), b"").unwrap();
    let (fetched, _) = transfer(&shelf, Root::Tree(tree), &store, NO_BOUND, 1).await;
    let error = fetched.unwrap_err();
    assert!(matches!(error, TransferError::Store(_)), "{error}");
    assert_eq!((error.offence(), error.is_resumable()), (None, false));
}

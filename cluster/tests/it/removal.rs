//! Sites and gateways that go, and what is known of them afterwards.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use twin_cluster::limits::{ACTIVATORS, GRAIN_SHARDS};
use twin_cluster::{Cluster, Enrolment, ExportQuery};
use twin_core::command::{Answer, Command, Precondition};
use twin_core::grain::Reply;
use twin_core::ids::{GatewayId, GatewayName, SiteId, TwinId};
use twin_core::numbers::{AttachmentNo, Boot, OutboxId};
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_transports::auth::GatewayKey;
use twin_transports::frames::device::Call;
use twin_transports::server::{Backend as _, Downlink, VerifiedHello};

use crate::world::{World, document, twin};

/// A session's end, as it is told.
#[derive(Default)]
struct Link(Mutex<Option<&'static str>>);

impl Downlink for Link {
    fn desired_changed(&self, _: &TwinId) {}
    fn detached(&self, _: &TwinId) {}
    fn call(&self, _: Call) -> bool {
        false
    }
    fn close(&self, code: &'static str, _: &str) {
        *self.0.lock() = Some(code);
    }
}

fn site(id: &str) -> SiteId {
    SiteId::new(id).unwrap()
}

fn put_in(site: &SiteId) -> Command {
    let (tags, desired) = (Value::empty_object(), Value::empty_object());
    Command::Put { site: Some(site.clone()), tags, desired, precondition: Precondition::None }
}

fn hello(gateway: &GatewayId, outbox: u8, boot: u64, nonce: u8) -> VerifiedHello {
    VerifiedHello {
        gateway: gateway.clone(),
        outbox: OutboxId([outbox; 16]),
        boot: Boot::new(boot),
        boot_nonce: [nonce; 16],
        agent: String::new(),
        peer: String::new(),
        key: GatewayKey::Secret([0; 32]),
        ends_at: None,
    }
}

async fn twins_of(cluster: &Cluster, site: &SiteId) -> usize {
    let query = ExportQuery { site: Some(site.clone()), limit: 1000, ..ExportQuery::default() };
    cluster.export(query).await.unwrap().twins.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_made_again_cannot_bring_a_disk_from_the_drawer() {
    let world = World::new().await;
    let gateway = GatewayId { site: SiteId::default_site(), name: GatewayName::new("g").unwrap() };
    let open = async |world: &World, hello: VerifiedHello| {
        // As if it was proven with the key that holds now.
        let credential = world.cluster.credential(&hello.gateway).await;
        let hello = VerifiedHello { key: credential.map_or(hello.key, |credential| credential.key), ..hello };
        let link = Arc::new(Link::default());
        world.cluster.open_session(hello, link.clone()).await.map(|_| link)
    };
    let made = world.cluster.add_gateway(&gateway.site, &gateway.name, None).await.unwrap();
    open(&world, hello(&gateway, 1, 5, 5)).await.unwrap();
    let link = open(&world, hello(&gateway, 2, 1, 1)).await.unwrap();
    world.cluster.remove_gateway(&gateway.site, &gateway.name).await.unwrap();
    assert_eq!(*link.0.lock(), Some("revoked"));
    assert!(world.cluster.site(&gateway.site).await.unwrap().gateways.is_empty());
    assert!(world.cluster.credential(&gateway).await.is_none());
    let gone = Refusal::GatewayNotFound { site: gateway.site.clone(), name: gateway.name.clone() };
    assert_eq!(open(&world, hello(&gateway, 2, 2, 2)).await.err(), Some(gone.clone()));
    assert_eq!(world.cluster.remove_gateway(&gateway.site, &gateway.name).await, Err(gone));

    let world = world.restart().await;
    let again = world.cluster.add_gateway(&gateway.site, &gateway.name, None).await.unwrap();
    assert_ne!(again.secret, made.secret);
    for (outbox, boot, nonce) in [(1, 9, 9), (2, 1, 7)] {
        let refused = open(&world, hello(&gateway, outbox, boot, nonce)).await.err();
        assert!(matches!(refused, Some(Refusal::StaleBoot { .. })), "outbox {outbox} boot {boot}: {refused:?}");
    }
    open(&world, hello(&gateway, 2, 2, 2)).await.unwrap();
    open(&world, hello(&gateway, 3, 1, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_marked_goes_after_a_restart_without_being_asked_for() {
    let world = World::new().await;
    let store = site("store-1");
    world.cluster.put_site(&store, Enrolment::Open).await.unwrap();
    world.cluster.add_gateway(&store, &GatewayName::new("g").unwrap(), None).await.unwrap();
    let mut before = None;
    for number in 0..300 {
        before = Some(document(world.cluster.call(&twin(&format!("l-{number}")), put_in(&store), 10).await));
    }
    // Begun, and not waited for.
    world.cluster.remove_site(&store, true).await.unwrap();
    let refused = world.cluster.call(&twin("new"), put_in(&store), 10).await;
    assert!(matches!(refused, Err(Refusal::SiteDeleting { .. } | Refusal::SiteNotFound { .. })), "{refused:?}");

    let world = world.restart().await;
    let waited = tokio::time::Instant::now();
    while world.cluster.site(&store).await.is_ok() {
        assert!(
            waited.elapsed() < Duration::from_secs(20),
            "{} twins are left",
            twins_of(&world.cluster, &store).await
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(twins_of(&world.cluster, &store).await, 0);
    assert!(world.cluster.put_site(&store, Enrolment::Open).await.unwrap());
    let view = world.cluster.site(&store).await.unwrap();
    assert_eq!((view.gateways.len(), view.epoch, view.deleting), (0, 2, false));
    let after = document(world.cluster.call(&twin("l-299"), put_in(&store), 10).await);
    assert!(after.incarnation > before.unwrap().incarnation);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_twin_that_comes_and_its_site_that_goes_at_once_only_one_succeeds() {
    let world = World::new().await;
    let store = site("store-1");
    let (mut came, mut went) = (0, 0);
    for round in 0..200 {
        world.cluster.put_site(&store, Enrolment::Open).await.unwrap();
        let id = twin(&format!("l-{round}"));
        let put = world.cluster.call(&id, put_in(&store), 10);
        let remove = async {
            // Sometimes a little later.
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            world.cluster.remove_site(&store, false).await
        };
        match tokio::join!(put, remove) {
            (Ok(_), Err(Refusal::SiteNotEmpty { .. })) => {
                came += 1;
                assert_eq!(twins_of(&world.cluster, &store).await, 1);
                world.cluster.call(&id, Command::Delete { precondition: Precondition::None }, 0).await.unwrap();
            }
            (Err(Refusal::Busy { .. } | Refusal::SiteNotFound { .. }), Ok(_)) => went += 1,
            other => panic!("round {round}: {other:?}"),
        }
    }
    println!("{came} came, {went} went");
    assert!(came > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attach_makes_no_twin_in_a_site_that_goes() {
    let world = World::new().await;
    let store = site("store-1");
    world.cluster.put_site(&store, Enrolment::Open).await.unwrap();
    let mut sender = crate::world::sender("g");
    sender.gateway.site = store.clone();
    let attach = |id: &str| {
        let (told, answer) = tokio::sync::oneshot::channel();
        let command = Command::Attach { sender: sender.clone(), saw: AttachmentNo::new(0), may_create: true };
        let reply = twin_core::grain::Reply::once(move |answer| told.send(answer).unwrap());
        twin_transports::server::Backend::submit(&world.cluster, &twin(id), command, 100, reply);
        async { answer.await.unwrap() }
    };
    assert!(matches!(attach("a").await, Ok(Answer::Attached { .. })));
    let removal = world.cluster.remove_site(&store, true).await.unwrap();
    let late: Vec<_> = (0..200).map(|n| attach(&format!("late-{n}"))).collect();
    for answer in late {
        let answer = answer.await;
        assert!(matches!(answer, Err(Refusal::NotFound { .. })), "{answer:?}");
    }
    removal.done().await;
    assert_eq!(twins_of(&world.cluster, &store).await, 0);
    assert!(matches!(world.read("a").await, Err(Refusal::NotFound { .. })));
}

/// A twin that is put into a site may be anywhere between the look at the site's row and its commit when the site goes. Held there,
/// by an answer that its grain cannot get rid of, it shows whether the deletion waits for it: without that the site would be gone by
/// the time that the twin is committed into it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_site_does_not_go_while_a_twin_is_on_its_way_into_it() {
    let world = World::new().await;
    let store = site("store-1");
    world.cluster.put_site(&store, Enrolment::Open).await.unwrap();
    let late = twin("late");
    let (is_held, held) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let hold = Reply::once(move |_| {
        is_held.send(()).unwrap();
        let _ = released.recv_timeout(Duration::from_secs(60));
    });
    world.cluster.submit(&late, Command::Read, 0, hold);
    tokio::task::spawn_blocking(move || held.recv_timeout(Duration::from_secs(20))).await.unwrap().unwrap();
    // One more before it, so that it has to wait.
    world.cluster.submit(&late, Command::Read, 0, Reply::once(|_| ()));
    let (answer, answered) = tokio::sync::oneshot::channel();
    world.cluster.submit(&late, put_in(&store), 10, Reply::once(move |put| drop(answer.send(put))));

    let (cluster, going) = (world.cluster.clone(), store.clone());
    let mut removal = tokio::spawn(async move { cluster.remove_site(&going, true).await.unwrap().done().await });
    // From when it is asked for nobody else comes in.
    let begun = tokio::time::Instant::now();
    // Twins of other activators: that of the one that is held stands still.
    let activator = |twin: &TwinId| twin_cluster::slots::hash(twin) as usize / GRAIN_SHARDS % ACTIVATORS;
    let others =
        (0..).map(|number| twin(&format!("other-{number}"))).filter(|other| activator(other) != activator(&late));
    for other in others {
        let refused = world.cluster.call(&other, put_in(&store), 10).await;
        match refused {
            Err(Refusal::Busy { what, .. }) if what.contains("gate") => break,
            Err(Refusal::SiteDeleting { .. } | Refusal::SiteNotFound { .. }) => break,
            _ => assert!(begun.elapsed() < Duration::from_secs(20), "the gate stays open: {refused:?}"),
        }
    }
    let early = tokio::time::timeout(Duration::from_millis(500), &mut removal).await;
    release.send(()).unwrap();
    if early.is_err() {
        removal.await.unwrap();
    }
    document(answered.await.unwrap());
    let read = world.read("late").await;
    assert!(matches!(read, Err(Refusal::NotFound { .. })), "it is in a site that is gone: {read:?}");
    assert!(early.is_err(), "the site was gone before what came into it was answered");
    assert!(matches!(world.cluster.site(&store).await, Err(Refusal::SiteNotFound { .. })));
    assert_eq!(twins_of(&world.cluster, &store).await, 0);
}

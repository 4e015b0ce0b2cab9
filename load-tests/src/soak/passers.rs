//! Gateways that pass by: they connect, attach a few devices, beat, and go; some vanish without a word.
//!
//! Sessions by hand (see `hand_session`), each visit on a socket of its own. Whoever vanishes takes its runtime with it, so that nothing is
//! sent any more: the node notices by silence.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use twin_core::ids::TwinId;
use twin_core::numbers::{AttachmentNo, Boot, Stay, Version};
use twin_core::refusal::Refusal;
use twin_gateway::Credentials;
use twin_transports::codec::encode_datagram;
use twin_transports::endpoint::client_endpoint;
use twin_transports::frames::device::AttachItem;
use twin_transports::frames::session::Heartbeat;

use super::scene::{Scene, Tally, between_ms};
use crate::hand_session::{HandSession, Run};

/// Those who say goodbye, one task each.
pub(super) const POLITE: u32 = 12;
/// Those who vanish come in turn, some at a time; by the time that one comes again the node has noticed.
pub(super) const VANISHING: u32 = 60;
const VANISH_TOGETHER: usize = 3;
/// Devices of each.
const DEVICES: u32 = 5;
/// How long they stay and are away.
const STAY_MS: (u64, u64) = (300, 4_000);
const AWAY_MS: (u64, u64) = (50, 1_000);
/// Their devices' only stay: a known one gets its number again.
const STAY: Stay = Stay { boot: Boot::new(1), counter: 1 };

/// One of them.
struct Passer {
    credentials: Credentials,
    run: Run,
    number: u32,
}

impl Passer {
    fn new((number, credentials): (u32, Credentials)) -> Self {
        Self { credentials, run: Run::random(), number }
    }

    /// Comes: with the outbox that it always has, started anew.
    async fn come(&mut self, scene: &Scene) -> anyhow::Result<(quinn::Endpoint, HandSession)> {
        let endpoint = client_endpoint(scene.quic)?;
        self.run.boot = self.run.boot.next();
        self.run.boot_nonce = rand::random();
        let agent = format!("passer/{}", self.number);
        let mut session = HandSession::open(&endpoint, scene.quic, &self.credentials, self.run, agent).await?;
        let item = |device: u32| {
            let twin = TwinId::new(&format!("passer-{}-{device}", self.number))?;
            anyhow::Ok(AttachItem { twin, stay: STAY, saw: AttachmentNo::default(), knows: Version::new(1) })
        };
        session.attach((0..DEVICES).map(item).collect::<anyhow::Result<_>>()?).await?;
        let heartbeat = Heartbeat { number: 1, ..Heartbeat::default() };
        session.connection.send_datagram(encode_datagram(&heartbeat))?;
        Tally::add(&scene.tally.passed, 1);
        Ok((endpoint, session))
    }
}

/// Lets them pass until it is over. The credentials are for all of them: the polite ones first.
pub(super) fn spawn(scene: &Arc<Scene>, credentials: Vec<Credentials>, tasks: &mut JoinSet<anyhow::Result<()>>) {
    let mut passers: Vec<Passer> = (0..).zip(credentials).map(Passer::new).collect();
    let vanishing = passers.split_off((POLITE as usize).min(passers.len()));
    for passer in passers {
        tasks.spawn(pass_by(Arc::clone(scene), passer));
    }
    let scene = Arc::clone(scene);
    tasks.spawn_blocking(move || vanish(&scene, vanishing));
}

async fn pass_by(scene: Arc<Scene>, mut passer: Passer) -> anyhow::Result<()> {
    while !scene.pause(between_ms(AWAY_MS.0, AWAY_MS.1)).await {
        match passer.come(&scene).await {
            Ok((endpoint, session)) => {
                scene.pause(between_ms(STAY_MS.0, STAY_MS.1)).await;
                drop(session);
                endpoint.close(0_u32.into(), b"bye");
                endpoint.wait_idle().await;
            }
            Err(error) => refused(scene.as_ref(), &passer, &error),
        }
    }
    Ok(())
}

/// A node may be busy; anything else is unexpected.
fn refused(scene: &Scene, passer: &Passer, error: &anyhow::Error) {
    if error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.retry_after().is_some()) {
        Tally::add(&scene.tally.refused, 1);
    } else {
        scene.tally.unexpected(|| format!("passer {}: {error:#}", passer.number));
    }
}

fn vanish(scene: &Scene, mut passers: Vec<Passer>) -> anyhow::Result<()> {
    while !scene.rest_a_while(Duration::from_secs(2)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let together = VANISH_TOGETHER.min(passers.len());
        let mut sessions = Vec::new();
        for passer in &mut passers[..together] {
            match runtime.block_on(passer.come(scene)) {
                Ok(session) => sessions.push(session),
                Err(error) => refused(scene, passer, &error),
            }
        }
        // The runtime first: its sockets go with it, and the sessions have nothing left to say goodbye by.
        drop(runtime);
        Tally::add(&scene.tally.vanished, sessions.len() as u64);
        drop(sessions);
        passers.rotate_left(together);
    }
    Ok(())
}

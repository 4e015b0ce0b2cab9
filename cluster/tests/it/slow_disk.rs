//! Many gateways at a node whose disk is slow, through real sessions: what there is no room for waits in their outboxes, up to their
//! caps, and all of it goes when the disk is fast again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use twin_cluster::{Cluster, ClusterOptions, Enrolment};
use twin_core::clock::SystemClock;
use twin_core::command::{Answer, Command};
use twin_core::ids::{GatewayName, SiteId, TwinId};
use twin_core::value::Value;
use twin_faulty_disk::FaultyDisk;
use twin_gateway::limits::OUTBOX_BYTES_MIN;
use twin_gateway::{Credentials, Gateway, Options, Report};
use twin_storage::Storage;
use twin_transports::auth::GatewaySecret;
use twin_transports::server::{Server, ServerOptions};
use twin_transports::tls::{NodeCertificates, SERVER_NAME};

use crate::faulty_disk::{GatewayDisk, NodeDisk};

/// Far below what the gateways have between them.
const BUDGET_BYTES: usize = 512 * 1024;
const GATEWAYS: usize = 16;
const DEVICES: u64 = 8;
/// Reports of one call.
const AT_ONCE: u64 = 64;
/// Of each write and sync: a commit takes some of them.
const SLOW: Duration = Duration::from_millis(15);
const DEADLINE: Duration = Duration::from_secs(120);

struct Store {
    cluster: Cluster,
    disk: FaultyDisk,
    gateways: Vec<Gateway>,
    _folder: tempfile::TempDir,
}

fn label(gateway: usize, device: u64) -> TwinId {
    TwinId::new(&format!("g{gateway}-{device}")).unwrap()
}

impl Store {
    async fn open() -> Self {
        let (disk, folder) = (FaultyDisk::new(), tempfile::tempdir().unwrap());
        let storage = Storage::open(twin_storage::Options::on_disk(Arc::new(NodeDisk(disk.clone())))).unwrap();
        let options = ClusterOptions { admitted_bytes_max: BUDGET_BYTES, ..ClusterOptions::default() };
        let cluster = Cluster::start(storage, options, Arc::new(SystemClock::new())).await.unwrap();
        let certificates = NodeCertificates::load_or_create(folder.path(), SERVER_NAME, &[]).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let options = ServerOptions::new(address, certificates.quic_server_config().unwrap());
        let server = Server::bind(options, Arc::new(cluster.clone())).unwrap();
        let node = server.handle().local_addr().to_string();
        tokio::spawn(server.run());
        let site = SiteId::new("store").unwrap();
        cluster.put_site(&site, Enrolment::Open).await.unwrap();
        let mut gateways = Vec::new();
        for number in 0..GATEWAYS {
            let name = GatewayName::new(&format!("g{number}")).unwrap();
            let made = cluster.add_gateway(&site, &name, None).await.unwrap();
            let credentials = Credentials {
                site: made.site,
                name: made.name,
                product_key: made.product_key,
                identity: GatewaySecret::from_bytes(&made.secret.unwrap()).unwrap().into(),
                ca: certificates.ca_pem(),
                server_name: SERVER_NAME.into(),
                file: None,
            };
            let mut options = Options::new(&node, credentials, folder.path().join(format!("g{number}")));
            // Nobody else's disk is slow.
            options.disk = Some(Arc::new(GatewayDisk(FaultyDisk::new())));
            options.outbox_bytes_max = OUTBOX_BYTES_MIN;
            options.coalesce = false;
            gateways.push(Gateway::open(options).unwrap());
        }
        for (number, gateway) in gateways.iter().enumerate() {
            for device in 0..DEVICES {
                gateway.report(&label(number, device), &json!({"n": 0})).await.unwrap().acked().await.unwrap();
            }
        }
        Self { cluster, disk, gateways, _folder: folder }
    }

    fn backlog_bytes(&self) -> Vec<u64> {
        self.gateways.iter().map(|gateway| gateway.status().backlog_bytes).collect()
    }

    fn acked(&self) -> u64 {
        self.gateways.iter().map(|gateway| gateway.status().counters.acked).sum()
    }
}

/// Reports to each of its devices in turn until it is told to stop; how many reports were taken, and how many were refused for the cap.
async fn flood(number: usize, gateway: Gateway, stop: Arc<AtomicBool>, full: Arc<AtomicU64>) -> u64 {
    let (mut taken, mut was_full) = (0, false);
    while !stop.load(Ordering::Relaxed) {
        let reports = (taken..taken + AT_ONCE).map(|n| {
            let patch = json!({"n": n + 1, "text": "x".repeat(200)});
            Report::new(label(number, n % DEVICES), serde_json::from_value::<Value>(patch).unwrap())
        });
        match gateway.report_all(reports.collect()).await {
            Ok(_) => taken += AT_ONCE,
            Err(error) if error.is_full() => {
                if !std::mem::replace(&mut was_full, true) {
                    full.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_fills_outboxes_to_their_caps_and_nothing_else_and_all_goes_when_it_is_fast_again() {
    let store = Store::open().await;
    let before = store.cluster.stats();
    store.disk.be_slow(SLOW);
    let (stop, full) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let floods: Vec<_> = store
        .gateways
        .iter()
        .enumerate()
        .map(|(number, gateway)| tokio::spawn(flood(number, gateway.clone(), stop.clone(), full.clone())))
        .collect();
    let begun = Instant::now();
    let (mut peak_bytes, mut fullest_bytes) = (0, 0);
    let mut look = || {
        peak_bytes = peak_bytes.max(store.cluster.stats().admitted_bytes);
        fullest_bytes = fullest_bytes.max(store.backlog_bytes().into_iter().max().unwrap_or(0));
    };
    while full.load(Ordering::Relaxed) < GATEWAYS as u64 {
        assert!(begun.elapsed() < DEADLINE, "the outboxes never filled: {:?}", store.backlog_bytes());
        look();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Full is no end: what is acked makes room, and so it goes on.
    let acked = store.acked();
    while store.acked() < acked + GATEWAYS as u64 * DEVICES {
        assert!(begun.elapsed() < DEADLINE, "nothing goes any more");
        look();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut taken = Vec::new();
    for flood in floods {
        taken.push(flood.await.unwrap());
    }
    let slow_for = begun.elapsed();
    store.disk.be_slow(Duration::ZERO);
    for gateway in &store.gateways {
        let left = DEADLINE.saturating_sub(begun.elapsed());
        tokio::time::timeout(left, gateway.drained()).await.expect("all goes").unwrap();
    }
    let after = store.cluster.stats();
    let refused = after.commands_busy - before.commands_busy;
    let commands = after.commands - before.commands;
    let reports = taken.iter().sum::<u64>();
    println!(
        "{reports} reports, slow for {slow_for:?}; at most {peak_bytes} bytes admitted of {BUDGET_BYTES}, {fullest_bytes} in an outbox of {OUTBOX_BYTES_MIN}; {refused} of {commands} commands refused"
    );
    // What is being refused counts for a moment, too.
    assert!(peak_bytes <= 2 * BUDGET_BYTES as u64, "{peak_bytes}");
    assert!(fullest_bytes <= OUTBOX_BYTES_MIN, "{fullest_bytes}");
    // Credit keeps back what would be refused: sent again and again, it would be work for nothing.
    assert!(refused * 100 <= reports, "{refused} of {reports} refused");

    for (number, taken) in taken.into_iter().enumerate() {
        let status = store.gateways[number].status();
        assert_eq!((status.backlog_messages, status.dead_letters), (0, 0));
        assert!(status.counters.credit_waits > 0, "its outbox held what the node had no room for");
        for device in 0..DEVICES.min(taken) {
            let answer = store.cluster.call(&label(number, device), Command::Read, 0).await.unwrap();
            let Answer::Document { document, .. } = answer else { panic!("{answer:?}") };
            // Its last report, and each of them once: the first version is 1, and the attach's report made the second.
            let reports = taken / DEVICES + u64::from(taken % DEVICES > device);
            let last = (reports - 1) * DEVICES + device + 1;
            assert_eq!(document.reported.as_object().unwrap().get("n"), Some(&last.cast_signed().into()));
            assert_eq!(document.reported_version.get(), 2 + reports);
        }
    }
    for gateway in &store.gateways {
        gateway.shutdown().await;
    }
    store.cluster.shutdown().await;
}

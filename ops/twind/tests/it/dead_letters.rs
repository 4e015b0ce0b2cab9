//! The dead letters of a gateway in the hands of its owner, with the real program.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use twin_core::ids::TwinId;
use twin_gateway::{Credentials, Gateway, Options, Report, TwinLink};

use crate::process::Twind;
use crate::simulator::program;

const TIMEOUT: Duration = Duration::from_secs(30);

fn dead_letters(arguments: &[&str], state: &Path) -> Output {
    let mut command = Command::new(program());
    command.arg("dead-letters").args(arguments).arg("--state").arg(state);
    command.env_remove("RUST_LOG").output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The folder of a gateway of the store.
struct Store {
    folder: tempfile::TempDir,
    quic: String,
}

impl Store {
    fn new(node: &Twind, name: &str) -> Self {
        let (status, credentials) = node.request("POST", "sites/store/gateways", Some(json!({ "name": name })));
        assert_eq!(status, 201, "{credentials}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gw.json"), credentials.to_string()).unwrap();
        Self { folder, quic: node.ready["quic"].as_str().unwrap().to_owned() }
    }

    fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    fn open(&self) -> Gateway {
        let credentials = Credentials::load(self.folder.path().join("gw.json")).unwrap();
        Gateway::open(Options::new(self.quic.clone(), credentials, self.state())).unwrap()
    }
}

async fn report(gateway: &Gateway, label: &TwinId, by: &str) -> bool {
    let receipt = gateway.report(label, &json!({ "by": by })).await.unwrap();
    tokio::time::timeout(TIMEOUT, receipt.acked()).await.expect("in time").is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_lists_replays_and_discards_what_was_refused_for_good() {
    let data = tempfile::tempdir().unwrap();
    let node = Twind::start(data.path());
    assert!(node.request("PUT", "sites/store", Some(json!({"enrolment": "open"}))).0 < 300);
    let (ours, other) = (Store::new(&node, "ours"), Store::new(&node, "other"));
    let label = TwinId::new("label-1").unwrap();
    let (gateway, roamed_to) = (ours.open(), other.open());
    assert!(report(&gateway, &label, "ours").await);
    // The other hears the device, learns of our attachment, and claims it when it hears the device again.
    roamed_to.report(&label, &json!({"by": "other"})).await.unwrap();
    let conflict = async {
        while !matches!(roamed_to.link(&label), TwinLink::Conflict { .. }) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, conflict).await.expect("in time");
    assert!(report(&roamed_to, &label, "other").await);
    let late = gateway.report_many(
        ["late", "later"]
            .map(|by| {
                Report::new(
                    label.clone(),
                    serde_json::from_value::<twin_core::value::Value>(json!({ "by": by })).unwrap(),
                )
            })
            .into(),
    );
    for receipt in late.await.unwrap() {
        assert!(tokio::time::timeout(TIMEOUT, receipt.acked()).await.expect("in time").is_err());
    }

    let busy = dead_letters(&["list"], &ours.state());
    let told = String::from_utf8_lossy(&busy.stderr).into_owned();
    assert!(!busy.status.success() && told.contains("another gateway") && told.contains("outbox.redb"), "{told}");
    gateway.shutdown().await;
    drop(gateway);

    let list = stdout(&dead_letters(&["list", "--json"], &ours.state()));
    let letters: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), 2, "{list}");
    for (letter, by) in letters.iter().zip(["late", "later"]) {
        assert_eq!(letter["twin"], "label-1");
        assert_eq!(letter["code"], "superseded");
        assert_eq!(letter["outlook"], "outdated", "the device may have said more since");
        assert_eq!(letter["body"], json!({"report": [{"set": "/by", "value": by}]}));
    }
    let id = |place: usize| letters[place]["id"].as_str().unwrap().to_owned();
    assert!(stdout(&dead_letters(&["list"], &ours.state())).contains("\tlabel-1\tstate\toutdated\tsuperseded\t"));
    assert_eq!(stdout(&dead_letters(&["replay", "--all"], &ours.state())), "replayed=0 outdated=2 useless=0\n");
    assert_eq!(stdout(&dead_letters(&["discard", &id(0)], &ours.state())), "discarded=1\n");
    assert_eq!(stdout(&dead_letters(&["replay", &id(1)], &ours.state())), "replayed=1\n");
    let again = dead_letters(&["replay", &id(1)], &ours.state());
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("there is no dead letter"));
    assert!(stdout(&dead_letters(&["list"], &ours.state())).is_empty());

    // The gateway runs again, and hears the device: what is replayed goes.
    let gateway = ours.open();
    assert_eq!(gateway.status().backlog_messages, 1);
    let drained = async {
        while gateway.status().backlog_messages > 0 {
            gateway.attach(&label).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, drained).await.expect("in time");
    let (status, twin) = node.request("GET", "twins/label-1", None);
    assert_eq!((status, &twin["properties"]["reported"]["by"]), (200, &json!("later")), "{twin}");
    assert!(gateway.dead_letters().is_empty());
    gateway.shutdown().await;
    roamed_to.shutdown().await;
}

#[test]
fn a_folder_without_an_outbox_is_told_and_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let output = dead_letters(&["list"], folder.path());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("state directory of a gateway"), "{told}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

//! A gateway's credentials reach one file and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::server::{Server, answer, json, problem};
use crate::twinctl::Operator;

const SECRET: &str = "c2VjcmV0LXRoYXQtaXMtc2hvd24tb25jZQ==";

fn credentials() -> String {
    format!(r#"{{"version":1,"site":"s","name":"g","productKey":"p","secret":"{SECRET}","ca":"PEM","serverName":"n"}}"#)
}

const ADD: [&str; 8] = ["gateway", "add", "--site", "s", "--name", "g", "--out", "g.json"];

#[test]
fn credentials_go_to_a_file_that_only_its_owner_reads() {
    for extra in [&[][..], &["--json"]] {
        let server = Server::start([json("201 Created", &credentials())]);
        let operator = Operator::new();
        let ran = operator.run(&server.url(), &[extra, &ADD].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        let file = operator.path("g.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&file).unwrap(), credentials());
        assert!(!ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "{ran:?}");
        let asked = server.asked();
        assert_eq!(asked.line, "POST /api/v1/sites/s/gateways");
        assert_eq!(asked.body, r#"{"name":"g"}"#);
    }
}

#[test]
fn an_existing_file_is_not_overwritten_and_no_credentials_are_made() {
    let operator = Operator::new();
    fs::write(operator.path("g.json"), "the only copy").unwrap();
    // Nobody listens there: had the node been asked, the exit code would be 3.
    let ran = operator.run("http://127.0.0.1:9", &ADD);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("g.json exists and is not overwritten"), "{ran:?}");
    assert_eq!(fs::read_to_string(operator.path("g.json")).unwrap(), "the only copy");
}

#[test]
fn a_refusal_leaves_no_file() {
    let body = r#"{"title":"Site not found","code":"site-not-found","detail":"there is no site s"}"#;
    let server = Server::start([problem("404 Not Found", "", body)]);
    let operator = Operator::new();
    let ran = operator.run(&server.url(), &ADD);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("[site-not-found]"), "{ran:?}");
    assert!(!operator.path("g.json").exists());
}

#[test]
fn an_odd_answer_leaves_no_file_and_does_not_show_the_secret() {
    let server = Server::start([json("201 Created", &format!(r#"{{"secrets":["{SECRET}"]}}"#))]);
    let operator = Operator::new();
    let ran = operator.run(&server.url(), &ADD);
    assert_eq!(ran.code, 1);
    assert!(!ran.stderr.contains(SECRET), "{ran:?}");
    assert!(!operator.path("g.json").exists());
}

#[test]
fn a_gateway_is_revoked_by_name() {
    let server = Server::start([answer("204 No Content", "", "")]);
    let ran = Operator::new().run(&server.url(), &["gateway", "rm", "--site", "s", "--name", "g"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "gateway s/g: revoked\n"));
    assert_eq!(server.asked().line, "DELETE /api/v1/sites/s/gateways/g");
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn of_certificate() -> String {
    r#"{"version":2,"site":"s","name":"g","productKey":"p","certificateFile":"g.crt","keyFile":"g.key","ca":"PEM","serverName":"n"}"#
        .to_owned()
}

#[test]
fn a_certificate_is_sent_and_the_file_names_where_the_gateway_has_it_and_its_key() {
    let rotate = ["gateway", "rotate", "--site", "s", "--name", "g", "--out", "g.json", "--overlap", "1h"];
    for (verb, line) in
        [(&ADD[..], "POST /api/v1/sites/s/gateways"), (&rotate[..], "POST /api/v1/sites/s/gateways/g/keys")]
    {
        let server = Server::start([json("201 Created", &of_certificate())]);
        let operator = Operator::new();
        fs::write(operator.path("own.pem"), CERTIFICATE).unwrap();
        let ran =
            operator.run(&server.url(), &[verb, &["--certificate", "own.pem", "--key-at", "/etc/gw/own.key"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        let file: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(operator.path("g.json")).unwrap()).unwrap();
        assert_eq!((&file["certificateFile"], &file["keyFile"]), (&"own.pem".into(), &"/etc/gw/own.key".into()));
        assert_eq!((&file["version"], &file["ca"]), (&2.into(), &"PEM".into()));
        let asked = server.asked();
        assert_eq!(asked.line, line);
        let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(body["certificate"], CERTIFICATE);
    }
}

#[test]
fn a_private_key_is_not_sent_and_an_answer_with_a_secret_is_not_taken_for_a_certificates() {
    let operator = Operator::new();
    fs::write(operator.path("both.pem"), format!("{CERTIFICATE}-----BEGIN PRIVATE KEY-----\n")).unwrap();
    // Nobody listens there: had the node been asked, the exit code would be 3.
    let ran = operator.run("http://127.0.0.1:9", &[&ADD[..], &["--certificate", "both.pem"]].concat());
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("a private key is in it"), "{ran:?}");
    assert!(!operator.path("g.json").exists());
    let server = Server::start([json("201 Created", &credentials())]);
    fs::write(operator.path("own.pem"), CERTIFICATE).unwrap();
    let ran = operator.run(&server.url(), &[&ADD[..], &["--certificate", "own.pem"]].concat());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(!ran.stderr.contains(SECRET) && !operator.path("g.json").exists(), "{ran:?}");
}

/// A pipe may be given, as a shell's `<(...)` is one; what never ends, and what is no file, is refused before the node is asked.
#[test]
fn a_certificate_that_never_ends_is_not_read_to_its_end() {
    let operator = Operator::new();
    for (named, why) in [("/dev/zero", "65536 bytes"), ("/", "directory")] {
        let ran = operator.run("http://127.0.0.1:9", &[&ADD[..], &["--certificate", named]].concat());
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(named) && ran.stderr.contains(why), "{ran:?}");
    }
    let ran = operator.run("https://127.0.0.1:9", &["--ca", "/dev/zero", "site", "ls"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("/dev/zero") && ran.stderr.contains("4194304 bytes"), "{ran:?}");
}

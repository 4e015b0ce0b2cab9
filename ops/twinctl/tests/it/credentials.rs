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

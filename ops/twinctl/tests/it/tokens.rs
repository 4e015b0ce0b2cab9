//! Tokens, rotation, the audit log and lists of devices.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::server::{Server, answer, json};
use crate::twinctl::Operator;

const MADE: &str =
    r#"{"name":"ci","scope":"steer","createdAt":"t","expiresAt":null,"expired":false,"token":"twm.ci.shown-once"}"#;

#[test]
fn a_token_goes_to_a_file_that_is_a_token_file_and_nowhere_else() {
    let server = Server::start([json("201 Created", MADE), json("200 OK", r#"{"sites":[]}"#)]);
    let operator = Operator::new();
    let add = ["token", "add", "ci", "--scope", "steer", "--expires-in", "90d", "--out", "ci.token"];
    let ran = operator.run(&server.url(), &add);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "token ci: scope steer, in ci.token\n"), "{ran:?}");
    let file = operator.path("ci.token");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&file).unwrap(), "twm.ci.shown-once\n");
    let asked = server.asked();
    assert_eq!(asked.line, "POST /api/v1/tokens");
    assert_eq!(asked.body, r#"{"expiresInSeconds":7776000,"name":"ci","scope":"steer"}"#);
    operator.run(&server.url(), &["site", "ls", "--token-file", "ci.token"]);
    assert_eq!(operator.run(&server.url(), &add).code, 2, "it is not overwritten");
    let bad = ["token", "add", "x", "--scope", "read", "--expires-in", "soon", "--out", "x.token"];
    assert_eq!(operator.run(&server.url(), &bad).code, 2);
}

#[test]
fn tokens_are_listed_and_revoked() {
    let list = r#"{"tokens":[{"name":"admin","scope":"operate","createdAt":"t1","expiresAt":null,"expired":false},
        {"name":"ci","scope":"read","createdAt":"t2","expiresAt":"t3","expired":true}]}"#;
    let server = Server::start([json("200 OK", list), answer("204 No Content", "", "")]);
    let operator = Operator::new();
    let shown = operator.run(&server.url(), &["token", "list"]).stdout;
    assert!(
        shown.contains("admin  operate  t1    never\n") && shown.contains("ci     read     t2    t3 (over)\n"),
        "{shown}"
    );
    let revoked = operator.run(&server.url(), &["token", "revoke", "ci"]);
    assert_eq!((revoked.code, revoked.stdout.as_str()), (0, "token ci: revoked\n"));
    server.asked();
    assert_eq!(server.asked().line, "DELETE /api/v1/tokens/ci");
}

#[test]
fn a_gateway_is_rotated_into_a_new_file() {
    let credentials =
        r#"{"version":1,"site":"s","name":"g","productKey":"p","secret":"c2VjcmV0","ca":"PEM","serverName":"n"}"#;
    let server = Server::start([json("201 Created", credentials), answer("204 No Content", "", "")]);
    let operator = Operator::new();
    let rotate = ["gateway", "rotate", "--site", "s", "--name", "g", "--out", "new.json", "--overlap", "12h"];
    assert_eq!(operator.run(&server.url(), &rotate).code, 0);
    assert_eq!(fs::read_to_string(operator.path("new.json")).unwrap(), credentials);
    let asked = server.asked();
    assert_eq!(
        (asked.line.as_str(), asked.body.as_str()),
        ("POST /api/v1/sites/s/gateways/g/keys", r#"{"overlapSeconds":43200}"#)
    );
    let ended = operator.run(&server.url(), &["gateway", "end-old-key", "--site", "s", "--name", "g"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "gateway s/g: its old key has ended\n"));
    assert_eq!(server.asked().line, "DELETE /api/v1/sites/s/gateways/g/keys/old");
}

#[test]
fn the_audit_log_is_a_table_newest_first_and_as_long_as_asked() {
    let page = |entries: &str, next: &str| json("200 OK", &format!(r#"{{"entries":[{entries}],"next":{next}}}"#));
    let change = r#"{"n":9,"at":"t9","kind":"changes","what":"PUT /sites/{id}","who":"admin","from":"10.0.0.1:5","target":"/api/v1/sites/s","status":201}"#;
    let begun = r#"{"n":8,"at":"t8","kind":"changes","what":"POST /tokens","who":"admin","from":"10.0.0.1:5","target":"/api/v1/tokens"}"#;
    let guesses = r#"{"n":7,"at":"t7","kind":"security","what":"token-refused","from":"10.0.0.9","count":40}"#;
    let server = Server::start([page(&format!("{change},{begun}"), "8"), page(guesses, "null")]);
    let shown = Operator::new().run(&server.url(), &["audit", "--limit", "10"]).stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[1].starts_with("9 ") && lines[1].contains(" 201 "), "{shown}");
    assert!(lines[2].contains("not known") && lines[3].contains("40 times"), "{shown}");
    assert_eq!(server.asked().line, "GET /api/v1/audit?limit=10");
    assert_eq!(server.asked().line, "GET /api/v1/audit?limit=8&before=8");
}

#[test]
fn ids_of_a_list_come_from_a_file() {
    let server = Server::start([
        json("200 OK", r#"{"added":2,"removed":0,"total":2}"#),
        json("200 OK", r#"{"devices":["a"],"next":"a"}"#),
        json("200 OK", r#"{"devices":["b"],"next":null}"#),
    ]);
    let operator = Operator::new();
    fs::write(operator.path("ids"), "a\n\n b \n").unwrap();
    let added = operator.run(&server.url(), &["site", "devices", "s", "--add", "ids"]);
    assert_eq!(added.stdout, "site s: 2 added, 0 removed, 2 on the list\n", "{added:?}");
    let asked = server.asked();
    assert_eq!((asked.line.as_str(), asked.body.as_str()), ("POST /api/v1/sites/s/devices", r#"{"add":["a","b"]}"#));
    assert_eq!(operator.run(&server.url(), &["site", "devices", "s"]).stdout, "a\nb\n");
    server.asked();
    assert_eq!(server.asked().line, "GET /api/v1/sites/s/devices?after=a");
}

#[test]
fn a_life_that_is_none_is_told_in_the_words_of_the_flag() {
    let operator = Operator::new();
    for bad in ["0s", "10y", "9999999d", "5", "-1d"] {
        let given = format!("--expires-in={bad}");
        // Nobody listens there: the node is not asked.
        let ran = operator.run("http://127.0.0.1:9", &["token", "add", "ci", "--scope", "read", "--out", "t", &given]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("--expires-in") && !ran.stderr.contains("expiresInSeconds"), "{ran:?}");
    }
}

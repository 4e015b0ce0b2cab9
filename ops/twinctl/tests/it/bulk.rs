//! Many twins at once, across broken connections.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use twin_node::{Node, NodeOptions};

use crate::server::{Server, answer, lines, problem};
use crate::twinctl::{Operator, command};

fn twin(id: &str) -> String {
    format!("{{\"id\":\"{id}\",\"site\":\"s\",\"version\":1,\"tags\":{{\"z\":1.0}}}}\n")
}

#[test]
fn an_export_that_is_cut_off_goes_on_behind_its_last_whole_line() {
    let server = Server::start([
        lines(&format!("{}{}{{\"id\":\"c\",\"si", twin("a"), twin("b#"))),
        problem("503 Service Unavailable", "Retry-After: 1\r\n", "{}"),
        lines(&format!(
            "{}{{\"end\":false,\"status\":503,\"code\":\"unavailable\",\"detail\":\"no leader\"}}\n",
            twin("c")
        )),
        lines(&format!("{}{{\"end\":true,\"twins\":1}}\n", twin("d"))),
    ]);
    let operator = Operator::new();
    let ran = operator.run(&server.url(), &["export", "--site", "s", "--out", "twins"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    let whole = format!("{}{}{}{}{{\"end\":true,\"twins\":4}}\n", twin("a"), twin("b#"), twin("c"), twin("d"));
    assert_eq!(fs::read_to_string(operator.path("twins")).unwrap(), whole);
    assert_eq!(server.asked().line, "GET /api/v1/exports?site=s");
    assert_eq!(server.asked().line, "GET /api/v1/exports?site=s&cursor=s%2Fb%23");
    server.asked();
    assert_eq!(server.asked().line, "GET /api/v1/exports?site=s&cursor=s%2Fc");
    assert!(ran.stderr.contains("no leader") && ran.stderr.ends_with("4 twins\n"), "{ran:?}");
    assert!(!ran.stderr.contains('\u{1b}'), "nothing is drawn where nobody looks: {ran:?}");

    let again = operator.run(&server.url(), &["export", "--out", "twins"]);
    assert_eq!(again.code, 2, "never overwritten: {again:?}");
    assert_eq!(operator.run(&server.url(), &["export", "--out", "twins", "--resume"]).code, 0, "it is whole");
}

#[test]
fn a_file_that_an_export_left_is_gone_on_with() {
    let server = Server::start([lines(&format!("{}{{\"end\":true,\"twins\":1}}\n", twin("b")))]);
    let operator = Operator::new();
    fs::write(operator.path("twins"), format!("{}{{\"id\":\"b\"", twin("a"))).unwrap();
    let ran = operator.run(&server.url(), &["export", "--out", "twins", "--resume"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(server.asked().line, "GET /api/v1/exports?cursor=s%2Fa");
    let whole = format!("{}{}{{\"end\":true,\"twins\":2}}\n", twin("a"), twin("b"));
    assert_eq!(fs::read_to_string(operator.path("twins")).unwrap(), whole);
}

#[test]
fn what_has_no_result_is_sent_again_and_what_is_refused_is_told() {
    let busy = r#"{"id":"b","line":2,"status":429,"code":"busy","detail":"busy: bytes","retryAfterMs":1}"#;
    let gone = r#"{"id":"c","line":3,"status":404,"code":"twin-not-found","detail":"there is no twin c"}"#;
    let ok = |id: &str, status: u16| format!("{{\"id\":\"{id}\",\"status\":{status}}}\n");
    let server = Server::start([
        // Of five items: done, busy, refused, done, and then it breaks.
        lines(&format!("{}{busy}\n{gone}\n{}", ok("a", 200), ok("d", 201))),
        lines(&format!("{}{}", ok("b", 200), ok("e", 200))),
    ]);
    let operator = Operator::new();
    let item = |id: &str| format!("{{\"id\":\"{id}\",\"desired\":{{\"n\":1.0}}}}");
    let file = ["a", "b", "", "c", "d", "e"].map(|id| if id.is_empty() { String::new() } else { item(id) }).join("\n");
    fs::write(operator.path("changes"), file).unwrap();
    let ran = operator.run(&server.url(), &["apply", "changes"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "4 of 5 twins applied, 1 of them new\n"), "{ran:?}");
    assert!(ran.stderr.contains("line 4: c: twin-not-found: there is no twin c\n"), "{ran:?}");
    assert!(ran.stderr.ends_with("twinctl: 1 of 5 items failed: twin-not-found 1\n"), "{ran:?}");
    let first = server.asked();
    assert_eq!(
        (first.line.as_str(), first.header("content-type")),
        ("POST /api/v1/twins:batchUpdate", "application/x-ndjson")
    );
    assert_eq!(first.body, ["a", "b", "c", "d", "e"].map(|id| item(id) + "\n").concat());
    assert_eq!(server.asked().body, ["b", "e"].map(|id| item(id) + "\n").concat());
}

/// Everything before it is done, and how to go on is said so that it can be pasted.
#[test]
fn a_line_that_cannot_be_read_stops_behind_what_stands_before_it_and_says_how_to_go_on() {
    let done = |id: &str| format!("{{\"id\":\"{id}\",\"status\":200}}\n");
    let refused = "{\"id\":\"b\",\"status\":404,\"code\":\"twin-not-found\",\"detail\":\"x\"}\n";
    let server = Server::start([
        lines(&format!("{}{refused}", done("a"))),
        lines(&format!("{}{refused}", done("a"))),
        lines(&done("c")),
    ]);
    let operator = Operator::new();
    let endless = "x".repeat(2 * 1024 * 1024);
    fs::write(operator.path("changes"), format!("{{\"id\":\"a\"}}\n\n{{\"id\":\"b\"}}\n{endless}\n{{\"id\":\"c\"}}\n"))
        .unwrap();
    let ran = operator.run(&server.url(), &["apply", "changes"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, "1 of 2 twins applied\n"), "{ran:?}");
    for said in [
        "changes: line 4: a line has more than",
        "of the 2 items before line 4, 1 were applied",
        "tail -n +4 changes | twinctl apply -",
    ] {
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    let ran = operator.run(&server.url(), &["apply", "changes", "--json"]);
    let summary: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(summary, json!({"items": 2, "done": 1, "created": 0, "failed": 1, "stoppedAtLine": 4}));
    // The rest, mended.
    fs::write(operator.path("rest"), "{\"id\":\"c\"}\n").unwrap();
    assert_eq!(operator.run(&server.url(), &["apply", "rest"]).code, 0);
}

#[test]
fn a_node_that_refuses_half_way_leaves_word_of_how_far_it_was() {
    let items: String = (0..2_500).map(|n| json!({"id": format!("t-{n}")}).to_string() + "\n").collect();
    let answers = |range: std::ops::Range<usize>| -> String {
        range.map(|n| json!({"id": format!("t-{n}"), "status": 201}).to_string() + "\n").collect()
    };
    let server = Server::start([
        lines(&answers(0..2_000)),
        problem("401 Unauthorized", "", "{\"status\":401,\"code\":\"unauthorized\",\"detail\":\"no longer\"}"),
    ]);
    let operator = Operator::new();
    fs::write(operator.path("twins"), items).unwrap();
    let ran = operator.run(&server.url(), &["import", "twins"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "2000 of 2000 twins imported, 2000 of them new\n"), "{ran:?}");
    assert!(ran.stderr.contains("no longer") && ran.stderr.contains("tail -n +2001 twins"), "{ran:?}");
}

#[test]
fn scripts_get_every_refusal_with_its_line_and_a_summary() {
    let refused = r#"{"id":"b","line":2,"status":412,"code":"precondition-failed","detail":"x"}"#;
    let server = Server::start([lines(&format!("{{\"id\":\"a\",\"status\":201}}\n{refused}\n"))]);
    let operator = Operator::new();
    fs::write(operator.path("twins"), "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"end\":true,\"twins\":2}\n").unwrap();
    let ran = operator.run(&server.url(), &["import", "twins", "--json"]);
    assert_eq!(ran.code, 1);
    let told: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told[0]["line"], 2);
    assert_eq!(told[0]["result"], serde_json::from_str::<Value>(refused).unwrap());
    assert_eq!(told[1], json!({"items": 2, "done": 1, "created": 1, "failed": 1}));
    assert_eq!(server.asked().line, "POST /api/v1/imports");
}

#[test]
fn a_node_that_was_never_there_is_not_waited_for() {
    let operator = Operator::new();
    fs::write(operator.path("twins"), "{\"id\":\"a\"}\n").unwrap();
    let url = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    assert_eq!(operator.run(&url, &["import", "twins"]).code, 3);
    assert_eq!(operator.run(&url, &["export"]).code, 3);
    assert_eq!(operator.run(&url, &["import", "missing"]).code, 2);
}

#[test]
fn a_site_that_takes_long_to_go_is_asked_for_until_it_is_gone() {
    let deleting = answer("202 Accepted", "Content-Type: application/json\r\n", r#"{"id":"s","deleting":true}"#);
    let server = Server::start([deleting.clone(), deleting, answer("204 No Content", "", "")]);
    let ran = Operator::new().run(&server.url(), &["site", "rm", "s", "--cascade"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "site s: deleted\n"), "{ran:?}");
    assert_eq!(ran.stderr.matches("being deleted").count(), 1);
    assert_eq!(server.asked().line, "DELETE /api/v1/sites/s?cascade=true");
}

/// A node on a port of its own choosing first, and on the same one again.
async fn start(dir: &std::path::Path, http: Option<&str>) -> Node {
    let mut options = NodeOptions::local(dir.join("data"));
    if let Some(http) = http {
        options.http = http.strip_prefix("http://").unwrap().parse().unwrap();
    }
    let node = Node::start(options).await.unwrap();
    node.ready().await;
    node
}

fn twinctl(url: &str, dir: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = command(dir);
    command.args(["--url", url, "--token-file", "data/admin.token"]).args(arguments);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn through_restarts_of_a_real_node_everything_goes_in_and_comes_out_again() {
    const TWINS: usize = 12_000;
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(dir.path(), None).await;
    let url = node.http_url().to_owned();
    let items: String =
        (0..TWINS).map(|n| json!({"id": format!("t-{n:05}"), "desired": {"n": n}}).to_string() + "\n").collect();
    fs::write(dir.path().join("twins"), items).unwrap();
    for what in ["import", "apply"] {
        let mut importing = twinctl(&url, dir.path(), &[what, "twins", "--json"]);
        let importing = tokio::task::spawn_blocking(move || importing.output().unwrap());
        for _ in 0..2 {
            let commands = node.cluster().stats().commands;
            while node.cluster().stats().commands < commands + 2_500 && !importing.is_finished() {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            node.shutdown().await;
            node = start(dir.path(), Some(&url)).await;
        }
        let ran = importing.await.unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!((&told["items"], &told["failed"]), (&json!(TWINS), &json!(0)), "{what}");
    }
    let mut exporting = twinctl(&url, dir.path(), &["export", "--out", "exported"]);
    let exporting = tokio::task::spawn_blocking(move || exporting.output().unwrap());
    node.shutdown().await;
    node = start(dir.path(), Some(&url)).await;
    let ran = exporting.await.unwrap();
    assert!(ran.status.success() || ran.status.code() == Some(3), "{ran:?}");
    // Where the very first connection met no node.
    let ran = twinctl(&url, dir.path(), &["export", "--out", "exported", "--resume"]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let exported = fs::read_to_string(dir.path().join("exported")).unwrap();
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), TWINS + 1);
    for (n, line) in lines[..TWINS].iter().enumerate() {
        assert_eq!((&line["id"], &line["desired"]["n"]), (&json!(format!("t-{n:05}")), &json!(n)));
    }
    assert_eq!(lines[TWINS], json!({"end": true, "twins": TWINS}));
    node.shutdown().await;
}

//! What goes over the wire, and what comes back to the operator.

use std::net::TcpListener;

use crate::server::{Server, json, problem};
use crate::twinctl::{Operator, TOKEN, command};

const TWIN: &str = r#"{"deviceId":"a","etag":"e1","version":3,"site":"s","connectionState":"Connected","lastActivityTime":null,
"tags":{},"properties":{"desired":{"n":1.0}},"convergence":{"/n":{"state":"applied"},"/m":{"state":"pending"}}}"#;

#[test]
fn an_id_with_every_special_character_goes_out_as_one_segment_encoded_once() {
    let server = Server::start([json("200 OK", TWIN)]);
    let ran = Operator::new().run(&server.url(), &["twin", "get", "a%20#?*!(),:=@$'+"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let asked = server.asked();
    assert_eq!(asked.line, "GET /api/v1/twins/a%2520%23%3F%2A%21%28%29%2C%3A%3D%40%24%27%2B");
    assert_eq!(asked.header("authorization"), format!("Bearer {TOKEN}"));
}

#[test]
fn a_document_is_indented_for_people_and_untouched_for_scripts() {
    let server = Server::start([json("200 OK", r#"{"z":1.0,"a":{}}"#), json("200 OK", r#"{"z":1.0,"a":{}}"#)]);
    let operator = Operator::new();
    assert_eq!(operator.run(&server.url(), &["twin", "get", "a"]).stdout, "{\n  \"z\": 1.0,\n  \"a\": {}\n}\n");
    let at = operator.run(&server.url(), &["--json", "twin", "get", "a", "--at", "desired/x"]);
    assert_eq!(at.stdout, "{\"z\":1.0,\"a\":{}}\n");
    server.asked();
    assert_eq!(server.asked().line, "GET /api/v1/twins/a/desired/x");
}

#[test]
fn a_patch_goes_out_as_it_was_typed_with_its_condition() {
    let server = Server::start([json("200 OK", TWIN)]);
    let ran =
        Operator::new().run(&server.url(), &["twin", "patch", "a", r#"{"desired":{"n": 1.0}}"#, "--if-match", "e0"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "a: patched, version 3, etag e1\n"));
    let asked = server.asked();
    assert_eq!(asked.line, "PATCH /api/v1/twins/a");
    assert_eq!(asked.header("content-type"), "application/merge-patch+json");
    assert_eq!(asked.header("if-match"), "\"e0\"");
    assert_eq!(asked.body, r#"{"desired":{"n": 1.0}}"#);
}

#[test]
fn a_change_goes_out_with_its_key_and_waits_for_the_device() {
    let headers = "Content-Type: application/json\r\nWait-Outcome: rejected\r\nIdempotency-Replayed: true\r\n";
    let server = Server::start([crate::server::answer("200 OK", headers, TWIN)]);
    let arguments = ["twin", "patch", "a", "{}", "--idempotency-key", "k:1", "--wait", "applied", "--timeout", "7"];
    let ran = Operator::new().run(&server.url(), &arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "a: patched, rejected, carried out before, version 3, etag e1\n"));
    let asked = server.asked();
    assert_eq!(asked.line, "PATCH /api/v1/twins/a?wait=applied&timeout=7");
    assert_eq!(asked.header("idempotency-key"), "\"k:1\"");
    let bad = Operator::new().run("http://127.0.0.1:1", &["twin", "put", "a", "--idempotency-key", "a b"]);
    assert_eq!(bad.code, 2, "{bad:?}");
}

#[test]
fn a_twin_is_registered_at_a_site_and_deleted() {
    let server = Server::start([json("201 Created", TWIN), crate::server::answer("204 No Content", "", "")]);
    let operator = Operator::new();
    let put = operator.run(&server.url(), &["twin", "put", "a", "--site", "s", "--if-none-match", "*"]);
    assert_eq!((put.code, put.stdout.as_str()), (0, "a: created, version 3, etag e1\n"));
    let asked = server.asked();
    assert_eq!((asked.line.as_str(), asked.body.as_str()), ("PUT /api/v1/twins/a", r#"{"site":"s"}"#));
    assert_eq!((asked.header("if-none-match"), asked.header("content-type")), ("*", "application/json"));
    let delete = operator.run(&server.url(), &["twin", "delete", "a"]);
    assert_eq!((delete.code, delete.stdout.as_str()), (0, "a: deleted\n"));
    assert_eq!(server.asked().line, "DELETE /api/v1/twins/a");
}

#[test]
fn a_list_follows_its_pages_to_the_end() {
    let pages = || {
        let first = format!(r#"{{"twins":[{},{}],"next":"x+/"}}"#, TWIN.replace('\n', ""), TWIN.replace('\n', ""));
        [json("200 OK", &first), json("200 OK", &format!(r#"{{"twins":[{}],"next":null}}"#, TWIN.replace('\n', "")))]
    };
    let operator = Operator::new();
    let server = Server::start(pages());
    let ran = operator.run(&server.url(), &["twin", "ls", "--site", "s"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout.lines().nth(1), Some("a     s     3        Connected  -              1"));
    assert_eq!(ran.stdout.lines().count(), 4);
    assert_eq!(server.asked().line, "GET /api/v1/twins?site=s");
    assert_eq!(server.asked().line, "GET /api/v1/twins?site=s&cursor=x%2B%2F");
    let server = Server::start(pages());
    let ran = operator.run(&server.url(), &["twin", "ls", "--json"]);
    assert_eq!(ran.stdout.lines().filter(|line| *line == TWIN.replace('\n', "")).count(), 3);
}

#[test]
fn a_method_is_called_with_its_payload_and_timeout() {
    let server = Server::start([json("200 OK", r#"{"status":200,"payload":{"ok":true}}"#)]);
    let arguments =
        ["--json", "twin", "call", "a", "blink/led", r#"{"n": 2.0}"#, "--timeout", "7", "--idempotency-key", "k-1"];
    let ran = Operator::new().run(&server.url(), &arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "{\"status\":200,\"payload\":{\"ok\":true}}\n"));
    let asked = server.asked();
    assert_eq!(asked.line, "POST /api/v1/twins/a/methods/blink%2Fled");
    assert_eq!(asked.body, r#"{"payload":{"n": 2.0},"timeoutSeconds":7}"#);
    assert_eq!(asked.header("idempotency-key"), "\"k-1\"");
}

#[test]
fn a_refusal_is_readable_and_exits_with_1() {
    let body = r#"{"title":"Document rule","status":422,"code":"document-rule","rule":"depth","detail":"too deep",
        "pointer":"/desired/a","limit":10}"#;
    let busy = r#"{"title":"Busy","code":"busy","detail":"busy: bytes"}"#;
    let server = Server::start([
        problem("422 Unprocessable Content", "", body),
        problem("429 Too Many Requests", "Retry-After: 3\r\n", busy),
    ]);
    let operator = Operator::new();
    let rule = operator.run(&server.url(), &["twin", "patch", "a", "{}"]);
    assert_eq!((rule.code, rule.stdout.as_str()), (1, ""));
    assert_eq!(
        rule.stderr,
        "twinctl: refused: 422 Document rule [document-rule: depth]\n  too deep\n  at     /desired/a\n  limit  10\n"
    );
    let busy = operator.run(&server.url(), &["site", "ls"]);
    assert_eq!(busy.code, 1);
    assert!(busy.stderr.ends_with("retry  after 3 s\n"), "{busy:?}");
}

#[test]
fn an_answer_that_is_not_understood_exits_with_1() {
    let server = Server::start([json("200 OK", "[]")]);
    let ran = Operator::new().run(&server.url(), &["site", "ls"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("is not understood"), "{ran:?}");
}

#[test]
fn a_node_that_is_not_there_exits_with_3() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = Operator::new().run(&format!("http://{address}"), &["twin", "patch", "a", "{}"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("can't reach") && !ran.stderr.contains("unknown"), "{ran:?}");
}

#[test]
fn a_change_without_an_answer_is_said_to_be_unknown() {
    let server = Server::start([String::new(), String::new()]);
    let operator = Operator::new();
    let change = operator.run(&server.url(), &["twin", "patch", "a", "{}"]);
    assert_eq!(change.code, 3);
    assert!(change.stderr.contains("whether the change was made is unknown"), "{change:?}");
    let read = operator.run(&server.url(), &["twin", "get", "a"]);
    assert_eq!(read.code, 3);
    assert!(!read.stderr.contains("unknown"), "{read:?}");
}

#[test]
fn what_is_typed_wrong_exits_with_2_and_asks_nothing() {
    let operator = Operator::new();
    let url = "http://127.0.0.1:9";
    for arguments in [
        &["twin", "patch", "a", "{not json"][..],
        &["twin", "get", ".."],
        &["twin", "patch", "a", "@missing.json"],
        &["site", "set", "s", "--enrolment", "closed"],
        &["twin", "put", "a", "{}", "--at", "tags", "--site", "s"],
        &["fleet", "ls"],
    ] {
        let ran = operator.run(url, arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {ran:?}");
    }
    assert_eq!(operator.run("http://192.0.2.1:80", &["site", "ls"]).code, 2, "a token in the clear");
    assert_eq!(operator.run("https://127.0.0.1:9", &["site", "ls"]).code, 2, "https without a CA");
}

#[test]
fn address_and_token_also_come_from_the_environment() {
    let server = Server::start([json("200 OK", r#"{"sites":[]}"#)]);
    let operator = Operator::new();
    let run = |set: bool| {
        let mut command = command(&operator.path(""));
        if set {
            command.env("TWINMESH_URL", server.url()).env("TWINMESH_TOKEN_FILE", operator.path("admin.token"));
        }
        command.args(["site", "ls"]).output().unwrap().status.code()
    };
    assert_eq!(run(false), Some(2));
    assert_eq!(run(true), Some(0));
    assert_eq!(server.asked().header("authorization"), format!("Bearer {TOKEN}"));
}

#[test]
fn sites_and_gateways_are_shown_with_link_and_backlog() {
    let site = r#"{"id":"s","enrolment":"open","cell":1,"epoch":2,"gateways":[
        {"name":"g1","createdAt":"t","connected":true,"peer":"10.0.0.7:4433","agent":"x","connectedAt":"t","lastSeen":"2026-01-01T00:00:00Z",
         "status":{"uptimeMs":1,"backlogMessages":7,"backlogBytes":50,"backlogBytesMax":200,"deadLetters":0,"devices":120,
           "oldestMessageMs":61500,"loadAverage":0.5,"cpus":4,"roundTripMs":12.34,"packetsSent":9,"packetsLost":0,"rssiDbm":-71,
           "batteryPercent":80,"onBattery":true},"certificateSha256":"ab"},
        {"name":"g2","createdAt":"t","connected":false,"peer":null,"agent":null,"connectedAt":null,"lastSeen":null,"status":null}]}"#;
    let server = Server::start([
        json("200 OK", site),
        json("200 OK", &format!(r#"{{"sites":[{site}]}}"#)),
        json("201 Created", site),
        json("200 OK", site),
    ]);
    let operator = Operator::new();
    let show = operator.run(&server.url(), &["site", "show", "s"]).stdout;
    assert!(show.starts_with("site s  enrolment open  cell 1  epoch 2\n"), "{show}");
    assert!(show.contains("g1       up    120      7        25%     0             61 s    0.50  12.3 ms  -71 dBm  80% on battery  2026-01-01T00:00:00Z  10.0.0.7:4433  certificate  x"), "{show}");
    assert!(show.contains("g2       down  -        -        -       -"), "{show}");
    let ls = operator.run(&server.url(), &["site", "ls"]).stdout;
    assert!(ls.ends_with("s     open       1     2      2         1\n"), "{ls}");
    let set = operator.run(&server.url(), &["site", "set", "s", "--enrolment", "open"]).stdout;
    assert_eq!(set, "site s: enrolment open, created\n");
    let gateways = operator.run(&server.url(), &["gateway", "ls", "--site", "s", "--json"]).stdout;
    assert_eq!(gateways.matches(r#"{"name":"g"#).count(), 2);
    server.asked();
    server.asked();
    let asked = server.asked();
    assert_eq!((asked.line.as_str(), asked.body.as_str()), ("PUT /api/v1/sites/s", r#"{"enrolment":"open"}"#));
}

#[test]
fn nodes_are_shown_with_their_groups() {
    let node = r#"{"name":"n1","role":"core","http":"127.0.0.1:8080","quic":null,"startedAt":"t","groups":[
        {"group":0,"name":"directory","leader":true,"term":2,"lastLog":10,"applied":9}]}"#;
    let server = Server::start([json("200 OK", &format!(r#"{{"nodes":[{node}]}}"#))]);
    let ran = Operator::new().run(&server.url(), &["node", "ls"]);
    assert!(ran.stdout.contains("n1    core  127.0.0.1:8080  -     t\n"), "{ran:?}");
    assert!(ran.stdout.contains("directory  n1    yes    2     10        9\n"), "{ran:?}");
}

#[test]
fn a_body_may_be_a_negative_number_and_a_misspelt_option_is_no_body() {
    let server = Server::start([json("200 OK", TWIN)]);
    let operator = Operator::new();
    let put = operator.run(&server.url(), &["twin", "put", "a", "-5", "--at", "desired/offset"]);
    assert_eq!((put.code, put.stdout.as_str()), (0, "a desired/offset: replaced, version 3, etag e1\n"));
    let asked = server.asked();
    assert_eq!((asked.line.as_str(), asked.body.as_str()), ("PUT /api/v1/twins/a/desired/offset", "-5"));
    let misspelt = operator.run(&server.url(), &["twin", "patch", "a", "--if-matches", "{}"]);
    assert_eq!(misspelt.code, 2);
    assert!(misspelt.stderr.contains("--if-matches"), "{misspelt:?}");
}

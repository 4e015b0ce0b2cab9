//! Following a twin's events.

use crate::server::{Server, events, json, problem};
use crate::twinctl::Operator;

#[test]
fn each_event_is_a_line_and_a_lost_stream_is_taken_up_again() {
    let server = Server::start([
        events(": hello\n\nevent: reported\nid: 7\ndata: {\"v\":1.0}\n\ndata: cut"),
        problem("503 Service Unavailable", "", "{}"),
        events("event: desired\ndata: {\"v\":2}\n\nevent: late\ndata: 3\n\n"),
    ]);
    let ran = Operator::new().run(&server.url(), &["twin", "watch", "a#1", "--json", "--count", "2"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.stdout,
        "{\"event\":\"reported\",\"id\":\"7\",\"data\":{\"v\":1.0}}\n{\"event\":\"desired\",\"data\":{\"v\":2}}\n"
    );
    assert_eq!(ran.stderr.matches("connecting again").count(), 2, "{ran:?}");
    let first = server.asked();
    assert_eq!(first.line, "GET /api/v1/twins/a%231/events");
    assert_eq!((first.header("accept"), first.header("last-event-id")), ("text/event-stream", ""));
    assert_eq!(server.asked().header("last-event-id"), "7");
}

#[test]
fn a_stream_that_told_nothing_is_taken_up_where_it_said_it_was() {
    let server = Server::start([events(": observing\n\nid: 5-1\n\n"), events("event: tags\ndata: {}\n\n")]);
    let arguments = ["twin", "watch", "--prefix", "a-", "--at", "desired/price", "--count", "1"];
    let ran = Operator::new().run(&server.url(), &arguments);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(server.asked().line, "GET /api/v1/events?prefix=a-&path=%2Fdesired%2Fprice");
    assert_eq!(server.asked().header("last-event-id"), "5-1");
}

#[test]
fn for_people_an_event_is_its_name_and_its_data() {
    let server = Server::start([events("event: reported\ndata: {\"v\":1}\n\n")]);
    let ran = Operator::new().run(&server.url(), &["twin", "watch", "--site", "s", "--count", "1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "reported   {\"v\":1}\n"));
    assert_eq!(server.asked().line, "GET /api/v1/events?site=s");
}

#[test]
fn a_refusal_or_another_kind_of_answer_ends_the_watch() {
    let server = Server::start([
        problem("404 Not Found", "", r#"{"title":"Twin not found","code":"twin-not-found"}"#),
        json("200 OK", "{}"),
    ]);
    let operator = Operator::new();
    let gone = operator.run(&server.url(), &["twin", "watch", "a"]);
    assert_eq!(gone.code, 1);
    assert!(gone.stderr.contains("[twin-not-found]"), "{gone:?}");
    let odd = operator.run(&server.url(), &["twin", "watch", "a"]);
    assert_eq!(odd.code, 1);
    assert!(odd.stderr.contains("not text/event-stream"), "{odd:?}");
}

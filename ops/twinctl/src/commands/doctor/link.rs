//! Why there was no answer.

use super::finding::{Findings, Level};
use crate::failure::Failure;

/// What the reason of a failed connection says, what it means, and what to do. The words are those of rustls and of the system.
const CAUSES: [(&[&str], &str, &str, &str); 6] = [
    (
        &["UnknownIssuer", "BadSignature", "unknown issuer"],
        "tls",
        "the node's certificate is not of this CA",
        "give --ca the `ca.pem` of this node's data directory; if the node was set up anew, its CA is another one",
    ),
    (
        &["NotValidForName", "not valid for name"],
        "tls",
        "the node's certificate does not carry the name in --url",
        "use a name or address that it has, or start twind with --tls-name NAME",
    ),
    (
        &["Expired", "NotValidYet", "expired", "not valid yet"],
        "tls",
        "the node's certificate is not valid at the time that the clock here tells",
        "look at `timedatectl` here; a node's own certificate does not end",
    ),
    (
        &["InvalidContentType", "corrupt message", "InvalidMessage"],
        "tls",
        "what listens there speaks no TLS",
        "a node that listens on loopback is served in the clear: use http:// in --url",
    ),
    (
        &["refused"],
        "reachable",
        "nothing listens there",
        "is twind running (`systemctl status twind`), and is its --http the address in --url?",
    ),
    (
        &["timeout", "timed out", "Timeout"],
        "reachable",
        "no answer in time",
        "a firewall in between, a machine that is off, or a node that is stuck: look at its log",
    ),
];

/// What a failure of TLS means, and what to do about it.
pub(crate) fn meaning_of_tls(said: &str) -> Option<String> {
    let mut of_tls = CAUSES.iter().filter(|(_, check, ..)| *check == "tls");
    let (_, _, meaning, remedy) = of_tls.find(|(words, ..)| words.iter().any(|word| said.contains(word)))?;
    Some(format!("{meaning}: {remedy}"))
}

pub(super) fn unreachable(findings: &mut Findings, failure: &Failure) -> Result<(), Failure> {
    let said = failure.to_string();
    let cause = CAUSES.iter().find(|(words, ..)| words.iter().any(|word| said.contains(word)));
    if let Some((_, check, meaning, remedy)) = cause {
        return findings.add(Level::Wrong, check, &format!("{meaning} ({said})"), remedy);
    }
    let remedy = "check the address in --url; a node beyond loopback is served over https only";
    findings.add(Level::Wrong, "reachable", &said, remedy)
}

//! Until when the node's certificate, and the CA that we trust, are valid.

use std::io::Write as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use ureq::http::Uri;

use super::finding::{Findings, Level};
use super::moment::Moment;
use crate::failure::Failure;
use crate::limits::{CERTIFICATE_DAYS_MIN, CONNECT_TIMEOUT};

const DAY_S: i64 = 24 * 3600;

/// Only where there is TLS. What is wrong with it otherwise was found before.
pub(super) fn look(findings: &mut Findings, base: &str, ca: Option<&Path>, here: Moment) -> Result<(), Failure> {
    let Some(ca) = ca.filter(|_| base.starts_with("https:")) else { return Ok(()) };
    let roots: Vec<CertificateDer<'static>> = match CertificateDer::pem_file_iter(ca) {
        Ok(certificates) => certificates.filter_map(Result::ok).collect(),
        Err(_) => Vec::new(),
    };
    let leaf = served(base, &roots);
    let ends = leaf.iter().map(|der| ("the node's certificate", der)).chain(roots.iter().map(|der| ("its CA", der)));
    let first = ends.filter_map(|(whose, der)| Some((not_after(der)?, whose))).min_by_key(|(end, _)| *end);
    let Some((end, whose)) = first else {
        let remedy = "look at it with `openssl s_client`";
        return findings.add(Level::Warning, "certificate", "its end can't be read", remedy);
    };
    let days = end.since(here) / DAY_S;
    if days >= CERTIFICATE_DAYS_MIN {
        return findings.fine("certificate", &format!("{whose} is the first to end, in {days} days"));
    }
    let remedy = "make a new one, hand its CA to clients and gateways first, and restart the node";
    findings.add(Level::Warning, "certificate", &format!("{whose} ends in {days} days"), remedy)
}

/// The certificate that the node shows.
fn served(base: &str, roots: &[CertificateDer<'static>]) -> Option<CertificateDer<'static>> {
    let uri: Uri = base.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let address = (host.as_str(), uri.port_u16().unwrap_or(443)).to_socket_addrs().ok()?.next()?;
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(store)
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from(host).ok()?).ok()?;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(CONNECT_TIMEOUT)).ok()?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).ok()?;
    }
    connection.send_close_notify();
    // Whether the node hears of the end makes no difference.
    let _ = connection.write_tls(&mut stream).and_then(|_| stream.flush());
    connection.peer_certificates()?.first().map(|der| der.clone().into_owned())
}

/// The end of a certificate's validity. Takes apart no more of X.509 than leads there.
fn not_after(certificate: &[u8]) -> Option<Moment> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut rest, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if let (VERSION, _, after) = element(rest)? {
        rest = after;
    }
    // Serial number, signature, issuer.
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (_, validity, _) = element(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, end, _) = element(rest)?;
    time(tag, std::str::from_utf8(end).ok()?)
}

/// The first element: its tag, what is in it, what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let bytes = usize::from(first & 0x7f);
        if bytes == 0 || bytes > 4 || bytes > rest.len() {
            return None;
        }
        let (coded, after) = rest.split_at(bytes);
        length = coded.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
        rest = after;
    }
    (length <= rest.len()).then(|| (tag, &rest[..length], &rest[length..]))
}

/// `YYMMDDHHMMSSZ` (of 1950 to 2049) or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &str) -> Option<Moment> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = digits[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (digits[..4].parse().ok()?, &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    Moment::of(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (year, end) in [(2030, Moment::of(2030, 5, 6, 0, 0, 0)), (9999, Moment::of(9999, 5, 6, 0, 0, 0))] {
            let mut params = rcgen::CertificateParams::new(vec!["node".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 5, 6);
            let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec();
            assert_eq!(not_after(&der), end);
            // Cut anywhere it is no certificate, and no panic.
            for cut in 0..der.len() {
                assert_eq!(not_after(&der[..cut]), None);
            }
        }
    }
}

//! As much of DER and X.509 as leads to a certificate's key and its end. What a certificate is was checked by webpki before.

use twin_core::numbers::WallTime;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// RFC 5280 section 4.1.2.5: a certificate that has no well-defined end.
const NO_END: &[u8] = b"99991231235959Z";

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

fn inside(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

/// A SubjectPublicKeyInfo: what its algorithm identifier holds, and the key's bytes.
pub(super) fn public_key(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let (spki, _) = inside(SEQUENCE, spki)?;
    let (algorithm, rest) = inside(SEQUENCE, spki)?;
    // The first byte of a bit string says how many bits of the last are unused.
    let (_, key) = inside(BIT_STRING, rest)?.0.split_first()?;
    Some((algorithm, key))
}

/// When a certificate ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Then.
    At(WallTime),
    /// It says that it has no end.
    Never,
}

/// When a certificate ends; `None`: it cannot be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<End> {
    let (certificate, _) = inside(SEQUENCE, certificate)?;
    let (mut rest, _) = inside(SEQUENCE, certificate)?;
    if let (VERSION, _, after) = element(rest)? {
        rest = after;
    }
    // Serial number, signature, issuer.
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (validity, _) = inside(SEQUENCE, rest)?;
    let (_, _, rest) = element(validity)?;
    let (tag, end, _) = element(rest)?;
    if tag == GENERALIZED_TIME && end == NO_END {
        return Some(End::Never);
    }
    time(tag, end).map(End::At)
}

/// `YYMMDDHHMMSSZ` (of 1950 to 2049) or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<WallTime> {
    let (b'Z', digits) = text.split_last()? else { return None };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(&digits[..2]);
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| number(&rest[at..at + 2]);
    let (month, day, hour, minute, second) = (part(0), part(2), part(4), part(6), part(8));
    let fits =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60 && year >= 1;
    if !fits {
        return None;
    }
    // Years begin in March, so that the day that comes and goes is the last one.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(WallTime::new((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_what_is_none_is_refused() {
        let ms = |tag, text: &str| time(tag, text.as_bytes()).map(WallTime::get);
        assert_eq!(ms(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(ms(GENERALIZED_TIME, "20000229000000Z"), Some(951_782_400_000));
        assert_eq!(ms(UTC_TIME, "261121142938Z"), Some(1_795_271_378_000));
        for text in ["", "Z", "261121142938", "26112114293Z", "261321142938Z", "2611211429380Z", "26112x142938Z"] {
            assert_eq!(ms(UTC_TIME, text), None, "{text}");
        }
    }

    #[test]
    fn a_certificate_cut_anywhere_has_no_end_and_no_key_and_makes_no_panic() {
        let mut params = rcgen::CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 5, 6);
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        assert_eq!(not_after(&der), Some(End::At(WallTime::new(1_904_256_000_000))));
        for cut in 0..der.len() {
            assert_eq!(not_after(&der[..cut]), None);
        }
        let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        assert!(public_key(&spki).is_some());
        for cut in 0..spki.len() {
            assert_eq!(public_key(&spki[..cut]), None);
        }
    }
}

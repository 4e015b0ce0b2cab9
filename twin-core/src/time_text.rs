//! [`WallTime`] as RFC 3339 text in UTC, with milliseconds.

use crate::numbers::WallTime;

/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;

/// `2026-03-01T12:34:56.789Z`. Years outside 0..=9999, which RFC 3339 cannot write, are shown as its first or last
/// instant: a gateway's clock may say anything, and a document must still be readable.
pub fn rfc3339(time: WallTime) -> String {
    String::from_utf8_lossy(&rfc3339_bytes(time)).into_owned()
}

/// The same, as ASCII.
pub(crate) fn rfc3339_bytes(time: WallTime) -> [u8; 24] {
    let first_ms = days_from_civil(0, 1, 1) * DAY_MS;
    let last_ms = days_from_civil(10_000, 1, 1) * DAY_MS - 1;
    let ms = time.get().clamp(first_ms, last_ms);
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    let in_day_ms = ms.rem_euclid(DAY_MS);
    let (seconds, millis) = (in_day_ms / 1000, in_day_ms % 1000);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (number, from, digits) in [
        (year, 0, 4),
        (month, 5, 2),
        (day, 8, 2),
        (seconds / 3600, 11, 2),
        (seconds / 60 % 60, 14, 2),
        (seconds % 60, 17, 2),
        (millis, 20, 3),
    ] {
        let mut rest = number;
        for digit in text[from..from + digits].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    text
}

/// Year, month and day of a count of days since 1970-01-01 in the proleptic Gregorian calendar. Years are counted from
/// March, so that the leap day is the last of its year, in eras of 400 years (146,097 days).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let from_march_0000 = days + 719_468;
    let era = from_march_0000.div_euclid(146_097);
    let day_of_era = from_march_0000.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`].
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_are_written_as_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_709_210_096_007, "2024-02-29T12:34:56.007Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(WallTime::new(ms)), text);
        }
    }

    #[test]
    fn every_day_of_eight_centuries_goes_there_and_back() {
        for days in days_from_civil(1600, 1, 1)..days_from_civil(2400, 1, 1) {
            let (y, m, d) = civil_from_days(days);
            assert_eq!(days_from_civil(y, m, d), days);
            assert!((1..=12).contains(&m) && (1..=31).contains(&d));
        }
    }
}

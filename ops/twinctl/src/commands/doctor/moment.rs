//! Times as a node writes them, in seconds since 1970.

/// Seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) i64);

impl Moment {
    /// By the clock here.
    pub(crate) fn here() -> Self {
        #[allow(clippy::disallowed_methods, reason = "this clock is compared with others, and decides nothing")]
        let now = std::time::SystemTime::now();
        Self(
            now.duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
        )
    }

    /// Seconds since an earlier one.
    pub(crate) fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Of a date and time in UTC; `None` if there is no such day or time.
    pub(crate) fn of(year: i64, month: i64, day: i64, hour: i64, minute: i64, second: i64) -> Option<Self> {
        let fits = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60).contains(&second);
        if !fits {
            return None;
        }
        // Years begin in March, so that the day that comes and goes is the last one.
        let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
        let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
        Some(Self(((days * 24 + hour) * 60 + minute) * 60 + second))
    }
}

/// `Sat, 21 Nov 2026 14:29:38 GMT`.
pub(crate) fn from_date_header(text: &str) -> Option<Moment> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let (month, _) = (1..).zip(MONTHS).find(|(_, name)| *name == month)?;
    let clock: Vec<i64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = clock[..] else { return None };
    Moment::of(year.parse().ok()?, month, day.parse().ok()?, hour, minute, second)
}

/// `2026-11-21T14:29:38.123Z`.
pub(super) fn from_rfc3339(text: &str) -> Option<Moment> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |part: &str| part.parse::<i64>().ok();
    let date: Vec<i64> = date.split('-').map(number).collect::<Option<_>>()?;
    let time: Vec<i64> = time.split('.').next()?.split(':').map(number).collect::<Option<_>>()?;
    let ([year, month, day], [hour, minute, second]) = (&date[..], &time[..]) else { return None };
    Moment::of(*year, *month, *day, *hour, *minute, *second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_say_the_same() {
        let moment = Some(Moment(1_795_271_378));
        assert_eq!(from_date_header("Sat, 21 Nov 2026 14:29:38 GMT"), moment);
        assert_eq!(from_rfc3339("2026-11-21T14:29:38.5Z"), moment);
        assert_eq!(from_rfc3339("1970-01-01T00:00:00Z"), Some(Moment(0)));
        assert_eq!(from_rfc3339("2000-02-29T00:00:00Z"), Some(Moment(951_782_400)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01",
            "-1-1-1T::Z",
            "99999999999999999999-01-01T00:00:00Z",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
        for text in ["", "Sat, 21 Nov 2026", "Sat, 21 Now 2026 14:29:38 GMT", "Sat, 21 Nov 2026 14:29 GMT"] {
            assert_eq!(from_date_header(text), None, "{text}");
        }
    }
}

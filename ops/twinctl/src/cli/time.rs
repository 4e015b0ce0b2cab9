//! Times as they are typed.

/// `90s`, `30m`, `12h`, `7d`, in seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(format!("{text:?} is not a time; it looks like 90s, 30m, 12h or 7d")),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("{text:?} is not a time; it looks like 90s, 30m, 12h or 7d"))?;
    number.checked_mul(unit_s).ok_or_else(|| format!("{text:?} is too long"))
}

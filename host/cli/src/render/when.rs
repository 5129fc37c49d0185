//! Wall time for people: a date in UTC, and how far off it is. Called by the commands that show certificates and
//! tickets.

const DAY: u64 = 24 * 60 * 60;

/// `2026-11-24 20:25 UTC`, of seconds since 1970.
pub(crate) fn date(unix_s: u64) -> String {
    // A certificate may claim any time; a year of more digits says nothing to people.
    let days = (unix_s / DAY).min(2_932_896);
    let (year, month, day) = civil(days);
    let (hour, minute) = (unix_s % DAY / 3_600, unix_s % 3_600 / 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Year, month and day of a day since 1970: days are counted from the first of March, so that a leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let from_0000_03 = days + 719_468;
    let (era, of_era) = (from_0000_03 / 146_097, from_0000_03 % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// `in 29 days`, `2 hours ago`: the largest unit that fits, rounded down.
pub(crate) fn distance(unix_s: u64, now: u64) -> String {
    let seconds = unix_s.abs_diff(now);
    let (count, unit) = match seconds {
        0..60 => return "now".to_owned(),
        60..3_600 => (seconds / 60, "minute"),
        3_600..DAY => (seconds / 3_600, "hour"),
        _ => (seconds / DAY, "day"),
    };
    let amount = super::text::plural(count, unit);
    if unix_s > now {
        format!("in {amount}")
    } else {
        format!("{amount} ago")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, shown) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_799, "2000-02-29 23:59 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_800_000_000, "2027-01-15 08:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(unix_s), shown);
        }
        assert!(date(u64::MAX).starts_with("9999-12-31"));
    }

    #[test]
    fn distances_are_rounded_to_what_matters() {
        for (unix_s, shown) in [
            (1_000_000, "now"),
            (1_000_000 + 90, "in 1 minute"),
            (1_000_000 + 7_200, "in 2 hours"),
            (1_000_000 + 30 * DAY - 1, "in 29 days"),
            (1_000_000 - 3 * DAY, "3 days ago"),
        ] {
            assert_eq!(distance(unix_s, 1_000_000), shown);
        }
    }
}

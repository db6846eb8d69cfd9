//! Dates of playlists (ISO 8601, RFC 8216bis 4.4.4.6) as milliseconds since 1970.
use anyhow::{Context as _, Result, ensure};

/// Reads `2026-11-24T14:41:05.123Z`, or with a time zone in hours and minutes.
pub fn parse_ms(text: &str) -> Result<i64> {
    let (date, time) = text.split_once('T').context("no T between date and time")?;
    let numbers = |text: &str, by: char| text.split(by).map(|n| n.parse::<i64>().ok()).collect::<Option<Vec<_>>>();
    let date = numbers(date, '-').filter(|d| d.len() == 3).with_context(|| format!("no date in {text}"))?;
    let (time, offset_min) = if let Some(time) = time.strip_suffix('Z') {
        (time, 0)
    } else {
        let at = time.rfind(['+', '-']).with_context(|| format!("no time zone in {text}"))?;
        let zone = numbers(&time[at + 1..], ':').filter(|z| z.len() == 2).with_context(|| format!("zone of {text}"))?;
        let minutes = zone[0] * 60 + zone[1];
        (&time[..at], if time[at..].starts_with('-') { -minutes } else { minutes })
    };
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let clock = numbers(whole, ':').filter(|c| c.len() == 3).with_context(|| format!("no time in {text}"))?;
    ensure!(fraction.len() <= 9 && fraction.bytes().all(|b| b.is_ascii_digit()), "fraction of {text}");
    let millis: i64 = format!("{fraction:0<3}")[..3].parse()?;
    let in_range = (1..=12).contains(&date[1]) && (1..=31).contains(&date[2]) && clock[0] < 24 && clock[1] < 60;
    ensure!(in_range && clock[2] <= 60, "{text} is no date");
    let minutes = (days(date[0], date[1], date[2]) * 24 + clock[0]) * 60 + clock[1] - offset_min;
    Ok((minutes * 60 + clock[2]) * 1000 + millis)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, counted in years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_are_known() {
        assert_eq!(parse_ms("1970-01-01T00:00:00Z").unwrap(), 0);
        assert_eq!(parse_ms("2026-11-24T14:41:05.123Z").unwrap(), 1_795_531_265_123);
        assert_eq!(parse_ms("2000-02-29T23:59:59.5+01:30").unwrap(), 951_863_399_500);
        assert_eq!(parse_ms("1999-12-31T19:00:00-05:00").unwrap(), 946_684_800_000);
        for bad in ["", "2026-11-24", "2026-11-24T14:41:05", "2026-13-24T14:41:05Z", "2026-11-24T14:41Z", "aTbZ"] {
            assert!(parse_ms(bad).is_err(), "{bad}");
        }
    }
}
